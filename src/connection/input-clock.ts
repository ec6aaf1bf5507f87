/**
 * A clock that stands still while we do not read: a peer is given the time that it takes, not the time that we take.
 */
export class InputClock {
  #paused = false;
  #pausedAtMs = 0;
  /** Milliseconds so far that were ours. */
  #oursMs = 0;
  #inputMs = 0;

  get nowMs(): number {
    return (this.#paused ? this.#pausedAtMs : performance.now()) - this.#oursMs;
  }

  /** When the input in hand came. */
  get inputMs(): number {
    return this.#inputMs;
  }

  /** Input comes into our hands. */
  take(): void {
    // Whole, for others are objects of their own, which each connection's input would have to look for.
    this.#inputMs = Math.ceil(this.nowMs);
  }

  /** We do not read, until {@link resume}. */
  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#pausedAtMs = performance.now();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#oursMs += performance.now() - this.#pausedAtMs;
  }

  /** So many milliseconds of those that have passed were ours; while the clock stands, they are anyway. */
  forgive(ms: number): void {
    if (!this.#paused) this.#oursMs += ms;
  }

  /** The peer was waiting for us: the time since its last input was ours, and from now on it is its turn again. */
  restart(): void {
    this.#oursMs += this.nowMs - this.#inputMs;
  }
}
