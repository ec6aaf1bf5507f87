/**
 * A zstd block decoder in plain JavaScript (RFC 8878), for runtimes without one. fzstd, the library for this, moves
 * its whole window for every block (190 µs for a small record, against 13 here), holds back the first bytes of a
 * stream, and can be made to run for minutes by 20 crafted bytes; here work and memory are bounded by the block.
 */

import type { ParsedDictionary } from './dictionary/format.ts';
import { BackwardBits, corrupt, HuffmanTable } from './zstd-entropy.ts';
import {
  CodeTables,
  LITERAL_LENGTH_BASES,
  LITERAL_LENGTH_BITS,
  MATCH_LENGTH_BASES,
  MATCH_LENGTH_BITS,
} from './zstd-sequences.ts';

const RAW = 0;
const RUN = 1;

const FIRST_HISTORY = 16 << 10;

/** Told of what blocks are made of, as they are decoded; for the trainer of dictionaries. */
export interface BlockObserver {
  /** The literals of a compressed block; a view, valid during the call. */
  onLiterals(bytes: Uint8Array): void;
  /** The three codes of one sequence. */
  onSequence(literalCode: number, offsetCode: number, matchCode: number): void;
}

export class ZstdBlockDecoder {
  /**
   * What this zstd frame has decoded to, as far back as its window goes: `#history[#start .. #end)`. In front of it lies
   * the dictionary's content, until the window has left it and the bytes are needed; from then on #start is −1.
   */
  #history = new Uint8Array(0);
  #start = 0;
  #end = 0;
  /** Whether the history begins with the dictionary's content. */
  #holdsContent = false;
  readonly #dictionary: ParsedDictionary | undefined;
  readonly #observer: BlockObserver | undefined;
  #windowSize = 0;
  #maxBlock = 0;
  /** The last three offsets, newest first. */
  #offset1 = 1;
  #offset2 = 4;
  #offset3 = 8;
  /** The last table that a block has brought, and the one in use. */
  #ownHuffman: HuffmanTable | undefined;
  #huffman: HuffmanTable | undefined;
  #literals: Uint8Array = new Uint8Array(0);
  #literalsAt = 0;
  #literalsEnd = 0;
  #literalsBuffer = new Uint8Array(0);
  readonly #bits = new BackwardBits();
  readonly #literalLengths = new CodeTables('literalLengths');
  readonly #offsets = new CodeTables('offsets');
  readonly #matchLengths = new CodeTables('matchLengths');

  /** Every zstd frame begins with `dictionary`, where there is one. */
  constructor(dictionary?: ParsedDictionary, observer?: BlockObserver) {
    this.#dictionary = dictionary;
    this.#observer = observer;
  }

  /** Starts a zstd frame with a window of `windowSize` bytes and blocks that decode to at most `maxBlock`. */
  begin(windowSize: number, maxBlock: number): void {
    const dictionary = this.#dictionary;
    this.#windowSize = windowSize;
    this.#maxBlock = maxBlock;
    if (dictionary !== undefined) this.#holdContent(dictionary.content);
    this.#start = dictionary?.content.length ?? 0;
    this.#end = this.#start;
    this.#offset1 = dictionary?.repeatOffsets[0] ?? 1;
    this.#offset2 = dictionary?.repeatOffsets[1] ?? 4;
    this.#offset3 = dictionary?.repeatOffsets[2] ?? 8;
    this.#huffman = dictionary?.literals;
    this.#literalLengths.reset(dictionary?.literalLengths);
    this.#offsets.reset(dictionary?.offsets);
    this.#matchLengths.reset(dictionary?.matchLengths);
  }

  /** Puts it in front of the history, where it stays over zstd frames that do not need its place. */
  #holdContent(content: Uint8Array): void {
    if (this.#holdsContent) return;
    if (this.#history.length < content.length) {
      this.#history = new Uint8Array(content.length + Math.max(FIRST_HISTORY, this.#maxBlock));
    }
    this.#history.set(content);
    this.#holdsContent = true;
  }

  /**
   * Decodes the block `bytes[at .. end)`, header included, that a {@link ZstdWalker} has walked over. The result is
   * valid until the next call.
   * @throws DecodeError when it is corrupt; the decoder is then unusable.
   */
  decode(bytes: Uint8Array, at: number, end: number): Uint8Array {
    const header = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
    const type = (header >> 1) & 3;
    const dataAt = at + 3;
    const start = this.#makeRoom();
    if (type === RAW) this.#append(bytes, dataAt, end);
    else if (type === RUN) this.#appendRun(bytes[dataAt], header >> 3);
    else this.#sequences(bytes, this.#readLiterals(bytes, dataAt, end), end);
    return this.#history.subarray(start, this.#end);
  }

  /** Makes sure that a block has room behind `#end`, by a larger buffer or by giving up what left the window. */
  #makeRoom(): number {
    const needed = this.#end + this.#maxBlock;
    if (needed <= this.#history.length) return this.#end;
    // Past the window, a slide for every quarter of it: moved rarely, held little.
    const most =
      Math.max(0, this.#start) + this.#windowSize + Math.max(2 * this.#maxBlock, this.#windowSize >> 2);
    if (needed > most) {
      this.#history.copyWithin(0, this.#end - this.#windowSize, this.#end);
      this.#end = this.#windowSize;
      this.#start = -1;
      this.#holdsContent = false;
    } else {
      const larger = new Uint8Array(
        Math.min(most, Math.max(FIRST_HISTORY, needed, 2 * this.#history.length)),
      );
      larger.set(this.#history.subarray(0, this.#end));
      this.#history = larger;
    }
    return this.#end;
  }

  #append(bytes: Uint8Array, from: number, to: number): void {
    this.#history.set(bytes.subarray(from, to), this.#end);
    this.#end += to - from;
  }

  #appendRun(byte: number, length: number): void {
    this.#history.fill(byte, this.#end, this.#end + length);
    this.#end += length;
  }

  /** The literals section (RFC 8878, 3.1.1.3.1); returns where it ends. */
  #readLiterals(bytes: Uint8Array, at: number, end: number): number {
    const first = at < end ? bytes[at] : 0;
    const type = first & 3;
    const format = (first >> 2) & 3;
    if (type > RUN) return this.#readHuffmanLiterals(bytes, at, end, type === 2, format);
    const headerSize = format === 1 ? 2 : format === 3 ? 3 : 1;
    const dataAt = at + headerSize;
    const size = uint(bytes, at, headerSize) >> (headerSize === 1 ? 3 : 4);
    const dataEnd = dataAt + (type === RAW ? size : 1);
    if (dataEnd > end || size > this.#maxBlock) throw corrupt('literals that do not fit their block');
    if (type === RAW) this.#setLiterals(bytes, dataAt, size);
    else this.#setLiterals(this.#literalsRoom(size).fill(bytes[dataAt], 0, size), 0, size);
    return dataEnd;
  }

  #readHuffmanLiterals(
    bytes: Uint8Array,
    at: number,
    end: number,
    hasTable: boolean,
    format: number,
  ): number {
    const headerSize = format < 2 ? 3 : format + 2;
    const sizeBits = format < 2 ? 10 : format * 4 + 6;
    const header =
      uint(bytes, at, Math.min(4, headerSize)) + (headerSize === 5 ? (bytes[at + 4] ?? 0) * 2 ** 32 : 0);
    const size = Math.floor(header / 16) % 2 ** sizeBits;
    let from = at + headerSize;
    const to = from + Math.floor(header / 2 ** (4 + sizeBits));
    if (to > end || size > this.#maxBlock) throw corrupt('literals that do not fit their block');
    if (hasTable) {
      this.#ownHuffman ??= new HuffmanTable();
      from = this.#ownHuffman.read(bytes, from, to);
      this.#huffman = this.#ownHuffman;
    }
    const huffman = this.#huffman;
    if (huffman === undefined) throw corrupt('a repeated table that was never sent');
    const target = this.#literalsRoom(size);
    if (format === 0) huffman.decode(bytes, from, to, target, 0, size);
    else decodeFourStreams(huffman, bytes, from, to, target, size);
    this.#setLiterals(target, 0, size);
    return to;
  }

  #literalsRoom(size: number): Uint8Array {
    if (this.#literalsBuffer.length < size) this.#literalsBuffer = new Uint8Array(Math.max(size, 4096));
    return this.#literalsBuffer;
  }

  #setLiterals(bytes: Uint8Array, at: number, size: number): void {
    this.#literals = bytes;
    this.#literalsAt = at;
    this.#literalsEnd = at + size;
  }

  /** The sequences section (RFC 8878, 3.1.1.3.2): each copies literals, then a match out of the history. */
  #sequences(bytes: Uint8Array, at: number, end: number): void {
    const first = at < end ? bytes[at] : 0;
    const countSize = first < 128 ? 1 : first < 255 ? 2 : 3;
    let from = at + countSize;
    if (from > end) throw corrupt('a sequences section that is cut off');
    this.#observer?.onLiterals(this.#literals.subarray(this.#literalsAt, this.#literalsEnd));
    let count = first;
    if (countSize === 2) count = ((first - 128) << 8) + bytes[at + 1];
    else if (countSize === 3) count = bytes[at + 1] + (bytes[at + 2] << 8) + 0x7f00;
    if (count === 0) {
      if (from !== end) throw corrupt('bytes behind the last sequence');
    } else {
      const modes = from < end ? bytes[from++] : 3;
      if (modes & 3) throw corrupt('a reserved mode of sequences');
      from = this.#literalLengths.select(modes >> 6, bytes, from, end);
      from = this.#offsets.select((modes >> 4) & 3, bytes, from, end);
      from = this.#matchLengths.select((modes >> 2) & 3, bytes, from, end);
      this.#execute(count, bytes, from, end);
    }
    this.#append(this.#literals, this.#literalsAt, this.#literalsEnd);
  }

  #execute(count: number, bytes: Uint8Array, from: number, end: number): void {
    const bits = this.#bits;
    const history = this.#history;
    const literals = this.#literals;
    const literalLengths = this.#literalLengths.table;
    const offsets = this.#offsets.table;
    const matchLengths = this.#matchLengths.table;
    const windowSize = this.#windowSize;
    const observer = this.#observer;
    // Up to here an offset may reach the dictionary, whatever the window (RFC 8878, 5).
    const reachEnd = this.#start + windowSize;
    let literalsAt = this.#literalsAt;
    let out = this.#end;
    const most = out + this.#maxBlock;
    bits.open(bytes, from, end);
    let literalState = bits.read(literalLengths.log);
    let offsetState = bits.read(offsets.log);
    let matchState = bits.read(matchLengths.log);

    for (let left = count; left > 0; left--) {
      const offsetCode = offsets.symbols[offsetState];
      const matchCode = matchLengths.symbols[matchState];
      const literalCode = literalLengths.symbols[literalState];
      const offsetValue = (1 << offsetCode) + readWide(bits, offsetCode);
      const matchLength = MATCH_LENGTH_BASES[matchCode] + bits.read(MATCH_LENGTH_BITS[matchCode]);
      const literalLength = LITERAL_LENGTH_BASES[literalCode] + bits.read(LITERAL_LENGTH_BITS[literalCode]);
      const offset = this.#offsetOf(offsetValue, literalLength);
      const matchAt = out + literalLength;
      // Every bound that the copies below rely on. The history holds at least the window, once so much was decoded.
      if (
        bits.left < 0 ||
        literalsAt + literalLength > this.#literalsEnd ||
        matchAt + matchLength > most ||
        (offset > windowSize && matchAt > reachEnd) ||
        offset > matchAt ||
        offset <= 0
      ) {
        throw corrupt('a sequence out of bounds');
      }
      if (observer !== undefined) observer.onSequence(literalCode, offsetCode, matchCode);
      copy(literals, literalsAt, history, out, literalLength);
      copy(history, matchAt - offset, history, matchAt, matchLength);
      literalsAt += literalLength;
      out = matchAt + matchLength;
      if (left > 1) {
        literalState = literalLengths.bases[literalState] + bits.read(literalLengths.bits[literalState]);
        matchState = matchLengths.bases[matchState] + bits.read(matchLengths.bits[matchState]);
        offsetState = offsets.bases[offsetState] + bits.read(offsets.bits[offsetState]);
      }
    }
    if (bits.left !== 0) throw corrupt('sequences that do not fit their bits');
    if (out + this.#literalsEnd - literalsAt > most) throw corrupt('a block over its maximum size');
    this.#literalsAt = literalsAt;
    this.#end = out;
  }

  /** Values up to 3 mean one of the last offsets; without literals before the match, the one after it. */
  #offsetOf(value: number, literalLength: number): number {
    const recent = value > 3 ? 4 : value + (literalLength === 0 ? 1 : 0);
    if (recent === 1) return this.#offset1;
    let offset = value - 3;
    if (recent === 2) offset = this.#offset2;
    else if (recent === 3) offset = this.#offset3;
    else if (value === 3) offset = this.#offset1 - 1;
    if (recent !== 2) this.#offset3 = this.#offset2;
    this.#offset2 = this.#offset1;
    this.#offset1 = offset;
    return offset;
  }
}

/** Literals in four bit streams, the sizes of the first three in front of them. */
function decodeFourStreams(
  table: HuffmanTable,
  bytes: Uint8Array,
  at: number,
  end: number,
  target: Uint8Array,
  size: number,
): void {
  const quarter = (size + 3) >> 2;
  let from = at + 6;
  if (from > end || 3 * quarter > size) throw corrupt('literals that do not fit their block');
  for (let stream = 0; stream < 4; stream++) {
    const to = stream < 3 ? from + uint(bytes, at + 2 * stream, 2) : end;
    if (to > end) throw corrupt('literals that do not fit their block');
    table.decode(bytes, from, to, target, stream * quarter, stream < 3 ? (stream + 1) * quarter : size);
    from = to;
  }
}

/** Below this many bytes a loop is faster than a call into the engine. */
const LOOP_BELOW = 48;

/** Copies in ascending order, so that a match may overlap what it makes. */
function copy(source: Uint8Array, at: number, target: Uint8Array, to: number, length: number): void {
  if (length >= LOOP_BELOW && (source !== target || at + length <= to)) {
    target.set(source.subarray(at, at + length), to);
    return;
  }
  for (let i = 0; i < length; i++) target[to + i] = source[at + i];
}

/** Up to 31 bits; BackwardBits.read() has at most 25. */
function readWide(bits: BackwardBits, count: number): number {
  if (count <= 16) return bits.read(count);
  return bits.read(count - 16) * 65_536 + bits.read(16);
}

/** `length` ≤ 4 bytes, little endian; bytes that are not there count as zeros. */
function uint(bytes: Uint8Array, at: number, length: number): number {
  let value = 0;
  for (let i = length - 1; i >= 0; i--) value = value * 256 + (bytes[at + i] ?? 0);
  return value;
}
