/** Events of one kind that a peer may cause per second (protocol B-limits). */

import type { RATES } from '../wire/extensions.ts';
import { type Limits, overLimit } from '../wire/limits.ts';

const SECOND_MS = 1000;

type RateLimit = (typeof RATES)[number] | 'maxEmptyDataFrames';

export class Rate {
  readonly #name: RateLimit;
  readonly #limit: number;
  readonly #what: string;
  #sinceMs = Number.NEGATIVE_INFINITY;
  #count = 0;

  /** `what`: the events' name in the error. */
  constructor(limits: Limits, name: RateLimit, what: string) {
    this.#name = name;
    this.#limit = limits[name];
    this.#what = what;
  }

  /** Counts one event at `nowMs`. @throws ProtocolError when there were too many within a second. */
  count(nowMs: number): void {
    if (nowMs - this.#sinceMs >= SECOND_MS) {
      this.#sinceMs = nowMs;
      this.#count = 0;
    }
    if (++this.#count > this.#limit) {
      throw overLimit(this.#name, `more than ${this.#limit} ${this.#what} per second`);
    }
  }
}
