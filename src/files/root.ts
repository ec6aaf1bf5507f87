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
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs';
import { sep } from 'node:path';
import { CommandError } from '../wire/errors.ts';
import { fsErrorCode, fsProblem, nameOf, pathOf, pathProblem, shownPath } from './paths.ts';
import { atPlace, FOLDER_ONLY, hasPlaces, NO_FOLLOW, openPlace, wayTo, whereIs } from './places.ts';
import { isUnfinished } from './unfinished.ts';

// O_NONBLOCK: opening a FIFO must not wait for its writer. Missing flags are Windows's.
const READ = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0);

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
  /** Handles cannot be led elsewhere between a check and an open, and are cheaper than any other way. */
  readonly #places: boolean;

  /**
   * `places: false`: do without handles, as where there are none.
   * @throws what the file system throws when `folder` is missing or not a folder.
   */
  constructor(folder: string, places = true) {
    this.#real = realpathSync(folder);
    this.#prefix = this.#real.endsWith(sep) ? this.#real : this.#real + sep;
    if (!statSync(this.#real).isDirectory()) throw new Error('the root is not a folder');
    this.#places = places && hasPlaces(this.#real);
  }

  /** The root's own path on this machine: for keys in memory, never for messages. */
  get real(): string {
    return this.#real;
  }

  /** What the root itself is. */
  stat(): Found {
    try {
      return { stats: this.#reached(this.#real, '').stats };
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
      return this.#places ? this.#openPlace(path) : this.#openResolved(path);
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
    if (!this.#places) return this.#resolveFolder(path);
    let place: number | undefined;
    try {
      place = openPlace(this.#full(path), FOLDER_ONLY);
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
    const whole = pathOf(path, name);
    try {
      const stats = lstatSync(`${folder.at}/${name}`, { throwIfNoEntry: false });
      if (stats === undefined) return undefined;
      return stats.isSymbolicLink() ? this.#followed(`${folder.at}/${name}`, whole) : { stats };
    } catch (error) {
      throw asCommandError(error, whole);
    }
  }

  #followed(link: string, path: string): Found {
    try {
      const { stats, real } = this.#reached(link, path);
      return { stats, target: real };
    } catch (error) {
      if (isMissing(error)) throw new FileError('the link leads nowhere', path, { code: 'not-found' });
      throw error;
    }
  }

  /** What stands at a way of ours, links followed. @throws FileError when that is outside. */
  #reached(way: string, path: string): { stats: Stats; real: string } {
    if (this.#places)
      return atPlace(way, (stats, real) => {
        if (!this.#isInside(real)) throw outside(path);
        return { stats, real };
      });
    const real = realpathSync(way);
    if (!this.#isInside(real)) throw outside(path);
    return { stats: statSync(real), real };
  }

  #openPlace(path: string): OpenFile {
    const place = openPlace(this.#full(path));
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
    const real = whereIs(fd);
    if (!this.#isInside(real)) throw outside(path);
    return { at: wayTo(fd), real };
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
