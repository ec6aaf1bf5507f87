/**
 * A server's figures for who watches it, as the live page does: the command `server.stats`. They are gathered once for all
 * watchers, and while there is none nothing is measured.
 */

import { performance } from 'node:perf_hooks';
import type { CommandRequest } from '../reactor/command.ts';
import { CommandError } from '../wire/errors.ts';
import { after, type Timer, unref } from '../wire/timers.ts';
import { HandlerRun } from './handler-run.ts';
import type { Run, ServedRequest } from './request.ts';
import type { Server } from './server.ts';
import type { Session } from './session.ts';
import { signalled } from './signalled.ts';
import { type SlowCommand, SlowCommands } from './slow-commands.ts';
import { type CpuOf, type Measured, type StreamRow, type Summary, summaryOf } from './stats.ts';

export const LIVE_COMMAND = 'server.stats';

/** One line of the response to `server.stats`, as JSON: all figures of the server but those of single streams … */
export interface LiveFigures extends Summary {
  /** When they were gathered, in milliseconds since 1970. */
  atMs: number;
  process: ProcessFigures;
  /** … and of these those of the connections that were busiest since the line before, at most {@link MAX_PEERS}. */
  peers: PeerRow[];
  /** The slowest commands of the last half minute to a minute, at most {@link MAX_SLOW}; without `server.stats` itself. */
  slowest: SlowCommand[];
  /** What of all the traffic above is that of watchers' connections, since they began to watch. */
  watching: WatchersTraffic;
}

export interface ProcessFigures {
  id: number;
  /** Of all its threads. */
  cpuSeconds: number;
  /** Seconds that the event loop of the main thread was at work. */
  busySeconds: number;
  memoryBytes: number;
  uptimeSeconds: number;
}

/** One open connection. */
export interface PeerRow {
  connectionId: number;
  remote: string;
  ageMs: number;
  /** Requests at work. */
  running: number;
  bytesRead: number;
  bytesWritten: number;
  /** It is that of a watcher. */
  watches: boolean;
  streams: Omit<StreamRow, 'remote'>[];
}

export interface WatchersTraffic {
  connections: number;
  bytesRead: number;
  bytesWritten: number;
  /** Response frames, and their bytes before encoding and on the wire. */
  frames: number;
  bytesIn: number;
  bytesOut: number;
}

/** Milliseconds between two lines, and so many times what it takes to make one where that is more. */
const PERIOD_MS = 1000;
const REST = 50;
const MAX_PEERS = 50;
const MAX_SLOW = 10;
/** Who watches at a time. */
const MAX_WATCHERS = 32;

type Traffic = Omit<WatchersTraffic, 'connections'>;

/** A connection on which somebody watches. */
interface Watcher {
  requests: number;
  /** What of its traffic is counted. */
  counted: Traffic;
}

export class LiveFeed {
  readonly #of: () => Measured;
  readonly #slow: SlowCommands;
  readonly #watchers = new Map<Session, Watcher>();
  #requests = 0;
  readonly #watched: Traffic = { bytesRead: 0, bytesWritten: 0, frames: 0, bytesIn: 0, bytesOut: 0 };
  /** What connections had sent when the last line was made. */
  #written = new WeakMap<Session, number>();
  #number = 0;
  #line = '';
  #timer: Timer | undefined;
  /** Resolves with the next line. */
  #next = Promise.withResolvers<void>();

  /** `of`: whose figures they are, once somebody asks. */
  constructor(server: Server, of: () => Measured) {
    this.#of = of;
    this.#slow = new SlowCommands(server);
  }

  /** What runs the command `server.stats`: a line a second, `count` of them, or without end. */
  readonly watch = (request: ServedRequest): Run =>
    new HandlerRun(request, (asked) => this.#lines(request.session, asked));

  async *#lines(session: Session, asked: CommandRequest): AsyncGenerator<string> {
    const count = countOf(asked.text('count'));
    if (this.#requests >= MAX_WATCHERS)
      throw new CommandError(`${MAX_WATCHERS} watch already`, { code: 'overloaded' });
    this.#begin(session);
    const over = signalled(asked.signal, asked.draining);
    try {
      for (let sent = 0, seen = 0; sent < count && !over.isSo; sent++) {
        if (seen === this.#number || this.#line === '') await over.or(this.#next.promise);
        if (over.isSo) return;
        // Whoever is slow has missed what came before.
        seen = this.#number;
        yield this.#line;
      }
    } finally {
      over.forget();
      this.#end(session);
    }
  }

  #begin(session: Session): void {
    const watcher = this.#watchers.get(session);
    if (watcher === undefined) this.#watchers.set(session, { requests: 1, counted: trafficOf(session) });
    else watcher.requests++;
    if (this.#requests++ > 0) return;
    this.#slow.start();
    this.#timer = after(0, this.#gather);
  }

  #end(session: Session): void {
    const watcher = this.#watchers.get(session);
    if (watcher !== undefined && --watcher.requests === 0) {
      this.#count(session, watcher);
      this.#watchers.delete(session);
    }
    if (--this.#requests > 0) return;
    clearTimeout(this.#timer);
    this.#slow.stop();
    this.#line = '';
    this.#written = new WeakMap();
  }

  /** A lane that is at work for long is waited for: figures come later then, and none twice. */
  readonly #gather = async (): Promise<void> => {
    const round = this.#timer;
    const { summary, cpuOf } = await summaryOf(this.#of());
    // Nobody watches any more, or others have begun to since.
    if (this.#requests === 0 || this.#timer !== round) return;
    const beganMs = performance.now();
    this.#line = `${JSON.stringify(this.#figures(summary, cpuOf))}\n`;
    this.#number++;
    this.#next.resolve();
    this.#next = Promise.withResolvers();
    const tookMs = performance.now() - beganMs;
    this.#timer = unref(after(Math.max(PERIOD_MS, REST * tookMs), this.#gather));
  };

  #figures(summary: Summary, cpuOf: CpuOf): LiveFigures {
    for (const [session, watcher] of this.#watchers) this.#count(session, watcher);
    return {
      atMs: Date.now(),
      process: processFigures(),
      ...summary,
      peers: this.#busiest().map((session) => this.#rowOf(session, cpuOf)),
      slowest: this.#slow
        .rows(MAX_SLOW + 1)
        .filter(isOthers)
        .slice(0, MAX_SLOW),
      watching: { connections: this.#watchers.size, ...this.#watched },
    };
  }

  #busiest(): Session[] {
    const all = [...this.#of().sessions.open].map((session) => {
      const { bytesWritten } = session;
      const bytes = bytesWritten - (this.#written.get(session) ?? 0);
      this.#written.set(session, bytesWritten);
      return { session, bytes };
    });
    if (all.length > MAX_PEERS) all.sort((a, b) => b.bytes - a.bytes);
    return all.slice(0, MAX_PEERS).map(({ session }) => session);
  }

  #rowOf(session: Session, cpuOf: CpuOf): PeerRow {
    const { caller, remote, requests, openedAtMs, bytesRead, bytesWritten } = session;
    return {
      connectionId: caller.connectionId,
      remote,
      ageMs: performance.now() - openedAtMs,
      running: requests.size,
      bytesRead,
      bytesWritten,
      watches: this.#watchers.has(session),
      streams: session
        .openFigures()
        .map((figures) => ({ ...figures, cpuSeconds: cpuOf(figures.lane, figures.slot) })),
    };
  }

  /** Adds what has come to pass on the connection since it was counted last. */
  #count(session: Session, watcher: Watcher): void {
    const now = trafficOf(session);
    for (const name of Object.keys(now) as (keyof Traffic)[])
      this.#watched[name] += now[name] - watcher.counted[name];
    watcher.counted = now;
  }
}

const isOthers = ({ command }: SlowCommand) => command !== LIVE_COMMAND;

function countOf(text: string | undefined): number {
  if (text === undefined) return Number.POSITIVE_INFINITY;
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw new CommandError('invalid argument: count: a whole number from 1 on', { code: 'invalid-argument' });
  return Number(text);
}

function trafficOf(session: Session): Traffic {
  const traffic: Traffic = {
    bytesRead: session.bytesRead,
    bytesWritten: session.bytesWritten,
    frames: 0,
    bytesIn: 0,
    bytesOut: 0,
  };
  for (const { frames, bytesIn, bytesOut } of [...session.figures(), session.plain]) {
    traffic.frames += frames;
    traffic.bytesIn += bytesIn;
    traffic.bytesOut += bytesOut;
  }
  return traffic;
}

function processFigures(): ProcessFigures {
  const { user, system } = process.cpuUsage();
  return {
    id: process.pid,
    cpuSeconds: (user + system) / 1e6,
    busySeconds: performance.eventLoopUtilization().active / 1000,
    memoryBytes: process.memoryUsage.rss(),
    uptimeSeconds: process.uptime(),
  };
}
