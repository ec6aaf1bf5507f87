/**
 * millrace for Node.js: the server, the client, and what handlers are made of. Where a comment says
 * `protocol C4`, see that section of docs/protocol.md in this package.
 */

// Who uses this needs the types of Node.js, and TypeScript loads no types by itself.
/// <reference types="node" preserve="true" />

// Before all others: what they do may fail on an old Node in less clear ways.
import './require-node.ts';

export * from './client.ts';
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
export { defineCommands } from './server/define-commands.ts';
export type { ErrorContext, ServerOptions } from './server/options.ts';
export { type Address, createServer, type Server, type ServerStats } from './server/server.ts';
