/** Of one kind so many a second, and then one that says how many there were besides. */

import { after, unref } from '../wire/timers.ts';

const PERIOD_MS = 1000;
const MOST = 10;
/** Kinds are ours, and few; should they not be, the rest are one. */
const MAX_KINDS = 100;

export class Sparing {
  readonly #summarize: (kind: string, leftOut: number) => void;
  readonly #seen = new Map<string, number>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(summarize: (kind: string, leftOut: number) => void) {
    this.#summarize = summarize;
  }

  /** Whether this one may be said. */
  allows(kind: string): boolean {
    const known = this.#seen.has(kind) || this.#seen.size < MAX_KINDS ? kind : 'other';
    const seen = (this.#seen.get(known) ?? 0) + 1;
    this.#seen.set(known, seen);
    this.#timer ??= unref(after(PERIOD_MS, () => this.flush()));
    return seen <= MOST;
  }

  /** Says what was left out, and begins afresh. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const seen = [...this.#seen];
    this.#seen.clear();
    for (const [kind, count] of seen) if (count > MOST) this.#summarize(kind, count - MOST);
  }
}
