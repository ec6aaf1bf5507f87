/**
 * The files that responses of one lane are reading. However many of them wait for slow peers, no more than a few are
 * open at once: those read least recently are closed, and opened again when it is their turn.
 */

import { closeSync, fstatSync, readSync, type Stats } from 'node:fs';
import type { CommandError } from '../wire/errors.ts';
import { descriptorLimit, isOutOfDescriptors, patientlyHere } from './descriptors.ts';
import { FileError, type OpenFile, type Root } from './root.ts';

/** Files that one lane has open between two pieces: this many, or fewer where all of the process may have few. */
const MAX_OPEN = 32;
const SHARE_OF_LANE = 1 / 32;

/** A file of which a response is made. */
export interface ServedFile {
  readonly path: string;
  /** As it was when the response began. */
  readonly stats: Stats;
  /** Its descriptor, while it is open; {@link OpenFiles} alone looks at it. */
  fd: number | undefined;
}

export class OpenFiles {
  readonly #root: Root;
  /** Those that are open, the one read least recently first. */
  readonly #opened = new Set<ServedFile>();
  readonly #max = Math.max(1, Math.min(MAX_OPEN, Math.floor(descriptorLimit() * SHARE_OF_LANE)));

  constructor(root: Root) {
    this.#root = root;
  }

  /** The caller closes it. @throws CommandError as {@link Root.openFile}. */
  open(path: string): ServedFile {
    const { fd, stats } = this.#open(path);
    const file = { path, stats, fd };
    this.#keep(file);
    return file;
  }

  /**
   * Reads up to `length` bytes from `position` on into `bytes` at `offset`; returns how many, 0 where the file ends.
   * @throws CommandError when it is another file by now, or has become shorter than it was.
   */
  read(file: ServedFile, bytes: Uint8Array, offset: number, length: number, position: number): number {
    const fd = this.#descriptorOf(file);
    const count = readSync(fd, bytes, offset, length, position);
    // Files that the system makes up as they are read may end before the size that they are said to have.
    if (count === 0 && length > 0 && fstatSync(fd).size < file.stats.size) throw this.changed(file);
    return count;
  }

  /** Whether there is more in an empty file than its size says: what the system makes up has none before. */
  hasContent(file: ServedFile): boolean {
    return readSync(this.#descriptorOf(file), new Uint8Array(1), 0, 1, 0) > 0;
  }

  changed({ path }: ServedFile): CommandError {
    return new FileError('changed while it was read', path, { code: 'internal' });
  }

  /** What the file is by now. */
  statsNow(file: ServedFile): Stats {
    return fstatSync(this.#descriptorOf(file));
  }

  close(file: ServedFile): void {
    const { fd } = file;
    if (fd === undefined) return;
    file.fd = undefined;
    this.#opened.delete(file);
    closeSync(fd);
  }

  /** Where the system has no descriptor left, those that are not being read at this moment are given back first. */
  #open(path: string): OpenFile {
    try {
      return this.#root.openFile(path);
    } catch (error) {
      if (!isOutOfDescriptors(error) || this.#opened.size === 0) throw error;
      for (const file of this.#opened) this.close(file);
      return this.#root.openFile(path);
    }
  }

  #keep(file: ServedFile): void {
    this.#opened.add(file);
    if (this.#opened.size <= this.#max) return;
    const [oldest] = this.#opened;
    this.close(oldest);
  }

  #descriptorOf(file: ServedFile): number {
    const { fd } = file;
    if (fd === undefined) return this.#openAgain(file);
    if (this.#opened.size > 1) {
      this.#opened.delete(file);
      this.#opened.add(file);
    }
    return fd;
  }

  #openAgain(file: ServedFile): number {
    // A response that has begun cannot be begun again later, as one that has not can.
    const { fd, stats } = patientlyHere(() => this.#open(file.path));
    file.fd = fd;
    this.#keep(file);
    if (!isSameFile(stats, file.stats)) throw this.changed(file);
    return fd;
  }
}

/** Whatever has been done to it meanwhile: one that stays open may change, too. */
function isSameFile(a: Stats, b: Stats): boolean {
  return a.dev === b.dev && a.ino === b.ino && a.birthtimeMs === b.birthtimeMs;
}
