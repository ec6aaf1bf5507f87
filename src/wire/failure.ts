/** How a command's failure travels: the payload of an application error, by what its receiver has announced (protocol C11). */

import { joined } from './joined.ts';
import { cutUtf8, decodeUtf8, encodeUtf8 } from './utf8.ts';

/** A command's failure as it goes to the peer. */
export interface Failure {
  /** 1 to 64 characters of `a-z 0-9 -`. */
  readonly code: string;
  /** For people. */
  readonly message: string;
  /** JSON, for programs. */
  readonly data?: string;
}

/** What the payload of an application error holds; each has what the ones before it have. */
export const ErrorDetail = {
  message: 0,
  /** Code, NUL, message. */
  code: 1,
  /** Code, NUL, message, NUL, JSON or nothing. */
  data: 2,
} as const;

/** Codes that promise that nothing of the request has run. */
const NOT_STARTED: readonly string[] = ['shutting-down', 'overloaded'];

const CODE = /^[a-z0-9-]{1,64}$/;
const NUL = 0;

/** Whether `code` may stand in an error (protocol C11). */
export function isErrorCode(code: unknown): code is string {
  return typeof code === 'string' && CODE.test(code);
}

/** Whether a server's `code` says that nothing of the request has run. */
export function saysNotStarted(code: string): boolean {
  return NOT_STARTED.includes(code);
}

/** The {@link ErrorDetail} for a peer that has announced these extensions. */
export function errorDetailFor(extensions: readonly string[] | undefined): number {
  if (extensions?.includes('error-data')) return ErrorDetail.data;
  return extensions?.includes('error-codes') ? ErrorDetail.code : ErrorDetail.message;
}

/**
 * The payload in at most `most` bytes: the message is cut at a character, data that does not fit beside it is left out.
 * Where there is no room for a code, the message goes alone.
 */
export function encodeFailure(failure: Failure, detail: number, most: number): Uint8Array {
  const head = detail === ErrorDetail.message ? '' : `${failure.code}\0`;
  const tail = detail === ErrorDetail.data ? '\0' : '';
  const room = most - head.length - tail.length;
  if (head === '' || room < 0) return cutUtf8(failure.message, most);
  const message = cutUtf8(failure.message, room);
  const data = tail === '' || failure.data === undefined ? undefined : encodeUtf8(failure.data);
  const fits = data !== undefined && data.length <= room - message.length;
  return joined([encodeUtf8(head), message, encodeUtf8(tail), fits ? data : new Uint8Array(0)]);
}

/** How deep lists and objects may be in each other; what clones or prints deeper ones fails, and takes down what it is in. */
const MAX_DEPTH = 100;

/** A failure as it comes from the peer: nothing of it is more than the peer's word. */
export interface ReceivedFailure {
  /** `internal` where the peer gave none, or nothing that is one. */
  readonly code: string;
  readonly message: string;
  /** What its JSON says; undefined when there is none, or it goes too deep. */
  readonly data: unknown;
}

/** What the peer makes of it, for one that is told without a frame. */
export function asReceived({ code, message, data }: Failure): ReceivedFailure {
  return { code, message, data: data === undefined ? undefined : parsed(data) };
}

/** Never throws: what is no code and message is all message, and what is no JSON is no data. */
export function decodeFailure(payload: Uint8Array, detail: number): ReceivedFailure {
  const end = detail === ErrorDetail.message ? -1 : payload.indexOf(NUL);
  const code = end < 0 ? undefined : decodeUtf8(payload.subarray(0, end));
  if (!isErrorCode(code)) return { code: 'internal', message: decodeUtf8(payload), data: undefined };
  const rest = payload.subarray(end + 1);
  // A message may hold zero bytes; JSON never does.
  const cut = detail === ErrorDetail.data ? rest.lastIndexOf(NUL) : -1;
  if (cut < 0) return { code, message: decodeUtf8(rest), data: undefined };
  return {
    code,
    message: decodeUtf8(rest.subarray(0, cut)),
    data: parsed(decodeUtf8(rest.subarray(cut + 1))),
  };
}

function parsed(json: string): unknown {
  if (json === '' || isDeep(json)) return undefined;
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function isDeep(json: string): boolean {
  let depth = 0;
  // A text that does not end is one to the end: to look for it again from each quote would take quadratic time.
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.?)*"?|[[{]|[\]}]/gs)) {
    if (token === '[' || token === '{') depth++;
    else if (token === ']' || token === '}') depth--;
    if (depth > MAX_DEPTH) return true;
  }
  return false;
}
