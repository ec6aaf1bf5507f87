/** The doors for HTTP and for WebSockets, on ports of ours and in servers of others. */

import type { IncomingMessage, Server, ServerOptions, ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import type { WebSocketServer } from 'ws';
import type { ConnectionInfo } from '../server/authorize.ts';
import { infoOf } from '../server/connection-info.ts';
import type { Doors } from '../server/listener.ts';
import { afterBytes, afterLines, PacedSocket } from '../transport/paced-socket.ts';
import { WebSocketTransport } from '../transport/websocket.ts';
import { SUBPROTOCOL } from '../wire/messages.ts';
import { asksForWebSocket, attach, isBelow, readWithoutUpgrade, targetOf, type WebServer } from './attach.ts';
import { Bodies } from './bodies.ts';
import { framesRoute } from './frames-route.ts';
import type { DoorHost } from './host.ts';
import { createServer } from './node-http.ts';
import { openApiRoute } from './openapi.ts';
import { shareWithPage, visitorOf } from './origin.ts';
import { PAGE_PATHS, pageRoute } from './page-route.ts';
import { Pipeline } from './pipeline.ts';
import { repeatedHeader } from './repeated.ts';
import { endLate, plain, refuseUpgrade, send, type Telling } from './reply.ts';
import { type Exchange, type Route, Routes } from './routes.ts';
import { rpcRoute } from './rpc-route.ts';
import { statusOf } from './status.ts';
import { hasBody } from './whole.ts';

/** Milliseconds for which a connection is kept open for a next request. */
const KEEP_ALIVE_MS = 5000;
/** Milliseconds that the other end of a WebSocket may take to answer its end. */
const CLOSE_MS = 5000;
/** What the reference implementation's own client asks (protocol A7). */
const DEFAULT_PREFIX = 'api/exp-http-v2-0001';
const CLOSING = 'the server is shutting down, or has too many connections';

/** Where doors are, and which. */
interface Site {
  readonly base: string;
  readonly doors: Pick<Doors, 'http' | 'webSocket'>;
}

/** A socket of ours that speaks HTTP. */
interface Caller {
  readonly info: ConnectionInfo;
  readonly doors: Doors;
}

export class WebDoors {
  readonly #host: DoorHost;
  readonly #bodies: Bodies;
  readonly routes = new Routes();
  readonly #callers = new WeakMap<object, Caller>();
  /** By the sockets that speak HTTP with a server of ours. */
  readonly #paced = new WeakMap<Socket, PacedSocket>();
  /** By the socket that requests have come on. */
  readonly #pipelines = new WeakMap<object, Pipeline>();
  readonly #detach: (() => void)[] = [];
  /** Made, and ws loaded, with the first of them. */
  #webSockets: WebSocketServer | undefined;
  /** Made when it is needed; it listens nowhere. */
  #server: Server | undefined;

  constructor(host: DoorHost) {
    this.#host = host;
    this.#bodies = new Bodies(host.compress);
    this.routes
      .add('/rpc', openApiRoute(host))
      .add('/rpc/', rpcRoute(host, this.#bodies))
      .add(`/${host.http.prefix ?? DEFAULT_PREFIX}/`, framesRoute(host));
    if (host.http.page !== false) for (const path of PAGE_PATHS) this.routes.add(path, pageRoute(host, path));
  }

  get #upgrader(): WebSocketServer {
    this.#webSockets ??= this.#makeUpgrader();
    return this.#webSockets;
  }

  #makeUpgrader(): WebSocketServer {
    const ws: typeof import('ws') = createRequire(import.meta.url)('ws');
    return new ws.WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: this.#host.limits.maxMessage,
      handleProtocols: () => SUBPROTOCOL,
      ...{ closeTimeout: CLOSE_MS },
    });
  }

  /** A connection to a port of ours that speaks HTTP, paused. */
  accept(socket: Socket, info: ConnectionInfo, doors: Doors): void {
    this.#server ??= this.#makeServer();
    this.#callers.set(socket, { info, doors });
    this.#speakHttp(socket);
    socket.resume();
  }

  /** To the server, which gets what comes on `socket` in pieces. */
  #speakHttp(socket: Socket): void {
    this.#server?.emit('connection', socket);
    // Its parser does not read past us where somebody else listens, too.
    socket.on('data', ignore);
    this.#paced.set(socket, new PacedSocket(socket, this.#host.turns, afterLines));
  }

  /** What the server has not seen of an upgraded socket, in which `head` is the first. */
  #restOf(socket: Socket, head: Buffer): Buffer {
    const rest = this.#paced.get(socket)?.end();
    socket.off('data', ignore);
    return rest === undefined || rest.length === 0 ? head : Buffer.concat([head, rest]);
  }

  /** Takes what comes to `path` of `server`; '' or '/': all. */
  attach(server: WebServer, path: string, doors: Site['doors']): void {
    const site = { base: path.replace(/\/+$/, ''), doors };
    const detach = attach(server, site.base, {
      request: (req, res, awaitsContinue) => {
        const info = infoOf(req.socket, [], server);
        if (info === undefined) req.socket.destroy();
        else this.#answer(req, res, site, info, awaitsContinue);
      },
      upgrade: (req, socket, head) => {
        const info = infoOf(req.socket, [], server);
        if (info === undefined) socket.destroy();
        else this.#upgrade(req, socket, head, site, info);
      },
    });
    this.#detach.push(detach);
  }

  /** Takes nothing new; connections on which nothing is asked are closed. */
  stop(): void {
    for (const detach of this.#detach.splice(0)) detach();
    this.#server?.closeIdleConnections();
  }

  /** Lets go of the timers that it has. */
  close(): void {
    this.#server?.close();
    this.#server?.closeAllConnections();
    this.#bodies.close();
  }

  #makeServer(): Server {
    const { openingTimeout, maxRequestHead } = this.#host.limits;
    const options: ServerOptions & { shouldUpgradeCallback: (req: IncomingMessage) => boolean } = {
      headersTimeout: openingTimeout,
      // Bodies may take as long as they go on: what watches them knows when it is we who do not read.
      requestTimeout: 0,
      connectionsCheckingInterval: Math.max(10, Math.min(1000, openingTimeout / 4)),
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: maxRequestHead,
      insecureHTTPParser: false,
      shouldUpgradeCallback: asksForWebSocket,
    };
    const server = createServer(options);
    const answer = (req: IncomingMessage, res: ServerResponse, awaitsContinue: boolean) => {
      const { info, doors } = this.#callers.get(req.socket) as Caller;
      this.#answer(req, res, { base: '', doors }, info, awaitsContinue);
    };
    server.on('request', (req, res) => answer(req, res, false));
    server.on('checkContinue', (req, res) => answer(req, res, true));
    server.on('upgrade', (req: IncomingMessage, socket: Socket, first: Buffer) => {
      const head = this.#restOf(socket, first);
      if (!asksForWebSocket(req) && !this.#hasUnanswered(socket)) {
        // A Node.js before 24.9 asks nobody which upgrades are wanted.
        readWithoutUpgrade(req, socket, head);
        this.#speakHttp(socket);
        return;
      }
      const { info, doors } = this.#callers.get(req.socket) as Caller;
      this.#upgrade(req, socket, head, { base: '', doors }, info);
    });
    // It begins to watch over slow heads.
    server.emit('listening');
    return server;
  }

  #answer(
    req: IncomingMessage,
    res: ServerResponse,
    { base, doors }: Site,
    known: ConnectionInfo,
    awaitsContinue: boolean,
  ): void {
    const info = { ...known, headers: req.headers };
    res.on('error', ignore);
    req.on('error', ignore);
    const pipeline = this.#pipelineOf(req.socket);
    if (req.socket.destroyed || this.#isTooLong(pipeline, req, info)) return;
    const [path, query] = placeOf(req, base);
    const { route, rest } = this.routes.find(path) ?? { route: this.#answerOther, rest: path };
    const exchange = { req, res, info, pipeline, base, rest, query, awaitsContinue };
    const othersAnswered = pipeline.add(res);
    if (othersAnswered === undefined) this.#run(route, exchange, doors);
    else void othersAnswered.then(() => this.#run(route, exchange, doors));
  }

  #run(route: Route, exchange: Exchange, doors: Site['doors']): void {
    const { req, res } = exchange;
    // What comes behind a request whose answer was the last one may be no request at all, but the body of that one.
    if (res.destroyed || req.socket.writableEnded) return;
    const twice = repeatedHeader(req);
    if (twice !== undefined) return send(req, res, plain(400, `${TWICE}${twice}`, { Connection: 'close' }));
    const strange = strangeness(req);
    if (strange !== undefined) return send(req, res, strange);
    if (!doors.http) return send(req, res, plain(426, 'WebSockets only', { Upgrade: 'websocket' }));
    const { origins } = this.#host.http;
    const visitor = visitorOf(req, origins);
    if (visitor === 'refused') return send(req, res, plain(403, ORIGIN));
    if (visitor === 'listed' && route !== this.#answerOther && shareWithPage(req, res, origins)) return;
    if (!this.#host.takesConnections) return send(req, res, plain(503, CLOSING, { 'Retry-After': '1' }));
    try {
      route(exchange)?.catch((error) => this.#fail(exchange, error));
    } catch (error) {
      this.#fail(exchange, error);
    }
  }

  #fail({ req, res, info }: Exchange, error: unknown): void {
    this.#host.report(error, { remote: info.remote });
    send(req, res, plain(500, 'internal error'));
  }

  #pipelineOf(socket: Socket): Pipeline {
    const known = this.#pipelines.get(socket);
    if (known !== undefined) return known;
    const pipeline = new Pipeline(this.#host.turns);
    this.#pipelines.set(socket, pipeline);
    return pipeline;
  }

  /** A client may ask without waiting for answers, but no more than by frames; one that does is gone. */
  #isTooLong({ length }: Pipeline, { socket }: IncomingMessage, { remote }: ConnectionInfo): boolean {
    const { maxConcurrentRequests: most } = this.#host.limits;
    if (length < most) return false;
    this.#host.limitHit('maxConcurrentRequests', `more than ${most} requests at a time`, remote);
    socket.destroy();
    return true;
  }

  #hasUnanswered(socket: Socket): boolean {
    return this.#pipelineOf(socket).length > 0;
  }

  /** What is none of our paths. */
  readonly #answerOther = async ({ req, res, info, awaitsContinue }: Exchange): Promise<void> => {
    const { fallback } = this.#host.http;
    if (fallback === undefined) return send(req, res, plain(404, 'there is nothing here'));
    const failure = await this.#host.ask(info);
    if (failure !== undefined) return send(req, res, plain(statusOf(failure.code, req), failure.message));
    if (awaitsContinue) res.writeContinue();
    res.once('finish', () => endLate(req));
    await fallback(req, res);
  };

  #upgrade(req: IncomingMessage, socket: Socket, head: Buffer, { doors }: Site, known: ConnectionInfo): void {
    const { http, limits, takesConnections } = this.#host;
    // What is still to be answered would go out amid the messages.
    if (this.#hasUnanswered(socket)) return void socket.destroy();
    const twice = repeatedHeader(req);
    if (twice !== undefined) return refuseUpgrade(socket, 400, `${TWICE}${twice}`);
    if (!doors.webSocket) return refuseUpgrade(socket, 404, 'no WebSockets here');
    if (visitorOf(req, http.origins) === 'refused') return refuseUpgrade(socket, 403, ORIGIN);
    if (!offers(req, SUBPROTOCOL)) return refuseUpgrade(socket, 400, `the subprotocol is ${SUBPROTOCOL}`);
    if (hasBody(req)) return refuseUpgrade(socket, 400, 'a request for a WebSocket has no body');
    if (!takesConnections) return refuseUpgrade(socket, 503, CLOSING, { 'Retry-After': '1' });
    const info = { ...known, headers: req.headers };
    this.#upgrader.handleUpgrade(req, socket, head, (webSocket) => {
      new PacedSocket(socket, this.#host.turns, afterBytes);
      // Its frames flow both ways at once, whatever the server is told of other transports.
      const transport = new WebSocketTransport(
        webSocket,
        info.remote,
        limits,
        socket,
        this.#host.openInput(),
      );
      this.#host.serve(transport, info, { halfDuplex: false });
    });
  }
}

const ignore = () => undefined;
const CHUNKED = 'chunked';
const TWICE = 'a request says this once: ';
const ORIGIN = 'this page may not: its origin is not among those that are allowed';

/** The answer to what node:http takes for a request that it can read, and cannot; undefined: it can. */
function strangeness({ httpVersionMajor, httpVersionMinor, headers }: IncomingMessage): Telling | undefined {
  if (httpVersionMajor !== 1) return plain(505, 'HTTP/1.1, or 1.0', { Connection: 'close' });
  const coding = headers['transfer-encoding']?.toLowerCase() ?? CHUNKED;
  // Who is between us and a client of HTTP/1.0 may have taken the body to end elsewhere (RFC 9112, 6.1).
  if (httpVersionMinor === 0 && 'transfer-encoding' in headers)
    return plain(400, 'bodies of HTTP/1.0 have a length', { Connection: 'close' });
  return coding === CHUNKED ? undefined : plain(501, `bodies come ${CHUNKED} alone`, { Connection: 'close' });
}

/** The path below `base`, which begins with a slash, and the query, which may have question marks of its own. */
function placeOf(req: IncomingMessage, base: string): [path: string, query: string] {
  const target = targetOf(req);
  const rest = isBelow(target, base) ? target.slice(base.length) : target;
  const place = rest.startsWith('/') ? rest : `/${rest}`;
  const end = place.indexOf('?');
  return end < 0 ? [place, ''] : [place.slice(0, end), place.slice(end + 1)];
}

function offers({ headers }: IncomingMessage, protocol: string): boolean {
  const offered = headers['sec-websocket-protocol'] ?? '';
  return offered.split(',').some((name) => name.trim() === protocol);
}
