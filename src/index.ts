/** millrace for Node.js: the server, the client, and what handlers are made of. */

import { createConnection, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions as TlsConnectOptions } from 'node:tls';
import { Client } from './client.ts';
import type { ClientOptions } from './client-options.ts';
import type { CodecModule } from './encoding/codec.ts';
import { nativeCodecs } from './encoding/native.ts';
import { portableCodecs } from './encoding/portable.ts';
import { CodecRegistry } from './encoding/registry.ts';
import { SocketTransport } from './transport/socket.ts';
import { ConnectionError } from './wire/errors.ts';

export type { Authorize, AuthorizeQuery, CommandMode, ConnectionInfo, Decision } from './authorize.ts';
export { Client, type ClientStats } from './client.ts';
export type { CallOptions, ClientOptions } from './client-options.ts';
export type { CommandDefinition, LaneCommand, MainCommand } from './commands.ts';
export type {
  Codec,
  CodecModule,
  Decoder,
  DecoderLimits,
  Encoder,
  EncoderOptions,
} from './encoding/codec.ts';
export { extraCodecs } from './encoding/extra.ts';
export { type PullOptions, pull } from './files/pull.ts';
export type { Policy, PolicyName, RouteQuery, StreamView } from './lanes/policy.ts';
export {
  type CommandRequest,
  cached,
  type Handler,
  type Output,
  ProgressOutput,
  TextOutput,
} from './reactor/command.ts';
export type { Response } from './response.ts';
export { type Address, createServer, Server, type ServerStats } from './server.ts';
export type { ServerOptions } from './server-options.ts';
export { CommandError, ConnectionError, ProtocolError } from './wire/errors.ts';
export { DEFAULT_LIMITS, type Limits } from './wire/limits.ts';

export interface ConnectOptions extends ClientOptions {
  /** Contexts of node:zlib, or those that also run in a browser; default: native. */
  codecs?: 'native' | 'portable';
  /** Speak TLS, with node:tls's options: `ca`, `servername`, and `cert` and `key` for mutual TLS. */
  tls?: TlsConnectOptions;
  /** Codecs beside the built-in ones; a server uses one when it is asked for by `profiles` or is its own choice. */
  extraCodecs?: readonly CodecModule[];
  /** Milliseconds until the server must have answered; default 10 000. */
  timeoutMs?: number;
}

/**
 * Connects over TCP or a Unix socket and waits until the server has shown that it speaks the protocol.
 * @throws ConnectionError when nothing listens there, or something else does.
 */
export async function connect(
  where: { host?: string; port: number } | { path: string },
  options: ConnectOptions = {},
): Promise<Client> {
  const { timeoutMs = 10_000 } = options;
  const target = 'path' in where ? where : { host: where.host ?? '127.0.0.1', port: where.port };
  const name = 'path' in target ? target.path : `${target.host}:${target.port}`;
  const { tls } = options;
  const socket: Socket =
    tls === undefined
      ? createConnection({ ...target, allowHalfOpen: true })
      : connectTls({ ...tls, ...target, ...{ allowHalfOpen: true } });
  const timer = setTimeout(() => {
    socket.destroy(new Error(`no answer within ${timeoutMs} ms`));
  }, timeoutMs);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once(tls === undefined ? 'connect' : 'secureConnect', resolve);
      socket.once('error', (error) => reject(cannotConnect(name, error)));
    });
    const codecs = new CodecRegistry(options.codecs === 'portable' ? portableCodecs() : nativeCodecs());
    for (const { codecs: more } of options.extraCodecs ?? [])
      for (const codec of more) codecs.register(codec);
    const client = new Client(new SocketTransport(socket, name, options.keepAliveInterval), codecs, options);
    await client.ready();
    return client;
  } finally {
    clearTimeout(timer);
  }
}

function cannotConnect(name: string, error: NodeJS.ErrnoException): ConnectionError {
  const reasons: Record<string, string> = {
    ECONNREFUSED: 'nothing listens there',
    ENOENT: 'there is no such socket',
    ENOTFOUND: 'unknown host',
    EACCES: 'permission denied',
  };
  return new ConnectionError(`cannot connect to ${name}: ${reasons[error.code ?? ''] ?? error.message}`, {
    cause: error,
  });
}
