/** One client as the server sees it: performs what the reactor says, and owns the requests in flight. */

import type { BatchReader } from '../../workers/batch.ts';
import type { Connection, FrameOwner } from '../connection/connection.ts';
import { KeepAlive } from '../connection/keepalive.ts';
import type { DecodeError } from '../encoding/codec.ts';
import type { ResponseCache } from '../lanes/cache.ts';
import type { CacheStream } from '../lanes/cache-stream.ts';
import { compressOnLane } from '../lanes/compress.ts';
import { LaneDecoders } from '../lanes/decoders.ts';
import type { LaneStream, LostBytes, StreamEvents } from '../lanes/lane-stream.ts';
import type { LanePool } from '../lanes/pool.ts';
import { Router } from '../lanes/router.ts';
import { Window } from '../reactor/flow.ts';
import { IdTable } from '../reactor/id-table.ts';
import type { Ticket } from '../reactor/incoming.ts';
import { costOf } from '../reactor/request.ts';
import type { ResponsePump } from '../reactor/response.ts';
import { type ReceivedCommand, type ServerAction, ServerReactor } from '../reactor/server.ts';
import { ProtocolError } from '../wire/errors.ts';
import { BytesResponseFlag, ErrorResponseFlag, type Frame, FrameType } from '../wire/frame.ts';
import {
  cutUtf8,
  decodeUtf8,
  EXTENSIONS,
  encodeGoaway,
  encodeSenderSettings,
  type SenderSettings,
} from '../wire/payloads.ts';
import type { Admission } from './authorize.ts';
import type { CommandTable } from './commands.ts';
import { InputBounds, type InputSource } from './input-bounds.ts';
import { type Offer, PeerSettings } from './negotiation.ts';
import { type RequestPeer, ServedRequest } from './request.ts';

/** What all peers of one server share. */
export interface PeerContext extends Offer {
  readonly commands: CommandTable;
  readonly pool: LanePool;
  readonly cache: ResponseCache;
  readonly halfDuplex: boolean;
  /** Milliseconds for which pieces of responses wait for more; 0: until the end of the tick. */
  readonly coalesceMs: number;
  /** Something of ours went wrong while serving `command`, or the peer broke the protocol. */
  readonly report: (error: unknown, about: { command?: string; remote?: string; lane?: number }) => void;
  readonly closed: (peer: Peer) => void;
}

const NOTHING = new Uint8Array(0);
const MAX_DEADLINE = 2 ** 31 - 1;

export class Peer implements FrameOwner, InputSource, RequestPeer, StreamEvents {
  readonly connection: Connection;
  readonly router: Router;
  readonly #context: PeerContext;
  readonly #reactor: ServerReactor;
  readonly #decoders: LaneDecoders;
  readonly #requests = new IdTable<ServedRequest>();
  readonly #actions: ServerAction[] = [];
  readonly #settings: PeerSettings;
  #dirty: ResponsePump[] = [];
  /** Requests whose last frame is with the writer and has not been handed to the transport. */
  #answered: { requestId: number; lingers: number | undefined }[] = [];
  #highestId = 0;
  #draining = false;
  /** Nothing is read any more. */
  #stopped = false;
  #inputEnded = false;
  #sendFailure: (() => void) | undefined;
  readonly #admission: Admission | undefined;
  #admitted: boolean;
  readonly #keepAlive: KeepAlive;
  readonly #input: InputBounds;
  window = new Window(undefined);

  /** `admission`: who has to be asked before anything is read, and for every command. */
  constructor(connection: Connection, context: PeerContext, admission?: Admission) {
    this.#admission = admission;
    this.#admitted = admission === undefined;
    this.connection = connection;
    this.#settings = new PeerSettings(context);
    this.#keepAlive = new KeepAlive(connection, () => this.#settings.speaks('ping'));
    this.#input = new InputBounds(connection, this);
    this.#context = context;
    const { limits } = connection;
    this.#decoders = new LaneDecoders(context.pool, limits, new Set(context.decodable), this.#decoded);
    const now = () => connection.inputTime;
    this.#reactor = new ServerReactor(limits, this.#decoders, context.halfDuplex, now);
    if (this.#reactor.holdsOutput) connection.writer.hold();
    this.router = new Router(context.pool, connection, this.#settings.routerOptions(), this);
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
      this.connection.fail(new ProtocolError('not-authorized', refusal));
      return;
    }
    this.#admitted = true;
    this.#input.check();
  }

  /** Requests being received or running. */
  get openRequests(): number {
    return this.#reactor.openRequests;
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

  overdue(now: number): ProtocolError | undefined {
    return this.#input.peerWaits ? undefined : this.#reactor.overdue(now);
  }

  onEnd(): void {
    this.#inputEnded = true;
    this.#input.stopCreditWaiters();
    this.#reactor.endOfInput(this.#actions);
    this.#perform();
    this.#endIfDone();
  }

  onFailed(sendError: () => void): void {
    this.#reactor.stop();
    this.#sendFailure = sendError;
    for (const request of this.#requests.values()) if (!request.answered) request.stop(undefined);
    this.#failIfDone();
  }

  onClosed(reason: Error | undefined): void {
    this.#reactor.stop();
    this.#decoders.closeAll();
    for (const request of this.#requests.values()) request.stop(undefined);
    this.#requests.clear();
    this.router.close();
    this.connection.output.wake();
    if (reason !== undefined) this.#context.report(reason, { remote: this.connection.remote });
    this.#context.closed(this);
  }

  /** Accepts no new requests; closes when those in flight are done (protocol C5). */
  drain(reason: string): void {
    if (this.#draining) return;
    this.#draining = true;
    if (this.#settings.speaks('goaway')) {
      this.sendPlain(0, FrameType.goaway, 0, encodeGoaway(this.#highestId, reason));
    }
    this.#endIfDone();
  }

  /** Answers what is still in flight with an error, and closes. */
  stop(reason: string): void {
    this.#draining = true;
    this.#stopped = true;
    this.connection.pause();
    this.#reactor.forgetReceiving();
    for (const request of this.#requests.values()) if (!request.answered) request.stop(reason);
    this.#endIfDone();
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
    for (const request of this.#requests.values()) {
      if (request.answered) continue;
      this.sendPlain(request.id, FrameType.bytesResponse, BytesResponseFlag.continuation);
      return;
    }
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
        return this.#run(action.command);
      case 'data':
        this.#input.dataCame(costOf(action.bytes));
        return this.#pushData(action.requestId, action.bytes, action.last);
      case 'cancel':
        return this.#stop(action.requestId, 'cancelled');
      case 'fail':
        return this.#stop(action.requestId, action.message);
      case 'abandon':
        this.#requests.get(action.requestId)?.stop(undefined);
        return;
      case 'settings':
        return this.#takeSettings(action.settings);
      case 'credit':
        return this.#credit(action.requestId, action.bytes);
      case 'ping':
        return this.#input.pong(action.payload);
      case 'pong':
        return this.router.pong(action.payload);
      case 'release-output':
        return this.connection.writer.release();
    }
  }

  #run(received: ReceivedCommand): void {
    const { requestId, hasData } = received;
    this.#highestId = requestId;
    const command = this.#context.commands.get(received.command);
    if (this.#draining) return this.#refuse(requestId, 'server is shutting down');
    if (command === undefined) return this.#refuse(requestId, `unknown command '${received.command}'`);
    const { args, reserved } = splitReserved(received);
    const deadline = deadlineOf(reserved);
    if (Number.isNaN(deadline)) return this.#refuse(requestId, ':deadline-ms is not a decimal number');
    const request = new ServedRequest(this, command, requestId, args, hasData);
    this.#requests.set(requestId, request);
    if (deadline !== undefined) request.expireAfter(deadline);
    const plain = reserved?.has(':sensitive') || command.sensitive === true;
    if (this.#admission === undefined) this.#route(request, args, plain);
    else this.#authorize(this.#admission, request, args, reserved?.get(':authorization'), plain);
  }

  /** Nothing is encoded for a command before the hook has said yes to it (protocol D). */
  async #authorize(
    admission: Admission,
    request: ServedRequest,
    args: ReadonlyMap<string, Uint8Array>,
    authorization: Uint8Array | undefined,
    plain: boolean,
  ): Promise<void> {
    const { name, mode } = request.command;
    const given = authorization && decodeUtf8(authorization);
    request.workBegins();
    const refusal = await admission.ask({ command: name, mode, args, authorization: given });
    request.workEnds();
    if (request.over) return;
    if (refusal === undefined) this.#route(request, args, plain);
    else request.stop(refusal);
  }

  /** Policies and affinity keys are the user's code: what they throw fails the request, nothing else. */
  #route(request: ServedRequest, args: ReadonlyMap<string, Uint8Array>, plain: boolean): void {
    const { id, command } = request;
    const inLane = command.handler === undefined;
    try {
      const query = { command: command.name, key: command.affinityKey?.(args) };
      this.router.acquire(id, query, plain, inLane, (stream) => request.start(stream));
    } catch (error) {
      this.report(error, command.name);
      request.stop('internal error: no stream for the response');
    }
  }

  #pushData(requestId: number, bytes: Uint8Array, last: boolean): void {
    const request = this.#requests.get(requestId);
    if (request === undefined) this.dataRead(costOf(bytes));
    else request.pushData(bytes, last);
  }

  #stop(requestId: number, message: string): void {
    const request = this.#requests.get(requestId);
    if (request !== undefined) request.stop(message);
    else if (this.#reactor.isRunning(requestId)) this.#refuse(requestId, message);
  }

  /** Answers with an application error without running anything. */
  #refuse(requestId: number, message: string): void {
    const payload = cutUtf8(message, this.connection.maxErrorSize);
    this.sendPlain(requestId, FrameType.errorResponse, ErrorResponseFlag.application, payload);
    this.#freeWhenHandedOver(requestId);
  }

  #takeSettings(settings: SenderSettings): void {
    this.#settings.take(settings);
    this.connection.peerTakes(settings.maxFrameSize);
    this.window = new Window(settings.connectionWindow);
    this.router.configure(this.#settings.routerOptions());
    if (this.#settings.speaks('ping')) this.router.peerAnswersPings();
    this.sendPlain(0, FrameType.senderSettings, 0, encodeSenderSettings(this.#ourSettings()));
  }

  #ourSettings(): SenderSettings {
    const { limits } = this.connection;
    return {
      contentEncodings: [...this.#context.decodable],
      maxFrameSize: limits.maxPayload,
      maxConcurrentRequests: limits.maxConcurrentRequests,
      extensions: [...EXTENSIONS],
    };
  }

  #credit(requestId: number, bytes: number): void {
    if (requestId === 0) this.window.add(bytes);
    else this.#requests.get(requestId)?.credit(bytes);
    this.#input.wakeCreditWaiters();
  }

  // ------------------------------------------------------------------- what requests need (RequestPeer)

  get frameSize(): number {
    return this.router.options.frameSize;
  }

  get requestWindow(): number | undefined {
    return this.#settings.requestWindow;
  }

  get output() {
    return this.connection.output;
  }

  get sendsProgress(): boolean {
    return this.#settings.speaks('progress');
  }

  get cache(): ResponseCache {
    return this.#context.cache;
  }

  get cacheProfile(): string | undefined {
    const { profile, perRequest } = this.router.options;
    return profile === 'zstd-8mb' && !perRequest ? profile : undefined;
  }

  waitForCredit(request: ServedRequest, resume: () => void): void {
    this.#input.waitForCredit(request, resume);
    if (this.#inputEnded) queueMicrotask(() => this.#input.stopCreditWaiters());
    else this.#input.check();
  }

  returnCredit(bytes: number): void {
    this.window.take(-bytes);
    this.#input.wakeCreditWaiters();
  }

  flushLater(pump: ResponsePump): void {
    if (this.#dirty.length === 0) {
      const { coalesceMs } = this.#context;
      if (coalesceMs > 0) setTimeout(() => this.#flushPumps(), coalesceMs);
      else this.connection.endOfTick(() => this.#flushPumps());
    }
    this.#dirty.push(pump);
  }

  sendPlain(requestId: number, type: number, flags: number, payload: Uint8Array = NOTHING): void {
    this.connection.sendPlain(requestId, type, flags, payload);
  }

  dataRead(cost: number): void {
    this.#input.dataRead(cost);
  }

  report(error: unknown, command: string): void {
    this.#context.report(error, { command, remote: this.connection.remote });
  }

  leaveStream(stream: LaneStream, requestId: number): void {
    this.router.leave(stream, requestId);
  }

  acquireCacheStream(use: (stream: CacheStream) => void): void {
    this.router.cacheStreams.acquire(use);
  }

  releaseCacheStream(stream: CacheStream, whole: boolean): void {
    this.router.cacheStreams.release(stream, whole);
  }

  compress(bytes: Uint8Array, then: (pieces: Uint8Array[] | undefined) => void): void {
    compressOnLane(this.#context.pool, bytes, then);
  }

  linger(handlers: number, argumentBytes: number): void {
    this.#reactor.linger(handlers, argumentBytes);
  }

  finished(request: ServedRequest): void {
    if (this.#requests.get(request.id) === request) this.#requests.delete(request.id);
    this.router.stopWaiting(request.id);
    this.#input.stopWaiting(request);
    this.#freeWhenHandedOver(request.id, request.lingers);
    this.#failIfDone();
  }

  // ------------------------------------------------------------------------ what lanes say (StreamEvents)

  onFrame(requestId: number, last: boolean, rawLength: number, call: boolean): void {
    this.#requests.get(requestId)?.onFrame(last, rawLength, call);
    this.connection.output.give(rawLength);
  }

  onCallRecord(record: BatchReader): void {
    this.#requests.get(record.requestId)?.onCallRecord(record);
  }

  onLost(requests: Iterable<number>, lost: LostBytes, reason: string): void {
    for (const requestId of requests) this.#lose(requestId, reason);
    this.connection.output.give(lost.pendingBytes);
    // The peer will never see these bytes, and so never credit them.
    if (this.window.limited) this.returnCredit(lost.creditedBytes);
  }

  #lose(requestId: number, reason: string): void {
    const request = this.#requests.get(requestId);
    if (request === undefined) return;
    const payload = cutUtf8(reason, this.connection.maxErrorSize);
    this.sendPlain(requestId, FrameType.errorResponse, ErrorResponseFlag.application, payload);
    request.lose(reason);
  }

  // ----------------------------------------------------------------------------- when to read (InputSource)

  get wanted(): boolean {
    return this.#admitted && !this.#stopped;
  }

  get heldBytes(): number {
    return this.#reactor.heldBytes;
  }

  get withoutStream(): ServedRequest[] {
    return this.router.waiting.flatMap((requestId) => this.#requests.get(requestId) ?? []);
  }

  holdDecoders(hold: boolean): void {
    this.#decoders.hold(hold);
  }

  // ---------------------------------------------------------------------------------------- the ends

  /** The ID is busy until the response's last byte has been handed to the transport (protocol A4). */
  #freeWhenHandedOver(requestId: number, lingers?: number): void {
    this.#reactor.answered(requestId);
    if (this.#answered.length === 0) this.connection.writer.whenHandedOver(this.#freeAnswered);
    this.#answered.push({ requestId, lingers });
  }

  readonly #freeAnswered = (): void => {
    const answered = this.#answered;
    this.#answered = [];
    for (const { requestId, lingers } of answered) {
      if (lingers !== undefined) this.linger(1, lingers);
      this.#reactor.finishResponse(requestId);
    }
    this.#endIfDone();
  };

  #flushPumps(): void {
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const pump of dirty) pump.flush();
  }

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

/** The handler's arguments, and the reserved ones beside them (protocol C6). */
function splitReserved({ args, reserved }: ReceivedCommand): {
  args: ReadonlyMap<string, Uint8Array>;
  reserved: ReadonlyMap<string, Uint8Array> | undefined;
} {
  if (!reserved) return { args, reserved: undefined };
  const isReserved = ([name]: [string, Uint8Array]) => name.startsWith(':');
  const all = [...args];
  return {
    args: new Map(all.filter((each) => !isReserved(each))),
    reserved: new Map(all.filter(isReserved)),
  };
}

/** Milliseconds from now, undefined without a deadline, NaN when it is not a decimal number. */
function deadlineOf(reserved: ReadonlyMap<string, Uint8Array> | undefined): number | undefined {
  const value = reserved?.get(':deadline-ms');
  if (value === undefined) return undefined;
  const text = decodeUtf8(value);
  return /^\d{1,15}$/.test(text) ? Math.min(Number(text), MAX_DEADLINE) : Number.NaN;
}
