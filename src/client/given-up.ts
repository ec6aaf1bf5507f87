/** The errors of calls that end on their caller's side. */

import { CommandError } from '../wire/errors.ts';
import { describe, isError } from '../wire/thrown.ts';

/** Why a call was cancelled, as an error: reasons may be anything. */
export function errorOfReason(reason: unknown, notStarted: boolean): Error {
  if (isError(reason)) return reason;
  const message = reason === undefined ? 'cancelled' : describe(reason);
  return new CommandError(message, { code: 'cancelled', notStarted, cause: reason });
}

/**
 * `reading`, whose reader gives up whenever it leaves: a generator that has not begun would hear nothing of that, and one that
 * waits would hear of it late.
 */
export function leftBy<T extends AsyncGenerator>(reading: T, giveUp: () => void): T {
  for (const way of ['return', 'throw'] as const) {
    const leave = reading[way];
    reading[way] = function (this: T, value: never) {
      giveUp();
      return leave.call(this, value);
    };
  }
  return reading;
}

/** Its reader has left early. */
export function notReadToItsEnd(): CommandError {
  return new CommandError('response not read to its end', { code: 'cancelled' });
}

export function deadlineExceeded(notStarted: boolean): CommandError {
  return new CommandError('deadline exceeded', { code: 'deadline-exceeded', notStarted });
}

/** A second reader would find nothing, or wait for what the first one gets. */
export function readAlready(what: string): Error {
  return new Error(`${what} has been read: it can be read once`);
}
