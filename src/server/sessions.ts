/** The sessions of a server: all that are open, how they are watched, and how they end. */

import { within } from '../lanes/within.ts';
import { after, every } from '../wire/timers.ts';
import type { Session } from './session.ts';
import type { CpuOf, StreamRow } from './stats.ts';
import type { ConnectionTotals, ProfileRow, Totals } from './totals.ts';

/** Rows of closed connections that stats() still shows. */
const PAST_STREAMS = 64;

/** How often peers that are not read are looked at: their input is worked on until it shows that they have gone. */
const LOOK_MS = 250;

export class Sessions {
  readonly #keepAliveMs: number;
  readonly #totals: Totals;
  /** Each with what will tell it to go when it is old. */
  readonly #open = new Map<Session, NodeJS.Timeout | undefined>();
  /** Rows of sessions that have ended, the newest last. */
  #pastStreams: StreamRow[] = [];
  #watch: ReturnType<typeof setInterval> | undefined;
  #lookout: ReturnType<typeof setInterval> | undefined;
  #onAllGone: () => void = () => undefined;

  /** `keepAliveMs`: how often peers that have said nothing are asked for a sign of life; 0: never. */
  constructor(keepAliveMs: number, totals: Totals) {
    this.#keepAliveMs = keepAliveMs;
    this.#totals = totals;
  }

  get open(): Iterable<Session> {
    return this.#open.keys();
  }

  get count(): number {
    return this.#open.size;
  }

  /** `maxAgeMs`: when it is to be told to go; undefined: never. */
  add(session: Session, maxAgeMs?: number): void {
    const retiring = maxAgeMs && after(spread(maxAgeMs), () => session.ending.retire()).unref();
    this.#open.set(session, retiring || undefined);
    this.#totals.opened(session);
    this.#lookout ??= every(LOOK_MS, this.#look).unref();
    if (this.#keepAliveMs > 0) this.#watch ??= every(this.#keepAliveMs, this.#check).unref();
  }

  /** The session has ended, and why if it was not in an orderly way. */
  remove(session: Session, reason: Error | undefined): void {
    clearTimeout(this.#open.get(session));
    this.#open.delete(session);
    this.#totals.closed(session, reason);
    this.#pastStreams.push(...rowsOf(session, () => 0));
    this.#pastStreams = this.#pastStreams.slice(-PAST_STREAMS);
    if (this.#open.size > 0) return;
    clearInterval(this.#lookout);
    this.#lookout = undefined;
    this.#onAllGone();
  }

  connections(): ConnectionTotals {
    return this.#totals.connections(this.#open.keys());
  }

  profiles(): ProfileRow[] {
    return this.#totals.profiles(this.#open.keys());
  }

  streams(cpuOf: CpuOf): StreamRow[] {
    return [...this.#pastStreams, ...[...this.#open.keys()].flatMap((session) => rowsOf(session, cpuOf))];
  }

  /** Accepts no new requests (protocol C5). Whether all sessions have ended within `graceMs`. */
  drain(reason: string, graceMs: number): Promise<boolean> {
    clearInterval(this.#watch);
    for (const session of this.#open.keys()) session.ending.drain(reason);
    return this.allGone(graceMs);
  }

  /** Answers what is in flight with an error. Whether all sessions have ended within `forceMs`. */
  stop(reason: string, forceMs: number): Promise<boolean> {
    for (const session of this.#open.keys()) session.ending.stop(reason);
    return this.allGone(forceMs);
  }

  /** Whether all sessions have ended within `waitMs`. */
  async allGone(waitMs: number): Promise<boolean> {
    if (this.#open.size === 0) return true;
    const gone = new Promise<void>((resolve) => {
      this.#onAllGone = resolve;
    });
    return within(gone, waitMs);
  }

  readonly #look = (): void => {
    for (const session of this.#open.keys()) session.connection.probe();
  };

  readonly #check = (): void => {
    for (const session of this.#open.keys()) session.peerWatch.check();
  };
}

/** A tenth more or less: what came together does not go together. */
function spread(ms: number): number {
  return Math.ceil(ms * (0.9 + Math.random() / 5));
}

function rowsOf(session: Session, cpuOf: CpuOf): StreamRow[] {
  const { remote } = session.connection;
  return session.router.figures().map((figures) => ({
    ...figures,
    remote,
    cpuSeconds: cpuOf(figures.lane, figures.slot),
  }));
}
