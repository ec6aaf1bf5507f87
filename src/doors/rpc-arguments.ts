/** The arguments of a command by HTTP: from the query, and from a body in JSON or of a form. */

import { MAX_ARGUMENT_FIELD } from '../wire/payloads.ts';
import { decodeUtf8, encodeUtf8, isAscii } from '../wire/utf8.ts';
import { membersOf } from './json-members.ts';

/** What is wrong with the arguments, for the person who asked. */
export class ArgumentsError extends Error {}

export const JSON_TYPE = 'application/json';
export const FORM_TYPE = 'application/x-www-form-urlencoded';
export const DATA_TYPE = 'application/octet-stream';

const PERCENT = 0x25;
/** Characters of one that is escaped, such as `\u0001`. */
const MAX_ESCAPED = 6;
const strictUtf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * `body`: a body of `type`; `most`: how many arguments there may be. Of more, one too many are returned: what
 * they cost is then bounded.
 * @throws ArgumentsError
 */
export function argumentsOf(
  query: string,
  most: number,
  body?: Uint8Array,
  type?: string,
): Map<string, Uint8Array> {
  const args = new Map<string, Uint8Array>();
  const add = (name: string, bytes: Uint8Array) => {
    if (args.has(name)) throw new ArgumentsError(`argument ${name} is given twice`);
    if (name.startsWith(':')) throw new ArgumentsError(`argument ${name}: such names are reserved`);
    if (!isAscii(name) || name.length > MAX_ARGUMENT_FIELD)
      throw new ArgumentsError(`names of arguments are ASCII, of at most ${MAX_ARGUMENT_FIELD} bytes`);
    if (bytes.length > MAX_ARGUMENT_FIELD) throw tooLong(name);
    args.set(name, bytes);
  };
  for (const [name, value] of fieldsOf(query, most)) add(name, value);
  const text = body === undefined ? '' : textOf(body);
  if (type === FORM_TYPE) for (const [name, value] of fieldsOf(text, most)) add(name, value);
  else if (type === JSON_TYPE && text.trim() !== '')
    for (const [name, value] of jsonPairs(text, most)) add(name, encodeUtf8(value));
  return args;
}

/** Of what is no text no argument could be told to the handler as it was meant. */
function textOf(body: Uint8Array): string {
  try {
    return strictUtf8.decode(body);
  } catch {
    throw new ArgumentsError('the body is not UTF-8');
  }
}

function tooLong(name: string): ArgumentsError {
  return new ArgumentsError(`argument ${name} has more than ${MAX_ARGUMENT_FIELD} bytes`);
}

/** The fields of a query or a form, one too many at most; what is escaped may be any bytes (URL Standard, section 5.1). */
function* fieldsOf(text: string, most: number): Generator<[string, Uint8Array], void, undefined> {
  for (const field of text.split('&', most + 1)) {
    if (field === '') continue;
    const at = field.indexOf('=');
    const end = at < 0 ? field.length : at;
    yield [decodeUtf8(unescaped(field.slice(0, end))), unescaped(field.slice(end + 1))];
  }
}

/** What escapes nothing stands for itself. */
function unescaped(text: string): Uint8Array {
  const bytes = encodeUtf8(text.replaceAll('+', ' '));
  if (!text.includes('%')) return bytes;
  let length = 0;
  for (let at = 0; at < bytes.length; at++) {
    const escaped =
      bytes[at] === PERCENT ? 16 * hexDigit(bytes[at + 1]) + hexDigit(bytes[at + 2]) : Number.NaN;
    const isEscaped = !Number.isNaN(escaped);
    bytes[length++] = isEscaped ? escaped : bytes[at];
    if (isEscaped) at += 2;
  }
  return bytes.subarray(0, length);
}

/** NaN: it is none, or there is nothing. */
function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : Number.NaN;
}

/**
 * An object's members as text, one too many at most: numbers, switches and what has parts as they are written; null: not
 * given.
 */
function* jsonPairs(text: string, most: number): Generator<[string, string], void, undefined> {
  let count = 0;
  if (!text.trimStart().startsWith('{')) throw new ArgumentsError('the body is not a JSON object');
  try {
    for (const [name, value] of membersOf(text)) {
      if (value === 'null') continue;
      yield [name, argumentIn(name, value)];
      if (++count > most) return;
    }
  } catch (error) {
    if (error instanceof SyntaxError) throw new ArgumentsError('the body is not JSON');
    throw error;
  }
}

/** @throws SyntaxError */
function argumentIn(name: string, json: string): string {
  const isText = json.startsWith('"');
  if (json.length > (isText ? 2 + MAX_ESCAPED * MAX_ARGUMENT_FIELD : MAX_ARGUMENT_FIELD)) throw tooLong(name);
  const value: unknown = JSON.parse(json);
  return isText ? (value as string) : json;
}
