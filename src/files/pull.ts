/** Fetches a served tree over one connection: list, leave what is there already, fetch the rest side by side. */

import { setImmediate as turn } from 'node:timers/promises';
import {
  callable,
  checkOptions,
  count,
  filledString,
  integer,
  numeric,
  type Rules,
  signal,
  string,
} from '../options/rules.ts';
import { CommandError, ConnectionError } from '../wire/errors.ts';
import { Destination, type LookReceiver } from './destination.ts';
import type { FileEntry } from './listing.ts';
import { tidyPath } from './paths.ts';
import { byName, DEFAULT_PLAN_LIMITS, linesOf, Plan, type PlanLimits, type PullFailure } from './plan.ts';
import { type FetchOptions, isFatal, type PullClient, PullJob, reasonOf } from './pull-job.ts';

export type { PullClient, PullProgress } from './pull-job.ts';

/** Options of `pull`. */
export interface PullOptions extends Partial<PlanLimits>, FetchOptions {
  /** The part of the tree to fetch, to the same path below the destination; missing or `.`: all of it. */
  readonly path?: string;
  /**
   * How often to go on with what is missing when the connection is lost and nothing has come since the last time;
   * default 0. It takes a `client` that connects again: a pool.
   */
  readonly retries?: number;
}

/** What has become of a pull. */
export interface PullResult {
  /** Files fetched, and their bytes. */
  readonly files: number;
  readonly bytes: number;
  /** Files that were there already. */
  readonly skipped: number;
  /** What could not be had: files that did not come, and all that the server has left out of its listing. */
  readonly failed: readonly PullFailure[];
  /** What else the server had to say about the listing, for people. */
  readonly notes: readonly string[];
  /** Bytes read from the connection, where the client counts them. */
  readonly wireBytes?: number;
}

const RULES: Rules<PullOptions> = {
  path: string,
  inFlight: count,
  signal,
  onProgress: callable,
  retries: integer(0),
  maxEntries: numeric(0, Number.POSITIVE_INFINITY),
  maxBytes: numeric(0, Number.POSITIVE_INFINITY),
};

const MAX_NOTES = 1000;

/** How servers begin what they say for people about what they left out, if they do not do so in lines of the listing. */
const LEFT_OUT = 'left out: ';

/** Files looked at in the destination until others have their turn, a signal's listener among them. */
const LOOKS = 256;

/**
 * Fetches the tree that `client` serves into the folder `dest`, which is made where it is missing. A file appears
 * only when it is whole; whatever happens, no part of one stays. One that has changed since it was listed comes as it
 * is by then. What cannot be had is in the result's `failed`.
 * @throws ConnectionError or ProtocolError when the connection fails, CommandError when the server cannot list,
 *   the signal's reason when it fires, what the file system throws when `dest` cannot be used. Files that were
 *   whole by then stay. TypeError that names the option which is wrong.
 */
export async function pull(client: PullClient, dest: string, options: PullOptions = {}): Promise<PullResult> {
  checkOptions(options, RULES, 'pull');
  filledString(dest, 'dest');
  const bytesBefore = client.stats?.().bytesRead;
  const fetched: Fetched = { files: 0, bytes: 0 };
  const { retries = 0 } = options;
  options.signal?.throwIfAborted();
  // Once for all tries: nobody may put another folder in its place between two.
  const destination = new Destination(dest);
  try {
    for (let left = retries; ; left--) {
      const before = fetched.files;
      try {
        const rest = await pullRest(client, destination, options, fetched);
        const bytesAfter = client.stats?.().bytesRead ?? 0;
        const wireBytes = bytesBefore === undefined ? undefined : bytesAfter - bytesBefore;
        return { ...rest, ...fetched, skipped: rest.skipped - before, wireBytes };
      } catch (error) {
        if (fetched.files > before) left = retries;
        if (left <= 0 || !mayGoOn(error)) throw error;
      }
    }
  } finally {
    destination.close();
  }
}

/** What has come so far, of all tries. */
interface Fetched {
  files: number;
  bytes: number;
}

/** Whether the next try may have better luck: what connects again has not given up. */
function mayGoOn(error: unknown): boolean {
  if (!(error instanceof ConnectionError)) return isFatal(error);
  return error.code === 'lost' || error.code === 'shutting-down' || error.code === 'keepalive-timeout';
}

/** Fetches what is not there yet. */
async function pullRest(
  client: PullClient,
  destination: Destination,
  options: PullOptions,
  fetched: Fetched,
): Promise<Pick<PullResult, 'skipped' | 'failed' | 'notes'>> {
  options.signal?.throwIfAborted();
  const notes: string[] = [];
  const { plan, missing, skipped } = await findMissing(client, destination, options, notes);
  const job = new PullJob(client, destination, byName(missing), plan.spareBytes, options);
  try {
    await job.run();
  } finally {
    fetched.files += job.progress.files;
    fetched.bytes += job.fetchedBytes;
  }
  return { skipped, failed: [...plan.failed, ...job.failed], notes };
}

/** What is served and not there yet as it should be. The destination is looked at while the server is still listing. */
async function findMissing(
  client: PullClient,
  destination: Destination,
  options: PullOptions,
  notes: string[],
): Promise<{ plan: Plan; missing: FileEntry[]; skipped: number }> {
  const { maxEntries = DEFAULT_PLAN_LIMITS.maxEntries, maxBytes = DEFAULT_PLAN_LIMITS.maxBytes } = options;
  const plan = new Plan({ maxEntries, maxBytes }, destination.isCaseSensitive());
  const missing: FileEntry[] = [];
  let skipped = 0;
  const found: LookReceiver = {
    onMissing: (entry) => void missing.push(entry),
    onCurrent: () => skipped++,
    onError: ({ path }, error) => plan.failed.push({ path, error: reasonOf(error) }),
  };
  const path = tidyPath(options.path ?? '');
  const args: Record<string, string> = path === '' ? {} : { path };
  const onText = (line: string) => {
    if (line.startsWith(LEFT_OUT)) plan.addOmitted(line.trimEnd());
    else if (notes.length < MAX_NOTES) notes.push(line.trimEnd());
  };
  const read = async (more: Record<string, string>) => {
    const asked = { args: { ...args, ...more }, signal: options.signal, onText, idempotent: true as const };
    for await (const lines of linesOf(client.call('files.list', asked))) {
      for (let at = 0; at < lines.length && !plan.isFull; at += LOOKS) {
        if (at > 0) await turn();
        options.signal?.throwIfAborted();
        destination.look(entriesOf(lines.slice(at, at + LOOKS), plan), found);
      }
      if (plan.isFull) break;
    }
  };
  await read({ omitted: 'lines' }).catch((error) => {
    if (!isUnknownArgument(error)) throw error;
    return read({});
  });
  return { plan, missing, skipped };
}

function entriesOf(lines: readonly string[], plan: Plan): FileEntry[] {
  const entries: FileEntry[] = [];
  for (const line of lines) {
    const entry = plan.add(line);
    if (entry !== undefined) entries.push(entry);
    if (plan.isFull) break;
  }
  return entries;
}

/** Whether a server does not know that what it leaves out can be had as lines of the listing. */
function isUnknownArgument(error: unknown): boolean {
  return error instanceof CommandError && error.message.includes('takes no argument omitted');
}
