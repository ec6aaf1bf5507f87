/**
 * A session whose client speaks frames, from the first of them to the last: performs what the reactor says, and puts
 * together what owns the rest of a connection's life.
 */

import type { Connection, FrameOwner } from '../connection/connection.ts';
import { CreditSender } from '../connection/credit-sender.ts';
import { TurnShare } from '../connection/turns.ts';
import type { DecodeError } from '../encoding/codec.ts';
import { ZSTD } from '../encoding/profiles.ts';
import { LaneDecoders } from '../lanes/decoders.ts';
import type { StreamFigures } from '../lanes/figures.ts';
import { Router } from '../lanes/router.ts';
import { windowOf } from '../reactor/announced.ts';
import { ConnectionFlow, type RequestFlow } from '../reactor/flow.ts';
import { FlushQueue } from '../reactor/flush-queue.ts';
import type { Ticket } from '../reactor/incoming.ts';
import { ServerReactor } from '../reactor/server.ts';
import type { Actions, ReceivedCommand, ServerAction } from '../reactor/server-action.ts';
import { TopicStreams } from '../topics/streams.ts';
import { ProtocolError } from '../wire/errors.ts';
import { ErrorResponseFlag, type Frame, FrameType, HEADER_SIZE } from '../wire/frame.ts';
import { encodeFailure, type Failure, type SenderSettings } from '../wire/payloads.ts';
import type { Admission } from './authorize.ts';
import { ConnectionCaller } from './caller.ts';
import { Dispatch } from './dispatch.ts';
import { tellRefused } from './ended.ts';
import { InputBounds, type InputSource } from './input-bounds.ts';
import { letGoOfLargest } from './let-go.ts';
import { type DataWindowSizes, Negotiation } from './negotiation.ts';
import { OpenRequests } from './open-requests.ts';
import { PeerWatch } from './peer-watch.ts';
import type { ServedRequest } from './request.ts';
import type { Session, Splicing } from './session.ts';
import type { SessionContext, SessionRules } from './session-context.ts';
import { SessionEnd } from './session-end.ts';

/** Pings in a second that a peer has to take before responses are paced by them: one every 20 ms, and as many again. */
const LEAST_PINGS = 100;

/** Bytes that may gather of what many connections share; the rest is better off where it is held once for all. */
const MOST_SHARED = 64 * 1024;

const rateNow = (): number => performance.now();

const CANCELLED: Failure = { code: 'cancelled', message: 'cancelled' };
const SHUTTING_DOWN: Failure = { code: 'shutting-down', message: 'server is shutting down' };

export class FramesSession implements Session, FrameOwner, InputSource, Actions {
  readonly connection: Connection;
  readonly flow: ConnectionFlow;
  readonly requests: OpenRequests;
  readonly router: Router;
  readonly shared: SessionContext;
  readonly #ending: SessionEnd;
  readonly #reactor: ServerReactor;
  readonly #dispatch: Dispatch;
  /** What is to be done: the first, and mostly only, thing; and the others. */
  #action: ServerAction | undefined;
  #otherActions: ServerAction[] | undefined;
  readonly #rules: SessionRules;
  readonly #admission: Admission | undefined;
  #caller: ConnectionCaller;
  #newestSerial = 0;
  /** Responses of main-thread handlers that no stream has encoded. */
  readonly plain = { frames: 0, bytesIn: 0, bytesOut: 0 };
  // What comes from here on is not looked at for each request.
  readonly openedAtMs = performance.now();
  place = -1;
  /** Responses that hold a piece until the tick ends. */
  readonly flushes: FlushQueue;
  readonly #peerWatch: PeerWatch;
  readonly #decoders: LaneDecoders;
  readonly #negotiation: Negotiation;
  #admitted: boolean;
  /** Made for the first subscription. */
  #topicStreams: TopicStreams | undefined;
  readonly #input: InputBounds;
  readonly #credits: CreditSender;
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
    this.flow = new ConnectionFlow(connection.output, new TurnShare(connection.turns), connection.input);
    this.#input = new InputBounds(connection, this.flow, this);
    this.#credits = new CreditSender(connection);
    this.flushes = new FlushQueue(shared.coalesceMs, (run) => connection.endOfTick(run));
    const { limits } = connection;
    this.#decoders = new LaneDecoders(shared.pool, limits, shared.decodable, this.#decoded, this.flow);
    this.#reactor = new ServerReactor(
      limits,
      this.#decoders,
      this.#halfDuplex,
      connection.clock,
      this.flow.input,
      rateNow,
    );
    if (this.#reactor.holdsOutput) connection.writer.hold();
    this.#dispatch = new Dispatch(this, admission);
    this.requests = new OpenRequests(this, this.#reactor, this.#dispatch);
    this.#ending = new SessionEnd(connection, this.#reactor, this.requests, this.#negotiation);
    this.#peerWatch = new PeerWatch(connection, this.requests, () => this.#negotiation.speaks('ping'));
    this.router = new Router(
      shared.pool,
      connection,
      this.flow,
      this.#negotiation.routerOptions(),
      this.requests,
    );
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

  get remote(): string {
    return this.connection.remote;
  }

  get bytesRead(): number {
    return this.connection.bytesRead;
  }

  get bytesWritten(): number {
    return this.connection.writer.bytesWritten;
  }

  figures(): StreamFigures[] {
    return this.router.figures();
  }

  openFigures(): StreamFigures[] {
    return this.router.openFigures();
  }

  drain(reason: string): void {
    this.#ending.drain(reason);
  }

  stop(reason: string): void {
    this.#ending.stop(reason);
  }

  retire(): void {
    this.#ending.retire();
  }

  checkPeer(): void {
    this.#peerWatch.check();
  }

  probe(): void {
    this.connection.probe();
  }

  // ------------------------------------------------------------------------------- frames in (FrameOwner)

  receive(frame: Frame): void {
    try {
      this.#reactor.receive(frame, this);
    } finally {
      // What came before an error in the same step still counts.
      this.#perform();
    }
    if (this.#mayHoldTooMuch) this.#input.check();
  }

  /** What the bounds of input weigh is mostly nothing at all. */
  get #mayHoldTooMuch(): boolean {
    const { output, data, input } = this.flow;
    return output.used >= output.limit || data.unread > 0 || this.#reactor.heldBytes > 0 || input.spent;
  }

  /** What waits for a decoder may be the beginning of a command: the peer may send nothing more by which that would be seen. */
  get midCommand(): boolean {
    return this.#reactor.midCommand || this.#reactor.decoding;
  }

  overdue(nowMs: number): ProtocolError | undefined {
    return this.#input.peerWaits ? undefined : this.#reactor.overdue(nowMs, this.#owesCredit);
  }

  /** The peer may be waiting until a handler has read what it has. */
  readonly #owesCredit = (requestId: number): boolean =>
    this.requests.get(requestId)?.flow.data.owed ?? false;

  onEnd(): void {
    this.#ending.inputEnded();
    this.#input.inputEnded();
    this.#reactor.endOfInput(this);
    this.#perform();
    this.#ending.check();
    this.#peerWatch.inputEnded();
  }

  onFailed(sendError: () => void, error: ProtocolError): void {
    this.#rules.onFailed?.(error);
    this.#reactor.stop();
    this.#ending.fail(sendError);
  }

  onClosed(reason: Error | undefined): void {
    this.#peerWatch.close();
    this.#reactor.stop();
    this.#decoders.closeAll();
    this.requests.drop();
    this.router.close();
    this.#credits.close();
    this.flow.output.wake();
    if (reason !== undefined) this.shared.report(reason, { remote: this.connection.remote });
    this.shared.closed(this, reason);
  }

  readonly #decoded = (ticket: Ticket, error: DecodeError | undefined): void => {
    if (!this.connection.open) return;
    if (error !== undefined) {
      this.connection.fail(error);
      return;
    }
    try {
      this.#reactor.decoded(ticket, this);
      this.#perform();
    } catch (failure) {
      this.#perform();
      this.connection.fail(failure);
    }
    this.#input.check();
    if (this.connection.open) this.#ending.check();
  };

  // --------------------------------------------------------------------------------------- actions

  /** For the reactor: this is to be done. */
  push(action: ServerAction): void {
    if (this.#action === undefined) this.#action = action;
    else {
      this.#otherActions ??= [];
      this.#otherActions.push(action);
    }
  }

  #perform(): void {
    const action = this.#action;
    if (action === undefined) return;
    const others = this.#otherActions;
    this.#action = this.#otherActions = undefined;
    this.#act(action);
    for (const other of others ?? []) this.#act(other);
  }

  #act(action: ServerAction): void {
    switch (action.kind) {
      case 'run':
        this.#ending.newestId = action.command.requestId;
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
        return this.requests.get(action.requestId)?.stop(undefined);
      case 'settings':
        return this.#takeSettings(action.settings);
      case 'credit':
        if (action.requestId === 0) return this.flow.addCredit(action.bytes);
        return this.requests.get(action.requestId)?.flow.addCredit(action.bytes);
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
    if (this.#ending.draining) this.refuse(command.requestId, SHUTTING_DOWN, command.command);
    else this.#dispatch.run(command, this.#rules.judge?.(command.command));
  }

  #takeData(requestId: number, bytes: Uint8Array, last: boolean): void {
    const request = this.requests.get(requestId);
    if (request === undefined) this.flow.data.unwanted(bytes.length);
    else request.pushData(bytes, last);
  }

  #cancel(requestId: number, failure: Failure): void {
    const request = this.requests.get(requestId);
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
    const ours = this.#negotiation.answer(this.connection.limits, this.#limitData());
    this.connection.sendPlain(0, FrameType.senderSettings, 0, ours);
    this.#ending.settingsCame();
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

  // ------------------------------------------------------------------- what requests ask, and tell

  get sendsProgress(): boolean {
    return this.#negotiation.speaks('progress');
  }

  /** Who its requests come from. */
  get caller(): ConnectionCaller {
    if (this.#admission !== undefined) this.#caller = this.#caller.as(this.#admission.principal);
    return this.#caller;
  }

  nextSerial(): number {
    return ++this.#newestSerial;
  }

  /** What the peer takes of an error (protocol C11). */
  get errorDetail(): number {
    return this.#negotiation.errorDetail;
  }

  get splicing(): Splicing | undefined {
    const { options, cacheStreams: streams } = this.router;
    if (options.profile !== ZSTD || options.perRequest) return undefined;
    return { profile: options.profile, maxSize: this.#negotiation.maxWholeSize, streams };
  }

  get takesMore(): boolean {
    const { writer } = this.connection;
    return !writer.busy && writer.gathered < MOST_SHARED;
  }

  sendPlain(requestId: number, type: number, flags: number, payload?: Uint8Array): void {
    this.connection.sendPlain(requestId, type, flags, payload);
  }

  /** Sends an application error of at most `most` bytes on the plain stream. */
  sendError(requestId: number, failure: Failure, most = this.connection.maxErrorSize): void {
    const payload = encodeFailure(failure, this.errorDetail, most);
    this.connection.sendPlain(requestId, FrameType.errorResponse, ErrorResponseFlag.application, payload);
  }

  /** Response bytes go out on the plain stream. */
  passedPlain(bytes: number, wireBytes = HEADER_SIZE + bytes): void {
    this.plain.frames++;
    this.plain.bytesIn += bytes;
    this.plain.bytesOut += wireBytes;
  }

  /** Answers with an application error without running anything, for `command` where it is the first that is heard of it. */
  refuse(requestId: number, failure: Failure, command?: string): void {
    if (command !== undefined) tellRefused(this, command, failure.code);
    this.sendError(requestId, failure);
    this.#ending.leave(requestId, undefined);
  }

  /** Streams that carry topics. */
  get topicStreams(): TopicStreams {
    this.#topicStreams ??= new TopicStreams(this.router.ids, this.connection.writer);
    return this.#topicStreams;
  }

  /**
   * The last frame has been given to the writer, or nothing more will be sent. `lingers`: bytes of the arguments of its
   * handler that is still at work; undefined: none is.
   */
  finished(request: ServedRequest, lingers: number | undefined): void {
    this.requests.remove(request);
    if (request.hasData) this.#credits.forget(request.id);
    this.#ending.leave(request.id, lingers);
  }

  report(error: unknown, command: string | undefined): void {
    const { remote } = this.connection;
    this.shared.report(error, command === undefined ? { remote } : { command, remote });
  }

  // ----------------------------------------------------------------------------- when to read (InputSource)

  get wanted(): boolean {
    return this.#admitted && !this.#ending.stopped;
  }

  get heldBytes(): number {
    return this.#reactor.heldBytes;
  }

  get withoutStream(): RequestFlow[] {
    return this.router.waiting.flatMap((requestId) => this.requests.get(requestId)?.flow ?? []);
  }

  letGo(): boolean {
    const has = letGoOfLargest(this.#reactor, this.requests.values(), this, this.flow.input.counts);
    this.#perform();
    return has;
  }

  holdDecoders(hold: boolean): void {
    this.#decoders.hold(hold);
  }
}
