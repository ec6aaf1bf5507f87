/**
 * Which stream answers a request, and which lane a stream lives on. One router per connection; it owns the
 * connection's response streams.
 */

import { type BatchReader, type EncoderSetup, FrameFlag, Op, packPieces } from '../../workers/batch.ts';
import type { Connection } from '../connection.ts';
import type { Tuning } from '../encoding/codec.ts';
import { Gate } from '../reactor/flow.ts';
import { IdTable } from '../reactor/id-table.ts';
import { OutgoingStreamIds } from '../reactor/streams.ts';
import { FrameType, HEADER_SIZE, StreamFlag } from '../wire/frame.ts';
import { encodeStreamSettings } from '../wire/payloads.ts';
import type { Writer } from '../writer.ts';
import { Ladder, ladderOf, RUNG_STREAMS, type Rung } from './adaptive.ts';
import type { ContextBudget, IdleContext } from './budget.ts';
import type { Lane, SlotOwner } from './lane.ts';
import type { Policy, RouteQuery, StreamView } from './policy.ts';
import type { LanePool } from './pool.ts';

/** What waited for the encoder of a stream that is gone, in bytes. */
export interface LostBytes {
  readonly pending: number;
  /** Those of them that had used up credit. */
  readonly credited: number;
}

/** What the router tells the owner of the requests. */
export interface RouterEvents {
  /** A frame of the request's response is about to be given to the writer. */
  onFrame(requestId: number, last: boolean, rawLength: number, call: boolean): void;
  /** A record about a call in a lane: `want`, `wantRoom`, `lookup`, `pieces`, `dataRead` or `report`. */
  onCallRecord(record: BatchReader): void;
  /** So many more handlers (or fewer) are at work although their response is over. */
  linger(handlers: number): void;
  /** A stream is gone with its lane, and with it the bytes that waited for its encoder. */
  onLost(requests: Iterable<number>, lost: LostBytes, reason: string): void;
}

export interface RouterOptions {
  readonly policy: Policy;
  /** Streams and their levels are those of the profile's ladder (adaptive.ts), instead of by `policy` and `level`. */
  readonly adaptive: boolean;
  /** A stream for every response, ended with it. */
  readonly perRequest: boolean;
  /** Response streams of one connection. */
  readonly streams: number;
  /** What the peer can decode and we encode; `identity` makes all responses plain. */
  readonly profile: string;
  readonly level?: number;
  readonly windowLog?: number;
  readonly tuning?: Tuning;
  /** Most payload bytes of a frame before encoding. */
  readonly frameSize: number;
}

/** Figures of one response stream. */
export interface StreamFigures {
  readonly streamId: number;
  readonly lane: number;
  readonly slot: number;
  readonly profile: string;
  readonly frames: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

const NOTHING = new Uint8Array(0);
const utf8 = new TextEncoder();

/** What one stream may have waiting for its encoder, in bytes: enough to keep the lane busy, little to hold. */
const MAX_BACKLOG = 1024 * 1024;

/** A response stream whose context lives on a lane. */
export class LaneStream implements SlotOwner, IdleContext {
  readonly lane: Lane;
  readonly id: number;
  readonly profile: string;
  readonly writer: Writer;
  readonly slot: number;
  readonly #budget: ContextBudget;
  /** Bytes that its context was accounted with. */
  readonly #cost: number;
  readonly #events: RouterEvents;
  readonly #over: (stream: LaneStream, ended: boolean) => void;
  /** Requests whose response is on its way here. */
  readonly requests = new IdTable<true>();
  /** Bytes handed in and not yet encoded; handlers wait when there are many. */
  readonly backlog = new Gate(MAX_BACKLOG);
  /** Calls that were told to stop and have not said yet that their code has ended. */
  #stopping = 0;
  usedAt: number;
  /** Of the bytes that wait for the encoder, those that have used up credit. */
  #creditedBytes = 0;
  frames = 0;
  bytesIn = 0;
  bytesOut = 0;

  /** `cost`: bytes taken from `budget` for the context; they are given back when the stream is closed. */
  constructor(
    lane: Lane,
    connection: Connection,
    setup: EncoderSetup,
    budget: ContextBudget,
    cost: number,
    events: RouterEvents,
    over: (stream: LaneStream, ended: boolean) => void,
  ) {
    this.#budget = budget;
    this.#cost = cost;
    this.usedAt = budget.tick();
    this.lane = lane;
    this.id = setup.streamId;
    this.profile = setup.profile;
    this.writer = connection.writer;
    this.#events = events;
    this.#over = over;
    this.slot = lane.open(this);
    lane.addJson(Op.openEncoder, this.slot, setup);
    if (cost > 0) budget.hold(this);
  }

  /** The response to `requestId` goes out here. */
  use(requestId: number): void {
    this.requests.set(requestId, true);
    this.usedAt = this.#budget.tick();
  }

  get idle(): boolean {
    return this.requests.size === 0 && this.backlog.used === 0;
  }

  giveUp(): void {
    this.#over(this, false);
  }

  renew(): void {
    this.lane.add(Op.renew, this.slot, 0, 0, 0, NOTHING);
  }

  get pendingBytes(): number {
    return this.backlog.used;
  }

  /** Encodes a piece of a response; `payload` is copied. */
  encode(requestId: number, type: number, flags: number, payload: Uint8Array): void {
    this.#creditedBytes += payload.length;
    this.backlog.take(payload.length);
    this.lane.add(Op.encode, this.slot, requestId, type, flags, payload);
  }

  /** Sends a frame unencoded, after what was encoded before it. */
  plain(requestId: number, type: number, flags: number, payload: Uint8Array): void {
    this.backlog.take(payload.length);
    this.lane.add(Op.plain, this.slot, requestId, type, flags, payload);
  }

  /** Runs a handler on the lane, its output going out on this stream; `grant`: bytes it may send at once. */
  call(
    handler: number,
    requestId: number,
    command: Uint8Array,
    args: readonly Uint8Array[],
    flags: number,
    grant: number,
  ): void {
    this.lane.add(Op.call, this.slot, requestId, handler, flags, packPieces([command, ...args]), grant);
  }

  /** Sends a record about a call. */
  tell(op: number, requestId: number, flags: number, payload: Uint8Array = NOTHING, extra = 0): void {
    this.lane.add(op, this.slot, requestId, 0, flags, payload, extra);
  }

  /** Stops a call; the peer is told `reason`, or nothing when it is empty. */
  cancelCall(requestId: number, reason: string): void {
    this.#stopping++;
    this.tell(Op.callCancel, requestId, 0, utf8.encode(reason));
  }

  onFrame(requestId: number, frameFlags: number, rawLength: number, wireLength: number): void {
    this.frames++;
    this.bytesIn += rawLength;
    this.bytesOut += wireLength;
    const call = (frameFlags & FrameFlag.call) !== 0;
    if (!call) this.backlog.give(rawLength);
    if ((frameFlags & (FrameFlag.call | FrameFlag.beside)) === 0) this.#creditedBytes -= rawLength;
    const last = (frameFlags & FrameFlag.last) !== 0;
    if (last) this.requests.delete(requestId);
    if ((frameFlags & FrameFlag.endsStream) !== 0) this.#over(this, true);
    if (requestId !== 0) this.#events.onFrame(requestId, last, rawLength, call);
  }

  onRecord(record: BatchReader): void {
    if (record.op === Op.callEnded) this.#callsEnded(1);
    else this.#events.onCallRecord(record);
  }

  #callsEnded(calls: number): void {
    this.#stopping -= calls;
    this.#events.linger(-calls);
  }

  /** Frees the context; what the lane still says of stopped calls is waited for. */
  close(): void {
    this.lane.close(this.slot, this.#stopping > 0);
    this.#budget.forget(this);
    this.#budget.give(this.#cost);
  }

  onLost(reason: string): void {
    this.#over(this, false);
    this.#callsEnded(this.#stopping);
    const lost = { pending: this.pendingBytes, credited: this.#creditedBytes };
    this.#events.onLost(this.requests.ids(), lost, reason);
  }
}

/** One place among a connection's response streams; a stream is opened in it when the policy first asks for it. */
class Place implements StreamView {
  readonly index: number;
  readonly level: number | undefined;
  responses = 0;
  stream: LaneStream | undefined;
  /** ID of a stream that was lost without an end: beginning it afresh resets it at the other end, too (B1). */
  lostId: number | undefined;

  constructor(index: number, level: number | undefined) {
    this.index = index;
    this.level = level;
  }

  get open(): boolean {
    return this.stream !== undefined;
  }
  get requests(): number {
    return this.stream?.requests.size ?? 0;
  }
  get pendingBytes(): number {
    return this.stream?.pendingBytes ?? 0;
  }
  get bytesIn(): number {
    return this.stream?.bytesIn ?? 0;
  }
}

/** A stream that carries whole compressed outputs from the cache: no context of ours, no lane. */
export class CacheStream {
  readonly id: number;
  readonly #writer: Writer;
  #begun = false;
  /** True while an output is half sent: nothing else may come between its pieces. */
  busy = false;
  frames = 0;
  bytesIn = 0;
  bytesOut = 0;

  constructor(id: number, writer: Writer) {
    this.id = id;
    this.#writer = writer;
  }

  /** Sends a payload that is already encoded. */
  send(profile: string, requestId: number, flags: number, payload: Uint8Array, rawLength: number): void {
    if (!this.#begun) {
      this.#begun = true;
      const settings = encodeStreamSettings(profile, NOTHING);
      this.#writer.sendFrame(0, this.id, StreamFlag.begin, FrameType.streamSettings, 0, settings);
    }
    this.frames++;
    this.bytesIn += rawLength;
    this.bytesOut += payload.length + HEADER_SIZE;
    this.#writer.sendFrame(requestId, this.id, StreamFlag.encoded, FrameType.bytesResponse, flags, payload);
  }

  /** The output in hand was given up half-way: the next one needs a fresh context at the other end. */
  reset(): void {
    this.#begun = false;
  }
}

const MAX_CACHE_STREAMS = 2;

export class Router {
  readonly #pool: LanePool;
  readonly #connection: Connection;
  readonly #events: RouterEvents;
  readonly #ids = new OutgoingStreamIds('server');
  readonly #cacheStreams: CacheStream[] = [];
  #options: RouterOptions;
  #places: Place[] = [];
  #rungs: readonly Rung[] = [];
  /** Under `adaptive`. */
  #ladder: Ladder | undefined;
  /** Runs calls whose output is not encoded. */
  readonly #plainCalls = new Place(-1, undefined);
  /** Requests that wait for a place, oldest first. */
  readonly #waiting = new Map<number, () => void>();
  #cacheWaiting: ((stream: CacheStream) => void)[] = [];
  #closed = false;
  #pastStreams: StreamFigures[] = [];

  constructor(pool: LanePool, connection: Connection, options: RouterOptions, events: RouterEvents) {
    this.#pool = pool;
    this.#connection = connection;
    this.#events = events;
    this.#options = options;
    this.#ids.take();
    this.configure(options);
  }

  get options(): RouterOptions {
    return this.#options;
  }

  /** Takes new options for streams that are opened from now on; for use before the first request. */
  configure(options: RouterOptions): void {
    this.#options = options;
    const { adaptive, profile, streams, level } = options;
    if (!adaptive) {
      this.#places = Array.from({ length: streams }, (_, index) => new Place(index, level));
      return;
    }
    this.#rungs = ladderOf(profile);
    this.#ladder = new Ladder(this.#rungs.length);
    this.#places = this.#rungs.flatMap((rung, at) =>
      Array.from(
        { length: RUNG_STREAMS },
        (_, i) => new Place(at * RUNG_STREAMS + i, rung === 'plain' ? undefined : rung),
      ),
    );
  }

  /**
   * Calls `use` with the stream that the policy chooses, at once or when one is free; with undefined when the response
   * has to go plain from the main thread, or when no lane lives. `plain` keeps the response out of every context;
   * `inLane` says that its handler runs on a lane and needs a stream there all the same.
   * @throws RangeError when a policy of the user's chooses a stream that does not exist.
   */
  acquire(
    requestId: number,
    query: RouteQuery,
    plain: boolean,
    inLane: boolean,
    use: (stream: LaneStream | undefined) => void,
  ): void {
    const unencoded = plain || this.#options.profile === 'identity';
    const place = unencoded ? this.#plainCalls : this.#choose(query);
    if (place === this.#plainCalls && !inLane) {
      use(undefined);
      return;
    }
    if (place === undefined) {
      this.#waiting.set(requestId, () => this.acquire(requestId, query, plain, inLane, use));
      return;
    }
    // Without memory for a context the response goes plain; a handler in a lane still needs a stream there.
    const stream = this.#streamAt(place) ?? (inLane ? this.#streamAt(this.#plainCalls) : undefined);
    stream?.use(requestId);
    place.responses++;
    use(stream);
  }

  /** The request wants no stream any more. */
  stopWaiting(requestId: number): void {
    this.#waiting.delete(requestId);
  }

  /** The request will send nothing more on `stream`, which under `per-request` is nobody else's. */
  leave(stream: LaneStream, requestId: number): void {
    stream.requests.delete(requestId);
    if (!this.#options.perRequest) return;
    const place = this.#places.find((each) => each.stream === stream);
    if (place !== undefined) this.#release(place, stream, false);
  }

  /** Calls `use` with a cache stream that is between outputs, at once or when one is; it is busy until released. */
  acquireCacheStream(use: (stream: CacheStream) => void): void {
    let stream = this.#cacheStreams.find((each) => !each.busy);
    if (stream === undefined) {
      if (this.#cacheStreams.length >= MAX_CACHE_STREAMS) {
        this.#cacheWaiting.push(use);
        return;
      }
      stream = new CacheStream(this.#ids.take(), this.#connection.writer);
      this.#cacheStreams.push(stream);
    }
    stream.busy = true;
    use(stream);
  }

  /** `whole`: the output was sent to its end. */
  releaseCacheStream(stream: CacheStream, whole: boolean): void {
    if (!whole) stream.reset();
    const next = this.#cacheWaiting.shift();
    if (next !== undefined) next(stream);
    else stream.busy = false;
  }

  /** Figures of the response streams, those of ended ones included. */
  figures(): StreamFigures[] {
    const open = this.#places.flatMap((place) =>
      place.stream === undefined ? [] : [figuresOf(place.stream)],
    );
    const cache = this.#cacheStreams.map((stream) => ({
      streamId: stream.id,
      lane: -1,
      slot: -1,
      profile: 'cache',
      frames: stream.frames,
      bytesIn: stream.bytesIn,
      bytesOut: stream.bytesOut,
    }));
    return [...this.#pastStreams, ...open, ...cache];
  }

  /** Frees every context of the connection. */
  close(): void {
    this.#closed = true;
    this.#waiting.clear();
    this.#cacheWaiting = [];
    for (const place of [...this.#places, this.#plainCalls]) {
      if (place.stream === undefined) continue;
      if (place !== this.#plainCalls) this.#keepFigures(place.stream);
      place.stream.close();
      place.stream = undefined;
    }
  }

  #choose(query: RouteQuery): Place | undefined {
    if (this.#options.perRequest) return this.#places.find((place) => place.stream === undefined);
    if (this.#ladder !== undefined) return this.#climb(this.#ladder);
    const index = this.#options.policy(query, this.#places);
    const place = Number.isInteger(index) ? this.#places[index] : undefined;
    if (place === undefined) {
      throw new RangeError(`the policy chose stream ${String(index)} of ${this.#places.length}`);
    }
    return place;
  }

  /** The less loaded stream of the rung that suits what waits now; the place of plain calls for no encoding. */
  #climb(ladder: Ladder): Place {
    let laneBytes = 0;
    let requests = 0;
    for (const place of this.#places) {
      laneBytes += place.pendingBytes;
      requests += place.requests;
    }
    const rung = ladder.next({ linkWaits: this.#connection.writer.busy, laneBytes, requests });
    if (this.#rungs[rung] === 'plain') return this.#plainCalls;
    const places = this.#places.slice(rung * RUNG_STREAMS, (rung + 1) * RUNG_STREAMS);
    return places.reduce((best, each) => (each.pendingBytes < best.pendingBytes ? each : best));
  }

  #streamAt(place: Place): LaneStream | undefined {
    if (place.stream !== undefined) return place.stream;
    const lane = this.#pool.leastUsed();
    if (lane === undefined) return undefined;
    const { windowLog, tuning, frameSize, perRequest } = this.#options;
    const profile = place === this.#plainCalls ? 'identity' : this.#options.profile;
    const { budget } = this.#pool;
    const context = budget.takeEncoder(profile, { level: place.level, windowLog, tuning });
    if (context === undefined) return undefined;
    const setup = {
      streamId: place.lostId ?? this.#ids.take(),
      profile,
      frameSize,
      perRequest: perRequest && place !== this.#plainCalls,
      ...context.shape,
    };
    place.lostId = undefined;
    place.stream = new LaneStream(
      lane,
      this.#connection,
      setup,
      budget,
      context.cost,
      this.#events,
      (stream, ended) => this.#release(place, stream, ended),
    );
    return place.stream;
  }

  /** The stream ended, or was lost with its lane; its ID may be begun afresh. */
  #release(place: Place, stream: LaneStream, ended: boolean): void {
    if (this.#closed || place.stream !== stream) return;
    place.stream = undefined;
    this.#keepFigures(stream);
    stream.close();
    if (ended) this.#ids.give(stream.id);
    else place.lostId = stream.id;
    this.#useFreePlace();
  }

  #useFreePlace(): void {
    for (const [requestId, start] of this.#waiting) {
      this.#waiting.delete(requestId);
      start();
      return;
    }
  }

  /** Ended streams of one ID are one row: under `per-request` there is one for every response. */
  #keepFigures(stream: LaneStream): void {
    const now = figuresOf(stream);
    const at = this.#pastStreams.findIndex(
      (past) => past.streamId === now.streamId && past.lane === now.lane,
    );
    if (at < 0) this.#pastStreams.push(now);
    else this.#pastStreams[at] = addFigures(this.#pastStreams[at], now);
  }
}

function figuresOf(stream: LaneStream): StreamFigures {
  const { id, lane, slot, profile, frames, bytesIn, bytesOut } = stream;
  return { streamId: id, lane: lane.index, slot, profile, frames, bytesIn, bytesOut };
}

function addFigures(a: StreamFigures, b: StreamFigures): StreamFigures {
  return {
    ...b,
    frames: a.frames + b.frames,
    bytesIn: a.bytesIn + b.bytesIn,
    bytesOut: a.bytesOut + b.bytesOut,
  };
}
