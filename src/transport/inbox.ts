/** What has come while its receiver does not want it, for channels that cannot be held back at once, or at all. */

import { later } from './later.ts';

/** Messages in order, and the end after them. Nothing is delivered before the first {@link resume}. */
export class Inbox {
  readonly #deliver: (bytes: Uint8Array) => void;
  readonly #waiting: Uint8Array[] = [];
  #end: (() => void) | undefined;
  #paused = true;
  #planned = false;
  /** Bytes that wait. */
  bytes = 0;

  constructor(deliver: (bytes: Uint8Array) => void) {
    this.#deliver = deliver;
  }

  push(bytes: Uint8Array): void {
    if (!this.#paused && this.#waiting.length === 0) {
      this.#deliver(bytes);
      return;
    }
    this.#waiting.push(bytes);
    this.bytes += bytes.length;
  }

  /** Calls `run` once all before it is delivered: at once when it is. */
  end(run: () => void): void {
    if (this.#paused || this.#waiting.length > 0) this.#end = run;
    else run();
  }

  /** Forgets what waits. */
  drop(): void {
    this.#waiting.length = 0;
    this.bytes = 0;
    this.#end = undefined;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    if (this.#planned || (this.#waiting.length === 0 && this.#end === undefined)) return;
    this.#planned = true;
    later(this.#drain);
  }

  readonly #drain = (): void => {
    this.#planned = false;
    while (!this.#paused) {
      const bytes = this.#waiting.shift();
      if (bytes === undefined) break;
      this.bytes -= bytes.length;
      this.#deliver(bytes);
    }
    if (this.#paused) return;
    const end = this.#end;
    this.#end = undefined;
    end?.();
  };
}
