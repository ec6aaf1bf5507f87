/** A message of a topic as all its subscribers share it: its record, and the payloads that stand for that. */

/** Payloads for one profile that together stand for a message's record. */
export interface EncodedRecord {
  /** Payloads of encoded frames: the k-th stands for the k-th `pieceSize` bytes of the record. */
  readonly payloads: readonly Uint8Array[];
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
  return record?.payloads.reduce((sum, payload) => sum + payload.length, 0) ?? 0;
}
