/** The decoded bytes of one frame: a buffer that grows as far as the limits allow and only as far as it must. */

import { DecodeError, type DecoderLimits } from './codec.ts';

/** Decoded bytes up to which a frame's ratio does not matter (protocol B-limits). */
const RATIO_FREE = 64 << 10;
/** Size of the first buffer. */
const FIRST = 4 << 10;
/** What a frame of the largest default size needs. Larger buffers are not kept from one frame to the next. */
const KEPT = (1 << 20) + 1;

const NOTHING = new Uint8Array(0);
/**
 * The buffer that all decoders of the thread have in common, for none is at work in the midst of another. One for each would
 * be memory that waits for the next frame, and to make one for each frame leaves the collector, and malloc, more than was sent.
 */
let common: Uint8Array = NOTHING;

/** Bytes that a frame of `wireBytes` may decode to. */
export function mostDecoded(limits: DecoderLimits, wireBytes: number): number {
  return Math.min(limits.maxDecodedSize, Math.max(RATIO_FREE, limits.maxDecodedRatio * wireBytes));
}

export class Output {
  /** Decoded bytes are `buffer[0 .. length)`. */
  buffer: Uint8Array = NOTHING;
  length = 0;
  readonly #limits: DecoderLimits;
  /** Bytes that the frame at hand may decode to. */
  #cap = 0;

  constructor(limits: DecoderLimits) {
    this.#limits = limits;
  }

  /** Starts a frame that took `wireBytes` on the wire. */
  begin(wireBytes: number): void {
    this.#cap = mostDecoded(this.#limits, wireBytes);
    this.length = 0;
    this.buffer = common;
  }

  /** Free bytes after `length`, at least 1: one more than allowed, so that a library can show that it has more. */
  room(): number {
    if (this.length === this.buffer.length) this.#grow(this.length + 1);
    return Math.min(this.buffer.length, this.#cap + 1) - this.length;
  }

  /** Counts `count` bytes that were written at `length`. @throws DecodeError over a limit. */
  advance(count: number): void {
    this.length += count;
    if (this.length > this.#cap) throw this.#excess();
  }

  /** Adds a copy of `chunk`. @throws DecodeError over a limit, before memory is taken for it. */
  append(chunk: Uint8Array): void {
    const length = this.length + chunk.length;
    if (length > this.#cap) throw this.#excess();
    if (length > this.buffer.length) this.#grow(length);
    this.buffer.set(chunk, this.length);
    this.length = length;
  }

  /** The frame's bytes, valid until the next begin() on this thread. */
  bytes(): Uint8Array {
    const bytes = this.buffer.subarray(0, this.length);
    this.buffer = NOTHING;
    return bytes;
  }

  #grow(atLeast: number): void {
    const wanted = Math.max(atLeast, FIRST, Math.min(2 * this.buffer.length, this.#cap + 1));
    const larger = new Uint8Array(wanted);
    larger.set(this.buffer.subarray(0, this.length));
    this.buffer = larger;
    if (wanted <= KEPT) common = larger;
  }

  #excess(): DecodeError {
    const { maxDecodedSize, maxDecodedRatio } = this.#limits;
    return this.#cap === maxDecodedSize
      ? new DecodeError('limit', `maxDecodedSize: a frame decodes to more than ${maxDecodedSize} bytes`)
      : new DecodeError(
          'limit',
          `maxDecodedRatio: a frame decodes to more than ${maxDecodedRatio}× its size`,
        );
  }
}
