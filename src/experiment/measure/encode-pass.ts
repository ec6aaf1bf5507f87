/**
 * Encoding a plan's frames on lanes: the server's own threads, batches, contexts and frames. In the plan's order,
 * whatever the threads do, so that the sizes are the same in every run.
 */

import type { BatchReader } from '../../../workers/batch.ts';
import { type EncoderSetup, FrameFlag, Op } from '../../../workers/records.ts';
import type { Transport } from '../../connection/transport.ts';
import { Writer } from '../../connection/writer.ts';
import { ZSTD_DICT } from '../../encoding/profiles.ts';
import type { Lane, SlotOwner } from '../../lanes/lane.ts';
import { defaultStreams } from '../../lanes/policy.ts';
import type { LanePool } from '../../lanes/pool.ts';
import type { OutputShare } from '../../reactor/flow.ts';
import { FlushQueue } from '../../reactor/flush-queue.ts';
import { Gate } from '../../reactor/gate.ts';
import type { Failure } from '../../wire/failure.ts';
import { BytesResponseFlag, FrameType } from '../../wire/frame.ts';
import type { Cell } from '../grid/cell.ts';
import type { Plan, PlannedStream } from '../simulate/frame-plan.ts';
import type { Workload } from '../traffic/workload.ts';
import type { DictionariesBySize } from './train.ts';

/** Bytes on their way through the lanes at a time: a stream's backlog in the server. */
export const IN_LANES_BYTES = 1 << 20;
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

/** It may write all that there is. */
const UNSHARED: OutputShare = {
  usedUp: false,
  untouched: true,
  take: () => undefined,
  wait: (resume) => resume(),
};

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

  onLost({ message }: Failure, cause: Error | undefined): void {
    this.#pass.fail(new Error(cause === undefined ? message : `${message}: ${cause.message}`));
  }
}

/** One pass of a plan through the encoders. */
class Encoding {
  readonly wire: Uint32Array;
  settingsBytes = 0;
  readonly #workload: Workload;
  readonly #plan: Plan;
  readonly #cell: Cell;
  readonly #dictionaries: DictionariesBySize;
  readonly #pool: LanePool;
  readonly #bytes = new Gate(IN_LANES_BYTES);
  readonly #requests: Gate;
  readonly #transports = new Map<number, { transport: Kept; writer: Writer }>();
  readonly #streams: (CountedStream | undefined)[] = [];
  /** Under `per-request`, where a response takes any stream that is free. */
  readonly #freeIds: number[] = [];
  #left: number;
  #wake: () => void = () => undefined;
  #failure: Error | undefined;

  constructor(pool: LanePool, workload: Workload, plan: Plan, cell: Cell, dictionaries: DictionariesBySize) {
    this.#pool = pool;
    this.#dictionaries = dictionaries;
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
      stream.lane.input.add(Op.encode, stream.slot, requestId, FrameType.bytesResponse, flags, payload);
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
    const { level, windowLog, tuning, contexts, frameSize, policy } = this.#cell;
    const setup: EncoderSetup = {
      streamId: id,
      ...profileOf(this.#cell, this.#dictionaries),
      ...{ level, windowLog, tuning, frameSize },
      perRequest: policy === 'per-request',
      contextFree: contexts === 'none',
      // Nobody watches what ends these lanes.
      suspect: 0,
    };
    lane.input.addJson(Op.openEncoder, stream.slot, setup);
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
      const ends = new FlushQueue(0, (run) => transport.endOfTick(run));
      held = { transport, writer: new Writer(transport, new Gate(Number.POSITIVE_INFINITY), UNSHARED, ends) };
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

/** The request that a response of the workload answers; large workloads use an ID again. */
export function requestIdOf(response: number): number {
  return (2 * response + 1) & 0xffff;
}

/** What a stream says that it is encoded with, once its peer holds the dictionary. */
export function profileOf(
  { profile, dictionary: size }: Cell,
  dictionaries: DictionariesBySize,
): { profile: string; dictionary?: string } {
  const dictionary = size === undefined ? undefined : dictionaries.get(size);
  return dictionary === undefined ? { profile } : { profile: ZSTD_DICT, dictionary: dictionary.id };
}

/** @throws Error when a lane dies. */
export function encodeOnLanes(
  pool: LanePool,
  workload: Workload,
  plan: Plan,
  cell: Cell,
  dictionaries: DictionariesBySize,
): Promise<EncodePass> {
  return new Encoding(pool, workload, plan, cell, dictionaries).run();
}
