/** One point of the grid: a setting that a server can run with. */

import { z } from 'zod';
import { TUNINGS } from '../../encoding/codec.ts';
import { MIN_DICTIONARY_BYTES } from '../../encoding/dictionary/train.ts';
import { IDENTITY, ZSTD } from '../../encoding/profiles.ts';
import { defaultStreams, MAX_STREAMS } from '../../lanes/policy.ts';
import { MAX_DICTIONARY_BYTES } from '../../wire/extensions.ts';
import { DEFAULT_FRAME_SIZE } from '../../wire/frame.ts';

export const EXPERIMENT_POLICIES = ['shared', 'affinity', 'single', 'per-request'] as const;

/** Characters of a profile's name: a length on the wire is a byte (protocol A2). */
const MAX_PROFILE_LENGTH = 255;

const SIZES = 'must be from 1K to 1M, or none';
/** Bytes that a dictionary is trained to have, at most. */
export const DICTIONARY_SIZE = z.int(SIZES).min(MIN_DICTIONARY_BYTES, SIZES).max(MAX_DICTIONARY_BYTES, SIZES);

export const CELL = z.strictObject({
  /** Profile of the response streams. */
  profile: z.string().min(1).max(MAX_PROFILE_LENGTH),
  /** Compression level in the profile's own scale; missing: the profile's default. */
  level: z.int().optional(),
  /** Base-2 logarithm of the window in bytes; missing: what the level implies. */
  windowLog: z.int().min(9).max(23).optional(),
  /** Parameters beyond the level; missing: none. */
  tuning: z.enum(TUNINGS).optional(),
  /** Responses are encoded each by itself; missing: contexts are kept. */
  contexts: z.literal('none').optional(),
  /** Which of the dictionaries that were trained on the traffic contexts begin with, by its size; missing: none. */
  dictionary: DICTIONARY_SIZE.optional(),
  /** Response streams of one connection. */
  streams: z.int().min(1).max(MAX_STREAMS),
  policy: z.enum(EXPERIMENT_POLICIES),
  /** Most payload bytes of a frame before encoding. */
  frameSize: z.int().min(1).max(DEFAULT_FRAME_SIZE),
  /** Milliseconds for which pieces of one response wait for more of it. */
  coalesceMs: z.number().min(0).max(1000),
});

export type Cell = z.infer<typeof CELL>;

/** What decides about a context; cells that share it share what is measured of contexts alone. */
export type Encoding = Pick<Cell, 'profile' | 'level' | 'windowLog' | 'tuning' | 'contexts' | 'dictionary'>;

/** The same text for the same setting. */
export function cellKey(cell: Cell): string {
  const { streams, policy, frameSize, coalesceMs } = cell;
  return `${encodingKey(cell)} ${policy}×${streams} frame ${frameSize} wait ${coalesceMs}`;
}

export function encodingKey({ profile, level, windowLog, tuning, contexts, dictionary }: Encoding): string {
  const parts = [`${profile} level ${level ?? '–'} window ${windowLog ?? '–'}`];
  if (tuning !== undefined) parts.push(`tuning ${tuning}`);
  if (contexts !== undefined) parts.push(`contexts ${contexts}`);
  if (dictionary !== undefined) parts.push(`dictionary ${dictionary}`);
  return parts.join(' ');
}

/** The same encoding as HTTP has it: a context for each response, and nothing known before. */
export function withoutMemory({ profile, level, windowLog, tuning }: Encoding): Encoding {
  return { profile, level, windowLog, tuning };
}

/** Those of the dictionaries that settings want, smallest first. */
export function dictionarySizes(cells: readonly Cell[]): number[] {
  return [...new Set(cells.flatMap(({ dictionary }) => dictionary ?? []))].sort((a, b) => a - b);
}

/** A size as its dictionary is called: `16K`, or `5000`. */
export function dictionaryName(size: number): string {
  return size % 1024 === 0 ? `${size / 1024}K` : `${size}`;
}

/** A short name for people: what is not as by default. */
export function cellName(cell: Cell): string {
  const { profile, level, windowLog, tuning, contexts, dictionary } = cell;
  const { streams, policy, frameSize, coalesceMs } = cell;
  const parts = [profile];
  if (level !== undefined) parts.push(`level ${level}`);
  if (windowLog !== undefined) parts.push(`window 2^${windowLog}`);
  if (tuning !== undefined) parts.push(`tuning ${tuning}`);
  if (dictionary !== undefined) parts.push(`dictionary ${dictionaryName(dictionary)}`);
  if (contexts !== undefined) parts.push('no contexts');
  parts.push(policy === 'single' || policy === 'per-request' ? policy : `${policy} ${streams}`);
  if (frameSize !== DEFAULT_FRAME_SIZE) parts.push(`frames ${frameSize}`);
  if (coalesceMs > 0) parts.push(`wait ${coalesceMs} ms`);
  return parts.join(', ');
}

/** Settings under which a server does the same are made equal: each is run once, and has one set of figures. */
export function normalise(cell: Cell): Cell {
  if (cell.policy === 'per-request') return { ...cell, streams: defaultStreams('per-request', 1) };
  if (cell.policy === 'single' || cell.streams === 1) return { ...cell, policy: 'single', streams: 1 };
  return cell;
}

/** The file of a dictionary, in the folder of the results. */
export function dictionaryFile(size: number): string {
  return `${dictionaryName(size)}.dict`;
}

/**
 * What is wrong with a setting that no server can have; undefined: nothing. Level, window and tuning are for the profile's
 * codec to say.
 */
export function cellProblem({ profile, contexts, dictionary }: Cell): string | undefined {
  if (profile === ZSTD || profile === IDENTITY) return undefined;
  if (dictionary !== undefined) return `${profile} has no dictionaries`;
  return contexts === undefined ? undefined : `${profile} cannot do without contexts`;
}

/** The flags of `millrace serve` for a setting; `fileOf`: where the dictionary of a size is. */
export function serverFlags(cell: Cell, fileOf: (size: number) => string = dictionaryFile): string {
  const { profile, level, windowLog, tuning, contexts, dictionary } = cell;
  const { streams, policy, frameSize, coalesceMs } = cell;
  const flags = [`--profile ${profile}`];
  if (level !== undefined) flags.push(`--level ${level}`);
  if (windowLog !== undefined) flags.push(`--window-log ${windowLog}`);
  if (tuning !== undefined) flags.push(`--tuning ${tuning}`);
  if (dictionary !== undefined) flags.push(`--dictionary ${shellWord(fileOf(dictionary))}`);
  // With a dictionary a server goes from the one to the other by itself.
  if (contexts !== undefined || dictionary !== undefined) flags.push(`--contexts ${contexts ?? 'kept'}`);
  flags.push(`--policy ${policy}`);
  if (policy === 'shared' || policy === 'affinity') flags.push(`--streams ${streams}`);
  if (frameSize !== DEFAULT_FRAME_SIZE) flags.push(`--frame-size ${frameSize}`);
  if (coalesceMs > 0) flags.push(`--coalesce-ms ${coalesceMs}`);
  return flags.join(' ');
}

/** A word that a shell takes as it is. */
export function shellWord(text: string): string {
  return /^[\w./:@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
