/** One request at the server: from its command to the last byte of its response. */

import type { BatchReader } from '../../workers/batch.ts';
import type { LaneStream } from '../lanes/lane-stream.ts';
import type { Pass } from '../lanes/quarantine.ts';
import { quietly, type RequestTrace, type ServerTracing } from '../options/tracing.ts';
import { type FlowOwner, RequestFlow } from '../reactor/flow.ts';
import { requestIdOf } from '../reactor/request.ts';
import { decodeUtf8, type Failure } from '../wire/payloads.ts';
import { after, unref } from '../wire/timers.ts';
import { CacheSplice } from './cache-splice.ts';
import { requestEnded } from './channels.ts';
import type { Command } from './commands.ts';
import { tellEnded } from './ended.ts';
import { HandlerRun } from './handler-run.ts';
import { LaneCall } from './lane-call.ts';
import type { Session } from './session.ts';

/** How the handler of a request runs: on this thread, or as a call in a lane. */
export interface Run {
  /** `stream`: where the response is encoded; undefined: it goes out on the plain stream, from this thread. */
  start(stream: LaneStream | undefined): void;
  /** A piece of command data, perhaps before {@link start}; copied when it has to be kept. */
  push(bytes: Uint8Array, last: boolean): void;
  /** Stops the handler, and ends the request with `failure` as an application error, or with nothing. */
  stop(failure: Failure | undefined): void;
  /** The server has begun to drain: the handler is told, perhaps before it is started. */
  drain(reason: string): void;
  /** The stream is gone with its lane: stops the handler, and sends nothing more. */
  lose(failure: Failure): void;
  /** Its lane is dead, and what was there goes out without it: goes on from this thread. False: it cannot. */
  leaveLane(): boolean;
  /** Goes on with another stream. */
  moveTo(stream: LaneStream): void;
  /** Its lane is dead: makes as if it had not been started, where its handler was not. False: it may have been. */
  retract(): boolean;
  /** Whether the handler has begun, as far as is known. */
  readonly begun: boolean;
  /** A frame of the response has come out of its lane. */
  onFrame(last: boolean, rawLength: number): void;
  /** A record about the call. */
  onRecord(record: BatchReader): void;
  /** The request is over: lets go of what waits for it. */
  end(): void;
}

/** How far a request is; it only moves down this list, or back to its beginning where its lane died before it began. */
export type RequestState =
  /** For the hook's answer, or for a stream. */
  | 'waiting'
  | 'running'
  /** Its call was told to stop, and the lane answers for it. */
  | 'stopping'
  /** Its last frame is on its way through a lane: it is sent whatever happens to the handler. */
  | 'sent'
  | 'over';

const OK = 'ok';
/** The code of a request whose peer wants no answer any more. */
const GONE = 'cancelled';
const EXPIRED: Failure = { code: 'deadline-exceeded', message: 'deadline exceeded' };

export class ServedRequest implements FlowOwner {
  readonly id: number;
  /** No other request of the connection has the same. */
  readonly serial: number;
  readonly command: Command;
  readonly session: Session;
  readonly args: ReadonlyMap<string, Uint8Array>;
  readonly hasData: boolean;
  /** What its arguments took when they came, in bytes: handlers and hooks may do to them what they like. */
  readonly argumentBytes: number;
  readonly flow: RequestFlow;
  /** What the command's schema has made of the arguments. */
  input: unknown;
  /** Its response stays out of every shared context (protocol D). */
  sensitive = false;
  /** Where it runs in a lane: its command's number as what may end the thread, and the command's leave. */
  suspect = 0;
  pass: Pass | undefined;
  readonly #run: Run;
  #state: RequestState = 'waiting';
  #stream: LaneStream | undefined;
  #deadline: ReturnType<typeof setTimeout> | undefined;
  /** Made when there is cached output to send. */
  #splice: CacheSplice | undefined;
  /** What the end of the request does not end: the hook that judges it, its code, what is made for the cache. */
  #atWork = 0;
  /** What it has come to. */
  #code = OK;
  /** Bytes of its frames before encoding, and on the wire. */
  #bytes = 0;
  #wireBytes = 0;
  /** 0 while nobody wants to know. */
  readonly #receivedAtMs: number;
  #startedAtMs = 0;
  #trace: RequestTrace | undefined;

  constructor(
    session: Session,
    command: Command,
    id: number,
    args: ReadonlyMap<string, Uint8Array>,
    hasData: boolean,
  ) {
    this.session = session;
    this.command = command;
    this.id = id;
    this.serial = session.nextSerial();
    this.args = args;
    this.argumentBytes = bytesIn(args);
    this.hasData = hasData;
    this.flow = new RequestFlow(session.flow, this, id);
    const { handler, makeRun } = command;
    if (makeRun !== undefined) this.#run = makeRun(this);
    else this.#run = handler === undefined ? new LaneCall(this) : new HandlerRun(this, handler);
    this.#receivedAtMs = requestEnded.hasSubscribers ? performance.now() : 0;
    command.figures.began();
  }

  /** Its name for logs. */
  get requestId(): string {
    return requestIdOf(this.session.caller, this.serial);
  }

  get state(): RequestState {
    return this.#state;
  }

  /** True while more of its output may be sent. */
  get open(): boolean {
    return this.#state === 'waiting' || this.#state === 'running';
  }

  /** Where the response is encoded. */
  get stream(): LaneStream | undefined {
    return this.#stream;
  }

  /** Runs the handler; `stream`: where the response is encoded; undefined: it goes out from this thread as it is. */
  start(stream: LaneStream | undefined): void {
    this.#stream = stream;
    this.#state = 'running';
    if (this.#receivedAtMs > 0) this.#startedAtMs = performance.now();
    this.#run.start(stream);
  }

  /** Stops the request when `delayMs` have passed (protocol C6). */
  expireAfter(delayMs: number): void {
    if (this.#state === 'over') return;
    this.#deadline = unref(after(delayMs, () => this.stop(EXPIRED)));
  }

  /** A piece of command data; copied when it has to be kept. */
  pushData(bytes: Uint8Array, last: boolean): void {
    this.flow.data.came(bytes.length);
    this.#run.push(bytes, last);
  }

  /** Stops the handler; the peer gets `failure` as an application error, or nothing at all. */
  stop(failure: Failure | undefined): void {
    if (this.#state !== 'over') this.#run.stop(failure);
  }

  /** Its connection is gone: the last frame of its response, where a lane has that still, is nobody's. */
  drop(): void {
    this.stop(undefined);
    if (this.#state !== 'over') this.fail(undefined);
  }

  /** The server has begun to drain: the handler may come to an end of its own. */
  drain(reason: string): void {
    if (this.open) this.#run.drain(reason);
  }

  /** Whether its handler has begun, or may have. */
  get begun(): boolean {
    return this.#state !== 'running' || this.#run.begun;
  }

  /** The stream died with its lane. True: before the handler began, and so it can begin elsewhere. */
  retract(): boolean {
    if (this.#state !== 'running' || !this.#run.retract()) return false;
    this.#endPass(false);
    this.#stream = undefined;
    this.#state = 'waiting';
    return true;
  }

  /** The stream died with its lane, but not its handler. False: that ran there, too. */
  leaveLane(): boolean {
    if ((this.#state !== 'running' && this.#state !== 'sent') || !this.#run.leaveLane()) return false;
    this.#stream = undefined;
    this.flow.backlog = undefined;
    return true;
  }

  /** What comes from now on is encoded on `stream`; undefined: it goes out as it is. */
  goOn(stream: LaneStream | undefined): void {
    if (stream === undefined) return;
    if (this.#state !== 'running') return this.session.router.leave(stream, this.id);
    this.#stream = stream;
    this.flow.backlog = stream.backlog;
    this.#run.moveTo(stream);
  }

  /** The stream died with its lane: what was sent stands; the rest is an error, said on the plain stream. */
  lose(failure: Failure): void {
    if (this.#state === 'over') return;
    this.#stream = undefined;
    this.flow.backlog = undefined;
    this.#code = failure.code;
    this.#run.lose(failure);
    this.end();
  }

  /** Its part in a trace; undefined: it has none. */
  get trace(): RequestTrace | undefined {
    return this.#trace;
  }

  traceBy(tracing: ServerTracing, traceparent: Uint8Array | undefined): void {
    const { requestId, command, session } = this;
    const about = {
      command: command.figures.command,
      requestId,
      remote: session.caller.remote,
      traceparent: traceparent && decodeUtf8(traceparent),
    };
    this.#trace = quietly(() => tracing.request(about)) ?? undefined;
  }

  /** Bytes of its response are with the writer, or about to be. */
  passed(bytes: number, wireBytes: number): void {
    this.#bytes += bytes;
    this.#wireBytes += wireBytes;
  }

  /** The response is an error. */
  failedWith(code: string): void {
    this.#code = code;
  }

  /** A frame of this response has come out of its lane. */
  onFrame(last: boolean, rawLength: number, wireLength: number): void {
    this.passed(rawLength, wireLength);
    this.#run.onFrame(last, rawLength);
    if (!last) return;
    this.#endPass(this.#state === 'running');
    this.end();
  }

  /** A record about this request's call in a lane. */
  onRecord(record: BatchReader): void {
    this.#run.onRecord(record);
  }

  // --------------------------------------------------------------------------------- what its run tells

  /** What sends its cached output; undefined: this response's output cannot be spliced. */
  get splice(): CacheSplice | undefined {
    this.#splice ??= new CacheSplice(this);
    return this.#splice.possible ? this.#splice : undefined;
  }

  /** Its call was told to stop. */
  stopping(): void {
    this.#state = 'stopping';
  }

  /** Its last frame was handed to its stream. */
  sent(): void {
    this.#state = 'sent';
  }

  /** Something begins that goes on when the request is stopped, and counts as a request until {@link workEnds}. */
  workBegins(): void {
    this.#atWork++;
  }

  workEnds(): void {
    if (--this.#atWork === 0 && this.#state === 'over') this.session.requests.linger(-1, -this.argumentBytes);
  }

  /** Ends with an error of ours that no lane sends, or without one. */
  fail(failure: Failure | undefined): void {
    this.#code = failure?.code ?? GONE;
    if (failure !== undefined)
      this.session.sendError(this.id, failure, this.session.router.options.frameSize);
    this.end();
  }

  /** The last frame has been given to the writer, or nothing more will be sent. */
  end(): void {
    if (this.#state === 'over') return;
    // The end of what goes on is told by workEnds(), or by the lane.
    const lingers = this.#atWork > 0 || this.#state === 'stopping';
    this.#state = 'over';
    clearTimeout(this.#deadline);
    this.#endPass(false);
    this.#splice?.end();
    const { router } = this.session;
    if (this.#stream !== undefined) router.leave(this.#stream, this.id);
    else router.stopWaiting(this.id);
    this.#run.end();
    this.flow.close();
    this.command.figures.ended(this.#code, this.#bytes, this.#wireBytes);
    if (this.#receivedAtMs > 0) this.#tell();
    if (this.#trace !== undefined) this.#endTrace(this.#trace);
    this.session.finished(this, lingers ? this.argumentBytes : undefined);
  }

  /** `well`: its handler has come to its end, and has not ended its worker. */
  #endPass(well: boolean): void {
    this.pass?.end(well);
    this.pass = undefined;
  }

  #endTrace(trace: RequestTrace): void {
    const outcome = { code: this.#code, bytes: this.#bytes, wireBytes: this.#wireBytes };
    quietly(() => trace.end(outcome));
  }

  #tell(): void {
    const { session, command } = this;
    const endedAtMs = performance.now();
    const startedAtMs = this.#startedAtMs || endedAtMs;
    tellEnded(session, this.serial, {
      command: command.figures.command,
      code: this.#code,
      profile: this.#stream?.profile ?? 'plain',
      bytes: this.#bytes,
      wireBytes: this.#wireBytes,
      queuedMs: startedAtMs - this.#receivedAtMs,
      workMs: endedAtMs - startedAtMs,
    });
  }
}

/** Bytes of the names and values of arguments. */
export function bytesIn(args: ReadonlyMap<string, Uint8Array>): number {
  let bytes = 0;
  for (const [name, value] of args) bytes += name.length + value.length;
  return bytes;
}
