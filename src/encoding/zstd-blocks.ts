/**
 * Walks over zstd data (RFC 8878) from element to element without decoding it: frame headers, blocks, checksums,
 * skippable frames. It refuses what a decoder must not be shown: a window over the limit, before memory is taken
 * for it; a dictionary that the stream does not have, which fzstd ignores; a payload that stops in the middle of an element, which a streaming
 * decoder takes for "more to come".
 */

import { DecodeError } from './codec.ts';

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
/** A block decodes to at most this many bytes, or to the window if that is smaller. */
const MAX_BLOCK = 128 << 10;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];

/** What follows the bytes that were walked over. */
type Expected = 'frame' | 'block' | 'checksum';
export type ZstdElement = 'header' | 'block' | 'checksum' | 'skippable';

export class ZstdWalker {
  /** What the last step() walked over. */
  element: ZstdElement = 'header';
  /** Whether that was the last block of its frame. */
  lastBlock = false;
  /** Bytes of window that the frame at hand asks for. */
  windowSize = 0;
  /** The largest window so far. */
  largestWindow = 0;
  /** Bytes that one of its blocks may decode to. */
  maxBlock = 0;
  readonly #maxWindowSize: number;
  readonly #dictionaryNumber: number;
  #expected: Expected = 'frame';
  #hasChecksum = false;

  /**
   * @param maxWindowSize bytes; a frame that asks for more is refused.
   * @param dictionaryNumber of the only dictionary that a frame may name, 0 for none.
   */
  constructor(maxWindowSize: number, dictionaryNumber = 0) {
    this.#maxWindowSize = maxWindowSize;
    this.#dictionaryNumber = dictionaryNumber;
  }

  /**
   * Walks over the element at `at` of `payload` and returns where it ends.
   * @throws DecodeError when it is malformed, not complete, or asks for too large a window or for a dictionary.
   */
  step(payload: Uint8Array, at: number): number {
    const end = this.#element(payload, at);
    if (end > payload.length) throw truncated();
    return end;
  }

  /**
   * Walks over a whole payload; whether it ends between two frames, where nothing that has come matters any more.
   * @throws DecodeError as step() does.
   */
  walk(payload: Uint8Array): boolean {
    for (let at = 0; at < payload.length; ) at = this.step(payload, at);
    return this.#expected === 'frame';
  }

  #element(payload: Uint8Array, at: number): number {
    switch (this.#expected) {
      case 'block':
        return this.#block(payload, at);
      case 'checksum':
        this.element = 'checksum';
        this.#expected = 'frame';
        return at + 4;
      case 'frame':
        return this.#frame(payload, at);
    }
  }

  /** Three bytes, little endian: bit 0 last block, bits 1–2 type, then 21 bits of size. */
  #block(payload: Uint8Array, at: number): number {
    if (at + 3 > payload.length) throw truncated();
    const header = payload[at] | (payload[at + 1] << 8) | (payload[at + 2] << 16);
    const type = (header >> 1) & 3;
    const size = header >> 3;
    if (type === 3) throw new DecodeError('corrupt', 'a zstd block of a reserved type');
    if (size > this.maxBlock) throw new DecodeError('corrupt', 'a zstd block over its maximum size');
    this.element = 'block';
    this.lastBlock = (header & 1) === 1;
    if (this.lastBlock) this.#expected = this.#hasChecksum ? 'checksum' : 'frame';
    // A run-length block (type 1) is one byte, however long its run.
    return at + 3 + (type === 1 ? 1 : size);
  }

  #frame(payload: Uint8Array, at: number): number {
    if (at + 5 > payload.length) throw truncated();
    const magic = readUint(payload, at, 4);
    if (magic === FRAME_MAGIC) return this.#header(payload, at + 4);
    if (magic - (magic % 16) !== SKIPPABLE_MAGIC) throw new DecodeError('corrupt', 'not a zstd frame');
    if (at + 8 > payload.length) throw truncated();
    this.element = 'skippable';
    return at + 8 + readUint(payload, at + 4, 4);
  }

  /** Descriptor: bits 6–7 content size field, 5 single segment, 3 reserved, 2 checksum, 0–1 dictionary ID field. */
  #header(payload: Uint8Array, at: number): number {
    const descriptor = payload[at];
    const single = (descriptor >> 5) & 1;
    const dictionaryAt = at + 2 - single;
    const contentSizeAt = dictionaryAt + DICTIONARY_ID_BYTES[descriptor & 3];
    const contentSizeCode = descriptor >> 6;
    const contentSizeBytes = contentSizeCode === 0 ? single : 1 << contentSizeCode;
    const end = contentSizeAt + contentSizeBytes;
    if (end > payload.length) throw truncated();
    if (descriptor & 8) throw new DecodeError('corrupt', 'a reserved bit is set in a zstd header');
    // An encoder may leave its number out; that a frame without it uses what the stream has named is protocol C9.
    const dictionaryNumber = readUint(payload, dictionaryAt, contentSizeAt - dictionaryAt);
    if (dictionaryNumber !== 0 && dictionaryNumber !== this.#dictionaryNumber) {
      const needs = this.#dictionaryNumber === 0 ? 'a dictionary' : 'another dictionary';
      throw new DecodeError('corrupt', `a zstd frame that needs ${needs}`);
    }
    this.windowSize = single
      ? readUint(payload, contentSizeAt, contentSizeBytes) + (contentSizeCode === 1 ? 256 : 0)
      : windowSize(payload[at + 1]);
    if (this.windowSize > this.#maxWindowSize) {
      throw new DecodeError(
        'limit',
        `maxWindowSize: a window of ${this.windowSize} bytes, over ${this.#maxWindowSize}`,
      );
    }
    this.largestWindow = Math.max(this.largestWindow, this.windowSize);
    this.element = 'header';
    this.maxBlock = Math.min(this.windowSize, MAX_BLOCK);
    this.#hasChecksum = (descriptor & 4) !== 0;
    this.#expected = 'block';
    return end;
  }
}

/** A window descriptor: 5 bits of exponent, 3 bits of eighths. Up to 2^41, past what `<<` can do. */
function windowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

function readUint(bytes: Uint8Array, at: number, length: number): number {
  let value = 0;
  for (let i = length - 1; i >= 0; i--) value = value * 256 + bytes[at + i];
  return value;
}

function truncated(): DecodeError {
  return new DecodeError('corrupt', 'the payload ends inside a zstd header, block or checksum');
}
