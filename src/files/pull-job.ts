/** The part of a pull that fetches: small files many at a time, long ones and what has changed by themselves. */

import { CommandError, ConnectionError, ProtocolError } from '../wire/errors.ts';
import { DEFAULT_LIMITS } from '../wire/limits.ts';
import { BundleReader, type BundleReceiver, encodePaths } from './bundle.ts';
import { bundlesOf } from './bundles.ts';
import { isOutOfDescriptors } from './descriptors.ts';
import type { Destination } from './destination.ts';
import { DestinationError } from './held-folders.ts';
import type { FileEntry } from './listing.ts';
import { fsProblem } from './paths.ts';
import { linesOf, type PullFailure, parseEntry } from './plan.ts';

/** What pull needs of a client. */
export interface PullClient {
  call(
    command: string,
    options: {
      args?: Record<string, string>;
      signal?: AbortSignal;
      onText?(line: string): void;
      /** All that is asked for may be asked for again: a pool does so by itself. */
      idempotent: true;
    },
  ): AsyncIterable<Uint8Array>;
  stats?(): { readonly bytesRead: number };
  /** What the server has said of itself, if it has. */
  readonly serverSettings?: { readonly maxConcurrentRequests?: number };
}

/** How far a pull has come. */
export interface PullProgress {
  /** Files that are whole and in their place, and bytes that have come. */
  files: number;
  bytes: number;
  /** What there is to fetch. */
  totalFiles: number;
  totalBytes: number;
}

/** How to fetch; see PullOptions. */
export interface FetchOptions {
  /** Requests in flight at a time, as far as the server allows. Missing: 64. */
  readonly inFlight?: number;
  /** Stops the pull; what is not whole by then is removed. */
  readonly signal?: AbortSignal;
  /** Called when it is known what there is to fetch, and whenever bytes have come or a file is done. */
  onProgress?(progress: Readonly<PullProgress>): void;
}

/** Larger files go to the disk piece by piece instead of waiting in memory until they are whole, in bytes. */
const MAX_WHOLE_SIZE = 256 << 10;

/** Most bytes of a file that has no size before it is read, as what the system makes up has none. */
const MAX_UNSIZED = 64 << 20;

/** A file came otherwise than it was listed; one line for people. */
class ContentError extends Error {
  override readonly name = 'ContentError';
}

/** The fetching: small files many at once, then all others by themselves. */
export class PullJob {
  readonly progress: PullProgress;
  readonly failed: PullFailure[] = [];
  /** Bytes of the files that are whole; `progress` has those of the others too. */
  fetchedBytes = 0;
  readonly #client: PullClient;
  readonly #destination: Destination;
  readonly #options: FetchOptions;
  /** Fires when nothing more can come: all requests in flight end then. */
  readonly #stop = new AbortController();
  /** The files that are still to be had, in the order to ask for them. */
  readonly #left: Set<FileEntry>;
  /** Bytes that files may have more than was listed, all together. */
  #spareBytes: number;
  /** Until the server has refused one. */
  #takesBundles = true;

  constructor(
    client: PullClient,
    destination: Destination,
    entries: readonly FileEntry[],
    spareBytes: number,
    options: FetchOptions,
  ) {
    this.#client = client;
    this.#destination = destination;
    this.#spareBytes = spareBytes;
    this.#options = options;
    this.#left = new Set(entries);
    const totalBytes = entries.reduce((sum, { size }) => sum + size, 0);
    this.progress = { files: 0, bytes: 0, totalFiles: entries.length, totalBytes };
  }

  async run(): Promise<void> {
    const { signal } = this.#options;
    const onAbort = () => this.#stop.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort);
    try {
      signal?.throwIfAborted();
      this.#report();
      await this.#sideBySide(bundlesOf(this.#left), (entries) => this.#fetchBundle(entries));
      // The large ones, and whatever bundles have not brought: each has its own request, and its own error.
      await this.#sideBySide([...this.#left], (entry) => this.#fetch(entry));
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Does all of the work, as many requests at a time as may be in flight. @throws the reason when it is stopped. */
  async #sideBySide<T>(work: readonly T[], run: (each: T) => Promise<void>): Promise<void> {
    const { inFlight = 64 } = this.#options;
    const { maxConcurrentRequests = DEFAULT_LIMITS.maxConcurrentRequests } =
      this.#client.serverSettings ?? {};
    let next = 0;
    const loop = async () => {
      while (next < work.length && !this.#stop.signal.aborted) await run(work[next++]);
    };
    // A server that takes none says so to the one that asks.
    const loops = Math.min(inFlight, Math.max(1, maxConcurrentRequests), work.length);
    // No loop rejects: all have let go of their files when this resolves.
    await Promise.all(Array.from({ length: loops }, loop));
    this.#stop.signal.throwIfAborted();
  }

  /** Asks for many files at once; those that do not come as they should stay left. Never rejects. */
  async #fetchBundle(entries: readonly FileEntry[]): Promise<void> {
    if (!this.#takesBundles) return;
    const reader = new BundleReader(entries, this.#bundled);
    let something = false;
    try {
      const args = { paths: encodePaths(entries.map(({ path }) => path)) };
      for await (const chunk of this.#ask('files.bundle', args)) {
        something = true;
        if (!reader.push(chunk)) break;
      }
    } catch (error) {
      if (isFatal(error)) this.#stop.abort(error);
      else if (!something) this.#takesBundles = false;
    }
  }

  readonly #bundled: BundleReceiver = {
    onFile: (entry, chunks) => {
      try {
        this.#destination.writeWhole(entry, chunks);
        this.progress.bytes += entry.size;
        this.#succeeded(entry, entry.size);
      } catch (error) {
        // Without a descriptor it stays left: by itself it can wait for one.
        if (!isOutOfDescriptors(error)) this.#failed(entry, reasonOf(error));
      }
    },
    onError: (entry, message) => this.#failed(entry, message),
  };

  /** Asks for one file. Never rejects. */
  async #fetch(entry: FileEntry): Promise<void> {
    try {
      // Of a long one no byte should have to come twice because it has become longer since it was listed.
      const now = entry.size > MAX_WHOLE_SIZE ? await this.#look(entry) : undefined;
      const size = await this.#fetchAs(now ?? entry, now?.size).catch((error) =>
        this.#fetchAgain(now ?? entry, error),
      );
      this.#succeeded(entry, size);
    } catch (error) {
      if (isFatal(error)) this.#stop.abort(error);
      else this.#failed(entry, reasonOf(error));
    }
  }

  /** Asks for a file that came otherwise than it was listed as it is now. @throws `error` where that is none. */
  async #fetchAgain(entry: FileEntry, error: unknown): Promise<number> {
    const now = error instanceof ContentError ? await this.#look(entry) : undefined;
    if (now === undefined) throw error;
    return await this.#fetchAs(now, now.size);
  }

  /** What the server says of a file by now, if it can say. @throws ContentError when there may not be so much. */
  async #look(entry: FileEntry): Promise<FileEntry | undefined> {
    let now: ReturnType<typeof parseEntry>;
    try {
      const args = { path: entry.path };
      for await (const lines of linesOf(this.#ask('files.stat', args)))
        for (const line of lines) now ??= parseEntry(line);
    } catch (error) {
      if (isFatal(error) || this.#stop.signal.aborted) throw error;
      return undefined;
    }
    if (now === undefined || 'omitted' in now) return undefined;
    this.#spend(now.size - entry.size);
    return { ...now, path: entry.path };
  }

  /** Fetches a file that should be as `entry` says; `length` is the bytes to ask for. Returns how many there are. */
  async #fetchAs(entry: FileEntry, length?: number): Promise<number> {
    const receipt = new Receipt(entry, this.progress, Math.min(MAX_UNSIZED, this.#spareBytes));
    const args = { path: entry.path, ...(length ? { length: String(length) } : {}) };
    const ask = () => this.#ask('files.get', args);
    try {
      await (isLong(entry) ? this.#fetchPieces(receipt, ask) : this.#fetchWhole(receipt, ask()));
    } catch (error) {
      // All of it comes again.
      if (error instanceof ContentError) receipt.takeBack();
      throw error;
    }
    this.#spend(receipt.received - entry.size);
    return receipt.received;
  }

  #ask(command: string, args: Record<string, string>): AsyncIterable<Uint8Array> {
    return this.#client.call(command, { args, signal: this.#stop.signal, idempotent: true });
  }

  #succeeded(entry: FileEntry, size: number): void {
    this.#left.delete(entry);
    this.progress.files++;
    this.fetchedBytes += size;
    this.#report();
  }

  #failed(entry: FileEntry, error: string): void {
    this.#left.delete(entry);
    this.failed.push({ path: entry.path, error });
  }

  async #fetchWhole(receipt: Receipt, content: AsyncIterable<Uint8Array>): Promise<void> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of content) {
      receipt.count(chunk);
      chunks.push(chunk);
    }
    receipt.check();
    await this.#destination.writeLater(receipt.entry, chunks, this.#stop.signal);
  }

  /** Nothing is asked for before there is somewhere to put it: what waits here would keep others from coming. */
  async #fetchPieces(receipt: Receipt, ask: () => AsyncIterable<Uint8Array>): Promise<void> {
    const part = await this.#destination.begin(receipt.entry, this.#stop.signal);
    try {
      for await (const chunk of ask()) {
        receipt.count(chunk);
        await part.write(chunk);
        this.#report();
      }
      receipt.check();
      await part.finish();
    } finally {
      part.abandon();
    }
  }

  /** Takes bytes beyond what was listed from those that there may be. @throws ContentError when these are too few. */
  #spend(bytes: number): void {
    if (bytes > this.#spareBytes)
      throw new ContentError('it has become larger than all files together may be');
    this.#spareBytes -= bytes;
    this.progress.totalBytes += bytes;
  }

  #report(): void {
    this.#options.onProgress?.(this.progress);
  }
}

/** Whether a file goes to the disk piece by piece. */
function isLong({ size, unsized }: FileEntry): boolean {
  return unsized === true || size > MAX_WHOLE_SIZE;
}

/** What has come of one file. */
class Receipt {
  readonly entry: FileEntry;
  received = 0;
  readonly #progress: PullProgress;
  readonly #maxUnsized: number;

  /** `maxUnsized` is the most bytes of a file without a size. */
  constructor(entry: FileEntry, progress: PullProgress, maxUnsized: number) {
    this.entry = entry;
    this.#progress = progress;
    this.#maxUnsized = maxUnsized;
  }

  /** What is more than listed is refused before it fills the disk. @throws ContentError */
  count({ length }: Uint8Array): void {
    const { size, unsized } = this.entry;
    if (this.received + length > (unsized ? this.#maxUnsized : size))
      throw new ContentError(`more came than the ${size} bytes that were listed`);
    this.received += length;
    this.#progress.bytes += length;
  }

  /** @throws ContentError when it is not all. */
  check(): void {
    const { size, unsized } = this.entry;
    if (!unsized && this.received !== size)
      throw new ContentError(`${this.received} bytes came instead of the ${size} that were listed`);
  }

  takeBack(): void {
    this.#progress.bytes -= this.received;
  }
}

/** Whether no other file can come either. */
export function isFatal(error: unknown): boolean {
  return error instanceof ConnectionError || error instanceof ProtocolError;
}

/** One line for people about one file; the file system's own would be absolute paths. */
export function reasonOf(error: unknown): string {
  if (error instanceof CommandError || error instanceof ContentError || error instanceof DestinationError) {
    return error.message;
  }
  if ((error as NodeJS.ErrnoException).syscall !== undefined) return `cannot be written: ${fsProblem(error)}`;
  return (error as Error).message;
}
