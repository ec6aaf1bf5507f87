/** Whether a request has a body, and whether all of it has come. */

import type { IncomingMessage } from 'node:http';

/** Whether nothing more of the request comes; where it has no body the parser says so only after its head was dealt with. */
export function isWhole(req: IncomingMessage): boolean {
  return req.complete || !hasBody(req);
}

export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
