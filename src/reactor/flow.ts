/** Flow-control arithmetic, standing alone (protocol.md C4): bytes of response, counted before encoding. */

import { ProtocolError } from '../wire/errors.ts';

/** Largest window that credit may add up to, in bytes. */
export const MAX_WINDOW = 2 ** 31 - 1;

/** Bytes that a peer still lets us send; unlimited until it has announced a window. */
export class Window {
  #available: number;

  /** `initial` bytes, or undefined for no flow control. */
  constructor(initial: number | undefined) {
    this.#available = initial ?? Number.POSITIVE_INFINITY;
  }

  get available(): number {
    return this.#available;
  }

  get limited(): boolean {
    return this.#available !== Number.POSITIVE_INFINITY;
  }

  take(bytes: number): void {
    this.#available -= bytes;
  }

  /**
   * Adds what the peer has granted.
   * @throws ProtocolError when the window would pass {@link MAX_WINDOW}.
   */
  add(bytes: number): void {
    if (this.#available + bytes > MAX_WINDOW && this.limited) {
      throw new ProtocolError('limit', `credit of ${bytes} bytes takes a window past ${MAX_WINDOW} bytes`);
    }
    this.#available += bytes;
  }
}

/** A level that fills and empties; who finds it full waits for room. */
export class Gate {
  readonly limit: number;
  #used = 0;
  #waiters: (() => void)[] = [];

  constructor(limit: number) {
    this.limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  get room(): number {
    return Math.max(0, this.limit - this.#used);
  }

  take(bytes: number): void {
    this.#used += bytes;
  }

  give(bytes: number): void {
    this.#used -= bytes;
    // Waking waits for a quarter of the room, so that a crowd does not wake for every frame.
    if (this.#waiters.length > 0 && this.#used <= this.limit * 0.75) this.#wakeInTurn();
  }

  /** Calls `resume` once, when there may be room again. */
  wait(resume: () => void): void {
    this.#waiters.push(resume);
  }

  /** Oldest first, while there is room; who still cannot go on waits again, behind the others. */
  #wakeInTurn(): void {
    for (let left = this.#waiters.length; left > 0 && this.#used < this.limit; left--)
      this.#waiters.shift()?.();
  }

  /** Lets all waiters look again, whatever the level. */
  wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resume of waiters) resume();
  }
}
