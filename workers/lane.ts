/**
 * The thread side of a lane: encoder and decoder contexts, and the calls that run beside them.
 *
 * A pool task that lasts as long as the lane. Batches come in by the port, are worked through in order, and what was
 * made of them goes back in batches of its own.
 */

import type { MessagePort } from 'node:worker_threads';
import {
  type Codec,
  type CodecModule,
  type Decoder,
  type DecoderLimits,
  type Encoder,
  type EncoderOptions,
  FINISH_BOUND,
} from '../src/encoding/codec.ts';
import { nativeCodecs } from '../src/encoding/native.ts';
import { CodecRegistry } from '../src/encoding/registry.ts';
import { compressWhole } from '../src/encoding/whole.ts';
import { BytesResponseFlag, FrameType, HEADER_SIZE, StreamFlag, writeHeader } from '../src/wire/frame.ts';
import { decodeUtf8, encodeStreamSettings } from '../src/wire/payloads.ts';
import {
  BatchReader,
  BatchWriter,
  type DecoderSetup,
  EARLY_RECORDS,
  type EncoderSetup,
  FrameFlag,
  type LaneMessage,
  Op,
  packPieces,
} from './batch.ts';
import { Calls, type HandlerModule } from './calls.ts';

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
}

interface EncoderSlot {
  readonly streamId: number;
  readonly profile: string;
  readonly settings: Uint8Array;
  /** Undefined for `identity`. */
  encoder: Encoder | undefined;
  readonly makeEncoder: () => Encoder | undefined;
  readonly frameSize: number;
  readonly perRequest: boolean;
  begun: boolean;
  /** The stream is to end with the next response that ends on it. */
  renew: boolean;
  seconds: number;
}

const SPARE_BATCHES = 4;
const NOTHING = new Uint8Array(0);
const codecs = new CodecRegistry(nativeCodecs());
const wholeCodec = codecs.get('zstd-8mb') as Codec;
const utf8 = new TextEncoder();

/** Where lane and calls put what goes back to the main thread. */
export class LaneOutput {
  readonly #port: MessagePort;
  readonly #spares: ArrayBuffer[] = [];
  #writer: BatchWriter | undefined;
  #flushPlanned = false;

  constructor(port: MessagePort) {
    this.#port = port;
  }

  /** A writer in which `length` bytes fit. */
  room(length: number): BatchWriter {
    if (this.#writer !== undefined) {
      if (this.#writer.fits(length)) return this.#writer;
      if (!this.#writer.empty) this.#ship();
    }
    const spare = this.#spares.pop();
    this.#writer = new BatchWriter(spare ?? BatchWriter.allocate());
    if (!this.#writer.fits(length)) this.#writer = new BatchWriter(BatchWriter.allocate(length));
    return this.#writer;
  }

  /** Adds a record with a payload that lies elsewhere. */
  add(op: number, slot: number, requestId: number, flags: number, payload: Uint8Array, extra = 0): void {
    const writer = this.room(payload.length);
    writer.bytes.set(payload, writer.end);
    writer.add(op, slot, requestId, 0, flags, payload.length, extra);
  }

  recycle(spare: ArrayBuffer): void {
    if (this.#spares.length < SPARE_BATCHES) this.#spares.push(spare);
  }

  /** Sends what has gathered, and gives `returned` home with it. */
  flush(returned?: ArrayBuffer): void {
    if (this.#writer !== undefined && !this.#writer.empty) this.#ship(returned);
    else if (returned !== undefined) this.#post({ spare: returned }, [returned]);
  }

  /** Sends what has gathered if it is many records, while more are being made. */
  flushMany(): void {
    if (this.#writer !== undefined && this.#writer.count >= EARLY_RECORDS) this.#ship();
  }

  /** For output that does not come from a batch in hand: flushes at the end of the tick. */
  flushSoon(): void {
    if (this.#flushPlanned) return;
    this.#flushPlanned = true;
    setImmediate(() => {
      this.#flushPlanned = false;
      this.flush();
    });
  }

  #ship(returned?: ArrayBuffer): void {
    const batch = (this.#writer as BatchWriter).finish();
    this.#writer = undefined;
    if (returned === undefined) this.#post({ batch }, [batch]);
    else this.#post({ batch, spare: returned }, [batch, returned]);
  }

  #post(message: LaneMessage, transfer: ArrayBuffer[]): void {
    this.#port.postMessage(message, transfer);
  }
}

export class Lane {
  readonly #port: MessagePort;
  readonly #output: LaneOutput;
  readonly #calls: Calls;
  readonly #cacheLevel: number;
  readonly #encoders = new Map<number, EncoderSlot>();
  /** Slots to be closed once the code of their calls has ended. */
  readonly #closing = new Set<number>();
  readonly #decoders = new Map<number, { decoder: Decoder; seconds: number }>();

  constructor(task: LaneTask) {
    this.#port = task.port;
    this.#output = new LaneOutput(task.port);
    this.#cacheLevel = task.cacheLevel;
    this.#calls = new Calls(task.handlers, this, this.#output, task.coalesceMs, (slot) =>
      this.#slotFree(slot),
    );
  }

  /** Works until the main thread ends the lane. */
  run(): Promise<void> {
    return new Promise((resolve) => {
      this.#port.on('message', (message: LaneMessage) => {
        if (message.spare !== undefined) this.#output.recycle(message.spare);
        if (message.batch !== undefined) this.#work(message.batch);
        if (message.ask === 'stats') this.#reportStats();
        if (message.ask === 'beat') this.#port.postMessage({ alive: true } satisfies LaneMessage);
        if (message.ask === 'end') this.#end(resolve);
      });
      this.#port.on('close', resolve);
    });
  }

  /** Encodes `payload` on the slot's context into a finished frame; `origin`: {@link FrameFlag}.call, .beside or 0. */
  encode(
    slotId: number,
    requestId: number,
    type: number,
    flags: number,
    payload: Uint8Array,
    origin: number,
  ): void {
    const slot = this.#encoders.get(slotId);
    if (slot === undefined) return;
    const { encoder } = slot;
    // Nothing encodes to nothing, and a flush of nothing may make no bytes at all.
    if (encoder === undefined || payload.length === 0) {
      this.plain(slotId, requestId, type, flags, payload, payload.length, origin);
      return;
    }
    this.#begin(slotId, slot);
    const writer = this.#output.room(HEADER_SIZE + encoder.bound(payload.length) + FINISH_BOUND);
    const started = performance.now();
    const length = encoder.encode(payload, writer.bytes, writer.end + HEADER_SIZE);
    slot.seconds += (performance.now() - started) / 1000;
    const header = { requestId, streamFlags: StreamFlag.encoded, type, flags };
    this.#frame(writer, slotId, slot, header, length, payload.length, origin);
  }

  /**
   * Makes a frame of `payload` as it is, after everything encoded before it on the slot. `counted` of its bytes have
   * been taken off an allowance.
   */
  plain(
    slotId: number,
    requestId: number,
    type: number,
    flags: number,
    payload: Uint8Array,
    counted: number,
    origin: number,
  ): void {
    const slot = this.#encoders.get(slotId);
    if (slot === undefined) return;
    this.#begin(slotId, slot);
    const writer = this.#output.room(HEADER_SIZE + payload.length);
    writer.bytes.set(payload, writer.end + HEADER_SIZE);
    const header = { requestId, streamFlags: 0, type, flags };
    this.#frame(writer, slotId, slot, header, payload.length, counted, origin);
  }

  frameSize(slotId: number): number {
    return this.#encoders.get(slotId)?.frameSize ?? 0;
  }

  /** `bytes` compressed once for the cache, as the payload of a `pieces` record. */
  compress(bytes: Uint8Array): Uint8Array {
    return packPieces(compressWhole(wholeCodec, bytes, this.#cacheLevel));
  }

  #work(batch: ArrayBuffer): void {
    const reader = new BatchReader(batch);
    while (reader.next()) {
      this.#record(reader);
      this.#output.flushMany();
    }
    this.#output.flush(batch);
  }

  #record(record: BatchReader): void {
    const { op, slot, requestId, type, flags } = record;
    switch (op) {
      case Op.encode:
        return this.encode(slot, requestId, type, flags, record.payload, 0);
      case Op.plain:
        return this.plain(slot, requestId, type, flags, record.payload, record.length, FrameFlag.beside);
      case Op.decode:
        return this.#decode(slot, requestId, record.payload);
      case Op.openEncoder:
        return this.#openEncoder(slot, JSON.parse(decodeUtf8(record.payload)));
      case Op.openDecoder:
        return this.#openDecoder(slot, JSON.parse(decodeUtf8(record.payload)));
      case Op.close:
        return this.#close(slot);
      case Op.renew:
        return this.#renew(slot);
      case Op.compress:
        return this.#output.add(Op.pieces, slot, requestId, 0, this.compress(record.payload), record.length);
      default:
        this.#calls.record(record);
    }
  }

  #openEncoder(slot: number, setup: EncoderSetup): void {
    const { streamId, profile, frameSize, perRequest, level, windowLog, tuning } = setup;
    const codec = profile === 'identity' ? undefined : codecs.get(profile);
    const asked = { level, windowLog, tuning };
    const { encoder, options } = encoderOf(codec, asked);
    this.#encoders.set(slot, {
      streamId,
      profile,
      frameSize,
      perRequest,
      settings: codec?.settings(options) ?? new Uint8Array(0),
      encoder,
      makeEncoder: () => encoderOf(codec, asked).encoder,
      begun: false,
      renew: false,
      seconds: 0,
    });
  }

  /** The first frame of an encoded stream names its profile (protocol A5). */
  #begin(slotId: number, slot: EncoderSlot): void {
    if (slot.begun || slot.encoder === undefined) return;
    const settings = encodeStreamSettings(slot.profile, slot.settings);
    const writer = this.#output.room(HEADER_SIZE + settings.length);
    writer.bytes.set(settings, writer.end + HEADER_SIZE);
    const header = { requestId: 0, streamFlags: 0, type: FrameType.streamSettings, flags: 0 };
    this.#frame(writer, slotId, slot, header, settings.length, 0, 0);
  }

  /** Puts the header before the payload that has been written, and the record beside it. */
  #frame(
    writer: BatchWriter,
    slotId: number,
    slot: EncoderSlot,
    header: { requestId: number; streamFlags: number; type: number; flags: number },
    length: number,
    rawLength: number,
    origin: number,
  ): void {
    const { requestId, type, flags } = header;
    const last = endsResponse(type, flags);
    const ends = last && slot.perRequest;
    const renews = last && slot.renew;
    const streamFlags =
      header.streamFlags | (slot.begun ? 0 : StreamFlag.begin) | (ends || renews ? StreamFlag.end : 0);
    slot.begun = !renews;
    writeHeader(writer.bytes, writer.end, length, requestId, slot.streamId, streamFlags, type, flags);
    const frameFlags = origin | (last ? FrameFlag.last : 0) | (ends ? FrameFlag.endsStream : 0);
    writer.add(Op.frame, slotId, requestId, type, frameFlags, HEADER_SIZE + length, rawLength);
    if (renews) this.#beginAfresh(slot);
  }

  #renew(slotId: number): void {
    const slot = this.#encoders.get(slotId);
    if (slot?.encoder !== undefined) slot.renew = slot.begun;
  }

  /** The stream has ended: a new context, before the old one's memory could be missed. */
  #beginAfresh(slot: EncoderSlot): void {
    slot.renew = false;
    slot.encoder?.close();
    slot.encoder = slot.makeEncoder();
  }

  #openDecoder(slot: number, setup: DecoderSetup): void {
    const limits: DecoderLimits = setup;
    const codec = codecs.get(setup.profile);
    if (codec === undefined) return;
    this.#decoders.set(slot, { decoder: decoderOf(codec, limits, setup.settings), seconds: 0 });
  }

  #decode(slot: number, requestId: number, payload: Uint8Array): void {
    const entry = this.#decoders.get(slot);
    try {
      if (entry === undefined) throw new Error('no decoder');
      const started = performance.now();
      const decoded = entry.decoder.decode(payload);
      entry.seconds += (performance.now() - started) / 1000;
      this.#output.add(Op.decoded, slot, requestId, 0, decoded);
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      this.#output.add(Op.failed, slot, requestId, code === 'limit' ? 1 : 0, utf8.encode(message));
    }
  }

  #close(slot: number): void {
    this.#encoders.get(slot)?.encoder?.close();
    this.#encoders.delete(slot);
    this.#decoders.get(slot)?.decoder.close();
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
    const slots = [...this.#encoders, ...this.#decoders].map(([slot, { seconds }]) => ({ slot, seconds }));
    const { heapUsed, external } = process.memoryUsage();
    const stats = { cpuSeconds: (cpu.user + cpu.system) / 1e6, slots, memoryBytes: heapUsed + external };
    this.#output.flush();
    this.#port.postMessage({ stats } satisfies LaneMessage);
  }

  #end(resolve: () => void): void {
    for (const slot of [...this.#encoders.keys(), ...this.#decoders.keys()]) this.#close(slot);
    this.#output.flush();
    this.#port.close();
    resolve();
  }
}

/** The server's level and window are meant for one profile; where they are out of another's range it takes its own. */
function encoderOf(
  codec: Codec | undefined,
  options: EncoderOptions,
): { encoder: Encoder | undefined; options: EncoderOptions } {
  try {
    return { encoder: codec?.createEncoder?.(options), options };
  } catch {
    return { encoder: codec?.createEncoder?.(), options: {} };
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

function endsResponse(type: number, flags: number): boolean {
  if (type === FrameType.errorResponse) return true;
  return type === FrameType.bytesResponse && (flags & BytesResponseFlag.eos) !== 0;
}

/** The pool task. */
export default async function lane(task: LaneTask): Promise<void> {
  await Promise.all(task.codecs.map(register));
  await new Lane(task).run();
}

async function register({ url, export: name }: Pick<CodecModule, 'url' | 'export'>): Promise<void> {
  const module: CodecModule = (await import(url))[name];
  for (const codec of module.codecs) codecs.register(codec);
}
