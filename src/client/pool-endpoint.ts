/** One address of a pool: its connections, and when it is tried again. */

import { kindOf } from '../wire/bytes.ts';
import { DEFAULT_LIMITS } from '../wire/limits.ts';
import { asError } from '../wire/thrown.ts';
import { after } from '../wire/timers.ts';
import { jittered } from './backoff.ts';
import { Circuit, type CircuitState } from './circuit.ts';
import type { Client } from './client.ts';
import type { PoolCall } from './pool-call.ts';
import type { CheckedPoolOptions } from './pool-options.ts';

/** What an address needs of its pool, and tells it. */
export interface EndpointOwner<Address> {
  connect(address: Address, signal: AbortSignal): Promise<Client>;
  /** A connection takes calls. */
  opened(connection: PoolConnection, endpoint: Endpoint<Address>): void;
  /** A connection takes no more calls: because of a goaway, or because it is gone. */
  left(connection: PoolConnection, endpoint: Endpoint<Address>, why: 'goaway' | 'lost', reason: Error): void;
  /** It will be tried again; `reason`: what has failed. */
  reconnecting(endpoint: Endpoint<Address>, delayMs: number, reason: Error): void;
}

/** A connection with the calls that it has. */
export class PoolConnection {
  readonly client: Client;
  readonly openedAtMs = performance.now();
  readonly #circuit: Circuit;
  #inFlight = 0;
  #hasAnswered = false;
  /** The newest call that tries a half-open circuit has had its time, and no answer. */
  #isSilent = false;

  constructor(client: Client, circuit: Circuit) {
    this.client = client;
    this.#circuit = circuit;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Whether it takes one more call now. */
  get hasRoom(): boolean {
    if (this.client.state !== 'open') return false;
    if (this.#circuit.state === 'half-open' && this.#inFlight > 0 && !this.#isSilent) return false;
    const announced = this.client.serverSettings?.maxConcurrentRequests;
    return this.#inFlight < (announced ?? DEFAULT_LIMITS.maxConcurrentRequests);
  }

  /** True when its server has answered a call, or begun to. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /**
   * Sends a call; resolves when the connection is free of it. `answered` is called when the server answers, `silent` when one that
   * tries a half-open circuit has no answer after `trialMs`, or nobody reads it: then the next call may try it too.
   */
  async run(call: PoolCall, answered: () => void, trialMs: number, silent: () => void): Promise<void> {
    this.#inFlight++;
    this.#isSilent = false;
    const trial =
      this.#circuit.state === 'half-open' &&
      after(trialMs, () => {
        this.#isSilent = true;
        silent();
      });
    await call.start(this.client, () => {
      this.#hasAnswered = true;
      answered();
    });
    if (trial) clearTimeout(trial);
    this.#inFlight--;
  }
}

export class Endpoint<Address> {
  readonly address: Address;
  readonly circuit: Circuit;
  readonly #owner: EndpointOwner<Address>;
  readonly #options: CheckedPoolOptions;
  readonly #open = new Set<PoolConnection>();
  /** Clients that are not closed yet, those that take no more calls among them. */
  readonly #clients = new Set<Client>();
  readonly #stop = new AbortController();
  #connecting = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lastError: Error | undefined;
  /** Bytes of the connections that are gone. */
  #pastBytes = { bytesRead: 0, bytesWritten: 0 };

  constructor(address: Address, owner: EndpointOwner<Address>, options: CheckedPoolOptions) {
    this.address = address;
    this.#owner = owner;
    this.#options = options;
    this.circuit = new Circuit(options);
  }

  get figures(): EndpointFigures<Address> {
    const { address, circuit } = this;
    const inFlight = [...this.#open].reduce((sum, connection) => sum + connection.inFlight, 0);
    const { state, failures } = circuit;
    return { address, connections: this.#open.size, inFlight, circuit: state, failures };
  }

  /** Bytes of all its connections, those that are gone among them. */
  get bytes(): { bytesRead: number; bytesWritten: number } {
    const all = [this.#pastBytes, ...[...this.#clients].map((client) => client.stats())];
    return {
      bytesRead: all.reduce((sum, each) => sum + each.bytesRead, 0),
      bytesWritten: all.reduce((sum, each) => sum + each.bytesWritten, 0),
    };
  }

  /** Why nothing can be expected of it for now; undefined: something can. */
  get down(): Error | undefined {
    return this.circuit.state === 'open' && this.#open.size === 0 ? this.#lastError : undefined;
  }

  /** Connects as often as is wanted: one at a time while it is not known to work. */
  fill(): void {
    if (this.#timer !== undefined || this.#stop.signal.aborted) return;
    const wanted = this.circuit.failures > 0 ? 1 : this.#options.size;
    while (this.#open.size + this.#connecting < wanted) void this.#connect();
  }

  /** A call was answered: it works. */
  answered(): void {
    if (this.circuit.failures === 0) return;
    this.circuit.succeeded();
    this.fill();
  }

  /** Its connections take no more calls, and close as {@link Client.close} does, once those that they have are answered. */
  drain(): void {
    for (const { client } of this.#open) void client.close();
    this.#open.clear();
  }

  /** Connects no more, and closes the connections as {@link Client.close} does; resolves when they are gone. */
  async close(graceMs: number | undefined): Promise<void> {
    this.#halt();
    await Promise.all([...this.#clients].map((client) => client.close({ graceMs })));
  }

  /** Connects no more, and drops the connections; resolves when they are gone. */
  async destroy(reason: Error): Promise<void> {
    this.#halt();
    for (const client of this.#clients) client.destroy(reason);
    await Promise.all([...this.#clients].map(({ closed }) => closed));
  }

  #halt(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#stop.abort();
  }

  async #connect(): Promise<void> {
    this.#connecting++;
    let client: Client | undefined;
    let error: Error | undefined;
    try {
      client = checkClient(await this.#askForClient());
    } catch (thrown) {
      error = asError(thrown);
    }
    this.#connecting--;
    if (this.#stop.signal.aborted) client?.destroy();
    else if (client === undefined) this.#failed(error as Error);
    else this.#opened(client);
  }

  /** Never throws: a failure is a later turn's, or {@link fill} would try again and again within this one. */
  async #askForClient(): Promise<unknown> {
    return this.#owner.connect(this.address, this.#stop.signal);
  }

  #opened(client: Client): void {
    const connection = new PoolConnection(client, this.circuit);
    this.#clients.add(client);
    this.#open.add(connection);
    client.on('goaway', ({ reason }) => this.#goneAway(connection, reason));
    client.on('closed', ({ reason }) => this.#lost(connection, reason));
    if (client.state === 'closed') this.#lost(connection, client.closeReason as Error);
    else if (client.state === 'draining') this.#goneAway(connection, new Error('it takes no calls'));
    else this.#owner.opened(connection, this);
  }

  /** What it has in flight is answered there; calls that it refuses go elsewhere (protocol C5). */
  #goneAway(connection: PoolConnection, reason: Error): void {
    if (!this.#open.delete(connection)) return;
    void connection.client.close();
    this.#owner.left(connection, this, 'goaway', reason);
    if (this.#isProven(connection)) this.#tryAgainAfter(jittered(this.#options.minBackoffMs), reason);
    else this.#failed(reason);
  }

  #lost(connection: PoolConnection, reason: Error): void {
    const { bytesRead, bytesWritten } = connection.client.stats();
    this.#pastBytes.bytesRead += bytesRead;
    this.#pastBytes.bytesWritten += bytesWritten;
    this.#clients.delete(connection.client);
    if (!this.#open.delete(connection) || this.#stop.signal.aborted) return;
    this.#owner.left(connection, this, 'lost', reason);
    if (this.#isProven(connection)) this.circuit.succeeded();
    this.#failed(reason);
  }

  /** One that connects and breaks at once, over and over, does not work. */
  #isProven({ hasAnswered, openedAtMs }: PoolConnection): boolean {
    return hasAnswered || performance.now() - openedAtMs >= this.#options.maxBackoffMs;
  }

  /** All that fails before the next try is one failure: a server that ends takes all its connections with it. */
  #failed(reason: Error): void {
    if (this.#timer === undefined) this.#tryAgainAfter(this.circuit.failed(), reason);
  }

  #tryAgainAfter(delayMs: number, reason: Error): void {
    if (this.#timer !== undefined || this.#stop.signal.aborted) return;
    this.#lastError = reason;
    this.#timer = after(delayMs, () => {
      this.#timer = undefined;
      this.circuit.tryAgain();
      this.fill();
    });
    this.#owner.reconnecting(this, delayMs, reason);
  }
}

/** @throws TypeError for what is no client: the function that connects is the user's. */
function checkClient(made: unknown): Client {
  const { on, call } = (made ?? {}) as Partial<Client>;
  if (typeof on === 'function' && typeof call === 'function') return made as Client;
  throw new TypeError(`connect gave ${kindOf(made)} instead of a client`);
}

/** An address as stats() shows it. */
export interface EndpointFigures<Address> {
  address: Address;
  /** Connections that take calls. */
  connections: number;
  inFlight: number;
  circuit: CircuitState;
  /** Failures since it last worked. */
  failures: number;
}
