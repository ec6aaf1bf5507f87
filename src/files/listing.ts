/** What files.list and files.stat say about a tree: every regular file below a folder, in the order of the paths. */

import { opendirSync } from 'node:fs';
import { CommandError } from '../wire/errors.ts';
import { MAX_PATH_DEPTH, MAX_PATH_LENGTH, shownPath } from './paths.ts';
import { asCommandError, checkPath, type Found, type OpenFolder, type Root } from './root.ts';

/** One line of files.list. */
export interface FileEntry {
  /** Relative to the served folder, parts separated by '/'. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Time of the last change of the contents, in milliseconds since 1970, with fractions. */
  readonly mtimeMs: number;
  /** Permission bits, 0 … 0o777. */
  readonly mode: number;
}

/** Most entries that one listing may have. */
export const MAX_ENTRIES = 1_000_000;

/** Names looked at, in folders large and small, until a lane should see to its other work. */
const LOOKS = 256;

/** A folder that is still to be listed. */
interface Visit {
  readonly path: string;
  /** The folder that it was found in; the chain ends links that lead in circles. */
  readonly parent: Visit | undefined;
  /** Where it is, links followed; known once it has been opened. */
  real: string;
}

/**
 * The regular files below `path` ('' for the whole root), or the one that it names, sorted by path. Links that stay
 * inside stand for what they lead to; links that leave, sockets, devices and the like are left out. So is what
 * cannot be listed at all, and `omitted` is told about it.
 */
export function* listFiles(
  root: Root,
  path: string,
  omitted: (what: string) => void,
): Generator<FileEntry, void, void> {
  for (const entry of findFiles(root, path, omitted)) if (entry !== undefined) yield entry;
}

/** {@link listFiles}, which has looked at {@link LOOKS} names more whenever it yields undefined. */
export function* findFiles(
  root: Root,
  path: string,
  omitted: (what: string) => void,
): Generator<FileEntry | undefined, void, void> {
  let looks = 0;
  const pending: (FileEntry | Visit)[] = [];
  if (path === '') pending.push({ path, parent: undefined, real: '' });
  else addFound(pending, statPath(root, path), path, undefined);
  let count = 0;
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if ('size' in next) {
      if (++count > MAX_ENTRIES) throw tooMany();
      yield next;
      continue;
    }
    try {
      for (const _ of addChildren(root, next, pending, omitted)) if (++looks % LOOKS === 0) yield undefined;
    } catch (error) {
      // Only the folder that was asked for must be readable; one below it is missing from the listing, not its end.
      if (next.parent === undefined) throw error;
      omitted((error as Error).message);
    }
  }
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
    if (found === undefined) throw new CommandError(`no such file: ${shownPath(path)}`);
    return found;
  } catch (error) {
    throw asCommandError(error, path);
  } finally {
    folder.close();
  }
}

/** The line for a file; its permission bits go without set-user-id and its kin. */
export function entryOf(path: string, { stats }: Found): FileEntry {
  return { path, size: stats.size, mtimeMs: stats.mtimeMs, mode: stats.mode & 0o777 };
}

/** Reads one folder and puts what it has on the stack, last path first; yields after every step. */
function* addChildren(
  root: Root,
  visit: Visit,
  pending: (FileEntry | Visit)[],
  omitted: (what: string) => void,
): Generator<void, void, void> {
  const folder = root.openFolder(visit.path);
  try {
    visit.real = folder.real;
    const children: (FileEntry | Visit)[] = [];
    const names: string[] = [];
    yield* readNames(folder, visit.path, names);
    for (const name of names) {
      yield;
      const path = visit.path === '' ? name : `${visit.path}/${name}`;
      const found = root.find(folder, visit.path, name);
      if (found !== undefined) addFound(children, found, path, visit);
      // Such a name has been changed by reading it as text, and cannot be opened by what came out.
      else if (name.includes('\ufffd')) omitted(`the name is not UTF-8: ${shownPath(path)}`);
    }
    children.sort(byPathDescending);
    for (const child of children) pending.push(child);
  } finally {
    folder.close();
  }
}

function* readNames(folder: OpenFolder, path: string, names: string[]): Generator<void, void, void> {
  try {
    const open = opendirSync(folder.at, { bufferSize: LOOKS });
    try {
      yield;
      for (let entry = open.readSync(); entry !== null; entry = open.readSync()) {
        if (names.push(entry.name) > MAX_ENTRIES) throw tooMany();
        yield;
      }
    } finally {
      open.closeSync();
    }
  } catch (error) {
    throw asCommandError(error, path);
  }
}

function tooMany(): CommandError {
  return new CommandError(`the listing has more than ${MAX_ENTRIES} entries`);
}

function addFound(to: (FileEntry | Visit)[], found: Found, path: string, parent: Visit | undefined): void {
  if (found.stats.isFile()) to.push(entryOf(path, found));
  else if (found.stats.isDirectory() && isWorthAVisit(path, found, parent))
    to.push({ path, parent, real: '' });
}

function isWorthAVisit(path: string, found: Found, parent: Visit | undefined): boolean {
  if (path.length >= MAX_PATH_LENGTH || path.split('/').length >= MAX_PATH_DEPTH) return false;
  return found.target === undefined || !isAround(found.target, parent);
}

/** Whether a link's target is a folder that we are in already: following it would never end. */
function isAround(target: string, visit: Visit | undefined): boolean {
  for (let at = visit; at !== undefined; at = at.parent) {
    if (at.real === target || at.real.startsWith(`${target}/`)) return true;
  }
  return false;
}

function byPathDescending(a: FileEntry | Visit, b: FileEntry | Visit): number {
  const left = sortKey(a);
  const right = sortKey(b);
  return left < right ? 1 : left > right ? -1 : 0;
}

/** What is below a folder sorts as the folder's name and a separator. */
function sortKey(item: FileEntry | Visit): string {
  return 'size' in item ? item.path : `${item.path}/`;
}
