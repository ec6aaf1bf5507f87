/** Encoding and decoding a plan's frames on a lane: the server's own threads, batches, contexts and frames. */

import { type BatchReader, FrameFlag, Op } from '../../workers/batch.ts';
import { LaneDecoders } from '../lanes/decoders.ts';
import type { Lane, SlotOwner } from '../lanes/lane.ts';
import { defaultStreams } from '../lanes/policy.ts';
import type { LanePool } from '../lanes/pool.ts';
import { Gate } from '../reactor/flow.ts';
import { IncomingFrames } from '../reactor/incoming.ts';
import { BytesResponseFlag, type Frame, FrameType } from '../wire/frame.ts';
import { DEFAULT_LIMITS } from '../wire/limits.ts';
import { Splitter } from '../wire/splitter.ts';
import { type Transport, Writer } from '../writer.ts';
import type { Cell } from './cell.ts';
import type { Plan, PlannedStream } from './plan.ts';
import type { Workload } from './workload.ts';

/** Bytes on their way through the lane at a time: enough to keep it busy. */
const IN_LANE = 1 << 20;
/** Streams that a server opens at a time under `per-request`; more contexts at once would cost more each. */
const OPEN_STREAMS = defaultStreams('per-request', 1);

export interface EncodePass {
  /** CPU seconds of the lane's thread. */
  readonly cpuSeconds: number;
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
  readonly writer: Writer;
  readonly #pass: Encoding;
  /** Indices of the plan's frames that are in the lane, oldest first. */
  readonly #inLane: number[] = [];
  #oldest = 0;
  slot = -1;

  constructor(pass: Encoding, writer: Writer) {
    this.#pass = pass;
    this.writer = writer;
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

/** One pass of a plan through a lane's encoders. */
class Encoding {
  readonly lane: Lane;
  readonly wire: Uint32Array;
  settingsBytes = 0;
  readonly #workload: Workload;
  readonly #plan: Plan;
  readonly #cell: Cell;
  readonly #room = new Gate(IN_LANE);
  readonly #transports = new Map<number, { transport: Kept; writer: Writer }>();
  readonly #streams: (CountedStream | undefined)[] = [];
  #left: number;
  #open = 0;
  #wake: () => void = () => undefined;
  #failure: Error | undefined;

  constructor(lane: Lane, workload: Workload, plan: Plan, cell: Cell) {
    this.lane = lane;
    this.#workload = workload;
    this.#plan = plan;
    this.#cell = cell;
    this.#left = plan.frames.length;
    this.wire = new Uint32Array(plan.frames.length);
  }

  async run(): Promise<EncodePass> {
    const before = await cpuOf(this.lane);
    await this.#feed();
    while (this.#left > 0) await this.#event();
    const after = await cpuOf(this.lane);
    for (const stream of this.#streams) if (stream !== undefined) this.lane.close(stream.slot);
    const sent = new Map<number, Uint8Array[]>();
    for (const [connection, { transport, writer }] of this.#transports) {
      writer.flush();
      sent.set(connection, transport.chunks);
    }
    const { wire, settingsBytes } = this;
    return { cpuSeconds: after - before, wire, settingsBytes, sent };
  }

  ended(stream: CountedStream): void {
    this.lane.close(stream.slot);
    this.#open--;
    this.#wake();
  }

  settings(wireLength: number): void {
    this.settingsBytes += wireLength;
  }

  encoded(frame: number, rawLength: number, wireLength: number): void {
    this.wire[frame] = wireLength;
    this.#left--;
    this.#room.give(rawLength);
    if (this.#left === 0) this.#wake();
  }

  fail(error: Error): void {
    this.#failure = error;
    this.#wake();
  }

  async #feed(): Promise<void> {
    const { policy } = this.#cell;
    for (const [index, frame] of this.#plan.frames.entries()) {
      while (this.#room.room === 0) await this.#event();
      while (policy === 'per-request' && frame.start === 0 && this.#open >= OPEN_STREAMS) await this.#event();
      const stream = this.#streamOf(frame.stream);
      const payload = this.#workload.responses[frame.response].bytes.subarray(frame.start, frame.end);
      const flags = frame.last ? BytesResponseFlag.eos : BytesResponseFlag.continuation;
      this.#room.take(payload.length);
      stream.entering(index);
      const requestId = requestIdOf(frame.response);
      this.lane.add(Op.encode, stream.slot, requestId, FrameType.bytesResponse, flags, payload);
      // Its slot is freed when the last frame is out; nothing more will ask for it.
      if (frame.last && policy === 'per-request') this.#streams[frame.stream] = undefined;
    }
  }

  #streamOf(index: number): CountedStream {
    const known = this.#streams[index];
    if (known !== undefined) return known;
    const planned = this.#plan.streams[index];
    const stream = new CountedStream(this, this.#writerOf(planned.connection));
    stream.slot = this.lane.open(stream);
    const { profile, level, windowLog, frameSize, policy } = this.#cell;
    const perRequest = policy === 'per-request';
    const setup = { streamId: streamIdOf(planned), profile, level, windowLog, frameSize, perRequest };
    this.lane.addJson(Op.openEncoder, stream.slot, setup);
    this.#streams[index] = stream;
    this.#open++;
    return stream;
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
        this.#room.wait(resolve);
      });
    }
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/** Stream 2 is the connection's plain one (protocol.md B4). */
function streamIdOf({ place }: PlannedStream): number {
  return 2 * (place + 2);
}

function requestIdOf(response: number): number {
  return (2 * response + 1) & 0xffff;
}

/** @throws Error when the lane dies. */
export function encodeOnLane(lane: Lane, workload: Workload, plan: Plan, cell: Cell): Promise<EncodePass> {
  return new Encoding(lane, workload, plan, cell).run();
}

/** The clients' side of one connection: what was sent comes back in clear, and is compared. */
class Decoding {
  readonly #lane: Lane;
  readonly #frames: IncomingFrames;
  readonly #expected = new Map<number, Uint8Array[]>();
  #seconds = 0;
  #wake: () => void = () => undefined;
  #failure: Error | undefined;

  constructor(pool: LanePool, lane: Lane, profile: string) {
    this.#lane = lane;
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

  expect(streamId: number, bytes: Uint8Array): void {
    const queue = this.#expected.get(streamId);
    if (queue === undefined) this.#expected.set(streamId, [bytes]);
    else queue.push(bytes);
  }

  /** CPU seconds of the lane's thread. @throws Error when anything but what was sent comes out. */
  async run(chunks: readonly Uint8Array[]): Promise<number> {
    for (const queue of this.#expected.values()) queue.reverse();
    const before = await cpuOf(this.#lane);
    const splitter = new Splitter({
      maxPayload: DEFAULT_LIMITS.maxPayload,
      onFrame: (frame) => this.#frames.push(frame),
    });
    for (const chunk of chunks) {
      splitter.push(chunk);
      while (this.#frames.heldBytes > IN_LANE) await this.#event();
    }
    while (this.#frames.heldBytes > 0) await this.#event();
    if (this.#failure !== undefined) throw this.#failure;
    for (const queue of this.#expected.values()) if (queue.length > 0) throw new Error('frames are missing');
    const after = await cpuOf(this.#lane);
    this.#frames.close();
    return after - before;
  }

  #receive(frame: Frame, payload: Uint8Array, lost: string | undefined): void {
    const expected = this.#expected.get(frame.streamId)?.pop();
    if (lost !== undefined) this.#failure ??= new Error(lost);
    else if (expected === undefined || Buffer.compare(payload, expected) !== 0) {
      this.#failure ??= new Error(`a frame of stream ${frame.streamId} does not decode to what was encoded`);
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
 * Decodes what a pass has sent, one connection after the other; returns CPU seconds of the lane's thread. The pool has
 * this one lane.
 * @throws Error when anything but the responses comes out.
 */
export async function decodeOnLane(
  pool: LanePool,
  lane: Lane,
  workload: Workload,
  plan: Plan,
  cell: Cell,
  sent: EncodePass['sent'],
): Promise<number> {
  const connections = new Map<number, Decoding>();
  for (const connection of sent.keys()) {
    connections.set(connection, new Decoding(pool, lane, cell.profile));
  }
  for (const { response, stream, start, end } of plan.frames) {
    const planned = plan.streams[stream];
    const bytes = workload.responses[response].bytes.subarray(start, end);
    connections.get(planned.connection)?.expect(streamIdOf(planned), bytes);
  }
  let seconds = 0;
  for (const [connection, chunks] of sent)
    seconds += await (connections.get(connection) as Decoding).run(chunks);
  return seconds;
}

async function cpuOf(lane: Lane): Promise<number> {
  const stats = await lane.stats();
  if (stats === undefined) throw new Error('the lane has died');
  return stats.cpuSeconds;
}
