/** The lanes of one server: a Piscina pool in which every worker runs one task for as long as it lives. */

import { fileURLToPath } from 'node:url';
import { MessageChannel, type ResourceLimits } from 'node:worker_threads';
import { Piscina } from 'piscina';
import type { HandlerModule } from '../../workers/calls.ts';
import type { LaneTask } from '../../workers/lane.ts';
import type { CodecModule } from '../encoding/codec.ts';
import type { Failure } from '../wire/failure.ts';
import { type BudgetOptions, ContextBudget, encoderCost } from './budget.ts';
import { Lane } from './lane.ts';
import { within } from './within.ts';

export interface LanePoolOptions extends BudgetOptions {
  /** Worker threads, one lane each. */
  readonly workers: number;
  /** Commands that run in lanes. */
  readonly handlers: readonly HandlerModule[];
  /** Codecs beside the built-in ones. */
  readonly codecs?: readonly CodecModule[];
  /** As in {@link LaneTask}; default 0. */
  readonly coalesceMs?: number;
  /** zstd level for cached output. */
  readonly cacheLevel: number;
  /** Payloads for a cache will be compressed. */
  readonly caching?: boolean;
  /** Milliseconds without a sign of life after which a lane is ended; missing: never. */
  readonly laneTimeout?: number;
  /** Memory bounds of each worker's JavaScript heap. */
  readonly resourceLimits?: ResourceLimits;
  /** A lane died and was replaced, or could not be. */
  readonly onLost: (lane: number, error: Error) => void;
  /** A worker failed while no lane ran on it. */
  readonly onError?: (error: Error) => void;
}

/** A lane that dies sooner than this after it opened is reopened with a growing delay, in milliseconds. */
const YOUNG_MS = 1000;
const MAX_DELAY_MS = 5000;
/** Askings for a sign of life within `laneTimeout`: a process that was stopped itself asks but once. */
const BEATS = 4;
/** How long all lanes may take to start and to load the modules of commands, in milliseconds. */
const LOAD_TIME_MS = 30_000;
/** How long lanes may take to end before their workers are ended for them, in milliseconds. */
const END_TIME_MS = 1000;

/** A lane that is ended in the middle of a request did not die; some of the request has run, so it is not said to be safe. */
const CLOSED: Failure = { code: 'cancelled', message: 'server is shutting down' };

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const LANE_FILE = fileURLToPath(new URL(`../../workers/lane.${EXTENSION}`, import.meta.url));

export class LanePool {
  /** The memory of all contexts on these lanes. */
  readonly budget: ContextBudget;
  readonly #sweeper: ReturnType<typeof setInterval>;
  readonly #watchdog: ReturnType<typeof setInterval> | undefined;
  /** Ends the worker of a lane. */
  readonly #killers = new Map<Lane, AbortController>();
  readonly #options: LanePoolOptions;
  readonly #piscina: Piscina<LaneTask, void>;
  readonly #lanes: (Lane | undefined)[] = [];
  readonly #tasks = new Set<Promise<void>>();
  /** Timers of lanes that died and are not open again. */
  readonly #reopening = new Set<ReturnType<typeof setTimeout>>();
  /** Why the newest lane that died did so. */
  #lastDeath = '';
  /** How often a lane was opened again, by its index. */
  readonly restarts: number[] = [];
  #closing = false;

  constructor(options: LanePoolOptions) {
    this.#options = options;
    // A payload for the cache is compressed on a context of its own, one at a time on each lane.
    const cacheContexts = options.workers * encoderCost('zstd-8mb', { level: options.cacheLevel });
    this.budget = new ContextBudget(options, options.caching ? cacheContexts : 0);
    this.#sweeper = setInterval(() => this.budget.sweep(performance.now()), this.budget.sweepPeriodMs);
    this.#sweeper.unref();
    this.#piscina = new Piscina<LaneTask, void>({
      filename: LANE_FILE,
      minThreads: options.workers,
      maxThreads: options.workers,
      idleTimeout: Number.POSITIVE_INFINITY,
      // The default parks the worker's event loop, and the lane lives on events.
      atomics: 'disabled',
      concurrentTasksPerWorker: 1,
      execArgv: [],
      resourceLimits: options.resourceLimits,
    });
    this.#piscina.on('error', (error) => options.onError?.(error));
    if (options.laneTimeout !== undefined) {
      this.#watchdog = setInterval(() => this.#checkBeats(), options.laneTimeout / BEATS).unref();
    }
    for (let index = 0; index < options.workers; index++) this.#open(index, 0);
  }

  /** The live lanes. */
  get lanes(): Lane[] {
    return this.#lanes.filter((lane) => lane !== undefined);
  }

  /** The live lane with the fewest open streams, or undefined when none lives. */
  leastUsed(): Lane | undefined {
    let best: Lane | undefined;
    for (const lane of this.#lanes) {
      if (lane !== undefined && (best === undefined || lane.openSlots < best.openSlots)) best = lane;
    }
    return best;
  }

  /**
   * Resolves when every lane has all the modules that it may need.
   * @throws Error that says which cannot be loaded, and why; the lanes go on.
   */
  async load(): Promise<void> {
    const { handlers, codecs = [], workers } = this.#options;
    if (handlers.length === 0 && codecs.length === 0) return;
    const { lanes } = this;
    if (lanes.length < workers) throw new Error(this.#lastDeath);
    const loading = Promise.all(lanes.map((lane) => lane.load()));
    if (!(await within(loading, LOAD_TIME_MS)))
      throw new Error(`the modules of commands were not loaded within ${LOAD_TIME_MS} ms`);
    await loading;
  }

  /** Ends all lanes and their threads; one that does not answer is ended all the same. */
  async close(): Promise<void> {
    this.#closing = true;
    clearInterval(this.#sweeper);
    clearInterval(this.#watchdog);
    for (const timer of this.#reopening) clearTimeout(timer);
    for (const lane of this.lanes) lane.end();
    await within(Promise.allSettled(this.#tasks), END_TIME_MS);
    await this.#piscina.destroy();
  }

  /** Ends the worker of `lane`, and with it every context there; the lane is opened again on another worker. */
  kill(lane: Lane, reason: string): void {
    this.#killers.get(lane)?.abort(new Error(reason));
  }

  #checkBeats(): void {
    for (const lane of this.lanes) {
      if (lane.beat() >= BEATS) this.kill(lane, `no sign of life for ${this.#options.laneTimeout} ms`);
    }
  }

  #open(index: number, deaths: number): void {
    const { port1, port2 } = new MessageChannel();
    const { handlers, cacheLevel, codecs = [], coalesceMs = 0 } = this.#options;
    const lane = new Lane(index, port1, (error) => this.kill(lane, `its answers broke: ${error}`));
    const killer = new AbortController();
    this.#killers.set(lane, killer);
    const openedAtMs = Date.now();
    this.#lanes[index] = lane;
    // Piscina's types read the transfer list off the browser's MessagePort.
    const runOptions = { transferList: [port2], signal: killer.signal } as object;
    const places = codecs.map(({ url, export: name }) => ({ url, export: name }));
    const task = this.#piscina.run(
      { port: port2, handlers: [...handlers], cacheLevel, codecs: places, coalesceMs },
      runOptions,
    );
    const ended = task.then(
      () => this.#ended(lane, 'ended', deaths, openedAtMs),
      (error) => this.#ended(lane, killer.signal.reason ?? error, deaths, openedAtMs),
    );
    this.#tasks.add(ended);
    ended.finally(() => this.#tasks.delete(ended));
  }

  /** Resets exactly the streams pinned to the lane, and opens another on Piscina's new worker. */
  #ended(lane: Lane, cause: unknown, deaths: number, openedAtMs: number): void {
    const error = cause instanceof Error ? cause : new Error(String(cause));
    this.#lanes[lane.index] = undefined;
    this.#killers.delete(lane);
    // What it died of is for our log: it may hold what other peers have sent.
    const died = { code: 'worker-died', message: `worker of lane ${lane.index} died` };
    lane.lose(this.#closing ? CLOSED : died, error);
    if (this.#closing) return;
    this.#lastDeath = `${died.message}: ${error.message}`;
    this.restarts[lane.index] = (this.restarts[lane.index] ?? 0) + 1;
    this.#options.onLost(lane.index, error);
    const young = Date.now() - openedAtMs < YOUNG_MS;
    const delayMs = young ? Math.min(50 * 2 ** deaths, MAX_DELAY_MS) : 0;
    const reopening = setTimeout(() => {
      this.#reopening.delete(reopening);
      this.#open(lane.index, young ? deaths + 1 : 0);
    }, delayMs);
    this.#reopening.add(reopening);
  }
}
