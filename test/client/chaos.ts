/**
 * Servers that die, drain and come back at random under the calls of a pool, and a model of what may become of each
 * call. What happens depends on the seed and on how calls come to end, not on any time.
 */

import { setImmediate as turn } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import {
  CommandError,
  type CommandRequest,
  ConnectionError,
  createServer,
  type Pool,
  type PoolCallOptions,
  ProtocolError,
  type Server,
} from '../../src/index.ts';
import { pooling, Site } from '../helpers/pools.ts';
import { numbers } from '../helpers/random.ts';
import { digest, sample } from '../helpers/samples.ts';

export interface Chaos {
  readonly seed: number;
  readonly calls: number;
  /** Calls at a time. */
  readonly callers: number;
  readonly sites: number;
  /** Something happens to a server after about so many calls. */
  readonly callsPerEvent: number;
  /** Circuits open: a call may end because every server seems to be down, with the error of its last attempt. */
  readonly circuits: boolean;
}

/** What was asked for, and what has come of it. */
interface Told {
  readonly idempotent: boolean;
  /** Its handler throws. */
  readonly fails: boolean;
  readonly size: number;
  runs: number;
}

type Random = (below: number) => number;

const DATA = sample(3000, 7);

class World {
  readonly told = new Map<string, Told>();
  readonly sites: Site[];
  readonly #random: Random;
  readonly #closing: Promise<void>[] = [];

  constructor(count: number, random: Random) {
    this.#random = random;
    this.sites = Array.from({ length: count }, (_, i) => new Site(`site ${i}`, this.#makeServer()));
  }

  #makeServer(): Server {
    return createServer({ workers: 1, commands: { work: (request) => this.#work(request) } });
  }

  async *#work({ text, data, signal }: CommandRequest) {
    const told = this.told.get(text('id') as string) as Told;
    told.runs++;
    for await (const _ of data) if (signal.aborted) return;
    for (let turns = this.#random(6); turns > 0; turns--) await turn();
    if (told.fails) throw new CommandError('as planned', { code: 'planned' });
    const bytes = sample(told.size, told.size);
    for (let at = 0; at < bytes.length; at += 20_000) yield bytes.slice(at, at + 20_000);
  }

  /** Something happens to a server. */
  happen(): void {
    const site = this.sites[this.#random(this.sites.length)];
    const kind = this.#random(10);
    if (kind < 4) site.cut();
    else if (kind < 6) site.links.pop()?.destroy();
    else if (kind < 8) this.#restart(site);
    else this.#hide(site);
  }

  /** It drains for a while, or not at all, and a new one takes its place. */
  #restart(site: Site): void {
    const { server } = site;
    if (server === undefined) return;
    site.server = this.#makeServer();
    this.#closing.push(server.close({ graceMs: this.#random(2) * 5 }));
  }

  /** Nobody is there for some turns. */
  async #hide(site: Site): Promise<void> {
    const { server } = site;
    if (server === undefined) return;
    site.server = undefined;
    for (let turns = this.#random(200); turns > 0; turns--) await turn();
    site.server = server;
  }

  async end(): Promise<void> {
    while (this.sites.some(({ server }) => server === undefined)) await turn();
    await Promise.all([...this.#closing, ...this.sites.map(({ server }) => server?.close(0))]);
  }
}

/** How a call ended, by what its caller saw. */
interface Outcome {
  readonly id: string;
  readonly bytes?: Uint8Array;
  readonly error?: Error;
  /** Pieces were handed out. */
  readonly handedOut: boolean;
  readonly stopped: boolean;
  readonly dataOnce: boolean;
}

class Caller {
  readonly #pool: Pool<Site>;
  readonly #world: World;
  readonly #random: Random;

  constructor(pool: Pool<Site>, world: World, random: Random) {
    this.#pool = pool;
    this.#world = world;
    this.#random = random;
  }

  async call(t: ExecutionContext, id: string): Promise<Outcome> {
    const random = this.#random;
    const told = { idempotent: random(2) === 0, fails: random(20) === 0, size: random(60_000), runs: 0 };
    this.#world.told.set(id, told);
    const { options, stopped, dataOnce } = this.#options(id, told);
    const response = this.#pool.call('work', options);
    const pieces: Uint8Array[] = [];
    let error: Error | undefined;
    const isIterated = random(3) === 0;
    try {
      if (isIterated) for await (const piece of response) pieces.push(piece);
      else pieces.push(await response.bytes());
    } catch (thrown) {
      error = thrown as Error;
    }
    t.is(await response.ended, error, `${id}: 'ended' says what the reader was told`);
    t.true(response.over);
    const handedOut = isIterated && pieces.length > 0;
    return { id, handedOut, stopped, dataOnce, ...(error ? { error } : { bytes: Buffer.concat(pieces) }) };
  }

  #options(id: string, { idempotent }: Told) {
    const random = this.#random;
    const options: PoolCallOptions = { args: { id }, idempotent };
    const kind = random(6);
    const stream = async function* () {
      for (let at = 0; at < DATA.length; at += 1000) yield DATA.subarray(at, at + 1000);
    };
    if (kind === 0) options.data = DATA;
    if (kind === 1) options.data = stream;
    if (kind === 2) options.data = stream();
    const stopped = random(15) === 0;
    if (stopped && random(2) === 0) options.deadlineMs = random(5);
    else if (stopped) options.signal = this.#abortSoon(random(20));
    return { options, stopped, dataOnce: kind === 2 };
  }

  #abortSoon(turns: number): AbortSignal {
    const controller = new AbortController();
    const abort = (left: number) => {
      if (left === 0) controller.abort(new CommandError('not wanted any more', { code: 'cancelled' }));
      else setImmediate(abort, left - 1);
    };
    abort(turns);
    return controller.signal;
  }
}

/** What may have become of a call. */
function judge(t: ExecutionContext, told: Told, outcome: Outcome, circuits: boolean): void {
  const { id, bytes, error, handedOut, stopped, dataOnce } = outcome;
  const { code, notStarted } = (error ?? {}) as Partial<CommandError>;
  const about = `${id}: ${JSON.stringify({ ...told, code, notStarted, handedOut, stopped, dataOnce })} ${error?.message}`;
  if (!told.idempotent) t.true(told.runs <= 1, `${about}: ran more than once`);
  if (error === undefined) {
    t.true(told.runs >= 1 && !told.fails, about);
    t.is(digest(bytes as Uint8Array), digest(sample(told.size, told.size)), about);
    return;
  }
  t.true(
    error instanceof CommandError || error instanceof ConnectionError || error instanceof ProtocolError,
    about,
  );
  if (notStarted === true) t.is(told.runs, 0, `${about}: it has run`);
  if (error.message === 'as planned') t.true(told.fails && told.runs >= 1, about);
  const hasToldWhy =
    error.message === 'as planned' ||
    /shutting down/.test(error.message) ||
    (circuits && (code === 'connect-failed' || code === 'lost'));
  const mayEnd = !told.idempotent || handedOut || stopped || dataOnce || hasToldWhy;
  t.true(mayEnd, `${about}: it could have been sent again`);
}

/** Figures of a run, for the test's log. */
export async function runChaos(t: ExecutionContext, chaos: Chaos): Promise<Record<string, number>> {
  const { seed, calls, callers, sites, callsPerEvent, circuits } = chaos;
  const next = numbers(seed);
  const below: Random = (bound) => next() % bound;
  const world = new World(sites, below);
  t.teardown(() => world.end());
  const pool = pooling(t, world.sites, {
    size: 2,
    minBackoffMs: 1,
    maxBackoffMs: 10,
    circuitFailures: circuits ? 4 : 1_000_000,
    circuitOpenMs: 5,
    maxAttempts: 1_000_000,
    maxWaiting: callers,
    maxWaitMs: 600_000,
  });
  const caller = new Caller(pool, world, below);
  const counts: Record<string, number> = {};
  let begun = 0;
  const work = async () => {
    while (begun < calls) {
      const id = String(begun++);
      if (below(callsPerEvent) === 0) world.happen();
      const outcome = await caller.call(t, id);
      judge(t, world.told.get(id) as Told, outcome, circuits);
      const name = (outcome.error as CommandError | undefined)?.code ?? 'answered';
      counts[name] = (counts[name] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: callers }, work));
  t.deepEqual(pool.stats().calls, { waiting: 0, inFlight: 0 });
  counts.twice = [...world.told.values()].filter(({ runs }) => runs > 1).length;
  await pool.close({ graceMs: 600_000 });
  for (const { runs, idempotent } of world.told.values()) if (!idempotent) t.true(runs <= 1);
  return counts;
}
