/**
 * millrace for Node.js: the server, the client, and what handlers are made of. Where a comment says
 * `protocol C4`, see that section of docs/protocol.md in this package.
 */

// Who uses this needs the types of Node.js, and TypeScript loads no types by itself.
/// <reference types="node" preserve="true" />

// Before all others: what they do may fail on an old Node in less clear ways.
import './require-node.ts';

// `RecordOptions` are those of records().
export type { RecordFigures, RecordOptions as CaptureOptions } from './capture/recorder.ts';
export * from './client.ts';
export type { WebServer } from './doors/attach.ts';
export type { HttpOptions } from './doors/host.ts';
export type { StreamFigures } from './lanes/figures.ts';
export type { Policy, PolicyName, RouteQuery, StreamView } from './lanes/policy.ts';
export type { QuarantineOptions, QuarantineRow, Suspect } from './lanes/quarantine.ts';
export type { Contexts } from './lanes/stream-kind.ts';
export type {
  SchemaInput,
  SchemaIssue,
  SchemaOutput,
  SchemaResult,
  StandardSchema,
} from './options/schema.ts';
export type { RequestTrace, ServerTracing, TracedRequest } from './options/tracing.ts';
export {
  type CachedOutput,
  type CommandRequest,
  cached,
  type Handler,
  type Output,
  type Produce,
  ProgressOutput,
  TextOutput,
} from './reactor/command.ts';
export type { Authorize, AuthorizeQuery, CommandMode, ConnectionInfo, Decision } from './server/authorize.ts';
export type {
  ConnectionClosed,
  ConnectionOpened,
  LaneLost,
  LimitHit,
  RequestEnded,
} from './server/channels.ts';
export type { CommandRow } from './server/command-figures.ts';
export type { CommandDefinition, CommandRules, LaneCommand, MainCommand } from './server/commands.ts';
export { type DefinedCommands, type DefinitionOf, defineCommands } from './server/define-commands.ts';
export type { DictionaryOption } from './server/dictionaries.ts';
export type { Doors, ListenAddress } from './server/listener.ts';
export type { ErrorContext, ServerOptions, UpdateOptions } from './server/options.ts';
export {
  type AcceptInfo,
  type Address,
  type AttachOptions,
  createServer,
  type Server,
  type ServerStats,
} from './server/server.ts';
export type { LaneRow, StreamRow } from './server/stats.ts';
export type { ConnectionTotals, ProfileRow } from './server/totals.ts';
export type { TopicOptions } from './topics/options.ts';
export type { Topic, TopicRow } from './topics/topic.ts';
export type { ProxyFact, ProxyFacts } from './transport/proxy-header.ts';
export type { TextAtom } from './wire/payloads.ts';
