/** Bytes of a response that are not framed yet, as the handler has given them. */

import { Fifo } from '../wire/fifo.ts';

const NOTHING = new Uint8Array(0);

export class PendingBytes {
  /** None is empty when it is added. */
  #chunks: Fifo<Uint8Array> | undefined;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  add(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#chunks ??= new Fifo();
    this.#chunks.push(bytes);
    this.#length += bytes.length;
  }

  clear(): void {
    this.#chunks = undefined;
    this.#length = 0;
  }

  /**
   * The oldest `length` bytes, in one piece.
   * @throws TypeError when their buffer was transferred or shrunk since they were added.
   */
  take(length: number): Uint8Array {
    if (length === 0) return NOTHING;
    this.#length -= length;
    const first = this.#first();
    if (first.length > length) {
      this.#chunks?.replaceFirst(first.subarray(length));
      return first.subarray(0, length);
    }
    if (first.length === length) {
      this.#chunks?.shift();
      return first;
    }
    const gathered = new Uint8Array(length);
    for (let filled = 0; filled < length; ) filled += this.#fill(gathered, filled);
    return gathered;
  }

  #fill(target: Uint8Array, from: number): number {
    const chunk = this.#first();
    const part = chunk.subarray(0, target.length - from);
    target.set(part, from);
    if (part.length === chunk.length) this.#chunks?.shift();
    else this.#chunks?.replaceFirst(chunk.subarray(part.length));
    return part.length;
  }

  #first(): Uint8Array {
    const chunk = this.#chunks?.first;
    if (chunk !== undefined && chunk.length > 0) return chunk;
    throw new TypeError('bytes that a handler yielded were transferred or shrunk before they were sent');
  }
}
