/**
 * A pool: connections to one or more addresses, made again when they are lost, and the calls that go to whichever takes
 * them. Runs wherever a client does: whoever makes it says how to connect.
 */

import { type CloseOptions, DISPOSE_GRACE_MS, graceOf } from '../connection/grace.ts';
import type { Bytes } from '../wire/bytes.ts';
import { ConnectionError } from '../wire/errors.ts';
import { asError } from '../wire/thrown.ts';
import { after } from '../wire/timers.ts';
import { type CircuitState, jittered } from './circuit.ts';
import type { Client } from './client.ts';
import { Listeners } from './listeners.ts';
import { closedByUs, notStarted } from './no-more.ts';
import { checkCall } from './options.ts';
import { type CallOwner, isOfConnection, PoolCall } from './pool-call.ts';
import { Endpoint, type EndpointFigures, type EndpointOwner, type PoolConnection } from './pool-endpoint.ts';
import {
  type CheckedPoolOptions,
  checkPoolOptions,
  type PoolCallOptions,
  type PoolOptions,
} from './pool-options.ts';
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
import { WaitingCalls } from './waiting-calls.ts';

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
   * another, after the newest message that has come. Never throws: a failure is in the iteration.
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
   * Takes no new calls, and ends the connections once those that it has are answered, the waiting ones among them.
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
    return subscribe(this.#call, topic, options, isOfConnection);
  }

  publish(topic: string, message: Bytes | string, options: PublishOptions = {}): Promise<number> {
    return publish(this.#call, topic, message, options);
  }

  readonly #call: Caller = (command, options) => this.#pool.call(command, options);

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

/** A connection that takes calls, and whose it is. */
interface Opened<Address> {
  readonly connection: PoolConnection;
  readonly endpoint: Endpoint<Address>;
}

class ConnectionPool<Address> implements CallOwner, EndpointOwner<Address> {
  readonly closed: Promise<void>;
  readonly connect: EndpointOwner<Address>['connect'];
  readonly maxAttempts: number;
  readonly events = new Listeners<PoolEvents<Address>>();
  readonly #endpoints: Endpoint<Address>[];
  readonly #open: Opened<Address>[] = [];
  readonly #options: CheckedPoolOptions;
  readonly #waiting: WaitingCalls;
  /** All calls that have not ended. */
  readonly #calls = new Set<PoolCall>();
  readonly #allClosed = Promise.withResolvers<void>();
  /** Those who wait for a first connection. */
  #ready = Promise.withResolvers<void>();
  #turn = 0;
  #inFlight = 0;
  /** Why nothing new is taken. */
  #refuseReason: Error | undefined;
  #graceTimer: ReturnType<typeof setTimeout> | undefined;
  #isEnding = false;
  #isClosed = false;

  constructor(
    addresses: readonly Address[],
    connect: EndpointOwner<Address>['connect'],
    options: CheckedPoolOptions,
  ) {
    this.connect = connect;
    this.closed = this.#allClosed.promise;
    this.maxAttempts = options.maxAttempts;
    this.#options = options;
    this.#waiting = new WaitingCalls(options);
    this.#endpoints = addresses.map((address) => new Endpoint(address, this, options));
    this.#ready.promise.catch(() => undefined);
    for (const endpoint of this.#endpoints) endpoint.fill();
  }

  // ---------------------------------------------------------------------------------------- its user

  get state(): PoolState {
    if (this.#isClosed) return 'closed';
    if (this.#refuseReason !== undefined) return 'draining';
    return this.#open.length > 0 ? 'open' : 'connecting';
  }

  call(command: string, options: PoolCallOptions): PoolCall {
    let call: PoolCall;
    try {
      checkCall(command, options);
      call = new PoolCall(this, command, { ...options });
    } catch (error) {
      call = new PoolCall(this, typeof command === 'string' ? command : '', {});
      call.giveUp(asError(error));
    }
    if (call.over) return call;
    this.#calls.add(call);
    if (this.#refuseReason === undefined) this.wait(call);
    else call.giveUp(notStarted(this.#refuseReason));
    return call;
  }

  ready(): Promise<void> {
    const refusal = this.#refuseReason ?? this.#downReason();
    if (refusal !== undefined) return Promise.reject(refusal);
    return this.#open.length > 0 ? Promise.resolve() : this.#ready.promise;
  }

  stats(): PoolStats<Address> {
    const bytes = this.#endpoints.map((endpoint) => endpoint.bytes);
    return {
      calls: { waiting: this.#calls.size - this.#inFlight, inFlight: this.#inFlight },
      waitingBytes: this.#waiting.bytes,
      bytesRead: bytes.reduce((sum, { bytesRead }) => sum + bytesRead, 0),
      bytesWritten: bytes.reduce((sum, { bytesWritten }) => sum + bytesWritten, 0),
      addresses: this.#endpoints.map(({ figures }) => figures),
    };
  }

  close(graceMs: number | undefined): Promise<void> {
    this.#refuseReason ??= closedByUs('the pool is closed');
    if (graceMs !== undefined && !this.#isClosed) {
      clearTimeout(this.#graceTimer);
      this.#graceTimer = after(graceMs, () => this.#cutShort(graceMs));
    }
    this.#endIfDone();
    return this.closed;
  }

  destroy(reason: Error = closedByUs('the pool is closed')): void {
    this.#refuseReason ??= reason;
    this.#isEnding = true;
    for (const call of this.#calls) call.cancel(reason);
    void Promise.all(this.#endpoints.map((endpoint) => endpoint.destroy(reason))).then(this.#closedAll);
  }

  // ------------------------------------------------------------------------------ what calls need (CallOwner)

  wait(call: PoolCall): void {
    const place = this.#waiting.count === 0 ? this.#pick() : undefined;
    const down = place === undefined ? this.#downReason() : undefined;
    if (place !== undefined) void this.#run(call, place);
    else if (down !== undefined) call.giveUp(down);
    else this.#waiting.add(call);
  }

  pauseMs(refusals: number): number {
    const { minBackoffMs, maxBackoffMs } = this.#options;
    return jittered(Math.min(maxBackoffMs, minBackoffMs * 2 ** (refusals - 1)));
  }

  over(call: PoolCall): void {
    this.#waiting.remove(call);
    this.#calls.delete(call);
    this.#endIfDone();
  }

  // ------------------------------------------------------------------- what addresses tell (EndpointOwner)

  opened(connection: PoolConnection, endpoint: Endpoint<Address>): void {
    this.#open.push({ connection, endpoint });
    this.#ready.resolve();
    this.events.emit('connected', { address: endpoint.address });
    this.#sendWaiting();
  }

  left(
    connection: PoolConnection,
    { address }: Endpoint<Address>,
    why: 'goaway' | 'lost',
    reason: Error,
  ): void {
    const at = this.#open.findIndex((each) => each.connection === connection);
    if (at >= 0) this.#open.splice(at, 1);
    if (this.#open.length === 0) this.#awaitConnection();
    this.events.emit(why, { address, reason });
  }

  reconnecting({ address, circuit }: Endpoint<Address>, delayMs: number, reason: Error): void {
    const { failures, state } = circuit;
    const down = this.#downReason();
    if (down !== undefined) {
      this.#waiting.giveUpAll(down);
      this.#ready.reject(down);
      this.#awaitConnection();
    }
    this.events.emit('reconnecting', { address, failures, circuit: state, delayMs, reason });
  }

  // ------------------------------------------------------------------------------------------ its calls

  /** The connection for the next call; undefined: none takes one. */
  #pick(): Opened<Address> | undefined {
    const open = this.#open;
    const first = this.#turn++ % Math.max(1, open.length);
    let best: Opened<Address> | undefined;
    for (let i = 0; i < open.length; i++) {
      const each = open[(first + i) % open.length];
      if (!each.connection.hasRoom) continue;
      if (this.#options.balance === 'round-robin') return each;
      if (best === undefined || each.connection.inFlight < best.connection.inFlight) best = each;
    }
    return best;
  }

  async #run(call: PoolCall, { connection, endpoint }: Opened<Address>): Promise<void> {
    this.#inFlight++;
    const isAnswer = await connection.run(call);
    this.#inFlight--;
    if (isAnswer) endpoint.answered();
    this.#sendWaiting();
  }

  #sendWaiting(): void {
    while (this.#waiting.count > 0) {
      const place = this.#pick();
      if (place === undefined) return;
      void this.#run(this.#waiting.shift() as PoolCall, place);
    }
  }

  /** Why no call can be sent in the near future: every address has failed again and again. */
  #downReason(): Error | undefined {
    let reason: Error | undefined;
    for (const { down } of this.#endpoints) {
      if (down === undefined) return undefined;
      reason = down;
    }
    const message = `no server can be reached: ${reason?.message}`;
    return new ConnectionError(message, { code: 'connect-failed', notStarted: true, cause: reason });
  }

  #awaitConnection(): void {
    this.#ready = Promise.withResolvers();
    this.#ready.promise.catch(() => undefined);
  }

  // ------------------------------------------------------------------------------------------ the end

  #cutShort(graceMs: number): void {
    const message = `the pool was closed, and this was not answered within ${graceMs} ms`;
    for (const call of this.#calls) call.cancel(closedByUs(message));
    void this.#end(0);
  }

  #endIfDone(): void {
    if (this.#refuseReason !== undefined && this.#calls.size === 0) void this.#end(undefined);
  }

  async #end(graceMs: number | undefined): Promise<void> {
    if (this.#isEnding && graceMs === undefined) return;
    this.#isEnding = true;
    await Promise.all(this.#endpoints.map((endpoint) => endpoint.close(graceMs)));
    this.#closedAll();
  }

  readonly #closedAll = (): void => {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#graceTimer);
    this.#ready.reject(this.#refuseReason);
    this.#allClosed.resolve();
    this.events.emit('closed', { reason: this.#refuseReason as Error });
  };
}
