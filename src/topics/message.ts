/** A message of a topic as all its subscribers share it: its record, and the payloads that stand for that. */

import { BytesResponseFlag, FrameType, HEADER_SIZE, StreamFlag, writeHeader } from '../wire/frame.ts';

/** Payloads from this size on are sent beside their header: how many frames hold copies of them then counts for more. */
const FRAMED_BELOW = 1024;

/** The payload of an encoded frame, and the frame itself for subscribers who are alike. */
export class SharedPayload {
  readonly bytes: Uint8Array;
  #frame: Uint8Array | undefined;
  #requestId = 0;
  #streamId = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /**
   * The frame for a request on a stream; undefined: the payload is better sent beside its header. It is made anew only for
   * other IDs than the time before: connections that do the same have the same.
   */
  frame(requestId: number, streamId: number): Uint8Array | undefined {
    const { length } = this.bytes;
    if (length >= FRAMED_BELOW) return undefined;
    if (this.#frame !== undefined && requestId === this.#requestId && streamId === this.#streamId)
      return this.#frame;
    // Sockets take a Buffer as it is.
    const frame = Buffer.allocUnsafe(HEADER_SIZE + length);
    const { encoded } = StreamFlag;
    const { continuation } = BytesResponseFlag;
    writeHeader(frame, 0, length, requestId, streamId, encoded, FrameType.bytesResponse, continuation);
    frame.set(this.bytes, HEADER_SIZE);
    this.#frame = frame;
    this.#requestId = requestId;
    this.#streamId = streamId;
    return frame;
  }
}

/** Payloads for one profile that together stand for a message's record. */
export interface EncodedRecord {
  /** The k-th stands for the k-th `pieceSize` bytes of the record. */
  readonly payloads: readonly SharedPayload[];
  /** The epoch that it is part of, from 1 on; 0: it stands alone. */
  readonly epoch: number;
  /** Its place in the epoch, from 0 on: who has not taken the one before cannot take this one. */
  readonly place: number;
  /** It ends its epoch. */
  readonly ends: boolean;
  /** What a stream says of itself that carries it. */
  readonly settings: Uint8Array;
}

/** What there is of a message for one profile. */
export interface Forms {
  readonly shared: EncodedRecord | undefined;
  readonly alone: EncodedRecord | undefined;
}

/** What a message costs beside its bytes, in bytes: a few objects. */
const MESSAGE_COST = 256;

export class Message {
  /** Its number within the topic, from 1 on. */
  readonly sequence: number;
  /** Head and bytes, as every subscriber gets them (protocol C10). */
  readonly record: Uint8Array;
  #forms: Map<string, Forms> | undefined;
  #formBytes = 0;

  constructor(sequence: number, record: Uint8Array) {
    this.sequence = sequence;
    this.record = record;
  }

  /** What it takes without its forms, in bytes. */
  get bytes(): number {
    return this.record.length + MESSAGE_COST;
  }

  /** What its forms take. */
  get formBytes(): number {
    return this.#formBytes;
  }

  form(profile: string): Forms | undefined {
    return this.#forms?.get(profile);
  }

  /** Keeps its forms for those who take them later. */
  keep(profile: string, forms: Forms): void {
    this.#forms ??= new Map();
    this.#forms.set(profile, forms);
    this.#formBytes += MESSAGE_COST + sizeOf(forms.shared) + sizeOf(forms.alone);
  }

  dropForms(): void {
    this.#forms = undefined;
    this.#formBytes = 0;
  }
}

function sizeOf(record: EncodedRecord | undefined): number {
  return record?.payloads.reduce((sum, payload) => sum + payload.bytes.length, 0) ?? 0;
}
