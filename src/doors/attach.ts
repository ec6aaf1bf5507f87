/** Doors in an HTTP server of somebody else's: what is below one path is ours, and the rest is as if we were not there. */

import type { Server as HttpServer, IncomingMessage, ServerResponse } from 'node:http';
import { Server as HttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import * as http from './node-http.ts';

/** A server of node:http or node:https, as `server.attach` takes it. */
export type WebServer = HttpServer | HttpsServer;

/** Who takes what comes to the path. */
export interface Taker {
  request(req: IncomingMessage, res: ServerResponse, awaitsContinue: boolean): void;
  upgrade(req: IncomingMessage, socket: Socket, head: Buffer): void;
}

export function isWebServer(value: unknown): value is WebServer {
  return value instanceof http.Server || value instanceof HttpsServer;
}

/** The path and query that a request is for; a client may name the server before it (RFC 9112, section 3.2.2). */
export function targetOf({ url = '/' }: IncomingMessage): string {
  const named = /^https?:\/\/[^/?#]*/i.exec(url);
  if (named === null) return url;
  const rest = url.slice(named[0].length);
  return rest.startsWith('/') ? rest : `/${rest}`;
}

/** Whether `url` is `path`, or below it. */
export function isBelow(url: string, path: string): boolean {
  if (!url.startsWith(path)) return false;
  const next = url[path.length];
  return path === '' || next === undefined || next === '/' || next === '?';
}

/** Whether it asks for a WebSocket: what else it may ask for, such as h2c, is not done, as HTTP allows. */
export function asksForWebSocket({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket';
}

/** Has `socket` say again what it has said of a request that was taken for an upgrade, but for the wish for one. */
export function readWithoutUpgrade(req: IncomingMessage, socket: Socket, head: Buffer): void {
  const { method, url, httpVersion, rawHeaders } = req;
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let i = 0; i < rawHeaders.length; i += 2)
    if (rawHeaders[i].toLowerCase() !== 'upgrade') lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`);
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]));
}

/** Where something of ours is. */
interface Place {
  readonly path: string;
  readonly taker: Taker;
}

/** Of each server that something was ever attached to: who attaches again and again leaves nothing behind. */
const ATTACHED = new WeakMap<WebServer, Attached>();

/**
 * Takes what comes to `path` (which begins with a slash and does not end with one, or is '') before any listener of the
 * server's, whenever that was added, gets to see it. Of several paths that would do the longest has it, of one path who came
 * last. The function that is returned ends that.
 */
export function attach(server: WebServer, path: string, taker: Taker): () => void {
  const attached = ATTACHED.get(server) ?? new Attached(server);
  ATTACHED.set(server, attached);
  return attached.add({ path, taker });
}

/** All that is attached to one server. */
class Attached {
  readonly #server: WebServer;
  /** The longest path first, of one path the newest. */
  readonly #places: Place[] = [];
  readonly #emit: Between<'emit'>;
  readonly #upgrades: Between<'shouldUpgradeCallback'>;

  constructor(server: WebServer) {
    this.#server = server;
    this.#emit = new Between(server as Methods, 'emit', (theirs) => {
      const take = this.#take;
      return function (this: WebServer, event: string | symbol, ...args: unknown[]): boolean {
        return take(event, args) || theirs.call(this, event, ...args);
      };
    });
    this.#upgrades = new Between(
      server as Methods,
      'shouldUpgradeCallback',
      (theirs) => (req) =>
        this.#takerOf(req) === undefined
          ? othersUpgrade(server) && theirs.call(server, req)
          : asksForWebSocket(req),
    );
  }

  add(place: Place): () => void {
    const at = this.#places.findIndex(({ path }) => path.length <= place.path.length);
    this.#places.splice(at < 0 ? this.#places.length : at, 0, place);
    if (this.#places.length === 1) this.#begin();
    return () => {
      const now = this.#places.indexOf(place);
      if (now >= 0) this.#places.splice(now, 1);
      if (this.#places.length === 0) this.#end();
    };
  }

  /**
   * Node.js upgrades nothing without a listener, and everything with one; since 24.9 it can be told which. What is not ours, and
   * nobody else listens for, is answered as it would be without us: the server's way, without an upgrade.
   */
  #begin(): void {
    this.#emit.begin();
    this.#upgrades.begin();
    this.#server.on('upgrade', answerInstead);
  }

  #end(): void {
    this.#emit.end();
    this.#upgrades.end();
    this.#server.off('upgrade', answerInstead);
  }

  #takerOf(req: IncomingMessage): Taker | undefined {
    const target = targetOf(req);
    return this.#places.find(({ path }) => isBelow(target, path))?.taker;
  }

  /** Whether what the server emits is ours. */
  readonly #take = (event: string | symbol, args: unknown[]): boolean => {
    const isRequest = event === 'request' || event === 'checkContinue' || event === 'checkExpectation';
    if (!isRequest && event !== 'upgrade') return false;
    const [req, second, third] = args as [IncomingMessage, never, never];
    const taker = this.#takerOf(req);
    if (isRequest) taker?.request(req, second, event === 'checkContinue');
    else taker?.upgrade(req, second, third);
    return taker !== undefined;
  };
}

/** What goes by us. */
interface Methods {
  emit(event: string | symbol, ...args: unknown[]): boolean;
  /** Since Node.js 24.9: whether a request with `Upgrade` is one. */
  shouldUpgradeCallback?(req: IncomingMessage): boolean;
}

/** A method of ours before one of an object's. */
class Between<Name extends keyof Methods> {
  readonly #object: Methods;
  readonly #name: Name;
  readonly #make: (theirs: NonNullable<Methods[Name]>) => Methods[Name];
  #ours: Methods[Name] | undefined;
  /** The object's own, where it has one. */
  #own: PropertyDescriptor | undefined;

  constructor(object: Methods, name: Name, make: (theirs: NonNullable<Methods[Name]>) => Methods[Name]) {
    this.#object = object;
    this.#name = name;
    this.#make = make;
  }

  begin(): void {
    const theirs = this.#object[this.#name];
    if (this.#ours !== undefined || theirs === undefined) return;
    this.#own = Object.getOwnPropertyDescriptor(this.#object, this.#name);
    const ours = this.#make(theirs);
    this.#ours = ours;
    this.#object[this.#name] = ours;
  }

  /** Whoever has put something over it since keeps that, and it for the next time. */
  end(): void {
    if (this.#object[this.#name] !== this.#ours) return;
    this.#ours = undefined;
    if (this.#own === undefined) delete this.#object[this.#name];
    else Object.defineProperty(this.#object, this.#name, this.#own);
  }
}

function othersUpgrade(server: WebServer): boolean {
  return server.listeners('upgrade').some((each) => each !== answerInstead);
}

/** What a Node.js that cannot be told has upgraded for nobody. */
function answerInstead(this: WebServer, req: IncomingMessage, socket: Socket): void {
  if (othersUpgrade(this)) return;
  const res = new http.ServerResponse(req);
  res.shouldKeepAlive = false;
  res.assignSocket(socket);
  res.once('finish', () => socket.end());
  this.emit('request', req, res);
}
