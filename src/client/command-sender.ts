/**
 * Sends the commands of a client's requests, at once or when the server takes more of them. Owns those that wait for their
 * turn, and the order in which the others were sent.
 */

import type { Connection } from '../connection/connection.ts';
import type { ClientReactor } from '../reactor/client.ts';
import { CommandError } from '../wire/errors.ts';
import { commandFrames } from '../wire/frames.ts';
import { asError } from '../wire/thrown.ts';
import { argumentsOf, checkCommand } from './command.ts';
import type { DataSender } from './command-data.ts';
import type { ServerSettings } from './negotiation.ts';
import type { ClientOptions } from './options.ts';
import type { ClientRequest } from './request.ts';

export class CommandSender {
  readonly #connection: Connection;
  readonly #reactor: ClientReactor<ClientRequest>;
  readonly #server: ServerSettings;
  readonly #data: DataSender;
  readonly #authorization: ClientOptions['authorization'];
  /** Requests that wait until the server takes more. */
  readonly #queued = new Set<ClientRequest>();
  /** Requests sent so far, and the ID of the newest. */
  #turns = 0;
  #newestId = 0;

  constructor(
    connection: Connection,
    reactor: ClientReactor<ClientRequest>,
    server: ServerSettings,
    data: DataSender,
    authorization: ClientOptions['authorization'],
  ) {
    this.#connection = connection;
    this.#reactor = reactor;
    this.#server = server;
    this.#data = data;
    this.#authorization = authorization;
  }

  /** Requests that wait for their turn. */
  get waiting(): number {
    return this.#queued.size;
  }

  /** A request whose command cannot be sent fails. */
  send(request: ClientRequest): void {
    if (this.#server.maxConcurrentRequests === 0) request.fail(takesNone());
    else if (this.#takesMore) this.#sendNow(request);
    else this.#queued.add(request);
  }

  /** Sends requests that had to wait, as far as the server takes more now. */
  sendQueued(): void {
    for (const request of this.#queued) {
      if (!this.#takesMore) return;
      this.#queued.delete(request);
      this.#sendNow(request);
    }
  }

  /** The request was given up. */
  forget(request: ClientRequest): void {
    this.#queued.delete(request);
  }

  /** Those that wait for a turn which never comes. */
  takeQueued(): ClientRequest[] {
    const queued = [...this.#queued];
    this.#queued.clear();
    return queued;
  }

  /**
   * The server runs none of what was sent after the request that its goaway names. IDs come round: what is still open
   * from an earlier round was sent before, whatever its ID.
   */
  refuseAfter(lastRequestId: number): void {
    const distance = (requestId: number) => (requestId - lastRequestId) & 0xffff;
    const furthest = distance(this.#newestId);
    for (const request of this.#reactor.requests()) {
      const { requestId, turn } = request;
      const isNew = this.#turns - turn < furthest / 2;
      request.refused = isNew && requestId !== lastRequestId && distance(requestId) <= furthest;
    }
  }

  get #takesMore(): boolean {
    return this.#reactor.openRequests < this.#server.maxConcurrentRequests;
  }

  #sendNow(request: ClientRequest): void {
    const { options } = request;
    const requestId = this.#reactor.freeId();
    try {
      this.#sendCommand(requestId, request);
    } catch (error) {
      request.fail(asError(error));
      return;
    }
    request.requestId = requestId;
    request.turn = ++this.#turns;
    this.#newestId = requestId;
    this.#reactor.open(requestId, request);
    if (options.data !== undefined) this.#data.send(request, options.data);
  }

  #sendCommand(requestId: number, { command, options, remainingMs, traceparent }: ClientRequest): void {
    const args = argumentsOf(options, this.#authorization, remainingMs, traceparent);
    const { commandLimits } = this.#server;
    if (commandLimits !== undefined) checkCommand(command, args, commandLimits);
    const hasData = options.data !== undefined;
    commandFrames(command, args, hasData, this.#server.frameSize, (type, flags, payload) =>
      this.#connection.sendPlain(requestId, type, flags, payload),
    );
  }
}

/** Nobody waits for a turn that cannot come: settings are sent once. */
function takesNone(): CommandError {
  return new CommandError('maxConcurrentRequests: the server takes no requests', {
    code: 'overloaded',
    notStarted: true,
  });
}
