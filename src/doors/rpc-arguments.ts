/** The arguments of a command by HTTP: from the query, and from a body in JSON or of a form. */

import { MAX_ARGUMENT_FIELD } from '../wire/payloads.ts';
import { encodeUtf8, isAscii } from '../wire/utf8.ts';

/** What is wrong with the arguments, for the person who asked. */
export class ArgumentsError extends Error {}

export const JSON_TYPE = 'application/json';
export const FORM_TYPE = 'application/x-www-form-urlencoded';
export const DATA_TYPE = 'application/octet-stream';

/** `body`: the text of a body of `type`. @throws ArgumentsError */
export function argumentsOf(query: URLSearchParams, body = '', type?: string): Map<string, Uint8Array> {
  const args = new Map<string, Uint8Array>();
  const add = (value: string, name: string) => {
    if (args.has(name)) throw new ArgumentsError(`argument ${name} is given twice`);
    if (name.startsWith(':')) throw new ArgumentsError(`argument ${name}: such names are reserved`);
    if (!isAscii(name) || name.length > MAX_ARGUMENT_FIELD)
      throw new ArgumentsError(`names of arguments are ASCII, of at most ${MAX_ARGUMENT_FIELD} bytes`);
    const bytes = encodeUtf8(value);
    if (bytes.length > MAX_ARGUMENT_FIELD)
      throw new ArgumentsError(`argument ${name} has more than ${MAX_ARGUMENT_FIELD} bytes`);
    args.set(name, bytes);
  };
  query.forEach(add);
  if (type === FORM_TYPE) new URLSearchParams(body).forEach(add);
  else if (type === JSON_TYPE && body.trim() !== '')
    for (const [name, value] of pairsOf(body)) add(value, name);
  return args;
}

/** An object's members as text: numbers and switches as they are written, what has parts as JSON; null: not given. */
function pairsOf(text: string): [string, string][] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ArgumentsError('the body is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new ArgumentsError('the body is not a JSON object');
  return Object.entries(value)
    .filter(([, each]) => each !== null)
    .map(([name, each]) => [name, typeof each === 'string' ? each : JSON.stringify(each)]);
}
