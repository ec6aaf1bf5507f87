/** The requests of one connection that are not answered yet: they are dealt with one after the other, as they are answered. */

import type { ServerResponse } from 'node:http';
import { type Turns, Work } from '../connection/turns.ts';
import type { Asker } from '../server/caller.ts';

export class Pipeline implements Asker {
  readonly #turns: Turns;
  /** One for all requests: who sends the next as soon as one is answered has had the time of those before. */
  readonly #work = new Work(() => this.#beginNext());
  #length = 0;
  #newest: ServerResponse | undefined;
  #toBegin: (() => void)[] = [];

  /** `turns`: in which commands begin. */
  constructor(turns: Turns) {
    this.#turns = turns;
  }

  get length(): number {
    return this.#length;
  }

  /** One more; the promise, where there are others before it, resolves when these are answered, or their connection is gone. */
  add(res: ServerResponse): Promise<void> | undefined {
    const before = this.#length > 0 ? this.#newest : undefined;
    this.#length++;
    this.#newest = res;
    res.once('close', () => this.#length--);
    // Not events.once(), which rejects where somebody writes to an answer that has ended.
    return before && new Promise((resolve) => before.once('close', () => resolve()));
  }

  /** Calls `begin` when it is the connection's turn. */
  inTurn(begin: () => void): void {
    this.#toBegin.push(begin);
    this.#turns.ready(this.#work);
  }

  /** Whether there are more. */
  #beginNext(): boolean {
    this.#toBegin.shift()?.();
    return this.#toBegin.length > 0;
  }
}
