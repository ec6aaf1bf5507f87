/** The encoder contexts of a lane, by slot: payloads become finished frames of their slot's stream. */

import { checkedBound, checkedLength, closeQuietly } from '../src/encoding/checked.ts';
import { type Codec, type EncoderOptions, FINISH_BOUND } from '../src/encoding/codec.ts';
import { type EncoderContext, encoderContext } from '../src/encoding/encoder-context.ts';
import { IDENTITY } from '../src/encoding/profiles.ts';
import type { CodecRegistry } from '../src/encoding/registry.ts';
import { BytesResponseFlag, FrameType, HEADER_SIZE, StreamFlag, writeHeader } from '../src/wire/frame.ts';
import { encodeStreamSettings, encodeUtf8 } from '../src/wire/payloads.ts';
import { errorText } from '../src/wire/thrown.ts';
import type { BatchWriter } from './batch.ts';
import { type Beginning, Beginnings } from './beginnings.ts';
import type { LaneOutput } from './lane-output.ts';
import { packPieces } from './packed.ts';
import { type EncoderSetup, FrameFlag, Op } from './records.ts';
import type { TraceWriter } from './trace-writer.ts';

interface EncoderSlot {
  readonly streamId: number;
  readonly profile: string;
  /** Its context is none, and other slots' as well. */
  readonly contextFree: boolean;
  /** Undefined for `identity`. */
  context: EncoderContext | undefined;
  readonly makeContext: () => EncoderContext | undefined;
  /** What it has until its context is made; undefined: that is made at once. */
  readonly makeEarly: (() => EncoderContext | undefined) | undefined;
  readonly beginnings: Beginnings | undefined;
  /** Undefined: it is over. */
  beginning: Beginning | undefined;
  /** Requests that an encoder has failed, while more of theirs may still come. */
  readonly failed: Set<number>;
  readonly frameSize: number;
  readonly perRequest: boolean;
  begun: boolean;
  /** The stream is to end with the next response that ends on it. */
  renew: boolean;
  /** Number of the encoder as what may end the thread. */
  readonly suspect: number;
  seconds: number;
}

const NOTHING = new Uint8Array(0);

export class LaneEncoders {
  readonly #codecs: CodecRegistry;
  readonly #output: LaneOutput;
  readonly #trace: TraceWriter;
  readonly #spent: (slot: number, ms: number) => void;
  readonly #slots = new Map<number, EncoderSlot>();
  /** Encoders without a context, by codec and options. */
  readonly #shared = new Map<string, EncoderContext>();
  /** Of streams whose context is made late, by codec and options. */
  readonly #beginnings = new Map<string, Beginnings>();

  /** `spent` is told how long the encoder of a slot was at work. */
  constructor(
    codecs: CodecRegistry,
    output: LaneOutput,
    trace: TraceWriter,
    spent: (slot: number, ms: number) => void,
  ) {
    this.#spent = spent;
    this.#trace = trace;
    this.#codecs = codecs;
    this.#output = output;
  }

  open(slot: number, setup: EncoderSetup): void {
    const { streamId, profile, frameSize, perRequest, suspect, contextFree = false } = setup;
    const { level, windowLog, tuning, dictionary, early } = setup;
    const codec = profile === IDENTITY ? undefined : this.#codecs.get(profile);
    const asked = { level, windowLog, tuning, dictionary, contextFree };
    const make = () => this.#trace.during(suspect, () => this.#makeContext(slot, codec, asked));
    const makeContext = contextFree ? () => this.#sharedContext(codec, asked, make) : make;
    const before = this.#slots.get(slot);
    if (before !== undefined) freeContext(before);
    const opened: EncoderSlot = {
      streamId,
      profile,
      frameSize,
      perRequest,
      context: undefined,
      makeContext,
      makeEarly: codec && early && (() => this.#earlyContext(slot, codec, asked, early, suspect)),
      beginnings: early && this.#beginningsOf(profile, asked),
      beginning: undefined,
      contextFree,
      failed: before?.failed ?? new Set(),
      begun: false,
      renew: false,
      suspect,
      seconds: before?.seconds ?? 0,
    };
    this.#slots.set(slot, opened);
    start(opened);
  }

  #beginningsOf(profile: string, asked: EncoderOptions): Beginnings {
    const key = JSON.stringify([profile, asked]);
    const known = this.#beginnings.get(key) ?? new Beginnings();
    this.#beginnings.set(key, known);
    return known;
  }

  /** The encoder without a context; its stream says of itself what is true with its context, too. */
  #earlyContext(
    slot: number,
    codec: Codec,
    asked: EncoderOptions,
    early: EncoderOptions,
    suspect: number,
  ): EncoderContext | undefined {
    try {
      const made = this.contextFree(codec, { ...early, contextFree: true }, suspect);
      return made && { encoder: made.encoder, settings: codec.settings(asked) };
    } catch (error) {
      this.#report(slot, error);
      return undefined;
    }
  }

  /**
   * One encoder for all slots that want the same. Only of a codec that says it keeps nothing: what another kept would go from
   * one connection to the next.
   */
  #sharedContext(
    codec: Codec | undefined,
    asked: EncoderOptions,
    make: () => EncoderContext | undefined,
  ): EncoderContext | undefined {
    if (!codec?.contextFree) return undefined;
    const key = JSON.stringify([codec.profile, asked]);
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const context = make();
    if (context !== undefined) this.#shared.set(key, context);
    return context;
  }

  /** The encoder without a context that all of the thread have in common who want the same; undefined: there is none. */
  contextFree(codec: Codec, asked: EncoderOptions, suspect: number): EncoderContext | undefined {
    return this.#sharedContext(codec, asked, () =>
      this.#trace.during(suspect, () => encoderContext(codec, asked)),
    );
  }

  /** It is broken, for all: who wants one next gets another. */
  dropContextFree({ encoder }: EncoderContext): void {
    for (const [key, shared] of this.#shared) if (shared.encoder === encoder) this.#shared.delete(key);
  }

  /** A codec may be its user's: where it makes no encoder, responses go out as they are. */
  #makeContext(slotId: number, codec: Codec | undefined, asked: EncoderOptions): EncoderContext | undefined {
    try {
      return codec && encoderContext(codec, asked);
    } catch (error) {
      this.#report(slotId, error);
      return undefined;
    }
  }

  /**
   * {@link encode} or {@link pass}, by `encoded`, for a handler on the main thread. Where the encoder fails it is told so, and
   * nothing of the response comes after that.
   */
  serve(
    slotId: number,
    requestId: number,
    type: number,
    flags: number,
    payload: Uint8Array,
    encoded: boolean,
  ): void {
    const failed = this.#slots.get(slotId)?.failed;
    const origin = encoded ? 0 : FrameFlag.beside;
    try {
      if (failed?.has(requestId)) this.#unencoded(slotId, requestId, origin, payload.length);
      else if (encoded) this.encode(slotId, requestId, type, flags, payload, origin);
      else this.pass(slotId, requestId, type, flags, payload, payload.length, origin);
    } catch (error) {
      failed?.add(requestId);
      this.#report(slotId, error);
      this.#unencoded(slotId, requestId, origin | FrameFlag.last, payload.length);
    }
  }

  #unencoded(slotId: number, requestId: number, flags: number, length: number): void {
    this.#output.add(Op.unencoded, slotId, requestId, flags, NOTHING, length);
  }

  /** Nothing more is handed in for a response that an encoder has failed: its ID may be another's from now on. */
  failureSeen(slotId: number, requestId: number): void {
    this.#slots.get(slotId)?.failed.delete(requestId);
  }

  #report(slotId: number, error: unknown): void {
    const told = packPieces([NOTHING, encodeUtf8(JSON.stringify(errorText(error)))]);
    this.#output.add(Op.report, slotId, 0, 0, told);
  }

  /**
   * Encodes `payload` on the slot's context into a finished frame; `origin`: {@link FrameFlag}.call, .beside or 0.
   * @throws whatever the encoder does; the stream then begins afresh with its next frame.
   */
  encode(
    slotId: number,
    requestId: number,
    type: number,
    flags: number,
    payload: Uint8Array,
    origin: number,
  ): void {
    const slot = this.#slots.get(slotId);
    if (slot === undefined) return;
    if (slot.beginning?.takes(payload.length) === false) endBeginning(slot);
    const encoder = slot.context?.encoder;
    // Nothing encodes to nothing, and a flush of nothing may make no bytes at all.
    if (encoder === undefined || payload.length === 0) {
      this.pass(slotId, requestId, type, flags, payload, payload.length, origin);
      return;
    }
    this.#begin(slotId, slot);
    let writer: BatchWriter;
    let length: number;
    try {
      const room = checkedBound(encoder, payload.length) + FINISH_BOUND;
      writer = this.#output.room(HEADER_SIZE + room);
      const startedAtMs = performance.now();
      const { bytes, end } = writer;
      const encoded = this.#trace.during(slot.suspect, () =>
        encoder.encode(payload, bytes, end + HEADER_SIZE),
      );
      length = checkedLength(encoded, room);
      const tookMs = performance.now() - startedAtMs;
      slot.seconds += tookMs / 1000;
      slot.beginning?.count(payload.length, length);
      this.#spent(slotId, tookMs);
    } catch (error) {
      slot.begun = false;
      // A shared one is broken for all: the next slot that wants one gets another.
      for (const [key, shared] of this.#shared) if (shared.encoder === encoder) this.#shared.delete(key);
      this.#beginAfresh(slot);
      throw error;
    }
    const header = { requestId, streamFlags: StreamFlag.encoded, type, flags };
    this.#frame(writer, slotId, slot, header, length, payload.length, origin);
  }

  /**
   * Makes a frame of `payload` as it is, after everything encoded before it on the slot. `counted` of its bytes have
   * been taken off an allowance.
   */
  pass(
    slotId: number,
    requestId: number,
    type: number,
    flags: number,
    payload: Uint8Array,
    counted: number,
    origin: number,
  ): void {
    const slot = this.#slots.get(slotId);
    if (slot === undefined) return;
    this.#begin(slotId, slot);
    const writer = this.#output.room(HEADER_SIZE + payload.length);
    writer.bytes.set(payload, writer.end + HEADER_SIZE);
    const header = { requestId, streamFlags: 0, type, flags };
    this.#frame(writer, slotId, slot, header, payload.length, counted, origin);
  }

  frameSize(slotId: number): number {
    return this.#slots.get(slotId)?.frameSize ?? 0;
  }

  /** Frees the slot's context. */
  close(slotId: number): void {
    const slot = this.#slots.get(slotId);
    if (slot !== undefined) freeContext(slot);
    this.#slots.delete(slotId);
  }

  /** Slots in use. */
  get slots(): number[] {
    return [...this.#slots.keys()];
  }

  /** Slots that have no context of their own as yet. */
  get early(): number {
    let count = 0;
    for (const { beginning } of this.#slots.values()) if (beginning?.alone) count++;
    return count;
  }

  /** Seconds spent in each slot's encoder. */
  get figures(): { slot: number; seconds: number }[] {
    return [...this.#slots].map(([slot, { seconds }]) => ({ slot, seconds }));
  }

  /** The first frame of an encoded stream names its profile (protocol A5). */
  #begin(slotId: number, slot: EncoderSlot): void {
    if (slot.begun || slot.context === undefined) return;
    const settings = encodeStreamSettings(slot.profile, slot.context.settings);
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

  /** The slot's stream ends with the next response that ends on it, and begins afresh. */
  renew(slotId: number): void {
    const slot = this.#slots.get(slotId);
    if (slot?.context !== undefined) slot.renew = slot.begun;
  }

  /** The stream has ended, or its encoder has failed: a new context, before the old one's memory could be missed. */
  #beginAfresh(slot: EncoderSlot): void {
    slot.renew = false;
    freeContext(slot);
    start(slot);
  }
}

/** Gives it its context, or what it has until that is made. */
function start(slot: EncoderSlot): void {
  slot.beginning = slot.makeEarly && slot.beginnings?.begin();
  slot.context = slot.beginning?.alone ? slot.makeEarly?.() : undefined;
  if (slot.context !== undefined) return;
  if (slot.beginning?.alone) slot.beginning = undefined;
  slot.context = slot.makeContext();
}

/** What has none yet has its context from now on: frames that stand alone do not miss what came before them. */
function endBeginning(slot: EncoderSlot): void {
  const alone = slot.beginning?.alone;
  slot.beginning = undefined;
  if (!alone) return;
  const said = slot.context?.settings.join();
  slot.context = slot.makeContext();
  if (slot.context?.settings.join() !== said) slot.begun = false;
}

function freeContext({ context, contextFree, beginning }: EncoderSlot): void {
  if (!contextFree && !beginning?.alone) closeQuietly(context?.encoder);
}

function endsResponse(type: number, flags: number): boolean {
  if (type === FrameType.errorResponse) return true;
  return type === FrameType.bytesResponse && (flags & BytesResponseFlag.eos) !== 0;
}
