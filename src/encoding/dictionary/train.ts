/**
 * Trains a dictionary (protocol C9) on samples of what will be sent. No library on npm does. Content comes from
 * {@link Cover} under several parameters; which of them are best is found out by compressing samples that were held back.
 * The entropy tables count what the blocks of samples are made of when they are compressed with that content.
 *
 * Bounded: {@link MAX_TRAINED_BYTES} of samples at most are looked at, and {@link MAX_SEARCH_BYTES} for the choice of
 * parameters. Deterministic: the same samples in the same order give the same dictionary on the same libzstd.
 */

import { createHash } from 'node:crypto';
import { MAX_DICTIONARY_BYTES } from '../../wire/extensions.ts';
import { Cover, type RunCount } from './cover.ts';
import { compressSamples, countBlocks, countBytes } from './samples.ts';
import { dictionaryHead, type EntropyCounts } from './write.ts';

export interface TrainingOptions {
  /** Bytes of the dictionary, at most; from 1 KiB to 1 MiB. Default 16 KiB. It is smaller when there is less to remember. */
  readonly size?: number;
  /** zstd level that the tables are made for; default 3. */
  readonly level?: number;
}

const DEFAULT_DICTIONARY_BYTES = 16 << 10;
export const MIN_DICTIONARY_BYTES = 1024;
export const DEFAULT_LEVEL = 3;
/** Fewer samples than this say nothing about what the next one will be like. */
const MIN_SAMPLES = 5;
/** Bytes of samples that are looked at. */
const MAX_TRAINED_BYTES = 8 << 20;
/** Bytes of those by which parameters are chosen and tables are made: so many for each byte of the dictionary, within bounds. */
const SEARCH_SHARE = 16;
const MIN_SEARCH_BYTES = 1 << 20;
const MAX_SEARCH_BYTES = 2 << 20;
/** A dictionary is for the beginning of a response: of longer samples this is looked at. */
const MAX_SAMPLE_BYTES = 128 << 10;
/** Shorter samples have no run that could be found again. */
const MIN_SAMPLE_BYTES = 8;
/** Of the samples by which parameters are chosen, two in four are for content, one for tables, and one for the choice. */
const TABLES_TURN = 1;
const CHOICE_TURN = 3;
/** A dictionary that saves no more than this is none. */
const WORTHWHILE = 0.98;
const SEGMENT_BYTES = [24, 48, 96, 192, 384, 768, 1536];
/** Slower levels find the same parameters. */
const MAX_SEARCH_LEVEL = 6;
/** zstd's numbers below are for a registry, and those from 2^31 on as well. */
const FIRST_FREE_ID = 32_768;
const MIN_CONTENT_BYTES = 64;
/** What zstd begins with where there is no dictionary. Where samples really begin was tried, and gained nothing. */
const REPEAT_OFFSETS = [1, 4, 8] as const;

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
  const all = thinned(heads, MAX_TRAINED_BYTES);
  const few = thinned(all, Math.min(MAX_SEARCH_BYTES, Math.max(MIN_SEARCH_BYTES, SEARCH_SHARE * size)));
  const found = search(few, size, level);
  const content = new Cover(all, found.runBytes, found.counted).choose(size, found.segmentBytes);
  return join(content, found.counts, size);
}

/** How content is chosen; `runBytes` and `segmentBytes` as {@link Cover} has them. */
interface Parameters {
  readonly runBytes: number;
  readonly counted: RunCount;
  readonly segmentBytes: number;
}

interface Found extends Parameters {
  /**
   * What the blocks of samples are made of which are not in the content: those that are in it have longer matches than
   * any that is to come.
   */
  readonly counts: EntropyCounts;
}

/** The parameters under which samples that were held back take the fewest bytes. */
function search(samples: readonly Uint8Array[], size: number, level: number): Found {
  const turn = (wanted: number) => samples.filter((_, i) => i % 4 === wanted);
  const [forTables, forChoice] = [turn(TABLES_TURN), turn(CHOICE_TURN)];
  const forContent = samples.filter((_, i) => i % 2 === 0);
  const searchLevel = Math.min(level, MAX_SEARCH_LEVEL);
  const draft = countBytes(samples);
  const bytesOf = (dictionary: Uint8Array | undefined) =>
    compressSamples(dictionary, forChoice, searchLevel, 'none');
  const count = (content: Uint8Array, counted: readonly Uint8Array[], atLevel: number) =>
    countBlocks(join(content, draft, size), counted, atLevel);
  let best: (Parameters & { content: Uint8Array }) | undefined;
  let least = WORTHWHILE * bytesOf(undefined);
  const tryAll = (runBytes: number, counted: RunCount, segments: readonly number[]) => {
    const cover = new Cover(forContent, runBytes, counted);
    for (const segmentBytes of segments) {
      const content = cover.choose(size, segmentBytes);
      if (content.length < MIN_CONTENT_BYTES) continue;
      const counts = count(content, forTables, searchLevel);
      const bytes = bytesOf(join(content, counts, size));
      if (bytes >= least) continue;
      least = bytes;
      best = { runBytes, counted, segmentBytes, content };
    }
  };
  tryAll(8, 'samples', SEGMENT_BYTES);
  // The rest only about the best so far.
  tryAll(6, 'samples', around(best?.segmentBytes));
  tryAll(best?.runBytes ?? 8, 'places', around(best?.segmentBytes));
  if (best === undefined)
    throw new Error('a dictionary would save nothing: the samples have too little in common');
  const counts = count(best.content, [...forTables, ...forChoice], level);
  return { ...best, counts };
}

function around(segmentBytes: number | undefined): readonly number[] {
  const index = segmentBytes === undefined ? 0 : SEGMENT_BYTES.indexOf(segmentBytes);
  return SEGMENT_BYTES.slice(Math.max(0, index - 1), index + 2);
}

/** Content with its tables, the two together of at most `size` bytes; what is too much of the content goes from its front. */
function join(content: Uint8Array, counts: EntropyCounts, size: number): Uint8Array {
  const hash = createHash('sha256').update(content).digest().readUInt32LE(0);
  const zstdId = (hash % (2 ** 31 - FIRST_FREE_ID)) + FIRST_FREE_ID;
  const head = dictionaryHead(zstdId, counts, REPEAT_OFFSETS, content.length);
  const kept = content.subarray(Math.max(0, content.length + head.length - size));
  const whole = new Uint8Array(head.length + kept.length);
  whole.set(head);
  whole.set(kept, head.length);
  return whole;
}

/** Samples from all over, of at most `maxBytes` together or about that. */
function thinned(samples: readonly Uint8Array[], maxBytes: number): readonly Uint8Array[] {
  const bytes = samples.reduce((sum, { length }) => sum + length, 0);
  if (bytes <= maxBytes) return samples;
  const share = maxBytes / bytes;
  return samples.filter((_, i) => Math.floor((i + 1) * share) > Math.floor(i * share));
}
