/** The sessions of a server: all that are open, how they are watched, and how they end. */

import { within } from '../lanes/within.ts';
import { every } from '../wire/timers.ts';
import type { Session } from './session.ts';
import type { CpuOf, StreamRow } from './stats.ts';

/** Rows of closed connections that stats() still shows. */
const PAST_STREAMS = 64;

export class Sessions {
  readonly #keepAliveMs: number;
  readonly #open = new Set<Session>();
  /** Rows of sessions that have ended, the newest last. */
  #pastStreams: StreamRow[] = [];
  #watch: ReturnType<typeof setInterval> | undefined;
  #onAllGone: () => void = () => undefined;

  /** `keepAliveMs`: how often peers that have said nothing are asked for a sign of life; 0: never. */
  constructor(keepAliveMs: number) {
    this.#keepAliveMs = keepAliveMs;
  }

  get count(): number {
    return this.#open.size;
  }

  add(session: Session): void {
    this.#open.add(session);
    if (this.#keepAliveMs > 0) this.#watch ??= every(this.#keepAliveMs, this.#check).unref();
  }

  /** The session has ended. */
  remove(session: Session): void {
    this.#open.delete(session);
    this.#pastStreams.push(...rowsOf(session, () => 0));
    this.#pastStreams = this.#pastStreams.slice(-PAST_STREAMS);
    if (this.#open.size === 0) this.#onAllGone();
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

  readonly #check = (): void => {
    for (const session of this.#open) session.checkAlive();
  };
}

function rowsOf(session: Session, cpuOf: CpuOf): StreamRow[] {
  const { remote } = session.connection;
  return session.router.figures().map((figures) => ({
    ...figures,
    remote,
    cpuSeconds: cpuOf(figures.lane, figures.slot),
  }));
}
