/** Where a server listens: the sockets that it accepts over TCP, TLS or a Unix socket, and the door that each comes to. */

import { once } from 'node:events';
import {
  createServer as createNetServer,
  type DropArgument,
  type Server as NetServer,
  type Socket,
} from 'node:net';
import { createServer as createTlsServer, TLSSocket, type TlsOptions, Server as TlsServer } from 'node:tls';
import type { Transport } from '../connection/connection.ts';
import type { CrowdTurns } from '../connection/crowd-turns.ts';
import { type Slice, Work } from '../connection/turns.ts';
import { type Speech, sniff } from '../doors/sniff.ts';
import type { ListenPlace } from '../options/place.ts';
import { boolean, type Rules } from '../options/rules.ts';
import { readProxyHeader } from '../transport/proxied-socket.ts';
import type { ProxyFacts } from '../transport/proxy-header.ts';
import { SocketTransport } from '../transport/socket.ts';
import { withoutSources } from '../transport/tls-error.ts';
import { ConnectionError } from '../wire/errors.ts';
import { MAX_TIMER_MS } from '../wire/timers.ts';
import type { ConnectionInfo } from './authorize.ts';
import { Bag, type Bagged } from './bag.ts';
import { infoOf, remoteOf, UNKNOWN } from './connection-info.ts';
import { contextOf } from './tls-context.ts';

/** Where a server listens. */
export type Address = { host: string; port: number } | { path: string };

/**
 * Where a server is asked to listen, and for what; `port` 0: on a free one; `fd`: a socket that was bound and handed down, as
 * by systemd.
 */
export type ListenAddress = ({ host?: string; port?: number } | { path: string } | { fd: number }) &
  Partial<Doors>;

/** What is let in at a port (protocol C8): told apart by the first 3 bytes, or by ALPN. All that is not said to be false. */
export interface Doors {
  /** Frames on the socket itself; ALPN `millrace/1`. */
  raw: boolean;
  /** Requests by HTTP/1.1 (protocol A7, and `/rpc`); ALPN `http/1.1`. */
  http: boolean;
  /** WebSockets (protocol C7); ALPN `http/1.1`. */
  webSocket: boolean;
}

export const DOOR_RULES: Rules<Doors> = { raw: boolean, http: boolean, webSocket: boolean };

/** What TLS is asked for, by ALPN; what we like best comes first. */
const ALPN: Readonly<Record<string, Speech>> = { 'millrace/1': 'frames', 'http/1.1': 'http' };

export interface ListenerOptions {
  readonly tls: TlsOptions | undefined;
  /** Connections begin with a PROXY header, before TLS. */
  readonly proxyProtocol: boolean;
  /** Connections at a time; further ones are dropped at once. */
  readonly maxConnections: number;
  /** How long a TLS handshake may take, and a PROXY header. */
  readonly handshakeMs: number;
  /** How long the first bytes may take once they have begun. */
  readonly openingMs: number;
  /** Silence after which the system asks whether the other end is still there; 0: never. */
  readonly keepAliveMs: number;
  /** When connections that have come are accepted. */
  readonly turns: CrowdTurns;
  /** A connection has come; nothing is read from it before it is resumed. */
  readonly accept: (transport: Transport, info: ConnectionInfo) => void;
  /** One that was too many. */
  readonly dropped: (remote: string | undefined) => void;
  /** One that speaks HTTP has come; it is paused. */
  readonly acceptHttp: (socket: Socket, info: ConnectionInfo, doors: Doors) => void;
  /** One that did not come about. */
  readonly report: (error: Error, about: { remote?: string }) => void;
}

/**
 * Connections that the system keeps for us until we accept them, as far as it is willing to (`net.core.somaxconn`). Who finds no
 * place there tries again after a second; who has one waits for some 0.1 ms for each before it.
 */
const BACKLOG = 4096;
/** Nothing is read, and no end is answered, but by us. */
const SOCKET_OPTIONS = { allowHalfOpen: true, pauseOnConnect: true };
/** But for a client that ends in the middle of a TLS handshake: that cannot come to its end any more. */
const TLS_SOCKET_OPTIONS = { ...SOCKET_OPTIONS, allowHalfOpen: false };

interface OpenSocket extends Bagged {
  readonly socket: Socket;
}

export class Listener {
  readonly #options: ListenerOptions;
  readonly #net: NetServer;
  /** Where connections that begin with a PROXY header go on; undefined without those. */
  readonly #inner: NetServer | undefined;
  /** What their proxies have said of sockets. */
  readonly #proxies = new WeakMap<Socket, ProxyFacts>();
  /** All sockets, those whose handshake is not over yet among them. */
  readonly #sockets = new Bag<OpenSocket>();
  #doors: Doors = { raw: true, http: true, webSocket: true };
  /** Those that have come and are not accepted yet, oldest first. */
  readonly #arrived: Socket[] = [];
  readonly #accepting = new Work((slice) => this.#acceptSome(slice), true);
  #address: Address | undefined;
  /** Settles when it listens, or cannot. */
  #starting: Promise<unknown> | undefined;
  #stopped = false;
  /** Resolves when no socket is left. */
  #closed: Promise<unknown> | undefined;

  /** @throws Error when the TLS options are none. */
  constructor(options: ListenerOptions) {
    this.#options = options;
    const server = this.#makeServer();
    server.on('tlsClientError', (error, socket: Socket) => this.#failHandshake(error, socket));
    this.#inner = options.proxyProtocol ? server : undefined;
    this.#net = options.proxyProtocol ? this.#makeOuter() : server;
    this.#net.maxConnections = options.maxConnections;
    this.#net.on('connection', (socket: Socket) => {
      // Others may have come with it.
      options.turns.hurry();
      const open = { socket, place: -1 };
      this.#sockets.add(open);
      socket.once('close', () => this.#sockets.delete(open));
    });
    this.#net.on('drop', (about?: DropArgument) => {
      const { remoteAddress, remotePort } = about ?? {};
      options.dropped(remoteAddress === undefined ? undefined : `${remoteAddress}:${remotePort}`);
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
  async listen(place: ListenPlace, doors: Doors): Promise<Address> {
    this.#doors = doors;
    if (this.#stopped) throw new Error('the server is closed');
    this.#net.listen({ ...targetOf(place), backlog: BACKLOG });
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

  /** What holds for connections that come from now on. @throws Error when the TLS options are none. */
  update({ tls, maxConnections }: { tls?: TlsOptions; maxConnections: number }): void {
    const server = this.#inner ?? this.#net;
    if (tls !== undefined && server instanceof TlsServer) server.setSecureContext(contextOf(tls));
    this.#net.maxConnections = maxConnections;
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
    for (const { socket } of this.#sockets) socket.destroy();
    await this.#closed;
  }

  #makeServer(): NetServer {
    const { tls, handshakeMs } = this.#options;
    const accept = (socket: Socket) => {
      socket.allowHalfOpen = true;
      this.#arrive(socket);
    };
    if (tls === undefined) return createNetServer(SOCKET_OPTIONS, accept);
    const isTheirs = tls.ALPNCallback !== undefined || tls.ALPNProtocols !== undefined;
    const alpn = !isTheirs && { ALPNCallback: this.#agreeTo };
    const handshakeTimeout = Math.min(handshakeMs, MAX_TIMER_MS);
    return createTlsServer({ handshakeTimeout, ...alpn, ...TLS_SOCKET_OPTIONS, ...contextOf(tls) }, accept);
  }

  #makeOuter(): NetServer {
    return createNetServer(SOCKET_OPTIONS, (socket) => this.#readHeader(socket));
  }

  async #readHeader(socket: Socket): Promise<void> {
    // What else goes wrong with it shows where it is used.
    socket.on('error', () => undefined);
    const proxy = remoteOf(socket, this.#net);
    if (proxy === undefined) return this.#dropGone(socket);
    try {
      const header = await readProxyHeader(socket, this.#options.handshakeMs);
      this.#proxies.set(socket, { proxy, ...header });
      socket.allowHalfOpen = this.#options.tls === undefined;
      this.#inner?.emit('connection', socket);
    } catch (error) {
      this.#options.report(error as Error, { remote: proxy });
    }
  }

  /** A crowd that comes at once is not accepted in one turn. */
  #arrive(socket: Socket): void {
    // Until it is accepted, what goes wrong with it shows by its being closed.
    socket.on('error', () => undefined);
    this.#arrived.push(socket);
    this.#options.turns.ready(this.#accepting);
  }

  #acceptSome(slice: Slice): boolean {
    for (;;) {
      const socket = this.#arrived.shift();
      if (socket === undefined) return false;
      this.#accept(socket);
      if (slice.countLong(0)) return this.#arrived.length > 0;
    }
  }

  #accept(socket: Socket): void {
    if (this.#stopped || socket.destroyed) {
      socket.destroy();
      return;
    }
    const { keepAliveMs, proxyProtocol, report } = this.#options;
    const proxies = this.#proxiesOf(socket);
    if (proxyProtocol && proxies.length === 0) {
      // Never served under the proxy's own address, which the hook may trust.
      socket.destroy();
      report(new Error('the PROXY header of a connection is lost'), {});
      return;
    }
    const info = infoOf(socket, proxies, this.#net);
    if (info === undefined) return this.#dropGone(socket);
    // Finds out when the other machine is gone without a word.
    socket.setKeepAlive(keepAliveMs > 0, keepAliveMs);
    const known = this.#knownSpeech(socket);
    if (known !== undefined) this.#enter(socket, info, known);
    else this.#sniff(socket, info);
  }

  /** What it has sent is not read: whose it is cannot be asked any more. */
  #dropGone(socket: Socket): void {
    socket.destroy();
    const why = new ConnectionError('the connection was reset before it was accepted', { code: 'lost' });
    this.#options.report(why, { remote: UNKNOWN });
  }

  /** The first of `protocols` that a door is open for; undefined ends the handshake. */
  readonly #agreeTo = ({ protocols }: { protocols: string[] }): string | undefined => {
    const { raw, http, webSocket } = this.#doors;
    const isOpen: Readonly<Record<Speech, boolean>> = { frames: raw, http: http || webSocket };
    return Object.keys(ALPN).find((name) => isOpen[ALPN[name]] && protocols.includes(name));
  };

  /** What it speaks, where there is one door only, or the client has said by ALPN which it wants. */
  #knownSpeech(socket: Socket): Speech | undefined {
    const { raw, http, webSocket } = this.#doors;
    if (!http && !webSocket) return 'frames';
    if (!raw) return 'http';
    return socket instanceof TLSSocket ? ALPN[socket.alpnProtocol || ''] : undefined;
  }

  #sniff(socket: Socket, info: ConnectionInfo): void {
    const { openingMs, report } = this.#options;
    // What else goes wrong with it shows where it is used.
    socket.on('error', () => undefined);
    const then = (speech: Speech) => this.#enter(socket, info, speech);
    sniff(socket, openingMs, then, (error) => {
      if (error !== undefined) report(error, { remote: info.remote });
    });
  }

  #enter(socket: Socket, info: ConnectionInfo, speech: Speech): void {
    const { turns, accept, acceptHttp } = this.#options;
    // What it has said is about to be read.
    turns.hurry();
    if (this.#stopped) socket.destroy();
    else if (speech === 'http') acceptHttp(socket, info, this.#doors);
    else accept(new SocketTransport(socket, info.remote), info);
  }

  /** Of a TLS socket, what came before TLS. */
  #proxiesOf(socket: Socket): ProxyFacts[] {
    const beneath = (socket as { _parent?: Socket | null })._parent ?? socket;
    const facts = this.#proxies.get(beneath);
    return facts === undefined ? [] : [facts];
  }

  #failHandshake(error: Error, socket: Socket): void {
    const [facts] = this.#proxiesOf(socket);
    error.message = withoutSources(error.message);
    this.#options.report(error, { remote: facts?.source ?? remoteOf(socket, this.#net) ?? UNKNOWN });
    // Node leaves a handshake that has timed out, or was broken off, as it is.
    socket.destroy();
  }
}

function targetOf(place: ListenPlace) {
  if ('fd' in place) return { fd: place.fd };
  const { path, host = '127.0.0.1', port } = place;
  return path === undefined ? { host, port } : { path };
}
