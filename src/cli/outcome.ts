/** How a command may end other than well; program.ts turns these into exit codes. */

import { constants } from 'node:os';
import { problemOf } from '../files/paths.ts';
import type { Signals } from './io.ts';

/** The user asked for something that cannot be: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Stopped by a signal before the end: the exit code that shells expect. */
export class Stopped extends Error {
  override readonly name = 'Stopped';
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals, message = 'stopped') {
    super(message);
    this.exitCode = 128 + constants.signals[signal];
  }
}

/** What an error means, for people; files are named. */
export function messageOf(error: unknown): string {
  const { path } = error as NodeJS.ErrnoException;
  return typeof path === 'string' ? `${path}: ${problemOf(error)}` : problemOf(error);
}

/** Ctrl-C, a service's end, and the end of the terminal. */
const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Calls `stop` at the first signal to stop, which are `names`; the second ends the process at once.
 * @returns how to stop listening.
 */
export function onStop(
  stop: (stopped: Stopped) => void,
  message?: string,
  signals: Signals = process,
  names: readonly NodeJS.Signals[] = STOP_SIGNALS,
): () => void {
  let isStopping = false;
  const onSignal = (name: NodeJS.Signals) => {
    const stopped = new Stopped(name, message);
    if (isStopping) process.exit(stopped.exitCode);
    isStopping = true;
    stop(stopped);
  };
  for (const name of names) signals.on(name, onSignal);
  return () => {
    for (const name of names) signals.off(name, onSignal);
  };
}

/**
 * A signal that fires with {@link Stopped}, and its message, at the first signal to stop, as {@link onStop}.
 * @returns how to stop listening, besides.
 */
export function stopSignal(message?: string, signals?: Signals): { signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const release = onStop((stopped) => controller.abort(stopped), message, signals);
  return { signal: controller.signal, release };
}
