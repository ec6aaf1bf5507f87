/** Frames of one kind, sent no faster than a peer takes them: it ends the connection over too many in a second (protocol B-limits). */

import { after, unref } from '../wire/timers.ts';

/** How often tokens are looked for while somebody waits, in milliseconds. */
const TICK_MS = 10;

export class Pace {
  #limit = Number.POSITIVE_INFINITY;
  #burst = 0;
  #perMs = 0;
  readonly #waiting: (() => void)[] = [];
  #tokens = 0;
  #filledMs = performance.now();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * `limit`: what the peer takes in a second. Half of it goes out in the long run, and a quarter at once: the rest is
   * for what a stalled network delivers later than it was sent.
   */
  constructor(limit: number) {
    this.atMost(limit);
    this.#tokens = this.#burst;
  }

  /** The peer takes so many in a second, where that is fewer; undefined: it has not said. */
  atMost(limit = Number.POSITIVE_INFINITY): void {
    if (limit >= this.#limit) return;
    this.#limit = limit;
    this.#burst = Math.max(1, limit / 4);
    this.#perMs = limit / 2 / 1000;
    this.#tokens = Math.min(this.#tokens, this.#burst);
  }

  /** Whether one may go now. */
  take(): boolean {
    if (this.#waiting.length > 0) return false;
    // What is full gains nothing by time.
    if (this.#tokens === this.#burst) this.#filledMs = performance.now();
    if (this.#tokens < 1) this.#fill();
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  /** Calls `run` when one may go, after those that have waited longer. */
  wait(run: () => void): void {
    this.#waiting.push(run);
    this.#plan();
  }

  /** Nobody is called any more. */
  close(): void {
    clearTimeout(this.#timer);
    this.#waiting.length = 0;
  }

  #plan(): void {
    this.#timer ??= unref(after(TICK_MS, this.#tick));
  }

  readonly #tick = (): void => {
    this.#timer = undefined;
    this.#fill();
    for (; this.#tokens >= 1 && this.#waiting.length > 0; this.#tokens--) this.#waiting.shift()?.();
    if (this.#waiting.length > 0) this.#plan();
  };

  #fill(): void {
    const nowMs = performance.now();
    this.#tokens = Math.min(this.#burst, this.#tokens + (nowMs - this.#filledMs) * this.#perMs);
    this.#filledMs = nowMs;
  }
}
