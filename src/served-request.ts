/** One request at the server: from its command to the last byte of its response. */

import { type BatchReader, CallFlag, LookupAnswer, Op, unpackPieces } from '../workers/batch.ts';
import { CacheSplice, type SplicePeer, type SpliceRequest } from './cache-splice.ts';
import type { Command } from './commands.ts';
import type { CacheEntry } from './lanes/cache.ts';
import type { LaneStream } from './lanes/lane-stream.ts';
import type { CachedOutput, ProgressOutput, TextOutput } from './reactor/command.ts';
import { type Gate, Window } from './reactor/flow.ts';
import { costOf, DataQueue, HandlerRequest, NO_DATA } from './reactor/request.ts';
import { ResponsePump, type ResponseSink } from './reactor/response.ts';
import { CommandError } from './wire/errors.ts';
import { BytesResponseFlag, ErrorResponseFlag, FrameType } from './wire/frame.ts';
import { cutUtf8, decodeUtf8, encodeProgress, encodeTextOutput, encodeUtf8 } from './wire/payloads.ts';

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

/** Bytes that a call in a lane may send before it hears from us again: at first, and at most for a long response. */
const FIRST_GRANT = 64 * 1024;
const MAX_GRANT = 512 * 1024;
/** The output bound lets pieces shrink to this, not further: dribbles cost more than they bring. */
const SMALLEST_PIECE = 4096;

export class ServedRequest implements ResponseSink, SpliceRequest {
  readonly id: number;
  readonly command: Command;
  readonly #peer: RequestPeer;
  /** Frames handed to the stream's lane by this thread and not yet back. */
  #framesInLane = 0;
  /** What goes on once those are back. */
  #whenLaneEmpty: (() => void) | undefined;
  readonly #args: ReadonlyMap<string, Uint8Array>;
  readonly #window: Window;
  /** Command data for a handler on this thread; for one in a lane, what came before it was started. */
  readonly #data: DataQueue | undefined;
  #early: { bytes: Uint8Array; last: boolean }[] | undefined;
  #stream: LaneStream | undefined;
  #pump: ResponsePump | undefined;
  #request: HandlerRequest | undefined;
  #deadline: ReturnType<typeof setTimeout> | undefined;
  #started = false;
  /** Bytes granted to the call in the lane and not yet seen in its frames. */
  #granted = 0;
  #grantTarget = FIRST_GRANT;
  #grantWanted = 0;
  /** What the command data costs that has come and that no handler has read yet. */
  #unread = 0;
  /** Made when there is cached output to send. */
  #splice: CacheSplice | undefined;
  /** Whether the output that the call is producing ends its response. */
  #lastLookup = false;
  #lastInLane = false;
  #over = false;
  /** What the end of the request does not end: the hook that judges it, its code, what is made for the cache. */
  #atWork = 0;
  /** The call in the lane was told to stop; it will say when its code has ended. */
  #callStopped = false;
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
    this.#data = hasData ? new DataQueue((cost) => this.#dataRead(cost)) : undefined;
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
    this.#started = true;
    this.#stream = stream;
    const { handler, name } = this.command;
    if (handler === undefined) {
      this.#call();
      return;
    }
    const request = new HandlerRequest(name, this.#args, this.#data ?? NO_DATA);
    this.#request = request;
    this.workBegins();
    this.#pump = new ResponsePump(name, this, this.#peer.frameSize);
    this.#pump.start(handler, request);
  }

  /** Stops the request when `milliseconds` have passed (C6). */
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
    if (this.command.handler !== undefined) this.#data?.push(bytes, last);
    else if (this.#started) this.#sendData(bytes, last);
    else {
      this.#early ??= [];
      this.#early.push({ bytes: bytes.slice(), last });
    }
  }

  /** Stops the handler; the peer gets `message` as an application error, or nothing at all. */
  stop(message: string | undefined): void {
    if (this.#over) return;
    if (this.#pump !== undefined) {
      this.#abort(message ?? 'connection closed');
      this.#pump.stop(message);
      return;
    }
    if (this.#started && this.#stream?.lane.alive) {
      // The lane answers with the error, after the frames of this call that are on their way.
      if (!this.#callStopped) this.#stream.cancelCall(this.id, message ?? '', this.#argumentBytes);
      this.#callStopped = true;
      if (message === undefined) this.#end();
      return;
    }
    if (message !== undefined) this.#sendErrorPlain(message);
    this.#end();
  }

  /** The stream died with its lane: what was sent stands; the rest is an error, said on the plain stream. */
  lose(reason: string): void {
    if (this.#over) return;
    this.#stream = undefined;
    this.#lastInLane = false;
    this.#abort(reason);
    this.#pump?.stop();
    if (!this.#over) this.#end();
  }

  /** Bytes that the peer has added to this request's window (C4). @throws ProtocolError when they are too many. */
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
    if (call) this.#useGrant(rawLength);
    if (last) {
      this.#lastInLane = false;
      this.#end();
    } else if (call && this.#granted < this.#grantTarget / 2 && !this.#peer.window.limited) {
      this.#grantTarget = Math.min(2 * this.#grantTarget, MAX_GRANT);
      this.#grant(this.#grantTarget - this.#granted);
    }
  }

  /** A record about this request's call in a lane. */
  onCallRecord(record: BatchReader): void {
    switch (record.op) {
      case Op.want:
        this.#grantWanted = record.extra;
        return this.#grantWhatIsWanted();
      case Op.wantRoom:
        return this.#giveRoom();
      case Op.lookup:
        return this.#lookup(decodeUtf8(record.payload), record.flags === 1, record.extra);
      case Op.pieces:
        return this.#pieces(record);
      case Op.dataRead:
        return this.#dataRead(record.extra);
    }
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
    const splice = this.#splices();
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
    if (!this.#lastInLane) this.#end();
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

  // --------------------------------------------------------------------------------- calls in a lane

  #call(): void {
    const { laneHandler, name } = this.command;
    const stream = this.#stream;
    if (stream === undefined) {
      this.#sendErrorPlain('no worker to run the command on');
      this.#end();
      return;
    }
    const packed = [...this.#args].flatMap(([key, value]) => [encodeUtf8(key), value]);
    if (!this.#peer.window.limited) this.#take(this.allowance(FIRST_GRANT));
    const flags =
      (this.#data === undefined ? 0 : CallFlag.data) | (this.#peer.sendsProgress ? CallFlag.progress : 0);
    stream.call(laneHandler, this.id, encodeUtf8(name), packed, flags, this.#granted);
    for (const { bytes, last } of this.#early ?? []) this.#sendData(bytes, last);
    this.#early = undefined;
  }

  #dataRead(cost: number): void {
    this.#unread -= cost;
    this.#peer.dataRead(cost);
  }

  #sendData(bytes: Uint8Array, last: boolean): void {
    this.#stream?.tell(Op.callData, this.id, last ? 1 : 0, bytes);
  }

  #take(bytes: number): void {
    this.takeCredit(bytes);
    this.#peer.output.promise(bytes);
    this.#granted += bytes;
  }

  #useGrant(bytes: number): void {
    this.#granted -= bytes;
    this.#peer.output.keepPromise(bytes);
  }

  #grant(wanted: number): void {
    const bytes = this.allowance(wanted);
    if (bytes <= 0) return;
    this.#take(bytes);
    this.#grantWanted = 0;
    this.#stream?.tell(Op.callGrant, this.id, 0, undefined, bytes);
  }

  #grantWhatIsWanted(): void {
    if (this.#over || this.#grantWanted === 0) return;
    this.#grant(this.#grantWanted);
    if (this.#grantWanted > 0) this.wait(() => this.#grantWhatIsWanted());
  }

  /** Text and progress from a lane; what the call has sent has come by now, and counts as output. */
  #giveRoom(): void {
    if (this.#over) return;
    if (this.hasRoom) this.#stream?.tell(Op.callRoom, this.id, 0);
    else this.#peer.output.wait(() => this.#giveRoom());
  }

  /** What is spliced needs the room that the call has not used. */
  #lookup(key: string, last: boolean, unused: number): void {
    this.#window.take(-unused);
    this.#giveBack(unused);
    const splice = this.#splices();
    if (splice === undefined) {
      this.#answerLookup(LookupAnswer.stream);
      return;
    }
    splice.lookup(
      key,
      (entry) => this.#spliceCall(splice, entry, last),
      () => {
        this.#lastLookup = last;
        this.#answerLookup(LookupAnswer.produce);
      },
    );
  }

  #pieces(record: BatchReader): void {
    const splice = this.#splice;
    if (splice === undefined || !splice.promised) return;
    if (record.flags === 1) {
      splice.breakPromise();
      return;
    }
    const entry = { pieces: unpackPieces(record.payload), rawLength: record.extra };
    splice.fill(entry);
    this.#spliceCall(splice, entry, this.#lastLookup);
  }

  #spliceCall(splice: CacheSplice, entry: CacheEntry, last: boolean): void {
    if (!splice.fits(entry)) {
      this.#answerLookup(LookupAnswer.stream);
      return;
    }
    const stream = this.#stream;
    splice.send(entry, last, () => {
      stream?.tell(Op.lookupAnswer, this.id, LookupAnswer.spliced);
      if (last) {
        stream?.requests.delete(this.id);
        this.#end();
      }
    });
  }

  #answerLookup(answer: number): void {
    this.#stream?.tell(Op.lookupAnswer, this.id, answer);
  }

  // -------------------------------------------------------------------------------------- cached output

  /** Undefined: this response's output cannot be spliced. */
  #splices(): CacheSplice | undefined {
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

  #sendErrorPlain(message: string): void {
    const payload = cutUtf8(message, this.#peer.frameSize);
    this.#peer.sendPlain(this.id, FrameType.errorResponse, ErrorResponseFlag.application, payload);
  }

  #abort(reason: string): void {
    this.#request?.abort(new CommandError(reason));
    this.#data?.fail(new CommandError(reason));
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#deadline);
    this.#data?.drop();
    this.#splice?.end();
    if (this.#stream !== undefined) this.#peer.leaveStream(this.#stream, this.id);
    this.#lingers = this.#atWork > 0 || this.#callStopped;
    if (this.#granted !== 0) this.#giveBack(this.#granted);
    this.#early = undefined;
    if (this.#unread > 0) this.#dataRead(this.#unread);
    this.#peer.finished(this);
  }

  /** A grant that was not used up. */
  #giveBack(bytes: number): void {
    this.#useGrant(bytes);
    this.#peer.output.give(bytes);
    if (this.#peer.window.limited) this.#peer.returnCredit(bytes);
  }
}
