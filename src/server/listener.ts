/** Where a server listens: the sockets that it accepts over TCP, TLS or a Unix socket, as transports. */

import { once } from 'node:events';
import { createServer as createNetServer, type Server as NetServer, type Socket } from 'node:net';
import { createServer as createTlsServer, TLSSocket, type TlsOptions } from 'node:tls';
import type { Transport } from '../connection/connection.ts';
import type { Place } from '../options/place.ts';
import { SocketTransport } from '../transport/socket.ts';
import type { ConnectionInfo } from './authorize.ts';

/** Where a server listens. */
export type Address = { host: string; port: number } | { path: string };

/** Where a server is asked to listen; `port` 0: on a free one. */
export type ListenAddress = { host?: string; port?: number } | { path: string };

export interface ListenerOptions {
  readonly tls: TlsOptions | undefined;
  /** Connections at a time; further ones are dropped at once. */
  readonly maxConnections: number;
  /** How long a TLS handshake may take. */
  readonly handshakeMs: number;
  /** Silence after which the system asks whether the other end is still there; 0: never. */
  readonly keepAliveMs: number;
  /** A connection has come; nothing is read from it before it is resumed. */
  readonly accept: (transport: Transport, info: ConnectionInfo) => void;
  /** One that did not come about. */
  readonly report: (error: Error, about: { remote?: string }) => void;
}

export class Listener {
  readonly #options: ListenerOptions;
  readonly #net: NetServer;
  /** All sockets, those whose handshake is not over yet among them. */
  readonly #sockets = new Set<Socket>();
  #address: Address | undefined;
  /** Settles when it listens, or cannot. */
  #starting: Promise<unknown> | undefined;
  #stopped = false;
  /** Resolves when no socket is left. */
  #closed: Promise<unknown> | undefined;

  /** @throws Error when the TLS options are none. */
  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#net = this.#makeServer();
    this.#net.maxConnections = options.maxConnections;
    this.#net.on('tlsClientError', (error, socket: Socket) => this.#failHandshake(error, socket));
    this.#net.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    // Such as EMFILE at accept: this connection fails, the next may not.
    this.#net.on('error', (error) => {
      if (this.#net.listening) options.report(error, {});
    });
  }

  /** Undefined until it listens. */
  get address(): Address | undefined {
    return this.#address;
  }

  /** @throws Error of the system, such as EADDRINUSE, or when it was stopped. */
  async listen({ path, host = '127.0.0.1', port }: Place): Promise<Address> {
    if (this.#stopped) throw new Error('the server is closed');
    const target = path === undefined ? { host, port } : { path };
    this.#net.listen(target);
    this.#starting = once(this.#net, 'listening');
    await this.#starting;
    if (this.#stopped) throw new Error('the server was closed before it listened');
    const bound = this.#net.address();
    this.#address =
      typeof bound === 'object' && bound !== null
        ? { host: bound.address, port: bound.port }
        : { path: bound as string };
    return this.#address;
  }

  /** Accepts nothing new; resolves when the address is free. */
  async stop(): Promise<void> {
    this.#stopped = true;
    // What has begun to listen does so, and only then can be closed.
    if (!this.#net.listening) await this.#starting?.catch(() => undefined);
    if (!this.#net.listening) return;
    this.#closed = once(this.#net, 'close');
    this.#net.close();
  }

  /** Drops the sockets that are still open; resolves when they are gone. */
  async drop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await this.#closed;
  }

  #makeServer(): NetServer {
    const { tls, handshakeMs } = this.#options;
    const options = { allowHalfOpen: true, pauseOnConnect: true };
    const accept = (socket: Socket) => this.#accept(socket);
    if (tls === undefined) return createNetServer(options, accept);
    return createTlsServer({ handshakeTimeout: handshakeMs, ...options, ...tls }, accept);
  }

  #accept(socket: Socket): void {
    if (this.#stopped) {
      socket.destroy();
      return;
    }
    const { keepAliveMs, accept } = this.#options;
    const info = infoOf(socket);
    accept(new SocketTransport(socket, info.remote, keepAliveMs), info);
  }

  #failHandshake(error: Error, socket: Socket): void {
    // One that has gone no longer says where it was.
    this.#options.report(error, socket.remoteAddress === undefined ? {} : { remote: remoteOf(socket) });
    // Node leaves a handshake that has timed out, or was broken off, as it is.
    socket.destroy();
  }
}

function remoteOf(socket: Socket): string {
  return socket.remoteAddress === undefined ? 'unix' : `${socket.remoteAddress}:${socket.remotePort}`;
}

function infoOf(socket: Socket): ConnectionInfo {
  const remote = remoteOf(socket);
  if (!(socket instanceof TLSSocket)) return { remote, certificateVerified: false };
  const peerCertificate = socket.getPeerCertificate();
  // Without a certificate it is an empty object.
  const has = peerCertificate !== null && Object.keys(peerCertificate).length > 0;
  return { remote, certificateVerified: socket.authorized, ...(has && { peerCertificate }) };
}
