/**
 * millrace for browsers: the client over WebSockets, or over any other transport, with contexts that need no native code. Where a comment says
 * `protocol C4`, see that section of docs/protocol.md in this package.
 */

import { browserCodecs } from './client/browser-codecs.ts';
import { type Client, makeClient } from './client/client.ts';
import { CLIENT_RULES, type ClientOptions } from './client/options.ts';
import type { AnyCommands } from './client/typed.ts';
import type { Transport } from './connection/transport.ts';
import { checkOptions } from './options/rules.ts';

export type { CircuitOptions, CircuitState } from './client/circuit.ts';
export type { Client, ClientEvents, ClientState, ClientStats } from './client/client.ts';
export {
  type BrowserConnectOptions,
  type BrowserPoolOptions,
  connect,
  connectPool,
} from './client/connect-browser.ts';
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
export { type InWorker, inWorker } from './client/worker-connection.ts';
export type { CloseOptions } from './connection/grace.ts';
export type { ReceivedStream } from './connection/local-decoders.ts';
export type { Transport } from './connection/transport.ts';
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
export type { Limits } from './wire/limits.ts';
export type { DictionaryOffer, Progress, SenderSettings } from './wire/payloads.ts';
export { type RecordOptions, records } from './wire/records.ts';
export type { TopicGap, TopicMessage } from './wire/topic-records.ts';

/**
 * A client on a connected transport; resolves when the server has answered.
 * @throws ConnectionError when it does not speak the protocol, TypeError that names the option which is wrong.
 */
export async function connectOver<Commands = AnyCommands>(
  transport: Transport,
  options: ClientOptions = {},
): Promise<Client<Commands>> {
  checkOptions(options, CLIENT_RULES, 'connectOver');
  const client = makeClient(transport, await browserCodecs(options), options);
  await client.ready();
  return client as Client<Commands>;
}
