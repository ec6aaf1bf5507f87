/** A request whose handler runs in a lane, as the main thread sees it: what its call may send, asks for and is told. */

import { serialize } from 'node:v8';
import type { BatchReader } from '../../workers/batch.ts';
import { unpackPieces } from '../../workers/packed.ts';
import { CallFlag, LookupAnswer, Op } from '../../workers/records.ts';
import type { CacheEntry } from '../lanes/cache.ts';
import type { LaneStream } from '../lanes/lane-stream.ts';
import { PieceQueue } from '../reactor/piece-queue.ts';
import { decodeUtf8, ErrorDetail, encodeUtf8, type Failure } from '../wire/payloads.ts';
import type { CacheSplice } from './cache-splice.ts';
import type { Run, ServedRequest } from './request.ts';

/** Bytes that a call may send before it hears from us again: at first, and at most for a long response. */
const FIRST_GRANT = 64 * 1024;
const MAX_GRANT = 512 * 1024;
/** Pieces of command data that may be unread in the lane: what waits here takes little beside its bytes, however small. */
const MAX_DATA_THERE = 64;
const NOTHING = new Uint8Array(0);

/** Nothing of the request has run. */
const NO_WORKER: Failure = { code: 'overloaded', message: 'no worker to run the command on' };

const NO_CLONE: Failure = {
  code: 'internal',
  message: 'internal error: what the authorize hook gave as principal cannot be cloned for a worker',
};

const NO_INPUT_CLONE: Failure = {
  code: 'internal',
  message: 'internal error: what the schema has made cannot be cloned for a worker',
};

export class LaneCall implements Run {
  readonly #request: ServedRequest;
  #stream: LaneStream | undefined;
  /** By which the lane tells whether the handler has begun; ours until the call is over, or is the stream's to wait for. */
  #mark = 0;
  #hasMark = false;
  /** Pieces of command data that were handed to the lane, and are gone if it is. */
  #sentData = false;
  /** Why the server drains, where it began to before the call was started. */
  #drainReason: string | undefined;
  /** Command data that the lane has not got yet, and whether its end is in it. */
  readonly #data = new PieceQueue();
  #dataEnded = false;
  /** Bytes of the pieces that the lane has and has not read to the end, oldest first. */
  readonly #there: number[] = [];
  /** Bytes that a call of a long response should have left. */
  #grantTarget = FIRST_GRANT;
  /** Bytes that the call has asked for and not been granted. */
  #grantWanted = 0;
  /** Set once the call has yielded cached output that may be spliced. */
  #splice: CacheSplice | undefined;
  /** Whether the output that the call is producing ends its response. */
  #lastLookup = false;

  constructor(request: ServedRequest) {
    this.#request = request;
  }

  /** Runs the handler in the lane of `stream`, its output going out there. */
  start(stream: LaneStream | undefined): void {
    const { id, serial, suspect, command, args, input, flow, session } = this.#request;
    if (stream === undefined) {
      this.#request.fail(NO_WORKER);
      return;
    }
    try {
      stream.callFor(session.caller);
    } catch (error) {
      session.report(error, command.name);
      this.#request.fail(NO_CLONE);
      return;
    }
    let packedInput: Uint8Array | undefined;
    try {
      packedInput = command.args && serialize(input);
    } catch (error) {
      session.report(error, command.name);
      this.#request.fail(NO_INPUT_CLONE);
      return;
    }
    const packed: Uint8Array[] = [];
    for (const [key, value] of args) packed.push(encodeUtf8(key), value);
    if (packedInput !== undefined) packed.push(packedInput);
    // A call that may be idle must not keep what others need of the connection's window.
    if (!session.flow.limited) flow.reserve(flow.available(FIRST_GRANT));
    const name = encodeUtf8(command.name);
    const { laneHandler } = command;
    this.#mark = stream.call(laneHandler, id, name, packed, this.#flags(), flow.reserved, serial, suspect);
    this.#hasMark = true;
    // Only now: what hooks have done to the arguments may have thrown, and then no lane answers.
    this.#stream = stream;
    this.#sendData();
    if (this.#drainReason !== undefined) this.drain(this.#drainReason);
  }

  #flags(): number {
    const { hasData, session } = this.#request;
    const { sendsProgress, errorDetail } = session;
    return (
      (hasData ? CallFlag.data : 0) |
      (sendsProgress ? CallFlag.progress : 0) |
      (errorDetail === ErrorDetail.code ? CallFlag.errorCodes : 0) |
      (errorDetail === ErrorDetail.data ? CallFlag.errorData : 0)
    );
  }

  push(bytes: Uint8Array, last: boolean): void {
    this.#dataEnded = last;
    if (this.#stream !== undefined && this.#data.length === 0 && this.#there.length < MAX_DATA_THERE)
      this.#sendPiece(bytes, last);
    else {
      this.#data.push(bytes);
      this.#sendData();
    }
  }

  /** Hands on what waits, as far as the lane has read what it has. */
  #sendData(): void {
    if (this.#stream === undefined) return;
    while (this.#data.length > 0 && this.#there.length < MAX_DATA_THERE) {
      const piece = this.#data.shift() as Uint8Array;
      this.#sendPiece(piece, this.#dataEnded && this.#data.length === 0);
    }
    if (this.#dataEnded && this.#data.length === 0) this.#sendPiece(NOTHING, true);
  }

  #sendPiece(bytes: Uint8Array, last: boolean): void {
    if (last) this.#dataEnded = false;
    this.#sentData = true;
    if (bytes.length > 0) this.#there.push(bytes.length);
    this.#tell(Op.callData, last ? 1 : 0, bytes);
  }

  /** The lane puts small pieces together: what it reads at a time may be several, or a part of the newest. */
  #dataRead(bytes: number): void {
    const there = this.#there;
    let left = bytes;
    while (there.length > 0 && left >= there[0]) left -= there.shift() as number;
    if (there.length > 0) there[0] -= left;
    this.#request.flow.data.read(bytes);
    this.#sendData();
  }

  drain(reason: string): void {
    if (this.#stream === undefined) this.#drainReason = reason;
    else this.#tell(Op.callDrain, 0, encodeUtf8(reason));
  }

  /** The lane answers, after the frames that are on their way. */
  stop(failure: Failure | undefined): void {
    const laneAnswers = this.#cancel(failure);
    if (failure === undefined || !laneAnswers) this.#request.fail(failure);
  }

  /** The lane says when the call's code has ended. False: no lane runs it. */
  #cancel(failure: Failure | undefined): boolean {
    const { id, state, argumentBytes } = this.#request;
    if (!this.#stream?.lane.alive) return false;
    if (state !== 'stopping')
      this.#stream.cancelCall({ requestId: id, argumentBytes, mark: this.#mark }, failure);
    this.#hasMark = false;
    this.#request.stopping();
    return true;
  }

  /** Its code is gone as well. */
  lose(): void {
    this.#leave();
  }

  leaveLane(): boolean {
    return false;
  }

  /** It never leaves one. */
  moveTo(): void {}

  retract(): boolean {
    if (this.#stream === undefined || this.#sentData || this.begun) return false;
    const { flow } = this.#request;
    flow.refund(flow.reserved);
    this.#leave();
    return true;
  }

  /** Whether its handler has begun. */
  get begun(): boolean {
    return this.#stream?.lane.marks.hasBegun(this.#mark) ?? true;
  }

  #leave(): void {
    this.#giveMark();
    this.#stream = undefined;
  }

  #giveMark(): void {
    if (this.#hasMark) this.#stream?.lane.marks.give(this.#mark);
    this.#hasMark = false;
  }

  onFrame(last: boolean, rawLength: number): void {
    const { flow, session } = this.#request;
    flow.use(rawLength);
    if (last || flow.reserved >= this.#grantTarget / 2 || session.flow.limited) return;
    this.#grantTarget = Math.min(2 * this.#grantTarget, MAX_GRANT);
    this.#grant(this.#grantTarget - flow.reserved);
  }

  onRecord(record: BatchReader): void {
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
      case Op.callFailed:
        return this.#request.failedWith(decodeUtf8(record.payload));
      case Op.dataRead:
        return this.#dataRead(record.extra);
    }
  }

  end(): void {
    this.#giveMark();
    this.#data.takeAll();
  }

  // ------------------------------------------------------------------------------------------- grants

  #grant(wanted: number): void {
    const { flow } = this.#request;
    const bytes = flow.available(wanted);
    if (bytes <= 0) return;
    flow.reserve(bytes);
    this.#grantWanted = 0;
    this.#tell(Op.callGrant, 0, undefined, bytes);
  }

  #grantWhatIsWanted(): void {
    if (this.#request.state === 'over' || this.#grantWanted === 0) return;
    this.#grant(this.#grantWanted);
    if (this.#grantWanted > 0) this.#request.flow.wait(() => this.#grantWhatIsWanted());
  }

  /** Text and progress from a lane; what the call has sent has come by now, and counts as output. */
  #giveRoom(): void {
    const { state, flow } = this.#request;
    if (state === 'over') return;
    if (flow.hasRoom) this.#tell(Op.callRoom, 0);
    else flow.waitForRoom(() => this.#giveRoom());
  }

  // ------------------------------------------------------------------------------------ cached output

  /** What is spliced needs the room that the call has not used. */
  #lookup(key: string, last: boolean, unused: number): void {
    const { flow, splice } = this.#request;
    flow.refund(unused);
    if (splice === undefined) {
      this.#answerLookup(LookupAnswer.stream);
      return;
    }
    this.#splice = splice;
    splice.lookup(
      key,
      (entry) => this.#send(splice, entry, last),
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
    this.#send(splice, entry, this.#lastLookup);
  }

  #send(splice: CacheSplice, entry: CacheEntry, last: boolean): void {
    if (!splice.fits(entry)) {
      this.#answerLookup(LookupAnswer.stream);
      return;
    }
    splice.send(entry, last, () => {
      this.#answerLookup(LookupAnswer.spliced);
      if (!last) return;
      this.#stream?.requests.delete(this.#request.id);
      this.#request.end();
    });
  }

  #answerLookup(answer: number): void {
    this.#tell(Op.lookupAnswer, answer);
  }

  #tell(op: number, flags: number, payload?: Uint8Array, extra?: number): void {
    this.#stream?.tell(op, this.#request.id, flags, payload, extra);
  }
}
