/** The errors of calls that end on their caller's side. */

import { CommandError } from '../wire/errors.ts';
import { describe, isError } from '../wire/thrown.ts';

/** Why a call was cancelled, as an error: reasons may be anything. */
export function errorOfReason(reason: unknown, notStarted: boolean): Error {
  if (isError(reason)) return reason;
  const message = reason === undefined ? 'cancelled' : describe(reason);
  return new CommandError(message, { code: 'cancelled', notStarted, cause: reason });
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
