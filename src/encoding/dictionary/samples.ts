/** What a dictionary makes of samples: the bytes they come to, and what their blocks are made of. */

import zlib from 'node:zlib';
import { HandleContext } from '../native.ts';
import { zstdParameters } from '../profiles.ts';
import { ZstdWalker } from '../zstd-blocks.ts';
import { type BlockObserver, ZstdBlockDecoder } from '../zstd-decoder.ts';
import { parseDictionary, SEQUENCE_CODES, type SequenceCode } from './format.ts';
import type { EntropyCounts } from './write.ts';

const ZSTD_E_END = 2;
/** Past what any level takes for a sample. */
const MAX_WINDOW = 1 << 27;

/**
 * Bytes of `samples` when each is a zstd frame of its own, made with `dictionary` at `level`. What `onFrame` is given is
 * valid during the call.
 */
export function compressEach(
  dictionary: Uint8Array,
  samples: readonly Uint8Array[],
  level: number,
  onFrame: (frame: Uint8Array) => void = () => undefined,
): number {
  const params = zstdParameters({ level });
  const context = new HandleContext(zlib.createZstdCompress({ chunkSize: 64, params, dictionary }));
  const longest = samples.reduce((most, { length }) => Math.max(most, length), 0);
  const target = new Uint8Array(longest + (longest >>> 8) + 128);
  let bytes = 0;
  try {
    for (const sample of samples) {
      context.write(ZSTD_E_END, sample, 0, sample.length, target, 0, target.length);
      const length = target.length - context.roomLeft;
      onFrame(target.subarray(0, length));
      bytes += length;
    }
  } finally {
    context.close();
  }
  return bytes;
}

/** What blocks are made of. */
export class BlockCounts implements EntropyCounts, BlockObserver {
  readonly literals = zeros(256);
  readonly offsets = codes('offsets');
  readonly matchLengths = codes('matchLengths');
  readonly literalLengths = codes('literalLengths');
  /** How many samples began with a match at this distance. */
  readonly firstOffsets = new Map<number, number>();
  #isFirst = true;

  nextSample(): void {
    this.#isFirst = true;
  }

  onLiterals(bytes: Uint8Array): void {
    for (const byte of bytes) this.literals[byte]++;
  }

  onSequence(literalCode: number, offsetCode: number, matchCode: number, offset: number): void {
    this.literalLengths[literalCode]++;
    this.offsets[offsetCode]++;
    this.matchLengths[matchCode]++;
    if (!this.#isFirst) return;
    this.#isFirst = false;
    this.firstOffsets.set(offset, (this.firstOffsets.get(offset) ?? 0) + 1);
  }
}

/** What the blocks of `samples` are made of when `dictionary` is used for each. */
export function countBlocks(
  dictionary: Uint8Array,
  samples: readonly Uint8Array[],
  level: number,
): BlockCounts {
  const parsed = parseDictionary(dictionary);
  const counts = new BlockCounts();
  const walker = new ZstdWalker(MAX_WINDOW, parsed.zstdId);
  const blocks = new ZstdBlockDecoder(parsed, counts);
  compressEach(dictionary, samples, level, (frame) => {
    counts.nextSample();
    for (let at = 0; at < frame.length; ) {
      const end = walker.step(frame, at);
      if (walker.element === 'header') blocks.begin(walker.windowSize, walker.maxBlock);
      else if (walker.element === 'block') blocks.decode(frame, at, end);
      at = end;
    }
  });
  return counts;
}

/** What is known before anything was compressed: the literals of whole samples, and nothing of their sequences. */
export function countBytes(samples: readonly Uint8Array[]): BlockCounts {
  const counts = new BlockCounts();
  for (const sample of samples) counts.onLiterals(sample);
  return counts;
}

function zeros(count: number): number[] {
  return new Array<number>(count).fill(0);
}

function codes(code: SequenceCode): number[] {
  return zeros(SEQUENCE_CODES[code].maxSymbol + 1);
}
