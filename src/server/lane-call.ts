/** A request whose handler runs in a lane, as the main thread sees it: what its call may send, asks for and is told. */

import { type BatchReader, LookupAnswer, Op, unpackPieces } from '../../workers/batch.ts';
import type { CacheEntry } from '../lanes/cache.ts';
import type { LaneStream } from '../lanes/lane-stream.ts';
import type { Gate, Window } from '../reactor/flow.ts';
import { decodeUtf8, encodeUtf8 } from '../wire/payloads.ts';
import type { CacheSplice } from './cache-splice.ts';

/** What a call needs of its connection. */
export interface CallPeer {
  readonly window: Window;
  readonly output: Gate;
}

/** What a call needs of its request. */
export interface CallRequest {
  readonly id: number;
  readonly over: boolean;
  /** As a ResponseSink has them. */
  allowance(wanted: number): number;
  wait(resume: () => void): void;
  readonly hasRoom: boolean;
  takeCredit(bytes: number): void;
  /** Takes back {@link takeCredit}. */
  returnCredit(bytes: number): void;
  /** The handler has taken, or will never take, command data that cost so much to hold. */
  dataRead(cost: number): void;
  /** Undefined: this response's output cannot be spliced. */
  splices(): CacheSplice | undefined;
  /** The last byte of the response has been sent. */
  end(): void;
}

/** What the call record says of a call. */
export interface CallSetup {
  readonly laneHandler: number;
  readonly name: string;
  readonly args: ReadonlyMap<string, Uint8Array>;
  /** CallFlag. */
  readonly flags: number;
}

/** Bytes that a call may send before it hears from us again: at first, and at most for a long response. */
const FIRST_GRANT = 64 * 1024;
const MAX_GRANT = 512 * 1024;

export class LaneCall {
  readonly #peer: CallPeer;
  readonly #request: CallRequest;
  #stream: LaneStream | undefined;
  /** Command data that came before the call was started. */
  #early: { bytes: Uint8Array; last: boolean }[] | undefined;
  /** Bytes granted and not yet seen in frames. */
  #granted = 0;
  #grantTarget = FIRST_GRANT;
  #grantWanted = 0;
  /** Set once the call has yielded cached output that may be spliced. */
  #splice: CacheSplice | undefined;
  /** Whether the output that the call is producing ends its response. */
  #lastLookup = false;
  #stopped = false;

  constructor(peer: CallPeer, request: CallRequest) {
    this.#peer = peer;
    this.#request = request;
  }

  /** True once it was told to stop; the lane says when its code has ended. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Runs the handler in the lane of `stream`, its output going out there. */
  start(stream: LaneStream, { laneHandler, name, args, flags }: CallSetup): void {
    this.#stream = stream;
    const packed = [...args].flatMap(([key, value]) => [encodeUtf8(key), value]);
    if (!this.#peer.window.limited) this.#take(this.#request.allowance(FIRST_GRANT));
    stream.call(laneHandler, this.#request.id, encodeUtf8(name), packed, flags, this.#granted);
    for (const { bytes, last } of this.#early ?? []) this.push(bytes, last);
    this.#early = undefined;
  }

  /** A piece of command data; copied when it has to be kept. */
  push(bytes: Uint8Array, last: boolean): void {
    if (this.#stream !== undefined) {
      this.#tell(Op.callData, last ? 1 : 0, bytes);
      return;
    }
    this.#early ??= [];
    this.#early.push({ bytes: bytes.slice(), last });
  }

  /**
   * Stops the handler; the lane answers with `reason` as an error, or with nothing when it is empty, after the frames
   * that are on their way. `argumentBytes`: what the arguments cost until its code has ended. False: nothing runs.
   */
  stop(reason: string, argumentBytes: number): boolean {
    if (!this.#stream?.lane.alive) return false;
    if (!this.#stopped) this.#stream.cancelCall(this.#request.id, reason, argumentBytes);
    this.#stopped = true;
    return true;
  }

  /** A frame of the call's output has come out of its lane. */
  onFrame(last: boolean, rawLength: number): void {
    this.#useGrant(rawLength);
    if (last || this.#granted >= this.#grantTarget / 2 || this.#peer.window.limited) return;
    this.#grantTarget = Math.min(2 * this.#grantTarget, MAX_GRANT);
    this.#grant(this.#grantTarget - this.#granted);
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
      case Op.dataRead:
        return this.#request.dataRead(record.extra);
    }
  }

  /** The request is over: what was granted and not used is there for others. */
  end(): void {
    this.#early = undefined;
    if (this.#granted !== 0) this.#giveBack(this.#granted);
  }

  // ------------------------------------------------------------------------------------------- grants

  #take(bytes: number): void {
    this.#request.takeCredit(bytes);
    this.#peer.output.promise(bytes);
    this.#granted += bytes;
  }

  #useGrant(bytes: number): void {
    this.#granted -= bytes;
    this.#peer.output.keepPromise(bytes);
  }

  #giveBack(bytes: number): void {
    this.#useGrant(bytes);
    this.#peer.output.give(bytes);
    this.#request.returnCredit(bytes);
  }

  #grant(wanted: number): void {
    const bytes = this.#request.allowance(wanted);
    if (bytes <= 0) return;
    this.#take(bytes);
    this.#grantWanted = 0;
    this.#tell(Op.callGrant, 0, undefined, bytes);
  }

  #grantWhatIsWanted(): void {
    if (this.#request.over || this.#grantWanted === 0) return;
    this.#grant(this.#grantWanted);
    if (this.#grantWanted > 0) this.#request.wait(() => this.#grantWhatIsWanted());
  }

  /** Text and progress from a lane; what the call has sent has come by now, and counts as output. */
  #giveRoom(): void {
    if (this.#request.over) return;
    if (this.#request.hasRoom) this.#tell(Op.callRoom, 0);
    else this.#peer.output.wait(() => this.#giveRoom());
  }

  // ------------------------------------------------------------------------------------ cached output

  /** What is spliced needs the room that the call has not used. */
  #lookup(key: string, last: boolean, unused: number): void {
    this.#giveBack(unused);
    const splice = this.#request.splices();
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
