/** What operators ask a server by HTTP: /metrics, /healthz, /readyz. A handler, to be hung wherever there is HTTP. */

import { once } from 'node:events';
import type { Server as HttpServer, IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { Turns } from '../connection/turns.ts';
import { createServer } from '../doors/node-http.ts';
import { Pipeline } from '../doors/pipeline.ts';
import { afterLines, PacedSocket } from '../transport/paced-socket.ts';
import { asError } from '../wire/thrown.ts';

/** Who answers. None may take long. */
export interface AdminSource {
  metrics(): Promise<{ text: string; type: string }>;
  /** Why requests should go elsewhere; undefined: they should not. */
  notReady(): Promise<string | undefined>;
  /** Told what either fails with: whoever asks is not. */
  onError?(error: Error): void;
}

export type AdminHandler = (request: IncomingMessage, response: ServerResponse) => void;

type Answer = { status: number; text: string; type?: string };

const TEXT = 'text/plain; charset=utf-8';
const ALLOWED = 'GET, HEAD';

/** Bounds on who asks: nobody holds much, or for long. */
const LIMITS = {
  maxHeaderSize: 8192,
  headersTimeout: 5000,
  requestTimeout: 5000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
};
const MAX_CONNECTIONS = 64;
/** Requests of a connection that are not answered; one with more is dropped. */
const MAX_UNANSWERED = 8;
/** Milliseconds in which a connection neither says nor takes anything, after which it is dropped. */
const SILENCE_MS = 10_000;

/** Whoever asks meanwhile gets the same: however many there are, there is one page in a turn of the event loop. */
export function adminHandler(source: AdminSource): AdminHandler {
  const shared = {
    metrics: sharing(() => source.metrics()),
    notReady: sharing(() => source.notReady()),
  };
  return (request, response) => {
    // A body is none of ours.
    request.resume();
    answerTo(request, shared)
      .catch((error): Answer => {
        source.onError?.(asError(error));
        return { status: 500, text: 'internal error\n' };
      })
      .then(({ status, text, type = TEXT }) => {
        const headers = {
          'content-type': type,
          'content-length': Buffer.byteLength(text),
          'cache-control': 'no-store',
        };
        response.writeHead(status, status === 405 ? { ...headers, allow: ALLOWED } : headers);
        response.end(request.method === 'HEAD' ? undefined : text);
      });
  };
}

/** `make`, for all who have asked before it begins, one after the other. */
function sharing<T>(make: () => Promise<T>): () => Promise<T> {
  let next: Promise<T> | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const begin = () => {
    next = undefined;
    return make();
  };
  return () => {
    if (next !== undefined) return next;
    const made = last.then(() => turn()).then(begin);
    next = made;
    last = made.catch(() => undefined);
    return made;
  };
}

async function answerTo(
  { method, url = '' }: IncomingMessage,
  source: Pick<AdminSource, 'metrics' | 'notReady'>,
): Promise<Answer> {
  const [path] = url.split('?');
  if (!['/metrics', '/healthz', '/readyz'].includes(path)) return { status: 404, text: 'not found\n' };
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, text: `only ${ALLOWED}\n` };
  if (path === '/healthz') return { status: 200, text: 'ok\n' };
  if (path === '/metrics') return { status: 200, ...(await source.metrics()) };
  const reason = await source.notReady();
  return reason === undefined
    ? { status: 200, text: 'ok\n' }
    : { status: 503, text: `not ready: ${reason}\n` };
}

/** A server of its own for them. @throws Error of the system, such as EADDRINUSE. */
export async function listenAdmin(
  handler: AdminHandler,
  place: { host: string; port: number } | { fd: number },
): Promise<HttpServer> {
  const turns = new Turns(setImmediate);
  const server = createServer(LIMITS, orderly(handler, turns));
  server.maxConnections = MAX_CONNECTIONS;
  server.timeout = SILENCE_MS;
  server.on('connection', (socket: Socket) => {
    // node:http's parser does not read past us where somebody else listens, too.
    socket.on('data', () => undefined);
    new PacedSocket(socket, turns, afterLines);
  });
  server.listen(place);
  await once(server, 'listening');
  return server;
}

/** The handler, for who waits for answers. */
function orderly(handler: AdminHandler, turns: Turns): AdminHandler {
  const pipelines = new WeakMap<Socket, Pipeline>();
  return (request, response) => {
    const { socket } = request;
    const pipeline = pipelines.get(socket) ?? new Pipeline(turns);
    pipelines.set(socket, pipeline);
    void pipeline.add(response);
    if (pipeline.length > MAX_UNANSWERED) socket.destroy();
    if (!socket.destroyed) handler(request, response);
  };
}
