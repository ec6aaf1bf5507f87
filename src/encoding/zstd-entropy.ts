/** The two entropy codings of zstd (RFC 8878, 4): finite state entropy (FSE) and Huffman, decoding side. */

import { DecodeError } from './codec.ts';

/** Where a table's description ends and the data behind it begins. */
type End = number;

/** The number of the highest bit that is set in `value` > 0. */
export const highBit = (value: number): number => 31 - Math.clz32(value);

/**
 * Bits that were written forwards and are read backwards: the last byte's highest bit is a marker, the first value
 * sits below it. Bytes are `bytes[start .. end)`.
 */
export class BackwardBits {
  /** Bits that are left; negative once more have been read than there were. Those were zeros. */
  left = 0;
  #bytes: Uint8Array = new Uint8Array(0);
  #start = 0;

  /** @throws DecodeError without a marker. */
  open(bytes: Uint8Array, start: number, end: number): void {
    const last = end > start ? bytes[end - 1] : 0;
    if (last === 0) throw corrupt('a bit stream without an end mark');
    this.#bytes = bytes;
    this.#start = start;
    this.left = (end - start - 1) * 8 + highBit(last);
  }

  /** The next `count` bits, at most 25. */
  read(count: number): number {
    this.left -= count;
    if (this.left < 0) return 0;
    const bytes = this.#bytes;
    const at = this.#start + (this.left >> 3);
    const word = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    return (word >>> (this.left & 7)) & ((1 << count) - 1);
  }
}

/** An FSE decoding table. A state is an index; its symbol is out, and the next state is `base + read(bits)`. */
export class FseTable {
  /** There are 2^log states. */
  log = 0;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
  readonly bases: Uint16Array;
  readonly #maxLog: number;
  readonly #maxSymbol: number;

  constructor(maxLog: number, maxSymbol: number) {
    this.#maxLog = maxLog;
    this.#maxSymbol = maxSymbol;
    this.symbols = new Uint8Array(1 << maxLog);
    this.bits = new Uint8Array(1 << maxLog);
    this.bases = new Uint16Array(1 << maxLog);
  }

  /** States of each symbol, of 2^log in all. */
  frequencies(): number[] {
    const counts = new Array<number>(this.#maxSymbol + 1).fill(0);
    for (let state = 0; state < 1 << this.log; state++) counts[this.symbols[state]]++;
    return counts;
  }

  /** One symbol always, without any bits. @throws DecodeError */
  repeat(symbol: number): void {
    if (symbol > this.#maxSymbol) throw corrupt('an FSE symbol out of range');
    this.log = 0;
    this.symbols[0] = symbol;
    this.bits[0] = 0;
    this.bases[0] = 0;
  }

  /** From a description in `bytes[at .. end)` (RFC 8878, 4.1.1). @throws DecodeError */
  read(bytes: Uint8Array, at: number, end: number): End {
    const log = (at < end ? bytes[at] & 15 : 15) + 5;
    if (log > this.#maxLog) throw corrupt('an FSE table over its maximum size');
    let position = at * 8 + 4;
    let remaining = 1 << log;
    let count = 0;
    while (remaining > 0 && count <= this.#maxSymbol) {
      // A value is from 0 to remaining + 1; the smaller ones are one bit shorter.
      const width = highBit(remaining + 1);
      const short = (1 << width) - 1;
      const threshold = (2 << width) - 1 - (remaining + 1);
      const value = forwardBits(bytes, position, width + 1);
      const isShort = (value & short) < threshold;
      position += isShort ? width : width + 1;
      const frequency = (isShort ? value & short : value > short ? value - threshold : value) - 1;
      remaining -= Math.abs(frequency);
      FREQUENCIES[count++] = frequency;
      if (frequency !== 0) continue;
      for (let zeros = 3; zeros === 3; position += 2) {
        zeros = forwardBits(bytes, position, 2);
        if (count + zeros > this.#maxSymbol) throw corrupt('an FSE symbol out of range');
        FREQUENCIES.fill(0, count, count + zeros);
        count += zeros;
      }
    }
    const dataAt = (position + 7) >> 3;
    if (remaining !== 0 || dataAt > end) throw corrupt('an FSE table that does not add up');
    this.build(FREQUENCIES.subarray(0, count), log);
    return dataAt;
  }

  /** From each symbol's frequency in 2^log; −1 stands for "less than 1", which gets one state at the end. */
  build(frequencies: ArrayLike<number>, log: number): void {
    const { symbols, bits, bases } = this;
    const size = 1 << log;
    let high = size - 1;
    for (let symbol = 0; symbol < frequencies.length; symbol++) {
      const frequency = frequencies[symbol];
      if (frequency === -1) symbols[high--] = symbol;
      NEXT[symbol] = Math.abs(frequency);
    }
    const step = (size >> 1) + (size >> 3) + 3;
    let position = 0;
    for (let symbol = 0; symbol < frequencies.length; symbol++) {
      for (let i = frequencies[symbol]; i > 0; i--) {
        symbols[position] = symbol;
        do position = (position + step) & (size - 1);
        while (position > high);
      }
    }
    for (let state = 0; state < size; state++) {
      const next = NEXT[symbols[state]]++;
      const width = log - highBit(next);
      bits[state] = width;
      bases[state] = (next << width) - size;
    }
    this.log = log;
  }
}

// Scratch of FseTable: decoding is synchronous, so one of each is enough for a thread.
const FREQUENCIES = new Int16Array(256);
const NEXT = new Uint16Array(256);

/** `count` ≤ 16 bits at bit `position` of `bytes`, lowest first; zeros behind the end. */
function forwardBits(bytes: Uint8Array, position: number, count: number): number {
  const at = position >> 3;
  const word = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
  return (word >>> (position & 7)) & ((1 << count) - 1);
}

const HUFFMAN_MAX_BITS = 11;

/** A Huffman decoding table: the next `maxBits` bits are the index of a symbol and of how many bits it takes. */
export class HuffmanTable {
  #maxBits = 0;
  readonly #symbols = new Uint8Array(1 << HUFFMAN_MAX_BITS);
  readonly #bits = new Uint8Array(1 << HUFFMAN_MAX_BITS);

  /** Bits of each symbol's code; 0 for one that has none. */
  codeLengths(): Uint8Array {
    const lengths = new Uint8Array(256);
    for (let index = 0; index < 1 << this.#maxBits; index++)
      lengths[this.#symbols[index]] = this.#bits[index];
    return lengths;
  }

  /** From a description in `bytes[at .. end)` (RFC 8878, 4.2.1). @throws DecodeError */
  read(bytes: Uint8Array, at: number, end: number): End {
    const header = at < end ? bytes[at] : 0;
    const packed = header >= 128;
    const dataAt = at + 1 + (packed ? (header - 126) >> 1 : header);
    if (dataAt > end) throw corrupt('a Huffman table that is cut off');
    const count = packed ? unpackWeights(bytes, at + 1, header - 127) : decodeWeights(bytes, at + 1, dataAt);
    this.#build(completeWeights(count));
    return dataAt;
  }

  /** Decodes `bytes[start .. end)` into exactly `target[from .. to)`. @throws DecodeError */
  decode(bytes: Uint8Array, start: number, end: number, target: Uint8Array, from: number, to: number): void {
    const maxBits = this.#maxBits;
    const symbols = this.#symbols;
    const bits = this.#bits;
    const mask = (1 << maxBits) - 1;
    STREAM.open(bytes, start, end);
    let left = STREAM.left;
    let out = from;
    while (out < to && left >= maxBits) {
      const low = left - maxBits;
      const at = start + (low >> 3);
      const word = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
      const index = (word >>> (low & 7)) & mask;
      target[out++] = symbols[index];
      left -= bits[index];
    }
    // The last symbols' codes may be shorter than an index: zeros fill it up.
    while (out < to && left > 0) {
      const word = bytes[start] | (bytes[start + 1] << 8);
      const index = ((word & ((1 << left) - 1)) << (maxBits - left)) & mask;
      target[out++] = symbols[index];
      left -= bits[index];
    }
    if (out !== to || left !== 0) throw corrupt('Huffman data that does not fit its size');
  }

  /** Codes are given out from weight 1, the longest, upwards; a code of weight w fills 2^(w−1) indexes. */
  #build(count: number): void {
    const maxBits = highBit(totalOf(count));
    let index = 0;
    for (let weight = 1; weight <= maxBits; weight++) {
      for (let symbol = 0; symbol < count; symbol++) {
        if (WEIGHTS[symbol] !== weight) continue;
        const next = index + (1 << (weight - 1));
        this.#symbols.fill(symbol, index, next);
        this.#bits.fill(maxBits + 1 - weight, index, next);
        index = next;
      }
    }
    this.#maxBits = maxBits;
  }
}

// Scratch of HuffmanTable.
const STREAM = new BackwardBits();
const WEIGHTS = new Uint8Array(256);
const WEIGHTS_TABLE = new FseTable(6, 12);

/** `count` weights of four bits, the first in the higher half of its byte. */
function unpackWeights(bytes: Uint8Array, at: number, count: number): number {
  for (let i = 0; i < count; i++) {
    const pair = bytes[at + (i >> 1)];
    WEIGHTS[i] = i & 1 ? pair & 15 : pair >> 4;
  }
  return count;
}

/** Weights under FSE, by two states in turn, until the bits run out. */
function decodeWeights(bytes: Uint8Array, at: number, end: number): number {
  const table = WEIGHTS_TABLE;
  STREAM.open(bytes, table.read(bytes, at, end), end);
  let state = STREAM.read(table.log);
  let other = STREAM.read(table.log);
  if (STREAM.left < 0) throw corrupt('a Huffman table that is cut off');
  let count = 0;
  // The bound is not only for the array: a table of a single symbol takes no bits and would go on forever.
  while (STREAM.left >= 0) {
    if (count > 253) throw corrupt('too many Huffman weights');
    WEIGHTS[count++] = table.symbols[state];
    const next = table.bases[state] + STREAM.read(table.bits[state]);
    state = other;
    other = next;
  }
  WEIGHTS[count++] = table.symbols[state];
  return count;
}

/** Adds the last symbol's weight, which is not sent: what is missing to a power of two. */
function completeWeights(count: number): number {
  const total = totalOf(count);
  if (total === 0) throw corrupt('a Huffman table without symbols');
  const maxBits = highBit(total) + 1;
  const missing = (1 << maxBits) - total;
  WEIGHTS[count] = highBit(missing) + 1;
  // The RFC does not say it, but libzstd refuses a tree whose longest codes are not those of weight 1.
  const hasLongest = WEIGHTS.subarray(0, count + 1).includes(1);
  if (maxBits > HUFFMAN_MAX_BITS || (missing & (missing - 1)) !== 0 || !hasLongest)
    throw corrupt('a Huffman table that does not add up');
  return count + 1;
}

/** Indexes that the first `count` symbols take. */
function totalOf(count: number): number {
  let total = 0;
  for (let i = 0; i < count; i++) if (WEIGHTS[i] > 0) total += 1 << (WEIGHTS[i] - 1);
  return total;
}

export function corrupt(what: string): DecodeError {
  return new DecodeError('corrupt', `zstd: ${what}`);
}
