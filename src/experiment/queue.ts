/**
 * Experiments past one machine: settings are jobs of a BullMQ queue on Redis, workers anywhere take them. The traffic
 * lies in Redis beside them. A job whose worker has died goes back to the queue by itself; a job that is done stays for
 * a day, so that a coordinator that has died finds it on `--resume`.
 */

import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import type { Job } from 'bullmq';
import type { CodecModule } from '../encoding/codec.ts';
import type { Dictionary } from '../encoding/dictionary.ts';
import { readDictionary } from '../encoding/read-dictionary.ts';
import { within } from '../lanes/within.ts';
import { MAX_DICTIONARY_BYTES } from '../wire/extensions.ts';
import { asError } from '../wire/thrown.ts';
import { after, unref } from '../wire/timers.ts';
import { type Cell, cellKey } from './grid/cell.ts';
import {
  type CellJob,
  failedResult,
  MAX_PACKED_BYTES,
  packTraffic,
  parseJob,
  parseResult,
  unpackTraffic,
} from './job.ts';
import { resultOf } from './local.ts';
import { EncodingMeter } from './measure/encodings.ts';
import { Evaluator, type EvaluatorOptions } from './measure/evaluator.ts';
import type { DictionariesBySize } from './measure/train.ts';
import type { CellResult } from './results/results.ts';
import type { CellRunner } from './runner.ts';
import type { Workload } from './traffic/workload.ts';

const QUEUE = 'millrace-experiment';
/** Seconds for which traffic and results stay in Redis. */
const KEPT_SECONDS = 24 * 3600;
/** Workers that may die over one setting before it counts as failed: it may be what kills them. */
const MAX_DEATHS = 3;
/** Jobs that all workers together take in a second: whatever the options of jobs say, such as to repeat them for ever. */
const MAX_JOBS = { max: 100, duration: 1000 };

/** @throws Error when the optional packages are not installed. */
async function libraries() {
  try {
    const [bullmq, { Redis }] = await Promise.all([import('bullmq'), import('ioredis')]);
    return { bullmq, Redis };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new Error('a queue needs two more packages: npm install bullmq ioredis', { cause: error });
  }
}

/** BullMQ waits for as long as Redis is away. */
function connectionTo(url: string) {
  return { url, maxRetriesPerRequest: null };
}

function trafficKey(sha256: string): string {
  return `${QUEUE}:traffic:${sha256}`;
}

function dictionaryKey(id: string): string {
  return `${QUEUE}:dictionary:${id}`;
}

type Queue = import('bullmq').Queue<CellJob, CellResult>;
type Events = import('bullmq').QueueEvents;

/** Runs cells on whatever workers there are. @throws Error when Redis cannot be reached. */
export function queueRunner(url: string, options: EvaluatorOptions): CellRunner {
  return async (cells, known, onResult, signal) => {
    const { bullmq } = await libraries();
    const asked = await handOver(url, options, signal);
    const queue = new bullmq.Queue<CellJob, CellResult>(QUEUE, { connection: connectionTo(url) });
    const events = new bullmq.QueueEvents(QUEUE, { connection: connectionTo(url) });
    // Every job waits with listeners of its own.
    for (const emitter of [queue, events]) emitter.setMaxListeners(0);
    // Redis is waited for, and what is lost of events is found by looking.
    queue.on('error', () => undefined);
    events.on('error', () => undefined);
    const jobs: Job<CellJob, CellResult>[] = [];
    const run = async (cell: Cell) => {
      const data = { cell, ...asked };
      const job = await addJob(queue, data);
      jobs.push(job);
      const result = await outcome(queue, String(job.id), data, events);
      if (!signal?.aborted) onResult(result);
    };
    try {
      const running = Promise.all(cells.filter((cell) => !known.has(cellKey(cell))).map(run));
      // A job that a worker has in hand is not removed: it is found on --resume.
      if ((await Promise.race([running, whenStopped(signal)])) === STOPPED)
        await within(Promise.allSettled(jobs.map((job) => job.remove())), LEAVING_MS);
    } finally {
      await leave([queue, events]);
    }
  };
}

/** Puts what workers need beside the jobs; what all jobs have in common. */
async function handOver(
  url: string,
  options: EvaluatorOptions,
  signal: AbortSignal | undefined,
): Promise<Omit<CellJob, 'cell'>> {
  const {
    workload,
    rounds,
    inFlight,
    workers,
    links,
    dictionaries = new Map<number, Dictionary>(),
  } = options;
  const packed = packTraffic(workload);
  const put = async (redis: Redis) => {
    const keep = (key: string, bytes: Buffer) => redis.set(key, bytes, 'EX', KEPT_SECONDS);
    for (const { id, bytes } of dictionaries.values()) await keep(dictionaryKey(id), Buffer.from(bytes));
    await keep(trafficKey(workload.sha256), packed);
  };
  await visit(url, put, signal);
  const named = [...dictionaries].map(([size, { id }]) => ({ size, id }));
  return {
    traffic: workload.sha256,
    options: {
      rounds,
      inFlight,
      workers,
      links: [...links],
      ...(named.length > 0 && { dictionaries: named }),
    },
  };
}

const STOPPED = Symbol('stopped');

function whenStopped(signal: AbortSignal | undefined): Promise<typeof STOPPED> {
  return new Promise((resolve) => {
    const stop = () => resolve(STOPPED);
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop);
  });
}

/** Milliseconds that a Redis may take for what is done on leaving. */
const LEAVING_MS = 2000;

/** One that hangs is left as it is. */
async function leave(connected: readonly (Queue | Events)[]): Promise<void> {
  if (await within(Promise.all(connected.map((each) => each.close())), LEAVING_MS)) return;
  for (const each of connected) each.disconnect().catch(() => undefined);
}

/** The same setting of the same experiment is the same job. One that has failed is tried again. */
async function addJob(queue: Queue, data: CellJob): Promise<Job<CellJob, CellResult>> {
  const jobId = createHash('sha256').update(JSON.stringify(data)).digest('hex').slice(0, 32);
  const known = await queue.getJob(jobId);
  if (known !== undefined && (await known.isFailed())) await known.remove();
  const kept = { age: KEPT_SECONDS };
  return queue.add('cell', data, { jobId, removeOnComplete: kept, removeOnFail: kept });
}

/** Never throws: what there is for a setting, or why there is nothing. */
async function outcome(queue: Queue, id: string, asked: CellJob, events: Events): Promise<CellResult> {
  try {
    for (let told = toldOf(events, id); !(await isOver(queue, id)); told = toldOf(events, id)) await told;
    const job = await queue.getJob(id);
    if (job === undefined) throw new Error('the job is not in Redis any more');
    if (job.failedReason) throw new Error(job.failedReason);
    return parseResult(job.returnvalue, asked);
  } catch (error) {
    return failedResult(asked.cell, error);
  }
}

async function isOver(queue: Queue, id: string): Promise<boolean> {
  return ['completed', 'failed', 'unknown'].includes(await queue.getJobState(id));
}

/** Milliseconds after which a job is looked at: one event that is no JSON ends them all, and Redis may have lost the job. */
const LOOK_MS = 5000;

/** Resolves when something may have come of a job. */
function toldOf(events: Events, id: string): Promise<void> {
  return new Promise((resolve) => {
    const names = [`completed:${id}`, `failed:${id}`] as const;
    const tell = () => {
      clearTimeout(timer);
      for (const name of names) events.off(name as 'completed', tell);
      resolve();
    };
    const timer = unref(after(LOOK_MS, tell));
    for (const name of names) events.on(name as 'completed', tell);
  });
}

type Redis = import('ioredis').Redis;

/** Milliseconds that a visit may take: 64 MiB take 54 s by 10 Mbit/s. */
const VISIT_MS = 60_000;

/** A short visit to Redis, broken off when `signal` fires. @throws Error when it cannot be reached, or hangs. */
async function visit<T>(url: string, use: (redis: Redis) => Promise<T>, signal?: AbortSignal): Promise<T> {
  const { Redis } = await libraries();
  const redis = new Redis(url, { lazyConnect: true, maxRetriesPerRequest: 0, retryStrategy: () => null });
  // The failed command says it, too; without a listener the process would end.
  let problem: Error | undefined;
  redis.on('error', (error) => {
    problem ??= error;
  });
  const { promise: brokenOff, reject } = Promise.withResolvers<never>();
  const late = after(VISIT_MS, () => reject(new Error(`no answer within ${VISIT_MS} ms`)));
  const stop = () => reject(signal?.reason);
  signal?.addEventListener('abort', stop);
  try {
    signal?.throwIfAborted();
    return await Promise.race([redis.connect().then(() => use(redis)), brokenOff]);
  } catch (error) {
    signal?.throwIfAborted();
    throw new Error(`cannot reach Redis: ${(problem ?? (error as Error)).message}`, { cause: error });
  } finally {
    clearTimeout(late);
    signal?.removeEventListener('abort', stop);
    redis.disconnect();
  }
}

async function takeTraffic(url: string, sha256: string): Promise<Workload> {
  // One byte more than there may be, so that what is too long is seen, and not taken.
  const packed = await visit(url, (redis) => redis.getrangeBuffer(trafficKey(sha256), 0, MAX_PACKED_BYTES));
  if (packed.length === 0) throw new Error('the traffic is not in Redis any more');
  return unpackTraffic(packed, sha256);
}

/** @throws Error when one is not there any more, or other bytes are. */
async function takeDictionaries(
  url: string,
  named: readonly { size: number; id: string }[],
): Promise<DictionariesBySize> {
  const found = new Map<number, Dictionary>();
  for (const { size, id } of named) {
    const bytes = await visit(url, (redis) =>
      redis.getrangeBuffer(dictionaryKey(id), 0, MAX_DICTIONARY_BYTES),
    );
    if (bytes.length === 0) throw new Error('a dictionary is not in Redis any more');
    const dictionary = readDictionary(bytes);
    if (dictionary.id !== id) throw new Error('a dictionary in Redis is not what it says');
    found.set(size, dictionary);
  }
  return found;
}

export interface QueueWorkerOptions {
  readonly codecs: readonly CodecModule[];
  /** Milliseconds of silence after which a worker counts as dead and its setting goes to another. */
  readonly lockMs: number;
  /** Ends the worker after the setting in hand. */
  readonly signal: AbortSignal;
  onReady(): void;
  onResult(result: CellResult): void;
  onError(error: Error): void;
}

/** Takes settings from the queue, one at a time, until it is stopped. @throws Error when Redis cannot be reached. */
export async function workOnQueue(url: string, options: QueueWorkerOptions): Promise<void> {
  const { bullmq } = await libraries();
  await visit(url, (redis) => redis.ping(), options.signal);
  const evaluators = new Evaluators(url, options.codecs);
  const { lockMs } = options;
  const worker = new bullmq.Worker<CellJob, CellResult>(
    QUEUE,
    async (job) => {
      try {
        const result = await resultOfJob(job.data, evaluators);
        options.onResult(result);
        return result;
      } catch (error) {
        // Not tried again, however often its options ask for it.
        throw new bullmq.UnrecoverableError(asError(error).message);
      }
    },
    {
      connection: connectionTo(url),
      lockDuration: lockMs,
      stalledInterval: lockMs,
      maxStalledCount: MAX_DEATHS,
      maxStartedAttempts: MAX_DEATHS + 1,
      limiter: MAX_JOBS,
    },
  );
  worker.on('error', options.onError);
  try {
    await worker.waitUntilReady();
    options.onReady();
    await new Promise<void>((resolve) => {
      if (options.signal.aborted) resolve();
      options.signal.addEventListener('abort', () => resolve());
    });
  } finally {
    await worker.close();
    await evaluators.close();
  }
}

/** @throws Error that says why there is nothing to measure it by. */
async function resultOfJob(data: unknown, evaluators: Evaluators): Promise<CellResult> {
  const job = parseJob(data);
  const evaluator = await evaluators.for(job);
  return { ...(await resultOf(job.cell, () => evaluator.evaluate(job.cell))), host: hostname() };
}

/** The evaluator for the experiment in hand; another experiment's takes its place. */
class Evaluators {
  readonly #url: string;
  readonly #codecs: readonly CodecModule[];
  #key = '';
  #evaluator: Evaluator | undefined;

  constructor(url: string, codecs: readonly CodecModule[]) {
    this.#url = url;
    this.#codecs = codecs;
  }

  async for({ traffic, options }: CellJob): Promise<Evaluator> {
    const key = JSON.stringify([traffic, options]);
    if (this.#evaluator !== undefined && this.#key === key) return this.#evaluator;
    await this.close();
    const workload = await takeTraffic(this.#url, traffic);
    const dictionaries = await takeDictionaries(this.#url, options.dictionaries ?? []);
    const codecs = this.#codecs;
    const meter = new EncodingMeter(workload, codecs, dictionaries);
    this.#evaluator = new Evaluator({ ...options, workload, meter, codecs, dictionaries });
    this.#key = key;
    return this.#evaluator;
  }

  async close(): Promise<void> {
    await this.#evaluator?.close();
    this.#evaluator = undefined;
  }
}
