/**
 * The policy `adaptive`: a ladder of rungs, each denser and dearer than the one below, with two streams each. New
 * responses climb while the link is what everything waits for, and descend while the lanes are. Contexts of rungs that
 * are not in use stay as they are.
 */

import { ZLIB, ZSTD } from '../encoding/profiles.ts';

/** How a rung's streams encode: not at all, or at this level. */
export type Rung = 'plain' | number;

/** Streams of each rung. */
export const RUNG_STREAMS = 2;

/** Plain, and steps that each take about twice the CPU of the one before. */
const LADDERS: Readonly<Record<string, readonly Rung[]>> = {
  [ZSTD]: ['plain', 1, 3, 6, 9],
  [ZLIB]: ['plain', 1, 6],
};

/** The rungs for a profile, the fastest first. */
export function ladderOf(profile: string): readonly Rung[] {
  return LADDERS[profile] ?? ['plain'];
}

/** How long what is sent now waits, in milliseconds. */
export interface Pressure {
  /** On its way to the peer: in our socket, the network's queues, and until the peer reads it. */
  readonly linkMs: number;
  /** For its encoder. */
  readonly laneMs: number;
  /** When this was so, in milliseconds of any clock. */
  readonly atMs: number;
}

/**
 * Where the link takes more than this many times as long as the lanes, it is the bottleneck; where it takes less than they
 * do, they are; in between we are where we should be.
 */
const LINK_SHARE = 2;
/**
 * How far we move, in rungs, in the time that it takes to see what that does: until what waits is out and a ping has
 * found it so. A faster controller would swing; but where the wait is many times {@link LONG_MS} we are far off.
 */
const STEP = 0.2;
const LONG_MS = 1;
const MOST_STEPS = 8;
/** Of a pause between requests no more counts. */
const PAUSE_MS = 50;

/** How well a ladder knows what waits. */
interface Sight {
  /** Waits that busy threads make by themselves: the peer's and our main thread, and the hand-over to a lane. */
  readonly noise: Pick<Pressure, 'linkMs' | 'laneMs'>;
  /** How late waits are known. */
  readonly lateMs: number;
}

const BY_PINGS: Sight = { noise: { linkMs: 1, laneMs: 1 }, lateMs: 20 };

/** Within this of a rung we are on it: small pressure does not open a second pair of contexts. */
const STAY = 0.05;

/**
 * Where one connection is on its ladder. Between two rungs responses take turns in proportion, which keeps both link
 * and lanes busy where either rung alone would leave one idle.
 */
export class Ladder {
  readonly #top: number;
  readonly #sight: Sight;
  #position: number;
  #movedAtMs = 0;
  /** What is owed to the upper of two rungs. */
  #owed = 0;

  /** Begins in the middle: nothing is known yet. */
  constructor(rungs: number, sight = BY_PINGS) {
    this.#sight = sight;
    this.#top = rungs - 1;
    this.#position = this.#top >> 1;
  }

  /** The rung for the request that comes now. */
  next({ linkMs, laneMs, atMs }: Pressure): number {
    const { noise, lateMs } = this.#sight;
    const link = Math.max(0, linkMs - noise.linkMs);
    const lane = Math.max(0, laneMs - noise.laneMs);
    const direction = link > LINK_SHARE * lane ? 1 : lane > link ? -1 : 0;
    const steps = Math.min(MOST_STEPS, Math.max(1, Math.max(link, lane) / LONG_MS));
    const passed = Math.min(PAUSE_MS, atMs - this.#movedAtMs);
    this.#movedAtMs = atMs;
    const step = (direction * steps * STEP * passed) / (linkMs + laneMs + lateMs);
    this.#position = Math.min(this.#top, Math.max(0, this.#position + step));
    const nearest = Math.round(this.#position);
    if (Math.abs(this.#position - nearest) <= STAY) return nearest;
    const lower = Math.floor(this.#position);
    this.#owed += this.#position - lower;
    if (this.#owed < 1) return lower;
    this.#owed -= 1;
    return lower + 1;
  }
}

/** Older samples say nothing of now. */
const STALE_MS = 100;

/** How long one thing after the other takes through a queue: one at a time is followed from its entry to its end. */
export class WaitProbe {
  #queue: unknown;
  #ahead = 0;
  #since = 0;
  #ms = 0;
  #at = Number.NEGATIVE_INFINITY;
  readonly #now: () => number;

  /** `now`: milliseconds of a clock that never goes back. */
  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /** Something enters `queue`, which holds `ahead` now, that included; it is followed unless something else is. */
  entered(queue: unknown, ahead: number): void {
    if (this.#queue !== undefined) return;
    this.#queue = queue;
    this.#ahead = ahead;
    this.#since = this.#now();
  }

  /** `amount` bytes have left `queue`. */
  left(queue: unknown, amount: number): void {
    if (this.#queue !== queue) return;
    this.#ahead -= amount;
    if (this.#ahead > 0) return;
    this.#queue = undefined;
    this.#at = this.#now();
    this.#ms = this.#at - this.#since;
  }

  /** `queue` is gone, and what was in it. */
  gone(queue: unknown): void {
    if (this.#queue === queue) this.#queue = undefined;
  }

  /** What the last one took, or the one that is followed already has; 0 when that is long ago. */
  get ms(): number {
    const now = this.#now();
    const last = now - this.#at < STALE_MS ? this.#ms : 0;
    return this.#queue === undefined ? last : Math.max(last, now - this.#since);
  }
}

/** Milliseconds between two questions to the peer. */
const ASK_MS = 20;
/** Round trips within this time are looked at together, in milliseconds. */
const ROUNDS_MS = 60;

interface Round {
  readonly at: number;
  readonly ms: number;
}

/**
 * How much longer than ever the way to the peer and back takes, by pings. Sockets do not tell: what an operating system
 * has taken it may hold for seconds, and with small responses never says that it is full. A thread that is not run for
 * a while makes single pings late, a link that is behind makes all of them late: of some that follow each other the
 * quickest counts.
 */
export class LinkProbe {
  #askedAt = Number.NEGATIVE_INFINITY;
  #asked = false;
  readonly #rounds: Round[] = [];
  #least = Number.POSITIVE_INFINITY;
  readonly #now: () => number;

  /** `now`: milliseconds of a clock that never goes back. */
  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /** Whether a ping should be sent now; it counts as sent. */
  ask(): boolean {
    const now = this.#now();
    if (this.#asked || now - this.#askedAt < ASK_MS) return false;
    this.#askedAt = now;
    this.#asked = true;
    return true;
  }

  pong(): void {
    if (!this.#asked) return;
    this.#asked = false;
    const at = this.#now();
    const ms = at - this.#askedAt;
    this.#rounds.push({ at, ms });
    this.#least = Math.min(this.#least, ms);
  }

  /** Of a ping that is not answered yet the time until now, when that is all we have. */
  get ms(): number {
    if (this.#least === Number.POSITIVE_INFINITY) return 0;
    const now = this.#now();
    while (this.#rounds[0]?.at < now - ROUNDS_MS) this.#rounds.shift();
    const waited = this.#asked && this.#rounds.length === 0 ? now - this.#askedAt : Number.POSITIVE_INFINITY;
    const quickest = Math.min(waited, ...this.#rounds.map(({ ms }) => ms));
    return quickest === Number.POSITIVE_INFINITY ? 0 : Math.max(0, quickest - this.#least);
  }
}
