/**
 * One subscriber of a topic: the request, and how far its peer has got. It holds no messages: what it has not taken is in
 * the topic's log, once for all, and here is no more than the number of the next one.
 */

import type { RequestFlow } from '../reactor/flow.ts';
import type { FlushQueue } from '../reactor/flush-queue.ts';
import type { ServedRequest } from '../server/request.ts';
import { BytesResponseFlag, ErrorResponseFlag, FrameType } from '../wire/frame.ts';
import { joined } from '../wire/joined.ts';
import { encodeFailure, type Failure } from '../wire/payloads.ts';
import { gapRecords, positionRecord } from '../wire/topic-records.ts';
import type { EpochMember, TopicEncoding } from './encoding.ts';
import type { EncodedRecord, Forms, Message } from './message.ts';
import type { StreamUser, TopicStream } from './streams.ts';

const NOTHING = new Uint8Array(0);
export const SHUTTING_DOWN = 'shutting-down';
const TOO_SLOW: Failure = {
  code: 'too-slow',
  message: 'too slow: messages were published faster than taken',
};

/** What a subscription needs of its topic. */
export interface SubscribedTopic {
  /** Number of the newest message. */
  readonly sequence: number;
  /** That of the newest which is, or was, there: the topic itself may have missed some after it. */
  readonly newest: number;
  /** Connections that have something to hand over. */
  readonly flushes: FlushQueue;
  /** The oldest message that is there. */
  readonly oldest: Message | undefined;
  message(sequence: number): Message | undefined;
  /** Has the subscriber go on in another encoding, where its peer takes a better one by now. */
  moves(subscription: Subscription, request: ServedRequest): boolean;
  /** The subscriber has fallen behind, or has caught up. */
  behind(subscription: Subscription, isBehind: boolean): void;
  /** What is on its way to a crowd of subscribers is with all of them now. */
  finishDeliveries(): void;
  /** The subscription is over. */
  left(subscription: Subscription): void;
}

/** What becomes of a subscriber that is too slow: it misses messages, and is told so, or it is cancelled. */
export type SlowChoice = 'skip' | 'cancel';

export class Subscription implements EpochMember, StreamUser {
  readonly requestId: number;
  readonly slow: SlowChoice;
  encoding: TopicEncoding;
  missedEpoch = 0;
  readonly #topic: SubscribedTopic;
  readonly #request: ServedRequest;
  readonly #flow: RequestFlow;
  /** Number of the next message that it gets. */
  #next: number;
  /** Position and gaps that are still to be sent. */
  #control: Uint8Array = NOTHING;
  /** A message that is not sent to its end. */
  #inHand: Message | undefined;
  /** Bytes of the message in hand that have been sent. */
  #sent = 0;
  /** Where the rest of the message in hand comes from; undefined: the rest goes as it is. */
  #source: EncodedRecord | undefined;
  #stream: TopicStream | undefined;
  /** The epoch that its decoder is in the middle of, and the place of the message that comes next; 0: none. */
  #epoch = 0;
  #place = 0;
  #isBlocked = false;
  #isOver = false;
  /** It ends, with this failure or well, once it has got all up to `last`, and was told of what is missing up to `told`. */
  #end: { readonly last: number; readonly told: number; readonly failure: Failure | undefined } | undefined;

  /** `next`: the first message that it gets; some of those may be gone. */
  constructor(
    topic: SubscribedTopic,
    encoding: TopicEncoding,
    request: ServedRequest,
    next: number,
    slow: SlowChoice,
  ) {
    this.#topic = topic;
    this.encoding = encoding;
    this.#request = request;
    this.requestId = request.id;
    this.#flow = request.flow;
    this.#next = next;
    this.slow = slow;
  }

  /** Number of the next message that it gets. */
  get next(): number {
    return this.#next;
  }

  /** Says where it begins, and how much of what it asked for is gone. */
  begin(): void {
    const { sequence, oldest } = this.#topic;
    const there = oldest?.sequence ?? sequence + 1;
    const lost = Math.max(0, there - this.#next);
    this.#control = positionRecord(this.#next);
    if (lost > 0) this.#tellGap(lost, there);
    this.#pump();
  }

  /**
   * A message can be sent: goes on where it is not held up by something else. `more`: another is about to be offered, and
   * they had better leave together.
   */
  offer(message: Message, forms: Forms, more: boolean): void {
    if (this.#isBlocked || message.sequence < this.#next) return;
    if (!more && this.#sendAtOnce(message, forms)) return;
    // Nothing that was published is between: the topic itself has missed something.
    if (message.sequence > this.#next) this.#tellGap(message.sequence - this.#next, message.sequence);
    if (!this.#request.session.takesMore) this.#block(true);
    else if (this.#sendControl()) {
      const couldMove = this.#epoch === 0 || forms.shared?.place === 0;
      if (couldMove && this.#topic.moves(this, this.#request)) this.#pump();
      else if (this.#send(message, forms)) this.#checkEnd();
    }
  }

  /** It goes on in another encoding, with the message that was to come next. */
  moveTo(encoding: TopicEncoding): void {
    this.encoding = encoding;
    this.missedEpoch = 0;
    this.#epoch = 0;
  }

  /** Nothing more is to come after the newest message: it ends then, with `failure` or well. */
  endAfterNewest(failure?: Failure): void {
    this.#topic.finishDeliveries();
    const { newest: last, sequence: told } = this.#topic;
    this.#end ??= { last, told, failure };
    if (!this.#isBlocked) this.#pump();
  }

  /** The oldest messages were let go: who wants to hear of it at once does. */
  oldestGone(oldest: number): void {
    const missing = this.#inHand === undefined ? this.#next : this.#next + 1;
    if (missing < oldest) this.stop(TOO_SLOW);
  }

  // ------------------------------------------------------------------------------------------ sending

  /** Sends what there is, until something holds it up. */
  #pump(): void {
    while (!this.#isOver) {
      if (!this.#request.session.takesMore) return void this.#block(true);
      if (!this.#sendControl()) return;
      if (this.#next > this.encoding.readySequence) return this.#checkEnd();
      else {
        const message = this.#inHand ?? this.#topic.message(this.#next);
        if (message === undefined) this.#skip();
        else if (!this.#send(message, message.form(this.encoding.profile))) return;
      }
    }
  }

  /**
   * What it has not taken is gone: it goes on with the newest message, so that it knows how things stand also where nothing
   * is published for long (protocol C10). Older ones that are there would keep it at the edge of what is let go.
   */
  #skip(): void {
    if (this.slow === 'cancel') return this.stop(TOO_SLOW);
    const { sequence } = this.#topic;
    const isThere = this.#topic.message(sequence) !== undefined;
    const next = isThere ? sequence : Math.max(sequence, this.encoding.readySequence) + 1;
    this.#tellGap(next - this.#next, next);
  }

  #tellGap(lost: number, next: number): void {
    this.#control = joined([this.#control, gapRecords(lost, next)]);
    this.#next = next;
  }

  /** True: nothing is left of it. */
  #sendControl(): boolean {
    if (this.#control.length === 0) return true;
    const sent = this.#sendPlain(this.#control, 0);
    const isDone = sent === this.#control.length;
    this.#control = isDone ? NOTHING : this.#control.subarray(sent);
    return isDone || this.#block(false);
  }

  /** In the middle of a message it needs that to its end, whatever becomes of the topic's log. */
  #wait(): false {
    if (this.#sent === 0) this.#inHand = undefined;
    return this.#block(false);
  }

  /**
   * Sends the message as it usually goes, in one frame that follows others of its epoch, where nothing is in its way; false:
   * nothing was done. What it looks at is what it costs, for the state of a crowd is in no cache.
   */
  #sendAtOnce({ record, sequence }: Message, { shared }: Forms): boolean {
    if (shared === undefined || shared.epoch !== this.#epoch || shared.place !== this.#place) return false;
    if (shared.place === 0 || shared.ends || shared.payloads.length > 1 || sequence !== this.#next)
      return false;
    if (this.#control !== NOTHING || this.#end !== undefined) return false;
    const { length } = record;
    if (this.#flow.available(length) < length) return false;
    if (!(this.#stream as TopicStream).sendAtOnce(this.requestId, shared.payloads[0])) return false;
    this.#flow.take(length);
    this.#next++;
    this.#place++;
    return true;
  }

  /** Sends as much of the message as may go; true: that was all of it. */
  #send(message: Message, forms: Forms | undefined): boolean {
    const { record } = message;
    if (this.#sent === 0) this.#source = this.#choose(forms);
    this.#inHand = message;
    while (this.#sent < record.length) {
      if (this.#source !== undefined) {
        const sent = this.#sendEncoded(this.#source, record);
        if (sent < 0) return this.#wait();
        if (sent > 0) continue;
      }
      const sent = this.#sendPlain(record, this.#sent);
      if (sent === 0) return this.#wait();
      this.#sent += sent;
    }
    this.#inHand = undefined;
    this.#sent = 0;
    this.#next++;
    return true;
  }

  /** The payloads that its decoder can take; undefined: the message goes as it is. */
  #choose(forms: Forms | undefined): EncodedRecord | undefined {
    if (forms?.shared === undefined && forms?.alone === undefined) return undefined;
    const stream = this.#findStream();
    const { shared, alone } = forms;
    if (stream === undefined || stream.isShared) this.encoding.standAside(this);
    else this.encoding.comeBack(this);
    if (stream !== undefined && !stream.isShared && shared !== undefined) {
      if (shared.place === 0) {
        this.#epoch = shared.epoch;
        this.#place = 0;
        return shared;
      }
      if (shared.epoch === this.#epoch && shared.place === this.#place) return shared;
    }
    if (shared !== undefined) this.#miss(shared.epoch);
    else this.#epoch = 0;
    return stream === undefined ? undefined : alone;
  }

  #miss(epoch: number): void {
    this.#epoch = 0;
    this.encoding.missed(this, epoch);
  }

  #findStream(): TopicStream | undefined {
    const { topicStreams } = this.#request.session;
    this.#stream ??= topicStreams?.own(this);
    if (this.#stream === undefined && this.encoding.canBeginAfresh) this.#stream = topicStreams?.shared(this);
    return this.#stream;
  }

  /**
   * Sends the next payload. Returns the bytes of the record that it stands for; −1: it has to wait; 0: what is left of a
   * window does not hold it, and a peer need not grant more before that is used up, so the rest goes as it is.
   */
  #sendEncoded(source: EncodedRecord, record: Uint8Array): number {
    const stream = this.#stream as TopicStream;
    const { pieceSize } = this.encoding;
    const length = Math.min(pieceSize, record.length - this.#sent);
    if (this.#flow.available(length) < length) {
      if (!this.#flow.isShortOfCredit(length)) return -1;
      this.#source = undefined;
      this.#miss(source.epoch);
      return 0;
    }
    const at = this.#sent / pieceSize;
    const { encoding } = this;
    const isStart = at === 0 && source.place === 0;
    if (isStart || source.epoch === 0) stream.begin(encoding.profile, source.settings);
    this.#flow.take(length);
    stream.send(this.requestId, source.payloads[at].bytes, this.#topic.flushes);
    this.#sent += length;
    const isLast = this.#sent === record.length;
    if (source.epoch !== 0) {
      stream.isMidEpoch = !(isLast && source.ends);
      if (isLast) this.#place = source.place + 1;
    }
    return length;
  }

  /** Sends as much of `bytes` from `at` on as may go in one frame; returns how much. */
  #sendPlain(bytes: Uint8Array, at: number): number {
    const { session } = this.#request;
    const length = this.#flow.available(Math.min(bytes.length - at, session.router.options.frameSize));
    if (length === 0) return 0;
    this.#flow.take(length);
    const piece = bytes.subarray(at, at + length);
    session.sendPlain(this.requestId, FrameType.bytesResponse, BytesResponseFlag.continuation, piece);
    return length;
  }

  /** Waits until more can be sent; `forWriter`: until the transport has taken what it has. */
  #block(forWriter: boolean): false {
    this.#isBlocked = true;
    this.#topic.behind(this, true);
    if (forWriter) this.#flow.waitForRoom(this.#resume);
    else this.#flow.wait(this.#resume);
    return false;
  }

  readonly #resume = (): void => {
    if (this.#isOver || !this.#isBlocked) return;
    this.#isBlocked = false;
    this.#pump();
    if (!this.#isBlocked && !this.#isOver) this.#topic.behind(this, false);
  };

  streamGone(): void {
    this.#stream = undefined;
    // What is left of the message in hand goes as it is.
    this.#source = undefined;
    this.#miss(this.#epoch);
    this.encoding.comeBack(this);
  }

  // ------------------------------------------------------------------------------------------- the end

  #checkEnd(): void {
    if (this.#end === undefined || this.#isOver || this.#next <= this.#end.last) return;
    const { told, failure } = this.#end;
    if (this.#next <= told) this.#tellGap(told + 1 - this.#next, told + 1);
    if (!this.#sendControl()) return;
    if (failure !== undefined) this.#fail(failure);
    else this.#finish(FrameType.bytesResponse, BytesResponseFlag.eos, NOTHING);
  }

  #fail(failure: Failure): void {
    const { errorDetail, router } = this.#request.session;
    const payload = encodeFailure(failure, errorDetail, router.options.frameSize);
    this.#finish(FrameType.errorResponse, ErrorResponseFlag.application, payload);
  }

  /** Sends the last frame, which ends the stream, too, unless others are on it. */
  #finish(type: number, flags: number, payload: Uint8Array): void {
    const stream = this.#stream;
    this.#stream = undefined;
    const { session } = this.#request;
    if (stream !== undefined && session.topicStreams?.leave(stream, this))
      stream.finish(this.requestId, type, flags, payload);
    else session.sendPlain(this.requestId, type, flags, payload);
    this.#request.end();
  }

  stop(failure: Failure | undefined): void {
    if (failure === undefined) this.#request.end();
    else this.#fail(failure);
  }

  drain(reason: string): void {
    this.endAfterNewest({ code: SHUTTING_DOWN, message: reason });
  }

  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#stream !== undefined) this.#request.session.topicStreams?.leave(this.#stream, this);
    this.#stream = undefined;
    this.#topic.left(this);
  }
}
