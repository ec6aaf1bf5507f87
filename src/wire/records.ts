/**
 * Messages on a way that knows only bytes: each with its length before it, so that it does not matter how the bytes
 * are cut. A record is its length as a varint (LEB128, at most 5 bytes, as in protocol C10) and so many bytes.
 */

import { type Bytes, bytesOrTextOf, kindOf } from './bytes.ts';
import { CommandError } from './errors.ts';
import { Gathered } from './gathered.ts';
import { MAX_VARINT, varint } from './varint.ts';

/** How records are read. */
export interface RecordOptions {
  /** Most bytes of one record; default 1 MiB. Memory is taken as a record comes, not as its length says. */
  readonly maxBytes?: number;
}

const DEFAULT_MAX_BYTES = 1 << 20;
const MAX_LENGTH = 0xffff_ffff;
/** Messages up to this size are copied next to their length; larger ones travel as they are. */
const COPY_LIMIT = 16 * 1024;

/**
 * Writes: every message as a record, a string as UTF-8. For what a handler yields, and for command data.
 * @throws TypeError for a message that is neither bytes nor a string; RangeError for one of 4 GiB and more.
 */
export function records(
  messages: Iterable<Bytes | string> | AsyncIterable<Bytes | string>,
): AsyncGenerator<Uint8Array, void, undefined>;
/**
 * Reads: the messages that were written so, each as a piece of its own that belongs to the caller. For a response, and
 * for a handler's `request.data`. It is the second argument that says "read".
 * @throws CommandError `invalid-argument` for a record longer than `maxBytes`, a length that is none, or an end in the
 * middle of a record; and whatever `received` throws. At once: TypeError for an option that there is not, RangeError for a
 * `maxBytes` that is no whole number.
 */
export function records(
  received: AsyncIterable<Uint8Array>,
  options: RecordOptions,
): AsyncGenerator<Uint8Array, void, undefined>;
export function records(
  source: Iterable<Bytes | string> | AsyncIterable<Bytes | string>,
  options?: RecordOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (options === undefined) return written(source);
  const misspelt = Object.keys(options).find((name) => name !== 'maxBytes');
  if (misspelt !== undefined)
    throw new TypeError(`option ${misspelt}: records takes no such option; there is maxBytes`);
  const { maxBytes = DEFAULT_MAX_BYTES } = options;
  if (!Number.isSafeInteger(maxBytes) || maxBytes < 0)
    throw new RangeError(`maxBytes is not a whole number of bytes: ${kindOf(maxBytes)} ${String(maxBytes)}`);
  return read(source as AsyncIterable<Uint8Array>, maxBytes);
}

async function* written(
  messages: Iterable<Bytes | string> | AsyncIterable<Bytes | string>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const message of messages) {
    const bytes = bytesOrTextOf(message);
    if (bytes === undefined)
      throw new TypeError(`a record is made of bytes or a string, not of ${kindOf(message)}`);
    if (bytes.length > COPY_LIMIT) {
      yield head(bytes.length, 0);
      yield bytes;
    } else {
      const record = head(bytes.length, bytes.length);
      record.set(bytes, record.length - bytes.length);
      yield record;
    }
  }
}

/** The beginning of a record, with room behind it. */
function head(length: number, room: number): Uint8Array {
  if (length > MAX_LENGTH) throw new RangeError(`a record has at most ${MAX_LENGTH} bytes, not ${length}`);
  return varint(length, room);
}

async function* read(
  received: AsyncIterable<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new RecordReader(maxBytes);
  for await (const piece of received) {
    for (let at = 0; at < piece.length; ) {
      at = reader.take(piece, at);
      const record = reader.whole();
      if (record !== undefined) yield record;
    }
  }
  if (reader.midway) throw malformed('the bytes end in the middle of a record');
}

/** One record at a time, out of pieces that are cut anywhere. */
class RecordReader {
  readonly #maxBytes: number;
  /** The length, as far as it has come, and how many bytes of it that is. */
  #length = 0;
  #lengthBytes = 0;
  #lengthKnown = false;
  readonly #record = new Gathered();

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get midway(): boolean {
    return this.#lengthBytes > 0;
  }

  /** Takes bytes of `piece` from `at` on, no further than one record goes; returns where it stopped. */
  take(piece: Uint8Array, at: number): number {
    let next = at;
    while (!this.#lengthKnown && next < piece.length) this.#takeLength(piece[next++]);
    if (!this.#lengthKnown || next === piece.length) return next;
    const part = piece.subarray(next, next + this.#length - this.#record.length);
    this.#record.add(part, this.#length);
    return next + part.length;
  }

  /** The record, once all of it has come; the next one may follow. */
  whole(): Uint8Array | undefined {
    if (!this.#lengthKnown || this.#record.length < this.#length) return undefined;
    this.#length = 0;
    this.#lengthBytes = 0;
    this.#lengthKnown = false;
    return this.#record.take();
  }

  #takeLength(byte: number): void {
    this.#length += (byte & 0x7f) * 0x80 ** this.#lengthBytes;
    this.#lengthBytes++;
    this.#lengthKnown = byte < 0x80;
    if (!this.#lengthKnown && this.#lengthBytes === MAX_VARINT)
      throw malformed(`the length of a record takes more than ${MAX_VARINT} bytes`);
    if (this.#length > this.#maxBytes) {
      const size = this.#lengthKnown ? `${this.#length} bytes` : `at least ${this.#length} bytes`;
      throw malformed(`maxBytes: a record of ${size} is longer than ${this.#maxBytes}`);
    }
  }
}

function malformed(message: string): CommandError {
  return new CommandError(message, { code: 'invalid-argument' });
}
