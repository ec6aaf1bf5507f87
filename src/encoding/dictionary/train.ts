/**
 * Trains a dictionary (protocol C9) on samples of what will be sent. No library on npm does. Content comes from
 * {@link Cover} under several parameters; which of them are best is found out by compressing samples that were held back.
 * The entropy tables count what the blocks of samples are made of when they are compressed with that content.
 *
 * Bounded: {@link MAX_TRAINED_BYTES} of samples at most are looked at, and {@link MAX_SEARCH_BYTES} for the choice of
 * parameters. Deterministic: the same samples in the same order give the same dictionary on the same libzstd.
 */

import { createHash } from 'node:crypto';
import { Cover } from './cover.ts';
import { MAX_DICTIONARY_BYTES } from './format.ts';
import { compressEach, countBlocks, countBytes } from './samples.ts';
import { dictionaryHead, type EntropyCounts } from './write.ts';

export interface TrainingOptions {
  /** Bytes of the dictionary, at most; from 1 KiB to 1 MiB. Default 16 KiB. It is smaller when there is less to remember. */
  readonly size?: number;
  /** zstd level that the tables are made for; default 3. */
  readonly level?: number;
}

export const DEFAULT_DICTIONARY_BYTES = 16 << 10;
export const MIN_DICTIONARY_BYTES = 1024;
export const DEFAULT_LEVEL = 3;
/** Fewer samples than this say nothing about what the next one will be like. */
export const MIN_SAMPLES = 16;
/** Bytes of samples that are looked at, and of those the ones by which parameters are chosen. */
const MAX_TRAINED_BYTES = 8 << 20;
const MAX_SEARCH_BYTES = 2 << 20;
/** A dictionary is for the beginning of a response: of longer samples this is looked at. */
const MAX_SAMPLE_BYTES = 128 << 10;
/** Shorter samples have no run that could be found again. */
const MIN_SAMPLE_BYTES = 8;
/** Every so many-th sample is held back from the search. */
const HELD_BACK = 4;
const RUN_BYTES = [6, 8];
const SEGMENT_BYTES = [24, 48, 96, 192, 384, 768, 1536];
/** Slower levels find the same parameters. */
const MAX_SEARCH_LEVEL = 6;
/** zstd's numbers below are for a registry, and those from 2^31 on as well. */
const FIRST_FREE_ID = 32_768;
const MIN_CONTENT_BYTES = 64;
/** All that is in front of the content, at most. */
const MAX_HEAD_BYTES = 512;

type RepeatOffsets = readonly [number, number, number];
/** What zstd begins with where there is no dictionary. */
const USUAL_OFFSETS: RepeatOffsets = [1, 4, 8];

/**
 * The dictionary's bytes.
 * @throws RangeError for a size that no dictionary can have.
 * @throws Error that says what is missing where the samples are too few, too short, or have nothing in common.
 */
export function trainDictionary(samples: readonly Uint8Array[], options: TrainingOptions = {}): Uint8Array {
  const { size = DEFAULT_DICTIONARY_BYTES, level = DEFAULT_LEVEL } = options;
  if (!Number.isInteger(size) || size < MIN_DICTIONARY_BYTES || size > MAX_DICTIONARY_BYTES) {
    throw new RangeError(
      `a dictionary has from ${MIN_DICTIONARY_BYTES} to ${MAX_DICTIONARY_BYTES} bytes, not ${size}`,
    );
  }
  const usable = samples.filter(({ length }) => length >= MIN_SAMPLE_BYTES);
  if (usable.length < MIN_SAMPLES) {
    throw new Error(
      `a dictionary needs at least ${MIN_SAMPLES} samples of ${MIN_SAMPLE_BYTES} bytes or more; there are ${usable.length}`,
    );
  }
  const heads = usable.map((sample) => sample.subarray(0, MAX_SAMPLE_BYTES));
  const found = search(thinned(heads, MAX_SEARCH_BYTES), size, level);
  const all = thinned(heads, MAX_TRAINED_BYTES);
  const content = new Cover(all, found.runBytes).choose(size, found.segmentBytes);
  return finish(content, thinned(all, MAX_SEARCH_BYTES), size, level, found.ownOffsets);
}

interface Found {
  readonly runBytes: number;
  readonly segmentBytes: number;
  /** Whether repeat offsets of its own are better than the usual ones. */
  readonly ownOffsets: boolean;
}

/** The parameters under which samples that were held back take the fewest bytes. */
function search(samples: readonly Uint8Array[], size: number, level: number): Found {
  const heldBack = samples.filter((_, i) => i % HELD_BACK === HELD_BACK - 1);
  const training = samples.filter((_, i) => i % HELD_BACK !== HELD_BACK - 1);
  const searchLevel = Math.min(level, MAX_SEARCH_LEVEL);
  let best: (Found & { content: Uint8Array }) | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const runBytes of RUN_BYTES) {
    const cover = new Cover(training, runBytes);
    for (const segmentBytes of SEGMENT_BYTES.filter((bytes) => bytes <= size / 4)) {
      const content = cover.choose(size, segmentBytes);
      if (content.length < MIN_CONTENT_BYTES) continue;
      const bytes = compressEach(finish(content, training, size, searchLevel, false), heldBack, searchLevel);
      if (bytes >= least) continue;
      least = bytes;
      best = { runBytes, segmentBytes, content, ownOffsets: false };
    }
  }
  if (best === undefined) throw new Error('the samples have nothing in common that a dictionary could hold');
  const own = finish(best.content, training, size, searchLevel, true);
  return { ...best, ownOffsets: compressEach(own, heldBack, searchLevel) < least };
}

/** Content with its tables, the two together of at most `size` bytes; what is too much of the content goes from its front. */
function finish(
  content: Uint8Array,
  samples: readonly Uint8Array[],
  size: number,
  level: number,
  ownOffsets: boolean,
): Uint8Array {
  // First with tables that know nothing yet: they have little part in which matches are found.
  const draft = join(content, countBytes(samples), USUAL_OFFSETS, size);
  const counts = countBlocks(draft, samples, level);
  const offsets = ownOffsets
    ? commonest(counts.firstOffsets, Math.min(content.length, size - MAX_HEAD_BYTES))
    : USUAL_OFFSETS;
  return join(content, counts, offsets, size);
}

function join(content: Uint8Array, counts: EntropyCounts, offsets: RepeatOffsets, size: number): Uint8Array {
  const hash = createHash('sha256').update(content).digest().readUInt32LE(0);
  const zstdId = (hash % (2 ** 31 - FIRST_FREE_ID)) + FIRST_FREE_ID;
  const head = dictionaryHead(zstdId, counts, offsets, content.length);
  const kept = content.subarray(Math.max(0, content.length + head.length - size));
  const whole = new Uint8Array(head.length + kept.length);
  whole.set(head);
  whole.set(kept, head.length);
  return whole;
}

/** The three distances up to `most` at which most samples begin, the most frequent first. */
function commonest(firstOffsets: ReadonlyMap<number, number>, most: number): RepeatOffsets {
  const within = [...firstOffsets].filter(([offset]) => offset <= most);
  const sorted = within.sort(([a, often], [b, more]) => more - often || a - b);
  const [first, second, third] = [...sorted.map(([offset]) => offset), ...USUAL_OFFSETS];
  return [first, second, third];
}

/** Samples from all over, of at most `maxBytes` together or about that. */
function thinned(samples: readonly Uint8Array[], maxBytes: number): readonly Uint8Array[] {
  const bytes = samples.reduce((sum, { length }) => sum + length, 0);
  if (bytes <= maxBytes) return samples;
  const share = maxBytes / bytes;
  return samples.filter((_, i) => Math.floor((i + 1) * share) > Math.floor(i * share));
}
