/** Time that something should take at most. */

export class TimeLimit {
  readonly #deadline: number;

  /** `seconds` from now; missing: no limit. */
  constructor(seconds = Number.POSITIVE_INFINITY) {
    this.#deadline = performance.now() + 1000 * seconds;
  }

  /** Seconds that are left; negative when it is over. */
  get left(): number {
    return (this.#deadline - performance.now()) / 1000;
  }
}
