/** One handler at work in a lane: its bytes go straight into the lane's encoder. */

import { deserialize } from 'node:v8';
import type { CachedOutput, ProgressOutput, TextOutput } from '../src/reactor/command.ts';
import type { FlushQueue } from '../src/reactor/flush-queue.ts';
import { producedBy } from '../src/reactor/output.ts';
import { type Caller, DataQueue, HandlerRequest, NO_DATA } from '../src/reactor/request.ts';
import { ResponsePump, type ResponseSink } from '../src/reactor/response.ts';
import { CommandError } from '../src/wire/errors.ts';
import { BytesResponseFlag, ErrorResponseFlag, FrameType, HEADER_SIZE } from '../src/wire/frame.ts';
import { nameOf } from '../src/wire/names.ts';
import {
  ErrorDetail,
  encodeFailure,
  encodeProgress,
  encodeTextWithin,
  type Failure,
} from '../src/wire/payloads.ts';
import { errorText } from '../src/wire/thrown.ts';
import type { BatchReader } from './batch.ts';
import type { LaneEncoders } from './lane-encoders.ts';
import type { LaneOutput } from './lane-output.ts';
import { packPieces, piecesWithin, unpackIdentity } from './packed.ts';
import { CallFlag, FrameFlag, LookupAnswer, Op } from './records.ts';

/** What a call needs of whoever keeps the calls, and tells it. */
export interface CallOwner {
  /** Responses that hold a piece until the tick ends. */
  readonly flushes: FlushQueue;
  /** `bytes` compressed once for the cache, as the payload of a `pieces` record. */
  compress(bytes: Uint8Array): Uint8Array;
  /** The call's response is over. */
  over(call: Call): void;
  /** The call's code has ended, perhaps not for the first time: cached output is made by code of its own. */
  ended(call: Call): void;
}

/** Bytes of text and progress that a call may send before it has to ask for room. */
const ROOM = 16 * 1024;
const NOTHING = new Uint8Array(0);
const utf8 = new TextEncoder();
/** What a handler hears whose peer is gone. */
const GONE: Failure = { code: 'cancelled', message: 'connection closed' };

/** One handler at work. */
export class Call implements ResponseSink {
  readonly slot: number;
  readonly requestId: number;
  /** By which the main thread sees that its handler has begun. */
  readonly mark: number;
  /** Whose code it runs. */
  readonly suspect: number;
  readonly pump: ResponsePump;
  readonly request: HandlerRequest;
  readonly data: DataQueue | undefined;
  readonly #calls: CallOwner;
  readonly #encoders: LaneEncoders;
  readonly #output: LaneOutput;
  readonly #sendsProgress: boolean;
  /** What the peer takes of an error. */
  readonly #errorDetail: number;
  #grant: number;
  #wanted = 0;
  #room = ROOM;
  #roomAsked = false;
  #resume: (() => void) | undefined;
  #codeRuns = true;
  /** Cached output is being produced, which the end of the call does not end. */
  #produces = false;
  #mustTell = false;
  #lookup: ((answer: number) => void) | undefined;
  #over = false;

  constructor(
    calls: CallOwner,
    encoders: LaneEncoders,
    output: LaneOutput,
    caller: Caller,
    record: BatchReader,
  ) {
    this.#calls = calls;
    this.#encoders = encoders;
    this.#output = output;
    this.slot = record.slot;
    this.requestId = record.requestId;
    this.#grant = record.extra;
    const [command, identity, ...rest] = piecesWithin(record.payload);
    const { serial, mark, suspect } = unpackIdentity(identity);
    this.mark = mark;
    this.suspect = suspect;
    const args = new Map<string, Uint8Array>();
    for (let i = 0; i + 1 < rest.length; i += 2) args.set(nameOf(rest[i]), rest[i + 1].slice());
    this.#sendsProgress = (record.flags & CallFlag.progress) !== 0;
    this.#errorDetail = errorDetailOf(record.flags);
    if ((record.flags & CallFlag.data) !== 0) this.data = new DataQueue((bytes) => this.#dataRead(bytes));
    this.request = new HandlerRequest(nameOf(command), args, this.data ?? NO_DATA, caller, serial, (error) =>
      this.report(error),
    );
    // An odd piece: what the command's schema has made of the arguments.
    if (rest.length % 2 === 1) this.request.input = deserialize((rest.pop() as Uint8Array).slice());
    this.pump = new ResponsePump(this.request.command, this, encoders.frameSize(this.slot));
  }

  get over(): boolean {
    return this.#over;
  }

  granted(bytes: number): void {
    this.#grant += bytes;
    this.#wanted = 0;
    this.#wake();
  }

  roomGiven(): void {
    this.#room = ROOM;
    this.#roomAsked = false;
    this.#wake();
  }

  lookupAnswered(answer: number): void {
    const lookup = this.#lookup;
    this.#lookup = undefined;
    lookup?.(answer);
  }

  get codeRuns(): boolean {
    return this.#codeRuns || this.#produces;
  }

  /** Stops the handler because the main thread says so, which wants to know when its code has ended. */
  cancel(failure: Failure | undefined): void {
    this.#mustTell = true;
    const ended = !this.codeRuns;
    this.stop(failure);
    if (ended) this.tellEnded();
  }

  tellEnded(): void {
    this.#output.add(Op.callEnded, this.slot, this.requestId, 0, NOTHING);
    this.#output.flushSoon();
  }

  /** Stops the handler; the peer is told `failure`, or nothing. */
  stop(failure: Failure | undefined): void {
    const { message, code } = failure ?? GONE;
    this.request.abort(new CommandError(message, { code }));
    this.data?.fail(new CommandError(message, { code }));
    this.pump.stop(failure);
  }

  allowance(wanted: number): number {
    this.#wanted = wanted;
    return Math.min(wanted, this.#grant);
  }

  /** Where both are used up, room is asked for first, and then the grant. */
  wait(resume: () => void): void {
    this.#resume = resume;
    if (this.hasRoom) this.#add(Op.want, 0, NOTHING, this.#wanted);
    else if (!this.#roomAsked) {
      this.#roomAsked = true;
      this.#add(Op.wantRoom, 0, NOTHING);
    }
  }

  sendBytes(bytes: Uint8Array, last: boolean): void {
    this.#grant -= bytes.length;
    this.#wanted -= bytes.length;
    const flags = last ? BytesResponseFlag.eos : BytesResponseFlag.continuation;
    this.#encoders.encode(this.slot, this.requestId, FrameType.bytesResponse, flags, bytes, FrameFlag.call);
    this.#output.flushSoon();
  }

  get hasRoom(): boolean {
    return this.#room > 0;
  }

  /** What the peer takes in one frame. */
  get #frameSize(): number {
    return this.#encoders.frameSize(this.slot);
  }

  sendText(output: TextOutput): void {
    for (const payload of encodeTextWithin(output.atoms, this.#frameSize))
      this.#sendBeside(FrameType.textOutput, payload);
  }

  sendProgress(output: ProgressOutput): void {
    if (this.#sendsProgress) this.#sendBeside(FrameType.progress, encodeProgress(output, this.#frameSize));
  }

  sendError(failure: Failure): void {
    const payload = encodeFailure(failure, this.#errorDetail, this.#frameSize);
    this.#output.add(Op.callFailed, this.slot, this.requestId, 0, utf8.encode(failure.code));
    this.#pass(FrameType.errorResponse, ErrorResponseFlag.application, payload);
  }

  sendCached(output: CachedOutput, last: boolean, then: (bytes?: Uint8Array) => void): void {
    const answered = (answer: number) => {
      if (answer === LookupAnswer.spliced) then();
      else this.#produce(output, answer, then);
    };
    this.#lookup = answered;
    const unused = this.#grant;
    this.#grant = 0;
    this.#add(Op.lookup, last ? 1 : 0, utf8.encode(output.key), unused);
  }

  flushLater(pump: ResponsePump): void {
    this.#calls.flushes.add(pump);
  }

  nextTurn(goOn: () => void): void {
    setImmediate(goOn);
  }

  report(error: unknown): void {
    const pieces = [this.request.command, JSON.stringify(errorText(error))].map((each) => utf8.encode(each));
    this.#output.add(Op.report, this.slot, this.requestId, 0, packPieces(pieces));
    this.#output.flushSoon();
  }

  done(): void {
    this.data?.drop();
    this.#over = true;
    this.#calls.over(this);
  }

  ended(): void {
    this.#codeRuns = false;
    this.#codeEnded();
  }

  #codeEnded(): void {
    if (this.codeRuns) return;
    if (this.#mustTell) this.tellEnded();
    this.#calls.ended(this);
  }

  async #produce(output: CachedOutput, answer: number, then: (bytes?: Uint8Array) => void): Promise<void> {
    this.#produces = true;
    try {
      const bytes = await producedBy(output);
      if (answer === LookupAnswer.stream) then(bytes);
      else this.#fillCache(bytes, then);
    } catch (error) {
      if (answer === LookupAnswer.produce) this.#add(Op.pieces, 1, NOTHING);
      this.pump.fail(error);
    } finally {
      this.#produces = false;
      this.#codeEnded();
    }
  }

  #fillCache(bytes: Uint8Array, then: (bytes?: Uint8Array) => void): void {
    const pieces = this.#calls.compress(bytes);
    const filled = (answer: number) => {
      if (answer === LookupAnswer.spliced) then();
      else then(bytes);
    };
    this.#lookup = filled;
    this.#add(Op.pieces, 0, pieces, bytes.length);
  }

  #sendBeside(type: number, payload: Uint8Array): void {
    this.#room -= HEADER_SIZE + payload.length;
    this.#pass(type, 0, payload);
  }

  #pass(type: number, flags: number, payload: Uint8Array): void {
    this.#encoders.pass(this.slot, this.requestId, type, flags, payload, 0, FrameFlag.call);
    this.#output.flushSoon();
  }

  #wake(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }

  #dataRead(bytes: number): void {
    this.#add(Op.dataRead, 0, NOTHING, bytes);
  }

  /** After the end nothing may be said of the request: its ID may be another's by then. */
  #add(op: number, flags: number, payload: Uint8Array, extra = 0): void {
    if (this.#over) return;
    this.#output.add(op, this.slot, this.requestId, flags, payload, extra);
    this.#output.flushSoon();
  }
}

function errorDetailOf(flags: number): number {
  if ((flags & CallFlag.errorData) !== 0) return ErrorDetail.data;
  return (flags & CallFlag.errorCodes) !== 0 ? ErrorDetail.code : ErrorDetail.message;
}
