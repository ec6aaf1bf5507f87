/**
 * The handlers of files.list, files.get, files.bundle and files.stat. They run in the lanes, where reading
 * synchronously is right: what has been read is encoded on the same thread next, and nothing else waits for it. Only a
 * listing, which may look at a million names before it has one to send, lets others go first now and then.
 */

import type { Stats } from 'node:fs';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { type CommandRequest, cached, type Handler, type Output } from '../reactor/command.ts';
import { checkArguments } from '../reactor/known-arguments.ts';
import { CommandError } from '../wire/errors.ts';
import { DEFAULT_FRAME_SIZE } from '../wire/frame.ts';
import { bundle } from './bundle-handler.ts';
import { isOutOfDescriptors, patiently, RETRY_MS } from './descriptors.ts';
import { entryOf, findFiles, type Pause, statPath } from './listing.ts';
import { Omissions } from './omissions.ts';
import { OpenFiles, type ServedFile } from './open-files.ts';
import { shownPath, tidyPath } from './paths.ts';
import { asCommandError, FileError, Root } from './root.ts';

export interface FilesOptions {
  /** The folder to serve. */
  readonly root: string;
}

const BAD_ARGUMENT = { code: 'invalid-argument' };

/** Bytes of the pieces in which a long file or listing is handed on: one frame each. */
const PIECE_SIZE = DEFAULT_FRAME_SIZE;

/** From this ask on, an unchanged file is compressed once and spliced from then on. */
const ASKS_UNTIL_CACHED = 3;
/** Largest range that is kept compressed, in bytes. */
const MAX_CACHED_SIZE = 4 << 20;
/** How many recent ranges a lane remembers having been asked for. */
const MAX_REMEMBERED = 4096;
/** A file changed more recently than this may change again without its time telling, in milliseconds. */
const SETTLED_AFTER_MS = 2000;

/**
 * The handlers for one served folder; called once in every lane. `now` is the time in milliseconds, as files have it.
 * @throws what the file system throws when the root is missing or not a folder.
 */
export function create(options: FilesOptions, now: () => number = Date.now): Record<string, Handler> {
  const root = new Root(options.root);
  const files = new OpenFiles(root);
  const popularity = new Popularity(now);
  return {
    'files.list': (request) => list(root, request),
    'files.get': patient((request) => get(root, files, popularity, request)),
    'files.bundle': (request) => {
      checkArguments(request, ['paths']);
      return bundle(files, request);
    },
    'files.stat': patient((request) => stat(root, files, request)),
  };
}

/** The same handler, which begins as soon as there is a descriptor for it. */
function patient(handler: (request: CommandRequest) => Output | Iterable<Output>): Handler {
  return (request) => {
    try {
      return handler(request);
    } catch (error) {
      if (!isOutOfDescriptors(error)) throw error;
      return later(handler, request);
    }
  };
}

async function* later(
  handler: (request: CommandRequest) => Output | Iterable<Output>,
  request: CommandRequest,
): AsyncGenerator<Output, void, void> {
  const output = await patiently(() => handler(request), request.signal);
  if (typeof output === 'object' && Symbol.iterator in output && !(output instanceof Uint8Array))
    yield* output;
  else yield output;
}

/**
 * files.list: one JSON line per regular file. What had to be left out follows, as lines for people, or as JSON lines
 * `{path, omitted}` with `omitted=lines`.
 */
async function* list(root: Root, request: CommandRequest): AsyncGenerator<Output, void, void> {
  checkArguments(request, ['path', 'omitted']);
  const omissions = new Omissions(request.text('omitted'));
  let lines = '';
  for (const entry of findFiles(root, pathArgument(request) ?? '', omissions.add)) {
    if (typeof entry !== 'string') lines += `${JSON.stringify(entry)}\n`;
    // Without output nothing else finds out that nobody waits for it any more.
    else if (await isOver(request, entry)) return;
    if (lines.length < PIECE_SIZE) continue;
    yield lines;
    lines = '';
  }
  if (lines !== '') yield lines;
  yield* omissions.output(PIECE_SIZE);
}

/** Lets others have their turn, and then tells whether nobody waits for this any more. */
async function isOver({ signal }: CommandRequest, pause: Pause): Promise<boolean> {
  await (pause === 'turn' ? turn() : sleep(RETRY_MS));
  return signal.aborted;
}

/** files.stat: one JSON line, as in files.list and with the type besides. */
function stat(root: Root, files: OpenFiles, request: CommandRequest): Output {
  checkArguments(request, ['path']);
  const path = pathArgument(request) ?? '';
  const found = path === '' ? root.stat() : statPath(root, path);
  const type = found.stats.isFile() ? 'file' : found.stats.isDirectory() ? 'folder' : undefined;
  if (type === undefined) throw new FileError('neither a file nor a folder', path);
  const unsized = type === 'file' && found.stats.size === 0 && hasMore(files, path) ? { unsized: true } : {};
  return `${JSON.stringify({ ...entryOf(path, found), type, ...unsized })}\n`;
}

/** Whether there is content in a file that is said to be empty; not in one that cannot be read. */
function hasMore(files: OpenFiles, path: string): boolean {
  try {
    const file = files.open(path);
    try {
      return files.hasContent(file);
    } finally {
      files.close(file);
    }
  } catch (error) {
    if (isOutOfDescriptors(error)) throw error;
    return false;
  }
}

/**
 * files.get: the bytes of a file from `offset` on, at most `length` of them. A small file costs open, a look at where
 * that led, fstat, read and close, and one buffer.
 */
function get(
  root: Root,
  files: OpenFiles,
  popularity: Popularity,
  request: CommandRequest,
): Output | Iterable<Output> {
  checkArguments(request, ['path', 'offset', 'length']);
  const path = pathArgument(request);
  if (path === undefined) throw new CommandError('files.get needs the argument path', BAD_ARGUMENT);
  const file = files.open(path);
  const { stats } = file;
  let mustClose = true;
  try {
    const unsized = stats.size === 0 && files.hasContent(file);
    const range = rangeOf(request, unsized ? Number.POSITIVE_INFINITY : stats.size, path);
    const length = range.end - range.start;
    if (length <= MAX_CACHED_SIZE && popularity.count(path, range, stats)) {
      return cached(cacheKey(root, path, range, stats), () => readUnchanged(files, path, range, stats));
    }
    if (length <= PIECE_SIZE) return readUpTo(files, file, range.start, length);
    mustClose = false;
    return readPieces(files, file, range);
  } catch (error) {
    throw asCommandError(error, path);
  } finally {
    if (mustClose) files.close(file);
  }
}

/** Part of a file: from byte `start` up to, not including, `end`, which may be infinite: then up to the file's. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** `size` is infinite where it is not known. @throws CommandError when the file ends before the range begins. */
function rangeOf(request: CommandRequest, size: number, path: string): Range {
  const start = decimalArgument(request, 'offset') ?? 0;
  const length = decimalArgument(request, 'length') ?? size;
  if (start > Math.min(size, Number.MAX_SAFE_INTEGER)) {
    const has = Number.isFinite(size) ? ` has ${size} bytes` : '';
    const offset = shownPath(request.text('offset') ?? '');
    throw new CommandError(`offset ${offset} is past the end: ${shownPath(path)}${has}`, BAD_ARGUMENT);
  }
  return { start, end: Math.min(size, start + length) };
}

/** A range of more than one piece; closes `file` at its end, wherever that is. */
function* readPieces(
  files: OpenFiles,
  file: ServedFile,
  { start, end }: Range,
): Generator<Uint8Array, void, void> {
  try {
    for (let at = start; at < end; at += PIECE_SIZE) {
      const wanted = Math.min(PIECE_SIZE, end - at);
      const piece = readUpTo(files, file, at, wanted);
      if (piece.length > 0) yield piece;
      if (piece.length < wanted) return;
    }
  } catch (error) {
    throw asCommandError(error, file.path);
  } finally {
    files.close(file);
  }
}

/**
 * The bytes in a buffer of their own: fewer than `length` only where the file ends. One that has become shorter is an
 * error, for it must not pass for a whole one.
 */
function readUpTo(files: OpenFiles, file: ServedFile, start: number, length: number): Uint8Array {
  const bytes = Buffer.allocUnsafeSlow(length);
  let filled = 0;
  while (filled < length) {
    const count = files.read(file, bytes, filled, length - filled, start + filled);
    if (count === 0) break;
    filled += count;
  }
  return filled === length ? bytes : bytes.subarray(0, filled);
}

/** The bytes for the cache: only those of the very file that the key was made of. */
function readUnchanged(files: OpenFiles, path: string, { start, end }: Range, expected: Stats): Uint8Array {
  const file = files.open(path);
  try {
    const bytes = readUpTo(files, file, start, end - start);
    if (!isSameVersion(files.statsNow(file), expected)) throw files.changed(file);
    return bytes;
  } catch (error) {
    throw asCommandError(error, path);
  } finally {
    files.close(file);
  }
}

function isSameVersion(a: Stats, b: Stats): boolean {
  return a.mtimeMs === b.mtimeMs && a.ctimeMs === b.ctimeMs && a.size === b.size && a.ino === b.ino;
}

function cacheKey(root: Root, path: string, { start, end }: Range, stats: Stats): string {
  const { dev, ino, size, mtimeMs, ctimeMs } = stats;
  return `files\0${root.real}\0${path}\0${start}-${end}\0${dev}:${ino}:${size}:${mtimeMs}:${ctimeMs}`;
}

/** Which ranges of which files have been asked for how often, as far as a lane remembers. */
class Popularity {
  readonly #recent = new LRUCache<string, { asks: number; stats: Stats }>({ max: MAX_REMEMBERED });
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Counts one ask; true when the range has been asked for, unchanged, often enough to be cached. */
  count(path: string, { start, end }: Range, stats: Stats): boolean {
    const key = start === 0 && end === stats.size ? path : `${path}\0${start}-${end}`;
    const known = this.#recent.get(key);
    if (known === undefined || !isSameVersion(known.stats, stats)) {
      this.#recent.set(key, { asks: 1, stats });
      return false;
    }
    known.asks++;
    return known.asks >= ASKS_UNTIL_CACHED && this.#now() - stats.ctimeMs > SETTLED_AFTER_MS;
  }
}

/** The argument `path`, where it is given: '' for the root, which '.' means, too. */
function pathArgument(request: CommandRequest): string | undefined {
  const path = request.text('path');
  return path === undefined ? undefined : tidyPath(path);
}

/** A number past all that a file can have is one as good as infinity. */
function decimalArgument(request: CommandRequest, name: string): number | undefined {
  const text = request.text(name);
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  throw new CommandError(`${name} is not a decimal number of bytes: ${shownPath(text)}`, BAD_ARGUMENT);
}
