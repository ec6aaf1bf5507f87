/** The sessions of a server: all that are open, how they are watched, and how they end. */

import { LOOKS } from '../connection/keepalive.ts';
import { within } from '../lanes/within.ts';
import { after, every } from '../wire/timers.ts';
import { Bag } from './bag.ts';
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
  readonly #open = new Bag<Session>();
  /** What will tell those to go that are to go when they are old. */
  readonly #retiring = new Map<Session, NodeJS.Timeout>();
  /** Rows of sessions that have ended, the newest last. */
  #pastStreams: StreamRow[] = [];
  #watch: ReturnType<typeof setInterval> | undefined;
  #lookout: ReturnType<typeof setInterval> | undefined;
  #onAllGone: () => void = () => undefined;

  /** `keepAliveMs`: how long peers may say nothing before they are asked for a sign of life; 0: never. */
  constructor(keepAliveMs: number, totals: Totals) {
    this.#keepAliveMs = keepAliveMs;
    this.#totals = totals;
  }

  get open(): Iterable<Session> {
    return this.#open;
  }

  get count(): number {
    return this.#open.size;
  }

  /** `maxAgeMs`: when it is to be told to go; undefined: never. */
  add(session: Session, maxAgeMs?: number): void {
    this.#open.add(session);
    if (maxAgeMs) this.#retiring.set(session, after(spread(maxAgeMs), () => session.retire()).unref());
    this.#totals.opened(session);
    this.#lookout ??= every(LOOK_MS, this.#look).unref();
    if (this.#keepAliveMs > 0) this.#watch ??= every(this.#keepAliveMs / LOOKS, this.#check).unref();
  }

  /** The session has ended, and why if it was not in an orderly way. */
  remove(session: Session, reason: Error | undefined): void {
    this.#open.delete(session);
    clearTimeout(this.#retiring.get(session));
    this.#retiring.delete(session);
    this.#totals.closed(session, reason);
    this.#keep(rowsOf(session, () => 0));
    if (this.#open.size === 0) this.#onAllGone();
  }

  #keep(rows: StreamRow[]): void {
    if (rows.length > 0) this.#pastStreams = [...this.#pastStreams, ...rows].slice(-PAST_STREAMS);
  }

  connections(): ConnectionTotals {
    return this.#totals.connections(this.#open);
  }

  profiles(): ProfileRow[] {
    return this.#totals.profiles(this.#open);
  }

  streams(cpuOf: CpuOf): StreamRow[] {
    return [...this.#pastStreams, ...[...this.#open].flatMap((session) => rowsOf(session, cpuOf))];
  }

  /** Accepts no new requests (protocol C5). Whether all sessions have ended within `graceMs`. */
  drain(reason: string, graceMs: number): Promise<boolean> {
    clearInterval(this.#watch);
    for (const session of this.#open) session.drain(reason);
    return this.allGone(graceMs);
  }

  /** Answers what is in flight with an error. Whether all sessions have ended within `forceMs`. */
  stop(reason: string, forceMs: number): Promise<boolean> {
    for (const session of this.#open) session.stop(reason);
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
    for (const session of this.#open) session.probe();
    // Not with the last session: where each is one call, there is a last one a thousand times a second.
    if (this.#open.size > 0) return;
    clearInterval(this.#lookout);
    this.#lookout = undefined;
  };

  readonly #check = (): void => {
    for (const session of this.#open) session.checkPeer();
  };
}

/** A tenth more or less: what came together does not go together. */
function spread(ms: number): number {
  return Math.ceil(ms * (0.9 + Math.random() / 5));
}

function rowsOf(session: Session, cpuOf: CpuOf): StreamRow[] {
  const { remote } = session;
  return session.figures().map((figures) => ({
    ...figures,
    remote,
    cpuSeconds: cpuOf(figures.lane, figures.slot),
  }));
}
