/**
 * Which stream answers a request, and which lane a stream lives on. One router per connection; it owns the
 * connection's response streams.
 */

import type { EncoderSetup } from '../../workers/records.ts';
import type { Connection } from '../connection/connection.ts';
import type { Tuning } from '../encoding/codec.ts';
import { IDENTITY, ZSTD, ZSTD_DICT } from '../encoding/profiles.ts';
import type { ConnectionFlow } from '../reactor/flow.ts';
import { OutgoingStreamIds } from '../reactor/streams.ts';
import { FrameType } from '../wire/frame.ts';
import { describe, watchRejection } from '../wire/thrown.ts';
import { Ladder, LinkProbe, ladderOf, RUNG_STREAMS, type Rung, WaitProbe } from './adaptive.ts';
import { CacheStreams } from './cache-stream.ts';
import { withinWindow } from './context-cost.ts';
import { addFigures, figuresOf, type StreamFigures } from './figures.ts';
import type { InlineEncoders } from './inline-encoders.ts';
import { InlineStream } from './inline-stream.ts';
import type { Lane } from './lane.ts';
import { LaneStream, type StreamEvents } from './lane-stream.ts';
import { fewestStreams, mainBusyMs } from './lanes-in-use.ts';
import { MAX_STREAMS, type Policy, type RouteQuery } from './policy.ts';
import type { LanePool } from './pool.ts';
import type { StreamKind } from './stream-kind.ts';
import { Place } from './stream-place.ts';

export interface RouterOptions {
  readonly policy: Policy;
  /** Streams and their levels are those of the profile's ladder (adaptive.ts), instead of by `policy` and `level`. */
  readonly adaptive: boolean;
  /** Where each stream lives is the policy's to know: its lane stays the same. Otherwise streams move as lanes fill and rest. */
  readonly spread: boolean;
  /** A stream for every response, ended with it. */
  readonly perRequest: boolean;
  /** Response streams of one connection. */
  readonly streams: number;
  /** What the peer can decode and we encode; with `identity` no response is encoded. */
  readonly profile: string;
  readonly level?: number;
  readonly windowLog?: number;
  /** Base-2 logarithm of the largest window that the peer takes, where it is less than the profile's. */
  readonly maxWindowLog?: number | undefined;
  readonly tuning?: Tuning;
  /** Kinds of streams, the first for all requests that need none of their own. */
  readonly kinds: readonly StreamKind[];
  /** Whether the peer holds a dictionary. */
  readonly holds: (dictionary: string) => boolean;
  /** Most payload bytes of a frame before encoding. */
  readonly frameSize: number;
}

/** Below so many bytes a context has learnt less than a dictionary knows. */
const YOUNG_BYTES = 64 * 1024;

/** How long output waits when all we know is that the socket does not take it, in milliseconds. */
const BUSY_MS = 10;
/** Told from other pings by its first byte. */
const LINK_PING = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);

export class Router {
  // What each request asks for comes first, side by side: with many connections nothing of it is in a cache.
  readonly #pool: LanePool;
  #options: RouterOptions;
  /** Runs calls whose output is not encoded. */
  readonly #unencodedCalls = new Place(-1, undefined);
  /** Frozen, because policies of users are given them. */
  #places: readonly Place[] = [];
  /** Beside those that policies choose among: one for every kind of stream but the first. */
  #ownPlaces = new Map<StreamKind, Place>();
  readonly #connection: Connection;
  readonly #flow: ConnectionFlow;
  readonly #events: StreamEvents;
  /** IDs of all the streams that we send on. */
  readonly ids = new OutgoingStreamIds('server');
  readonly cacheStreams: CacheStreams;
  #rungs: readonly Rung[] = [];
  /** Under `adaptive`. */
  #ladder: Ladder | undefined;
  #laneProbe: WaitProbe | undefined;
  /** Where the peer answers pings, too. */
  #linkProbe: LinkProbe | undefined;
  /** Requests that wait for a place, or for a lane, oldest first; undefined: none ever had to. */
  #waiting: Map<number, () => void> | undefined;
  /** Of responses that are encoded on this thread; opened as it is needed. */
  #inline: InlineStream | undefined;
  #closed = false;
  #pastStreams: StreamFigures[] = [];

  constructor(
    pool: LanePool,
    connection: Connection,
    flow: ConnectionFlow,
    options: RouterOptions,
    events: StreamEvents,
  ) {
    this.#pool = pool;
    this.#connection = connection;
    this.#flow = flow;
    this.#events = events;
    this.#options = options;
    this.ids.take();
    this.cacheStreams = new CacheStreams(this.ids, connection.writer);
    this.configure(options);
  }

  get options(): RouterOptions {
    return this.#options;
  }

  /** The peer answers pings: by them `adaptive` learns how long the link takes. */
  peerAnswersPings(): void {
    if (this.#ladder !== undefined) this.#linkProbe ??= new LinkProbe();
  }

  /** The peer has answered a ping. */
  pong(payload: Uint8Array): void {
    if (payload[0] === LINK_PING[0]) this.#linkProbe?.pong();
  }

  /** Takes new options for streams that are opened from now on; for use before the first request. */
  configure(options: RouterOptions): void {
    this.#options = options;
    const { adaptive, profile, level, perRequest, kinds } = options;
    // Under `per-request` a stream is nobody else's: any place will do for any kind.
    const own = perRequest ? [] : kinds.slice(1);
    this.#ownPlaces = new Map(own.map((kind) => [kind, new Place(-1, level)]));
    const streams = Math.min(options.streams, MAX_STREAMS - own.length);
    if (!adaptive) {
      this.#places = Object.freeze(
        Array.from({ length: streams }, (_, index) => new Place(index, level, this.#rests)),
      );
      return;
    }
    this.#rungs = ladderOf(profile);
    this.#ladder = new Ladder(this.#rungs.length);
    this.#laneProbe = new WaitProbe();
    this.#places = this.#rungs.flatMap((rung, at) =>
      Array.from(
        { length: RUNG_STREAMS },
        (_, i) => new Place(at * RUNG_STREAMS + i, rung === 'plain' ? undefined : rung),
      ),
    );
  }

  /**
   * Calls `use` with the stream that the policy chooses, at once or when one is free; with undefined when the response
   * has to go out on the plain stream, or when no lane lives. `kind`: one of the options'. `sensitive` keeps the response out of every context;
   * `inLane` says that its handler runs on a lane and needs a stream there all the same.
   * @throws RangeError when a policy of the user's chooses a stream that does not exist.
   */
  acquire(
    requestId: number,
    query: RouteQuery,
    kind: StreamKind,
    sensitive: boolean,
    inLane: boolean,
    use: (stream: LaneStream | undefined) => void,
  ): void {
    this.#pool.inUse.requested(performance.now(), mainBusyMs, !this.#options.spread);
    const unencoded = sensitive || this.#options.profile === IDENTITY;
    const place = unencoded ? this.#unencodedCalls : (this.#ownPlaces.get(kind) ?? this.#choose(query));
    if (place === this.#unencodedCalls && !inLane) {
      use(undefined);
      return;
    }
    if (place === undefined) {
      this.#wait(requestId, () => this.acquire(requestId, query, kind, sensitive, inLane, use));
      return;
    }
    // Without memory for a context the response is not encoded; a handler in a lane still needs a stream there.
    const stream =
      this.#streamAt(place, kind) ?? (inLane ? this.#streamAt(this.#unencodedCalls, kind) : undefined);
    if (stream === undefined && inLane && this.#pool.whenOpen(this.#startWaiting)) {
      this.#wait(requestId, () => this.acquire(requestId, query, kind, sensitive, inLane, use));
      return;
    }
    stream?.use(requestId);
    place.responses++;
    use(stream);
  }

  /**
   * Sends `bytes`, a whole response that was to go out on `stream`, from this thread, where that costs less. Returns the bytes of
   * its frame; undefined: it is for the lane.
   */
  sendInline(stream: LaneStream, requestId: number, flags: number, bytes: Uint8Array): number | undefined {
    const { inline } = this.#pool;
    const { profile, shape } = stream;
    if (inline === undefined || this.#options.perRequest || this.#ladder !== undefined) return undefined;
    if (!inline.takes(profile, shape) || stream.onTrial || !inline.room.admit(bytes.length)) return undefined;
    this.#inline ??= this.#openInline(inline);
    return this.#inline?.send(requestId, flags, bytes, profile, shape);
  }

  #openInline(encoders: InlineEncoders): InlineStream | undefined {
    const id = this.ids.takeSpare(this.#idsStillNeeded);
    return id === undefined ? undefined : new InlineStream(id, this.#connection.writer, encoders);
  }

  /** Of streams that cannot be done without, and have none yet. */
  get #idsStillNeeded(): number {
    let needed = this.cacheStreams.idsStillNeeded + (this.#unencodedCalls.hasId ? 0 : 1);
    for (const { hasId } of this.#places) if (!hasId) needed++;
    for (const { hasId } of this.#ownPlaces.values()) if (!hasId) needed++;
    return needed;
  }

  /** IDs of the requests that wait for a place, or for a lane, oldest first. */
  get waiting(): number[] {
    return [...(this.#waiting?.keys() ?? [])];
  }

  #wait(requestId: number, start: () => void): void {
    this.#waiting ??= new Map();
    this.#waiting.set(requestId, start);
  }

  /** The request wants no stream any more. */
  stopWaiting(requestId: number): void {
    this.#waiting?.delete(requestId);
  }

  /** The request will send nothing more on `stream`, which under `per-request` is nobody else's. */
  leave(stream: LaneStream, requestId: number): void {
    stream.requests.delete(requestId);
    if (!this.#options.perRequest) return;
    const place = this.#places.find((each) => each.stream === stream);
    if (place !== undefined) this.#release(place, stream, false);
  }

  /** Figures of the response streams, those of ended ones included. */
  figures(): StreamFigures[] {
    return [...this.#pastStreams, ...this.openFigures()];
  }

  /** Figures of those that are open. */
  openFigures(): StreamFigures[] {
    const open = this.#encodedPlaces.flatMap((place) =>
      place.stream === undefined ? [] : [figuresOf(place.stream)],
    );
    const inline = this.#inline === undefined ? [] : [this.#inline.figures];
    return [...open, ...inline, ...this.cacheStreams.figures];
  }

  /** Frees every context of the connection. */
  close(): void {
    this.#closed = true;
    this.#waiting?.clear();
    this.#pool.stopWaiting(this.#startWaiting);
    this.cacheStreams.close();
    for (const place of [...this.#encodedPlaces, this.#unencodedCalls]) {
      if (place.stream === undefined) continue;
      this.#keepFigures(place.stream);
      place.stream.close();
      place.stream = undefined;
    }
  }

  /** A stream that was opened before the peer held its dictionary takes it as soon as that loses little. */
  #takeDictionary(place: Place, stream: LaneStream, kind: StreamKind): void {
    if (stream.profile !== ZSTD || this.#profileOf(place, kind).dictionary === undefined) return;
    if (stream.contextFree) this.#changeEncoder(place, stream, kind);
    else if (stream.idle && stream.bytesIn < YOUNG_BYTES) stream.giveUp();
  }

  #changeEncoder(place: Place, stream: LaneStream, kind: StreamKind): void {
    const made = this.#setup(place, kind, stream.id);
    if (made?.setup.contextFree) stream.changeEncoder(made.setup);
    else if (made !== undefined) this.#pool.budget.give(made.cost);
  }

  get #encodedPlaces(): Place[] {
    return [...this.#places, ...this.#ownPlaces.values()];
  }

  /** Of places without a stream the first belong to the lanes in use. */
  readonly #rests = ({ stream, index }: Place): boolean => {
    const { inUse } = this.#pool;
    return stream === undefined ? index >= inUse.placesOf(this.#places.length) : !inUse.has(stream.lane);
  };

  #choose(query: RouteQuery): Place | undefined {
    if (this.#options.perRequest) return this.#places.find((place) => place.stream === undefined);
    if (this.#ladder !== undefined) return this.#climb(this.#ladder);
    const index = this.#options.policy(query, this.#places);
    const place = Number.isInteger(index) ? this.#places[index] : undefined;
    if (place === undefined) {
      watchRejection(index, () => undefined);
      throw new RangeError(`the policy chose stream ${describe(index)} of ${this.#places.length}`);
    }
    return place;
  }

  /** The less loaded stream of the rung that suits what waits now; the place of unencoded calls for no encoding. */
  #climb(ladder: Ladder): Place {
    const laneMs = this.#laneProbe?.ms ?? 0;
    const rung = ladder.next({ linkMs: this.#linkMs(), laneMs, atMs: performance.now() });
    if (this.#rungs[rung] === 'plain') return this.#unencodedCalls;
    const places = this.#places.slice(rung * RUNG_STREAMS, (rung + 1) * RUNG_STREAMS);
    return places.reduce((best, each) => (each.pendingBytes < best.pendingBytes ? each : best));
  }

  /** A peer that answers no pings is only known to be behind when our own socket is. */
  #linkMs(): number {
    const probe = this.#linkProbe;
    if (probe === undefined) return this.#connection.writer.busy ? BUSY_MS : 0;
    if (probe.ask()) this.#connection.sendPlain(0, FrameType.ping, 0, LINK_PING);
    return probe.ms;
  }

  /** What a stream encodes with: with its dictionary where the peer holds it. */
  #profileOf(place: Place, { dictionary }: StreamKind): { profile: string; dictionary?: string } {
    const { profile, holds } = this.#options;
    if (place === this.#unencodedCalls) return { profile: IDENTITY };
    if (profile !== ZSTD || dictionary === undefined || !holds(dictionary)) return { profile };
    return { profile: ZSTD_DICT, dictionary };
  }

  #setup(
    place: Place,
    kind: StreamKind,
    streamId: number | undefined,
  ): { setup: EncoderSetup; cost: number } | undefined {
    const { windowLog, maxWindowLog, tuning, frameSize, perRequest } = this.#options;
    const { budget, quarantine } = this.#pool;
    const { profile, dictionary } = this.#profileOf(place, kind);
    const wanted = { level: place.level, windowLog, tuning, dictionary };
    // Under `adaptive` the level is what was chosen, for the beginning, too.
    const late = this.#ladder === undefined;
    const context = budget.takeContext(profile, wanted, kind.contexts, maxWindowLog, late);
    if (context === undefined) return undefined;
    const setup = {
      suspect: quarantine.numberOf('encoder', profile),
      streamId: streamId ?? this.ids.take(),
      profile,
      frameSize,
      perRequest: perRequest && place !== this.#unencodedCalls,
      ...withinWindow(profile, context.shape, maxWindowLog),
      ...(context.early && { early: context.early }),
    };
    return { setup, cost: context.cost };
  }

  /** The lane of a stream that is opened: one that has none of the connection's others, if there is one. */
  #laneFor(): Lane | undefined {
    const lanes = this.#options.spread ? this.#pool.lanes : this.#pool.inUse.lanes;
    const ours = new Set(this.#places.map(({ stream }) => stream?.lane));
    return fewestStreams(lanes.filter((lane) => !ours.has(lane))) ?? fewestStreams(lanes);
  }

  /**
   * Gives the stream up where it had better live elsewhere, and says where; undefined: it stays. What is idle has nothing on its
   * way that could be overtaken.
   */
  #leave(stream: LaneStream): Lane | undefined {
    if (this.#options.spread || !stream.idle) return undefined;
    const lane = this.#pool.inUse.moveFrom(stream.lane);
    if (lane !== undefined) stream.giveUp();
    return lane;
  }

  #streamAt(place: Place, kind: StreamKind): LaneStream | undefined {
    if (place.stream !== undefined) this.#takeDictionary(place, place.stream, place.kind ?? kind);
    const better = place.stream && this.#leave(place.stream);
    if (place.stream !== undefined) return place.stream;
    const lane = better ?? this.#laneFor();
    if (lane === undefined) return undefined;
    const { budget, quarantine } = this.#pool;
    const pass = quarantine.admit(quarantine.numberOf('encoder', this.#profileOf(place, kind).profile));
    if (pass === undefined) return undefined;
    const made = this.#setup(place, kind, place.lostId);
    if (made === undefined) {
      pass.end(false);
      return undefined;
    }
    place.kind = kind;
    place.lostId = undefined;
    place.stream = new LaneStream(
      lane,
      { writer: this.#connection.writer, flow: this.#flow },
      made.setup,
      budget,
      made.cost,
      pass,
      this.#events,
      (stream, ended) => this.#release(place, stream, ended),
      this.#laneProbe,
    );
    return place.stream;
  }

  /** The stream ended, or was lost with its lane; its ID may be begun afresh. */
  #release(place: Place, stream: LaneStream, ended: boolean): void {
    if (this.#closed || place.stream !== stream) return;
    place.stream = undefined;
    this.#keepFigures(stream);
    stream.close();
    if (ended) this.ids.give(stream.id);
    else place.lostId = stream.id;
    this.#useFreePlaces();
  }

  /** A lane has been opened. */
  readonly #startWaiting = (): void => {
    const waiting = [...(this.#waiting ?? [])];
    this.#waiting?.clear();
    for (const [, start] of waiting) start();
  };

  /** A request that finds no lane or no memory leaves its place free for the next one: nobody else would wake that. */
  #useFreePlaces(): void {
    for (const [requestId, start] of this.#waiting ?? []) {
      if (this.#places.every(({ open }) => open)) return;
      this.stopWaiting(requestId);
      start();
    }
  }

  /**
   * Ended streams of one ID are one row: under `per-request` there is one for every response. What is not encoded is counted
   * elsewhere.
   */
  #keepFigures(stream: LaneStream): void {
    if (stream.profile === IDENTITY) return;
    const now = { ...figuresOf(stream), contextBytes: 0 };
    const at = this.#pastStreams.findIndex(
      (past) => past.streamId === now.streamId && past.lane === now.lane,
    );
    if (at < 0) this.#pastStreams.push(now);
    else this.#pastStreams[at] = addFigures(this.#pastStreams[at], now);
  }
}
