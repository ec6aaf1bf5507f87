/**
 * A session of one command, asked by somebody who speaks no frames: what comes of it goes to an {@link Answer} as it is.
 * The hook, the limits, the deadlines and the turns are those of all sessions.
 */

import type { Shared } from '../connection/connection.ts';
import { TurnShare } from '../connection/turns.ts';
import type { StreamFigures } from '../lanes/figures.ts';
import { UnencodedRouter } from '../lanes/unencoded-router.ts';
import { ConnectionFlow, type FlowListener } from '../reactor/flow.ts';
import { FlushQueue } from '../reactor/flush-queue.ts';
import { Gate } from '../reactor/gate.ts';
import { HeldArguments, type HeldCommand } from '../reactor/held-arguments.ts';
import type { ProtocolError } from '../wire/errors.ts';
import type { Failure } from '../wire/failure.ts';
import { ErrorResponseFlag, FrameType } from '../wire/frame.ts';
import { type Limits, overLimit, PIECE_COST } from '../wire/limits.ts';
import { ErrorDetail, encodeFailure, type ReceivedFailure } from '../wire/payloads.ts';
import { type Answer, AnswerFeed } from './answer-feed.ts';
import type { Admission } from './authorize.ts';
import { type Asker, ConnectionCaller } from './caller.ts';
import { Dispatch } from './dispatch.ts';
import { tellRefused } from './ended.ts';
import { mostHeld } from './input-bounds.ts';
import { letGoOfUnread } from './let-go.ts';
import { type Lingering, OpenRequests } from './open-requests.ts';
import { bytesIn, type ServedRequest } from './request.ts';
import type { Session } from './session.ts';
import type { SessionContext } from './session-context.ts';

/** Command data that comes, to {@link CallSession.push}, while it is wanted. */
export interface DataSource {
  resume(): void;
  pause(): void;
  /** None of it is wanted any more. */
  stop(): void;
  /** Finds out whether its sender is still there while nothing of it is read. */
  probe(): void;
}

export interface AskedCommand {
  readonly name: string;
  readonly args: ReadonlyMap<string, Uint8Array>;
  /** Undefined: the command has no data. */
  readonly data: DataSource | undefined;
  readonly asker: Asker;
}

/** What one call is made with. */
export interface CallParts {
  readonly context: SessionContext;
  readonly limits: Limits;
  readonly shared: Shared;
  readonly admission: Admission | undefined;
}

const REQUEST_ID = 1;
const NOTHING = new Uint8Array(0);
const SHUTTING_DOWN: Failure = { code: 'shutting-down', message: 'server is shutting down' };
export const GIVEN_UP: ReceivedFailure = {
  code: 'shutting-down',
  message: 'the server has given the request up',
  data: undefined,
};

export class CallSession implements Session, FlowListener, Lingering {
  readonly shared: SessionContext;
  readonly remote: string;
  readonly openedAtMs = performance.now();
  place = -1;
  readonly flow: ConnectionFlow;
  readonly router: UnencodedRouter;
  readonly requests: OpenRequests;
  readonly plain = { frames: 0, bytesIn: 0, bytesOut: 0 };
  readonly sendsProgress = true;
  readonly errorDetail = ErrorDetail.data;
  readonly splicing = undefined;
  readonly topicStreams = undefined;
  bytesRead = 0;
  /** Where frames of a call in a lane go. */
  readonly writer: AnswerFeed;
  readonly #command: AskedCommand;
  readonly #limits: Limits;
  readonly #admission: Admission | undefined;
  readonly #dispatch: Dispatch;
  readonly #arguments: HeldArguments;
  readonly #argumentBytes: number;
  readonly #held: HeldCommand = { argumentBytes: 0, held: 0 };
  #caller: ConnectionCaller;
  #newestSerial = 0;
  #flushes: FlushQueue | undefined;
  #draining = false;
  #closed = false;
  /** The limit that the client has passed. */
  #reason: ProtocolError | undefined;
  #awaitsMemory = false;

  constructor(
    command: AskedCommand,
    answer: Answer,
    remote: string,
    { context, limits, shared, admission }: CallParts,
  ) {
    this.#command = command;
    this.remote = remote;
    this.shared = context;
    this.#limits = limits;
    this.#admission = admission;
    this.#caller = new ConnectionCaller(remote);
    const output = new Gate(limits.maxBufferedOutput, shared.output);
    this.flow = new ConnectionFlow(output, new TurnShare(shared.turns), shared.input.open());
    this.writer = new AnswerFeed(answer, this.flow.output, () => command.data?.stop());
    this.flow.listener = this;
    this.flow.input.holder = this;
    this.#arguments = new HeldArguments(limits, this.flow.input);
    this.#argumentBytes = bytesIn(command.args);
    this.#dispatch = new Dispatch(this, admission);
    this.requests = new OpenRequests(this, this, this.#dispatch);
    this.router = new UnencodedRouter(context.pool, this, this.requests);
  }

  /** Runs the command, once its client is admitted. */
  start(): void {
    if (this.#admission === undefined) this.#begin();
    else this.#admit(this.#admission);
  }

  async #admit(admission: Admission): Promise<void> {
    const refusal = await admission.admit();
    if (refusal === undefined) this.#begin();
    else this.sendError(REQUEST_ID, refusal);
  }

  /** What others have asked comes first where it is their turn. */
  #begin(): void {
    this.#command.asker.inTurn(() => {
      if (!this.#closed && !this.writer.isWhole) this.#run();
    });
  }

  #run(): void {
    const { name, args, data } = this.#command;
    this.#reason = this.#passedLimit();
    if (this.#reason !== undefined) {
      const { code, message } = this.#reason;
      this.sendError(REQUEST_ID, { code, message });
      return;
    }
    const refusal = this.#draining ? SHUTTING_DOWN : this.#holdArguments();
    if (refusal !== undefined) {
      this.refuse(REQUEST_ID, refusal, name);
      return;
    }
    const hasData = data !== undefined;
    this.#dispatch.run({ requestId: REQUEST_ID, command: name, args, reserved: false, hasData });
    this.dataRead();
  }

  #passedLimit(): ProtocolError | undefined {
    const { maxArguments, maxArgumentBytes } = this.#limits;
    if (this.#command.args.size > maxArguments)
      return overLimit('maxArguments', `more than ${maxArguments} arguments in one command`);
    if (this.#argumentBytes > maxArgumentBytes)
      return overLimit('maxArgumentBytes', `more than ${maxArgumentBytes} bytes of arguments in one command`);
    return undefined;
  }

  #holdArguments(): Failure | undefined {
    const bytes = this.#argumentBytes;
    const cost = bytes + PIECE_COST * (1 + this.#command.args.size);
    return this.#arguments.hold(this.#held, bytes, cost);
  }

  // ------------------------------------------------------------------------------------ what the client does

  /** A piece of command data; its bytes are nobody else's from now on. */
  push(bytes: Uint8Array, last: boolean): void {
    if (this.#closed || this.writer.isWhole) return;
    this.bytesRead += bytes.length;
    this.requests.get(REQUEST_ID)?.pushData(bytes, last);
    this.dataRead();
  }

  /** The answer has been sent, or nobody wants it any more; `reason`: why, where that is not in order. */
  close(reason: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.writer.close();
    const why = this.#reason ?? (this.writer.failed ? undefined : reason);
    this.#command.data?.stop();
    this.requests.drop();
    this.router.close();
    this.flow.output.close();
    this.flow.input.close();
    if (why !== undefined) this.shared.report(why, { remote: this.remote });
    this.shared.closed(this, why);
  }

  /** Reads on while what the handler has not read is within bounds; where memory for all is used up, within our own share. */
  dataRead(): void {
    const { data } = this.#command;
    if (data === undefined || this.#closed || this.writer.isWhole) return;
    const { input, data: held } = this.flow;
    if (input.spent) this.#awaitMemory();
    if (held.unread <= mostHeld(input, this.#limits)) data.resume();
    else data.pause();
  }

  #awaitMemory(): void {
    if (this.#awaitsMemory) return;
    this.#awaitsMemory = true;
    this.flow.input.wait(() => {
      this.#awaitsMemory = false;
      this.dataRead();
    });
  }

  /** There are no windows. */
  creditAwaited(): void {}

  letGo(): boolean {
    return letGoOfUnread(this.requests.values(), this.flow.input.counts);
  }

  // ------------------------------------------------------------------- what is done to all sessions of a server

  figures(): StreamFigures[] {
    return [];
  }

  openFigures(): StreamFigures[] {
    return [];
  }

  drain(reason: string): void {
    this.#draining = true;
    this.requests.drain(reason);
  }

  stop(reason: string): void {
    this.#draining = true;
    this.#command.data?.stop();
    this.requests.stop(reason);
    if (this.requests.size === 0) this.writer.fail(GIVEN_UP);
  }

  /** It ends with its command. */
  retire(): void {}

  /** The end of a client whose request has been read shows by itself. */
  checkPeer(): void {}

  probe(): void {
    this.#command.data?.probe();
  }

  // ------------------------------------------------------------------------------- what requests ask, and tell

  get flushes(): FlushQueue {
    this.#flushes ??= new FlushQueue(this.shared.coalesceMs, setImmediate);
    return this.#flushes;
  }

  get caller(): ConnectionCaller {
    this.#caller = this.#caller.as(this.#admission?.principal);
    return this.#caller;
  }

  get whose(): Asker {
    return this.#command.asker;
  }

  get bytesWritten(): number {
    return this.writer.bytesWritten;
  }

  get takesMore(): boolean {
    return this.writer.allTaken;
  }

  nextSerial(): number {
    return ++this.#newestSerial;
  }

  sendPlain(_requestId: number, type: number, flags: number, payload: Uint8Array = NOTHING): void {
    this.writer.take(type, flags, payload);
  }

  passedPlain(bytes: number): void {
    this.plain.frames++;
    this.plain.bytesIn += bytes;
    this.plain.bytesOut += bytes;
  }

  sendError(requestId: number, failure: Failure, most = this.router.options.frameSize): void {
    const payload = encodeFailure(failure, this.errorDetail, most);
    this.sendPlain(requestId, FrameType.errorResponse, ErrorResponseFlag.application, payload);
  }

  refuse(requestId: number, failure: Failure, command?: string): void {
    if (command !== undefined) tellRefused(this, command, failure.code);
    this.sendError(requestId, failure);
  }

  finished(request: ServedRequest, lingers: number | undefined): void {
    this.requests.remove(request);
    this.#arguments.free(this.#held);
    if (lingers !== undefined) this.#arguments.linger(lingers);
    // Of a call in a lane the last frame is about to come.
    if (!this.writer.isWhole) setImmediate(() => this.writer.fail(GIVEN_UP));
  }

  linger(_handlers: number, argumentBytes: number): void {
    this.#arguments.linger(argumentBytes);
  }

  report(error: unknown, command: string | undefined): void {
    const { remote } = this;
    this.shared.report(error, command === undefined ? { remote } : { command, remote });
  }
}
