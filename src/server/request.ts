/** One request at the server: from its command to the last byte of its response. */

import { type BatchReader, CallFlag } from '../../workers/batch.ts';
import type { LaneStream } from '../lanes/lane-stream.ts';
import type { CachedOutput, ProgressOutput, TextOutput } from '../reactor/command.ts';
import { type Gate, Window } from '../reactor/flow.ts';
import { costOf, DataQueue, HandlerRequest, NO_DATA } from '../reactor/request.ts';
import { ResponsePump, type ResponseSink } from '../reactor/response.ts';
import { CommandError } from '../wire/errors.ts';
import { BytesResponseFlag, ErrorResponseFlag, FrameType } from '../wire/frame.ts';
import { cutUtf8, encodeProgress, encodeTextOutput } from '../wire/payloads.ts';
import { CacheSplice, type SplicePeer, type SpliceRequest } from './cache-splice.ts';
import type { Command } from './commands.ts';
import { type CallRequest, LaneCall } from './lane-call.ts';

/** What a request needs of its connection. */
export interface RequestPeer extends SplicePeer {
  readonly sendsProgress: boolean;
  /** `resume` is called when the peer has granted credit, `request` is stopped when it no longer can. */
  waitForCredit(request: ServedRequest, resume: () => void): void;
  /** Puts back into the connection's window what a request has taken and not used. */
  returnCredit(bytes: number): void;
  flushLater(pump: ResponsePump): void;
  sendPlain(requestId: number, type: number, flags: number, payload: Uint8Array): void;
  /** The handler has taken, or will never take, command data that cost so much to hold. */
  dataRead(cost: number): void;
  report(error: unknown, command: string): void;
  /** The request will send nothing more on `stream`. */
  leaveStream(stream: LaneStream, requestId: number): void;
  /** Compresses for the cache; undefined: could not. */
  compress(bytes: Uint8Array, then: (pieces: Uint8Array[] | undefined) => void): void;
  /** So many more handlers (or fewer) are at work although their response is over, with so many bytes of arguments. */
  linger(handlers: number, argumentBytes: number): void;
  /** The last frame has been given to the writer, or nothing more will be sent. */
  finished(request: ServedRequest): void;
}

/** The output bound lets pieces shrink to this, not further: dribbles cost more than they bring. */
const SMALLEST_PIECE = 4096;

export class ServedRequest implements ResponseSink, SpliceRequest, CallRequest {
  readonly id: number;
  readonly command: Command;
  readonly #peer: RequestPeer;
  /** Frames handed to the stream's lane by this thread and not yet back. */
  #framesInLane = 0;
  /** What goes on once those are back. */
  #whenLaneEmpty: (() => void) | undefined;
  readonly #args: ReadonlyMap<string, Uint8Array>;
  readonly #window: Window;
  /** Command data for a handler on this thread. */
  readonly #data: DataQueue | undefined;
  readonly #hasData: boolean;
  #stream: LaneStream | undefined;
  /** Of a handler on this thread, once it runs. */
  #pump: ResponsePump | undefined;
  #request: HandlerRequest | undefined;
  /** Of a handler in a lane. */
  readonly #call: LaneCall | undefined;
  #deadline: ReturnType<typeof setTimeout> | undefined;
  /** What the command data costs that has come and that no handler has read yet. */
  #unread = 0;
  /** Made when there is cached output to send. */
  #splice: CacheSplice | undefined;
  #lastInLane = false;
  #over = false;
  /** What the end of the request does not end: the hook that judges it, its code, what is made for the cache. */
  #atWork = 0;
  #lingers = false;

  constructor(
    peer: RequestPeer,
    command: Command,
    id: number,
    args: ReadonlyMap<string, Uint8Array>,
    hasData: boolean,
  ) {
    this.#peer = peer;
    this.command = command;
    this.id = id;
    this.#args = args;
    this.#window = new Window(peer.requestWindow);
    this.#hasData = hasData;
    if (command.handler === undefined) this.#call = new LaneCall(peer, this);
    else if (hasData) this.#data = new DataQueue((cost) => this.dataRead(cost));
  }

  get over(): boolean {
    return this.#over;
  }

  get ending(): boolean {
    return this.#over || this.#callStopped || this.#lastInLane;
  }

  /**
   * Bytes of the arguments of a handler that was still at work as the response ended; its end is or was told by
   * `linger(-1, …)`. Undefined: it was not.
   */
  get lingers(): number | undefined {
    return this.#lingers ? this.#argumentBytes : undefined;
  }

  get #argumentBytes(): number {
    let bytes = 0;
    for (const [name, value] of this.#args) bytes += name.length + value.length;
    return bytes;
  }

  /** True once the last frame is on its way through a lane: it will be sent whatever happens to the handler. */
  get answered(): boolean {
    return this.#lastInLane;
  }

  /** Runs the handler; `stream`: where the response is encoded; undefined: it goes plain from this thread. */
  start(stream: LaneStream | undefined): void {
    this.#stream = stream;
    const { handler, name } = this.command;
    if (handler === undefined) {
      this.#startCall();
      return;
    }
    const request = new HandlerRequest(name, this.#args, this.#data ?? NO_DATA);
    this.#request = request;
    this.workBegins();
    this.#pump = new ResponsePump(name, this, this.#peer.frameSize);
    this.#pump.start(handler, request);
  }

  /** Stops the request when `milliseconds` have passed (protocol C6). */
  expireAfter(milliseconds: number): void {
    if (this.#over) return;
    this.#deadline = setTimeout(() => this.stop('deadline exceeded'), Math.min(milliseconds, 2 ** 31 - 1));
    (this.#deadline as { unref?: () => void }).unref?.();
  }

  /** What the command data costs that has come and has not been read by the handler. */
  get unreadData(): number {
    return this.#unread;
  }

  /** A piece of command data; copied when it has to be kept. */
  pushData(bytes: Uint8Array, last: boolean): void {
    this.#unread += costOf(bytes);
    this.#data?.push(bytes, last);
    this.#call?.push(bytes, last);
  }

  /** Stops the handler; the peer gets `message` as an application error, or nothing at all. */
  stop(message: string | undefined): void {
    if (this.#over) return;
    if (this.#pump !== undefined) {
      this.#abort(message ?? 'connection closed');
      this.#pump.stop(message);
      return;
    }
    const answers = this.#call?.stop(message ?? '', this.#argumentBytes) ?? false;
    if (message === undefined) this.end();
    else if (!answers) this.#failPlain(message);
  }

  /** The stream died with its lane: what was sent stands; the rest is an error, said on the plain stream. */
  lose(reason: string): void {
    if (this.#over) return;
    this.#stream = undefined;
    this.#lastInLane = false;
    this.#abort(reason);
    this.#pump?.stop();
    if (!this.#over) this.end();
  }

  /** Bytes that the peer has added to this request's window (protocol C4). @throws ProtocolError when they are too many. */
  credit(bytes: number): void {
    this.#window.add(bytes);
  }

  /** A frame of this response has come out of its lane. */
  onFrame(last: boolean, rawLength: number, call: boolean): void {
    if (!call && --this.#framesInLane === 0 && this.#whenLaneEmpty !== undefined) {
      // The frame is given to the writer in this very step.
      queueMicrotask(this.#whenLaneEmpty);
      this.#whenLaneEmpty = undefined;
    }
    if (call) this.#call?.onFrame(last, rawLength);
    if (!last) return;
    this.#lastInLane = false;
    this.end();
  }

  /** A record about this request's call in a lane. */
  onCallRecord(record: BatchReader): void {
    this.#call?.onRecord(record);
  }

  // ----------------------------------------------------------------- sink of a handler on this thread

  allowance(wanted: number): number {
    const { window, output } = this.#peer;
    const credited = Math.min(wanted, this.#window.available, window.available);
    const room = Math.min(output.room, this.#backlog?.room ?? Number.POSITIVE_INFINITY);
    if (room >= credited) return Math.max(0, credited);
    const smallest = Math.min(SMALLEST_PIECE, output.limit);
    return room >= smallest ? Math.min(room, credited) : 0;
  }

  wait(resume: () => void): void {
    if (this.#window.available <= 0 || this.#peer.window.available <= 0)
      this.#peer.waitForCredit(this, resume);
    else if (this.#backlog !== undefined && this.#backlog.room < SMALLEST_PIECE) this.#backlog.wait(resume);
    else this.#peer.output.wait(resume);
  }

  /** What waits for the stream's encoder; a call in a lane waits there itself. */
  get #backlog(): Gate | undefined {
    return this.#pump === undefined ? undefined : this.#stream?.backlog;
  }

  sendBytes(bytes: Uint8Array, last: boolean): void {
    const flags = last ? BytesResponseFlag.eos : BytesResponseFlag.continuation;
    this.takeCredit(bytes.length);
    if (this.#stream === undefined) {
      this.#peer.sendPlain(this.id, FrameType.bytesResponse, flags, bytes);
      return;
    }
    this.#lastInLane = last;
    this.#peer.output.take(bytes.length);
    this.#framesInLane++;
    this.#stream.encode(this.id, FrameType.bytesResponse, flags, bytes);
  }

  get hasRoom(): boolean {
    return this.#peer.output.room > 0;
  }

  sendText(output: TextOutput): void {
    this.#sendBeside(FrameType.textOutput, 0, encodeTextOutput(output.atoms));
  }

  sendProgress(output: ProgressOutput): void {
    if (this.#peer.sendsProgress) this.#sendBeside(FrameType.progress, 0, encodeProgress(output));
  }

  sendError(message: string): void {
    this.#lastInLane = this.#stream !== undefined;
    const payload = cutUtf8(message, this.#peer.frameSize);
    this.#sendBeside(FrameType.errorResponse, ErrorResponseFlag.application, payload);
  }

  sendCached(output: CachedOutput, last: boolean, then: (bytes?: Uint8Array) => void): void {
    const splice = this.splices();
    if (splice === undefined) {
      this.#produce(output, then);
      return;
    }
    splice.lookup(
      output.key,
      (entry) => {
        if (splice.fits(entry)) splice.send(entry, last, then);
        else this.#produce(output, then);
      },
      () => this.#produce(output, (bytes) => this.#compress(splice, bytes as Uint8Array, last, then)),
    );
  }

  flushLater(pump: ResponsePump): void {
    this.#peer.flushLater(pump);
  }

  report(error: unknown): void {
    this.#peer.report(error, this.command.name);
  }

  done(): void {
    this.#data?.drop();
    if (!this.#lastInLane) this.end();
  }

  ended(): void {
    this.workEnds();
  }

  /** Something begins that goes on when the request is stopped, and counts as a request until {@link workEnds}. */
  workBegins(): void {
    this.#atWork++;
  }

  workEnds(): void {
    if (--this.#atWork === 0 && this.#over) this.#peer.linger(-1, -this.#argumentBytes);
  }

  // --------------------------------------------------------------------------------- a call in a lane

  #startCall(): void {
    if (this.#stream === undefined) {
      this.#failPlain('no worker to run the command on');
      return;
    }
    const { laneHandler, name } = this.command;
    const flags = (this.#hasData ? CallFlag.data : 0) | (this.#peer.sendsProgress ? CallFlag.progress : 0);
    this.#call?.start(this.#stream, { laneHandler, name, args: this.#args, flags });
  }

  get #callStopped(): boolean {
    return this.#call?.stopped ?? false;
  }

  dataRead(cost: number): void {
    this.#unread -= cost;
    this.#peer.dataRead(cost);
  }

  // -------------------------------------------------------------------------------------- cached output

  splices(): CacheSplice | undefined {
    this.#splice ??= new CacheSplice(this.#peer, this);
    return this.#splice.possible(this.#stream) ? this.#splice : undefined;
  }

  get windowLeft(): number {
    return this.#window.available;
  }

  afterLane(run: () => void): void {
    if (this.#framesInLane > 0) this.#whenLaneEmpty = run;
    else run();
  }

  async #produce(output: CachedOutput, then: (bytes?: Uint8Array) => void): Promise<void> {
    this.workBegins();
    try {
      const bytes = await output.produce();
      if (!(bytes instanceof Uint8Array)) throw new TypeError('cached output must be a Uint8Array');
      if (!this.#over) then(bytes);
    } catch (error) {
      this.#pump?.fail(error);
    } finally {
      this.workEnds();
    }
  }

  #compress(splice: CacheSplice, bytes: Uint8Array, last: boolean, then: (bytes?: Uint8Array) => void): void {
    this.workBegins();
    this.#peer.compress(bytes, (pieces) => {
      this.workEnds();
      if (this.#over) return;
      if (pieces === undefined) {
        splice.breakPromise();
        then(bytes);
        return;
      }
      const entry = { pieces, rawLength: bytes.length };
      splice.fill(entry);
      if (splice.fits(entry)) splice.send(entry, last, then);
      else then(bytes);
    });
  }

  // ---------------------------------------------------------------------------------------------- the end

  takeCredit(bytes: number): void {
    this.#window.take(bytes);
    this.#peer.window.take(bytes);
  }

  returnCredit(bytes: number): void {
    this.#window.take(-bytes);
    if (this.#peer.window.limited) this.#peer.returnCredit(bytes);
  }

  /** Sends a frame that is not encoded, in order with the response's bytes. */
  #sendBeside(type: number, flags: number, payload: Uint8Array): void {
    if (this.#stream === undefined) {
      this.#peer.sendPlain(this.id, type, flags, payload);
      return;
    }
    this.#peer.output.take(payload.length);
    this.#framesInLane++;
    this.#stream.plain(this.id, type, flags, payload);
  }

  /** Ends with an error of ours that no lane sends. */
  #failPlain(message: string): void {
    const payload = cutUtf8(message, this.#peer.frameSize);
    this.#peer.sendPlain(this.id, FrameType.errorResponse, ErrorResponseFlag.application, payload);
    this.end();
  }

  #abort(reason: string): void {
    this.#request?.abort(new CommandError(reason));
    this.#data?.fail(new CommandError(reason));
  }

  end(): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#deadline);
    this.#data?.drop();
    this.#splice?.end();
    if (this.#stream !== undefined) this.#peer.leaveStream(this.#stream, this.id);
    this.#lingers = this.#atWork > 0 || this.#callStopped;
    this.#call?.end();
    if (this.#unread > 0) this.dataRead(this.#unread);
    this.#peer.finished(this);
  }
}
