/** One client as the server sees it: performs what the reactor says, and owns the requests in flight. */

import type { BatchReader } from '../../workers/batch.ts';
import type { Connection, FrameOwner } from '../connection/connection.ts';
import { CreditSender } from '../connection/credit-sender.ts';
import { KeepAlive } from '../connection/keepalive.ts';
import type { DecodeError } from '../encoding/codec.ts';
import type { ResponseCache } from '../lanes/cache.ts';
import { LaneDecoders } from '../lanes/decoders.ts';
import type { StreamEvents } from '../lanes/lane-stream.ts';
import type { LanePool } from '../lanes/pool.ts';
import { Router } from '../lanes/router.ts';
import type { ServerTracing } from '../options/tracing.ts';
import { announcedOf, windowOf } from '../reactor/announced.ts';
import type { ConnectionFlow, RequestFlow } from '../reactor/flow.ts';
import { FlushQueue } from '../reactor/flush-queue.ts';
import { IdTable } from '../reactor/id-table.ts';
import type { Ticket } from '../reactor/incoming.ts';
import { requestIdOf } from '../reactor/request.ts';
import { ServerReactor } from '../reactor/server.ts';
import type { ReceivedCommand, ServerAction } from '../reactor/server-action.ts';
import { TopicStreams } from '../topics/streams.ts';
import { ProtocolError } from '../wire/errors.ts';
import { BytesResponseFlag, ErrorResponseFlag, type Frame, FrameType, HEADER_SIZE } from '../wire/frame.ts';
import {
  EXTENSIONS,
  encodeFailure,
  encodeGoaway,
  encodeSenderSettings,
  type Failure,
  type SenderSettings,
} from '../wire/payloads.ts';
import { after, unref } from '../wire/timers.ts';
import type { Admission } from './authorize.ts';
import { ConnectionCaller } from './caller.ts';
import { type RequestEnded, requestEnded } from './channels.ts';
import type { CommandTable } from './commands.ts';
import type { StreamKinds } from './dictionaries.ts';
import { Dispatch } from './dispatch.ts';
import { InputBounds, type InputSource } from './input-bounds.ts';
import { letGoOfLargest } from './let-go.ts';
import { Negotiation, type Offer } from './negotiation.ts';
import type { ServedRequest } from './request.ts';
import type { Server } from './server.ts';

/** What holds for one connection beside what all share. */
export interface SessionRules {
  /** The transport cannot answer while it is still reading (protocol A6); missing: as the server is told. */
  readonly halfDuplex?: boolean;
  /** What the peer takes, where that is known without its saying so: it is not answered with settings of ours. */
  readonly announced?: SenderSettings;
  /** Why a command may not come this way; undefined: it may. @throws ProtocolError when its coming breaks the protocol. */
  readonly judge?: (command: string) => Failure | undefined;
  /** The peer has announced its settings. @throws ProtocolError when it must not. */
  readonly onSettings?: () => void;
  /** A protocol error was found, and the peer is about to be told of it. */
  readonly onFailed?: (error: ProtocolError) => void;
}

/** What all sessions of one server share. */
export interface SessionContext extends Offer {
  readonly server: Server;
  /** Told of every request; undefined: nobody is. */
  readonly tracing: ServerTracing | undefined;
  readonly commands: CommandTable;
  /** Which kind of stream a command's responses go out on. */
  readonly kinds: StreamKinds;
  readonly pool: LanePool;
  readonly cache: ResponseCache;
  readonly halfDuplex: boolean;
  /** Milliseconds for which pieces of responses wait for more; 0: until the end of the tick. */
  readonly coalesceMs: number;
  /** Something of ours went wrong while serving `command`, or the peer broke the protocol. */
  readonly report: (error: unknown, about: { command?: string; remote?: string; lane?: number }) => void;
  readonly closed: (session: Session, reason: Error | undefined) => void;
}

/** How soon after the first probe of a peer that has ended its side the second one follows, and how late the last one. */
const FIRST_PROBE_MS = 10;
const LAST_PROBE_MS = 10_000;

/** Pings in a second that a peer has to take before responses are paced by them: one every 20 ms, and as many again. */
const LEAST_PINGS = 100;

type DataWindowSizes = Pick<SenderSettings, 'requestWindow' | 'connectionWindow'>;

/** A request whose last frame is with the writer. */
interface Leaving {
  readonly requestId: number;
  /** Bytes of the arguments of a handler that is still at work; undefined: none is. */
  readonly lingers: number | undefined;
}

/** What a request has come to, as {@link RequestEnded} has it. */
type RequestOutcome = Omit<RequestEnded, 'server' | 'connectionId' | 'remote' | 'requestId' | 'principal'>;

const NEVER_RUN = { profile: 'plain', bytes: 0, wireBytes: 0, queuedMs: 0, workMs: 0 };
const CANCELLED: Failure = { code: 'cancelled', message: 'cancelled' };
const UNENCODED: Failure = {
  code: 'internal',
  message: 'internal error: the response could not be encoded',
};
/** Nothing of the request has run, but what was sent of its data is lost. */
const NOT_BEGUN: Failure = {
  code: 'overloaded',
  message: 'the worker died before the command began',
};
const SHUTTING_DOWN: Failure = { code: 'shutting-down', message: 'server is shutting down' };

export class Session implements FrameOwner, InputSource, StreamEvents {
  readonly connection: Connection;
  readonly openedAtMs = performance.now();
  readonly router: Router;
  readonly shared: SessionContext;
  /** Responses that hold a piece until the tick ends. */
  readonly flushes: FlushQueue;
  readonly #reactor: ServerReactor;
  readonly #decoders: LaneDecoders;
  readonly #dispatch: Dispatch;
  readonly #requests = new IdTable<ServedRequest>();
  readonly #actions: ServerAction[] = [];
  readonly #negotiation: Negotiation;
  /** Requests whose last frame has not been handed to the transport. */
  #leaving: Leaving[] = [];
  #highestId = 0;
  #draining = false;
  #isOld = false;
  /** Nothing is read any more. */
  #stopped = false;
  #inputEnded = false;
  #nextProbe: ReturnType<typeof setTimeout> | undefined;
  #sendFailure: (() => void) | undefined;
  /** Responses of main-thread handlers that no stream has encoded. */
  readonly plain = { frames: 0, bytesIn: 0, bytesOut: 0 };
  readonly #admission: Admission | undefined;
  #admitted: boolean;
  #caller: ConnectionCaller;
  #newestSerial = 0;
  /** Made for the first subscription. */
  #topicStreams: TopicStreams | undefined;
  readonly #keepAlive: KeepAlive;
  readonly #input: InputBounds;
  readonly #credits: CreditSender;
  readonly #rules: SessionRules;
  readonly #halfDuplex: boolean;

  /** `admission`: who has to be asked before anything is read, and for every command. */
  constructor(
    connection: Connection,
    shared: SessionContext,
    admission?: Admission,
    rules: SessionRules = {},
  ) {
    this.#rules = rules;
    this.#halfDuplex = rules.halfDuplex ?? shared.halfDuplex;
    this.#admission = admission;
    this.#admitted = admission === undefined;
    this.connection = connection;
    this.#caller = new ConnectionCaller(connection.remote);
    this.shared = shared;
    this.#negotiation = new Negotiation(shared);
    if (rules.announced !== undefined) this.#negotiation.take(rules.announced);
    this.#keepAlive = new KeepAlive(connection, () => this.#negotiation.speaks('ping'));
    this.#input = new InputBounds(connection, this);
    this.#credits = new CreditSender(connection);
    this.flushes = new FlushQueue(shared.coalesceMs, (run) => connection.endOfTick(run));
    const { limits } = connection;
    this.#decoders = new LaneDecoders(shared.pool, limits, new Set(shared.decodable), this.#decoded);
    const now = () => connection.inputTimeMs;
    this.#reactor = new ServerReactor(limits, this.#decoders, this.#halfDuplex, now, this.flow.input, () =>
      performance.now(),
    );
    if (this.#reactor.holdsOutput) connection.writer.hold();
    this.router = new Router(shared.pool, connection, this.#negotiation.routerOptions(), this);
    this.#dispatch = new Dispatch(this, admission);
  }

  /** Begins to read, once the peer is admitted. */
  start(): void {
    if (!this.#admitted) this.connection.pause();
    this.connection.start(this);
    if (!this.#admitted) this.#admit();
  }

  async #admit(): Promise<void> {
    const refusal = await this.#admission?.ask();
    if (refusal !== undefined) {
      this.connection.fail(new ProtocolError('not-authorized', refusal.message));
      return;
    }
    this.#admitted = true;
    this.#input.check();
  }

  // ------------------------------------------------------------------------------- frames in (FrameOwner)

  receive(frame: Frame): void {
    try {
      this.#reactor.receive(frame, this.#actions);
    } finally {
      // What came before an error in the same step still counts.
      this.#perform();
    }
    this.#input.check();
  }

  get midCommand(): boolean {
    return this.#reactor.midCommand && !this.#input.peerWaits;
  }

  overdue(nowMs: number): ProtocolError | undefined {
    return this.#input.peerWaits ? undefined : this.#reactor.overdue(nowMs, this.#owesCredit);
  }

  /** The peer may be waiting until a handler has read what it has. */
  readonly #owesCredit = (requestId: number): boolean =>
    this.#requests.get(requestId)?.flow.data.owed ?? false;

  onEnd(): void {
    this.#inputEnded = true;
    this.#input.inputEnded();
    this.#reactor.endOfInput(this.#actions);
    this.#perform();
    this.#endIfDone();
    this.#probeEnded();
  }

  /**
   * A process that was killed has closed its side, like a peer that sends no more and waits for its answers. What we send
   * tells them apart: the first is answered with a reset, which the second sending finds.
   */
  #probeEnded(againMs = FIRST_PROBE_MS): void {
    if (this.#requests.size === 0 || !this.connection.open || againMs > LAST_PROBE_MS) return;
    this.#probe();
    this.#nextProbe = unref(after(againMs, () => this.#probeEnded(againMs * 4)));
  }

  onFailed(sendError: () => void, error: ProtocolError): void {
    this.#rules.onFailed?.(error);
    this.#reactor.stop();
    this.#sendFailure = sendError;
    this.#stopRequests(undefined);
    this.#failIfDone();
  }

  onClosed(reason: Error | undefined): void {
    clearTimeout(this.#nextProbe);
    this.#reactor.stop();
    this.#decoders.closeAll();
    for (const request of this.#requests.values()) request.drop();
    this.#requests.clear();
    this.router.close();
    this.#credits.close();
    this.flow.output.wake();
    if (reason !== undefined) this.shared.report(reason, { remote: this.connection.remote });
    this.shared.closed(this, reason);
  }

  /** Accepts no new requests; closes when those in flight are done (protocol C5). */
  drain(reason: string): void {
    if (this.#draining) return;
    this.#draining = true;
    if (this.#negotiation.speaks('goaway')) {
      this.connection.sendPlain(0, FrameType.goaway, 0, encodeGoaway(this.#highestId, reason));
    }
    for (const request of this.#requests.values()) request.drain(reason);
    this.#endIfDone();
  }

  /** It is old: a peer that understands it is told to make another connection (protocol C5). */
  retire(): void {
    this.#isOld = true;
    if (this.#negotiation.speaks('goaway')) this.drain('the connection is old');
  }

  /** Answers what is still in flight with an error, and closes. */
  stop(reason: string): void {
    this.#draining = true;
    this.#stopped = true;
    this.connection.pause();
    this.#reactor.forgetReceiving();
    this.#stopRequests(reason);
    this.#endIfDone();
  }

  /** Stops the requests whose last frame is not on its way; they are told `message`, or nothing. */
  #stopRequests(message: string | undefined): void {
    for (const request of this.#requests.values()) {
      if (request.state === 'sent') continue;
      // Only what has not run at all is safe to be asked for again (protocol C11).
      const code = request.state === 'waiting' ? 'shutting-down' : 'cancelled';
      request.stop(message === undefined ? undefined : { code, message });
    }
  }

  /** To be called once in a while; drops a peer that has gone without a word (see {@link KeepAlive}). */
  checkAlive(): void {
    if (!this.connection.reading) this.#probe();
    this.#keepAlive.check();
  }

  /**
   * That the socket of a peer is gone which has half-closed, or which we do not read, shows only when we send. An empty
   * piece of a response that it waits for is something to send that changes nothing.
   */
  #probe(): void {
    const request = this.#requests.values().find(({ state }) => state !== 'sent');
    if (request === undefined) return;
    this.connection.sendPlain(request.id, FrameType.bytesResponse, BytesResponseFlag.continuation);
  }

  readonly #decoded = (ticket: Ticket, error: DecodeError | undefined): void => {
    if (!this.connection.open) return;
    if (error !== undefined) {
      this.connection.fail(error);
      return;
    }
    try {
      this.#reactor.decoded(ticket, this.#actions);
      this.#perform();
    } catch (failure) {
      this.#perform();
      this.connection.fail(failure);
    }
    this.#input.check();
    if (this.connection.open) this.#endIfDone();
  };

  // --------------------------------------------------------------------------------------- actions

  #perform(): void {
    const actions = this.#actions;
    if (actions.length === 0) return;
    const todo = actions.splice(0);
    for (const action of todo) this.#act(action);
  }

  #act(action: ServerAction): void {
    switch (action.kind) {
      case 'run':
        this.#highestId = action.command.requestId;
        return this.#run(action.command);
      case 'data':
        return this.#takeData(action.requestId, action.bytes, action.last);
      case 'unwanted':
        return this.flow.data.unwanted(action.bytes);
      case 'lost-data':
        return this.flow.data.lost();
      case 'cancel':
        return this.#cancel(action.requestId, CANCELLED);
      case 'fail':
        return this.#cancel(action.requestId, action.failure);
      case 'abandon':
        return this.#requests.get(action.requestId)?.stop(undefined);
      case 'settings':
        return this.#takeSettings(action.settings);
      case 'credit':
        if (action.requestId === 0) return this.flow.addCredit(action.bytes);
        return this.#requests.get(action.requestId)?.flow.addCredit(action.bytes);
      case 'dictionary-held':
        return this.#negotiation.hold(action.id);
      case 'ping':
        return this.#input.pong(action.payload);
      case 'pong':
        return this.router.pong(action.payload);
      case 'release-output':
        return this.connection.writer.release();
    }
  }

  #run(command: ReceivedCommand): void {
    const refusal = this.#draining ? SHUTTING_DOWN : this.#rules.judge?.(command.command);
    if (refusal === undefined) this.#dispatch.run(command);
    else this.refuse(command.requestId, refusal, command.command);
  }

  #takeData(requestId: number, bytes: Uint8Array, last: boolean): void {
    const request = this.#requests.get(requestId);
    if (request === undefined) this.flow.data.unwanted(bytes.length);
    else request.pushData(bytes, last);
  }

  #cancel(requestId: number, failure: Failure): void {
    const request = this.#requests.get(requestId);
    if (request !== undefined) request.stop(failure);
    else if (this.#reactor.isRunning(requestId)) this.refuse(requestId, failure);
  }

  #takeSettings(settings: SenderSettings): void {
    this.#rules.onSettings?.();
    this.#negotiation.take(settings);
    this.connection.peerTakes(settings.maxFrameSize);
    this.flow.announced(settings.requestWindow, settings.connectionWindow);
    this.router.configure(this.#negotiation.routerOptions());
    this.#credits.atMost(settings.maxCredits);
    if (this.#negotiation.speaks('ping') && (settings.maxPings ?? LEAST_PINGS) >= LEAST_PINGS)
      this.router.peerAnswersPings();
    const windows = this.#limitData();
    const ours = this.#ourSettings(windows);
    this.connection.sendPlain(0, FrameType.senderSettings, 0, encodeSenderSettings(ours));
    if (this.#isOld) this.retire();
  }

  /** Windows for command data (protocol C4). Half duplex there are none: credit would go out when all has come (protocol A6). */
  #limitData(): DataWindowSizes | undefined {
    if (this.#halfDuplex || !this.#negotiation.speaks('data-credit')) return undefined;
    const { maxRequestData, maxConnectionData } = this.connection.limits;
    const [requestWindow, connectionWindow] = [windowOf(maxRequestData), windowOf(maxConnectionData)];
    const grant = (requestId: number, bytes: number) => this.#credits.send(requestId, bytes);
    this.flow.data.limit({ requestWindow, connectionWindow, grant });
    return { requestWindow, connectionWindow };
  }

  #ourSettings(windows: DataWindowSizes | undefined): SenderSettings {
    const { limits } = this.connection;
    return {
      contentEncodings: [...this.shared.decodable],
      ...announcedOf(limits),
      maxConcurrentRequests: limits.maxConcurrentRequests,
      ...windows,
      ...(this.#negotiation.takesDictionaries && { dictionaries: this.shared.dictionaries.offers }),
      extensions: EXTENSIONS.filter((name) => name !== 'data-credit' || windows !== undefined),
    };
  }

  // ------------------------------------------------------------------- what requests ask, and tell

  get flow(): ConnectionFlow {
    return this.connection.flow;
  }

  /** Most payload bytes of a frame before encoding. */
  get frameSize(): number {
    return this.router.options.frameSize;
  }

  get sendsProgress(): boolean {
    return this.#negotiation.speaks('progress');
  }

  /** Who its requests come from. */
  get caller(): ConnectionCaller {
    const principal = this.#admission?.principal;
    if (principal !== this.#caller.principal) this.#caller = this.#caller.as(principal);
    return this.#caller;
  }

  nextSerial(): number {
    return ++this.#newestSerial;
  }

  /** What the peer takes of an error (protocol C11). */
  get errorDetail(): number {
    return this.#negotiation.errorDetail;
  }

  /** Bytes of a cached entry whose window the peer takes. */
  get maxCachedSize(): number {
    return this.#negotiation.maxWholeSize;
  }

  /** The profile of cached entries, or undefined when this peer cannot take them. */
  get cacheProfile(): string | undefined {
    const { profile, perRequest } = this.router.options;
    return profile === 'zstd-8mb' && !perRequest ? profile : undefined;
  }

  /** Sends an application error of at most `most` bytes on the plain stream. */
  sendError(requestId: number, failure: Failure, most = this.connection.maxErrorSize): void {
    const payload = encodeFailure(failure, this.errorDetail, most);
    this.connection.sendPlain(requestId, FrameType.errorResponse, ErrorResponseFlag.application, payload);
  }

  /** Response bytes go out on the plain stream. */
  passedPlain(bytes: number): void {
    this.plain.frames++;
    this.plain.bytesIn += bytes;
    this.plain.bytesOut += HEADER_SIZE + bytes;
  }

  /** Answers with an application error without running anything, for `command` where it is the first that is heard of it. */
  refuse(requestId: number, failure: Failure, command?: string): void {
    const { commands } = this.shared;
    if (command !== undefined) {
      const figures = commands.get(command)?.figures ?? commands.unknown;
      figures.refused(failure.code);
      if (requestEnded.hasSubscribers)
        this.tellEnded(this.nextSerial(), { ...NEVER_RUN, command: figures.command, code: failure.code });
    }
    this.sendError(requestId, failure);
    this.#freeWhenHandedOver({ requestId, lingers: undefined });
  }

  /** For who subscribes to requests that are over. */
  tellEnded(serial: number, outcome: RequestOutcome): void {
    const { caller, shared } = this;
    const { connectionId, remote, principal } = caller;
    const requestId = requestIdOf(caller, serial);
    requestEnded.publish({ server: shared.server, connectionId, remote, requestId, principal, ...outcome });
  }

  /** Requests at work. */
  get running(): number {
    return this.#requests.size;
  }

  add(request: ServedRequest): void {
    this.#requests.set(request.id, request);
  }

  /** Streams that carry topics. */
  get topicStreams(): TopicStreams {
    this.#topicStreams ??= new TopicStreams(this.router.ids, this.connection.writer);
    return this.#topicStreams;
  }

  /** The last frame has been given to the writer, or nothing more will be sent. `lingers`: see {@link Leaving}. */
  finished(request: ServedRequest, lingers: number | undefined): void {
    const { id: requestId } = request;
    if (this.#requests.get(requestId) === request) this.#requests.delete(requestId);
    this.#credits.forget(requestId);
    this.#freeWhenHandedOver({ requestId, lingers });
    this.#failIfDone();
  }

  // ------------------------------------------------------------------------ what lanes say (StreamEvents)

  report(error: unknown, command: string | undefined): void {
    const { remote } = this.connection;
    this.shared.report(error, command === undefined ? { remote } : { command, remote });
  }

  linger(handlers: number, argumentBytes: number): void {
    this.#reactor.linger(handlers, argumentBytes);
  }

  onFrame(requestId: number, last: boolean, rawLength: number, wireLength: number): void {
    this.#requests.get(requestId)?.onFrame(last, rawLength, wireLength);
  }

  onCallRecord(record: BatchReader): void {
    this.#requests.get(record.requestId)?.onRecord(record);
  }

  onLost(requests: Iterable<number>, failure: Failure): void {
    for (const requestId of requests) this.#lose(requestId, failure);
  }

  onUnencoded(requestId: number): void {
    this.#lose(requestId, UNENCODED);
  }

  #lose(requestId: number, failure: Failure): void {
    const request = this.#requests.get(requestId);
    if (request === undefined) return;
    if (request.retract()) {
      // Other streams of the connection may have been on that lane: they hear of it first.
      queueMicrotask(() => this.#dispatch.again(request));
      return;
    }
    const told = request.begun ? failure : NOT_BEGUN;
    this.sendError(requestId, told);
    request.lose(told);
  }

  // ----------------------------------------------------------------------------- when to read (InputSource)

  get wanted(): boolean {
    return this.#admitted && !this.#stopped;
  }

  get heldBytes(): number {
    return this.#reactor.heldBytes;
  }

  get withoutStream(): RequestFlow[] {
    return this.router.waiting.flatMap((requestId) => this.#requests.get(requestId)?.flow ?? []);
  }

  letGo(): boolean {
    const has = letGoOfLargest(this.#reactor, this.#requests.values(), this.#actions, this.flow.input.counts);
    this.#perform();
    return has;
  }

  holdDecoders(hold: boolean): void {
    this.#decoders.hold(hold);
  }

  // ---------------------------------------------------------------------------------------- the ends

  /** The ID is busy until the response's last byte has been handed to the transport (protocol A4). */
  #freeWhenHandedOver(leaving: Leaving): void {
    this.#reactor.answered(leaving.requestId);
    if (this.#leaving.length === 0) this.connection.writer.whenHandedOver(this.#free);
    this.#leaving.push(leaving);
  }

  readonly #free = (): void => {
    const left = this.#leaving;
    this.#leaving = [];
    for (const { requestId, lingers } of left) {
      if (lingers !== undefined) this.linger(1, lingers);
      this.#reactor.finishResponse(requestId);
    }
    this.#endIfDone();
  };

  #endIfDone(): void {
    if (!this.#inputEnded && !this.#draining) return;
    if (this.#reactor.openRequests > 0 || this.#reactor.decoding) return;
    if (this.#stopped) this.connection.finish();
    else this.connection.end();
  }

  #failIfDone(): void {
    if (this.#sendFailure === undefined || this.#requests.size > 0) return;
    const sendFailure = this.#sendFailure;
    this.#sendFailure = undefined;
    // The frames of the last finished response are given to the writer in this very step.
    queueMicrotask(sendFailure);
  }
}
