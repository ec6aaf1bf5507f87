/** The requests of one connection that are not answered yet: they are dealt with one after the other, as they are answered. */

import type { ServerResponse } from 'node:http';

export class Pipeline {
  #length = 0;
  #newest: ServerResponse | undefined;

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
}
