/** The receiving end of a window: what the other end may still send, and when it may send more (protocol C4). */

export class ReceiveWindow {
  readonly size: number;
  readonly #grant: (bytes: number) => void;
  /** Bytes that may still come; below 0: more has come than was allowed. */
  #available: number;
  /** Bytes that were taken, and not yet granted again. */
  #taken = 0;

  /** `grant` tells the other end that it may send more bytes. */
  constructor(size: number, grant: (bytes: number) => void) {
    this.size = size;
    this.#available = size;
    this.#grant = grant;
  }

  /** `bytes` have come. False when the other end was not allowed to send them. */
  receive(bytes: number): boolean {
    this.#available -= bytes;
    return this.#available >= 0;
  }

  /** `bytes` do not have to be held any more: granted again once they are half of the window. */
  release(bytes: number): void {
    this.#taken += bytes;
    if (this.#taken < this.size / 2) return;
    this.#available += this.#taken;
    this.#grant(this.#taken);
    this.#taken = 0;
  }
}
