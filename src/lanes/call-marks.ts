/** Which calls are on a lane, and whose they are: what the main thread knows when the lane dies. */

import { MAX_MARKS, type Trace } from '../../workers/trace.ts';

export class CallMarks {
  readonly #trace: Trace;
  readonly #free: number[] = [];
  /** Suspects by mark; 0: the mark is free. */
  readonly #suspects: number[] = [];

  constructor(trace: Trace) {
    this.#trace = trace;
  }

  /** A mark for a call of `suspect`; {@link MAX_MARKS} when all are in use: such a call counts as begun. */
  take(suspect: number): number {
    const mark = this.#free.pop() ?? this.#suspects.length;
    if (mark === MAX_MARKS) return mark;
    this.#trace.clear(mark);
    this.#suspects[mark] = suspect;
    return mark;
  }

  /** The call is over. */
  give(mark: number): void {
    if (mark >= MAX_MARKS || this.#suspects[mark] === 0) return;
    this.#suspects[mark] = 0;
    this.#free.push(mark);
  }

  hasBegun(mark: number): boolean {
    return this.#trace.hasBegun(mark);
  }

  /** Whose handlers have begun and are not over, each once. */
  get begun(): number[] {
    const begun = this.#suspects.filter((suspect, mark) => suspect !== 0 && this.#trace.hasBegun(mark));
    return [...new Set(begun)];
  }
}
