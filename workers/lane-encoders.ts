/** The encoder contexts of a lane, by slot: payloads become finished frames of their slot's stream. */

import { type Codec, type Encoder, type EncoderOptions, FINISH_BOUND } from '../src/encoding/codec.ts';
import type { CodecRegistry } from '../src/encoding/registry.ts';
import { BytesResponseFlag, FrameType, HEADER_SIZE, StreamFlag, writeHeader } from '../src/wire/frame.ts';
import { encodeStreamSettings } from '../src/wire/payloads.ts';
import { type BatchWriter, type EncoderSetup, FrameFlag, Op } from './batch.ts';
import type { LaneOutput } from './lane-output.ts';

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

export class LaneEncoders {
  readonly #codecs: CodecRegistry;
  readonly #output: LaneOutput;
  readonly #slots = new Map<number, EncoderSlot>();

  constructor(codecs: CodecRegistry, output: LaneOutput) {
    this.#codecs = codecs;
    this.#output = output;
  }

  open(slot: number, setup: EncoderSetup): void {
    const { streamId, profile, frameSize, perRequest, level, windowLog, tuning } = setup;
    const codec = profile === 'identity' ? undefined : this.#codecs.get(profile);
    const asked = { level, windowLog, tuning };
    const { encoder, options } = encoderOf(codec, asked);
    this.#slots.set(slot, {
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

  /** Encodes `payload` on the slot's context into a finished frame; `origin`: {@link FrameFlag}.call, .beside or 0. */
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
    const { encoder } = slot;
    // Nothing encodes to nothing, and a flush of nothing may make no bytes at all.
    if (encoder === undefined || payload.length === 0) {
      this.pass(slotId, requestId, type, flags, payload, payload.length, origin);
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
    this.#slots.get(slotId)?.encoder?.close();
    this.#slots.delete(slotId);
  }

  /** Slots in use. */
  get slots(): number[] {
    return [...this.#slots.keys()];
  }

  /** Seconds spent in each slot's encoder. */
  get figures(): { slot: number; seconds: number }[] {
    return [...this.#slots].map(([slot, { seconds }]) => ({ slot, seconds }));
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

  /** The slot's stream ends with the next response that ends on it, and begins afresh. */
  renew(slotId: number): void {
    const slot = this.#slots.get(slotId);
    if (slot?.encoder !== undefined) slot.renew = slot.begun;
  }

  /** The stream has ended: a new context, before the old one's memory could be missed. */
  #beginAfresh(slot: EncoderSlot): void {
    slot.renew = false;
    slot.encoder?.close();
    slot.encoder = slot.makeEncoder();
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

function endsResponse(type: number, flags: number): boolean {
  if (type === FrameType.errorResponse) return true;
  return type === FrameType.bytesResponse && (flags & BytesResponseFlag.eos) !== 0;
}
