/** A request whose handler runs on the main thread: its output goes to a stream's lane, or out on the plain stream. */

import { compressOnLane } from '../lanes/compress.ts';
import type { LaneStream } from '../lanes/lane-stream.ts';
import type { CachedOutput, Handler, ProgressOutput, TextOutput } from '../reactor/command.ts';
import { producedBy } from '../reactor/output.ts';
import { DataQueue, HandlerRequest, NO_DATA } from '../reactor/request.ts';
import { ResponsePump, type ResponseSink } from '../reactor/response.ts';
import { bytesOrTextOf } from '../wire/bytes.ts';
import { CommandError } from '../wire/errors.ts';
import { BytesResponseFlag, ErrorResponseFlag, FrameType, HEADER_SIZE } from '../wire/frame.ts';
import { encodeFailure, encodeProgress, encodeTextWithin, type Failure } from '../wire/payloads.ts';
import type { CacheSplice } from './cache-splice.ts';
import type { Run, ServedRequest } from './request.ts';
import { traced } from './traced.ts';

/** What a handler hears whose peer is gone. */
const GONE: Failure = { code: 'cancelled', message: 'connection closed' };

export class HandlerRun implements Run, ResponseSink {
  readonly #request: ServedRequest;
  readonly #handler: Handler;
  /** Command data on its way to the handler. */
  readonly #data: DataQueue | undefined;
  #stream: LaneStream | undefined;
  /** Made when the handler has not answered as a whole by the time it returns. */
  #pump: ResponsePump | undefined;
  /** Once it is started. */
  #handlerRequest: HandlerRequest | undefined;
  /** The whole response was sent as the handler returned: there is no pump. */
  #answered = false;
  /** Why the server drains, where it began to before the handler did. */
  #drainReason: string | undefined;
  /** Frames handed to the stream's lane and not yet back. */
  #framesInLane = 0;
  /** Something was handed to it: the frames that come back are told of before they are the writer's, so nothing may pass them. */
  #usesLane = false;
  /** What goes on once those are back. */
  #whenLaneEmpty: (() => void) | undefined;

  constructor(request: ServedRequest, handler: Handler) {
    this.#request = request;
    this.#handler = handler;
    if (request.hasData) this.#data = new DataQueue((bytes) => request.flow.data.read(bytes));
  }

  start(stream: LaneStream | undefined): void {
    const request = this.#request;
    const { name } = request.command;
    this.#stream = stream;
    request.flow.backlog = stream?.backlog;
    this.#handlerRequest = new HandlerRequest(
      name,
      request.args,
      this.#data ?? NO_DATA,
      request.session.caller,
      request.serial,
      (error) => this.report(error),
    );
    this.#handlerRequest.input = request.input as undefined;
    if (this.#drainReason !== undefined) this.#handlerRequest.drain(this.#drainReason);
    request.workBegins();
    const { trace } = request;
    const handler = trace === undefined ? this.#handler : traced(this.#handler, trace);
    try {
      const output: unknown = handler(this.#handlerRequest);
      const bytes = textOrViewBytes(output);
      if (this.#pump !== undefined || bytes === undefined || !this.#sendWhole(bytes))
        this.#openPump().begin(bytes ?? output);
    } catch (error) {
      this.#openPump().threw(error);
    }
  }

  #openPump(): ResponsePump {
    this.#pump ??= new ResponsePump(this.#request.command.name, this, this.#frameSize);
    return this.#pump;
  }

  /** What is there at once and fits one frame needs nothing of what pieces do. False: it does not fit, or has to wait. */
  #sendWhole(bytes: Uint8Array): boolean {
    if (bytes.length > this.#frameSize || this.allowance(bytes.length) < bytes.length) return false;
    this.ended();
    try {
      this.sendBytes(bytes, true);
      this.#answered = true;
      this.done();
    } catch (error) {
      if (!this.#answered) this.#openPump().fail(error);
    }
    return true;
  }

  push(bytes: Uint8Array, last: boolean): void {
    this.#data?.push(bytes, last);
  }

  stop(failure: Failure | undefined): void {
    if (!this.begun) {
      this.#request.fail(failure);
      return;
    }
    this.#abort(failure ?? GONE);
    if (this.#request.state !== 'sent') this.#request.failedWith((failure ?? GONE).code);
    if (!this.#answered) this.#openPump().stop(failure);
  }

  drain(reason: string): void {
    this.#drainReason = reason;
    this.#handlerRequest?.drain(reason);
  }

  lose(failure: Failure): void {
    this.#stream = undefined;
    this.#abort(failure);
    if (this.begun && !this.#answered) this.#openPump().stop();
  }

  leaveLane(): boolean {
    this.#stream = undefined;
    this.#framesInLane = 0;
    this.#laneIsEmpty();
    return true;
  }

  moveTo(stream: LaneStream): void {
    this.#stream = stream;
  }

  get begun(): boolean {
    return this.#handlerRequest !== undefined;
  }

  retract(): boolean {
    return false;
  }

  /** A frame is about to be handed to the lane. */
  #toLane(): void {
    this.#framesInLane++;
    this.#usesLane = true;
  }

  onFrame(): void {
    if (--this.#framesInLane === 0) this.#laneIsEmpty();
  }

  #laneIsEmpty(): void {
    if (this.#whenLaneEmpty === undefined) return;
    // The frame is given to the writer in this very step.
    queueMicrotask(this.#whenLaneEmpty);
    this.#whenLaneEmpty = undefined;
  }

  /** Records are about calls. */
  onRecord(): void {}

  end(): void {
    this.#data?.drop();
  }

  #abort({ message, code }: Failure): void {
    this.#handlerRequest?.abort(new CommandError(message, { code }));
    this.#data?.fail(new CommandError(message, { code }));
  }

  // -------------------------------------------------------------------------- output (ResponseSink)

  allowance(wanted: number): number {
    return this.#request.flow.availableNow(wanted);
  }

  wait(resume: () => void): void {
    this.#request.flow.wait(resume);
  }

  get hasRoom(): boolean {
    return this.#request.flow.hasRoom;
  }

  sendBytes(bytes: Uint8Array, last: boolean): void {
    const request = this.#request;
    const flags = last ? BytesResponseFlag.eos : BytesResponseFlag.continuation;
    request.flow.take(bytes.length);
    request.flow.sentNow(bytes.length);
    if (this.#stream === undefined) {
      request.session.passedPlain(bytes.length);
      request.passed(bytes.length, HEADER_SIZE + bytes.length);
      request.session.sendPlain(request.id, FrameType.bytesResponse, flags, bytes);
      return;
    }
    if (last && this.#sendInline(this.#stream, flags, bytes)) return;
    if (last) request.sent();
    this.#toLane();
    this.#stream.encode(request.id, FrameType.bytesResponse, flags, bytes);
  }

  /** A response that is whole need not go by its lane; false: it has to. */
  #sendInline(stream: LaneStream, flags: number, bytes: Uint8Array): boolean {
    if (!stream.contextFree || this.#usesLane) return false;
    const wireLength = this.#request.session.router.sendInline?.(stream, this.#request.id, flags, bytes);
    if (wireLength !== undefined) this.#request.passed(bytes.length, wireLength);
    return wireLength !== undefined;
  }

  sendText(output: TextOutput): void {
    for (const payload of encodeTextWithin(output.atoms, this.#frameSize))
      this.#sendBeside(FrameType.textOutput, 0, payload);
  }

  sendProgress(output: ProgressOutput): void {
    if (!this.#request.session.sendsProgress) return;
    this.#sendBeside(FrameType.progress, 0, encodeProgress(output, this.#frameSize));
  }

  sendError(failure: Failure): void {
    this.#request.failedWith(failure.code);
    if (this.#stream !== undefined) this.#request.sent();
    const payload = encodeFailure(failure, this.#request.session.errorDetail, this.#frameSize);
    this.#sendBeside(FrameType.errorResponse, ErrorResponseFlag.application, payload);
  }

  flushLater(pump: ResponsePump): void {
    this.#request.session.flushes.add(pump);
  }

  nextTurn(goOn: () => void): void {
    setImmediate(goOn);
  }

  report(error: unknown): void {
    this.#request.session.report(error, this.#request.command.name);
  }

  done(): void {
    this.#data?.drop();
    if (this.#request.state !== 'sent') this.#request.end();
  }

  ended(): void {
    this.#request.workEnds();
  }

  /** What the peer takes in one frame. */
  get #frameSize(): number {
    return this.#request.session.router.options.frameSize;
  }

  /** Sends a frame that is not encoded, in order with the response's bytes. */
  #sendBeside(type: number, flags: number, payload: Uint8Array): void {
    const { id, session, flow } = this.#request;
    flow.sentNow(payload.length);
    if (this.#stream === undefined) {
      session.sendPlain(id, type, flags, payload);
      return;
    }
    this.#toLane();
    this.#stream.pass(id, type, flags, payload);
  }

  // -------------------------------------------------------------------------------------- cached output

  sendCached(output: CachedOutput, last: boolean, then: (bytes?: Uint8Array) => void): void {
    const { splice } = this.#request;
    if (splice === undefined) {
      this.#produce(output, then);
      return;
    }
    splice.lookup(
      output.key,
      (entry) => {
        if (splice.fits(entry)) this.#afterLane(() => splice.send(entry, last, then));
        else this.#produce(output, then);
      },
      () => this.#produce(output, (bytes) => this.#compress(splice, bytes as Uint8Array, last, then)),
    );
  }

  /** Calls `run` once what this request has handed to its lane is back: at once when it is. */
  #afterLane(run: () => void): void {
    if (this.#framesInLane > 0) this.#whenLaneEmpty = run;
    else run();
  }

  async #produce(output: CachedOutput, then: (bytes?: Uint8Array) => void): Promise<void> {
    const request = this.#request;
    request.workBegins();
    try {
      const bytes = await producedBy(output);
      if (request.state !== 'over') then(bytes);
    } catch (error) {
      this.#pump?.fail(error);
    } finally {
      request.workEnds();
    }
  }

  #compress(splice: CacheSplice, bytes: Uint8Array, last: boolean, then: (bytes?: Uint8Array) => void): void {
    const request = this.#request;
    request.workBegins();
    const compressed = (pieces: Uint8Array[] | undefined) => {
      request.workEnds();
      if (request.state === 'over') return;
      if (pieces === undefined) {
        splice.breakPromise();
        then(bytes);
        return;
      }
      const entry = { pieces, rawLength: bytes.length };
      splice.fill(entry);
      if (splice.fits(entry)) this.#afterLane(() => splice.send(entry, last, then));
      else then(bytes);
    };
    const { shared, flow } = request.session;
    compressOnLane(shared.pool, flow, bytes, compressed);
  }
}

/** The bytes of what needs no look at what kind of output it is; undefined: it does. Long text is encoded once, here. */
function textOrViewBytes(output: unknown): Uint8Array | undefined {
  return typeof output === 'string' || ArrayBuffer.isView(output) ? bytesOrTextOf(output) : undefined;
}
