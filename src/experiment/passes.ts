/**
 * Encoding and decoding a plan's frames on lanes: the server's own threads, batches, contexts and frames. In the plan's
 * order, whatever the threads do, so that the sizes are the same in every run.
 */

import { type BatchReader, FrameFlag, Op } from '../../workers/batch.ts';
import { type Transport, Writer } from '../connection/writer.ts';
import { LaneDecoders } from '../lanes/decoders.ts';
import type { Lane, SlotOwner } from '../lanes/lane.ts';
import { defaultStreams } from '../lanes/policy.ts';
import type { LanePool } from '../lanes/pool.ts';
import { Gate } from '../reactor/flow.ts';
import { IncomingFrames } from '../reactor/incoming.ts';
import { BytesResponseFlag, type Frame, FrameType } from '../wire/frame.ts';
import { DEFAULT_LIMITS } from '../wire/limits.ts';
import { Splitter } from '../wire/splitter.ts';
import type { Cell } from './cell.ts';
import type { Plan, PlannedStream } from './plan.ts';
import type { Workload } from './workload.ts';

/** Bytes on their way through the lanes at a time: a stream's backlog in the server. */
const IN_LANES = 1 << 20;
/** Streams that a server opens at a time under `per-request`; more contexts at once would cost more each. */
const OPEN_STREAMS = defaultStreams('per-request', 1);

export interface EncodePass {
  /** Bytes on the wire of each of the plan's frames, header included. */
  readonly wire: Uint32Array;
  /** Bytes of frames that belong to no response: the streams' settings. */
  readonly settingsBytes: number;
  /** The wire, by connection. */
  readonly sent: ReadonlyMap<number, readonly Uint8Array[]>;
}

/** What leaves a connection, kept. */
class Kept implements Transport {
  readonly chunks: Uint8Array[] = [];
  readonly remote = 'experiment';
  onData = () => undefined;
  onEnd = () => undefined;
  onClose = () => undefined;

  write(chunks: Uint8Array[], written: () => void): void {
    for (const chunk of chunks) this.chunks.push(chunk.slice());
    written();
  }
  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {}
  endOfTick(run: () => void): void {
    setImmediate(run);
  }
}

/** A response stream whose frames are counted. */
class CountedStream implements SlotOwner {
  readonly id: number;
  readonly lane: Lane;
  readonly writer: Writer;
  readonly slot: number;
  readonly #pass: Encoding;
  /** Indices of the plan's frames that are in the lane, oldest first. */
  readonly #inLane: number[] = [];
  #oldest = 0;

  constructor(pass: Encoding, id: number, lane: Lane, writer: Writer) {
    this.id = id;
    this.#pass = pass;
    this.lane = lane;
    this.writer = writer;
    this.slot = lane.open(this);
  }

  entering(frame: number): void {
    this.#inLane.push(frame);
  }

  onFrame(requestId: number, frameFlags: number, rawLength: number, wireLength: number): void {
    if (requestId === 0) this.#pass.settings(wireLength);
    else this.#pass.encoded(this.#inLane[this.#oldest++], rawLength, wireLength);
    if ((frameFlags & FrameFlag.endsStream) !== 0) this.#pass.ended(this);
  }

  onRecord(_record: BatchReader): void {}

  onLost(reason: string): void {
    this.#pass.fail(new Error(reason));
  }
}

/** One pass of a plan through the encoders. */
class Encoding {
  readonly wire: Uint32Array;
  settingsBytes = 0;
  readonly #workload: Workload;
  readonly #plan: Plan;
  readonly #cell: Cell;
  readonly #pool: LanePool;
  readonly #bytes = new Gate(IN_LANES);
  readonly #requests: Gate;
  readonly #transports = new Map<number, { transport: Kept; writer: Writer }>();
  readonly #streams: (CountedStream | undefined)[] = [];
  /** Under `per-request`, where a response takes any stream that is free. */
  readonly #freeIds: number[] = [];
  #left: number;
  #wake: () => void = () => undefined;
  #failure: Error | undefined;

  constructor(pool: LanePool, workload: Workload, plan: Plan, cell: Cell) {
    this.#pool = pool;
    this.#requests = new Gate(cell.policy === 'per-request' ? OPEN_STREAMS : Number.POSITIVE_INFINITY);
    this.#workload = workload;
    this.#plan = plan;
    this.#cell = cell;
    this.#left = plan.frames.length;
    this.wire = new Uint32Array(plan.frames.length);
    if (cell.policy === 'per-request') {
      for (let place = 0; place < OPEN_STREAMS; place++) this.#freeIds.push(2 * (place + 2));
    }
  }

  async run(): Promise<EncodePass> {
    await this.#feed();
    while (this.#left > 0) await this.#event();
    for (const stream of this.#streams) if (stream !== undefined) stream.lane.close(stream.slot);
    const sent = new Map<number, Uint8Array[]>();
    for (const [connection, { transport, writer }] of this.#transports) {
      writer.flush();
      sent.set(connection, transport.chunks);
    }
    const { wire, settingsBytes } = this;
    return { wire, settingsBytes, sent };
  }

  ended({ lane, slot, id }: CountedStream): void {
    lane.close(slot);
    this.#freeIds.push(id);
  }

  settings(wireLength: number): void {
    this.settingsBytes += wireLength;
  }

  encoded(frame: number, rawLength: number, wireLength: number): void {
    this.wire[frame] = wireLength;
    this.#left--;
    this.#bytes.give(rawLength);
    if (this.#plan.frames[frame].last) this.#requests.give(1);
    this.#wake();
  }

  fail(error: Error): void {
    this.#failure = error;
    this.#wake();
  }

  async #feed(): Promise<void> {
    const { policy } = this.#cell;
    for (const [index, frame] of this.#plan.frames.entries()) {
      if (frame.start === 0) {
        while (this.#requests.room === 0) await this.#event();
        this.#requests.take(1);
      }
      while (this.#bytes.room === 0) await this.#event();
      const stream = this.#streamOf(frame.stream);
      const payload = this.#workload.responses[frame.response].bytes.subarray(frame.start, frame.end);
      const flags = frame.last ? BytesResponseFlag.eos : BytesResponseFlag.continuation;
      this.#bytes.take(payload.length);
      stream.entering(index);
      const requestId = requestIdOf(frame.response);
      stream.lane.add(Op.encode, stream.slot, requestId, FrameType.bytesResponse, flags, payload);
      // Its slot is freed when the last frame is out; nothing more will ask for it.
      if (frame.last && policy === 'per-request') this.#streams[frame.stream] = undefined;
    }
  }

  #streamOf(index: number): CountedStream {
    const known = this.#streams[index];
    if (known !== undefined) return known;
    const planned = this.#plan.streams[index];
    const lane = this.#pool.leastUsed();
    if (lane === undefined) throw new Error('no lane lives');
    const id = this.#idOf(planned);
    const stream = new CountedStream(this, id, lane, this.#writerOf(planned.connection));
    const { profile, level, windowLog, tuning, frameSize, policy } = this.#cell;
    const perRequest = policy === 'per-request';
    const setup = { streamId: id, profile, level, windowLog, tuning, frameSize, perRequest };
    lane.addJson(Op.openEncoder, stream.slot, setup);
    this.#streams[index] = stream;
    return stream;
  }

  /** Stream 2 is the connection's plain one (protocol B4). */
  #idOf({ place }: PlannedStream): number {
    return this.#freeIds.shift() ?? 2 * (place + 2);
  }

  #writerOf(connection: number): Writer {
    let held = this.#transports.get(connection);
    if (held === undefined) {
      const transport = new Kept();
      held = { transport, writer: new Writer(transport, new Gate(Number.POSITIVE_INFINITY)) };
      this.#transports.set(connection, held);
    }
    return held.writer;
  }

  /** Waits until there may be room, or all is done. @throws Error when the lane has died. */
  async #event(): Promise<void> {
    if (this.#failure === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#failure !== undefined) throw this.#failure;
  }
}

function requestIdOf(response: number): number {
  return (2 * response + 1) & 0xffff;
}

/** @throws Error when a lane dies. */
export function encodeOnLanes(
  pool: LanePool,
  workload: Workload,
  plan: Plan,
  cell: Cell,
): Promise<EncodePass> {
  return new Encoding(pool, workload, plan, cell).run();
}

/** The clients' side of one connection: what was sent comes back in clear, and is compared. */
class Decoding {
  readonly #pool: LanePool;
  readonly #frames: IncomingFrames;
  readonly #expected = new Map<number, Uint8Array[]>();
  #seconds = 0;
  #wake: () => void = () => undefined;
  #failure: Error | undefined;

  constructor(pool: LanePool, profile: string) {
    this.#pool = pool;
    const decoders = new LaneDecoders(pool, DEFAULT_LIMITS, new Set([profile]), (ticket, error) => {
      this.#failure ??= error;
      if (this.#failure === undefined) this.#frames.decoded(ticket);
      this.#wake();
    });
    // Streams may begin as often as they like here: the limit is on what peers do within a second.
    const now = () => {
      this.#seconds += 1;
      return 1000 * this.#seconds;
    };
    const receive = (frame: Frame, payload: Uint8Array, lost: string | undefined) =>
      this.#receive(frame, payload, lost);
    this.#frames = new IncomingFrames('server', DEFAULT_LIMITS, decoders, receive, now);
  }

  expect(requestId: number, bytes: Uint8Array): void {
    const queue = this.#expected.get(requestId);
    if (queue === undefined) this.#expected.set(requestId, [bytes]);
    else queue.push(bytes);
  }

  /** CPU seconds of the lanes' threads. @throws Error when anything but what was sent comes out. */
  async run(chunks: readonly Uint8Array[]): Promise<number> {
    for (const queue of this.#expected.values()) queue.reverse();
    const before = await cpuOf(this.#pool);
    const splitter = new Splitter({
      maxPayload: DEFAULT_LIMITS.maxPayload,
      onFrame: (frame) => this.#frames.push(frame),
    });
    for (const chunk of chunks) {
      splitter.push(chunk);
      while (this.#frames.heldBytes > IN_LANES) await this.#event();
    }
    while (this.#frames.heldBytes > 0) await this.#event();
    if (this.#failure !== undefined) throw this.#failure;
    for (const queue of this.#expected.values()) if (queue.length > 0) throw new Error('frames are missing');
    const after = await cpuOf(this.#pool);
    this.#frames.close();
    return after - before;
  }

  #receive(frame: Frame, payload: Uint8Array, lost: string | undefined): void {
    const expected = this.#expected.get(frame.requestId)?.pop();
    if (lost !== undefined) this.#failure ??= new Error(lost);
    else if (expected === undefined || Buffer.compare(payload, expected) !== 0) {
      this.#failure ??= new Error(
        `a frame of request ${frame.requestId} does not decode to what was encoded`,
      );
    }
  }

  async #event(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }
}

/**
 * Decodes what a pass has sent, one connection after the other; returns CPU seconds of the lanes' threads.
 * @throws Error when anything but the responses comes out.
 */
export async function decodeOnLanes(
  pool: LanePool,
  workload: Workload,
  plan: Plan,
  cell: Cell,
  { sent }: EncodePass,
): Promise<number> {
  const connections = new Map<number, Decoding>();
  for (const connection of sent.keys()) {
    connections.set(connection, new Decoding(pool, cell.profile));
  }
  for (const { response, stream, start, end } of plan.frames) {
    const planned = plan.streams[stream];
    const bytes = workload.responses[response].bytes.subarray(start, end);
    connections.get(planned.connection)?.expect(requestIdOf(response), bytes);
  }
  let seconds = 0;
  for (const [connection, chunks] of sent)
    seconds += await (connections.get(connection) as Decoding).run(chunks);
  return seconds;
}

async function cpuOf({ lanes }: LanePool): Promise<number> {
  const stats = await Promise.all(lanes.map((lane) => lane.stats()));
  return stats.reduce((sum, each) => {
    if (each === undefined) throw new Error('a lane has died');
    return sum + each.cpuSeconds;
  }, 0);
}
