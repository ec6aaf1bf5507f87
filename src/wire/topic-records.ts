/**
 * The records of a subscription's response (protocol C10), however they are cut into frames: a varint (LEB128, at most 5
 * bytes) of 4 × length + kind, then `length` bytes.
 */

import { ProtocolError } from './errors.ts';
import { badPayload } from './fields.ts';
import { Gathered } from './gathered.ts';
import { joined } from './joined.ts';
import { MAX_VARINT, varint } from './varint.ts';

/** What a record is. */
export const RecordKind = {
  /** The next message. */
  message: 0,
  /** u64: the sequence number of the next message. First in every response, and after every gap. */
  position: 1,
  /** u64: as many messages were lost to this subscriber. */
  gap: 2,
} as const;

/** Bytes of a topic's name in UTF-8. */
export const MAX_TOPIC_NAME = 255;
/** Most bytes of a message: its length, times 4, fits a varint of 5 bytes, and one buffer holds it. */
export const MAX_MESSAGE_BYTES = 2 ** 30;

const NUMBER_SIZE = 8;

/** A message as a record; `message` is copied. @throws RangeError when it has more than 2^30 bytes. */
export function messageRecord(message: Uint8Array): Uint8Array<ArrayBuffer> {
  if (message.length > MAX_MESSAGE_BYTES)
    throw new RangeError(`a message has at most ${MAX_MESSAGE_BYTES} bytes, not ${message.length}`);
  const record = recordOf(RecordKind.message, message.length);
  record.set(message, record.length - message.length);
  return record;
}

/** That the next message has this sequence number, 1 … 2^53 − 1. */
export function positionRecord(sequence: number): Uint8Array<ArrayBuffer> {
  return numberRecord(RecordKind.position, sequence);
}

/** That so many messages were lost, and that the next one has this sequence number. */
export function gapRecords(lost: number, sequence: number): Uint8Array<ArrayBuffer> {
  return joined([numberRecord(RecordKind.gap, lost), positionRecord(sequence)]);
}

function numberRecord(kind: number, value: number): Uint8Array<ArrayBuffer> {
  const record = recordOf(kind, NUMBER_SIZE);
  new DataView(record.buffer).setBigUint64(record.length - NUMBER_SIZE, BigInt(value), true);
  return record;
}

/** A record with room for its bytes at its end. */
function recordOf(kind: number, length: number): Uint8Array<ArrayBuffer> {
  return varint(length * 4 + kind, length);
}

/** A message as its subscriber gets it. */
export interface TopicMessage {
  /** Its number within the topic, from 1 on. */
  readonly sequence: number;
  readonly data: Uint8Array;
  /** How many messages before this one were lost to the subscriber; missing: none. */
  readonly lost?: number;
}

/** Messages that were lost to a subscriber. */
export interface TopicGap {
  /** How many. */
  readonly lost: number;
  /** The sequence number of the first message after them. */
  readonly sequence: number;
}

/** What may come next, by the rules of the series: a position first, and one after every gap. */
type Expected = 'position' | 'position after a gap' | 'message or gap';

/**
 * Reads a subscription's response, out of pieces that are cut anywhere. Memory is taken as a message comes, not as its
 * length says.
 */
export class TopicReader {
  readonly #maxBytes: number;
  readonly #onGap: (gap: TopicGap) => void;
  #expected: Expected = 'position';
  #next = 0;
  /** The number after those that have come or were told as lost; 0: nobody knows yet. */
  #told: number;
  /** The same without those that were told as lost after the newest message. */
  had: number;
  #kind = 0;
  #head = 0;
  #headBytes = 0;
  #headKnown = false;
  #length = 0;
  readonly #record = new Gathered();

  /**
   * `maxBytes`: of one message. `next`: the sequence number that was asked for; 0: none was. Where what comes first has a lower
   * one the topic has begun to count anew, and all that it has had since is lost. `onGap` is told of every gap as it comes.
   * `had`: the number after the newest message, where some before `next` were told as lost.
   */
  constructor(maxBytes: number, next = 0, onGap: (gap: TopicGap) => void = () => undefined, had = next) {
    this.#maxBytes = maxBytes;
    this.#next = this.#told = next;
    this.had = had;
    this.#onGap = onGap;
  }

  /** The sequence number of the message that comes next; 0 where nobody knows yet. */
  get next(): number {
    return this.#next;
  }

  /** The same, once the response has said so. */
  get position(): number | undefined {
    return this.#expected === 'message or gap' ? this.#next : undefined;
  }

  /**
   * The messages that end in `piece`, one after the other.
   * @throws ProtocolError for what is no such series, and for a message of more than `maxBytes`.
   */
  *read(piece: Uint8Array): Generator<TopicMessage, void, undefined> {
    for (let at = 0; at < piece.length; ) {
      at = this.#take(piece, at);
      const message = this.#whole() ? this.#finish() : undefined;
      if (message !== undefined) yield message;
    }
  }

  /** The response has ended. @throws ProtocolError in the middle of a record, or where a position had to come. */
  end(): void {
    if (this.#headBytes > 0 || this.#expected !== 'message or gap')
      throw badPayload(`the subscription ends where a ${this.#expected} has to come`);
  }

  #whole(): boolean {
    return this.#headKnown && this.#record.length === this.#length;
  }

  /** Takes bytes of `piece` from `at` on, no further than one record goes; returns where it stopped. */
  #take(piece: Uint8Array, at: number): number {
    let next = at;
    while (!this.#headKnown && next < piece.length) this.#takeHead(piece[next++]);
    if (!this.#headKnown) return next;
    const part = piece.subarray(next, next + this.#length - this.#record.length);
    this.#record.add(part, this.#length);
    return next + part.length;
  }

  #takeHead(byte: number): void {
    this.#head += (byte & 0x7f) * 0x80 ** this.#headBytes;
    this.#headBytes++;
    this.#headKnown = byte < 0x80;
    if (!this.#headKnown) {
      if (this.#headBytes === MAX_VARINT)
        throw badPayload(`the head of a record takes more than ${MAX_VARINT} bytes`);
      return;
    }
    this.#kind = this.#head % 4;
    this.#length = Math.floor(this.#head / 4);
    this.#checkHead();
  }

  #checkHead(): void {
    const kind = this.#kind;
    const isPosition = kind === RecordKind.position;
    if (kind > RecordKind.gap) throw badPayload(`a record of the reserved kind ${kind}`);
    if (isPosition !== (this.#expected !== 'message or gap'))
      throw badPayload(`a record of kind ${kind} where a ${this.#expected} has to come`);
    if (kind !== RecordKind.message) {
      if (this.#length !== NUMBER_SIZE)
        throw badPayload(`a record of kind ${kind} has ${this.#length} bytes, not ${NUMBER_SIZE}`);
    } else if (this.#length > this.#maxBytes) {
      const what = `maxBytes: a message of ${this.#length} bytes is longer than ${this.#maxBytes}`;
      throw new ProtocolError('limit', what);
    }
  }

  #finish(): TopicMessage | undefined {
    const record = this.#record.take();
    const kind = this.#kind;
    this.#head = 0;
    this.#headBytes = 0;
    this.#headKnown = false;
    if (kind === RecordKind.message) return this.#message(record);
    const value = numberOf(record);
    if (kind === RecordKind.position) this.#takePosition(value);
    else this.#takeGap(value);
    return undefined;
  }

  #message(data: Uint8Array): TopicMessage {
    const sequence = this.#next++;
    if (!Number.isSafeInteger(sequence)) throw badPayload('a message past 2^53 − 1');
    const lost = sequence - this.had;
    this.had = this.#told = this.#next;
    return lost === 0 ? { sequence, data } : { sequence, data, lost };
  }

  #takePosition(sequence: number): void {
    if (sequence === 0) throw badPayload('a position of 0');
    const afterGap = this.#expected === 'position after a gap';
    if (afterGap && sequence !== this.#next)
      throw badPayload(`a position of ${sequence} where the gap ends at ${this.#next}`);
    if (this.#told === 0) this.#told = this.had = sequence;
    else if (sequence < this.#told) this.#told = this.had = 1;
    const lost = sequence - this.#told;
    this.#next = this.#told = sequence;
    this.#expected = 'message or gap';
    if (lost > 0) this.#onGap({ lost, sequence });
  }

  #takeGap(lost: number): void {
    if (lost === 0) throw badPayload('a gap of no messages');
    if (!Number.isSafeInteger(this.#next + lost)) throw badPayload('a gap that ends past 2^53 − 1');
    this.#next += lost;
    this.#expected = 'position after a gap';
  }
}

/** @throws ProtocolError for a number that cannot be counted on with: past 2^53 − 1. */
function numberOf(bytes: Uint8Array): number {
  const value = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (!Number.isSafeInteger(value)) throw badPayload(`${value} in a record is past 2^53 − 1`);
  return value;
}
