/** A pool as its user holds it. Runs wherever a client does: whoever makes it says how to connect. */

import { type CloseOptions, DISPOSE_GRACE_MS, graceOf } from '../connection/grace.ts';
import type { Bytes } from '../wire/bytes.ts';
import type { CircuitState } from './circuit.ts';
import type { Client } from './client.ts';
import { ConnectionPool } from './connection-pool.ts';
import { isOfConnection } from './pool-call.ts';
import type { EndpointFigures } from './pool-endpoint.ts';
import { checkPoolOptions, type PoolCallOptions, type PoolOptions } from './pool-options.ts';
import { RequestResponse, type Response } from './response.ts';
import {
  type Caller,
  type PublishOptions,
  publish,
  type Resuming,
  type SubscribeOptions,
  type Subscription,
  subscribe,
} from './topics.ts';
import type { AnyCommands, CallArguments, CommandName } from './typed.ts';

/** How a pool is; `connecting`: no connection takes calls now. */
export type PoolState = 'connecting' | 'open' | 'draining' | 'closed';

/** What {@link Pool.on} can tell, and what each event brings. */
export interface PoolEvents<Address> {
  /** A connection is there, and takes calls. */
  connected: { readonly address: Address };
  /** The server of a connection takes no new requests (protocol C5); calls go to others. */
  goaway: { readonly address: Address; readonly reason: Error };
  /** A connection is gone that took calls. */
  lost: { readonly address: Address; readonly reason: Error };
  /** The address is tried again in so many milliseconds, because of `reason`; `circuit`: whether it is given a rest. */
  reconnecting: {
    readonly address: Address;
    readonly failures: number;
    readonly circuit: CircuitState;
    readonly delayMs: number;
    readonly reason: Error;
  };
  /** The pool is gone, with all its connections: once. */
  closed: { readonly reason: Error };
}

/** Figures of a pool since it was made, bytes as they were on the wire. */
export interface PoolStats<Address> {
  /** Calls that wait for a connection or for their next try, and those that are on one and not answered. */
  calls: { waiting: number; inFlight: number };
  /** What those that wait for a connection hold: see `maxWaitingBytes`. */
  waitingBytes: number;
  /** Of all connections, those that are gone among them. */
  bytesRead: number;
  bytesWritten: number;
  addresses: EndpointFigures<Address>[];
}

/** Connections to servers that do the same, as their user sees them. */
export interface Pool<Address = unknown, Commands = AnyCommands> {
  /** Resolves when the pool is closed and its connections are gone; rejects never. */
  readonly closed: Promise<void>;
  readonly state: PoolState;
  /**
   * Sends a command on a connection that takes it, or waits for one. Never throws: a failure is in the response. It is
   * sent again only when nothing of it has run, or when it is `idempotent` and its connection was lost.
   */
  call<Name extends CommandName<Commands>>(
    command: Name,
    ...options: CallArguments<Commands, Name, PoolCallOptions>
  ): Response;
  /**
   * Subscribes to a topic on a connection that takes it. Where that is lost, or its server goes away, it goes on by itself on
   * another, after the newest message that has come, however long there is none. Never throws: a failure is in the iteration.
   */
  subscribe(topic: string, options?: SubscribeOptions): Subscription;
  /**
   * Publishes a message to a topic; resolves with its sequence number. @throws TypeError for what is no message, else as a
   * call does.
   */
  publish(topic: string, message: Bytes | string, options?: PublishOptions): Promise<number>;
  /** Resolves when a connection takes calls. @throws Error when every circuit is open, or the pool is closed. */
  ready(): Promise<void>;
  stats(): PoolStats<Address>;
  /** Calls `listener` at every `event` from now on; the function that is returned ends that. */
  on<Name extends keyof PoolEvents<Address>>(
    event: Name,
    listener: (detail: PoolEvents<Address>[Name]) => void,
  ): () => void;
  /**
   * Takes no new calls, and ends the connections once those that it has are answered, the waiting ones among them; what
   * nobody reads is cancelled, as {@link Client.close} does, and a subscription that is read goes on.
   * `graceMs`: what is not answered within so many milliseconds is cancelled, its error's code `closed`; default: no limit.
   */
  close(options?: CloseOptions): Promise<void>;
  /** Drops all connections now; all calls fail with `reason`. */
  destroy(reason?: Error): void;
  /** {@link close} with a `graceMs` of 5000, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * A pool of connections that `connect` makes to each of `addresses`; it should give up when `signal` fires. It begins to
 * connect at once. @throws TypeError that names the option which is wrong.
 */
export function createPool<Address, Commands = AnyCommands>(
  addresses: readonly Address[],
  connect: (address: Address, signal: AbortSignal) => Promise<Client>,
  options: PoolOptions = {},
): Pool<Address, Commands> {
  if (!Array.isArray(addresses) || addresses.length === 0) throw new TypeError('a pool needs an address');
  if (typeof connect !== 'function') throw new TypeError('connect is no function');
  const pool: Pool<Address> = new PoolFace(new ConnectionPool(addresses, connect, checkPoolOptions(options)));
  return pool as Pool<Address, Commands>;
}

/** Shows of a pool what its user may see. */
class PoolFace<Address> implements Pool<Address> {
  readonly #pool: ConnectionPool<Address>;

  constructor(pool: ConnectionPool<Address>) {
    this.#pool = pool;
  }

  get closed(): Promise<void> {
    return this.#pool.closed;
  }

  get state(): PoolState {
    return this.#pool.state;
  }

  call(command: string, options: PoolCallOptions = {}): Response {
    return new RequestResponse(this.#pool.call(command, options));
  }

  subscribe(topic: string, options: SubscribeOptions = {}): Subscription {
    return subscribe(this.#call, topic, options, this.#resuming);
  }

  publish(topic: string, message: Bytes | string, options: PublishOptions = {}): Promise<number> {
    return publish(this.#call, topic, message, options);
  }

  readonly #call: Caller = (command, options) => this.#pool.call(command, options);

  /** A pool that takes nothing new is not asked again, whatever it was destroyed for. */
  readonly #resuming: Resuming = {
    may: (error) => isOfConnection(error) && (this.state === 'open' || this.state === 'connecting'),
    onEnd: (listener) => this.on('closed', listener),
  };

  ready(): Promise<void> {
    return this.#pool.ready();
  }

  stats(): PoolStats<Address> {
    return this.#pool.stats();
  }

  on<Name extends keyof PoolEvents<Address>>(
    event: Name,
    listener: (detail: PoolEvents<Address>[Name]) => void,
  ): () => void {
    return this.#pool.events.on(event, listener);
  }

  close(options: CloseOptions = {}): Promise<void> {
    return this.#pool.close(graceOf(options));
  }

  destroy(reason?: Error): void {
    this.#pool.destroy(reason);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close({ graceMs: DISPOSE_GRACE_MS });
  }
}
