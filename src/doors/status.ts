/** Errors of commands as statuses of HTTP. */

import type { IncomingMessage } from 'node:http';

/** By the server's own codes (protocol C11). */
const STATUSES: Readonly<Record<string, number>> = {
  cancelled: 503,
  'deadline-exceeded': 504,
  'unknown-command': 404,
  'invalid-argument': 400,
  'not-found': 404,
  'shutting-down': 503,
  'worker-died': 500,
  overloaded: 503,
  internal: 500,
  // Of protocol errors that a request by HTTP can bring about.
  limit: 413,
  timeout: 408,
};

/** What a handler's own code stands for: the request was understood, and cannot be done. */
const OWN = 422;

/** The status of an error with `code`; who has said nothing of themselves is asked to. */
export function statusOf(code: string, { headers }: IncomingMessage): number {
  if (code === 'not-authorized') return headers.authorization === undefined ? 401 : 403;
  return Object.hasOwn(STATUSES, code) ? STATUSES[code] : OWN;
}

/** Headers of an error that passes. */
export function retryOf(code: string): Record<string, string> | undefined {
  return code === 'overloaded' || code === 'shutting-down' ? { 'Retry-After': '1' } : undefined;
}
