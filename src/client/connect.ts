/** Connecting from Node.js: over TCP, TLS or a Unix socket, with what a client needs and no server. */

import { createConnection, type Socket } from 'node:net';
import type { ConnectionOptions as TlsConnectOptions } from 'node:tls';
import type { CodecModule } from '../encoding/codec.ts';
import { foreign } from '../encoding/foreign.ts';
import { nativeCodecs, nativeDictionaryCodec } from '../encoding/native.ts';
import { portableCodecs, portableZstdDict } from '../encoding/portable.ts';
import { CodecRegistry } from '../encoding/registry.ts';
import { codecModule } from '../options/codecs.ts';
import { placeOf } from '../options/place.ts';
import {
  arrayOf,
  checkOptions,
  filledString,
  milliseconds,
  oneOf,
  type Rules,
  signal,
} from '../options/rules.ts';
import { clientTls } from '../options/tls.ts';
import { SocketTransport } from '../transport/socket.ts';
import { ConnectionError, type ConnectionErrorCode } from '../wire/errors.ts';
import { after } from '../wire/timers.ts';
import { type Client, makeClient } from './client.ts';
import type { DictionaryStore } from './dictionaries.ts';
import { DictionaryFiles } from './dictionary-files.ts';
import { CLIENT_RULES, type ClientOptions } from './options.ts';
import type { AnyCommands } from './typed.ts';

/** Where to connect to; default host: 127.0.0.1. */
export type ConnectAddress = { host?: string; port: number } | { path: string };

export interface ConnectOptions extends ClientOptions {
  /** Contexts of node:zlib, or those that also run in a browser; default: native. */
  codecs?: 'native' | 'portable';
  /** Speak TLS, with node:tls's options: `ca`, `servername`, and `cert` and `key` for mutual TLS. */
  tls?: TlsConnectOptions;
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
  extraCodecs: arrayOf(codecModule, 'codec modules'),
  dictionaryCache: filledString,
  timeoutMs: milliseconds,
  signal,
};

/** Connected, and not answered within the time limit. */
class SilenceError extends ConnectionError {}

/**
 * Connects over TCP or a Unix socket and waits until the server has shown that it speaks the protocol.
 * @throws ConnectionError when nothing listens there, something else does, or `timeoutMs` have passed; it says which.
 *   TypeError that names the option which is wrong.
 */
export async function connect<Commands = AnyCommands>(
  where: ConnectAddress,
  options: ConnectOptions = {},
): Promise<Client<Commands>> {
  checkOptions(options, CONNECT_RULES, 'connect');
  const { path, host = '127.0.0.1', port = 0 } = placeOf(where, 'connect', 1);
  const { timeoutMs = 10_000, tls, signal } = options;
  signal?.throwIfAborted();
  const target = path === undefined ? { host, port } : { path };
  const name = path ?? nameOf({ host, port });
  const socket: Socket =
    tls === undefined
      ? createConnection({ ...target, allowHalfOpen: true })
      : (await import('node:tls')).connect({ ...tls, ...target, ...{ allowHalfOpen: true } });
  let client: Client | undefined;
  const giveUp = () => (client ?? socket).destroy(signal?.reason);
  signal?.addEventListener('abort', giveUp, { once: true });
  const timer = after(timeoutMs, () => {
    if (client === undefined) socket.destroy(notOpenWithin(timeoutMs, socket));
    else client.destroy(silentFor(timeoutMs, name, client));
  });
  try {
    await opened(socket, name, tls !== undefined);
    client = makeClient(
      new SocketTransport(socket, name, options.keepAliveInterval),
      codecsOf(options),
      options,
      storeOf(options),
    );
    await client.ready();
    return client as Client<Commands>;
  } catch (error) {
    signal?.throwIfAborted();
    if (client === undefined || error instanceof SilenceError) throw error;
    throw whyNot(error as ConnectionError, client, tls !== undefined);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', giveUp);
  }
}

export function codecsOf({ codecs, extraCodecs = [] }: ConnectOptions): CodecRegistry {
  const registry =
    codecs === 'portable'
      ? new CodecRegistry(portableCodecs(), portableZstdDict)
      : new CodecRegistry(nativeCodecs(), nativeDictionaryCodec());
  for (const { codecs: more } of extraCodecs) for (const codec of more) registry.register(foreign(codec));
  return registry;
}

export function storeOf({ dictionaryCache }: ConnectOptions): DictionaryStore | undefined {
  return dictionaryCache === undefined ? undefined : new DictionaryFiles(dictionaryCache);
}

/** @throws ConnectionError that says why no connection came about. */
function opened(socket: Socket, name: string, isTls: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once(isTls ? 'secureConnect' : 'connect', resolve);
    socket.once('error', (error) => reject(cannotConnect(name, error, isTls)));
  });
}

/** What the other end did instead of sending its settings, and what it may have wanted. */
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

/** What the time limit ended once there was a connection: that says nothing of the protocol which it speaks. */
function silentFor(timeoutMs: number, name: string, client: Client): ConnectionError {
  const { bytesRead } = client.stats();
  const sent = bytesRead === 0 ? 'nothing' : `${bytesRead} bytes, not its settings,`;
  const text = `connected to ${name}, but it sent ${sent} within ${timeoutMs} ms`;
  return new SilenceError(text, { code: 'connect-timeout', notStarted: true });
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

function reworded(error: Error, message: string): ConnectionError {
  const code = error instanceof ConnectionError ? error.code : 'protocol-error';
  return new ConnectionError(message, { code, notStarted: true, cause: error.cause });
}

function nameOf({ host, port }: { host: string; port: number }): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOENT: 'there is no such socket',
  ENOTFOUND: 'unknown host',
  EAI_AGAIN: 'its name cannot be looked up now',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'there is no way there',
  ENETUNREACH: 'there is no way there',
  ECONNRESET: 'it closed the connection',
  EINVAL: 'there can be nothing of that name',
  EADDRNOTAVAIL: 'there is no way there',
  EMFILE: 'too many files are open',
  ENFILE: 'too many files are open',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS',
};

function cannotConnect(name: string, error: NodeJS.ErrnoException, isTls: boolean): ConnectionError {
  const during = isTls && error.code === 'ECONNRESET' ? ' during the TLS handshake' : '';
  return new ConnectionError(`cannot connect to ${name}: ${reasonOf(error)}${during}`, {
    code: connectCode(error),
    notStarted: true,
    cause: error,
  });
}

/** A host of several addresses fails for each by itself, and the error of them all says nothing. */
function reasonOf(error: Error): string {
  if (!(error instanceof AggregateError)) return reasonOfOne(error);
  const reasons = new Map<string, string[]>();
  for (const each of error.errors) {
    const reason = reasonOfOne(each);
    reasons.set(reason, [...(reasons.get(reason) ?? []), each.address ?? 'an address']);
  }
  if (reasons.size <= 1) return [...reasons.keys()][0] ?? reasonOfOne(error);
  return [...reasons].map(([reason, addresses]) => `${addresses.join(', ')}: ${reason}`).join('; ');
}

function reasonOfOne({ code, message, name }: NodeJS.ErrnoException): string {
  return REASONS[code ?? ''] ?? (message || code || name);
}

function connectCode(error: NodeJS.ErrnoException): ConnectionErrorCode {
  if (error.code === 'connect-timeout' || error.code === 'ETIMEDOUT') return 'connect-timeout';
  return error.code === 'ERR_SSL_WRONG_VERSION_NUMBER' ? 'protocol-error' : 'connect-failed';
}
