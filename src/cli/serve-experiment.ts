/** What `millrace serve` has to do with experiments: a recommended setting to start with, and a capture to make one. */

import { type Command, Option } from 'commander';
import { problemOf } from '../files/paths.ts';
import type { Server, ServerOptions } from '../index.ts';
import { parseBytes, wholeNumber } from './arguments.ts';
import type { Io } from './io.ts';
import { messageOf, UsageError } from './outcome.ts';
import { bytes, oneLine, plural } from './show.ts';

export interface ServeExperimentOptions {
  frameSize?: number;
  coalesceMs?: number;
  profileFrom?: string;
  aim: 'balanced' | 'bytes' | 'cpu' | 'memory' | 'connections' | 'cost';
  record?: string;
  recordBytes?: number;
}

/** Flags that `--profile-from` decides about. */
const SETTINGS = ['profile', 'level', 'windowLog', 'tuning', 'policy', 'streams', 'frameSize', 'coalesceMs'];

export function addExperimentOptions(serve: Command): Command {
  return serve
    .option('--frame-size <bytes>', 'most bytes of a frame before encoding', wholeNumber(1, 32_768))
    .option('--coalesce-ms <n>', 'how long a piece of a response waits for more of it', wholeNumber(0, 1000))
    .addOption(
      new Option(
        '--profile-from <results.json>',
        'start as an experiment recommends, instead of flags',
      ).conflicts(SETTINGS),
    )
    .addOption(
      new Option('--aim <aim>', 'which of its recommendations')
        .choices(['balanced', 'bytes', 'cpu', 'memory', 'connections', 'cost'])
        .default('balanced'),
    )
    .option('--record <file>', 'write all responses, in clear, to a new file for experiments')
    .option('--record-bytes <bytes>', 'size at which recording stops (default: 256M)', parseBytes);
}

/** The server's options that these flags ask for. */
export async function experimentOptions(options: ServeExperimentOptions): Promise<ServerOptions> {
  const { frameSize, coalesceMs, profileFrom, aim, record, recordBytes } = options;
  const recording = record === undefined ? {} : { record: { path: record, maxBytes: recordBytes } };
  if (profileFrom === undefined) return { frameSize, coalesceMs, ...recording };
  const { recommendedOptions } = await import('../experiment/results/recommended.ts');
  try {
    return { ...recommendedOptions(profileFrom, aim), ...recording };
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}

/** Says what was recorded, at the end. */
export function tellRecorded({ recorded }: Server, { record }: ServeExperimentOptions, io: Io): void {
  if (recorded === undefined || record === undefined) return;
  const { responses, bytes: size, leftOut, full, failure } = recorded;
  const notes = [
    leftOut > 0 ? `${leftOut} left out` : '',
    full ? 'full' : '',
    failure === undefined ? '' : `incomplete: ${problemOf(failure)}`,
  ];
  const more = notes.filter(Boolean).join(', ');
  io.print(
    `recorded ${plural(responses, 'response')}, ${bytes(size)}, in ${oneLine(record)}${more === '' ? '' : ` (${more})`}`,
  );
}
