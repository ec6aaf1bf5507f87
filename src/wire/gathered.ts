/** Bytes of a known number that come in pieces: memory is taken as they come, not as somebody has said that they will. */

const NONE = new Uint8Array(0);

export class Gathered {
  #bytes: Uint8Array<ArrayBuffer> = NONE;
  #length = 0;

  /** How many have come. */
  get length(): number {
    return this.#length;
  }

  /** Adds `part`, which is copied, to what comes to `size` bytes in the end. */
  add(part: Uint8Array, size: number): void {
    if (part.length === 0) return;
    const length = this.#length + part.length;
    if (length > this.#bytes.length) {
      const grown = new Uint8Array(Math.min(size, Math.max(length, 2 * this.#bytes.length)));
      grown.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = grown;
    }
    this.#bytes.set(part, this.#length);
    this.#length = length;
  }

  /** All of them, once they have come; it is empty then. They belong to the caller. */
  take(): Uint8Array<ArrayBuffer> {
    const bytes = this.#bytes;
    this.#bytes = NONE;
    this.#length = 0;
    return bytes;
  }
}
