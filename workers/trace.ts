/**
 * What a lane's thread is at, in memory that outlives it: when the thread is gone, the main thread reads here whose code
 * it died in, and which calls have begun; while it lives, for how long it was at work. Both sides import this file; only the thread writes
 * what it is at. Who ends it shuts it first: a thread must not end in the midst of making a context (src/encoding/making.ts).
 *
 *     | at i32 | ended in i32 | loading i32 | busy ms i32 | making i32 | one byte for each call mark: 1 once its handler has begun |
 *
 * Numbers are those of suspects (src/lanes/quarantine.ts); 0: nobody's code.
 */

/** Calls of a lane that can be told apart at a time. */
export const MAX_MARKS = 1 << 16;

const HEAD_WORDS = 5;
const HEAD_BYTES = HEAD_WORDS * 4;
const AT = 0;
const ENDED_IN = 1;
const LOADING = 2;
const BUSY = 3;
const MAKING = 4;

/** Of the word `making`. */
const IDLE = 0;
const AT_WORK = 1;
const SHUT = 2;
/** Milliseconds; a context is made in a thousandth of that. A thread that has died at it never says that it is done. */
const MAKING_MS = 1000;

export class Trace {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #marks: Uint8Array;

  constructor(memory = new SharedArrayBuffer(HEAD_BYTES + MAX_MARKS)) {
    this.memory = memory;
    this.#words = new Int32Array(memory, 0, HEAD_WORDS);
    this.#marks = new Uint8Array(memory, HEAD_BYTES);
  }

  /** Whose code ran as the thread ended of itself: by process.exit(), or by an error that nobody has caught. */
  get endedIn(): number {
    return Atomics.load(this.#words, ENDED_IN);
  }

  set endedIn(suspect: number) {
    Atomics.store(this.#words, ENDED_IN, suspect);
  }

  /** Whose code has the thread. */
  get at(): number {
    return Atomics.load(this.#words, AT);
  }

  set at(suspect: number) {
    Atomics.store(this.#words, AT, suspect);
  }

  /** For whose call a module is being loaded. */
  get loading(): number {
    return Atomics.load(this.#words, LOADING);
  }

  set loading(suspect: number) {
    Atomics.store(this.#words, LOADING, suspect);
  }

  /** Milliseconds that the thread's event loop was at work, as of its newest batch. */
  get busyMs(): number {
    return Atomics.load(this.#words, BUSY);
  }

  set busyMs(ms: number) {
    Atomics.store(this.#words, BUSY, ms);
  }

  /** Makes a context while nobody ends the thread; a thread that is about to be ended makes none. */
  readonly making = <T>(make: () => T): T => {
    const words = this.#words;
    while (Atomics.compareExchange(words, MAKING, IDLE, AT_WORK) !== IDLE) Atomics.wait(words, MAKING, SHUT);
    try {
      return make();
    } finally {
      Atomics.store(words, MAKING, IDLE);
      Atomics.notify(words, MAKING);
    }
  };

  /** Resolves when the thread may be ended, as it then has to be. */
  async shut(): Promise<void> {
    while (!this.#isShut()) {
      const { value } = Atomics.waitAsync(this.#words, MAKING, AT_WORK, MAKING_MS);
      if ((await value) === 'timed-out') return;
    }
  }

  /** {@link shut} for a process that ends. */
  shutNow(): void {
    while (!this.#isShut()) if (Atomics.wait(this.#words, MAKING, AT_WORK, MAKING_MS) === 'timed-out') return;
  }

  #isShut(): boolean {
    return Atomics.compareExchange(this.#words, MAKING, IDLE, SHUT) !== AT_WORK;
  }

  /** Whether the handler of the call with this mark has begun; what has no mark counts as begun. */
  hasBegun(mark: number): boolean {
    return mark >= MAX_MARKS || Atomics.load(this.#marks, mark) === 1;
  }

  /** The mark is another call's from now on. */
  clear(mark: number): void {
    if (mark < MAX_MARKS) Atomics.store(this.#marks, mark, 0);
  }

  begin(mark: number): void {
    if (mark < MAX_MARKS) Atomics.store(this.#marks, mark, 1);
  }
}
