/** What files.list and files.stat say about a tree: every regular file below a folder, in the order of the paths. */

import { isUtf8 } from 'node:buffer';
import { opendirSync } from 'node:fs';
import { CommandError } from '../wire/errors.ts';
import { isOutOfDescriptors } from './descriptors.ts';
import { MAX_PATH_DEPTH, MAX_PATH_LENGTH, pathOf } from './paths.ts';
import { asCommandError, checkPath, FileError, type Found, type OpenFolder, type Root } from './root.ts';
import { isUnfinished } from './unfinished.ts';

/** One line of files.list. */
export interface FileEntry {
  /** Relative to the served folder, parts separated by '/'. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Time of the last change of the contents, in milliseconds since 1970, with fractions; negative before. */
  readonly mtimeMs: number;
  /** Permission bits, 0 … 0o777. */
  readonly mode: number;
  /** In files.stat: the size is 0 and yet there is content, as in what the system makes up when it is read. */
  readonly unsized?: true;
}

/** Told of each thing that a listing leaves out, and why. */
export type OnOmitted = (path: string, why: string) => void;

/** Most entries that one listing may have. */
export const MAX_ENTRIES = 1_000_000;

/** Most names that one listing looks at. */
const MAX_LOOKS = 2_000_000;

/** Names looked at, in folders large and small, until a lane should see to its other work. */
const LOOKS = 256;

/**
 * How often one folder is walked by links, besides the once that it is walked as itself. Folders that link to each
 * other have more ways through them than can be counted, and what is in them has been listed by then.
 */
const MAX_WALKS_BY_LINK = 8;

/** How often one listing waits for a descriptor before it lists without what it cannot open. */
const MAX_WAITS = 3000;

/**
 * What a listing yields between entries: that it has looked at {@link LOOKS} names more, or that there is no descriptor
 * now, and that going on at once would be no use.
 */
export type Pause = 'turn' | 'wait';

/** A folder that is still to be listed. */
interface Visit {
  readonly path: string;
  /** The folder that it was found in; the chain ends links that lead in circles. */
  readonly parent: Visit | undefined;
  /** Where it is, links followed; known once it has been opened. */
  real: string;
  /** What it is on the disk, where a link is on the way to it. */
  readonly linked: string | undefined;
}

type Item = FileEntry | Visit;

/**
 * The regular files below `path` ('' for the whole root), or the one that it names, sorted by path. Links that stay
 * inside stand for what they lead to. Whatever else there is, is left out, and `omitted` is told about it; only the
 * unfinished files of a pull are passed over.
 */
export function* listFiles(root: Root, path: string, omitted: OnOmitted): Generator<FileEntry, void, void> {
  for (const entry of findFiles(root, path, omitted)) if (typeof entry !== 'string') yield entry;
}

/** {@link listFiles} with its pauses. */
export function findFiles(
  root: Root,
  path: string,
  omitted: OnOmitted,
): Generator<FileEntry | Pause, void, void> {
  return new Listing(root, omitted).files(path);
}

/**
 * What stands at `path`, links followed.
 * @throws CommandError when nothing does, or outside.
 */
export function statPath(root: Root, path: string): Found {
  checkPath(path);
  const cut = path.lastIndexOf('/');
  const parent = cut < 0 ? '' : path.slice(0, cut);
  const folder = root.openFolder(parent);
  try {
    const found = root.find(folder, parent, path.slice(cut + 1));
    if (found === undefined) throw new FileError('no such file', path, { code: 'not-found' });
    return found;
  } finally {
    folder.close();
  }
}

/** The line for a file; its permission bits go without set-user-id and its kin. */
export function entryOf(path: string, { stats }: Found): FileEntry {
  return { path, size: stats.size, mtimeMs: stats.mtimeMs, mode: stats.mode & 0o777 };
}

class Listing {
  readonly #root: Root;
  readonly #omitted: OnOmitted;
  /** What is still to be listed, the last path first. */
  readonly #pending: Item[] = [];
  /** How often folders have been walked by links, by what they are on the disk. */
  readonly #walks = new Map<string, number>();
  #looks = 0;
  #waits = 0;

  constructor(root: Root, omitted: OnOmitted) {
    this.#root = root;
    this.#omitted = omitted;
  }

  *files(path: string): Generator<FileEntry | Pause, void, void> {
    this.#start(path);
    let count = 0;
    for (let next = this.#pending.pop(); next !== undefined; next = this.#pending.pop()) {
      if ('size' in next) {
        if (++count > MAX_ENTRIES) throw tooMany(MAX_ENTRIES, 'entries');
        yield next;
      } else yield* this.#visit(next);
    }
  }

  #start(path: string): void {
    if (path === '') this.#pending.push({ path, parent: undefined, real: '', linked: undefined });
    else this.#add(this.#pending, statPath(this.#root, path), path, undefined);
  }

  *#visit(visit: Visit): Generator<Pause, void, void> {
    if (this.#isWalkedOut(visit)) {
      this.#omitted(visit.path, 'the link leads to a folder that is listed often enough');
      return;
    }
    try {
      yield* this.#addChildren(visit);
    } catch (error) {
      // Only the folder that was asked for must be readable; one below it is missing from the listing, not its end.
      if (visit.parent === undefined || !(error instanceof FileError)) throw error;
      this.#omitted(visit.path, error.why);
    }
  }

  /** Whether a folder need not be walked once more. */
  #isWalkedOut({ linked }: Visit): boolean {
    if (linked === undefined) return false;
    const walks = (this.#walks.get(linked) ?? 0) + 1;
    this.#walks.set(linked, walks);
    return walks > MAX_WALKS_BY_LINK;
  }

  /** Reads one folder and puts what it has on the stack. */
  *#addChildren(visit: Visit): Generator<Pause, void, void> {
    const folder = yield* this.#patiently(() => this.#root.openFolder(visit.path));
    try {
      visit.real = folder.real;
      const names: string[] = [];
      yield* this.#readNames(folder, visit.path, names);
      const children: Item[] = [];
      for (const name of names) {
        if (this.#look()) yield 'turn';
        this.#addNamed(children, folder, visit, name);
      }
      children.sort(byPathDescending);
      for (const child of children) this.#pending.push(child);
    } finally {
      folder.close();
    }
  }

  /** Names that are not UTF-8 stand for nothing that could be asked for. */
  *#readNames(folder: OpenFolder, path: string, names: string[]): Generator<Pause, void, void> {
    try {
      // As Latin-1 every byte is one character: none is lost.
      const open = yield* this.#patiently(() =>
        opendirSync(folder.at, { bufferSize: LOOKS, encoding: 'latin1' }),
      );
      try {
        for (let entry = open.readSync(); entry !== null; entry = open.readSync()) {
          if (this.#look()) yield 'turn';
          const name = utf8Of(entry.name);
          if (name === undefined) this.#omitted(pathOf(path, escaped(entry.name)), 'the name is not UTF-8');
          else if (names.push(name) > MAX_ENTRIES) throw tooMany(MAX_ENTRIES, 'entries');
        }
      } finally {
        open.closeSync();
      }
    } catch (error) {
      throw asCommandError(error, path);
    }
  }

  *#patiently<T>(open: () => T): Generator<Pause, T, void> {
    for (;;) {
      try {
        return open();
      } catch (error) {
        if (!isOutOfDescriptors(error) || ++this.#waits > MAX_WAITS) throw error;
      }
      yield 'wait';
    }
  }

  #addNamed(to: Item[], folder: OpenFolder, visit: Visit, name: string): void {
    if (isUnfinished(name)) return;
    const path = pathOf(visit.path, name);
    try {
      const found = this.#root.find(folder, visit.path, name);
      if (found !== undefined) this.#add(to, found, path, visit);
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      this.#omitted(path, error.why);
    }
  }

  #add(to: Item[], found: Found, path: string, parent: Visit | undefined): void {
    const { stats, target } = found;
    const problem = whyOmitted(path, found, parent);
    if (problem !== undefined) this.#omitted(path, problem);
    else if (stats.isFile()) to.push(entryOf(path, found));
    else {
      const isLinked = parent !== undefined && (target !== undefined || parent.linked !== undefined);
      to.push({ path, parent, real: '', linked: isLinked ? `${stats.dev}:${stats.ino}` : undefined });
    }
  }

  /** Counts a name; true when others should have a turn. */
  #look(): boolean {
    if (++this.#looks > MAX_LOOKS) throw tooMany(MAX_LOOKS, 'names to look at');
    return this.#looks % LOOKS === 0;
  }
}

/** Why what was found at `path` is not listed, if it is not. */
function whyOmitted(path: string, { stats, target }: Found, parent: Visit | undefined): string | undefined {
  if (path.length > MAX_PATH_LENGTH) return `the path is longer than ${MAX_PATH_LENGTH} characters`;
  if (stats.isFile()) return undefined;
  if (!stats.isDirectory()) return 'neither a file nor a folder';
  if (path.split('/').length >= MAX_PATH_DEPTH)
    return `paths below it have more than ${MAX_PATH_DEPTH} parts`;
  if (target !== undefined && isAround(target, parent)) return 'the link leads to a folder that it is in';
  return undefined;
}

/** Whether a link's target is a folder that we are in already: following it would never end. */
function isAround(target: string, visit: Visit | undefined): boolean {
  for (let at = visit; at !== undefined; at = at.parent) {
    if (at.real === target || at.real.startsWith(`${target}/`)) return true;
  }
  return false;
}

function tooMany(limit: number, what: string): CommandError {
  return new CommandError(`the listing has more than ${limit} ${what}`);
}

/** The text of a name that was read as Latin-1; undefined when it is not UTF-8. */
function utf8Of(latin1: string): string | undefined {
  if (/^[\0-\x7f]*$/.test(latin1)) return latin1;
  const bytes = Buffer.from(latin1, 'latin1');
  return isUtf8(bytes) ? bytes.toString() : undefined;
}

/** A name that is no text, for people: what is not ASCII as `\xe9`. */
function escaped(latin1: string): string {
  return latin1.replace(/[^ -~]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

function byPathDescending(a: Item, b: Item): number {
  const left = sortKey(a);
  const right = sortKey(b);
  return left < right ? 1 : left > right ? -1 : 0;
}

/** What is below a folder sorts as the folder's name and a separator. */
function sortKey(item: Item): string {
  return 'size' in item ? item.path : `${item.path}/`;
}
