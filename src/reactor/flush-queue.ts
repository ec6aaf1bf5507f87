/** What waits for more to come: pieces of responses, the output of connections; until the tick ends or a time has passed. */

import { after } from '../wire/timers.ts';

/** Something that gathers, and must not throw when it is told to hand on what it has. */
export interface Flushed {
  flush(): void;
}

export class FlushQueue {
  readonly #later: (run: () => void) => void;
  #waiting: Flushed[] = [];

  /** `coalesceMs`: how long a piece may wait; 0: until `endOfTick` calls what it is given. */
  constructor(coalesceMs: number, endOfTick: (run: () => void) => void) {
    this.#later = coalesceMs > 0 ? (run) => after(coalesceMs, run) : endOfTick;
  }

  add(one: Flushed): void {
    if (this.#waiting.length === 0) this.#later(this.#flush);
    this.#waiting.push(one);
  }

  readonly #flush = (): void => {
    const waiting = this.#waiting;
    this.#waiting = [];
    let next = 0;
    try {
      while (next < waiting.length) waiting[next++].flush();
    } finally {
      // A transport may be somebody else's: what it throws is no other connection's matter.
      while (next < waiting.length) this.add(waiting[next++]);
    }
  };
}
