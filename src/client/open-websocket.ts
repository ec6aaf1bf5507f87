/** Connections over WebSockets (protocol C7), from Node.js. */

import type { ConnectionOptions as TlsConnectOptions } from 'node:tls';
import type { ClientOptions as WebSocketOptions } from 'ws';
import type { Transport } from '../connection/transport.ts';
import { WebSocketTransport } from '../transport/websocket.ts';
import { ConnectionError } from '../wire/errors.ts';
import { DEFAULT_LIMITS, type Limits } from '../wire/limits.ts';
import { SUBPROTOCOL } from '../wire/messages.ts';
import { cannotConnect, connectCode, nameOfUrl, type Opening, reasonOf, reworded } from './opening.ts';

export interface WebSocketOpening {
  readonly tls: TlsConnectOptions | undefined;
  readonly headers: Readonly<Record<string, string>> | undefined;
  readonly limits: Partial<Limits> | undefined;
}

/** Whether `url` can be connected to. */
export function isWebSocketUrl(url: string): boolean {
  return URL.canParse(url) && /^wss?:$/.test(new URL(url).protocol);
}

export async function openWebSocket(
  url: string,
  { tls, headers, limits }: WebSocketOpening,
): Promise<Opening> {
  const { WebSocket } = await import('ws');
  const bounds = { ...DEFAULT_LIMITS, ...limits };
  const options: WebSocketOptions = {
    ...(tls as WebSocketOptions),
    headers,
    perMessageDeflate: false,
    followRedirects: false,
    maxPayload: bounds.maxMessage,
  };
  const socket = new WebSocket(url, SUBPROTOCOL, options);
  const name = nameOfUrl(url);
  const transport = new Promise<Transport>((resolve, reject) => {
    socket.once('open', () => {
      socket.off('error', fail);
      resolve(new WebSocketTransport(socket, name, bounds));
    });
    const fail = (error: Error) => reject(notConnected(name, error));
    socket.on('error', fail);
    socket.once('unexpected-response', (request, response) => {
      reject(refused(name, response.statusCode ?? 0));
      request.destroy();
    });
  });
  return {
    name,
    transport,
    destroy: () => socket.terminate(),
    tooLate: (timeoutMs) =>
      new ConnectionError(`no WebSocket within ${timeoutMs} ms`, {
        code: 'connect-timeout',
        notStarted: true,
      }),
    whyNot: (error) => (error instanceof ConnectionError ? reworded(error, error.message) : error),
  };
}

function refused(name: string, status: number): ConnectionError {
  const code = status === 401 || status === 403 ? 'not-authorized' : 'connect-failed';
  const message = `cannot connect to ${name}: it answered with HTTP status ${status}`;
  return new ConnectionError(message, { code, notStarted: true });
}

function notConnected(name: string, error: Error): ConnectionError {
  const isHandshake = /subprotocol|Sec-WebSocket|Upgrade|Parse Error/.test(error.message);
  const code = isHandshake ? 'protocol-error' : connectCode(error);
  const reason = isHandshake ? `it does not speak ${SUBPROTOCOL} (${error.message})` : reasonOf(error);
  return cannotConnect(name, reason, error, code);
}
