/** What is in a dictionary, in figures. */

import type { FseTable, HuffmanTable } from '../zstd-entropy.ts';
import type { ParsedDictionary } from './format.ts';

export interface DictionaryFacts {
  readonly zstdId: number;
  /** Bytes of all, of the tables with what is in front of them, and of the content. */
  readonly bytes: number;
  readonly tableBytes: number;
  readonly contentBytes: number;
  readonly repeatOffsets: readonly number[];
  readonly literals: TableFacts;
  readonly offsets: TableFacts;
  readonly matchLengths: TableFacts;
  readonly literalLengths: TableFacts;
}

export interface TableFacts {
  /** Symbols or codes that have a place in the table. */
  readonly symbols: number;
  /** Bits that one takes, on the average of what the table was made for. */
  readonly entropyBits: number;
  /** Bits of the cheapest one and of the dearest. */
  readonly leastBits: number;
  readonly mostBits: number;
}

export function dictionaryFacts(dictionary: ParsedDictionary): DictionaryFacts {
  const { zstdId, size, content, repeatOffsets } = dictionary;
  return {
    zstdId,
    bytes: size,
    tableBytes: size - content.length,
    contentBytes: content.length,
    repeatOffsets,
    literals: huffmanFacts(dictionary.literals),
    offsets: fseFacts(dictionary.offsets),
    matchLengths: fseFacts(dictionary.matchLengths),
    literalLengths: fseFacts(dictionary.literalLengths),
  };
}

function huffmanFacts(table: HuffmanTable): TableFacts {
  return facts(Array.from(table.codeLengths()).filter((length) => length > 0));
}

function fseFacts(table: FseTable): TableFacts {
  const states = table.frequencies().filter((count) => count > 0);
  return facts(states.map((count) => table.log - Math.log2(count)));
}

/** A symbol of b bits is there 2^−b of the time. */
function facts(bits: readonly number[]): TableFacts {
  return {
    symbols: bits.length,
    entropyBits: bits.reduce((sum, each) => sum + each * 2 ** -each, 0),
    leastBits: Math.min(...bits),
    mostBits: Math.max(...bits),
  };
}
