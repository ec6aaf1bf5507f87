/** Writing the files of a pull: all at once, or piece by piece. */

import { closeSync, fchmodSync, futimesSync, write, writeSync } from 'node:fs';
import type { FileEntry } from './listing.ts';

/** Times in seconds that a file system may be asked for: those that 64 bits hold. */
const MAX_SECONDS = 9.2e18;

/** Bytes of a long file that are gathered before they are written at once. */
const WRITE_SIZE = 1 << 20;

/** A file that is being written; ends with `finish`, or `abandon` wherever that has not succeeded. */
export class PartFile {
  readonly #fd: number;
  readonly #entry: FileEntry;
  readonly #settle: (isWhole: boolean) => void;
  #isOpen = true;
  #gathered: Uint8Array[] = [];
  #gatheredSize = 0;

  constructor(fd: number, entry: FileEntry, settle: (isWhole: boolean) => void) {
    this.#fd = fd;
    this.#entry = entry;
    this.#settle = settle;
  }

  /** Adds bytes; resolves when more may come. The chunk must not change afterwards. */
  async write(chunk: Uint8Array): Promise<void> {
    this.#gathered.push(chunk);
    this.#gatheredSize += chunk.length;
    if (this.#gatheredSize >= WRITE_SIZE) await this.#flush();
  }

  /** Moves the file to its place. */
  async finish(): Promise<void> {
    await this.#flush();
    setAttributes(this.#fd, this.#entry);
    this.#close(true);
  }

  /** Removes the file; nothing happens when it has been finished. */
  abandon(): void {
    if (this.#isOpen) this.#close(false);
  }

  #close(isWhole: boolean): void {
    this.#isOpen = false;
    try {
      closeSync(this.#fd);
    } catch (error) {
      this.#settle(false); // the last bytes may not have been written
      throw error;
    }
    this.#settle(isWhole);
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.concat(this.#gathered, this.#gatheredSize);
    this.#gathered = [];
    this.#gatheredSize = 0;
    for (let at = 0; at < bytes.length; ) at += await written(this.#fd, bytes, at);
  }
}

/** Writes bytes from `offset` on, without keeping the thread; resolves with how many. */
function written(fd: number, bytes: Uint8Array, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, offset, (error, count) => (error === null ? resolve(count) : reject(error)));
  });
}

/** Writes a file that is whole. */
export function writeAll(fd: number, chunks: readonly Uint8Array[]): void {
  const bytes = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

/** The mode and the time of an entry. */
export function setAttributes(fd: number, entry: FileEntry): void {
  fchmodSync(fd, entry.mode);
  setTime(fd, entry);
}

export function setTime(fd: number, { mtimeMs }: FileEntry): void {
  const seconds = Math.max(-MAX_SECONDS, Math.min(MAX_SECONDS, mtimeMs / 1000));
  // As text: Node takes a negative number for today.
  futimesSync(fd, String(seconds), String(seconds));
}
