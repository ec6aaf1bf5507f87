/**
 * Lines for a file, some at a time, made bytes one by one: text that is gathered is a string of thousands of parts, which the main
 * thread would put together, and encode, when it has left the caches.
 */

import { after, unref } from '../wire/timers.ts';

/** Bytes of lines that gather before they are written, and the longest that they wait. */
const ENOUGH = 60_000;
const ROOM = 65_536;
const FLUSH_MS = 500;
/** Bytes of UTF-8 that a UTF-16 unit comes to at most. */
const MOST_OF_UNIT = 3;

/** Where bytes go: they are its own from then on. */
export interface BytesFile {
  write(bytes: Uint8Array): boolean;
  flushSync(): void;
}

export class Gathered {
  readonly #file: BytesFile;
  #bytes = Buffer.allocUnsafeSlow(ROOM);
  #used = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(file: BytesFile) {
    this.#file = file;
  }

  write(line: string): void {
    const most = line.length * MOST_OF_UNIT;
    if (most > ROOM - this.#used) this.flush();
    if (most > ROOM) {
      this.#file.write(Buffer.from(line));
      return;
    }
    this.#used += this.#bytes.write(line, this.#used);
    if (this.#used >= ENOUGH) this.flush();
    else this.#timer ??= unref(after(FLUSH_MS, () => this.flush()));
  }

  /** Hands over what there is. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#used === 0) return;
    this.#file.write(this.#bytes.subarray(0, this.#used));
    this.#bytes = Buffer.allocUnsafeSlow(ROOM);
    this.#used = 0;
  }

  flushSync(): void {
    this.flush();
    this.#file.flushSync();
  }
}
