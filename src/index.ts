/**
 * millrace for Node.js: the server, the client, and what handlers are made of. Where a comment says
 * `protocol C4`, see that section of docs/protocol.md in this package.
 */

// Who uses this needs the types of Node.js, and TypeScript loads no types by itself.
/// <reference types="node" preserve="true" />

export { Client, type ClientStats } from './client/client.ts';
export { type ConnectOptions, connect } from './client/connect.ts';
export type { CallOptions, ClientOptions } from './client/options.ts';
export type { Response } from './client/response.ts';
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
export type { Authorize, AuthorizeQuery, CommandMode, ConnectionInfo, Decision } from './server/authorize.ts';
export type { CommandDefinition, LaneCommand, MainCommand } from './server/commands.ts';
export type { ErrorContext, ServerOptions } from './server/options.ts';
export { type Address, createServer, Server, type ServerStats } from './server/server.ts';
export { CommandError, ConnectionError, ProtocolError } from './wire/errors.ts';
export { DEFAULT_LIMITS, type Limits } from './wire/limits.ts';
