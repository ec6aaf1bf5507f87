/** Answers by HTTP that are not a response of a command. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { resetSocket } from '../transport/socket.ts';
import { ConnectionError } from '../wire/errors.ts';
import type { ReceivedFailure } from '../wire/failure.ts';
import { after, unref } from '../wire/timers.ts';
import { STATUS_CODES } from './node-http.ts';
import { retryOf, statusOf } from './status.ts';
import { isWhole } from './whole.ts';

/** How long what still comes of a refused request is read and dropped, so that its sender gets to read why. */
const LINGER_MS = 1000;

export interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

/** One of text. */
export interface Telling extends Reply {
  readonly body: string;
}

export function plain(status: number, message: string, headers?: Reply['headers']): Telling {
  return { status, type: 'text/plain; charset=utf-8', body: `${message}\n`, headers };
}

export function json(status: number, value: unknown, headers?: Reply['headers']): Reply {
  return { status, type: 'application/json', body: `${JSON.stringify(value)}\n`, headers };
}

/** What becomes of a request whose client has not waited for the whole answer. */
export function clientLeft(): ConnectionError {
  return new ConnectionError('the client has closed the connection', { code: 'lost' });
}

/** What a command that failed is answered with, where nothing of its response has been sent. */
export function failed(req: IncomingMessage, { code, message, data }: ReceivedFailure): Reply {
  const error = { code, message, ...(data !== undefined && { data }) };
  return json(statusOf(code, req), error, retryOf(code));
}

/** Answers a request; one whose body has not all come costs its connection. */
export function send(
  req: IncomingMessage,
  res: ServerResponse,
  { status, type, body, headers }: Reply,
): void {
  if (res.headersSent || res.destroyed) return;
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  const whole = isWhole(req);
  res.writeHead(status, {
    'Content-Type': type,
    'Content-Length': bytes.length,
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-store',
    ...(!whole && { Connection: 'close' }),
    ...headers,
  });
  if (whole) {
    res.end(bytes);
    return;
  }
  // The whole answer goes now; its end, and with it the socket's, when the request's has come.
  res.write(bytes);
  const end = () => {
    clearTimeout(timer);
    res.end();
  };
  const timer = unref(after(LINGER_MS, end));
  req.removeAllListeners('data').once('end', end).once('close', end).resume();
}

/**
 * Ends an answer that has begun without its end, so that it passes for whole with nobody. HTTP/1.0 knows no end but the
 * connection's, so that has to be a reset.
 */
export function breakOff(req: IncomingMessage, res: ServerResponse): void {
  if (req.httpVersion === '1.0') resetSocket(req.socket);
  res.destroy();
}

/** Calls `then` once, when `res` takes more, or is gone. */
export function whenDrained(res: ServerResponse, then: () => void): void {
  if (!res.writableNeedDrain || res.destroyed) return then();
  const go = () => {
    res.off('drain', go).off('close', go);
    then();
  };
  res.on('drain', go).on('close', go);
}

/** Ends a request that was answered before all of it had come, should the rest not come soon. */
export function endLate(req: IncomingMessage): void {
  if (req.complete) return;
  const timer = unref(after(LINGER_MS, () => req.destroy()));
  req.once('end', () => clearTimeout(timer)).resume();
}

/** Answers a request for an upgrade, and closes. */
export function refuseUpgrade(
  socket: Duplex,
  status: number,
  message: string,
  headers: Reply['headers'] = {},
): void {
  const lines = {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': String(Buffer.byteLength(message)),
    Connection: 'close',
    ...headers,
  };
  const head = Object.entries(lines).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.on('error', () => undefined);
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${head.join('')}\r\n${message}`);
}
