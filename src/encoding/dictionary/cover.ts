/**
 * Chooses a dictionary's content: the segments of the samples that cover most of what the samples have in common. This
 * is the idea of COVER (Liao, Petri, Moffat, Wirth: Effective construction of relative Lempel-Ziv dictionaries, 2016), with
 * hashes in place of a suffix array.
 *
 * A segment is worth, for each different run of d bytes in it, how often the run comes up: in so many samples, or so many
 * times in all. What has been chosen once is worth nothing any more. The samples are gone through part by part, so that all
 * of them get their turn.
 */

import { joined } from '../../wire/joined.ts';

/** Bits of a bucket's number: twice as many buckets as there are bytes: runs that share one are worth what they are not. */
const MIN_BUCKET_BITS = 16;
const MAX_BUCKET_BITS = 22;
/** How often each part is gone through. */
const PASSES = 4;
/** Parts are at least so many segments long. */
const PART_SEGMENTS = 10;

/** What of a run counts: the samples that have it, or all the places where it is. */
export type RunCount = 'samples' | 'places';

interface Segment {
  readonly start: number;
  readonly end: number;
  readonly worth: number;
}

export class Cover {
  readonly #bytes: Uint8Array;
  readonly #runBytes: number;
  /** Bucket of the run that begins at each byte. */
  readonly #buckets: Uint32Array;
  /** How often runs of each bucket come up. */
  readonly #worth: Uint32Array;

  /** `runBytes`: d, from 4 to 8. */
  constructor(samples: readonly Uint8Array[], runBytes: number, counted: RunCount) {
    this.#bytes = joined(samples);
    this.#runBytes = runBytes;
    const size = this.#bytes.length;
    const bits = Math.min(MAX_BUCKET_BITS, Math.max(MIN_BUCKET_BITS, Math.ceil(Math.log2(size + 1)) + 1));
    this.#buckets = new Uint32Array(size);
    this.#worth = new Uint32Array(1 << bits);
    const lastSample = new Uint32Array(1 << bits);
    let start = 0;
    for (const [index, { length }] of samples.entries()) {
      for (let at = start; at + runBytes <= start + length; at++) {
        const bucket = bucketOf(this.#bytes, at, runBytes, bits);
        this.#buckets[at] = bucket;
        if (counted === 'places' || lastSample[bucket] !== index + 1) this.#worth[bucket]++;
        lastSample[bucket] = index + 1;
      }
      start += length;
    }
    // What was there once will not come again.
    for (let bucket = 0; bucket < this.#worth.length; bucket++) {
      if (this.#worth[bucket] === 1) this.#worth[bucket] = 0;
    }
  }

  /**
   * At most `size` bytes, in segments of at most `segmentBytes`, the most valuable last, where they are nearest. Less where
   * the samples have no more in common.
   */
  choose(size: number, segmentBytes: number): Uint8Array {
    const worth = this.#worth.slice();
    const total = this.#bytes.length;
    const wanted = Math.floor(size / segmentBytes / PASSES);
    const parts = Math.max(1, Math.min(wanted, Math.floor(total / (segmentBytes * PART_SEGMENTS))));
    const partBytes = Math.ceil(total / parts);
    const seen = new Uint16Array(worth.length);
    const chosen: Segment[] = [];
    let left = size;
    for (let part = 0, empty = 0; left > this.#runBytes && empty < parts; part = (part + 1) % parts) {
      const from = part * partBytes;
      const best = this.#best(worth, seen, from, Math.min(total, from + partBytes), segmentBytes);
      if (best === undefined) {
        empty++;
        continue;
      }
      empty = 0;
      const { start, worth: value } = best;
      const end = Math.min(best.end, start + left);
      for (let at = start; at + this.#runBytes <= end; at++) worth[this.#buckets[at]] = 0;
      chosen.push({ start, end, worth: value });
      left -= end - start;
    }
    chosen.sort((a, b) => a.worth - b.worth);
    return joined(chosen.map(({ start, end }) => this.#bytes.subarray(start, end)));
  }

  /** The most valuable segment that begins in `from .. to`, without what is worth nothing at its ends. */
  #best(
    worth: Uint32Array,
    seen: Uint16Array,
    from: number,
    to: number,
    segmentBytes: number,
  ): Segment | undefined {
    const buckets = this.#buckets;
    const runs = segmentBytes - this.#runBytes + 1;
    let value = 0;
    let most = 0;
    let bestAt = 0;
    // `seen` counts the runs of the window by bucket: a run that is there twice is worth something once.
    for (let at = from; at < to; at++) {
      const entering = buckets[at];
      if (seen[entering]++ === 0) value += worth[entering];
      const first = at - runs;
      if (first >= from) {
        const leaving = buckets[first];
        if (--seen[leaving] === 0) value -= worth[leaving];
      }
      if (value > most) {
        most = value;
        bestAt = Math.max(from, first + 1);
      }
    }
    for (let at = Math.max(from, to - runs); at < to; at++) seen[buckets[at]] = 0;
    if (most === 0) return undefined;
    let last = Math.min(bestAt + runs, to) - 1;
    while (worth[buckets[bestAt]] === 0) bestAt++;
    while (worth[buckets[last]] === 0) last--;
    return { start: bestAt, end: last + this.#runBytes, worth: most };
  }
}

/** The run's bucket; never 0, which is for bytes where no run of a single sample begins. */
function bucketOf(bytes: Uint8Array, at: number, runBytes: number, bits: number): number {
  let hash = 0;
  for (let i = 0; i < runBytes; i++) hash = Math.imul(hash ^ bytes[at + i], 0x9e3779b1) ^ (hash >>> 15);
  return Math.imul(hash ^ (hash >>> 13), 0x85ebca6b) >>> (32 - bits) || 1;
}
