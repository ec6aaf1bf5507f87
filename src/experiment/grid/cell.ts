/** One point of the grid: a setting that a server can run with. */

import { z } from 'zod';
import { TUNINGS } from '../../encoding/codec.ts';
import { defaultStreams, MAX_STREAMS } from '../../lanes/policy.ts';
import { DEFAULT_FRAME_SIZE } from '../../wire/frame.ts';

export const EXPERIMENT_POLICIES = ['shared', 'affinity', 'single', 'per-request'] as const;

/** Characters of a profile's name: a length on the wire is a byte (protocol A2). */
const MAX_PROFILE_LENGTH = 255;

export const CELL = z.strictObject({
  /** Profile of the response streams. */
  profile: z.string().min(1).max(MAX_PROFILE_LENGTH),
  /** Compression level in the profile's own scale; missing: the profile's default. */
  level: z.int().optional(),
  /** Base-2 logarithm of the window in bytes; missing: what the level implies. */
  windowLog: z.int().min(9).max(23).optional(),
  /** Parameters beyond the level; missing: none. */
  tuning: z.enum(TUNINGS).optional(),
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
export type Encoding = Pick<Cell, 'profile' | 'level' | 'windowLog' | 'tuning'>;

/** The same text for the same setting. */
export function cellKey(cell: Cell): string {
  const { streams, policy, frameSize, coalesceMs } = cell;
  return `${encodingKey(cell)} ${policy}×${streams} frame ${frameSize} wait ${coalesceMs}`;
}

export function encodingKey({ profile, level, windowLog, tuning }: Encoding): string {
  const tuned = tuning === undefined ? '' : ` tuning ${tuning}`;
  return `${profile} level ${level ?? '–'} window ${windowLog ?? '–'}${tuned}`;
}

/** A short name for people: what is not as by default. */
export function cellName(cell: Cell): string {
  const { profile, level, windowLog, tuning, streams, policy, frameSize, coalesceMs } = cell;
  const parts = [profile];
  if (level !== undefined) parts.push(`level ${level}`);
  if (windowLog !== undefined) parts.push(`window 2^${windowLog}`);
  if (tuning !== undefined) parts.push(`tuning ${tuning}`);
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

/** The flags of `millrace serve` for a setting. */
export function serverFlags(cell: Cell): string {
  const { profile, level, windowLog, tuning, streams, policy, frameSize, coalesceMs } = cell;
  const flags = [`--profile ${profile}`];
  if (level !== undefined) flags.push(`--level ${level}`);
  if (windowLog !== undefined) flags.push(`--window-log ${windowLog}`);
  if (tuning !== undefined) flags.push(`--tuning ${tuning}`);
  flags.push(`--policy ${policy}`);
  if (policy === 'shared' || policy === 'affinity') flags.push(`--streams ${streams}`);
  if (frameSize !== DEFAULT_FRAME_SIZE) flags.push(`--frame-size ${frameSize}`);
  if (coalesceMs > 0) flags.push(`--coalesce-ms ${coalesceMs}`);
  return flags.join(' ');
}
