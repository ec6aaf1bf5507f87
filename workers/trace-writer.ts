/** The thread's side of a Trace: knows whose code runs, also when that goes on after an await or by a timer. */

import { AsyncLocalStorage } from 'node:async_hooks';
import { performance } from 'node:perf_hooks';
import type { Trace } from './trace.ts';

export class TraceWriter {
  readonly #trace: Trace;
  readonly #whose = new AsyncLocalStorage<number>();

  readonly #last: () => void;

  /** `last`: what is to be done when the thread ends of itself. */
  constructor(trace: Trace, last: () => void) {
    this.#trace = trace;
    this.#last = last;
    process.on('exit', this.#onExit);
  }

  readonly #onExit = (): void => {
    this.#trace.endedIn = this.#trace.at || this.#whose.getStore() || 0;
    this.#last();
  };

  /** The lane is over, and the thread is not. */
  close(): void {
    process.off('exit', this.#onExit);
  }

  /** Runs code of `suspect`; what that sets off counts as its own. */
  run(suspect: number, code: () => void): void {
    this.during(suspect, () => this.#whose.run(suspect, code));
  }

  /** Runs code of `suspect` that sets nothing off. */
  during<T>(suspect: number, code: () => T): T {
    const before = this.#trace.at;
    this.#trace.at = suspect;
    try {
      return code();
    } finally {
      this.#trace.at = before;
    }
  }

  /** Loads a module for a call of `suspect`. */
  async load<T>(suspect: number, code: () => Promise<T>): Promise<T> {
    this.#trace.loading = suspect;
    try {
      return await this.#whose.run(suspect, code);
    } finally {
      this.#trace.loading = 0;
    }
  }

  /** Tells how long the thread has been at work. */
  tellBusy(): void {
    this.#trace.busyMs = performance.eventLoopUtilization().active;
  }

  /** The handler of the call with this mark begins. */
  begin(mark: number): void {
    this.#trace.begin(mark);
  }
}
