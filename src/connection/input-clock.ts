/**
 * A clock that stands still while we do not read: a peer is given the time that it takes, not the time that we take.
 */
export class InputClock {
  readonly #now: () => number;
  #pausedAtMs: number | undefined;
  /** Milliseconds so far that were ours. */
  #oursMs = 0;
  #inputMs = 0;

  /** `now`: milliseconds of a clock that never stands still. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get nowMs(): number {
    return (this.#pausedAtMs ?? this.#now()) - this.#oursMs;
  }

  /** When the input in hand came. */
  get inputMs(): number {
    return this.#inputMs;
  }

  /** Input comes into our hands. */
  take(): void {
    this.#inputMs = this.nowMs;
  }

  /** We do not read, until {@link resume}. */
  pause(): void {
    this.#pausedAtMs ??= this.#now();
  }

  resume(): void {
    if (this.#pausedAtMs === undefined) return;
    this.#oursMs += this.#now() - this.#pausedAtMs;
    this.#pausedAtMs = undefined;
  }

  /** So many milliseconds of those that have passed were ours; while the clock stands, they are anyway. */
  forgive(ms: number): void {
    if (this.#pausedAtMs === undefined) this.#oursMs += ms;
  }

  /** The peer was waiting for us: the time since its last input was ours, and from now on it is its turn again. */
  restart(): void {
    this.#oursMs += this.nowMs - this.#inputMs;
  }
}
