/** A topic: messages for whoever subscribes, numbered from 1 on, encoded once for all (protocol C10). */

import type { Turns } from '../connection/turns.ts';
import type { EncoderOptions } from '../encoding/codec.ts';
import { BROWSER_WINDOW_LOG, IDENTITY, ZLIB, ZSTD, ZSTD_DICT } from '../encoding/profiles.ts';
import { type ContextShape, windowLogOf, withinWindow } from '../lanes/context-cost.ts';
import type { LanePool } from '../lanes/pool.ts';
import type { FlushQueue } from '../reactor/flush-queue.ts';
import type { ServedRequest } from '../server/request.ts';
import { type Bytes, bytesOrTextOf, kindOf } from '../wire/bytes.ts';
import type { Failure } from '../wire/failure.ts';
import { messageRecord } from '../wire/topic-records.ts';
import { Deliveries } from './deliveries.ts';
import { type EpochBounds, TopicEncoding } from './encoding.ts';
import { type Forms, Message } from './message.ts';
import { MessageLog } from './message-log.ts';
import type { CheckedTopicOptions } from './options.ts';
import type { SlowChoice, SubscribedTopic, Subscription } from './subscription.ts';

/** A topic of a server, as its user sees it. */
export interface Topic {
  readonly name: string;
  /** The sequence number of the newest message; 0 before the first. */
  readonly sequence: number;
  /** Who is subscribed, on any connection of this server. */
  readonly subscribers: number;
  /**
   * Sends a message, which is copied, to all subscribers; text goes as UTF-8. Returns its sequence number, with a relay a
   * promise of it. @throws TypeError for what is no bytes, RangeError for a message over `limits.maxMessageBytes`, Error when
   * the topic is closed.
   */
  publish(message: Bytes | string): number | Promise<number>;
  /** Ends all subscriptions once they have got what was published; the server knows the topic no more. */
  close(): void;
}

/** What all topics of a server share. */
export interface TopicContext {
  readonly pool: () => LanePool;
  readonly encoderOptions: ReadonlyMap<string, EncoderOptions>;
  /** Most bytes of a record that one payload stands for. */
  readonly pieceSize: number;
  /** ID of the dictionary for peers that hold it. */
  readonly dictionary: string | undefined;
  readonly flushes: FlushQueue;
  /** In which a crowd of subscribers is sent to. */
  readonly turns: Turns;
  readonly maxMessageBytes: number;
  readonly maxBacklogBytes: number;
  readonly report: (error: unknown) => void;
}

/** Figures of one topic. */
export interface TopicRow {
  topic: string;
  sequence: number;
  subscribers: number;
  /** Subscribers that have not taken all that they could have been sent. */
  behind: number;
  /** Messages that are kept, and their bytes, those of their encoded forms among them. */
  messages: number;
  bytes: number;
  /** How often encoders were called. */
  encodes: number;
}

/** How a topic's messages get their numbers, where other processes publish to it, too. */
export interface Numbering {
  /**
   * Calls `goOn` when the topic has what was published before, or is closed: at once where it has. It may have less than
   * other servers had, of whose messages one has had that of number `had`.
   */
  whenReady(had: number, goOn: () => void): void;
  /** `goOn` is not to be called any more. */
  forget(goOn: () => void): void;
  publish(message: Uint8Array): Promise<number>;
  close(): void;
}

/** Profiles whose windows we know. */
const KNOWN: readonly string[] = [ZLIB, ZSTD, ZSTD_DICT];

export class LiveTopic implements SubscribedTopic {
  readonly name: string;
  /** Where it is joined with those of other processes. */
  numbering: Numbering | undefined;
  readonly #context: TopicContext;
  readonly #options: CheckedTopicOptions;
  readonly #log: MessageLog;
  readonly #encodings = new Map<string, TopicEncoding>();
  readonly #subscribers = new Map<TopicEncoding, Set<Subscription>>();
  readonly #behind = new Set<Subscription>();
  /** Those of them that are to be cancelled when they are too slow. */
  readonly #impatient = new Set<Subscription>();
  readonly #deliveries: Deliveries;
  /** Encoder calls of encodings that are closed. */
  #pastEncodes = 0;
  #sequence = 0;
  /** Number of the newest message that is, or was, there. */
  #newest = 0;
  #isClosed = false;

  constructor(name: string, options: CheckedTopicOptions, context: TopicContext) {
    this.name = name;
    this.#options = options;
    this.#context = context;
    this.#deliveries = new Deliveries(context.turns, () => this.#settleUnlessAwaited());
    const { history, historyBytes } = options;
    this.#log = new MessageLog({ history, historyBytes, backlogBytes: context.maxBacklogBytes });
  }

  get sequence(): number {
    return this.#sequence;
  }

  get newest(): number {
    return this.#newest;
  }

  get maxMessageBytes(): number {
    return this.#context.maxMessageBytes;
  }

  get flushes(): FlushQueue {
    return this.#context.flushes;
  }

  get subscribers(): number {
    let count = 0;
    for (const subscribers of this.#subscribers.values()) count += subscribers.size;
    return count;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get row(): TopicRow {
    const encodes = [...this.#encodings.values()].reduce(
      (sum, each) => sum + each.encodes,
      this.#pastEncodes,
    );
    const { name: topic, sequence, subscribers } = this;
    const { count: messages, bytes } = this.#log;
    return { topic, sequence, subscribers, behind: this.#behind.size, messages, bytes, encodes };
  }

  // ----------------------------------------------------------------------------------------- publishing

  /** @throws as {@link Topic.publish} says. */
  publish(message: unknown): number | Promise<number> {
    if (this.#isClosed) throw new Error(`the topic '${this.name}' is closed`);
    const bytes = bytesOrTextOf(message);
    if (bytes === undefined)
      throw new TypeError(`a message is made of bytes or a string, not of ${kindOf(message)}`);
    const { maxMessageBytes } = this;
    if (bytes.length > maxMessageBytes)
      throw new RangeError(`maxMessageBytes: a message of ${bytes.length} bytes is over ${maxMessageBytes}`);
    if (this.numbering !== undefined) {
      const number = this.numbering.publish(bytes);
      // Who wants to know looks at the promise itself.
      number.catch(() => undefined);
      return number;
    }
    this.deliver(this.#sequence + 1, bytes);
    return this.#sequence;
  }

  /** A message has its number, above that of the one before. Its bytes are copied, where anybody is to get them. */
  deliver(sequence: number, bytes: Uint8Array): void {
    this.#sequence = sequence;
    this.#newest = sequence;
    if (this.#encodings.size === 0 && this.#options.history === 0) return;
    const message = new Message(sequence, messageRecord(bytes));
    this.#log.append(message);
    if (this.#encodings.size === 0) this.#log.settle(sequence);
    for (const encoding of this.#encodings.values()) encoding.publish(message);
    this.#dropSlow();
  }

  /** Numbers up to `sequence` are taken, by messages that this process has missed. */
  missed(sequence: number): void {
    this.#sequence = Math.max(this.#sequence, sequence);
  }

  /** The message is there in the profile of `encoding`. */
  #ready(encoding: TopicEncoding, message: Message, forms: Forms, more: boolean): void {
    const rest = this.#subscribers.get(encoding)?.values() ?? [].values();
    this.#deliveries.add({ message, forms, more, rest });
    // Who catches up meanwhile takes it from the log.
    if (this.#isAwaited) this.#log.keepForms(message, encoding.profile, forms);
  }

  finishDeliveries(): void {
    this.#deliveries.finish();
  }

  /** Some have not got all that is there. */
  get #isAwaited(): boolean {
    return this.#behind.size > 0 || this.#deliveries.areOpen;
  }

  #settleUnlessAwaited(): void {
    if (!this.#isAwaited) this.#settle();
  }

  #settle(): void {
    let settled = this.#sequence;
    for (const { readySequence } of this.#encodings.values()) settled = Math.min(settled, readySequence);
    this.#log.settle(settled);
  }

  #dropSlow(): void {
    const { oldest } = this;
    if (this.#impatient.size === 0 || oldest === undefined) return;
    for (const subscription of this.#impatient) subscription.oldestGone(oldest.sequence);
  }

  // ---------------------------------------------------------------------------------------- subscribers

  /** How the messages go to the peer of `request`. */
  encodingFor(request: ServedRequest): TopicEncoding {
    return this.#encoding(this.#profileFor(request));
  }

  /** Encoded, where it decodes that and takes such pieces and windows; with the dictionary, where it holds that. */
  #profileFor({ session, sensitive }: ServedRequest): string {
    const { profile, frameSize, maxWindowLog, holds } = session.router.options;
    const { dictionary, pieceSize } = this.#context;
    if (sensitive || frameSize < pieceSize) return IDENTITY;
    if (maxWindowLog !== undefined && this.#windowLogOf(profile) > maxWindowLog) return IDENTITY;
    return profile === ZSTD && dictionary !== undefined && holds(dictionary) ? ZSTD_DICT : profile;
  }

  /** Of what is encoded once for all, browsers among them. */
  #shapeOf(profile: string): ContextShape {
    const { encoderOptions, dictionary } = this.#context;
    const isWithDictionary = profile === ZSTD_DICT;
    const shape = encoderOptions.get(isWithDictionary ? ZSTD : profile) ?? {};
    if (profile !== ZSTD && !isWithDictionary) return shape;
    return withinWindow(ZSTD, isWithDictionary ? { ...shape, dictionary } : shape, BROWSER_WINDOW_LOG);
  }

  /** 0: nothing is known of it. */
  #windowLogOf(profile: string): number {
    return KNOWN.includes(profile) ? windowLogOf(profile, this.#shapeOf(profile)) : 0;
  }

  moves(subscription: Subscription, request: ServedRequest): boolean {
    const { encoding } = subscription;
    const profile = this.#profileFor(request);
    if (profile === encoding.profile) return false;
    const better = this.#encoding(profile);
    // With what it says of itself as a member there: whether it waits.
    this.#leave(subscription, encoding);
    subscription.moveTo(better);
    this.#join(subscription);
    return true;
  }

  #encoding(profile: string): TopicEncoding {
    const known = this.#encodings.get(profile);
    if (known !== undefined) return known;
    const { pool, pieceSize, report } = this.#context;
    const encoding: TopicEncoding = new TopicEncoding(
      {
        pool,
        profile,
        shape: this.#shapeOf(profile),
        epoch: this.#options.epoch,
        pieceSize,
        report,
        ready: (message, forms, more) => this.#ready(encoding, message, forms, more),
      },
      this.#sequence,
    );
    this.#encodings.set(profile, encoding);
    this.#subscribers.set(encoding, new Set());
    return encoding;
  }

  /** Number of the first message for who has had all up to `after`; undefined: who wants what comes from now on. */
  nextAfter(after: number | undefined): number {
    return Math.min(after ?? this.#sequence, this.#sequence) + 1;
  }

  join(subscription: Subscription): void {
    this.#join(subscription);
    subscription.begin();
  }

  #join(subscription: Subscription): void {
    subscription.encoding.join(subscription);
    this.#subscribers.get(subscription.encoding)?.add(subscription);
  }

  get oldest(): Message | undefined {
    return this.#log.oldest;
  }

  message(sequence: number): Message | undefined {
    return this.#log.get(sequence);
  }

  behind(subscription: Subscription, isBehind: boolean): void {
    if (isBehind) this.#behind.add(subscription);
    else this.#behind.delete(subscription);
    if (isBehind && subscription.slow === 'cancel') this.#impatient.add(subscription);
    else this.#impatient.delete(subscription);
    this.#settleUnlessAwaited();
  }

  left(subscription: Subscription): void {
    this.#leave(subscription, subscription.encoding);
    this.behind(subscription, false);
    if (this.#encodings.size === 0) this.#settle();
  }

  #leave(subscription: Subscription, encoding: TopicEncoding): void {
    this.#subscribers.get(encoding)?.delete(subscription);
    encoding.leave(subscription);
    if (!encoding.isEmpty) return;
    encoding.close();
    this.#pastEncodes += encoding.encodes;
    this.#encodings.delete(encoding.profile);
    this.#subscribers.delete(encoding);
  }

  // ------------------------------------------------------------------------------------------- the end

  /** Ends all subscriptions once they have got what was published: with `failure`, or well. */
  close(failure?: Failure): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.numbering?.close();
    for (const subscribers of this.#subscribers.values())
      for (const subscription of subscribers) subscription.endAfterNewest(failure);
  }
}

/** Shows of a topic what its user may see. */
export class TopicFace implements Topic {
  readonly #topic: LiveTopic;
  readonly #close: () => void;

  /** `close`: closes the topic, and has the server forget it. */
  constructor(topic: LiveTopic, close: () => void) {
    this.#topic = topic;
    this.#close = close;
  }

  get name(): string {
    return this.#topic.name;
  }

  get sequence(): number {
    return this.#topic.sequence;
  }

  get subscribers(): number {
    return this.#topic.subscribers;
  }

  publish(message: Bytes | string): number | Promise<number> {
    return this.#topic.publish(message);
  }

  close(): void {
    this.#close();
  }
}

export type { EpochBounds, SlowChoice };
