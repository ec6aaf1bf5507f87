/** The lanes of one server: a Piscina pool in which every worker runs one task for as long as it lives. */

import { fileURLToPath } from 'node:url';
import { MessageChannel, type ResourceLimits } from 'node:worker_threads';
import { Piscina } from 'piscina';
import type { HandlerModule } from '../../workers/calls.ts';
import type { LaneTask } from '../../workers/lane.ts';
import { Turns } from '../connection/turns.ts';
import type { CodecModule } from '../encoding/codec.ts';
import type { Dictionaries, Dictionary } from '../encoding/dictionary.ts';
import type { Failure } from '../wire/failure.ts';
import { asError } from '../wire/thrown.ts';
import { after, every } from '../wire/timers.ts';
import { type BudgetOptions, ContextBudget } from './budget.ts';
import { encoderCost } from './context-cost.ts';
import { InlineEncoders } from './inline-encoders.ts';
import { Lane } from './lane.ts';
import { fewestStreams, LanesInUse } from './lanes-in-use.ts';
import { Quarantine, type QuarantineOptions, type Suspect } from './quarantine.ts';
import { ThreadTime } from './thread-time.ts';
import { within } from './within.ts';

export interface LanePoolOptions extends BudgetOptions {
  /** Worker threads, one lane each. */
  readonly workers: number;
  /** Commands that run in lanes. */
  readonly handlers: readonly HandlerModule[];
  /** Codecs beside the built-in ones. */
  readonly codecs?: readonly CodecModule[];
  /** Dictionaries that streams may use, in either direction. */
  readonly dictionaries?: readonly Dictionary[];
  /** As in {@link LaneTask}; default 0. */
  readonly coalesceMs?: number;
  /** zstd level for cached output. */
  readonly cacheLevel: number;
  /** Payloads for a cache will be compressed. */
  readonly caching?: boolean;
  /** Milliseconds without a sign of life, as a {@link ThreadTime}, after which a lane is ended; missing: never. */
  readonly laneTimeout?: number;
  /** Memory bounds of each worker's JavaScript heap. */
  readonly resourceLimits?: ResourceLimits;
  /** Few small responses without a context are encoded on the main thread; default: true. */
  readonly inline?: boolean;
  /** When what comes from lanes is dealt with; missing: turns of their own. */
  readonly turns?: Turns;
  /** When what keeps ending workers is held. */
  readonly quarantine?: QuarantineOptions;
  /** A lane died, and is opened again; `suspects`: of what, or what ran on it where that is not known. */
  readonly onLost: (lane: number, error: Error, suspects: readonly Suspect[]) => void;
  /** A worker failed while no lane ran on it. */
  readonly onError?: (error: Error) => void;
}

/** A lane that dies sooner than this after it opened is reopened with a growing delay, in milliseconds. */
const YOUNG_MS = 1000;
const MAX_DELAY_MS = 5000;
/** Where no lane is open, calls wait for one that opens within this time, in milliseconds. */
const WAIT_MS = 1000;
/** Looks within a time limit: a process that was stopped itself looks but once, and counts but one. */
const LOOKS = 4;
/** How long a lane may take to load the modules of commands, in milliseconds of a {@link ThreadTime}. */
const LOAD_TIME_MS = 30_000;
const LOAD_LOOK_MS = 1000;
/** How long lanes may take to end before their workers are ended for them, in milliseconds. */
const END_TIME_MS = 1000;

/** A lane that is ended in the middle of a request did not die; some of the request has run, so it is not said to be safe. */
const CLOSED: Failure = { code: 'cancelled', message: 'server is shutting down' };

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const LANE_FILE = fileURLToPath(new URL(`../../workers/lane.${EXTENSION}`, import.meta.url));

/** Those that have threads. */
const pools = new Set<LanePool>();
process.once('exit', () => {
  for (const pool of pools) pool.exit();
});

export class LanePool {
  /** The memory of all contexts on these lanes. */
  readonly budget: ContextBudget;
  /** When what comes from lanes is dealt with. */
  readonly turns: Turns;
  /** Those that streams may use. */
  readonly dictionaries: Dictionaries;
  /** What is encoded on this thread; undefined: nothing is. */
  readonly inline: InlineEncoders | undefined;
  /** What the frames of all connections that are being decoded may come to. */
  decodingBytes = 0;
  /** What ends workers. */
  readonly quarantine: Quarantine;
  readonly #sweeper: ReturnType<typeof setInterval>;
  readonly #watchdog: ReturnType<typeof setInterval> | undefined;
  /** Ends the worker of a lane. */
  readonly #killers = new Map<Lane, AbortController>();
  /** How long lanes have given no sign of life. */
  readonly #silence = new Map<Lane, ThreadTime>();
  /** Lanes that were ended because they gave no sign of life. */
  readonly #hung = new WeakSet<Lane>();
  readonly #options: LanePoolOptions;
  readonly #piscina: Piscina<LaneTask, void>;
  readonly #lanes: (Lane | undefined)[] = [];
  /** Those that the load needs, where it can be dealt out as they keep up. */
  readonly inUse: LanesInUse<Lane>;
  readonly #tasks = new Set<Promise<void>>();
  /** Timers of lanes that died and are not open again, with the times at which they will be. */
  readonly #reopening = new Map<ReturnType<typeof setTimeout>, number>();
  /** Who waits for a lane. */
  readonly #awaitLane = new Set<() => void>();
  /** Why the newest lane that died did so. */
  #lastDeath = '';
  /** How often a lane was opened again, by its index. */
  readonly restarts: number[] = [];
  #closing = false;

  constructor(options: LanePoolOptions) {
    this.#options = options;
    this.turns = options.turns ?? new Turns(setImmediate);
    this.dictionaries = new Map((options.dictionaries ?? []).map((each) => [each.id, each]));
    const { inline = true, codecs = [] } = options;
    this.inline = inline ? new InlineEncoders(this.turns, this.dictionaries, codecs) : undefined;
    const { room } = this.inline ?? {};
    this.inUse = new LanesInUse((...look) => room?.looked(...look));
    this.quarantine = new Quarantine(options.quarantine);
    // A payload for the cache is compressed on a context of its own, one at a time on each lane.
    const cacheContexts = options.workers * encoderCost('zstd-8mb', { level: options.cacheLevel });
    this.budget = new ContextBudget(options, options.caching ? cacheContexts : 0);
    this.#sweeper = every(this.budget.sweepPeriodMs, () => this.budget.sweep(performance.now()));
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
      const periodMs = options.laneTimeout / LOOKS;
      this.#watchdog = every(periodMs, () => this.#checkBeats(periodMs)).unref();
    }
    for (let index = 0; index < options.workers; index++) this.#open(index, 0);
    pools.add(this);
  }

  /** The live lanes. */
  get lanes(): Lane[] {
    return this.#lanes.filter((lane) => lane !== undefined);
  }

  /** The live lane with the fewest open streams, or undefined when none lives. */
  leastUsed(): Lane | undefined {
    return fewestStreams(this.lanes);
  }

  /**
   * Calls `then` once, when a lane is opened, unless it is to {@link stopWaiting}. False: none will be soon enough for
   * anybody to wait.
   */
  whenOpen(then: () => void): boolean {
    const soonMs = performance.now() + WAIT_MS;
    if (![...this.#reopening.values()].some((atMs) => atMs <= soonMs)) return false;
    this.#awaitLane.add(then);
    return true;
  }

  stopWaiting(then: () => void): void {
    this.#awaitLane.delete(then);
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
    await Promise.all(lanes.map((lane) => this.#loadOn(lane)));
  }

  /** @throws Error that says what is wrong with a module, or that they take too long. */
  async #loadOn(lane: Lane): Promise<void> {
    const { promise: tooLate, reject } = Promise.withResolvers<never>();
    const late = () => reject(new Error(`the modules of commands were not loaded within ${LOAD_TIME_MS} ms`));
    const time = this.#timeOf(lane, LOAD_TIME_MS, late);
    const watch = every(LOAD_LOOK_MS, () => time.look(LOAD_LOOK_MS));
    await Promise.race([lane.load(), tooLate]).finally(() => clearInterval(watch));
  }

  /** Ends all lanes and their threads; one that does not answer is ended all the same. */
  async close(): Promise<void> {
    this.#closing = true;
    clearInterval(this.#sweeper);
    clearInterval(this.#watchdog);
    for (const timer of this.#reopening.keys()) clearTimeout(timer);
    for (const lane of this.lanes) lane.end();
    await within(Promise.allSettled(this.#tasks), END_TIME_MS);
    await Promise.all(this.lanes.map(({ trace }) => trace.shut()));
    this.inline?.close();
    pools.delete(this);
    await this.#piscina.destroy();
  }

  /** The process ends, and the threads with it. */
  exit(): void {
    for (const { trace } of this.lanes) trace.shutNow();
  }

  /** Ends the worker of `lane`, and with it every context there; the lane is opened again on another worker. */
  kill(lane: Lane, reason: string): void {
    const killer = this.#killers.get(lane);
    void lane.trace.shut().then(() => killer?.abort(new Error(reason)));
  }

  /** As long as it is not known which thread is the lane's, all of them count as it. */
  #timeOf(lane: Lane, limitMs: number, onOver: () => void): ThreadTime {
    const readCpuMs = async () => {
      const thread = this.#piscina.threads.find(({ threadId }) => threadId === lane.threadId);
      const { user, system } = thread === undefined ? process.cpuUsage() : await thread.cpuUsage();
      return (user + system) / 1000;
    };
    return new ThreadTime({ limitMs, readCpuMs, onOver });
  }

  /** What loads its modules has a limit of its own: {@link load}. */
  #checkBeats(periodMs: number): void {
    for (const lane of this.lanes) {
      const silence = this.#silence.get(lane);
      if (lane.beat() === 0 || lane.loading) silence?.restart();
      else silence?.look(periodMs);
    }
  }

  #killSilent(lane: Lane): void {
    this.#hung.add(lane);
    this.kill(lane, `no sign of life for ${this.#options.laneTimeout} ms`);
  }

  #setLane(index: number, lane: Lane | undefined): void {
    this.#lanes[index] = lane;
    this.inUse.live = this.lanes;
  }

  #open(index: number, deaths: number): void {
    const { port1, port2 } = new MessageChannel();
    const {
      handlers,
      cacheLevel,
      codecs = [],
      dictionaries = [],
      coalesceMs = 0,
      laneTimeout,
    } = this.#options;
    const broken = (error: unknown) => this.kill(lane, `its answers broke: ${error}`);
    const lane = new Lane(index, port1, broken, this.turns);
    const killer = new AbortController();
    this.#killers.set(lane, killer);
    if (laneTimeout !== undefined)
      this.#silence.set(
        lane,
        this.#timeOf(lane, laneTimeout, () => this.#killSilent(lane)),
      );
    const openedAtMs = Date.now();
    this.#setLane(index, lane);
    // Piscina's types read the transfer list off the browser's MessagePort.
    const runOptions = { transferList: [port2], signal: killer.signal } as object;
    const places = codecs.map(({ url, export: name }) => ({ url, export: name }));
    const task = this.#piscina.run(
      {
        port: port2,
        handlers: [...handlers],
        cacheLevel,
        codecs: places,
        coalesceMs,
        dictionaries,
        trace: lane.trace.memory,
        dropped: lane.dropped.memory,
        parties: lane.parties.memory,
      },
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
    const error = asError(cause);
    this.#setLane(lane.index, undefined);
    this.#killers.delete(lane);
    this.#silence.delete(lane);
    // What it died of is for our log: it may hold what other peers have sent.
    const died = { code: 'worker-died', message: `worker of lane ${lane.index} died` };
    if (this.#closing) {
      lane.lose(CLOSED, error);
      return;
    }
    this.restarts[lane.index] = (this.restarts[lane.index] ?? 0) + 1;
    const young = Date.now() - openedAtMs < YOUNG_MS;
    this.#reopenLater(lane.index, young ? deaths + 1 : 0);
    // Before its requests are told: what they do next, it may have ended.
    const { suspects, certain } = suspectsOf(lane, error, this.#hung.has(lane));
    this.quarantine.blame(suspects, certain);
    lane.lose(died, error);
    this.#lastDeath = `${died.message}: ${error.message}`;
    this.#options.onLost(
      lane.index,
      error,
      suspects.flatMap((number) => this.quarantine.suspect(number) ?? []),
    );
  }

  /** `deaths`: how many lanes in a row have died young here. */
  #reopenLater(index: number, deaths: number): void {
    const delayMs = deaths > 0 ? Math.min(50 * 2 ** (deaths - 1), MAX_DELAY_MS) : 0;
    const reopening = after(delayMs, () => {
      this.#reopening.delete(reopening);
      this.#open(index, deaths);
      for (const then of [...this.#awaitLane]) if (this.#awaitLane.delete(then)) then();
    });
    this.#reopening.set(reopening, performance.now() + delayMs);
  }
}

/**
 * What a lane died of, `certain` where its thread can tell: whose code it ended in, or hangs in. Out of memory it may be
 * anybody's fault that is there, but most likely who has the thread.
 */
function suspectsOf(
  { trace, marks }: Lane,
  error: Error & { code?: string },
  hung: boolean,
): { suspects: readonly number[]; certain: boolean } {
  const isMemory = error.code === 'ERR_WORKER_OUT_OF_MEMORY';
  const certain = trace.endedIn || (hung && !isMemory ? trace.at : 0);
  if (certain !== 0) return { suspects: [certain], certain: true };
  const likely = trace.at || trace.loading;
  return { suspects: likely !== 0 ? [likely] : marks.begun, certain: false };
}
