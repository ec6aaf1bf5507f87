/**
 * The files that responses of one lane are reading. However many of them wait for slow peers, no more than a few are
 * open at once: those read least recently are closed, and opened again when it is their turn.
 */

import { closeSync, fstatSync, readSync, type Stats } from 'node:fs';
import { LRUCache } from 'lru-cache';
import { CommandError } from '../wire/errors.ts';
import { shownPath } from './paths.ts';
import type { Root } from './root.ts';

/** Files that one lane has open between two pieces. */
const MAX_OPEN = 32;

/** A file of which a response is made. */
export interface ServedFile {
  readonly path: string;
  /** As it was when the response began. */
  readonly stats: Stats;
}

export class OpenFiles {
  readonly #root: Root;
  readonly #descriptors = new LRUCache<ServedFile, number>({
    max: MAX_OPEN,
    dispose: (fd) => closeSync(fd),
  });

  constructor(root: Root) {
    this.#root = root;
  }

  /** The caller closes it. @throws CommandError as {@link Root.openFile}. */
  open(path: string): ServedFile {
    const { fd, stats } = this.#root.openFile(path);
    const file = { path, stats };
    this.#descriptors.set(file, fd);
    return file;
  }

  /**
   * Reads up to `length` bytes from `position` on into `bytes` at `offset`; returns how many.
   * @throws CommandError when the file ends there, or is another one by now.
   */
  read(file: ServedFile, bytes: Uint8Array, offset: number, length: number, position: number): number {
    const count = readSync(this.#descriptorOf(file), bytes, offset, length, position);
    if (count === 0) throw changed(file);
    return count;
  }

  /** What the file is by now. */
  statsNow(file: ServedFile): Stats {
    return fstatSync(this.#descriptorOf(file));
  }

  close(file: ServedFile): void {
    this.#descriptors.delete(file);
  }

  #descriptorOf(file: ServedFile): number {
    return this.#descriptors.get(file) ?? this.#openAgain(file);
  }

  #openAgain(file: ServedFile): number {
    const { fd, stats } = this.#root.openFile(file.path);
    this.#descriptors.set(file, fd);
    if (!isSameFile(stats, file.stats)) throw changed(file);
    return fd;
  }
}

/** Whatever has been done to it meanwhile: one that stays open may change, too. */
function isSameFile(a: Stats, b: Stats): boolean {
  return a.dev === b.dev && a.ino === b.ino && a.birthtimeMs === b.birthtimeMs;
}

function changed({ path }: ServedFile): CommandError {
  return new CommandError(`changed while it was read: ${shownPath(path)}`);
}
