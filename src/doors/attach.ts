/** Doors in an HTTP server of somebody else's: what is below one path is ours, and the rest is as if we were not there. */

import type { Server as HttpServer, IncomingMessage, ServerResponse } from 'node:http';
import { Server as HttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import * as http from './node-http.ts';

export type WebServer = HttpServer | HttpsServer;

/** Who takes what comes to the path. */
export interface Taker {
  request(req: IncomingMessage, res: ServerResponse, awaitsContinue: boolean): void;
  upgrade(req: IncomingMessage, socket: Socket, head: Buffer): void;
}

/** Since Node.js 24.9: whether a request with `Upgrade` is one. */
interface Upgrading {
  shouldUpgradeCallback?: (req: IncomingMessage) => boolean;
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

/**
 * Takes what comes to `path` (which begins with a slash and does not end with one, or is '') before any listener of the
 * server's, whenever that was added, gets to see it. The function that is returned ends that.
 */
export function attach(server: WebServer, path: string, taker: Taker): () => void {
  let attached = true;
  const isOurs = (req: IncomingMessage) => attached && isBelow(targetOf(req), path);
  const { emit } = server;
  const take = (event: string | symbol, args: unknown[]): boolean => {
    const [req, second, third] = args as [IncomingMessage, never, never];
    switch (event) {
      case 'request':
      case 'checkContinue':
      case 'checkExpectation':
        if (!isOurs(req)) return false;
        taker.request(req, second, event === 'checkContinue');
        return true;
      case 'upgrade':
        if (!isOurs(req)) return false;
        taker.upgrade(req, second, third);
        return true;
      default:
        return false;
    }
  };
  const intercept = function (this: WebServer, event: string | symbol, ...args: unknown[]): boolean {
    return take(event, args) || (emit as (...all: unknown[]) => boolean).call(this, event, ...args);
  };
  server.emit = intercept as typeof emit;
  const detachUpgrades = allowUpgrades(server, isOurs);
  return () => {
    attached = false;
    detachUpgrades();
    // Whoever has put something over it since keeps that.
    if (server.emit === intercept) server.emit = emit;
  };
}

/**
 * Node.js upgrades nothing without a listener, and everything with one; since 24.9 it can be told which. What is not ours, and
 * nobody else listens for, is answered as it would be without us: the server's way, without an upgrade.
 */
function allowUpgrades(server: WebServer, isOurs: (req: IncomingMessage) => boolean): () => void {
  if (!server.listeners('upgrade').includes(answerInstead)) server.on('upgrade', answerInstead);
  const upgrading = server as Upgrading;
  const theirs = upgrading.shouldUpgradeCallback;
  if (theirs === undefined) return () => undefined;
  const ours = (req: IncomingMessage) =>
    isOurs(req) ? asksForWebSocket(req) : othersUpgrade(server) && theirs.call(server, req);
  upgrading.shouldUpgradeCallback = ours;
  return () => {
    if (upgrading.shouldUpgradeCallback === ours) upgrading.shouldUpgradeCallback = theirs;
  };
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
