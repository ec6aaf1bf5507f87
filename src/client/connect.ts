/** Connecting from Node.js: over TCP, TLS, a Unix socket or a WebSocket, with what a client needs and no server. */

import type { ConnectionOptions as TlsConnectOptions } from 'node:tls';
import type { CodecModule } from '../encoding/codec.ts';
import { foreign } from '../encoding/foreign.ts';
import { nativeCodecs, nativeDictionaryCodec } from '../encoding/native.ts';
import { CodecRegistry } from '../encoding/registry.ts';
import { codecModule } from '../options/codecs.ts';
import { placeOf } from '../options/place.ts';
import {
  arrayOf,
  checkOptions,
  filledString,
  milliseconds,
  object,
  oneOf,
  type Rules,
  refuse,
  signal,
} from '../options/rules.ts';
import { clientTls } from '../options/tls.ts';
import { ConnectionError } from '../wire/errors.ts';
import { type Client, makeClient } from './client.ts';
import type { DictionaryStore } from './dictionaries.ts';
import { oneThread } from './one-thread.ts';
import { openSocket } from './open-socket.ts';
import { isWebSocketUrl, openWebSocket } from './open-websocket.ts';
import { type Opening, unlessGivenUp } from './opening.ts';
import { CLIENT_RULES, type ClientOptions, withProfiles } from './options.ts';
import type { AnyCommands } from './typed.ts';

/** Of a URL what may be secret, and is in no message. */
const SECRETS = /(?<=\/\/)[^/]*@|[?#].*/g;

/** Where to connect to; default host: 127.0.0.1. A string, or a URL, is that of a WebSocket: `ws://…` or `wss://…`. */
export type ConnectAddress = { host?: string; port: number } | { path: string } | string | URL;

/** Options of `connect` in Node.js. */
export interface ConnectOptions extends ClientOptions {
  /** Contexts of node:zlib, or those that also run in a browser; default: native. */
  codecs?: 'native' | 'portable';
  /** Speak TLS, with node:tls's options: `ca`, `servername`, and `cert` and `key` for mutual TLS. */
  tls?: TlsConnectOptions;
  /**
   * Sent with the request for a WebSocket, such as `Authorization`, which the server's authorize hook is shown; other connections
   * have none.
   */
  headers?: Readonly<Record<string, string>>;
  /** Codecs beside the built-in ones; a server uses one when it is asked for by `profiles` or is its own choice. */
  extraCodecs?: readonly CodecModule[];
  /**
   * Folder in which dictionaries stay from one connection to the next, 32 MiB of them at most; what is there is checked
   * before it is used. Default: each connection fetches those that its server offers.
   */
  dictionaryCache?: string;
  /** Milliseconds until the server must have answered; default 10 000. */
  timeoutMs?: number;
  /** Gives up when it fires before the server has answered, with its reason; afterwards it does nothing. */
  signal?: AbortSignal;
}

export const CONNECT_RULES: Rules<ConnectOptions> = {
  ...CLIENT_RULES,
  codecs: oneOf(['native', 'portable']),
  tls: clientTls,
  headers: object,
  extraCodecs: arrayOf(codecModule, 'codec modules'),
  dictionaryCache: filledString,
  timeoutMs: milliseconds,
  signal,
};

/**
 * Connects over TCP, a Unix socket or a WebSocket, and waits until the server has shown that it speaks the protocol.
 * @throws ConnectionError when nothing listens there, something else does, or `timeoutMs` have passed; it says which.
 *   TypeError that names the option which is wrong.
 */
export async function connect<Commands = AnyCommands>(
  where: ConnectAddress,
  options: ConnectOptions = {},
): Promise<Client<Commands>> {
  checkOptions(options, CONNECT_RULES, 'connect');
  checkAddress(where, 'connect', options);
  options.signal?.throwIfAborted();
  const [codecs, store] = await Promise.all([codecsOf(options), storeOf(options)]);
  const opening = await openingOf(where, options);
  let client: Client | undefined;
  const open = async () => {
    client = makeClient(await opening.transport, codecs, options, store, oneThread);
    await ready(client, opening);
    return client as Client<Commands>;
  };
  return unlessGivenUp(
    open(),
    options,
    (reason) => (client ?? opening).destroy(reason),
    (timeoutMs) =>
      client === undefined ? opening.tooLate(timeoutMs) : silentFor(timeoutMs, opening.name, client),
  );
}

/** @throws ConnectionError that says what the other end did instead. */
async function ready(client: Client, opening: Opening): Promise<void> {
  try {
    await client.ready();
  } catch (error) {
    throw opening.whyNot(error as ConnectionError, client);
  }
}

/**
 * What would be passed over there is refused: it may be what somebody relies on.
 * @throws TypeError that says what is wrong with an address, which `who` takes, or with these options for it.
 */
export function checkAddress(
  address: unknown,
  who: string,
  { headers = {}, tls }: Pick<ConnectOptions, 'headers' | 'tls'>,
): void {
  const where = address instanceof URL ? address.href : address;
  if (typeof where !== 'string') {
    placeOf(where, who, 1);
    if (Object.keys(headers).length > 0)
      throw new TypeError(
        'option headers: only a WebSocket (ws://… or wss://…) has some; any connection has authorization',
      );
  } else if (!isWebSocketUrl(where))
    refuse(
      'address',
      where.replace(SECRETS, ''),
      'a URL that begins with ws:// or wss://, or { host, port } or { path }',
    );
  else if (new URL(where).hash !== '')
    throw new TypeError('option address: the URL of a WebSocket has no fragment (#…)');
  else if (tls !== undefined && new URL(where).protocol === 'ws:')
    throw new TypeError('option tls: ws:// is without it, wss:// has it');
}

function openingOf(where: ConnectAddress, options: ConnectOptions): Promise<Opening> {
  const { tls, headers, limits, keepAliveInterval } = options;
  if (typeof where === 'string' || where instanceof URL)
    return openWebSocket(String(where), { tls, headers, limits });
  return openSocket(placeOf(where, 'connect', 1), tls, keepAliveInterval);
}

/**
 * The portable ones are loaded where they are asked for alone: they are a good part of what a client would load.
 * @throws TypeError as {@link withProfiles} does.
 */
export async function codecsOf(options: ConnectOptions): Promise<CodecRegistry> {
  const { codecs, extraCodecs = [] } = options;
  const registry =
    codecs === 'portable'
      ? await portableRegistry()
      : new CodecRegistry(nativeCodecs(), nativeDictionaryCodec());
  for (const { codecs: more } of extraCodecs) for (const codec of more) registry.register(foreign(codec));
  return withProfiles(options, registry);
}

async function portableRegistry(): Promise<CodecRegistry> {
  const { portableCodecs, portableZstdDict } = await import('../encoding/portable.ts');
  return new CodecRegistry(portableCodecs(), portableZstdDict);
}

/** Loaded where it is asked for alone, for node:crypto, which it needs, takes long to load. */
export async function storeOf({ dictionaryCache }: ConnectOptions): Promise<DictionaryStore | undefined> {
  if (dictionaryCache === undefined) return undefined;
  const { DictionaryFiles } = await import('./dictionary-files.ts');
  return new DictionaryFiles(dictionaryCache);
}

/** What the time limit ended once there was a connection. */
function silentFor(timeoutMs: number, name: string, client: Client): ConnectionError {
  const { bytesRead } = client.stats();
  const sent = bytesRead === 0 ? 'nothing' : `${bytesRead} bytes, not its settings,`;
  const text = `connected to ${name}, but it sent ${sent} within ${timeoutMs} ms`;
  return new ConnectionError(text, { code: 'connect-timeout', notStarted: true });
}
