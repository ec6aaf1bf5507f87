/** Writes a dictionary in the form of RFC 8878, 5, from its content and from what is known of the samples' blocks. */

import { highBit } from '../zstd-entropy.ts';
import { SEQUENCE_CODES, type SequenceCode } from '../zstd-sequences.ts';
import { DICTIONARY_MAGIC } from './format.ts';
import { describeFrequencies, normalise } from './fse.ts';
import { codeLengths, describeLengths } from './huffman.ts';

/** How often each literal and each code came up. Lists are as long as what they count. */
export interface EntropyCounts {
  readonly literals: readonly number[];
  readonly offsets: readonly number[];
  readonly matchLengths: readonly number[];
  readonly literalLengths: readonly number[];
}

/** A first block's offsets reach over the content and over the block itself. */
const MAX_BLOCK = 128 << 10;

/**
 * Everything in front of `contentBytes` of content. Each literal and code that a first block may need counts once more
 * than it was seen: an encoder that finds them all uses a table without a look, and literals from 6 bytes on instead of 64.
 */
export function dictionaryHead(
  zstdId: number,
  counts: EntropyCounts,
  repeatOffsets: readonly [number, number, number],
  contentBytes: number,
): Uint8Array {
  const offsetCodes = highBit(contentBytes + MAX_BLOCK + 3) + 1;
  const table = (code: SequenceCode) => {
    const { maxLog, maxSymbol } = SEQUENCE_CODES[code];
    const codes = code === 'offsets' ? offsetCodes : maxSymbol + 1;
    return describeFrequencies(normalise(counts[code].slice(0, codes).map(once), maxLog), maxLog);
  };
  return Uint8Array.of(
    ...u32(DICTIONARY_MAGIC),
    ...u32(zstdId),
    ...describeLengths(codeLengths(counts.literals.map(once))),
    ...table('offsets'),
    ...table('matchLengths'),
    ...table('literalLengths'),
    ...repeatOffsets.flatMap(u32),
  );
}

const once = (count: number) => count + 1;

function u32(value: number): number[] {
  return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
}
