/**
 * The served folder, and the only way to anything in it. Every path is held against the rules of paths.ts, and what is
 * found there is asked where it really is, and what, before it is opened: to open a device or a FIFO is to do something
 * with it. A link that is put in place between a check and an open gains nothing.
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
import { fsErrorCode, fsProblem, nameOf, pathProblem, shownPath } from './paths.ts';
import { isUnfinished } from './unfinished.ts';

// O_NONBLOCK: opening a FIFO must not wait for its writer. Missing flags are Windows's.
const READ = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0);
const NO_FOLLOW = constants.O_NOFOLLOW ?? 0;
const FOLDER = constants.O_DIRECTORY ?? 0;
/** O_PATH: a handle on what stands there, which is not opened by it. Linux only, and node:fs does not name it. */
const PLACE = 0o10_000_000;

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

/** Why something below the root cannot be had; the message has the path besides. */
export class FileError extends CommandError {
  readonly path: string;
  /** The message without the path. */
  readonly why: string;
  /** The file system's code, where the error is of its making. */
  readonly fsCode: string | undefined;

  /** `code`: of protocol C11; default: that of `fsCode`, or `invalid-argument`. */
  constructor(why: string, path: string, { fsCode, code }: { fsCode?: string; code?: string } = {}) {
    const found = fsCode === undefined ? 'invalid-argument' : fsErrorCode(fsCode);
    super(`${why}: ${shownPath(path === '' ? '.' : path)}`, { code: code ?? found });
    this.why = why;
    this.path = path;
    this.fsCode = fsCode;
  }
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
  /** Does /proc/self/fd tell where a descriptor is? It is race-free and cheaper than any other way. */
  readonly #hasProc: boolean;

  /** @throws what the file system throws when `folder` is missing or not a folder. */
  constructor(folder: string) {
    this.#real = realpathSync(folder);
    this.#prefix = this.#real.endsWith(sep) ? this.#real : this.#real + sep;
    this.#hasProc = process.platform === 'linux' && this.#procKnows();
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
   * Opens a regular file for reading; the caller closes it.
   * @throws CommandError when the path is refused, leads outside or to anything else, or cannot be opened.
   */
  openFile(path: string): OpenFile {
    checkPath(path);
    if (isUnfinished(nameOf(path)))
      throw new FileError('a pull has not finished it', path, { code: 'not-found' });
    try {
      return this.#hasProc ? this.#openPlace(path) : this.#openResolved(path);
    } catch (error) {
      throw asCommandError(error, path);
    }
  }

  /**
   * Opens a folder; `path` '' is the root itself.
   * @throws CommandError as {@link openFile}.
   */
  openFolder(path: string): OpenFolder {
    if (path !== '') checkPath(path);
    if (!this.#hasProc) return this.#resolveFolder(path);
    let place: number | undefined;
    try {
      place = openSync(this.#full(path), PLACE | FOLDER);
      const fd = place;
      const { at, real } = this.#inside(fd, path);
      return { at, real, close: () => closeSync(fd) };
    } catch (error) {
      if (place !== undefined) closeSync(place);
      throw asCommandError(error, path);
    }
  }

  /**
   * What stands at `name` in `folder`, which was opened as `path`; undefined when nothing does.
   * @throws FileError when it cannot be looked at, or is a link that leads outside, nowhere or in a circle.
   */
  find(folder: OpenFolder, path: string, name: string): Found | undefined {
    const whole = path === '' ? name : `${path}/${name}`;
    try {
      const stats = lstatSync(`${folder.at}/${name}`, { throwIfNoEntry: false });
      return stats?.isSymbolicLink() ? this.#followed(whole) : stats && { stats };
    } catch (error) {
      throw asCommandError(error, whole);
    }
  }

  #followed(link: string): Found {
    let target: string;
    try {
      target = realpathSync(this.#full(link));
    } catch (error) {
      if (isMissing(error)) throw new FileError('the link leads nowhere', link, { code: 'not-found' });
      throw error;
    }
    if (!this.#isInside(target)) throw outside(link);
    return { stats: statSync(target), target };
  }

  #openPlace(path: string): OpenFile {
    const place = openSync(this.#full(path), PLACE);
    try {
      const { at } = this.#inside(place, path);
      const stats = fstatSync(place);
      if (!stats.isFile()) throw notAFile(path);
      return { fd: openSync(at, READ), stats };
    } finally {
      closeSync(place);
    }
  }

  /** A way to what a descriptor is on, and where that is. @throws CommandError when it is outside. */
  #inside(fd: number, path: string): { at: string; real: string } {
    const at = `/proc/self/fd/${fd}`;
    const real = readlinkSync(at);
    if (!this.#isInside(real)) throw outside(path);
    return { at, real };
  }

  /** Where no descriptor can be asked where it is: what stands at the path is looked at before and after the open. */
  #openResolved(path: string): OpenFile {
    const real = realpathSync(this.#full(path));
    if (!this.#isInside(real)) throw outside(path);
    if (!statSync(real).isFile()) throw notAFile(path);
    const fd = openSync(real, READ | NO_FOLLOW);
    try {
      const stats = fstatSync(fd);
      if (!stats.isFile()) throw notAFile(path);
      if (!this.#isStillInside(fd, path)) throw outside(path);
      return { fd, stats };
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  #resolveFolder(path: string): OpenFolder {
    try {
      const real = realpathSync(this.#full(path));
      if (!this.#isInside(real)) throw outside(path);
      if (!statSync(real).isDirectory()) throw new FileError('not a folder', path);
      return { at: real, real, close: () => {} };
    } catch (error) {
      throw asCommandError(error, path);
    }
  }

  #isStillInside(fd: number, path: string): boolean {
    const real = realpathSync(this.#full(path));
    const there = statSync(real, { bigint: true });
    const opened = fstatSync(fd, { bigint: true });
    return this.#isInside(real) && there.ino === opened.ino && there.dev === opened.dev;
  }

  #full(path: string): string {
    return path === '' ? this.#real : this.#prefix + path;
  }

  #isInside(real: string): boolean {
    return real.startsWith(this.#prefix) || real === this.#real;
  }

  #procKnows(): boolean {
    const fd = openSync(this.#real, PLACE | FOLDER);
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
  if (problem !== undefined) throw new FileError(problem, path);
}

function outside(path: string): FileError {
  return new FileError('outside the served folder', path, { code: 'not-found' });
}

function notAFile(path: string): FileError {
  return new FileError('not a file', path);
}

function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** The error for the peer: what happened and the path as the peer gave it, nothing of ours. */
export function asCommandError(error: unknown, path: string): CommandError {
  if (error instanceof CommandError) return error;
  const fsCode = (error as NodeJS.ErrnoException).code;
  return new FileError(fsProblem(error), path, fsCode === undefined ? { code: 'internal' } : { fsCode });
}
