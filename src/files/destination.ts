/**
 * The folder that files are pulled into. A file is written beside its place under a hidden name and moved there when
 * it is whole, so nobody ever sees half of one. Nothing is written through a link below the folder: a link may lead
 * anywhere, and it is the server that says what goes by which path.
 */

import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  futimesSync,
  lstatSync,
  mkdirSync,
  openSync,
  realpathSync,
  renameSync,
  rmdirSync,
  type Stats,
  unlinkSync,
  write,
  writeSync,
} from 'node:fs';
import { promisify } from 'node:util';
import { patiently } from './descriptors.ts';
import { makeFolder } from './folder.ts';
import type { FileEntry } from './listing.ts';
import { removeAbandoned, unfinishedPrefix } from './unfinished.ts';

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0);

/** Mode of an unfinished file: what is not whole yet is nobody else's business. */
const PRIVATE = 0o600;

/** Times in seconds that a file system may be asked for: those that 64 bits hold. */
const MAX_SECONDS = 9.2e18;

/** Times that differ by no more than this are the same, in milliseconds: they have gone through doubles. */
const SAME_TIME_MS = 0.01;

/** Bytes of a long file that are gathered before they are written at once. */
const WRITE_SIZE = 1 << 20;

/** Why a file cannot be put where it belongs; one line for people. */
export class DestinationError extends Error {
  override readonly name = 'DestinationError';
}

/** The unfinished files of every pull: should the process end in the middle, they go with it. */
const removeAtExit = new Set<ReadonlySet<string>>();
process.once('exit', () => {
  for (const parts of removeAtExit) parts.forEach(removeQuietly);
});

export class Destination {
  /** Absolute, without links, and ending in '/'. */
  readonly #base: string;
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

  /** Opens the folder and makes it where it is missing. @throws what the file system throws. */
  constructor(folder: string) {
    makeFolder(folder);
    this.#base = `${realpathSync(folder).replace(/[/\\]$/, '')}/`;
    removeAbandoned(this.#base);
    removeAtExit.add(this.#parts);
  }

  /** Ends the use of the folder; unfinished files and folders that stayed empty are removed. */
  close(): void {
    removeAtExit.delete(this.#parts);
    this.#parts.forEach(removeQuietly);
    if (this.#probe !== undefined) closeSync(this.#probe);
    for (const folder of this.#made.reverse()) {
      try {
        rmdirSync(this.#base + folder);
      } catch {
        // It is in use, as it should be.
      }
    }
  }

  /** Whether the file system here tells `A` from `a`. */
  isCaseSensitive(): boolean {
    const name = this.#tempName();
    closeSync(openSync(this.#base + name, CREATE, PRIVATE));
    try {
      return lstatSync(this.#base + name.toUpperCase(), { throwIfNoEntry: false }) === undefined;
    } finally {
      unlinkSync(this.#base + name);
    }
  }

  /**
   * Whether the file is there already, as long and as old as the entry says. Its mode is then made right.
   * @throws DestinationError when something is in its place that must not be replaced.
   */
  hasCurrent(entry: FileEntry): boolean {
    if (this.#look(folderOf(entry.path)) === 'missing') return false;
    const path = this.#base + entry.path;
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
    const { temp, fd } = this.#create(entry);
    try {
      try {
        writeAll(fd, chunks);
        setAttributes(fd, entry);
      } finally {
        closeSync(fd);
      }
      renameSync(temp, this.#base + entry.path);
    } catch (error) {
      removeQuietly(temp);
      throw error;
    }
  }

  /** {@link writeWhole}, as soon as there is a descriptor for it. @throws the signal's reason, besides. */
  async writeLater(entry: FileEntry, chunks: readonly Uint8Array[], signal: AbortSignal): Promise<void> {
    await patiently(() => this.writeWhole(entry, chunks), signal, this.#mayHope);
  }

  /** Begins a file that is written piece by piece, as soon as there is a descriptor. @throws as {@link writeLater}. */
  async begin(entry: FileEntry, signal: AbortSignal): Promise<PartFile> {
    const { temp, fd } = await patiently(() => this.#create(entry), signal, this.#mayHope);
    this.#parts.add(temp);
    return new PartFile(fd, entry, (isWhole) => {
      try {
        if (isWhole) renameSync(temp, this.#base + entry.path);
      } finally {
        removeQuietly(temp);
        this.#parts.delete(temp);
      }
    });
  }

  /** Each unfinished file gives a descriptor back when it is finished. */
  readonly #mayHope = () => this.#parts.size > 0;

  /** A new file with a hidden name beside the entry's place, whose folder is there from now on. */
  #create(entry: FileEntry): { temp: string; fd: number } {
    const folder = folderOf(entry.path);
    this.#make(folder);
    const temp = `${this.#base}${folder}${this.#tempName()}`;
    try {
      return { temp, fd: openSync(temp, CREATE, PRIVATE) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || folder === '') throw error;
      // Another pull made the folder and has removed it because it had nothing to put there.
      this.#forget(folder);
      this.#make(folder);
      return { temp, fd: openSync(temp, CREATE, PRIVATE) };
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
    const path = this.#base + this.#tempName();
    const fd = openSync(path, CREATE, PRIVATE);
    removeQuietly(path);
    return fd;
  }

  /** @throws DestinationError when something on the way is not a folder. */
  #look(folder: string): 'there' | 'missing' {
    const known = this.#folders.get(folder);
    if (known !== undefined) return known;
    const state = this.#look(folderOf(folder.slice(0, -1))) === 'missing' ? 'missing' : this.#lookAt(folder);
    this.#folders.set(folder, state);
    return state;
  }

  #lookAt(folder: string): 'there' | 'missing' {
    // Without its '/', or lstat would follow a link.
    const stats = lstatSync(this.#base + folder.slice(0, -1), { throwIfNoEntry: false });
    if (stats === undefined) return 'missing';
    if (stats.isDirectory()) {
      removeAbandoned(this.#base + folder);
      return 'there';
    }
    throw new DestinationError(
      `${stats.isSymbolicLink() ? 'a link' : 'a file'} is in the place of a folder above it`,
    );
  }

  #forget(folder: string): void {
    for (let at = folder; at !== ''; at = folderOf(at.slice(0, -1))) this.#folders.delete(at);
  }

  #make(folder: string): void {
    if (this.#look(folder) === 'there') return;
    this.#make(folderOf(folder.slice(0, -1)));
    try {
      mkdirSync(this.#base + folder);
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
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      fchmodSync(fd, entry.mode);
    } finally {
      closeSync(fd);
    }
  }
}

const writeAsync = promisify(write);

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
    for (let at = 0; at < bytes.length; ) at += (await writeAsync(this.#fd, bytes, at)).bytesWritten;
  }
}

/** The folder that a path is in, ending in '/'; '' where it is the destination itself. */
function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/') + 1);
}

function writeAll(fd: number, chunks: readonly Uint8Array[]): void {
  const bytes = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

function setAttributes(fd: number, entry: FileEntry): void {
  fchmodSync(fd, entry.mode);
  setTime(fd, entry);
}

function setTime(fd: number, { mtimeMs }: FileEntry): void {
  const seconds = Math.max(-MAX_SECONDS, Math.min(MAX_SECONDS, mtimeMs / 1000));
  // As text: Node takes a negative number for today.
  futimesSync(fd, String(seconds), String(seconds));
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
