/** A response stream whose context lives on a lane: what is handed in comes back as finished frames of the stream. */

import type { BatchReader } from '../../workers/batch.ts';
import { packFailure, packIdentity, unpackPieces } from '../../workers/packed.ts';
import { type EncoderSetup, FrameFlag, Op } from '../../workers/records.ts';
import type { ConnectionFlow } from '../reactor/flow.ts';
import { Backlog } from '../reactor/gate.ts';
import { IdTable } from '../reactor/id-table.ts';
import type { Failure } from '../wire/failure.ts';
import { errorOf } from '../wire/thrown.ts';
import { decodeUtf8 } from '../wire/utf8.ts';
import type { WaitProbe } from './adaptive.ts';
import type { FrameTarget } from './batch-lease.ts';
import type { ContextBudget, IdleContext } from './budget.ts';
import type { ContextShape } from './context-cost.ts';
import type { HandedFrame } from './handed-frames.ts';
import type { Lane, SlotOwner } from './lane.ts';
import type { Pass } from './quarantine.ts';

/** Whose calls run on a stream. */
export interface PackedCaller {
  /** The payload of a `caller` record. @throws Error when it cannot be cloned. */
  packed(): Uint8Array;
}

/** Whose output the frames of a stream are. */
export interface StreamTarget {
  readonly flow: ConnectionFlow;
  readonly writer: FrameTarget;
  /** As in {@link Lane.open}; missing: the flow is nobody else's. */
  readonly whose?: object;
}

/** What streams tell the owner of the requests. */
export interface StreamEvents {
  /** A frame of the request's response is about to be given to the writer. */
  onFrame(requestId: number, last: boolean, rawLength: number, wireLength: number): void;
  /** A record about a call in a lane: `want`, `wantRoom`, `lookup`, `pieces`, `callFailed` or `dataRead`. */
  onCallRecord(record: BatchReader): void;
  /** A handler of `command`, or an encoder, threw something that is not meant for the peer. */
  report(error: Error, command: string | undefined): void;
  /** `handlers` more, or fewer if negative, are at work although their response is over; so are bytes of arguments held. */
  linger(handlers: number, argumentBytes: number): void;
  /** The response cannot be encoded, and what has come of it is all. */
  onUnencoded(requestId: number): void;
  /**
   * A stream is gone with its lane, which had `left` to make frames of. Those of the requests that can do without are taken off it,
   * and what they had there is sent as it is; nobody is woken yet. Their IDs.
   */
  onLeft(requests: Iterable<number>, left: readonly HandedFrame[]): ReadonlySet<number>;
  /** They may look for another stream. */
  onMoved(requests: Iterable<number>): void;
  /** A stream is gone with its lane, in the middle of the responses to these requests. */
  onLost(requests: Iterable<number>, failure: Failure): void;
}

/** A call that was told to stop. */
interface StoppingCall {
  readonly requestId: number;
  readonly argumentBytes: number;
  /** On its lane: it is what its code is known by, should that end the lane yet. */
  readonly mark: number;
}

const NOTHING = new Uint8Array(0);
const NOBODY: ReadonlySet<number> = new Set();

/** What one stream may have waiting for its encoder, in bytes: enough to keep the lane busy, little to hold. */
const MAX_BACKLOG = 1024 * 1024;

export class LaneStream implements SlotOwner, IdleContext {
  readonly lane: Lane;
  readonly id: number;
  profile: string;
  /** What its encoder was made with. */
  shape: ContextShape;
  readonly openedAtMs = performance.now();
  /** It keeps nothing from one payload to the next. */
  readonly contextFree: boolean;
  readonly writer: FrameTarget;
  readonly slot: number;
  readonly #flow: ConnectionFlow;
  readonly #budget: ContextBudget;
  /** Bytes that its context is accounted with. */
  readonly contextBytes: number;
  readonly #pass: Pass;
  readonly #events: StreamEvents;
  readonly #over: (stream: LaneStream, ended: boolean) => void;
  readonly #perRequest: boolean;
  /** Requests whose response is on its way here. */
  readonly requests = new IdTable<true>();
  /** Bytes handed in and not yet encoded; handlers wait when there are many. */
  readonly backlog: Backlog;
  /** Follows bytes through the backlog; undefined: nobody wants to know. */
  readonly #probe: WaitProbe | undefined;
  /** Calls that were told to stop and have not said yet that their code has ended. */
  #stopping: StoppingCall[] = [];
  /** Whom the lane knows as the caller. */
  #caller: PackedCaller | undefined;
  /** The requests that have left it, since its lane is dead, and what they had handed in. */
  #moved = NOBODY;
  #passedOn: readonly HandedFrame[] = [];
  usedAt: number;
  frames = 0;
  bytesIn = 0;
  bytesOut = 0;

  /**
   * `cost`: bytes taken from `budget` for the context; they are given back when the stream is closed, and so is `pass`, the
   * encoder's leave to run.
   */
  constructor(
    lane: Lane,
    { writer, flow, whose = flow }: StreamTarget,
    setup: EncoderSetup,
    budget: ContextBudget,
    cost: number,
    pass: Pass,
    events: StreamEvents,
    over: (stream: LaneStream, ended: boolean) => void,
    probe: WaitProbe | undefined,
  ) {
    this.#probe = probe;
    this.#budget = budget;
    this.contextBytes = cost;
    this.#pass = pass;
    this.usedAt = budget.tick();
    this.lane = lane;
    this.id = setup.streamId;
    this.#perRequest = setup.perRequest;
    this.profile = setup.profile;
    this.shape = setup;
    this.contextFree = setup.contextFree ?? false;
    this.writer = writer;
    this.#flow = flow;
    this.backlog = new Backlog(MAX_BACKLOG, flow.output);
    this.#events = events;
    this.#over = over;
    this.slot = lane.open(this, whose);
    lane.input.addJson(Op.openEncoder, this.slot, setup);
    if (cost > 0) budget.hold(this);
  }

  /** Takes another encoder without a context: that loses nothing, wherever a response is. */
  changeEncoder(setup: EncoderSetup): void {
    this.profile = setup.profile;
    this.shape = setup;
    this.lane.input.addJson(Op.openEncoder, this.slot, setup);
  }

  /** The response to `requestId` goes out here. */
  use(requestId: number): void {
    this.requests.set(requestId, true);
    this.usedAt = this.#budget.tick();
  }

  /** Its encoder is on trial, and has not shown how that goes. */
  get onTrial(): boolean {
    return this.#pass.isTrial && this.frames === 0;
  }

  get idle(): boolean {
    return this.requests.size === 0 && this.backlog.used === 0;
  }

  giveUp(): void {
    this.#over(this, false);
  }

  renew(): void {
    this.lane.input.add(Op.renew, this.slot, 0, 0, 0, NOTHING);
  }

  get pendingBytes(): number {
    return this.backlog.used;
  }

  /** Encodes a piece of a response; `payload` is copied. */
  encode(requestId: number, type: number, flags: number, payload: Uint8Array): void {
    this.backlog.enter(payload.length, true);
    this.#probe?.entered(this, this.backlog.used);
    this.lane.input.hand(Op.encode, this.slot, requestId, type, flags, payload);
  }

  /** Sends a frame unencoded, after what was encoded before it. */
  pass(requestId: number, type: number, flags: number, payload: Uint8Array): void {
    this.backlog.enter(payload.length, false);
    this.lane.input.hand(Op.pass, this.slot, requestId, type, flags, payload);
  }

  /**
   * Runs a handler on the lane, its output going out on this stream; `grant`: bytes it may send at once. Returns the call's
   * mark on the lane.
   */
  call(
    handler: number,
    requestId: number,
    command: Uint8Array,
    args: readonly Uint8Array[],
    flags: number,
    grant: number,
    serial: number,
    suspect: number,
  ): number {
    const mark = this.lane.marks.take(suspect);
    const pieces = [command, packIdentity({ serial, mark, suspect }), ...args];
    this.lane.input.addPieces(Op.call, this.slot, requestId, handler, flags, pieces, grant);
    return mark;
  }

  /** Says whose the calls are that follow, unless the lane knows. @throws Error when the principal cannot be cloned. */
  callFor(caller: PackedCaller): void {
    if (caller === this.#caller) return;
    this.lane.input.add(Op.caller, this.slot, 0, 0, 0, caller.packed());
    this.#caller = caller;
  }

  /** Sends a record about a call. */
  tell(op: number, requestId: number, flags: number, payload: Uint8Array = NOTHING, extra = 0): void {
    this.lane.input.add(op, this.slot, requestId, 0, flags, payload, extra);
  }

  /** Stops a call, whose mark is ours to give back from now on; the peer is told `failure`, or nothing. */
  cancelCall(call: StoppingCall, failure: Failure | undefined): void {
    this.#stopping.push(call);
    this.tell(Op.callCancel, call.requestId, 0, packFailure(failure));
  }

  onFrame(requestId: number, frameFlags: number, rawLength: number, wireLength: number): void {
    this.frames++;
    this.bytesIn += rawLength;
    this.bytesOut += wireLength;
    if ((frameFlags & FrameFlag.call) === 0) {
      this.backlog.leave(rawLength, (frameFlags & FrameFlag.beside) === 0);
      this.#probe?.left(this, rawLength);
    }
    const last = (frameFlags & FrameFlag.last) !== 0;
    if (last) this.requests.delete(requestId);
    if ((frameFlags & FrameFlag.endsStream) !== 0) this.#over(this, true);
    if (requestId === 0) return;
    this.#events.onFrame(requestId, last, rawLength, wireLength);
    this.#flow.output.give(rawLength);
  }

  /** The encoder failed: what was handed in never reaches the peer, and uses up none of its window. */
  #unencoded({ requestId, flags, extra: rawLength }: BatchReader): void {
    const credited = (flags & FrameFlag.beside) === 0;
    this.backlog.leave(rawLength, credited);
    this.#probe?.left(this, rawLength);
    if ((flags & FrameFlag.last) !== 0) {
      this.requests.delete(requestId);
      this.#events.onUnencoded(requestId);
      this.tell(Op.failureSeen, requestId, 0);
    }
    this.#flow.output.give(rawLength);
    if (credited) this.#flow.refund(rawLength);
    if (this.#perRequest) this.#giveUpAll();
  }

  /** The stream is nobody else's, and will end with no frame: what is still on its way to the encoder is lost. */
  #giveUpAll(): void {
    this.#over(this, false);
    this.#flow.lose(this.backlog);
  }

  onRecord(record: BatchReader): void {
    if (record.op === Op.callEnded) this.#callEnded(record.requestId);
    else if (record.op === Op.report) this.#report(record);
    else if (record.op === Op.unencoded) this.#unencoded(record);
    else this.#events.onCallRecord(record);
  }

  #report(record: BatchReader): void {
    const [command, error] = unpackPieces(record.payload).map(decodeUtf8);
    this.#events.report(errorOf(JSON.parse(error)), command || undefined);
  }

  #callEnded(requestId: number): void {
    const at = this.#stopping.findIndex((call) => call.requestId === requestId);
    if (at < 0) return;
    const [{ argumentBytes, mark }] = this.#stopping.splice(at, 1);
    this.lane.marks.give(mark);
    this.#events.linger(-1, -argumentBytes);
  }

  /** Frees the context; what the lane still says of stopped calls is waited for. */
  close(): void {
    this.#probe?.gone(this);
    this.lane.close(this.slot, this.#stopping.length > 0);
    this.#pass.end(this.frames > 0 && this.lane.alive);
    this.#budget.forget(this);
    this.#budget.give(this.contextBytes);
  }

  onLeft(left: readonly HandedFrame[]): void {
    this.#moved = this.#events.onLeft(this.requests.ids(), left);
    for (const requestId of this.#moved) this.requests.delete(requestId);
    this.#passedOn = left.filter(({ requestId }) => this.#moved.has(requestId));
  }

  onLost(failure: Failure): void {
    this.#over(this, false);
    for (const { requestId } of [...this.#stopping]) this.#callEnded(requestId);
    for (const { payload, credited } of this.#passedOn) {
      this.backlog.leave(payload.length, credited);
      this.#flow.output.give(payload.length);
    }
    this.#events.onLost(this.requests.ids(), failure);
    // Only now: a request that wakes as another one ends still hands in what it has.
    this.#flow.lose(this.backlog);
    this.backlog.wake();
    this.#events.onMoved(this.#moved);
  }
}
