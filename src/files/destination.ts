/**
 * The folder that files are pulled into. A file is written beside its place under a hidden name and moved there when
 * it is whole, so nobody ever sees half of one. Nothing is written through a link below the folder: a link may lead
 * anywhere, and it is the server that says what goes by which path. Whatever is done in a folder goes by a handle on it
 * (held-folders.ts), so that nobody who moves folders meanwhile can lead it elsewhere either.
 */

import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  type Stats,
  unlinkSync,
} from 'node:fs';
import { isOutOfDescriptors, patiently } from './descriptors.ts';
import { makeFolder } from './folder.ts';
import { aboveOf, DestinationError, folderOf, type HeldFolder, HeldFolders } from './held-folders.ts';
import type { FileEntry } from './listing.ts';
import { PartFile, setAttributes, setTime, writeAll } from './part-file.ts';
import { nameOf } from './paths.ts';
import { NO_FOLLOW, openPlace, wayTo } from './places.ts';
import { removeAbandoned, unfinishedPrefix } from './unfinished.ts';

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | NO_FOLLOW;

/** Mode of an unfinished file: what is not whole yet is nobody else's business. */
const PRIVATE = 0o600;

/** Times that differ by no more than this are the same, in milliseconds: they have gone through doubles. */
const SAME_TIME_MS = 0.01;

/** The unfinished files of every pull: should the process end in the middle, they go with it. */
const removeAtExit = new Set<ReadonlySet<string>>();
process.once('exit', () => {
  for (const parts of removeAtExit) parts.forEach(removeQuietly);
});

/** An unfinished file, and the folder that it is in, which is held until the file is settled. */
interface NewFile {
  readonly fd: number;
  readonly folder: HeldFolder;
  /** The way to it, and the one to where it belongs. */
  readonly temp: string;
  readonly place: string;
}

/** What is found at the places of entries. */
export interface LookReceiver {
  /** The file is there, as long and as old as the entry says. */
  onCurrent(entry: FileEntry): void;
  onMissing(entry: FileEntry): void;
  /** Something is in its place that must not be replaced, or it cannot be looked at. */
  onError(entry: FileEntry, error: unknown): void;
}

export class Destination {
  readonly #held: HeldFolders;
  /** Which folders are there; keys are relative and end in '/', that of the destination itself is ''. */
  readonly #folders = new Map<string, 'there' | 'missing'>([['', 'there']]);
  /** Folders that this pull has made, outermost first. */
  readonly #made: string[] = [];
  readonly #tempPrefix = unfinishedPrefix();
  /** Unfinished files. */
  readonly #parts = new Set<string>();
  #tempCount = 0;
  /** A file without a name, to find out what becomes of times here. */
  #probe: number | undefined;

  /**
   * Opens the folder and makes it where it is missing. `places` as for {@link HeldFolders}.
   * @throws what the file system throws.
   */
  constructor(folder: string, places = true) {
    makeFolder(folder);
    this.#held = new HeldFolders(folder, places);
    this.#held.in('', removeAbandoned);
    removeAtExit.add(this.#parts);
  }

  /** Ends the use of the folder; unfinished files and folders that stayed empty are removed. */
  close(): void {
    removeAtExit.delete(this.#parts);
    this.#parts.forEach(removeQuietly);
    if (this.#probe !== undefined) closeSync(this.#probe);
    for (const folder of this.#made.reverse()) {
      try {
        this.#held.in(aboveOf(folder), (at) => rmdirSync(at + lastOf(folder)));
      } catch {
        // It is in use, as it should be, or not ours any more.
      }
    }
    this.#held.close();
  }

  /** Whether the file system here tells `A` from `a`. */
  isCaseSensitive(): boolean {
    const name = this.#tempName();
    return this.#held.in('', (at) => {
      closeSync(openSync(at + name, CREATE, PRIVATE));
      try {
        return lstatSync(at + name.toUpperCase(), { throwIfNoEntry: false }) === undefined;
      } finally {
        unlinkSync(at + name);
      }
    });
  }

  /**
   * Looks which files are there already; the mode of these is made right. A folder is looked at once for all entries
   * of it that follow each other. Never throws.
   */
  look(entries: readonly FileEntry[], found: LookReceiver): void {
    for (let at = 0; at < entries.length; ) {
      const folder = folderOf(entries[at].path);
      let end = at + 1;
      // A way that can be bent is looked at anew for each file.
      if (!this.#held.canBend) while (end < entries.length && folderOf(entries[end].path) === folder) end++;
      this.#lookIn(folder, entries.slice(at, end), found);
      at = end;
    }
  }

  #lookIn(folder: string, entries: readonly FileEntry[], found: LookReceiver): void {
    let held: HeldFolder | undefined;
    try {
      held = this.#takeThere(folder);
    } catch (error) {
      for (const entry of entries) found.onError(entry, error);
      return;
    }
    for (const entry of entries) this.#lookFor(entry, held, found);
    held?.release();
  }

  /** A folder, if it is there. @throws DestinationError when something on the way is not a folder. */
  #takeThere(folder: string): HeldFolder | undefined {
    if (this.#look(folder) === 'missing') return undefined;
    try {
      return this.#held.take(folder);
    } catch (error) {
      if (!isMissing(error)) throw error;
      this.#forget(folder);
      return undefined;
    }
  }

  #lookFor(entry: FileEntry, folder: HeldFolder | undefined, found: LookReceiver): void {
    try {
      const isThere = folder !== undefined && this.#isCurrent(folder.at + nameOf(entry.path), entry);
      if (isThere) found.onCurrent(entry);
      else found.onMissing(entry);
    } catch (error) {
      // It was removed between two looks.
      if (isMissing(error)) found.onMissing(entry);
      else found.onError(entry, error);
    }
  }

  #isCurrent(path: string, entry: FileEntry): boolean {
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return false;
    if (stats.isDirectory()) throw new DestinationError('a folder is in its place');
    if (!stats.isFile() || stats.size !== entry.size) return false;
    if (!isSameTime(stats.mtimeMs, entry.mtimeMs) && !isSameTime(stats.mtimeMs, this.#kept(entry)))
      return false;
    this.#correctMode(path, stats, entry);
    return true;
  }

  /**
   * Puts a whole file in its place. All at once and without a turn of the event loop: for a small file that is a
   * quarter of the time that the asynchronous calls take, and nothing can come between.
   * @throws DestinationError, or what the file system throws; nothing is left then.
   */
  writeWhole(entry: FileEntry, chunks: readonly Uint8Array[]): void {
    const file = this.#create(entry);
    let isWhole = false;
    try {
      try {
        writeAll(file.fd, chunks);
        setAttributes(file.fd, entry);
      } finally {
        closeSync(file.fd);
      }
      isWhole = true;
    } finally {
      // Its folder was in its place a moment ago.
      this.#settle(file, isWhole, this.#held.canBend);
    }
  }

  /** {@link writeWhole}, as soon as there is a descriptor for it. @throws the signal's reason, besides. */
  async writeLater(entry: FileEntry, chunks: readonly Uint8Array[], signal: AbortSignal): Promise<void> {
    await patiently(() => this.writeWhole(entry, chunks), signal, this.#mayHope);
  }

  /** Begins a file that is written piece by piece, as soon as there is a descriptor. @throws as {@link writeLater}. */
  async begin(entry: FileEntry, signal: AbortSignal): Promise<PartFile> {
    const file = await patiently(() => this.#create(entry), signal, this.#mayHope);
    this.#parts.add(file.temp);
    return new PartFile(file.fd, entry, (isWhole) => {
      this.#parts.delete(file.temp);
      this.#settle(file, isWhole, true);
    });
  }

  /** Each unfinished file gives a descriptor back when it is finished. */
  readonly #mayHope = () => this.#parts.size > 0;

  /** A new file with a hidden name beside the entry's place, whose folder is there from now on. */
  #create(entry: FileEntry): NewFile {
    const folder = folderOf(entry.path);
    this.#make(folder);
    try {
      return this.#createIn(folder, entry);
    } catch (error) {
      if (isOutOfDescriptors(error) && this.#held.letGo()) return this.#createIn(folder, entry);
      if (!isMissing(error) || folder === '') throw error;
      // Another pull made the folder and has removed it because it had nothing to put there.
      this.#forget(folder);
      this.#make(folder);
      return this.#createIn(folder, entry);
    }
  }

  #createIn(name: string, entry: FileEntry): NewFile {
    const folder = this.#held.take(name);
    const temp = folder.at + this.#tempName();
    let fd: number | undefined;
    try {
      fd = openSync(temp, CREATE, PRIVATE);
      if (this.#held.canBend) folder.check();
      return { fd, folder, temp, place: folder.at + nameOf(entry.path) };
    } catch (error) {
      if (fd !== undefined) {
        closeSync(fd);
        removeQuietly(temp);
      }
      folder.release();
      throw error;
    }
  }

  /** Moves a file to its place when it is whole, removes it otherwise. `mustCheck`: the folder may have been moved since. */
  #settle({ folder, temp, place }: NewFile, isWhole: boolean, mustCheck: boolean): void {
    let isMoved = false;
    try {
      if (!isWhole) return;
      if (mustCheck) folder.check();
      renameSync(temp, place);
      isMoved = true;
    } finally {
      if (!isMoved) removeQuietly(temp);
      folder.release();
    }
  }

  #tempName(): string {
    return `${this.#tempPrefix}${this.#tempCount++}.part`;
  }

  /**
   * The entry's time as this file system keeps it: one that knows no such time has the nearest that it does. The
   * entry's own where that cannot be found out.
   */
  #kept(entry: FileEntry): number {
    try {
      this.#probe ??= this.#openProbe();
      setTime(this.#probe, entry);
      return fstatSync(this.#probe).mtimeMs;
    } catch {
      return entry.mtimeMs;
    }
  }

  #openProbe(): number {
    return this.#held.in('', (at) => {
      const path = at + this.#tempName();
      const fd = openSync(path, CREATE, PRIVATE);
      removeQuietly(path);
      return fd;
    });
  }

  /** @throws DestinationError when something on the way is not a folder. */
  #look(folder: string): 'there' | 'missing' {
    const known = this.#folders.get(folder);
    if (known !== undefined) return known;
    const state = this.#look(aboveOf(folder)) === 'missing' ? 'missing' : this.#lookAt(folder);
    this.#folders.set(folder, state);
    return state;
  }

  #lookAt(folder: string): 'there' | 'missing' {
    try {
      this.#held.in(folder, removeAbandoned);
      return 'there';
    } catch (error) {
      if (isMissing(error)) return 'missing';
      throw error;
    }
  }

  #forget(folder: string): void {
    for (let at = folder; at !== ''; at = aboveOf(at)) this.#folders.delete(at);
  }

  #make(folder: string): void {
    if (this.#look(folder) === 'there') return;
    this.#make(aboveOf(folder));
    try {
      this.#held.in(aboveOf(folder), (at) => mkdirSync(at + lastOf(folder)));
      this.#made.push(folder);
    } catch (error) {
      // Somebody else may have been faster; then it is judged like any other.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || this.#lookAt(folder) === 'missing')
        throw error;
    }
    this.#folders.set(folder, 'there');
  }

  #correctMode(path: string, stats: Stats, entry: FileEntry): void {
    if ((stats.mode & 0o777) === entry.mode || process.platform === 'win32') return;
    const fd = this.#held.canBend
      ? openSync(path, constants.O_RDONLY | NO_FOLLOW | (constants.O_NONBLOCK ?? 0))
      : openPlace(path, NO_FOLLOW);
    try {
      const { dev, ino } = fstatSync(fd);
      if (dev !== stats.dev || ino !== stats.ino)
        throw new DestinationError('something else is in its place');
      if (this.#held.canBend) fchmodSync(fd, entry.mode);
      else chmodSync(wayTo(fd), entry.mode);
    } finally {
      closeSync(fd);
    }
  }
}

/** The last part of a folder's path. */
function lastOf(folder: string): string {
  return folder.slice(aboveOf(folder).length, -1);
}

/** Whether nothing has the name. */
function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

function isSameTime(aMs: number, bMs: number): boolean {
  return Math.abs(aMs - bMs) <= SAME_TIME_MS;
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It is gone.
  }
}
