/** Time that a test advances, where what it tests is measured in time. */

import { mock } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';

/** The timers and the clock of this thread; sockets, other threads and ava go by their own. */
export class Clock {
  readonly #realNow = performance.now.bind(performance);
  /** Whole, so that what has passed is a whole number too, however large it grows. */
  #now = Math.ceil(this.#realNow());

  constructor() {
    mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: Date.now() });
    performance.now = () => this.#now;
  }

  /** Lets so many milliseconds pass at once, one by one, so that timers see the time at which they are due. */
  advance(milliseconds: number): void {
    for (let i = 0; i < milliseconds; i++) {
      this.#now++;
      mock.timers.tick(1);
    }
  }

  /** Lets time pass, `step` milliseconds in each turn of the event loop, until `done`. Returns how much has passed. */
  async advanceUntil(done: () => boolean, step = 1): Promise<number> {
    const began = this.#now;
    for (; !done(); await turn()) this.advance(step);
    return this.#now - began;
  }

  /** Lets `step` milliseconds pass, then awaits `roundTrip`, again and again until `work` has settled; its outcome. */
  async advanceWhile<T>(work: Promise<T>, step: number, roundTrip: () => Promise<unknown>): Promise<T> {
    let isOver = false;
    const settled = () => {
      isOver = true;
    };
    work.then(settled, settled);
    while (!isOver) {
      this.advance(step);
      await roundTrip();
    }
    return work;
  }

  release(): void {
    mock.timers.reset();
    performance.now = this.#realNow;
  }
}

/** Stops time for one test, which must not run beside others of its file. What it measures is made afterwards. */
export function stoppedClock(t: ExecutionContext<unknown>): Clock {
  const clock = new Clock();
  t.teardown(() => clock.release());
  return clock;
}
