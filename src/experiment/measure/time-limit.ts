/** Time that something should take at most. */

export class TimeLimit {
  readonly #deadlineMs: number;

  /** `seconds` from now; missing: no limit. */
  constructor(seconds = Number.POSITIVE_INFINITY) {
    this.#deadlineMs = performance.now() + 1000 * seconds;
  }

  /** Seconds that are left; negative when it is over. */
  get secondsLeft(): number {
    return (this.#deadlineMs - performance.now()) / 1000;
  }
}
