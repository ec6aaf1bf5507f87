/** Connecting from a browser, over its WebSocket (protocol C7), with contexts that need no native code. */

import { BROWSER_WINDOW_LOG } from '../encoding/profiles.ts';
import {
  boolean,
  callable,
  checkOptions,
  milliseconds,
  nested,
  type Rules,
  refuse,
  signal,
} from '../options/rules.ts';
import { BrowserWebSocketTransport } from '../transport/browser-websocket.ts';
import { ConnectionError } from '../wire/errors.ts';
import { SUBPROTOCOL } from '../wire/messages.ts';
import { asError } from '../wire/thrown.ts';
import { browserCodecs } from './browser-codecs.ts';
import { type Client, type ClientCore, ConnectionClient, makeClient } from './client.ts';
import { DictionaryCache } from './dictionary-cache.ts';
import { nameOfUrl, unlessGivenUp } from './opening.ts';
import { CLIENT_RULES, type ClientOptions } from './options.ts';
import { createPool, type Pool } from './pool.ts';
import { POOL_RULES, type PoolOptions } from './pool-options.ts';
import type { AnyCommands } from './typed.ts';
import type { InWorker } from './worker-connection.ts';

/** Options of `connect` in browsers. */
export interface BrowserConnectOptions extends ClientOptions {
  /** Milliseconds until the server must have answered; default 10 000. */
  timeoutMs?: number;
  /** Whether dictionaries stay in the browser, by its Cache API, where there is one; default true. */
  dictionaryCache?: boolean;
  /**
   * `inWorker`: the connection lives in a Web Worker, so that neither reading nor decoding takes the page's own time; default:
   * it does not. `stats()` is then of the time when the newest call ended, and there is no `tracing`.
   */
  worker?: InWorker;
  /** Gives up when it fires before the server has answered, with its reason; afterwards it does nothing. */
  signal?: AbortSignal;
}

/** Options of `connectPool` in browsers. */
export interface BrowserPoolOptions extends PoolOptions {
  /** What each connection is made with. */
  connect?: Omit<BrowserConnectOptions, 'signal'>;
}

const CONNECT_RULES: Rules<BrowserConnectOptions> = {
  ...CLIENT_RULES,
  timeoutMs: milliseconds,
  dictionaryCache: boolean,
  worker: callable,
  signal,
};
/** Bytes of window that servers are asked to keep to, unless `limits` say otherwise: each stream has one in memory. */
const WINDOW = 2 ** BROWSER_WINDOW_LOG;

/**
 * Connects to a server's WebSocket: a URL with `ws:`, `wss:`, `http:` or `https:`, or a path below that of the page.
 * @throws ConnectionError when there is none, it does not speak the protocol, or `timeoutMs` have passed; browsers do not say
 *   why. TypeError that names the option which is wrong.
 */
export async function connect<Commands = AnyCommands>(
  url: string,
  options: BrowserConnectOptions = {},
): Promise<Client<Commands>> {
  checkOptions(options, CONNECT_RULES, 'connect');
  const where = urlOf(url);
  if (options.worker !== undefined) return connectInWorker(where, options.worker, options);
  const { signal, limits, dictionaryCache = true, ...rest } = options;
  const codecs = await browserCodecs(options);
  const store = dictionaryCache ? DictionaryCache.here() : undefined;
  signal?.throwIfAborted();
  const socket = new WebSocket(where, SUBPROTOCOL);
  socket.binaryType = 'arraybuffer';
  let client: Client | undefined;
  const open = async () => {
    await opened(socket, where);
    const bounded = { ...rest, limits: { maxWindowSize: WINDOW, ...limits } };
    client = makeClient(new BrowserWebSocketTransport(socket, nameOfUrl(where)), codecs, bounded, store);
    await client.ready();
    return client as Client<Commands>;
  };
  return unlessGivenUp(
    open(),
    options,
    (reason) => (client === undefined ? socket.close() : client.destroy(reason)),
    (timeoutMs) => noAnswer(where, timeoutMs),
  );
}

async function connectInWorker<Commands>(
  url: string,
  inWorker: InWorker,
  { worker: _, signal, tracing, ...plain }: BrowserConnectOptions,
): Promise<Client<Commands>> {
  if (tracing !== undefined) throw new TypeError('option tracing: not with worker');
  signal?.throwIfAborted();
  const connection = inWorker(url, plain) as ClientCore;
  await unlessGivenUp(connection.ready(), { signal }, (reason) => connection.destroy(asError(reason)));
  return new ConnectionClient(connection) as Client<Commands>;
}

/**
 * A pool of connections to one URL or to several that do the same: it connects again what is lost, as in Node.js.
 * @throws TypeError that names the option which is wrong.
 */
export function connectPool<Commands = AnyCommands>(
  urls: string | readonly string[],
  options: BrowserPoolOptions = {},
): Pool<string, Commands> {
  checkOptions(options, poolRules(), 'connectPool');
  const list = (Array.isArray(urls) ? urls : [urls]).map(urlOf);
  const { connect: connectOptions = {}, ...poolOptions } = options;
  return createPool(list, (url, signal) => connect(url, { ...connectOptions, signal }), poolOptions);
}

/** Made when they are first needed, so that pages without a pool do not load them. */
function poolRules(): Rules<BrowserPoolOptions> {
  const { signal: _, ...connection } = CONNECT_RULES;
  return { ...POOL_RULES, connect: nested(connection) };
}

/** @throws TypeError when there can be no WebSocket. */
function urlOf(given: string): string {
  const { location } = globalThis as { location?: { href: string } };
  const url = URL.canParse(given, location?.href) ? new URL(given, location?.href) : undefined;
  if (url === undefined || !/^(?:ws|http)s?:$/.test(url.protocol))
    refuse('address', given, 'a URL that begins with ws:, wss:, http: or https:, or a path');
  url.protocol = url.protocol.replace('http', 'ws');
  url.hash = '';
  return url.href;
}

function opened(socket: WebSocket, url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.onopen = () => resolve();
    // Browsers tell scripts nothing of the reason.
    const fail = () => reject(failed(`cannot connect to ${nameOfUrl(url)}`, 'connect-failed'));
    socket.onclose = fail;
    socket.onerror = fail;
  });
}

function noAnswer(url: string, timeoutMs: number): ConnectionError {
  return failed(`no answer from ${nameOfUrl(url)} within ${timeoutMs} ms`, 'connect-timeout');
}

function failed(message: string, code: 'connect-failed' | 'connect-timeout'): ConnectionError {
  return new ConnectionError(message, { code, notStarted: true });
}
