/** Servers and clients for tests: on free ports, gone when the test is over. */

import type { ChildProcess } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import {
  connect as connectSocket,
  createServer as createNetServer,
  type Server,
  type Socket,
} from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext, TestFn } from 'ava';
import {
  type Address,
  type Client,
  type ConnectOptions,
  type ConnectPoolOptions,
  connect,
  createServer,
  type ListenAddress,
  type Server as MillraceServer,
  type ServerOptions,
} from '../../src/index.ts';
import { LanePool, type LanePoolOptions } from '../../src/lanes/pool.ts';
import { makeServer } from '../../src/server/server.ts';

type Context = ExecutionContext<unknown>;

// Lanes start in half the time when they need not strip the types of all that they load.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(
  new URL('../../node_modules/.cache/millrace-tests', import.meta.url),
);

/** Milliseconds: more than any test takes, so that no lane is given up on a machine that has too much to do. */
export const LONG = 600_000;

/** What a server told its `onError`. */
export interface Report {
  readonly error: unknown;
  readonly about: { command?: string; remote?: string; lane?: number; suspects?: string[] };
}

export interface Serving {
  readonly server: MillraceServer;
  readonly address: { host: string; port: number };
  readonly port: number;
  readonly reports: Report[];
  /** Resolves with the first report, past or future, that `wanted` says yes to. */
  reported(wanted: (report: Report) => boolean): Promise<Report>;
}

/** Tells when something has come to hold, at each of the events that can have made it so. */
export class Watch {
  readonly #events = new EventEmitter();

  constructor() {
    this.#events.setMaxListeners(0);
  }

  changed(): void {
    this.#events.emit('change');
  }

  /** The first value of `look` that is not undefined; rejects with what it throws. */
  until<T>(look: () => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const check = () => {
        try {
          const found = look();
          if (found === undefined) return;
          resolve(found);
        } catch (error) {
          reject(error);
        }
        this.#events.off('change', check);
      };
      this.#events.on('change', check);
      check();
    });
  }
}

/** A server with one worker unless `options` say otherwise, listening on a free port, or as `where` says. */
export async function serve(
  options: ServerOptions = {},
  where: ListenAddress = {},
  make = createServer,
): Promise<Serving> {
  const reports: Report[] = [];
  const watch = new Watch();
  const server = make({
    workers: 1,
    laneTimeout: LONG,
    ...options,
    onError: (error, about) => {
      reports.push({ error, about });
      watch.changed();
      return options.onError?.(error, about);
    },
  });
  const address = (await server.listen(where)) as Address & { host: string; port: number };
  const reported = (wanted: (report: Report) => boolean) => watch.until(() => reports.find(wanted));
  return { server, address, port: address.port, reports, reported };
}

/** {@link serve} for the length of one test. */
export async function serving(
  t: Context,
  options: ServerOptions = {},
  make = createServer,
): Promise<Serving> {
  const running = await serve(options, {}, make);
  t.teardown(() => running.server.close(0));
  return running;
}

/** What is said of the life of lanes, or of their memory: who says any of it has lanes of its own. */
const OF_LANES: readonly (keyof ServerOptions)[] = [
  'contextMemory',
  'laneTimeout',
  'quarantine',
  'resourceLimits',
  'streamIdleTimeout',
  'streamLifetime',
];

/** Lanes by what was asked of them: all test files of this thread have them in common. */
const shared = new Map<string, LanePool>();

async function closeShared(): Promise<void> {
  const pools = [...shared.values()];
  shared.clear();
  await Promise.all(pools.map((pool) => pool.close()));
}

/**
 * {@link createServer} for tests of one thread, whose servers share lanes, the dear part of each, with those that want
 * the same of them. Not for tests that end lanes, or look at how many contexts they hold.
 */
export function serversOnSharedLanes(test: TestFn<unknown>): typeof createServer {
  test.after.always(closeShared);
  const lanes = ({ workers, handlers, codecs, dictionaries, coalesceMs, cacheLevel }: LanePoolOptions) => {
    const same = { workers, handlers, codecs, dictionaries, coalesceMs, cacheLevel };
    const ids = {
      codecs: codecs?.map((each) => [each.url, each.export]),
      dictionaries: dictionaries?.map(({ id }) => id),
    };
    const key = JSON.stringify({ ...same, ...ids });
    const pool = shared.get(key) ?? new LanePool({ ...same, caching: true, onLost: () => undefined });
    shared.set(key, pool);
    return pool;
  };
  return (options = {}) => makeServer(options, lanes);
}

/** {@link serving} with {@link serversOnSharedLanes}, but for those that say something of the life of their lanes. */
export function servingOnSharedLanes(test: TestFn<unknown>): typeof serving {
  const make = serversOnSharedLanes(test);
  return (t, options = {}) =>
    serving(t, options, OF_LANES.some((name) => name in options) ? createServer : make);
}

/**
 * Resolves when the server has so many lanes. One that died is opened again by a timer, of which nothing tells; to look all
 * the time would take a core from those who are at work.
 */
export async function lanesOpen({ server }: Pick<Serving, 'server'>, count: number): Promise<void> {
  while ((await server.stats()).lanes.length < count) await delay(5);
}

/** Of what connects, with no time limit of its own: only ava's. A file's tests may all begin at once. */
export const PATIENT = { timeoutMs: 2 ** 31 - 1 };
export const PATIENT_POOL: ConnectPoolOptions = { maxWaitMs: PATIENT.timeoutMs, connect: PATIENT };

/** Connects with no time limit. */
export function reach(where: Parameters<typeof connect>[0], options: ConnectOptions = {}): Promise<Client> {
  return connect(where, { ...PATIENT, ...options });
}

/** A client for the length of one test. */
export async function dial(
  t: Context,
  where: Parameters<typeof connect>[0],
  options: ConnectOptions = {},
): Promise<Client> {
  const client = await reach(where, options);
  t.teardown(() => {
    client.destroy();
    return client.closed;
  });
  return client;
}

/** A TCP server that is no millrace server: `talk` gets each socket. */
export async function impostor(
  t: Context,
  talk: (socket: Socket) => void,
): Promise<{ host: string; port: number }> {
  const sockets = new Set<Socket>();
  const server = createNetServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    talk(socket);
  });
  const port = await listening(server);
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return { host: '127.0.0.1', port };
}

/** Listens on a free loopback port. */
export function listening(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
  });
}

/** A plain socket to a server, for the length of one test. */
export async function rawSocket(t: Context, where: { host: string; port: number }): Promise<Socket> {
  const socket = connectSocket({ ...where, allowHalfOpen: true, noDelay: true });
  socket.on('error', () => undefined);
  t.teardown(() => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve).once('error', reject);
  });
  return socket;
}

/** Looks without a change after which a level counts as standing still. */
const LOOKS = 30;

/**
 * Resolves with a level once it stands still, or has come to `enough`. `roundTrip` is awaited between two looks: something
 * that the thread which may change the level has to do as well.
 */
export async function halted(
  level: () => number | Promise<number>,
  roundTrip: () => Promise<unknown>,
  enough = Number.POSITIVE_INFINITY,
): Promise<number> {
  let last = await level();
  for (let same = 0; same < LOOKS && last < enough; ) {
    await roundTrip();
    const now = await level();
    same = now === last ? same + 1 : 0;
    last = now;
  }
  return last;
}

/** Ends a process at once; resolves when it does nothing any more, such as write into a folder that is to go. */
export async function killed(child: ChildProcess): Promise<void> {
  const { pid, exitCode, signalCode } = child;
  if (pid === undefined || exitCode !== null || signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

/** A promise and the functions that settle it. */
export function signal<T = void>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: Error) => void;
} {
  return Promise.withResolvers<T>();
}

/** The error that `work` fails with; an error of its own when it does not fail. */
export async function failure(work: PromiseLike<unknown>): Promise<Error> {
  let value: unknown;
  try {
    value = await work;
  } catch (error) {
    return error as Error;
  }
  throw new Error(`expected a failure, got ${String(value).slice(0, 80)}`);
}
