/**
 * Connections to one or more addresses, made again when they are lost, and the calls that go to whichever takes them: what
 * stands behind a {@link Pool}.
 */

import { ConnectionError } from '../wire/errors.ts';
import { asError } from '../wire/thrown.ts';
import { after } from '../wire/timers.ts';
import { backoff } from './backoff.ts';
import { Listeners } from './listeners.ts';
import { closedByUs, notStarted } from './no-more.ts';
import { checkCall } from './options.ts';
import type { PoolEvents, PoolState, PoolStats } from './pool.ts';
import { type CallOwner, PoolCall } from './pool-call.ts';
import { Endpoint, type EndpointOwner, type PoolConnection } from './pool-endpoint.ts';
import type { CheckedPoolOptions, PoolCallOptions } from './pool-options.ts';
import { WaitingCalls } from './waiting-calls.ts';

/** A connection that takes calls, and whose it is. */
interface Opened<Address> {
  readonly connection: PoolConnection;
  readonly endpoint: Endpoint<Address>;
}

/** Milliseconds for which a call that tries a half-open circuit holds the next one, or a tenth of what calls wait at most. */
const MAX_TRIAL_MS = 1000;

export class ConnectionPool<Address> implements CallOwner, EndpointOwner<Address> {
  readonly closed: Promise<void>;
  readonly connect: EndpointOwner<Address>['connect'];
  readonly maxAttempts: number;
  readonly events = new Listeners<PoolEvents<Address>>(
    'connected',
    'goaway',
    'lost',
    'reconnecting',
    'closed',
  );
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
    this.#drainIfAllSent();
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
    else if (down !== undefined) call.refuse(down);
    else {
      this.#waiting.add(call);
      if (this.closing) for (const endpoint of this.#endpoints) endpoint.fill();
    }
  }

  get closing(): boolean {
    return this.#refuseReason !== undefined;
  }

  pauseMs(refusals: number): number {
    const { minBackoffMs, maxBackoffMs } = this.#options;
    return backoff(refusals, minBackoffMs, maxBackoffMs);
  }

  over(call: PoolCall): void {
    this.#waiting.remove(call);
    this.#calls.delete(call);
    this.#endIfDone();
    // The others may be all on connections.
    this.#drainIfAllSent();
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
    const answered = () => {
      endpoint.answered();
      this.#sendWaiting();
    };
    const trialMs = Math.min(MAX_TRIAL_MS, this.#options.maxWaitMs / 10);
    const free = connection.run(call, answered, trialMs, this.#sendWaiting);
    this.#drainIfAllSent();
    await free;
    this.#inFlight--;
    this.#sendWaiting();
  }

  readonly #sendWaiting = (): void => {
    while (this.#waiting.count > 0) {
      const place = this.#pick();
      if (place === undefined) return;
      void this.#run(this.#waiting.shift() as PoolCall, place);
    }
  };

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

  /**
   * Once all calls of a pool that closes are on connections these close, as clients do: what nobody reads is let go of. A call that is to
   * be sent again gets a new one.
   */
  #drainIfAllSent(): void {
    const allSent = this.#waiting.count === 0 && this.#calls.size <= this.#inFlight;
    if (!this.closing || this.#isEnding || !allSent) return;
    this.#open.length = 0;
    for (const endpoint of this.#endpoints) endpoint.drain();
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
