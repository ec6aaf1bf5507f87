/** What a dictionary makes of samples: the bytes they come to, and what their blocks are made of. */

import { DEFAULT_FRAME_SIZE } from '../../wire/frame.ts';
import { zstdHandles } from '../native.ts';
import { ZstdWalker } from '../zstd-blocks.ts';
import { type BlockObserver, ZstdBlockDecoder } from '../zstd-decoder.ts';
import { zstdDictParameters, zstdParameters } from '../zstd-parameters.ts';
import { SEQUENCE_CODES, type SequenceCode } from '../zstd-sequences.ts';
import { parseDictionary } from './format.ts';
import type { EntropyCounts } from './write.ts';

const ZSTD_E_FLUSH = 1;
const ZSTD_E_END = 2;
/** Past what any level takes for a sample. */
const MAX_WINDOW = 1 << 27;
/** What a frame that gets no smaller takes besides. */
const FRAME_SLACK = 256;

/** With a context over all samples, as a connection keeps it, or with none: each frame of a sample a zstd frame of its own. */
export type SampleContexts = 'kept' | 'none';

/**
 * Bytes that `samples` come to at `level`, with `dictionary` or with none, as a server encodes them (protocol C9): in frames,
 * none of which names the dictionary. What `onPayload` is given is valid during the call.
 */
export function compressSamples(
  dictionary: Uint8Array | undefined,
  samples: readonly Uint8Array[],
  level: number,
  contexts: SampleContexts,
  onPayload: (payload: Uint8Array, sample: number) => void = () => undefined,
): number {
  const contextFree = contexts === 'none';
  const parametersOf = dictionary === undefined ? zstdParameters : zstdDictParameters;
  const context = zstdHandles.compress(parametersOf({ level, contextFree }), undefined, dictionary);
  const flush = contextFree ? ZSTD_E_END : ZSTD_E_FLUSH;
  const target = new Uint8Array(DEFAULT_FRAME_SIZE + FRAME_SLACK);
  let bytes = 0;
  try {
    for (const [index, sample] of samples.entries()) {
      for (let at = 0; at < sample.length; at += DEFAULT_FRAME_SIZE) {
        const size = Math.min(DEFAULT_FRAME_SIZE, sample.length - at);
        context.write(flush, sample, at, size, target, 0, target.length);
        const length = target.length - context.roomLeft;
        onPayload(target.subarray(0, length), index);
        bytes += length;
      }
    }
  } finally {
    context.close();
  }
  return bytes;
}

/** What blocks are made of. */
class BlockCounts implements EntropyCounts, BlockObserver {
  readonly literals = zeros(256);
  readonly offsets = codes('offsets');
  readonly matchLengths = codes('matchLengths');
  readonly literalLengths = codes('literalLengths');

  onLiterals(bytes: Uint8Array): void {
    for (const byte of bytes) this.literals[byte]++;
  }

  onSequence(literalCode: number, offsetCode: number, matchCode: number): void {
    this.literalLengths[literalCode]++;
    this.offsets[offsetCode]++;
    this.matchLengths[matchCode]++;
  }
}

/**
 * What the blocks of `samples` are made of when `dictionary` is used for them, with a context and without. Its tables of
 * literals and lengths stay in force for as long as a context is kept: up to level 4 libzstd takes another only for a block of 1 000
 * sequences or more. That of offsets is for blocks without a context, for under one only the first block has it.
 */
export function countBlocks(
  dictionary: Uint8Array,
  samples: readonly Uint8Array[],
  level: number,
): EntropyCounts {
  const alone = countPayloads(dictionary, samples, level, 'none');
  const kept = countPayloads(dictionary, samples, level, 'kept');
  const both = (what: keyof EntropyCounts) => alone[what].map((count, code) => count + kept[what][code]);
  return {
    literals: both('literals'),
    offsets: alone.offsets,
    matchLengths: both('matchLengths'),
    literalLengths: both('literalLengths'),
  };
}

function countPayloads(
  dictionary: Uint8Array,
  samples: readonly Uint8Array[],
  level: number,
  contexts: SampleContexts,
): BlockCounts {
  const parsed = parseDictionary(dictionary);
  const counts = new BlockCounts();
  const walker = new ZstdWalker(MAX_WINDOW, parsed.zstdId);
  const blocks = new ZstdBlockDecoder(parsed, counts);
  compressSamples(dictionary, samples, level, contexts, (payload) => {
    for (let at = 0; at < payload.length; ) {
      const end = walker.step(payload, at);
      if (walker.element === 'header') blocks.begin(walker.windowSize, walker.maxBlock);
      else if (walker.element === 'block') blocks.decode(payload, at, end);
      at = end;
    }
  });
  return counts;
}

/** What is known before anything was compressed: the literals of whole samples, and nothing of their sequences. */
export function countBytes(samples: readonly Uint8Array[]): EntropyCounts {
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
