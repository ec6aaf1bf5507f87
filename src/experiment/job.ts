/**
 * What goes through the queue, and what may. Whoever can write to its Redis can put anything there, for workers to take and
 * for whoever waits for results: nothing of it is believed, and nothing of it names code to be loaded.
 */

import { availableParallelism } from 'node:os';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { z } from 'zod';
import { MAX_DICTIONARIES } from '../wire/extensions.ts';
import { CELL, type Cell, cellKey, DICTIONARY_SIZE } from './grid/cell.ts';
import { firstIssue } from './grid/issue.ts';
import { DICTIONARY_ID } from './results/dictionaries.ts';
import { CELL_RESULT, type CellResult } from './results/results.ts';
import { packWorkload, unpackWorkload, type Workload } from './traffic/workload.ts';

/** Most bytes of an experiment's traffic, packed for the way and unpacked. */
export const MAX_PACKED_BYTES = 64 << 20;
export const MAX_TRAFFIC_BYTES = 256 << 20;

/** Lanes for each core that a worker opens at most. */
const LANES_PER_CORE = 4;
const LEAST_LANES = 8;

/** A job's data. The ranges are those of the command line's options. */
const JOB = z.strictObject({
  cell: CELL,
  /** Digest of the traffic. */
  traffic: z.string().regex(/^[0-9a-f]{16}$/),
  options: z.strictObject({
    rounds: z.int().min(1).max(1000),
    inFlight: z.int().min(1).max(128),
    workers: z.int().min(1).max(256),
    links: z.array(z.number().positive().max(1e15)).max(100),
    /** Those that lie beside the traffic; missing: none. */
    dictionaries: z
      .array(z.strictObject({ size: DICTIONARY_SIZE, id: DICTIONARY_ID }))
      .max(MAX_DICTIONARIES)
      .optional(),
  }),
});

export type CellJob = z.infer<typeof JOB>;

/** What a worker is told of a setting. @throws Error that says what is wrong with it, for people. */
export function parseJob(data: unknown): CellJob {
  const { success, data: job, error } = JOB.safeParse(data);
  if (!success) throw new Error(`not a job of an experiment: ${firstIssue(error)}`);
  const most = Math.max(LEAST_LANES, LANES_PER_CORE * availableParallelism());
  const { workers } = job.options;
  if (workers > most)
    throw new Error(`the job wants ${workers} workers, and this machine has no more than ${most}`);
  return job;
}

/** What came back for a setting: of that setting, and no more than it can have. @throws Error as {@link parseJob}. */
export function parseResult(value: unknown, { cell, options }: CellJob): CellResult {
  const { success, data: result, error } = CELL_RESULT.safeParse(value);
  if (!success) throw new Error(`not the result of a setting: ${firstIssue(error)}`);
  if (result.key !== cellKey(cell)) throw new Error('the result is of another setting');
  const { measures } = result;
  if (measures !== undefined && !isOf(measures, options))
    throw new Error('the result is of another experiment');
  return { ...result, cell };
}

function isOf(
  { links, compress }: NonNullable<CellResult['measures']>,
  options: CellJob['options'],
): boolean {
  return (
    compress.rounds.length <= options.rounds &&
    links.length === options.links.length &&
    links.every(({ bitsPerSecond }, i) => bitsPerSecond === options.links[i])
  );
}

/** Longest error that is kept, in characters. */
const MAX_ERROR_LENGTH = 1000;

/** A setting that could not be measured, and why. */
export function failedResult(cell: Cell, error: unknown): CellResult {
  const message = String((error as Error | undefined)?.message ?? error).slice(0, MAX_ERROR_LENGTH);
  return { key: cellKey(cell), cell, error: message.toWellFormed(), seconds: 0 };
}

/** The traffic as it goes through the queue. @throws Error when it is more than workers take. */
export function packTraffic(workload: Workload): Buffer {
  const unpacked = packWorkload(workload);
  if (unpacked.length <= MAX_TRAFFIC_BYTES) {
    const packed = zstdCompressSync(unpacked);
    if (packed.length <= MAX_PACKED_BYTES) return packed;
  }
  throw new Error('the traffic is more than a queue takes: a smaller --sample-bytes makes it less');
}

/**
 * `most`: bytes that it may have unpacked.
 * @throws Error when it is not what a packed traffic of that digest can be; before its memory is taken.
 */
export function unpackTraffic(packed: Buffer, sha256: string, most = MAX_TRAFFIC_BYTES): Workload {
  if (packed.length > MAX_PACKED_BYTES) throw new Error('the traffic in Redis is more than a worker takes');
  let unpacked: Buffer;
  try {
    unpacked = zstdDecompressSync(packed, { maxOutputLength: most });
  } catch (error) {
    throw new Error(`the traffic in Redis cannot be unpacked: ${(error as Error).message}`);
  }
  const workload = unpackWorkload(unpacked);
  if (workload.sha256 !== sha256) throw new Error('the traffic in Redis is not what it says');
  return workload;
}
