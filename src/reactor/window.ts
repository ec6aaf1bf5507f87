/**
 * The two ends of a window, as arithmetic alone (protocol C2, C4). Bytes are counted before encoding. For a response the
 * server has the sending end and the client the receiving one; for command data it is the other way round.
 */

import { ProtocolError } from '../wire/errors.ts';

/** Largest window that credit may add up to, in bytes. */
export const MAX_WINDOW = 2 ** 31 - 1;

/** The sending end: bytes that the peer still lets us send. */
export class SendWindow {
  readonly limited: boolean;
  /** 0 without flow control: what is no small integer would be an object of its own, for all windows. */
  #available: number;

  /** `initial`: bytes that the peer has announced; undefined: no flow control. */
  constructor(initial: number | undefined) {
    this.limited = initial !== undefined;
    this.#available = Math.min(initial ?? 0, MAX_WINDOW);
  }

  /** Infinite without flow control. */
  get available(): number {
    return this.limited ? this.#available : Number.POSITIVE_INFINITY;
  }

  /** `bytes` are sent, or set aside to be sent. */
  take(bytes: number): void {
    if (this.limited) this.#available -= bytes;
  }

  /** `bytes` that were taken will not be sent after all: the peer has not seen them, and never credits them. */
  refund(bytes: number): void {
    if (this.limited) this.#available += bytes;
  }

  /**
   * Adds what the peer has credited.
   * @throws ProtocolError when the window would pass {@link MAX_WINDOW}.
   */
  credit(bytes: number): void {
    if (!this.limited) return;
    if (this.#available + bytes > MAX_WINDOW) {
      throw new ProtocolError('limit', `credit of ${bytes} bytes takes a window past ${MAX_WINDOW} bytes`);
    }
    this.#available += bytes;
  }
}

/** The receiving end: bytes that the peer may still send us, and when it has to hear that it may send more. */
export class ReceiveWindow {
  /** Bytes that we have announced. */
  readonly size: number;
  readonly #grant: (bytes: number) => void;
  #available: number;
  /** Bytes that were released, and not granted again yet. */
  #released = 0;

  readonly #shared: boolean;

  /**
   * `grant` sends credit: that the peer may send `bytes` more. `shared`: some may hold much of the window for long, and
   * the others must get by with what is left of it.
   */
  constructor(size: number, grant: (bytes: number) => void, shared = false) {
    this.#shared = shared;
    this.size = size;
    this.#available = size;
    this.#grant = grant;
  }

  /** Bytes that the peer may still send; below 0 once it has sent too many. */
  get available(): number {
    return this.#available;
  }

  /** `bytes` have come. False: the peer has sent more than it was allowed. */
  receive(bytes: number): boolean {
    this.#available -= bytes;
    return this.#available >= 0;
  }

  /** Lets the peer send `bytes` more than the window's size. */
  extend(bytes: number): void {
    this.#available += bytes;
    this.#grant(bytes);
  }

  /** `bytes` need not be held any more. Credit goes for half a window: a frame for every piece costs more than it brings. */
  release(bytes: number): void {
    this.#released += bytes;
    const enough = this.#shared ? Math.min(this.size / 2, this.#available) : this.size / 2;
    if (this.#released < enough) return;
    const released = this.#released;
    this.#released = 0;
    this.#available += released;
    this.#grant(released);
  }
}
