/** Encoders of a lane whose payloads go to many connections (protocol C10): they make payloads, and no frames. */

import { checkedBound, checkedLength, closeQuietly } from '../src/encoding/checked.ts';
import { type Codec, type EncoderOptions, FINISH_BOUND } from '../src/encoding/codec.ts';
import { type EncoderContext, encoderContext } from '../src/encoding/encoder-context.ts';
import { canBeginAfresh } from '../src/encoding/profiles.ts';
import type { CodecRegistry } from '../src/encoding/registry.ts';
import { encodeUtf8 } from '../src/wire/payloads.ts';
import { errorText } from '../src/wire/thrown.ts';
import type { LaneEncoders } from './lane-encoders.ts';
import type { LaneOutput } from './lane-output.ts';
import { packPieces } from './packed.ts';
import { Op, SharedFlag, type SharedSetup } from './records.ts';
import type { TraceWriter } from './trace-writer.ts';

interface SharedSlot {
  readonly codec: Codec;
  /** What its context is made with; undefined: it has none. */
  readonly kept: EncoderOptions | undefined;
  /** Number of the encoder as what may end the thread. */
  readonly suspect: number;
  context: EncoderContext | undefined;
  /** Makes payloads that stand alone, with encoders that all slots of the thread have in common. */
  readonly alone: EncoderOptions | undefined;
  /** Between the first payload of an epoch and its last. */
  midEpoch: boolean;
  /** The encoder has failed: nothing of the epoch can be encoded any more. */
  broken: boolean;
  seconds: number;
}

const NOTHING = new Uint8Array(0);

export class SharedEncoders {
  readonly #codecs: CodecRegistry;
  readonly #encoders: LaneEncoders;
  readonly #output: LaneOutput;
  readonly #trace: TraceWriter;
  readonly #slots = new Map<number, SharedSlot>();

  constructor(codecs: CodecRegistry, encoders: LaneEncoders, output: LaneOutput, trace: TraceWriter) {
    this.#encoders = encoders;
    this.#trace = trace;
    this.#codecs = codecs;
    this.#output = output;
  }

  open(slotId: number, { profile, kept, alone, suspect }: SharedSetup): void {
    const codec = this.#codecs.get(profile);
    if (codec === undefined) return;
    const slot: SharedSlot = {
      codec,
      kept,
      suspect,
      context: undefined,
      alone,
      midEpoch: false,
      broken: false,
      seconds: 0,
    };
    this.#slots.set(slotId, slot);
    try {
      this.#make(slot);
      const made = slot.context ?? this.#contextFree(slot);
      this.#output.add(Op.sharedSettings, slotId, 0, 0, made?.settings ?? NOTHING);
    } catch (error) {
      this.#report(slotId, error);
    }
  }

  /** Encodes one piece, as {@link SharedFlag} says. An encoder that fails is one payload less, and no more. */
  encode(slotId: number, flags: number, payload: Uint8Array): void {
    const slot = this.#slots.get(slotId);
    const startedAtMs = performance.now();
    try {
      if (slot === undefined) this.#fail(slotId, flags, payload.length);
      else if ((flags & SharedFlag.alone) !== 0) this.#alone(slotId, slot, flags, payload);
      else this.#inEpoch(slotId, slot, flags, payload);
    } catch (error) {
      if (slot !== undefined && (flags & SharedFlag.alone) === 0) slot.broken = true;
      this.#report(slotId, error);
      this.#fail(slotId, flags, payload.length);
    }
    if (slot !== undefined) slot.seconds += (performance.now() - startedAtMs) / 1000;
  }

  #inEpoch(slotId: number, slot: SharedSlot, flags: number, payload: Uint8Array): void {
    const ends = (flags & SharedFlag.ends) !== 0;
    if ((flags & SharedFlag.begins) !== 0) this.#begin(slot);
    if (slot.broken || slot.context === undefined) return this.#fail(slotId, flags, payload.length);
    slot.midEpoch = !ends;
    const finishes = ends && canBeginAfresh(slot.codec.profile);
    this.#write(slotId, slot, slot.context, payload, flags, finishes);
    // What cannot begin afresh is made afresh, and its streams with it.
    if (ends && !finishes) this.#renew(slot);
  }

  /** Nothing of an epoch that was given up half-way may be needed for what follows. */
  #begin(slot: SharedSlot): void {
    if (slot.midEpoch || slot.broken || slot.context === undefined) this.#renew(slot);
    slot.broken = false;
  }

  #renew(slot: SharedSlot): void {
    closeQuietly(slot.context?.encoder);
    slot.context = undefined;
    slot.midEpoch = false;
    this.#make(slot);
  }

  #make(slot: SharedSlot): void {
    const { codec, kept, suspect } = slot;
    if (kept !== undefined) slot.context = this.#trace.during(suspect, () => encoderContext(codec, kept));
  }

  #contextFree({ codec, alone, suspect }: SharedSlot): EncoderContext | undefined {
    return alone && this.#encoders.contextFree(codec, alone, suspect);
  }

  #alone(slotId: number, slot: SharedSlot, flags: number, payload: Uint8Array): void {
    const alone = this.#contextFree(slot);
    if (alone === undefined) return this.#fail(slotId, flags, payload.length);
    try {
      this.#write(slotId, slot, alone, payload, flags, false);
    } catch (error) {
      this.#encoders.dropContextFree(alone);
      throw error;
    }
  }

  #write(
    slotId: number,
    { suspect }: SharedSlot,
    { encoder }: EncoderContext,
    payload: Uint8Array,
    flags: number,
    finishes: boolean,
  ): void {
    const room = checkedBound(encoder, payload.length) + FINISH_BOUND;
    const writer = this.#output.room(room);
    const { bytes, end } = writer;
    const length = this.#trace.during(suspect, () => {
      const encoded = checkedLength(encoder.encode(payload, bytes, end), room);
      if (!finishes) return encoded;
      return encoded + checkedLength(encoder.finish(bytes, end + encoded), room - encoded);
    });
    writer.add(Op.shared, slotId, 0, 0, flags, length, payload.length);
  }

  #fail(slotId: number, flags: number, length: number): void {
    this.#output.add(Op.shared, slotId, 0, flags | SharedFlag.failed, NOTHING, length);
  }

  #report(slotId: number, error: unknown): void {
    const told = packPieces([NOTHING, encodeUtf8(JSON.stringify(errorText(error)))]);
    this.#output.add(Op.report, slotId, 0, 0, told);
  }

  /** Frees the slot's contexts. */
  close(slotId: number): void {
    const slot = this.#slots.get(slotId);
    closeQuietly(slot?.context?.encoder);
    this.#slots.delete(slotId);
  }

  /** Slots in use. */
  get slots(): number[] {
    return [...this.#slots.keys()];
  }

  /** Seconds spent in each slot's encoders. */
  get figures(): { slot: number; seconds: number }[] {
    return [...this.#slots].map(([slot, { seconds }]) => ({ slot, seconds }));
  }
}
