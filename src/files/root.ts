/**
 * The served folder, and the only way to anything in it. Every path is held against the rules of paths.ts, and what
 * has been opened is asked where it really is before a byte of it is read: a link that is put in place between a
 * check and an open therefore gains nothing.
 */

import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs';
import { sep } from 'node:path';
import { CommandError } from '../wire/errors.ts';
import { fsProblem, pathProblem, shownPath } from './paths.ts';

// O_NONBLOCK: opening a FIFO must not wait for its writer. Missing flags are Windows's.
const READ = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0);
const NO_FOLLOW = constants.O_NOFOLLOW ?? 0;
const FOLDER = constants.O_DIRECTORY ?? 0;

/** A folder inside the root, held open; `at` is a way to it that nobody can bend until `close`. */
export interface OpenFolder {
  readonly at: string;
  /** Where it is, without links; ends without a separator. */
  readonly real: string;
  close(): void;
}

/** A regular file inside the root, held open. */
export interface OpenFile {
  readonly fd: number;
  readonly stats: Stats;
}

/** What stands at a name in a folder, links followed as far as they stay inside. */
export interface Found {
  readonly stats: Stats;
  /** For a link: where it leads. */
  readonly target?: string;
}

export class Root {
  readonly #real: string;
  /** The root with a separator at its end. */
  readonly #prefix: string;
  /** Does /proc/self/fd tell where an open file is? It is race-free and cheaper than any other way. */
  readonly #hasProc: boolean;

  /** @throws what the file system throws when `folder` is missing or not a folder. */
  constructor(folder: string) {
    this.#real = realpathSync(folder);
    this.#prefix = this.#real.endsWith(sep) ? this.#real : this.#real + sep;
    this.#hasProc = FOLDER !== 0 && this.#procKnows();
  }

  /** The root's own path on this machine: for keys in memory, never for messages. */
  get real(): string {
    return this.#real;
  }

  /** What the root itself is. */
  stat(): Found {
    try {
      return { stats: statSync(this.#real) };
    } catch (error) {
      throw asCommandError(error, '');
    }
  }

  /**
   * Opens a file for reading and returns its descriptor, which the caller closes. What kind of file it is, the
   * caller finds out by fstat.
   * @throws CommandError when the path is refused, leads outside, or cannot be opened.
   */
  open(path: string): number {
    checkPath(path);
    const fd = this.#openInside(path, READ);
    try {
      if (!this.#isInside(this.#whereIs(fd, path))) throw outside(path);
      return fd;
    } catch (error) {
      closeSync(fd);
      throw asCommandError(error, path);
    }
  }

  /**
   * Opens a regular file for reading; the caller closes it.
   * @throws CommandError as {@link open}, and when it is anything else.
   */
  openFile(path: string): OpenFile {
    const fd = this.open(path);
    try {
      const stats = fstatSync(fd);
      if (!stats.isFile()) throw new CommandError(`not a file: ${shownPath(path)}`);
      return { fd, stats };
    } catch (error) {
      closeSync(fd);
      throw asCommandError(error, path);
    }
  }

  /**
   * Opens a folder; `path` '' is the root itself.
   * @throws CommandError as {@link open}.
   */
  openFolder(path: string): OpenFolder {
    if (path !== '') checkPath(path);
    if (!this.#hasProc) return this.#resolveFolder(path);
    const fd = this.#openInside(path, READ | FOLDER);
    try {
      const real = this.#whereIs(fd, path);
      if (!this.#isInside(real)) throw outside(path);
      return { at: `/proc/self/fd/${fd}`, real, close: () => closeSync(fd) };
    } catch (error) {
      closeSync(fd);
      throw asCommandError(error, path);
    }
  }

  /**
   * What stands at `name` in `folder`, which was opened as `path`; undefined when nothing does, or when it is a link
   * that leads outside or nowhere.
   */
  find(folder: OpenFolder, path: string, name: string): Found | undefined {
    const stats = lstatSync(`${folder.at}/${name}`, { throwIfNoEntry: false });
    if (!stats?.isSymbolicLink()) return stats && { stats };
    try {
      const target = realpathSync(this.#full(path === '' ? name : `${path}/${name}`));
      return this.#isInside(target) ? { stats: statSync(target), target } : undefined;
    } catch {
      return undefined; // it leads nowhere, or in a circle
    }
  }

  #openInside(path: string, flags: number): number {
    const full = this.#full(path);
    try {
      return openSync(full, flags | NO_FOLLOW);
    } catch (error) {
      if (!isLink(full)) throw asCommandError(error, path);
    }
    // The last part is a link. It is resolved and judged first: a link to a device must not open the device.
    try {
      const target = realpathSync(full);
      if (!this.#isInside(target)) throw outside(path);
      return openSync(target, flags | NO_FOLLOW);
    } catch (error) {
      throw asCommandError(error, path);
    }
  }

  #resolveFolder(path: string): OpenFolder {
    try {
      const real = realpathSync(this.#full(path));
      if (!this.#isInside(real)) throw outside(path);
      if (!statSync(real).isDirectory()) throw new CommandError(`not a folder: ${shownPath(path)}`);
      return { at: real, real, close: () => {} };
    } catch (error) {
      throw asCommandError(error, path);
    }
  }

  /** Where an open file is, without links. */
  #whereIs(fd: number, path: string): string {
    if (this.#hasProc) return readlinkSync(`/proc/self/fd/${fd}`);
    const real = realpathSync(this.#full(path));
    const there = statSync(real, { bigint: true });
    const opened = fstatSync(fd, { bigint: true });
    if (there.ino !== opened.ino || there.dev !== opened.dev) throw outside(path);
    return real;
  }

  #full(path: string): string {
    return path === '' ? this.#real : this.#prefix + path;
  }

  #isInside(real: string): boolean {
    return real.startsWith(this.#prefix) || real === this.#real;
  }

  #procKnows(): boolean {
    const fd = openSync(this.#real, READ | FOLDER);
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === this.#real;
    } catch {
      return false;
    } finally {
      closeSync(fd);
    }
  }
}

/** @throws CommandError when the path is against the rules of paths.ts. */
export function checkPath(path: string): void {
  const problem = pathProblem(path);
  if (problem !== undefined) throw new CommandError(`${problem}: ${shownPath(path)}`);
}

/** Whether a link stands there; asked only after an open without following has failed. */
function isLink(full: string): boolean {
  try {
    return lstatSync(full).isSymbolicLink();
  } catch {
    return false;
  }
}

function outside(path: string): CommandError {
  return new CommandError(`outside the served folder: ${shownPath(path)}`);
}

/** The error for the peer: what happened and the path as the peer gave it, nothing of ours. */
export function asCommandError(error: unknown, path: string): CommandError {
  if (error instanceof CommandError) return error;
  return new CommandError(`${fsProblem(error)}: ${shownPath(path === '' ? '.' : path)}`);
}
