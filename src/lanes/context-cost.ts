/** What one context takes, by its shape: accounted by what contexts were measured to take. */

import type { EncoderOptions } from '../encoding/codec.ts';
import { IDENTITY, ZLIB, ZSTD, ZSTD_DICT } from '../encoding/profiles.ts';
import { ZLIB_DEFAULT_LEVEL } from '../encoding/zlib-codec.ts';
import { ZSTD_DEFAULT_LEVEL } from '../encoding/zstd-profile.ts';

const KIB = 1024;

/**
 * Tables of one zstd encoder in KiB, by level from 1 on: resident memory beside window and buffers, measured with
 * libzstd 1.5.7 at a window of 1 KiB and rounded up. They do not shrink with the window.
 */
const ZSTD_TABLES = [
  150, 320, 850, 1950, 2750, 2750, 6400, 6400, 12_600, 24_900, 24_900, 49_500, 33_100, 49_500, 65_900, 33_200,
  49_600, 49_600, 82_300, 164_300, 328_100, 655_800,
];
/** Window logs that libzstd 1.5.7 takes by level when it is told none, by level from 1 on; ours end at 23. */
const ZSTD_WINDOW_LOGS = [
  19, 20, 21, 21, 21, 21, 21, 21, 22, 22, 22, 22, 22, 22, 22, 22, 23, 23, 23, 23, 23, 23,
];
const DEFAULT_LEVELS: Readonly<Record<string, number>> = {
  [ZLIB]: ZLIB_DEFAULT_LEVEL,
  [ZSTD]: ZSTD_DEFAULT_LEVEL,
  [ZSTD_DICT]: ZSTD_DEFAULT_LEVEL,
};
/** Tables and window of tuning `records`, whatever the level. */
const TUNING_RECORDS_TABLES = 1280 * KIB;
const TUNING_RECORDS_WINDOW_LOG = 22;
/** Tables of a dictionary of up to 128 KiB, and the dictionary itself, beside those of the context. */
const DICTIONARY = 400 * KIB;
const USUAL_DICTIONARY = 128 * KIB;
/** Above it so much more for each byte of the power of two past its size, by levels up to the one that is named. */
const LARGE_DICTIONARY = [
  { upTo: 3, factor: 1 },
  { upTo: 9, factor: 6 },
  { upTo: 12, factor: 12 },
  { upTo: 22, factor: 18 },
];
/**
 * Without a context tables are sized by what a frame and a dictionary hold: so much at most with a usual one, by levels up to 12
 * and beyond, where those of a large one are there twice.
 */
const CONTEXT_FREE_MOST = 3 << 20;
const CONTEXT_FREE_HIGH_LEVEL = 12;
const CONTEXT_FREE_HIGH_MOST = 9 << 20;
/** Without a context a window need not hold more than a frame. */
export const FRAME_WINDOW_LOG = 15;
/** A decoder and the buffer of its output, beside window and blocks. */
const DECODER = 160 * KIB;
const MAX_BLOCK = 128 * KIB;
const ZLIB_MAX_WINDOW_LOG = 15;

/** What makes one encoder's context large or small; see {@link EncoderOptions}. */
export type ContextShape = Pick<
  EncoderOptions,
  'level' | 'windowLog' | 'tuning' | 'dictionary' | 'contextFree'
>;

/**
 * The same context with a window of at most 2^`maxWindowLog` bytes; undefined: of any size. With a dictionary libzstd takes
 * another than the level's, so it is told one. Without a context that is no more than a frame needs: who takes larger ones has
 * no encoder of its own for that.
 */
export function withinWindow(
  profile: string,
  shape: ContextShape,
  maxWindowLog: number | undefined,
): ContextShape {
  const own = windowLogOf(profile, shape);
  const most = maxWindowLog ?? own;
  if (own <= most && shape.dictionary === undefined) return shape;
  const needed = shape.contextFree ? FRAME_WINDOW_LOG : own;
  return { ...shape, windowLog: Math.min(own, most, needed) };
}

/** The same without a context, for such a peer. */
export function contextFreeShape(
  profile: string,
  wanted: ContextShape,
  maxWindowLog: number | undefined,
): ContextShape {
  return withinWindow(profile, { ...wanted, contextFree: true }, maxWindowLog);
}

/** Base-2 logarithm of the window that an encoder takes by itself where it is told none; 0: it has none. */
export function windowLogOf(profile: string, { level, windowLog, tuning }: ContextShape): number {
  if (windowLog !== undefined || profile === IDENTITY) return windowLog ?? 0;
  if (profile === ZLIB) return ZLIB_MAX_WINDOW_LOG;
  if (tuning === 'records') return TUNING_RECORDS_WINDOW_LOG;
  return ZSTD_WINDOW_LOGS[levelIndex(level)];
}

/** The level of an encoder, its profile's own where it is told none; undefined: profiles that we know nothing of, or without one. */
export function levelOf(profile: string, { level }: ContextShape): number | undefined {
  return level ?? DEFAULT_LEVELS[profile];
}

/** Where the figures of a level are; those below 1 have that of 1. */
function levelIndex(level = ZSTD_DEFAULT_LEVEL): number {
  return Math.min(ZSTD_TABLES.length, Math.max(1, level)) - 1;
}

/**
 * Bytes that an encoder of `profile` takes at most: window, blocks and tables; its dictionary has `dictionaryBytes`. 0 for
 * `identity`.
 */
export function encoderCost(profile: string, shape: ContextShape, dictionaryBytes = 0): number {
  return usualCost(profile, shape) + largeDictionaryCost(shape, dictionaryBytes);
}

function usualCost(profile: string, shape: ContextShape): number {
  return contextCost(profile, shape) + (shape.dictionary === undefined ? 0 : DICTIONARY);
}

/** What a dictionary takes beyond a usual one. A frame's room is part of what its tables are sized by. */
function largeDictionaryCost({ level = ZSTD_DEFAULT_LEVEL }: ContextShape, bytes: number): number {
  const size = 2 ** Math.ceil(Math.log2(bytes + KIB / 2));
  const factor = LARGE_DICTIONARY.find(({ upTo }) => level <= upTo)?.factor ?? 0;
  return factor * Math.max(0, size - USUAL_DICTIONARY);
}

function contextCost(profile: string, { level, windowLog, tuning }: ContextShape): number {
  if (profile === IDENTITY) return 0;
  // Profiles that we do not know are accounted like zstd, whose contexts are the largest.
  const size = 2 ** windowLogOf(profile, { level, windowLog, tuning });
  if (profile === ZLIB) return 160 * KIB + 4 * size;
  const tables = tuning === 'records' ? TUNING_RECORDS_TABLES : ZSTD_TABLES[levelIndex(level)] * KIB;
  return tables + windowCost(size);
}

/** Bytes that an encoder without a context takes at most. */
export function contextFreeCost(profile: string, shape: ContextShape, dictionaryBytes: number): number {
  const high = (shape.level ?? ZSTD_DEFAULT_LEVEL) > CONTEXT_FREE_HIGH_LEVEL;
  const [most, tables] = high ? [CONTEXT_FREE_HIGH_MOST, 2] : [CONTEXT_FREE_MOST, 1];
  const usual = Math.min(most, usualCost(profile, { ...shape, windowLog: FRAME_WINDOW_LOG }));
  return usual + tables * largeDictionaryCost(shape, dictionaryBytes);
}

/** Bytes that a decoder of `profile` takes at most with a window of `windowSize` bytes. */
export function decoderCost(profile: string, windowSize: number): number {
  if (profile === IDENTITY) return 0;
  return DECODER + (profile === ZLIB ? 2 ** ZLIB_MAX_WINDOW_LOG : windowCost(windowSize));
}

/** The window, and a block or less on either side of it. */
function windowCost(windowSize: number): number {
  return windowSize + 2 * Math.min(windowSize, MAX_BLOCK);
}
