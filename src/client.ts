/** millrace's client for Node.js, without what only a server needs. */

// Who uses this needs the types of Node.js, and TypeScript loads no types by itself.
/// <reference types="node" preserve="true" />

// Before all others: what they do may fail on an old Node in less clear ways.
import './require-node.ts';

export type { CircuitOptions, CircuitState } from './client/circuit.ts';
export type { Client, ClientEvents, ClientState, ClientStats } from './client/client.ts';
export { type ConnectAddress, type ConnectOptions, connect } from './client/connect.ts';
export { type ConnectOverOptions, connectOver } from './client/connect-over.ts';
export { type ConnectPoolOptions, connectPool } from './client/connect-pool.ts';
export type { CommandData } from './client/data-pieces.ts';
export type { CallOptions, ClientOptions } from './client/options.ts';
export {
  createPool,
  type Pool,
  type PoolEvents,
  type PoolState,
  type PoolStats,
} from './client/pool.ts';
export type { EndpointFigures } from './client/pool-endpoint.ts';
export type { Balance, PoolCallOptions, PoolOptions } from './client/pool-options.ts';
export type { Response } from './client/response.ts';
export type { PublishOptions, SubscribeOptions, Subscription } from './client/topics.ts';
export type * from './client/typed.ts';
export type { CloseOptions } from './connection/grace.ts';
export type { ReceivedStream } from './connection/local-decoders.ts';
export type { Transport } from './connection/transport.ts';
export type {
  Codec,
  CodecModule,
  Decoder,
  DecoderLimits,
  Encoder,
  EncoderOptions,
  Tuning,
} from './encoding/codec.ts';
export { DecodeError, FINISH_BOUND } from './encoding/codec.ts';
export { extraCodecs } from './encoding/extra.ts';
export type { PlanLimits, PullFailure } from './files/plan.ts';
export {
  type PullClient,
  type PullOptions,
  type PullProgress,
  type PullResult,
  pull,
} from './files/pull.ts';
export type { FetchOptions } from './files/pull-job.ts';
export type { CallTrace, ClientTracing } from './options/tracing.ts';
export { type MemoryPairOptions, memoryPair } from './transport/memory.ts';
export type { ByteSource, Bytes } from './wire/bytes.ts';
export {
  CommandError,
  type CommandErrorOptions,
  ConnectionError,
  type ConnectionErrorCode,
  ProtocolError,
  type ProtocolErrorCode,
} from './wire/errors.ts';
export { DEFAULT_LIMITS, type Limits } from './wire/limits.ts';
export type { DictionaryOffer, Progress, SenderSettings } from './wire/payloads.ts';
export { type RecordOptions, records } from './wire/records.ts';
export type { TopicGap, TopicMessage } from './wire/topic-records.ts';
