/**
 * The form of a zstd dictionary (RFC 8878, 5): magic, ID, a Huffman table for literals, FSE tables for offsets, match
 * lengths and literal lengths, three repeat offsets, content. Nothing of Node.js in here: browsers read dictionaries, too.
 */

import { MAX_DICTIONARY_BYTES } from '../../wire/payloads.ts';
import { FseTable, HuffmanTable } from '../zstd-entropy.ts';
import { SEQUENCE_CODES, type SequenceCode } from '../zstd-sequences.ts';

/** The first four bytes, little endian. */
export const DICTIONARY_MAGIC = 0xec30a437;

const HEADER_BYTES = 8;
const REPEAT_OFFSETS_BYTES = 12;

/** A dictionary that was read and found whole. Never changed: decoders share it. */
export interface ParsedDictionary {
  /** The number that zstd frames call it by; never 0. Not the ID of protocol C9, which is a hash. */
  readonly zstdId: number;
  readonly literals: HuffmanTable;
  readonly offsets: FseTable;
  readonly matchLengths: FseTable;
  readonly literalLengths: FseTable;
  /** Newest first; each from 1 to the length of the content. */
  readonly repeatOffsets: readonly [number, number, number];
  /** What matches may reach back into, the nearest bytes last. A view of the bytes that were parsed. */
  readonly content: Uint8Array;
  /** Bytes of all. */
  readonly size: number;
}

/** Bytes that are no dictionary; the message says where and why. */
export class DictionaryError extends RangeError {
  override readonly name = 'DictionaryError';
}

/**
 * Reads and checks a whole dictionary. Its content is a view of `bytes`, which must not change afterwards.
 * @throws DictionaryError where it is none, is damaged, or has more bytes than protocol C9 allows.
 */
export function parseDictionary(bytes: Uint8Array): ParsedDictionary {
  const size = bytes.length;
  if (size > MAX_DICTIONARY_BYTES) {
    throw new DictionaryError(`a dictionary has at most ${MAX_DICTIONARY_BYTES} bytes, not ${size}`);
  }
  if (size < HEADER_BYTES) throw new DictionaryError(`${size} bytes are too few for a zstd dictionary`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, size);
  if (view.getUint32(0, true) !== DICTIONARY_MAGIC) {
    throw new DictionaryError('not a zstd dictionary: it does not begin with 37 a4 30 ec');
  }
  const zstdId = view.getUint32(4, true);
  if (zstdId === 0) throw new DictionaryError('damaged dictionary: its zstd ID is 0');
  const literals = new HuffmanTable();
  let at = table('Huffman table of literals', () => literals.read(bytes, HEADER_BYTES, size));
  const sequenceTable = (code: SequenceCode, name: string) => {
    const { maxLog, maxSymbol } = SEQUENCE_CODES[code];
    const own = new FseTable(maxLog, maxSymbol);
    at = table(`FSE table of ${name}`, () => own.read(bytes, at, size));
    return own;
  };
  const offsets = sequenceTable('offsets', 'offsets');
  const matchLengths = sequenceTable('matchLengths', 'match lengths');
  const literalLengths = sequenceTable('literalLengths', 'literal lengths');
  const contentAt = at + REPEAT_OFFSETS_BYTES;
  if (contentAt > size) throw new DictionaryError('damaged dictionary: its repeat offsets are cut off');
  const content = bytes.subarray(contentAt);
  const repeatOffset = (index: number) => {
    const offset = view.getUint32(at + 4 * index, true);
    if (offset >= 1 && offset <= content.length) return offset;
    throw new DictionaryError(
      `damaged dictionary: repeat offset ${offset} does not lie in its ${content.length} bytes of content`,
    );
  };
  const repeatOffsets = [repeatOffset(0), repeatOffset(1), repeatOffset(2)] as const;
  return { zstdId, literals, offsets, matchLengths, literalLengths, repeatOffsets, content, size };
}

/** Where a table ends. @throws DictionaryError that says which table it was. */
function table(name: string, read: () => number): number {
  try {
    return read();
  } catch (error) {
    throw new DictionaryError(`damaged dictionary: ${name}: ${(error as Error).message}`, { cause: error });
  }
}
