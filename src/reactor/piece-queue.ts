/** Bytes that have come and wait to be read: command data at a server, responses at a client. */

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
    if (bytes.length > JOINED_SIZE) {
      this.pushOwn(bytes.slice());
      return;
    }
    this.#length += bytes.length;
    if (this.#filled + bytes.length > JOINED_SIZE) this.#closeTail();
    if (bytes.length > 0) this.#join(bytes);
  }

  /** Adds a piece that nobody else uses any more. */
  pushOwn(bytes: Uint8Array): void {
    this.#length += bytes.length;
    this.#closeTail();
    this.#pieces.push(bytes);
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
