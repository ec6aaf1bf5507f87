/** Connections over TCP, TLS or a Unix socket. */

import { createConnection, type Socket } from 'node:net';
import type { ConnectionOptions as TlsConnectOptions } from 'node:tls';
import type { Transport } from '../connection/transport.ts';
import type { Place } from '../options/place.ts';
import { SocketTransport } from '../transport/socket.ts';
import { ConnectionError } from '../wire/errors.ts';
import type { Client } from './client.ts';
import { cannotConnect, connectCode, type Opening, reasonOf, reworded } from './opening.ts';

/** What we speak, as servers with several doors are told by it (protocol C8). */
const ALPN = ['millrace/1'];
/** Milliseconds of silence after which the system asks whether the other end is still there, unless told otherwise. */
const KEEP_ALIVE_MS = 30_000;
/**
 * How long one of several addresses of a host may take before the next one is tried, in milliseconds. Node's own 250 to 500 ms, after
 * which it gives an address up for good, is less than a busy machine may need to notice that it is connected.
 */
const ADDRESS_MS = 2000;

export async function openSocket(
  { path, host = '127.0.0.1', port = 0 }: Place,
  tls: TlsConnectOptions | undefined,
  keepAliveMs: number = KEEP_ALIVE_MS,
): Promise<Opening> {
  const target = path === undefined ? { host, port, autoSelectFamilyAttemptTimeout: ADDRESS_MS } : { path };
  const name = path ?? nameOf({ host, port });
  const isTls = tls !== undefined;
  const socket: Socket = isTls
    ? (await import('node:tls')).connect({ ...alpnOf(tls), ...tls, ...target, ...{ allowHalfOpen: true } })
    : createConnection({ ...target, allowHalfOpen: true });
  const transport = new Promise<Transport>((resolve, reject) => {
    const open = () => {
      // Finds out when the other machine is gone without a word.
      socket.setKeepAlive(keepAliveMs > 0, keepAliveMs);
      resolve(new SocketTransport(socket, name));
    };
    socket.once(isTls ? 'secureConnect' : 'connect', open);
    socket.once('error', (error) => reject(notConnected(name, error, isTls)));
  });
  return {
    name,
    transport,
    destroy: () => socket.destroy(new Error('given up')),
    tooLate: (timeoutMs) => notConnected(name, notOpenWithin(timeoutMs, socket), isTls),
    whyNot: (error, client) => whyNot(error, client, isTls),
  };
}

/** A server that knows nothing of ALPN passes over it. */
function alpnOf({ ALPNProtocols }: TlsConnectOptions): TlsConnectOptions {
  return ALPNProtocols === undefined ? { ALPNProtocols: ALPN } : {};
}

function whyNot(error: ConnectionError, client: Client, isTls: boolean): Error {
  const { bytesRead } = client.stats();
  if (isTls && bytesRead === 0) return orNoCertificate(error);
  if (!isTls && endsAsTls(error, bytesRead)) return orWantsTls(error);
  return error instanceof ConnectionError ? reworded(error, error.message) : error;
}

/** What the time limit ended: reaching the other end, or the TLS handshake with it. */
function notOpenWithin(timeoutMs: number, socket: Socket): ConnectionError {
  const step = socket.connecting ? 'no connection' : 'its TLS handshake was not over';
  return new ConnectionError(`${step} within ${timeoutMs} ms`, { code: 'connect-timeout' });
}

/** With TLS 1.3 a client's handshake is over before the server has looked at its certificate. */
function orNoCertificate(error: Error): ConnectionError {
  return reworded(error, `${error.message}, or wants a certificate that it knows`);
}

/** Bytes of a TLS alert: a record's header, level and description. */
const TLS_ALERT = 7;

/** Whether a server that speaks TLS may be what has ended so: it closes at once, or says why in an alert. */
function endsAsTls({ cause }: Error, bytesRead: number): boolean {
  const isPlainEnd = !(cause instanceof ConnectionError);
  return isPlainEnd && (bytesRead === 0 || bytesRead === TLS_ALERT);
}

function orWantsTls(error: Error): ConnectionError {
  return reworded(error, `${error.message}, or wants TLS`);
}

function nameOf({ host, port }: { host: string; port: number }): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function notConnected(name: string, error: NodeJS.ErrnoException, isTls: boolean): ConnectionError {
  const during = isTls && error.code === 'ECONNRESET' ? ' during the TLS handshake' : '';
  return cannotConnect(name, `${reasonOf(error)}${during}`, error, connectCode(error));
}
