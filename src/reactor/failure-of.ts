/** What a peer is told of what a handler has thrown (protocol C11): of a CommandError all, of anything else nothing. */

import { CommandError } from '../wire/errors.ts';
import { type Failure, isErrorCode } from '../wire/failure.ts';
import { asError } from '../wire/thrown.ts';

type Report = (error: unknown) => void;

/**
 * The failure that `thrown` stands for; `message` is that of an error which is not meant for the peer. That goes to
 * `report`, as does what is wrong with a CommandError. Never throws.
 */
export function failureOf(thrown: unknown, message: string, report: Report): Failure {
  const error = asError(thrown);
  try {
    if (error instanceof CommandError) return { ...codeAndMessage(error), data: dataOf(error, report) };
    report(error);
  } catch (broken) {
    report(broken);
  }
  return { code: 'internal', message };
}

/** Undefined for what JSON has no word for, such as a function or a circle. */
function dataOf({ data }: CommandError, report: Report): string | undefined {
  try {
    return data === undefined ? undefined : JSON.stringify(data);
  } catch (error) {
    report(error);
    return undefined;
  }
}

/** @throws TypeError when its code was changed to what is none. */
function codeAndMessage({ code, message }: CommandError): Failure {
  if (!isErrorCode(code)) throw new TypeError('the code of a CommandError is none');
  return { code, message: String(message) };
}
