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

/** What waits when a request comes. */
export interface Pressure {
  /** A write that the transport has not finished is under way: the link is behind. */
  readonly linkWaits: boolean;
  /** Bytes of responses that wait for an encoder. */
  readonly laneBytes: number;
  /** Requests that are on their way. */
  readonly requests: number;
}

/** More than this before the encoders means that they are behind: what a tick brings is less. */
const LANES_WAIT = 8 * 1024;
/**
 * How far all requests in flight move us together, in rungs. What one choice does is seen when those before it are
 * out, so a faster controller would swing.
 */
const STEP_OF_ALL = 0.125;
/** The fewest requests that this is shared out to. */
const FEW = 8;
/** Within this of a rung we are on it: small pressure does not open a second pair of contexts. */
const STAY = 0.05;

/**
 * Where one connection is on its ladder. Between two rungs responses take turns in proportion, which keeps both link
 * and lanes busy where either rung alone would leave one idle.
 */
export class Ladder {
  readonly #top: number;
  #position: number;
  /** What is owed to the upper of two rungs. */
  #owed = 0;

  /** Begins in the middle: nothing is known yet. */
  constructor(rungs: number) {
    this.#top = rungs - 1;
    this.#position = this.#top >> 1;
  }

  /** The rung for the request that comes now. */
  next({ linkWaits, laneBytes, requests }: Pressure): number {
    const lanesWait = laneBytes >= LANES_WAIT;
    // Where both are behind, or neither, we are where we should be.
    if (linkWaits !== lanesWait) {
      const step = STEP_OF_ALL / Math.max(FEW, requests);
      const position = this.#position + (linkWaits ? step : -step);
      this.#position = Math.min(this.#top, Math.max(0, position));
    }
    const nearest = Math.round(this.#position);
    if (Math.abs(this.#position - nearest) <= STAY) return nearest;
    const lower = Math.floor(this.#position);
    this.#owed += this.#position - lower;
    if (this.#owed < 1) return lower;
    this.#owed -= 1;
    return lower + 1;
  }
}
