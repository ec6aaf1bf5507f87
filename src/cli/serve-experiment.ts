/** What `millrace serve` has to do with experiments: a recommended setting to start with, and a capture to make one. */

import { problemOf } from '../files/paths.ts';
import type { Server, ServerOptions } from '../index.ts';
import type { Settings } from '../ops/settings.ts';
import { EXIT_FAILED, type Io } from './io.ts';
import { messageOf, UsageError } from './outcome.ts';
import { bytes, oneLine, plural } from './show.ts';

/** The server's options that these settings ask for. */
export async function experimentOptions(options: Settings): Promise<ServerOptions> {
  const { frameSize, coalesceMs, profileFrom, aim = 'balanced', record, recordBytes } = options;
  const recording = record === undefined ? {} : { record: { path: record, maxBytes: recordBytes } };
  if (profileFrom === undefined) return { frameSize, coalesceMs, ...recording };
  const { recommendedOptions } = await import('../experiment/results/recommended.ts');
  try {
    return { ...recommendedOptions(profileFrom, aim), ...recording };
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}

/** Says what was recorded, at the end; what could not be is a failure. */
export function tellRecorded({ recorded }: Server, { record }: Settings, io: Io): void {
  if (recorded === undefined || record === undefined) return;
  const { responses, bytes: size, leftOut, full, failure } = recorded;
  const notes = [
    leftOut > 0 ? `${leftOut} left out` : '',
    full ? 'full' : '',
    failure === undefined ? '' : `incomplete: ${problemOf(failure)}`,
  ];
  if (failure !== undefined) io.exitCode = EXIT_FAILED;
  const more = notes.filter(Boolean).join(', ');
  io.print(
    `recorded ${plural(responses, 'response')}, ${bytes(size)}, in ${oneLine(record)}${more === '' ? '' : ` (${more})`}`,
  );
}
