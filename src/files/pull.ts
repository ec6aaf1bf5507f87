/** Fetches a served tree over one connection: list, leave what is there already, fetch the rest side by side. */

import { CommandError, ConnectionError, ProtocolError } from '../wire/errors.ts';
import { DEFAULT_LIMITS } from '../wire/limits.ts';
import { BundleReader, type BundleReceiver, encodePaths } from './bundle.ts';
import { Destination, DestinationError, type PartFile } from './destination.ts';
import type { FileEntry } from './listing.ts';
import { fsProblem, stemOf } from './paths.ts';
import { DEFAULT_PLAN_LIMITS, linesOf, Plan, type PlanLimits, type PullFailure } from './plan.ts';

/** What pull needs of a client. */
export interface PullClient {
  call(
    command: string,
    options: { args?: Record<string, string>; signal?: AbortSignal; onText?(line: string): void },
  ): AsyncIterable<Uint8Array>;
  stats?(): { readonly bytesRead: number };
  /** What the server has said of itself, if it has. */
  readonly serverSettings?: { readonly maxConcurrentRequests?: number };
}

export interface PullOptions extends Partial<PlanLimits> {
  /** The part of the tree to fetch; it goes to the same path below the destination. Missing: all of it. */
  readonly path?: string;
  /** Requests in flight at a time, as far as the server allows. Missing: 64. */
  readonly inFlight?: number;
  readonly signal?: AbortSignal;
  /** Called whenever bytes have come or a file is done. */
  onProgress?(progress: Readonly<PullProgress>): void;
}

export interface PullProgress {
  /** Files that are whole and in their place, and bytes that have come. */
  files: number;
  bytes: number;
  /** What there is to fetch. */
  totalFiles: number;
  totalBytes: number;
}

export interface PullResult {
  /** Files fetched, and their bytes. */
  readonly files: number;
  readonly bytes: number;
  /** Files that were there already. */
  readonly skipped: number;
  readonly failed: readonly PullFailure[];
  /** What the server had to say about the listing, for people. */
  readonly notes: readonly string[];
  /** Bytes read from the connection, where the client counts them. */
  readonly wireBytes?: number;
}

/** Larger files go to the disk piece by piece instead of waiting in memory until they are whole, in bytes. */
const MAX_WHOLE_SIZE = 256 << 10;

/**
 * Files up to this size are asked for many at a time, in bytes. Half of a small file's time is that of its request, and
 * what comes in whole frames compresses better.
 */
const MAX_BUNDLED_SIZE = 64 << 10;
/** What one bundle may hold: bytes, files, and characters of all paths. */
const BUNDLE_SIZE = 128 << 10;
/**
 * Bytes from which on a bundle ends where the files' name changes: what is alike goes by one stream. 4 000 files of
 * node_modules took 64 % (policy affinity) and 66 % (shared) of what a context per file does; with bundles that are
 * always full 68 and 69 %.
 */
const BUNDLE_OF_ONE_NAME = 16 << 10;
const BUNDLE_FILES = 256;
const BUNDLE_PATHS_LENGTH = 64 << 10;

const MAX_NOTES = 1000;

/** A file came otherwise than it was listed; one line for people. */
class ContentError extends Error {
  override readonly name = 'ContentError';
}

/**
 * Fetches the tree that `client` serves into the folder `dest`, which is made where it is missing. A file appears
 * only when it is whole; whatever happens, no part of one stays. What cannot be had is in the result's `failed`.
 * @throws ConnectionError or ProtocolError when the connection fails, CommandError when the server cannot list,
 *   the signal's reason when it fires, what the file system throws when `dest` cannot be used. Files that were
 *   whole by then stay.
 */
export async function pull(client: PullClient, dest: string, options: PullOptions = {}): Promise<PullResult> {
  options.signal?.throwIfAborted();
  const destination = new Destination(dest);
  try {
    const bytesBefore = client.stats?.().bytesRead;
    const notes: string[] = [];
    const plan = await readPlan(client, destination, options, notes);
    const { missing, skipped } = findMissing(plan, destination);
    const job = new PullJob(client, destination, missing, options);
    await job.run();
    const { files } = job.progress;
    const failed = [...plan.failed, ...job.failed];
    const wireBytes = bytesBefore === undefined ? undefined : client.stats!().bytesRead - bytesBefore;
    return { files, bytes: job.fetchedBytes, skipped, failed, notes, wireBytes };
  } finally {
    destination.close();
  }
}

async function readPlan(
  client: PullClient,
  destination: Destination,
  options: PullOptions,
  notes: string[],
): Promise<Plan> {
  const { maxEntries = DEFAULT_PLAN_LIMITS.maxEntries, maxBytes = DEFAULT_PLAN_LIMITS.maxBytes } = options;
  const plan = new Plan({ maxEntries, maxBytes }, destination.isCaseSensitive());
  const listing = client.call('files.list', {
    args: options.path === undefined ? {} : { path: options.path },
    signal: options.signal,
    onText: (line) => void (notes.length < MAX_NOTES && notes.push(line.trimEnd())),
  });
  for await (const line of linesOf(listing)) {
    plan.add(line);
    if (plan.isFull) break;
  }
  plan.sort();
  return plan;
}

/** The planned files that are not there yet as they should be. */
function findMissing(plan: Plan, destination: Destination): { missing: FileEntry[]; skipped: number } {
  const missing: FileEntry[] = [];
  let skipped = 0;
  for (const entry of plan.files) {
    try {
      if (destination.hasCurrent(entry)) skipped++;
      else missing.push(entry);
    } catch (error) {
      plan.failed.push({ path: entry.path, error: reasonOf(error) });
    }
  }
  return { missing, skipped };
}

/** The fetching: small files many at once, then all others by themselves. */
class PullJob {
  readonly progress: PullProgress;
  readonly failed: PullFailure[] = [];
  /** Bytes of the files that are whole; `progress` has those of the others too. */
  fetchedBytes = 0;
  readonly #client: PullClient;
  readonly #destination: Destination;
  readonly #options: PullOptions;
  /** Fires when nothing more can come: all requests in flight end then. */
  readonly #stop = new AbortController();
  /** The files that are still to be had, in the order to ask for them. */
  readonly #left: Set<FileEntry>;
  /** Until the server has refused one. */
  #takesBundles = true;

  constructor(
    client: PullClient,
    destination: Destination,
    entries: readonly FileEntry[],
    options: PullOptions,
  ) {
    this.#client = client;
    this.#destination = destination;
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
      await this.#sideBySide([...bundlesOf(this.#left)], (entries) => this.#fetchBundle(entries));
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
    const loops = Math.min(inFlight, maxConcurrentRequests, work.length);
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
      for await (const chunk of this.#client.call('files.bundle', { args, signal: this.#stop.signal })) {
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
      this.progress.bytes += entry.size;
      try {
        this.#destination.writeWhole(entry, chunks);
        this.#succeeded(entry);
      } catch (error) {
        this.#failed(entry, reasonOf(error));
      }
    },
    onError: (entry, message) => this.#failed(entry, message),
  };

  /** Asks for one file. Never rejects. */
  async #fetch(entry: FileEntry): Promise<void> {
    const content = this.#client.call('files.get', { args: { path: entry.path }, signal: this.#stop.signal });
    try {
      if (entry.size <= MAX_WHOLE_SIZE) await this.#fetchWhole(entry, content);
      else await this.#fetchPieces(entry, content);
      this.#succeeded(entry);
    } catch (error) {
      if (isFatal(error)) this.#stop.abort(error);
      else this.#failed(entry, reasonOf(error));
    }
  }

  #succeeded(entry: FileEntry): void {
    this.#left.delete(entry);
    this.progress.files++;
    this.fetchedBytes += entry.size;
    this.#report();
  }

  #failed(entry: FileEntry, error: string): void {
    this.#left.delete(entry);
    this.failed.push({ path: entry.path, error });
  }

  async #fetchWhole(entry: FileEntry, content: AsyncIterable<Uint8Array>): Promise<void> {
    const chunks: Uint8Array[] = [];
    let received = 0;
    for await (const chunk of content) {
      received = this.#count(entry, received, chunk);
      chunks.push(chunk);
    }
    checkWhole(entry, received);
    this.#destination.writeWhole(entry, chunks);
  }

  async #fetchPieces(entry: FileEntry, content: AsyncIterable<Uint8Array>): Promise<void> {
    let part: PartFile | undefined;
    let received = 0;
    try {
      for await (const chunk of content) {
        received = this.#count(entry, received, chunk);
        part ??= this.#destination.begin(entry);
        await part.write(chunk);
        this.#report();
      }
      checkWhole(entry, received);
      await part!.finish();
    } finally {
      part?.abandon();
    }
  }

  /** How much has come with this chunk; what is more than listed is refused before it fills the disk. */
  #count(entry: FileEntry, received: number, chunk: Uint8Array): number {
    const now = received + chunk.length;
    if (now > entry.size) throw new ContentError(`more came than the ${entry.size} bytes that were listed`);
    this.progress.bytes += chunk.length;
    return now;
  }

  #report(): void {
    this.#options.onProgress?.(this.progress);
  }
}

/** The small files in bundles of at least two, in their order. */
function* bundlesOf(entries: Iterable<FileEntry>): Generator<readonly FileEntry[], void, void> {
  let bundle: FileEntry[] = [];
  let bytes = 0;
  let length = 0;
  let name = '';
  for (const entry of entries) {
    if (entry.size > MAX_BUNDLED_SIZE) continue;
    const previous = name;
    name = stemOf(entry.path);
    const full =
      bytes + entry.size > BUNDLE_SIZE ||
      length + entry.path.length > BUNDLE_PATHS_LENGTH ||
      bundle.length === BUNDLE_FILES;
    if (full || (name !== previous && bytes >= BUNDLE_OF_ONE_NAME)) {
      if (bundle.length > 1) yield bundle;
      bundle = [];
      bytes = 0;
      length = 0;
    }
    bundle.push(entry);
    bytes += entry.size;
    length += entry.path.length;
  }
  if (bundle.length > 1) yield bundle;
}

function checkWhole(entry: FileEntry, received: number): void {
  if (received !== entry.size) {
    throw new ContentError(`${received} bytes came instead of the ${entry.size} that were listed`);
  }
}

/** Whether no other file can come either. */
function isFatal(error: unknown): boolean {
  return error instanceof ConnectionError || error instanceof ProtocolError;
}

/** One line for people about one file; the file system's own would be absolute paths. */
function reasonOf(error: unknown): string {
  if (error instanceof CommandError || error instanceof ContentError || error instanceof DestinationError) {
    return error.message;
  }
  if ((error as NodeJS.ErrnoException).syscall !== undefined) return `cannot be written: ${fsProblem(error)}`;
  return (error as Error).message;
}
