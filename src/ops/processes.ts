/**
 * Processes that serve on one port (node:cluster): the first one gives connections out, looks after the others and speaks
 * for them. One that dies is replaced; its connections are lost, and calls on them end with an error of their connection.
 */

import cluster, { type Worker } from 'node:cluster';
import type { Address } from '../index.ts';
import { within } from '../lanes/within.ts';
import { after } from '../wire/timers.ts';
import type { MetricsJson } from './metrics.ts';
import { isTold, type Question, type Told } from './process-messages.ts';

/** One that dies sooner than this after its start is started again after a growing pause, in milliseconds. */
const YOUNG_MS = 2000;
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 5000;
/** How long one may take to start, and to answer, in milliseconds. */
const START_MS = 60_000;
const ANSWER_MS = 2000;
/** How much longer than `grace` one may take to stop. */
const STOP_MS = 5000;

export interface ProcessesOptions {
  readonly count: number;
  /** The program of each, and its arguments. */
  readonly exec: string;
  readonly args: readonly string[];
  /** Milliseconds that requests have when one stops. */
  readonly graceMs: () => number;
  /** One has died, or could not be started. */
  readonly onTrouble: (message: string) => void;
}

/** One of them could not begin. */
export class StartError extends Error {
  override readonly name = 'StartError';
  readonly isMisuse: boolean;
  /** By Ctrl-C, which all processes of a terminal get. */
  readonly isInterrupted: boolean;

  constructor(message: string, { isMisuse = false, isInterrupted = false } = {}) {
    super(message);
    this.isMisuse = isMisuse;
    this.isInterrupted = isInterrupted;
  }
}

interface Site {
  readonly index: number;
  worker: Worker;
  startedAtMs: number;
  isServing: boolean;
  /** Deaths in a row of young ones. */
  deaths: number;
}

export class Processes {
  readonly #options: ProcessesOptions;
  readonly #sites: Site[] = [];
  readonly #waiting = new Map<number, (answer: unknown) => void>();
  readonly #pauses = new Set<ReturnType<typeof setTimeout>>();
  #questions = 0;
  #stopping = false;
  #rolling: Promise<boolean> | undefined;
  /** One that has been replaced, and finishes what it has. */
  #leaving: Worker | undefined;
  /** How often one was started again. */
  restarts = 0;
  lanes = 0;

  constructor(options: ProcessesOptions) {
    this.#options = options;
    const { exec, args } = options;
    cluster.setupPrimary({ exec, args: [...args] });
  }

  /** Resolves when all serve. @throws StartError when one cannot. */
  async start(): Promise<Address> {
    const { count } = this.#options;
    const places = await Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const worker = this.#fork(index);
        this.#sites[index] = { index, worker, startedAtMs: performance.now(), isServing: true, deaths: 0 };
        return started(worker);
      }),
    );
    for (const site of this.#sites) this.#watch(site);
    this.lanes = places.reduce((sum, { lanes }) => sum + lanes, 0);
    return places[0].address;
  }

  /** Those that serve. */
  get serving(): number {
    return this.#sites.filter(({ worker, isServing }) => isServing && worker.isConnected()).length;
  }

  /** Metrics of those that answer in time. */
  async metrics(): Promise<MetricsJson[]> {
    return (await this.#askAll('metrics')).filter((answer) => answer !== undefined) as MetricsJson[];
  }

  /** Undefined when one of them should get requests; else why one should not. */
  async notReady(): Promise<string | undefined> {
    if (this.#stopping) return 'it drains';
    const answers = await this.#askAll('health');
    const reasons = answers.map((answer) => (answer === undefined ? 'no process answers' : String(answer)));
    return reasons.includes('') ? undefined : (reasons[0] ?? 'no process serves');
  }

  /** Has all of them read the settings again; what each says of it. */
  async reload(): Promise<string[]> {
    const answers = await this.#askAll('reload');
    return answers.map((answer) => (answer === undefined ? 'a process has not answered' : String(answer)));
  }

  /** Replaces one after the other: each by one that serves before it stops. Whether all were. */
  roll(): Promise<boolean> {
    this.#rolling ??= this.#roll().finally(() => {
      this.#rolling = undefined;
    });
    return this.#rolling;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    for (const pause of this.#pauses) clearTimeout(pause);
    const serving = this.#sites.map(({ worker }) => worker);
    // One that was to take another's place has nothing to finish.
    for (const worker of Object.values(cluster.workers ?? {}))
      if (worker !== undefined && !serving.includes(worker) && worker !== this.#leaving)
        worker.process.kill('SIGKILL');
    await Promise.all(serving.map((worker) => this.#stopOne(worker)));
    await this.#rolling;
  }

  /** Ends all at once. */
  kill(): void {
    this.#stopping = true;
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGKILL');
  }

  async #roll(): Promise<boolean> {
    for (const site of this.#sites) {
      if (this.#stopping) return false;
      const next = this.#fork(site.index);
      try {
        await started(next);
      } catch (error) {
        if (!this.#stopping) this.#options.onTrouble(`not replaced: ${(error as Error).message}`);
        next.process.kill('SIGKILL');
        return false;
      }
      this.#leaving = site.worker;
      this.#install(site, next);
      await this.#stopOne(this.#leaving);
    }
    return true;
  }

  #install(site: Site, worker: Worker): void {
    site.worker = worker;
    site.startedAtMs = performance.now();
    site.isServing = true;
    this.#watch(site);
  }

  #fork(index: number): Worker {
    const worker = cluster.fork({ MILLRACE_PROCESS: String(index + 1) });
    worker.on('message', (message: unknown) => {
      if (!isTold(message) || message.millrace !== 'answer') return;
      this.#waiting.get(message.id)?.(message.answer);
      this.#waiting.delete(message.id);
    });
    // What is said to one that is gone fails; that it is gone is told by its exit.
    worker.on('error', () => {});
    return worker;
  }

  #watch(site: Site): void {
    const { worker } = site;
    const onExit = (code: number | null, signal: string | null) => {
      if (site.worker !== worker || this.#stopping) return;
      this.#options.onTrouble(`process ${worker.process.pid} has died (${signal ?? `exit code ${code}`})`);
      this.#restart(site);
    };
    if (worker.isDead()) onExit(null, null);
    else worker.once('exit', onExit);
  }

  #restart(site: Site): void {
    site.isServing = false;
    const isYoung = performance.now() - site.startedAtMs < YOUNG_MS;
    site.deaths = isYoung ? site.deaths + 1 : 0;
    const pauseMs = isYoung ? Math.min(FIRST_PAUSE_MS * 2 ** site.deaths, MAX_PAUSE_MS) : 0;
    const pause = after(pauseMs, async () => {
      this.#pauses.delete(pause);
      this.restarts++;
      const worker = this.#fork(site.index);
      site.worker = worker;
      site.startedAtMs = performance.now();
      try {
        await started(worker);
        if (site.worker === worker) this.#install(site, worker);
      } catch (error) {
        if (this.#stopping) return;
        this.#options.onTrouble(`a process has not started: ${(error as Error).message}`);
        worker.process.kill('SIGKILL');
        this.#restart(site);
      }
    });
    this.#pauses.add(pause);
  }

  async #stopOne(worker: Worker): Promise<void> {
    if (worker.isDead()) return;
    const gone = new Promise((resolve) => worker.once('exit', resolve));
    this.#send(worker, 'stop', 0);
    if (await within(gone, this.#options.graceMs() + STOP_MS)) return;
    worker.process.kill('SIGKILL');
    await gone;
  }

  #askAll(ask: Question['ask']): Promise<unknown[]> {
    return Promise.all(this.#sites.map(({ worker }) => this.#ask(worker, ask)));
  }

  /** Undefined when it does not answer in time. */
  async #ask(worker: Worker, ask: Question['ask']): Promise<unknown> {
    if (!worker.isConnected()) return undefined;
    const id = ++this.#questions;
    let answer: unknown;
    const answered = new Promise<void>((resolve) => {
      this.#waiting.set(id, (given) => {
        answer = given;
        resolve();
      });
    });
    this.#send(worker, ask, id);
    await within(answered, ANSWER_MS);
    this.#waiting.delete(id);
    return answer;
  }

  #send(worker: Worker, ask: Question['ask'], id: number): void {
    if (worker.isConnected()) worker.send({ millrace: 'question', id, ask } satisfies Question, () => {});
  }
}

type Ready = Extract<Told, { millrace: 'ready' }>;

/** @throws StartError when it cannot, or takes too long. */
function started(worker: Worker): Promise<Ready> {
  return new Promise((resolve, reject) => {
    const timer = after(START_MS, () => reject(new StartError(`no process after ${START_MS} ms`)));
    const end = (settle: () => void) => {
      clearTimeout(timer);
      worker.off('message', onMessage).off('exit', onExit);
      settle();
    };
    const onMessage = (message: unknown) => {
      if (!isTold(message) || message.millrace === 'answer') return;
      if (message.millrace === 'ready') end(() => resolve(message));
      else end(() => reject(new StartError(message.message, { isMisuse: message.isMisuse })));
    };
    const onExit = (code: number | null, signal: string | null) =>
      end(() => {
        const text = `a process ended as it started (${signal ?? `exit code ${code}`})`;
        reject(new StartError(text, { isInterrupted: signal === 'SIGINT' }));
      });
    worker.on('message', onMessage).on('exit', onExit);
  });
}
