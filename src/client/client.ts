/**
 * The client: pipelines commands over one connection and hands out their responses. Runs wherever there is a
 * transport and a set of codecs: Node, or a browser.
 */

import type { Shared, Transport } from '../connection/connection.ts';
import { type CloseOptions, DISPOSE_GRACE_MS, graceOf } from '../connection/grace.ts';
import type { ReceivedStream } from '../connection/local-decoders.ts';
import type { CodecRegistry } from '../encoding/registry.ts';
import type { Bytes } from '../wire/bytes.ts';
import type { ConnectionError } from '../wire/errors.ts';
import type { SenderSettings } from '../wire/payloads.ts';
import { ClientConnection } from './client-connection.ts';
import type { DictionaryStore } from './dictionaries.ts';
import type { Listeners } from './listeners.ts';
import type { CallOptions, ClientOptions } from './options.ts';
import { RequestResponse, type Response } from './response.ts';
import {
  type Caller,
  type PublishOptions,
  publish,
  type SubscribeOptions,
  type Subscription,
  subscribe,
} from './topics.ts';
import type { AnyCommands, CallArguments, CommandName } from './typed.ts';

/** How far a connection is; it only moves on. */
export type ClientState =
  /** The server's settings are still to come. Calls are sent all the same. */
  | 'connecting'
  | 'open'
  /** Takes no new calls, because of close(), or because the server is going away; those in flight are answered. */
  | 'draining'
  | 'closed';

/** What {@link Client.on} can tell, and what each event brings. */
export interface ClientEvents {
  /** The server takes no new requests (protocol C5); those in flight are answered, and then it ends the connection. */
  goaway: { readonly reason: ConnectionError };
  /** The connection is gone: once, after all its calls have ended. `reason` has the code `closed` when we did it. */
  closed: { readonly reason: Error };
}

/** Figures of one connection since it was opened, bytes as they were on the wire. */
export interface ClientStats {
  /** Calls that wait for their turn, and those that are sent and not answered; cancelled ones until they are. */
  calls: { waiting: number; inFlight: number };
  bytesRead: number;
  bytesWritten: number;
  /** IDs of the dictionaries that were fetched, or found in the cache, and that the server may use (protocol C9). */
  dictionaries: string[];
  streams: ReceivedStream[];
}

/** A connection to a server, as its user sees it. */
export interface Client<Commands = AnyCommands> {
  /** Resolves when the connection is gone; rejects never. */
  readonly closed: Promise<void>;
  readonly state: ClientState;
  /** Why the connection is gone; undefined while it is not. */
  readonly closeReason: Error | undefined;
  /** Settings of the server, once they have come; undefined for one that knows no extensions. */
  readonly serverSettings: SenderSettings | undefined;
  /**
   * Sends a command; the response arrives while it is read. Never throws: a failure is in the response.
   * Calls past the server's limit on concurrent requests wait here for their turn, but not past their deadline.
   */
  call<Name extends CommandName<Commands>>(
    command: Name,
    ...options: CallArguments<Commands, Name>
  ): Response;
  /** Subscribes to a topic of the server. Never throws: a failure is in the iteration. */
  subscribe(topic: string, options?: SubscribeOptions): Subscription;
  /**
   * Publishes a message to a topic of the server; resolves with its sequence number. @throws TypeError for what is no message,
   * else as a call does.
   */
  publish(topic: string, message: Bytes | string, options?: PublishOptions): Promise<number>;
  /** Resolves when the server has sent its settings. @throws ConnectionError when it never will. */
  ready(): Promise<void>;
  /** Sends a ping; resolves with the milliseconds until the reply. @throws ConnectionError when none can come. */
  ping(): Promise<number>;
  stats(): ClientStats;
  /** Calls `listener` at every `event` from now on; the function that is returned ends that. */
  on<Name extends keyof ClientEvents>(
    event: Name,
    listener: (detail: ClientEvents[Name]) => void,
  ): () => void;
  /**
   * Ends the connection once the requests in flight are answered; a server that does not close it then is left. What
   * comes of a response may be read before or after. But one that is larger than its window and that nobody has begun to
   * read is cancelled, and so is one of which nobody has read more for `limits.idleTimeout`: it would never end.
   * `graceMs`: what is not answered within so many milliseconds is cancelled, its error's code `closed`; default: no limit.
   */
  close(options?: CloseOptions): Promise<void>;
  /** Drops the connection now; requests in flight fail with `reason`. */
  destroy(reason?: Error): void;
  /** {@link close} with a `graceMs` of 5000, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * `transport` is connected; `codecs` have the profiles that `options` name. Sends our settings at once (protocol C2).
 * `shared`: what it has in common with others; missing: nothing.
 */
export function makeClient(
  transport: Transport,
  codecs: CodecRegistry,
  options: ClientOptions = {},
  store?: DictionaryStore,
  shared?: Shared,
): Client {
  return new ConnectionClient(new ClientConnection(transport, codecs, options, store, shared));
}

/** What a client shows, wherever its connection lives. */
export interface ClientCore
  extends Pick<
    ClientConnection,
    'closed' | 'state' | 'closeReason' | 'call' | 'ready' | 'ping' | 'stats' | 'close' | 'destroy'
  > {
  readonly server: { readonly settings: SenderSettings | undefined };
  readonly events: Listeners<ClientEvents>;
}

/** Shows of a connection what its user may see. */
export class ConnectionClient implements Client {
  readonly #connection: ClientCore;

  constructor(connection: ClientCore) {
    this.#connection = connection;
  }

  get closed(): Promise<void> {
    return this.#connection.closed;
  }

  get serverSettings(): SenderSettings | undefined {
    return this.#connection.server.settings;
  }

  call(command: string, options: CallOptions = {}): Response {
    return new RequestResponse(this.#connection.call(command, options));
  }

  subscribe(topic: string, options: SubscribeOptions = {}): Subscription {
    return subscribe(this.#call, topic, options);
  }

  publish(topic: string, message: Bytes | string, options: PublishOptions = {}): Promise<number> {
    return publish(this.#call, topic, message, options);
  }

  readonly #call: Caller = (command, options) => this.#connection.call(command, options);

  ready(): Promise<void> {
    return this.#connection.ready();
  }

  ping(): Promise<number> {
    return this.#connection.ping();
  }

  stats(): ClientStats {
    return this.#connection.stats();
  }

  get state(): ClientState {
    return this.#connection.state;
  }

  get closeReason(): Error | undefined {
    return this.#connection.closeReason;
  }

  on<Name extends keyof ClientEvents>(
    event: Name,
    listener: (detail: ClientEvents[Name]) => void,
  ): () => void {
    return this.#connection.events.on(event, listener);
  }

  close(options: CloseOptions = {}): Promise<void> {
    return this.#connection.close(graceOf(options));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close({ graceMs: DISPOSE_GRACE_MS });
  }

  destroy(reason?: Error): void {
    this.#connection.destroy(reason);
  }
}
