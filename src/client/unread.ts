/** What has come of a client's responses and has not been read: held at what it costs, and not without end. */

import { CommandError } from '../wire/errors.ts';

/** Pieces up to this size are put together: by itself each would cost some 140 bytes beside its own. */
const JOINED_SIZE = 4096;

/** Pieces in the order in which they came; many small ones come out as few. */
export class PieceQueue {
  #pieces: Uint8Array[] = [];
  /** The last piece, as far as it is filled, with room for more; it is not among the others. */
  #tail: Uint8Array | undefined;
  #filled = 0;
  #length = 0;

  /** Bytes of all pieces. */
  get length(): number {
    return this.#length;
  }

  /** Adds a piece, which is copied. */
  push(bytes: Uint8Array): void {
    this.#length += bytes.length;
    if (this.#filled + bytes.length > JOINED_SIZE) this.#closeTail();
    if (bytes.length > JOINED_SIZE) this.#pieces.push(bytes.slice());
    else if (bytes.length > 0) this.#join(bytes);
  }

  /** The oldest piece. */
  shift(): Uint8Array | undefined {
    if (this.#pieces.length === 0) this.#closeTail();
    const piece = this.#pieces.shift();
    this.#length -= piece?.length ?? 0;
    return piece;
  }

  /** All pieces; none are left. */
  takeAll(): Uint8Array[] {
    this.#closeTail();
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#length = 0;
    return pieces;
  }

  #join(bytes: Uint8Array): void {
    const filled = this.#filled + bytes.length;
    if (this.#tail === undefined) this.#tail = bytes.slice();
    else {
      if (filled > this.#tail.length) this.#grow(filled);
      this.#tail.set(bytes, this.#filled);
    }
    this.#filled = filled;
  }

  #grow(length: number): void {
    const grown = new Uint8Array(Math.min(JOINED_SIZE, 2 * length));
    grown.set((this.#tail as Uint8Array).subarray(0, this.#filled));
    this.#tail = grown;
  }

  #closeTail(): void {
    const tail = this.#tail;
    if (tail === undefined) return;
    this.#pieces.push(tail.length === this.#filled ? tail : tail.subarray(0, this.#filled));
    this.#tail = undefined;
    this.#filled = 0;
  }
}

/** A response that may be read more slowly than it comes. */
export interface UnreadResponse {
  /** Bytes that have come and have not been asked for. */
  readonly unread: number;
  /** Lets go of them; the reader gets the error. */
  drop(error: Error): void;
}

/** The unread bytes of one connection whose server keeps to no windows. */
export class UnreadBytes {
  readonly #limit: number;
  readonly #responses = new Set<UnreadResponse>();
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** `bytes` more of a response are unread; fewer when negative. Past the limit, the one with the most of them fails. */
  add(response: UnreadResponse, bytes: number): void {
    this.#bytes += bytes;
    if (response.unread > 0) this.#responses.add(response);
    else this.#responses.delete(response);
    if (this.#bytes > this.#limit) this.#dropLargest();
  }

  #dropLargest(): void {
    let largest: UnreadResponse | undefined;
    for (const each of this.#responses) {
      if (largest === undefined || each.unread > largest.unread) largest = each;
    }
    const text = `maxUnread: the responses of this connection have more than ${this.#limit} bytes that nobody reads`;
    largest?.drop(new CommandError(text, { code: 'limit' }));
  }
}
