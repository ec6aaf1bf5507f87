/**
 * A topic's messages in one profile, for all its subscribers that decode it: encoded once, in epochs (protocol C10).
 *
 * An epoch is a series of messages that share a context from its beginning. Who comes in the middle of one, or has missed a
 * message of it, gets each message alone until the next begins. That costs more bytes for those who wait; beginning afresh
 * costs as many more for each of the others, once. So an epoch ends when the first sum has come to the second.
 */

import { SharedFlag } from '../../workers/records.ts';
import { canBeginAfresh, IDENTITY } from '../encoding/profiles.ts';
import type { ContextShape } from '../lanes/context-cost.ts';
import type { LanePool } from '../lanes/pool.ts';
import { SharedEncoder, type SharedEncoderOwner } from '../lanes/shared-encoder.ts';
import { Fifo } from '../wire/fifo.ts';
import { type Forms, type Message, SharedPayload } from './message.ts';

/** Bounds of an epoch, for encoders that nobody waits for. */
export interface EpochBounds {
  readonly messages: number;
  readonly bytes: number;
}

export interface EncodingOptions {
  readonly pool: () => LanePool;
  readonly profile: string;
  readonly shape: ContextShape;
  readonly epoch: EpochBounds;
  /** Most bytes of a record that one payload stands for. */
  readonly pieceSize: number;
  readonly report: (error: Error) => void;
  /**
   * A message can be sent in this profile, as `forms` say, or else as it is. In the order in which they were published;
   * `more`: the next is on its way.
   */
  readonly ready: (message: Message, forms: Forms, more: boolean) => void;
}

/** A subscriber, as far as its encoding needs to know it. */
export interface EpochMember {
  /** The epoch in which it cannot take part. */
  missedEpoch: number;
}

/** A message that is on its way through the encoder. */
interface Passing {
  readonly message: Message;
  readonly epoch: number;
  readonly place: number;
  readonly ends: boolean;
  /** Payloads that are still to come, before those of the epoch; and these. */
  alone: SharedPayload[] | undefined;
  shared: SharedPayload[] | undefined;
  wantedAlone: number;
  wantedShared: number;
}

const NOTHING = new Uint8Array(0);

/** Bytes that may wait for the encoder; what is published beyond goes as it is. */
const MAX_PENDING = 1 << 20;

/** Messages for which an encoder without a context is kept, where there was no room for one, before there may be some. */
const ASK_AGAIN = 256;

export class TopicEncoding implements SharedEncoderOwner {
  readonly profile: string;
  readonly pieceSize: number;
  /** The newest message that can be sent. */
  readySequence: number;
  /** Calls of encoders so far. */
  encodes = 0;
  readonly #options: EncodingOptions;
  readonly #members = new Set<EpochMember>();
  /** Those of them that take part in no epoch, and get each message alone or as it is. */
  readonly #aside = new Set<EpochMember>();
  readonly #passing = new Fifo<Passing>();
  #encoder: SharedEncoder | undefined;
  #settings: Uint8Array = NOTHING;
  #epoch = 0;
  #isOpen = false;
  #place = 0;
  #bytes = 0;
  /** Members that wait for the next epoch, and how often one of them has been sent a message alone. */
  #waiting = 0;
  #sentAlone = 0;

  /** `sequence`: of the newest message, which is on nobody's way here. */
  constructor(options: EncodingOptions, sequence: number) {
    this.#options = options;
    this.profile = options.profile;
    this.pieceSize = options.pieceSize;
    this.readySequence = sequence;
  }

  /** Whether payloads may follow each other on a stream that need nothing of what came before them. */
  get canBeginAfresh(): boolean {
    return canBeginAfresh(this.profile);
  }

  get isEmpty(): boolean {
    return this.#members.size === 0;
  }

  join(member: EpochMember): void {
    this.#members.add(member);
    if (this.#isOpen) this.missed(member, this.#epoch);
  }

  /** The member cannot take part in `epoch` any more. */
  missed(member: EpochMember, epoch: number): void {
    if (!this.#isOpen || epoch !== this.#epoch || member.missedEpoch === epoch) return;
    if (this.#aside.has(member)) return;
    member.missedEpoch = epoch;
    this.#waiting++;
  }

  /** The member takes part in no epoch: its peer takes no more streams. It waits for none, and none ends for it. */
  standAside(member: EpochMember): void {
    if (this.#aside.has(member) || !this.#members.has(member)) return;
    this.#aside.add(member);
    if (this.#isOpen && member.missedEpoch === this.#epoch) this.#waiting--;
  }

  /** The member may take part again, from the next epoch on. */
  comeBack(member: EpochMember): void {
    if (this.#aside.size === 0 || !this.#aside.delete(member) || !this.#isOpen) return;
    member.missedEpoch = this.#epoch;
    this.#waiting++;
  }

  leave(member: EpochMember): void {
    if (!this.#members.delete(member) || this.#aside.delete(member)) return;
    if (this.#isOpen && member.missedEpoch === this.#epoch) this.#waiting--;
  }

  publish(message: Message): void {
    const encoder = this.#encoderFor(message);
    if (encoder === undefined) this.#pass(message);
    else if (this.#isForNone(encoder)) this.#encodeAlone(encoder, message);
    else this.#encode(encoder, message);
  }

  /** Nobody needs it any more. */
  close(): void {
    this.#dropEncoder();
    this.#isOpen = false;
    this.#passing.clear();
  }

  #dropEncoder(): void {
    this.#encoder?.close();
    this.#encoder = undefined;
    this.#place = 0;
  }

  // ------------------------------------------------------------------------------------------- encoding

  /** Undefined where the message has to go as it is. */
  #encoderFor({ record }: Message): SharedEncoder | undefined {
    const { pool, shape } = this.#options;
    if (this.profile === IDENTITY) return undefined;
    // There may be room for a context by now.
    if (this.#encoder?.makesShared === false && this.#encoder.idle && this.#place >= ASK_AGAIN)
      this.#dropEncoder();
    this.#encoder ??= SharedEncoder.open(pool(), this.profile, shape, this);
    const pending = this.#encoder?.pendingBytes ?? 0;
    return pending > 0 && pending + record.length > MAX_PENDING ? undefined : this.#encoder;
  }

  /** The message goes as it is, after those that are on their way. */
  #pass(message: Message): void {
    if (this.#passing.length === 0) return this.#ready(message, { shared: undefined, alone: undefined });
    const nothing = { epoch: 0, place: 0, ends: false, wantedAlone: 0, wantedShared: 0 };
    this.#passing.push({ message, ...nothing, alone: undefined, shared: undefined });
  }

  /** Members that take part in epochs. */
  get #takers(): number {
    return this.#members.size - this.#aside.size;
  }

  #makesAlone(encoder: SharedEncoder): boolean {
    return this.canBeginAfresh && encoder.makesAlone;
  }

  /** Whether there is no room for a context, or nobody who would share it. */
  #isForNone(encoder: SharedEncoder): boolean {
    return !encoder.makesShared || (this.#takers === 0 && this.#makesAlone(encoder));
  }

  #encode(encoder: SharedEncoder, message: Message): void {
    if (this.#isOpen && this.#waiting >= this.#takers) this.#isOpen = false;
    const begins = !this.#isOpen;
    if (begins) this.#beginEpoch();
    const pieces = this.#piecesOf(message.record);
    const wantsAlone = (this.#waiting > 0 || this.#aside.size > 0) && this.#makesAlone(encoder);
    const place = this.#place++;
    this.#bytes += message.record.length;
    this.#sentAlone += this.#waiting;
    const ends = this.#mayEnd();
    if (ends) this.#isOpen = false;
    this.#passing.push({
      message,
      epoch: this.#epoch,
      place,
      ends,
      alone: wantsAlone ? [] : undefined,
      shared: [],
      wantedAlone: wantsAlone ? pieces : 0,
      wantedShared: pieces,
    });
    if (wantsAlone) this.#handInAlone(encoder, message.record);
    this.#handIn(encoder, message.record, begins, ends);
  }

  /** The message stands alone, for all. */
  #encodeAlone(encoder: SharedEncoder, message: Message): void {
    this.#isOpen = false;
    const pieces = this.#piecesOf(message.record);
    const nothing = { epoch: 0, place: this.#place++, ends: false, shared: undefined, wantedShared: 0 };
    this.#passing.push({ message, ...nothing, alone: [], wantedAlone: pieces });
    this.#handInAlone(encoder, message.record);
  }

  #piecesOf(record: Uint8Array): number {
    return Math.ceil(record.length / this.pieceSize);
  }

  #pieceAt(record: Uint8Array, i: number): Uint8Array {
    return record.subarray(i * this.pieceSize, (i + 1) * this.pieceSize);
  }

  #handInAlone(encoder: SharedEncoder, record: Uint8Array): void {
    const pieces = this.#piecesOf(record);
    this.encodes += pieces;
    for (let i = 0; i < pieces; i++) encoder.encode(this.#pieceAt(record, i), SharedFlag.alone);
  }

  #handIn(encoder: SharedEncoder, record: Uint8Array, begins: boolean, ends: boolean): void {
    const pieces = this.#piecesOf(record);
    this.encodes += pieces;
    for (let i = 0; i < pieces; i++) {
      const first = begins && i === 0 ? SharedFlag.begins : 0;
      const last = ends && i === pieces - 1 ? SharedFlag.ends : 0;
      encoder.encode(this.#pieceAt(record, i), first | last);
    }
  }

  #beginEpoch(): void {
    this.#epoch++;
    this.#isOpen = true;
    this.#place = 0;
    this.#bytes = 0;
    this.#waiting = 0;
    this.#sentAlone = 0;
  }

  #mayEnd(): boolean {
    const { messages, bytes } = this.#options.epoch;
    if (this.#place >= messages || this.#bytes >= bytes) return true;
    return this.#waiting > 0 && this.#sentAlone >= this.#takers - this.#waiting;
  }

  // --------------------------------------------------------------- what the encoder says (SharedEncoderOwner)

  onPayload(payload: Uint8Array | undefined): void {
    this.#settings = this.#encoder?.settings ?? NOTHING;
    // What is first is what the encoder is at: all before it that is whole has been released.
    const passing = this.#passing.first;
    if (passing === undefined) return;
    if (passing.wantedAlone > 0) {
      passing.wantedAlone--;
      if (payload === undefined) passing.alone = undefined;
      else passing.alone?.push(new SharedPayload(payload));
    } else {
      passing.wantedShared--;
      if (payload === undefined) this.#failed(passing);
      else passing.shared?.push(new SharedPayload(payload));
    }
    this.#release();
  }

  /** Nothing more comes of its epoch. */
  #failed(passing: Passing): void {
    passing.shared = undefined;
    if (passing.epoch === this.#epoch) this.#isOpen = false;
  }

  onGone(): void {
    this.#encoder = undefined;
    this.#isOpen = false;
    for (const passing of this.#passing) {
      if (passing.wantedShared > 0) passing.shared = undefined;
      if (passing.wantedAlone > 0) passing.alone = undefined;
      passing.wantedShared = 0;
      passing.wantedAlone = 0;
    }
    this.#release();
  }

  report(error: Error): void {
    this.#options.report(error);
  }

  /** Hands on what has come through, in order. */
  #release(): void {
    const settings = this.#settings;
    for (let next = this.#passing.first; next !== undefined; next = this.#passing.first) {
      if (next.wantedShared > 0 || next.wantedAlone > 0) return;
      this.#passing.shift();
      const { message, epoch, place, ends, shared, alone } = next;
      this.#ready(message, {
        shared: shared && { payloads: shared, epoch, place, ends, settings },
        alone: alone && { payloads: alone, epoch: 0, place: 0, ends: true, settings },
      });
    }
  }

  #ready(message: Message, forms: Forms): void {
    this.readySequence = message.sequence;
    this.#options.ready(message, forms, this.#passing.length > 0);
  }
}
