/** The clients' process: does what a round's plan says, and tells what came of each task. */

import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { serveOperations } from '../../../src/experiment/process/operations.ts';
import { type Client, connect, connectPool, type Pool, type Response } from '../../../src/index.ts';
import { Stalls } from '../../siege/stalls.ts';
import { answerOf, type ClientPlan, dataOf, planOf, type Task, TOPICS } from './plan.ts';

export interface Outcome {
  /** Undefined: all is as it should be. */
  readonly error?: {
    readonly name: string;
    readonly code: string;
    readonly text: string;
    readonly notStarted: boolean;
  };
  /** What was handed out and is not what was asked for. */
  readonly wrong?: string;
}

/** By client; its tasks' outcomes, or why there was no connection. */
export type Outcomes = Readonly<Record<string, Outcome>>[];

export interface ClientOperations {
  /** Begins a round: the clients of slot n go to the nth port. */
  begin(seed: number, ports: readonly number[]): Promise<void>;
  /** What came of everything; undefined when that has not ended after `patienceMs`. */
  outcomes(patienceMs: number): Promise<Outcomes | undefined>;
  /** What has not ended. */
  pending(): Promise<string[]>;
  stalls(): Promise<{ stallMs: number; stallCpuMs: number }>;
}

/** Messages that a task publishes at most, and how many it wants to read. */
const MESSAGES = 12;
const ENOUGH = 4;
const LONG = 600_000;

let pending = new Set<string>();
let round: Promise<Outcomes> = Promise.resolve([]);
const stalls = new Stalls();

async function play(plan: ClientPlan, port: number): Promise<Record<string, Outcome>> {
  const outcomes: Record<string, Outcome> = {};
  const settled = async (id: string, work: () => Promise<Outcome>) => {
    pending.add(id);
    outcomes[id] = await work();
    pending.delete(id);
  };
  const name = `connect-${plan.slot}`;
  let client: Client | Pool | undefined;
  await settled(name, async () => {
    try {
      client = await reach(plan, port);
      return {};
    } catch (error) {
      return { error: told(error) };
    }
  });
  if (client === undefined) return outcomes;
  const caller: Client | Pool = client;
  await Promise.all(
    plan.tasks.map(async (task) => {
      for (let i = 0; i < task.turns; i++) await turn();
      await settled(task.id, () => perform(caller, plan, task));
    }),
  );
  await settled(`close-${plan.slot}`, async () => {
    if (plan.tasks.length % 2 === 0) caller.destroy();
    else await caller.close({ graceMs: 50 });
    await caller.closed;
    return {};
  });
  return outcomes;
}

async function reach({ pooled, options, harm }: ClientPlan, port: number): Promise<Client | Pool> {
  const patient = { timeoutMs: LONG, ...options };
  if (!pooled) return connect({ port }, patient);
  // What is cut for good is not to be waited for; all else is.
  const maxWaitMs = harm === 'none' ? LONG : 100;
  const pauses = { minBackoffMs: 1, maxBackoffMs: 20, circuitOpenMs: 20, maxWaitMs };
  return connectPool({ port }, { size: 2, ...pauses, connect: patient });
}

async function perform(caller: Client | Pool, plan: ClientPlan, task: Task): Promise<Outcome> {
  const givesUp = new AbortController();
  const timer = task.cancelMs === undefined ? undefined : setTimeout(() => givesUp.abort(), task.cancelMs);
  try {
    if (task.command === 'topic') return await follow(caller, plan, task, givesUp.signal);
    const { command, args, deadlineMs, sensitive, idempotent } = task;
    const data = task.data && dataOf(task.data).slice();
    const mine = { args, data, deadlineMs, sensitive, signal: givesUp.signal };
    const response = caller.call(command, plan.pooled ? { ...mine, idempotent } : mine);
    return await read(response, answerOf(task), task.slowly);
  } finally {
    clearTimeout(timer);
  }
}

async function read(response: Response, right: Uint8Array | undefined, slowly: boolean): Promise<Outcome> {
  let at = 0;
  let wrong: string | undefined;
  const got = (piece: Uint8Array) => {
    const due = right?.subarray(at, at + piece.length);
    if (due === undefined || Buffer.compare(due, piece) !== 0)
      wrong ??= `${piece.length} bytes at ${at} are not of the right ${right?.length}`;
    at += piece.length;
  };
  try {
    if (slowly)
      for await (const piece of response) {
        got(piece);
        await turn();
      }
    else got(await response.bytes());
  } catch (error) {
    return { wrong, error: told(error) };
  }
  if (right !== undefined && at !== right.length) wrong ??= `${at} bytes of ${right.length}`;
  return { wrong };
}

/** Subscribes to the client's own topic and publishes to it until enough has come. */
async function follow(
  caller: Client | Pool,
  { slot }: ClientPlan,
  task: Task,
  signal: AbortSignal,
): Promise<Outcome> {
  const topic = TOPICS[slot];
  const subscription = caller.subscribe(topic, { signal });
  const message = (n: number) => `${topic} ${n} ${'and so on '.repeat(n * 9)}`;
  let seen = 0;
  let wrong: string | undefined;
  const reading = (async () => {
    let last: number | undefined;
    for await (const { sequence, data, lost = 0 } of subscription) {
      const text = Buffer.from(data).toString();
      if (text !== message(Number(text.split(' ')[1])))
        wrong ??= `message ${sequence} is ${text.slice(0, 60)}`;
      if (last !== undefined && sequence !== last + 1 + lost)
        wrong ??= `${sequence} after ${last}, ${lost} lost`;
      last = sequence;
      if (++seen >= ENOUGH) return;
    }
  })().then(
    () => undefined,
    (error: unknown) => error,
  );
  let failed: unknown;
  for (let n = 0; n < MESSAGES && seen < ENOUGH && !signal.aborted && failed === undefined; n++) {
    const { deadlineMs } = task;
    await caller.publish(topic, message(n), { deadlineMs, signal }).catch((error: unknown) => {
      failed = error;
    });
  }
  if (seen < ENOUGH) subscription.cancel(new OwnEnd());
  const ended = await reading;
  const error = failed ?? (ended instanceof OwnEnd ? undefined : ended);
  return { wrong, error: error === undefined ? undefined : told(error) };
}

/** Why a subscription that has had its time ends. */
class OwnEnd extends Error {}

function told(error: unknown): Outcome['error'] {
  const { name, code, notStarted } = error as { name: string; code: unknown; notStarted?: boolean };
  return { name, code: String(code), text: String((error as Error).stack), notStarted: notStarted === true };
}

serveOperations<ClientOperations>({
  begin: async (seed, ports) => {
    pending = new Set();
    round = Promise.all(planOf(seed).map((plan) => play(plan, ports[plan.slot])));
  },
  outcomes: async (patienceMs) => {
    const late = new AbortController();
    const waiting = delay(patienceMs, undefined, { signal: late.signal }).catch(() => undefined);
    const settled = await Promise.race([round, waiting]);
    late.abort();
    return settled;
  },
  pending: async () => [...pending],
  stalls: async () => stalls.take(),
});
