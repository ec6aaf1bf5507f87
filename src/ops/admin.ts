/** What operators ask a server by HTTP: /metrics, /healthz, /readyz. A handler, to be hung wherever there is HTTP. */

import { once } from 'node:events';
import type { Server as HttpServer, IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from '../doors/node-http.ts';

/** Who answers. None may take long. */
export interface AdminSource {
  metrics(): Promise<{ text: string; type: string }>;
  /** Why requests should go elsewhere; undefined: they should not. */
  notReady(): Promise<string | undefined>;
}

export type AdminHandler = (request: IncomingMessage, response: ServerResponse) => void;

type Answer = { status: number; text: string; type?: string };

const TEXT = 'text/plain; charset=utf-8';
const ALLOWED = 'GET, HEAD';

/** Bounds on who asks: nobody holds much, or for long. */
const LIMITS = { maxHeaderSize: 8192, headersTimeout: 5000, requestTimeout: 5000, keepAliveTimeout: 5000 };
const MAX_CONNECTIONS = 64;

export function adminHandler(source: AdminSource): AdminHandler {
  return (request, response) => {
    // A body is none of ours.
    request.resume();
    answerTo(request, source)
      .catch(
        (error): Answer => ({ status: 500, text: `${error instanceof Error ? error.message : error}\n` }),
      )
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

async function answerTo({ method, url = '' }: IncomingMessage, source: AdminSource): Promise<Answer> {
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
  const server = createServer(LIMITS, handler);
  server.maxConnections = MAX_CONNECTIONS;
  server.listen(place);
  await once(server, 'listening');
  return server;
}
