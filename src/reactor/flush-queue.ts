/** Responses that hold a piece for more of it to come, until the tick ends or a time has passed. */

import { after } from '../wire/timers.ts';
import type { ResponsePump } from './response.ts';

export class FlushQueue {
  readonly #later: (run: () => void) => void;
  #waiting: ResponsePump[] = [];

  /** `coalesceMs`: how long a piece may wait; 0: until `endOfTick` calls what it is given. */
  constructor(coalesceMs: number, endOfTick: (run: () => void) => void) {
    this.#later = coalesceMs > 0 ? (run) => after(coalesceMs, run) : endOfTick;
  }

  add(pump: ResponsePump): void {
    if (this.#waiting.length === 0) this.#later(this.#flush);
    this.#waiting.push(pump);
  }

  readonly #flush = (): void => {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const pump of waiting) pump.flush();
  };
}
