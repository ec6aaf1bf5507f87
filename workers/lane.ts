/**
 * The thread side of a lane: encoder and decoder contexts, and the calls that run beside them.
 *
 * A pool task that lasts as long as the lane. Batches come in by the port, are worked through in order while that takes no longer
 * than a turn, by who has had least where it does, and what was made of them goes back in batches of its own.
 */

import { performance } from 'node:perf_hooks';
import { inspect } from 'node:util';
import { type MessagePort, threadId } from 'node:worker_threads';
import { checkedDecode, closeQuietly } from '../src/encoding/checked.ts';
import {
  type Codec,
  type CodecModule,
  DecodeError,
  type Decoder,
  type DecoderLimits,
} from '../src/encoding/codec.ts';
import type { Dictionary } from '../src/encoding/dictionary.ts';
import { foreign } from '../src/encoding/foreign.ts';
import { makeWithin } from '../src/encoding/making.ts';
import { nativeCodecs, nativeZstdDict } from '../src/encoding/native.ts';
import { ZSTD } from '../src/encoding/profiles.ts';
import { CodecRegistry } from '../src/encoding/registry.ts';
import { compressWhole, PIECE_SIZE } from '../src/encoding/whole.ts';
import { decodeUtf8 } from '../src/wire/payloads.ts';
import { asError } from '../src/wire/thrown.ts';
import { BatchReader } from './batch.ts';
import { Calls, type HandlerModule } from './calls.ts';
import { DroppedSlots } from './dropped.ts';
import { LaneEncoders } from './lane-encoders.ts';
import { LaneOutput } from './lane-output.ts';
import { packPieces } from './packed.ts';
import { Parties } from './parties.ts';
import { type DecoderSetup, type LaneMessage, Op } from './records.ts';
import { SharedEncoders } from './shared-encoders.ts';
import { Trace } from './trace.ts';
import { TraceWriter } from './trace-writer.ts';
import { BATCH_TURN, LaneTurn, WorkQueue } from './work-queue.ts';

/** What the pool task is started with. */
export interface LaneTask {
  port: MessagePort;
  /** Modules of the commands that run in lanes, by the index that `call` records use. */
  handlers: HandlerModule[];
  /** Level for outputs that are compressed once and cached. */
  cacheLevel: number;
  /** Codecs beside the built-in ones. */
  codecs: Pick<CodecModule, 'url' | 'export'>[];
  /** Milliseconds for which a call's output may wait for more of it; 0: until the end of the tick. */
  coalesceMs: number;
  /** Dictionaries that encoders and decoders may name. */
  dictionaries: readonly Dictionary[];
  /** Memory of the lane's {@link Trace}. */
  trace: SharedArrayBuffer;
  /** Memory of its {@link DroppedSlots}. */
  dropped: SharedArrayBuffer;
  /** Memory of its {@link Parties}. */
  parties: SharedArrayBuffer;
}

const NOTHING = new Uint8Array(0);
/** Of our own encoders none ends a thread. */
const NOBODY = 0;
const utf8 = new TextEncoder();

interface DecoderSlot {
  readonly decoder: Decoder;
  readonly limits: DecoderLimits;
  readonly suspect: number;
  seconds: number;
}

export class LaneThread {
  readonly #port: MessagePort;
  readonly #codecs: CodecRegistry;
  readonly #output: LaneOutput;
  readonly #calls: Calls;
  readonly #cacheLevel: number;
  readonly #encoders: LaneEncoders;
  readonly #shared: SharedEncoders;
  /** Slots to be closed once the code of their calls has ended. */
  readonly #closing = new Set<number>();
  readonly #decoders = new Map<number, DecoderSlot>();
  readonly #trace: TraceWriter;
  readonly #dropped: DroppedSlots;
  readonly #queue: WorkQueue;
  readonly #turn = new LaneTurn(BATCH_TURN);
  /** Another turn is planned. */
  #goesOn = false;

  constructor(task: LaneTask, codecs: CodecRegistry, trace: Trace) {
    this.#port = task.port;
    this.#codecs = codecs;
    this.#output = new LaneOutput(task.port);
    this.#cacheLevel = task.cacheLevel;
    this.#dropped = new DroppedSlots(task.dropped);
    this.#trace = new TraceWriter(trace, () => this.#output.flush());
    const parties = new Parties(task.parties);
    this.#queue = new WorkQueue((slot) => parties.of(slot));
    this.#encoders = new LaneEncoders(codecs, this.#output, this.#trace, (slot, ms) =>
      this.#queue.charge(slot, ms),
    );
    this.#shared = new SharedEncoders(codecs, this.#encoders, this.#output, this.#trace);
    this.#calls = new Calls(task.handlers, this.#encoders, this.#output, this.#trace, {
      coalesceMs: task.coalesceMs,
      compress: (bytes) => this.#compress(bytes, this.#cacheLevel),
      slotFree: (slot) => this.#slotFree(slot),
    });
  }

  /** Works until the main thread ends the lane. */
  run(): Promise<void> {
    return new Promise((resolve) => {
      this.#port.on('message', (message: LaneMessage) => {
        if (message.spares !== undefined) this.#output.recycle(message.spares);
        if (message.batch !== undefined) this.#take(message.batch, message.isBehind === true);
        if (message.ask === 'stats') this.#reportStats();
        if (message.ask === 'beat') this.#port.postMessage({ alive: threadId } satisfies LaneMessage);
        if (message.ask === 'load') this.#load();
        if (message.ask === 'end') this.#end(resolve);
      });
      this.#port.on('close', resolve);
    });
  }

  async #load(): Promise<void> {
    const loaded = await this.#calls.load();
    this.#port.postMessage({ loaded } satisfies LaneMessage);
  }

  /**
   * `bytes` as one zstd frame that stands alone, as the payload of a `pieces` record. What fits a piece is encoded by the encoder
   * without a context that streams have in common: making one costs more than a small frame does.
   */
  #compress(bytes: Uint8Array, level: number): Uint8Array {
    const wholeCodec = this.#codecs.get(ZSTD) as Codec;
    const fits = bytes.length > 0 && bytes.length <= PIECE_SIZE;
    const alone = fits
      ? this.#encoders.contextFree(wholeCodec, { level, contextFree: true }, NOBODY)
      : undefined;
    if (alone === undefined) return packPieces(compressWhole(wholeCodec, bytes, level));
    const target = new Uint8Array(alone.encoder.bound(bytes.length));
    return packPieces([target.subarray(0, alone.encoder.encode(bytes, target, 0))]);
  }

  /** While the thread keeps up a batch is worked through as it comes, for as long as a turn. */
  #take(batch: ArrayBuffer, isBehind: boolean): void {
    const reader = new BatchReader(batch);
    if (isBehind || this.#queue.length > 0) {
      this.#wait(reader);
      return;
    }
    this.#turn.begin(performance.now());
    for (let over = false; !over && reader.next(); over = this.#turn.took(reader, performance.now()))
      this.#work(reader);
    if (reader.left === 0) {
      this.#turnEnds(batch);
      return;
    }
    this.#wait(reader);
    this.#turnEnds();
  }

  #wait(reader: BatchReader): void {
    this.#queue.add(reader);
    if (this.#goesOn) return;
    this.#goesOn = true;
    setImmediate(this.#goOn);
  }

  readonly #goOn = (): void => {
    this.#serve();
    this.#goesOn = this.#queue.length > 0;
    if (this.#goesOn) setImmediate(this.#goOn);
  };

  /** What a batch has brought about goes back with it: who waits for that asks for more meanwhile. */
  #serve(): void {
    this.#queue.serve(this.#work, (batch) => this.#output.flush(batch));
    this.#turnEnds();
  }

  #turnEnds(batch?: ArrayBuffer): void {
    this.#trace.tellBusy();
    this.#output.flush(batch);
  }

  readonly #work = (record: BatchReader): void => {
    this.#record(record);
    this.#output.flushMany();
  };

  #record(record: BatchReader): void {
    const { op, slot, requestId, type, flags } = record;
    switch (op) {
      case Op.encode:
        return this.#encoders.serve(slot, requestId, type, flags, record.payload, true);
      case Op.pass:
        return this.#encoders.serve(slot, requestId, type, flags, record.payload, false);
      case Op.failureSeen:
        return this.#encoders.failureSeen(slot, requestId);
      case Op.decode:
        return this.#decode(slot, requestId, record.payload);
      case Op.openEncoder:
        return this.#encoders.open(slot, JSON.parse(decodeUtf8(record.payload)));
      case Op.openDecoder:
        return this.#openDecoder(slot, JSON.parse(decodeUtf8(record.payload)));
      case Op.close:
        return this.#close(slot);
      case Op.openShared:
        return this.#shared.open(slot, JSON.parse(decodeUtf8(record.payload)));
      case Op.share:
        return this.#shared.encode(slot, flags, record.payload);
      case Op.renew:
        return this.#encoders.renew(slot);
      case Op.compress:
        return this.#output.add(
          Op.pieces,
          slot,
          requestId,
          0,
          this.#compress(record.payload, record.flags || this.#cacheLevel),
          record.length,
        );
      default:
        this.#calls.record(record);
    }
  }

  #openDecoder(slot: number, setup: DecoderSetup): void {
    const limits: DecoderLimits = setup;
    const codec = this.#codecs.get(setup.profile);
    if (codec === undefined) return;
    const { suspect } = setup;
    const decoder = this.#trace.during(suspect, () => decoderOf(codec, limits, setup.settings));
    this.#decoders.set(slot, { decoder, limits, suspect, seconds: 0 });
  }

  #decode(slot: number, requestId: number, payload: Uint8Array): void {
    if (this.#dropped.has(slot)) return;
    const entry = this.#decoders.get(slot);
    try {
      if (entry === undefined) throw new Error('no decoder');
      const started = performance.now();
      const { decoder, limits, suspect } = entry;
      const decoded = this.#trace.during(suspect, () => checkedDecode(decoder, payload, limits));
      entry.seconds += (performance.now() - started) / 1000;
      this.#output.add(Op.decoded, slot, requestId, 0, decoded);
    } catch (error) {
      const limit = error instanceof DecodeError && error.code === 'limit';
      this.#output.add(Op.failed, slot, requestId, limit ? 1 : 0, packPieces(reasonsOf(error)));
    }
  }

  #close(slot: number): void {
    this.#dropped.delete(slot);
    this.#encoders.close(slot);
    this.#shared.close(slot);
    closeQuietly(this.#decoders.get(slot)?.decoder);
    this.#decoders.delete(slot);
    this.#calls.dropSlot(slot);
    if (this.#calls.busy(slot)) this.#closing.add(slot);
    else this.#output.add(Op.closed, slot, 0, 0, NOTHING);
  }

  #slotFree(slot: number): void {
    if (!this.#closing.delete(slot)) return;
    this.#output.add(Op.closed, slot, 0, 0, NOTHING);
    this.#output.flushSoon();
  }

  #reportStats(): void {
    const cpu = process.threadCpuUsage();
    const decoders = [...this.#decoders].map(([slot, { seconds }]) => ({ slot, seconds }));
    const slots = [...this.#encoders.figures, ...this.#shared.figures, ...decoders];
    const { heapUsed, external } = process.memoryUsage();
    const stats = {
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
      busySeconds: performance.eventLoopUtilization().active / 1000,
      slots,
      early: this.#encoders.early,
      memoryBytes: heapUsed + external,
    };
    this.#output.flush();
    this.#port.postMessage({ stats } satisfies LaneMessage);
  }

  #end(resolve: () => void): void {
    while (this.#queue.length > 0) this.#serve();
    for (const slot of [...this.#encoders.slots, ...this.#shared.slots, ...this.#decoders.keys()])
      this.#close(slot);
    this.#output.flush();
    this.#port.close();
    this.#trace.close();
    resolve();
  }
}

/** Why, for the peer and for the log: only what is said of the peer's bytes is for the peer. */
function reasonsOf(error: unknown): Uint8Array[] {
  const isTold = error instanceof DecodeError;
  const cause = isTold ? error.cause : error;
  const told = isTold ? error.message : 'the decoder has failed';
  return [utf8.encode(told), utf8.encode(cause === undefined ? '' : shown(cause))];
}

/** In all detail, unless how it is to be shown is the user's code and fails. */
function shown(cause: unknown): string {
  try {
    return inspect(cause);
  } catch {
    return asError(cause).message;
  }
}

/** Settings come from the peer: what is wrong with them shows with the first frame, which has an answer. */
function decoderOf(codec: Codec, limits: DecoderLimits, settings: readonly number[]): Decoder {
  try {
    return codec.createDecoder(limits, Uint8Array.from(settings));
  } catch (error) {
    const refuse = () => {
      throw error;
    };
    return { decode: refuse, close: () => undefined };
  }
}

/** The pool task. */
export default async function lane(task: LaneTask): Promise<void> {
  const trace = new Trace(task.trace);
  makeWithin(trace.making);
  const codecs = new CodecRegistry(nativeCodecs());
  await Promise.all(task.codecs.map((module) => register(codecs, module)));
  if (task.dictionaries.length > 0)
    codecs.register(nativeZstdDict(new Map(task.dictionaries.map((each) => [each.id, each]))));
  await new LaneThread(task, codecs, trace).run();
}

async function register(
  codecs: CodecRegistry,
  { url, export: name }: Pick<CodecModule, 'url' | 'export'>,
): Promise<void> {
  const module: CodecModule = (await import(url))[name];
  for (const codec of module.codecs) codecs.register(foreign(codec));
}
