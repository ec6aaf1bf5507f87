/** The topics of a server, and the commands by which peers use them (protocol C10). */

import type { CommandRequest } from '../reactor/command.ts';
import { failureOf } from '../reactor/failure-of.ts';
import { checkArguments } from '../reactor/known-arguments.ts';
import type { Run, ServedRequest } from '../server/request.ts';
import { CommandError, ConnectionError } from '../wire/errors.ts';
import type { Failure } from '../wire/failure.ts';
import { joined } from '../wire/joined.ts';
import { MAX_TOPIC_NAME } from '../wire/topic-records.ts';
import { checkTopicName, checkTopicOptions, type TopicOptions } from './options.ts';
import { SHUTTING_DOWN, type SlowChoice, Subscription } from './subscription.ts';

import {
  LiveTopic,
  type Numbering,
  type Topic,
  type TopicContext,
  TopicFace,
  type TopicRow,
} from './topic.ts';

/** What joins topics with those of other processes. */
export interface Relay {
  /** @throws Error when there can be none on this machine. */
  load(): Promise<unknown>;
  join(topic: LiveTopic, history: number): Numbering;
  close(): Promise<void>;
}

/** Bytes of the messages, all together, that peers are in the middle of publishing. */
const MAX_COLLECTED = 64 << 20;
const NOT_MADE = 'internal error: the subscription could not be made';

export class Topics {
  #collected = 0;
  readonly #context: TopicContext;
  readonly #relay: Relay | undefined;
  readonly #topics = new Map<string, { readonly topic: LiveTopic; readonly face: Topic }>();
  #takesNew = true;

  constructor(context: TopicContext, relay?: Relay) {
    this.#context = context;
    this.#relay = relay;
  }

  /**
   * The topic of this name, made if there is none. @throws TypeError that names what is wrong; Error when there is one and
   * options are given, or when there is none and the server is closed.
   */
  topic(name: string, options?: TopicOptions): Topic {
    checkTopicName(name);
    const known = this.#topics.get(name);
    if (known !== undefined && options === undefined) return known.face;
    if (known !== undefined) throw new Error(`there is a topic '${name}' already: its options are settled`);
    const checked = checkTopicOptions(options ?? {});
    if (!this.#takesNew) throw new Error('the server is closed');
    const topic = new LiveTopic(name, checked, this.#context);
    topic.numbering = this.#relay?.join(topic, checked.history);
    const face = new TopicFace(topic, () => this.#close(topic));
    this.#topics.set(name, { topic, face });
    return face;
  }

  get rows(): TopicRow[] {
    return [...this.#topics.values()].map(({ topic }) => topic.row);
  }

  /** @throws Error when nothing can ever join them with those of other processes, though something was to. */
  async load(): Promise<void> {
    await this.#relay?.load();
  }

  /** The server takes no new subscribers; who is still at work may publish to the topics that there are. */
  drain(): void {
    this.#takesNew = false;
  }

  /** Knows no topic any more, and ends what joins them with those of other processes. */
  async close(): Promise<void> {
    this.#topics.clear();
    await this.#relay?.close();
  }

  #close(topic: LiveTopic): void {
    if (this.#topics.get(topic.name)?.topic === topic) this.#topics.delete(topic.name);
    topic.close();
  }

  /** @throws CommandError when the argument `topic` names none. */
  find(args: ReadonlyMap<string, Uint8Array>): LiveTopic {
    const name = nameOf(args.get('topic'));
    const known = this.#topics.get(name);
    if (known === undefined) throw new CommandError(`there is no topic '${name}'`, { code: 'not-found' });
    return known.topic;
  }

  // ---------------------------------------------------------------------------------------- commands

  /** What runs the command `subscribe`. */
  readonly subscribe = (request: ServedRequest): Run => new SubscribeRun(this, request);

  /** The handler of the command `publish`. */
  readonly publish = async (request: CommandRequest): Promise<string> => {
    // By HTTP a form or JSON is arguments: without this a message of nothing would be published.
    checkArguments(request, ['topic']);
    const topic = this.find(request.args);
    const message = await this.#collect(request.data);
    if (topic.isClosed) throw closedMeanwhile();
    try {
      return String(await topic.publish(message));
    } catch (error) {
      throw error instanceof ConnectionError ? relayFailed(error) : error;
    }
  };

  /** A message, whole. What all that come at a time hold is bounded, for their data counts as read. */
  async #collect(data: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
    const { maxMessageBytes } = this.#context;
    const pieces: Uint8Array[] = [];
    let length = 0;
    try {
      for await (const piece of data) {
        length += piece.length;
        this.#collected += piece.length;
        if (length > maxMessageBytes)
          throw invalid(`maxMessageBytes: a message has at most ${maxMessageBytes} bytes`);
        if (this.#collected > Math.max(MAX_COLLECTED, maxMessageBytes))
          throw new CommandError('too many messages are being published', { code: 'overloaded' });
        pieces.push(piece);
      }
    } finally {
      this.#collected -= length;
    }
    return pieces.length === 1 ? pieces[0] : joined(pieces);
  }
}

/** The command `subscribe`, until it has a topic, and then what it is subscribed by. */
class SubscribeRun implements Run {
  readonly #topics: Topics;
  readonly #request: ServedRequest;
  #subscription: Subscription | undefined;
  /** The topic that it is to be subscribed to, or is. */
  #topic: LiveTopic | undefined;
  #drainReason: string | undefined;

  constructor(topics: Topics, request: ServedRequest) {
    this.#topics = topics;
    this.#request = request;
  }

  /** Where the topic is joined with those of others it waits until that has come about: only then are there numbers. */
  start(): void {
    this.#attempt(() => {
      const topic = this.#topics.find(this.#request.args);
      const after = afterOf(this.#request.args.get('after'));
      this.#topic = topic;
      if (topic.numbering === undefined) this.#begin(topic);
      else topic.numbering.whenReady(after ?? 0, this.#goOn);
    });
  }

  readonly #goOn = (): void => {
    const topic = this.#topic;
    if (topic !== undefined) this.#attempt(() => this.#begin(topic));
  };

  #attempt(run: () => void): void {
    try {
      run();
    } catch (error) {
      const { session, command } = this.#request;
      this.#request.fail(failureOf(error, NOT_MADE, (broken) => session.report(broken, command.name)));
    }
  }

  #begin(topic: LiveTopic): void {
    const request = this.#request;
    if (topic.isClosed) throw closedMeanwhile();
    const next = topic.nextAfter(afterOf(request.args.get('after')));
    const slow = slowOf(request.args.get('slow'));
    const encoding = topic.encodingFor(request);
    this.#subscription = new Subscription(topic, encoding, request, next, slow);
    topic.join(this.#subscription);
    if (this.#drainReason !== undefined) this.drain(this.#drainReason);
  }

  push(bytes: Uint8Array): void {
    this.#request.flow.data.read(bytes.length);
  }

  stop(failure: Failure | undefined): void {
    if (this.#subscription === undefined) this.#request.fail(failure);
    else this.#subscription.stop(failure);
  }

  drain(reason: string): void {
    this.#drainReason = reason;
    if (this.#subscription !== undefined) this.#subscription.drain(reason);
    // What it waits for may never come, and nothing of it has run.
    else if (this.#topic !== undefined) this.#request.fail({ code: SHUTTING_DOWN, message: reason });
  }

  /** It begins to run where it is asked for; no lane has its stream. */
  readonly begun = true;
  retract(): boolean {
    return false;
  }
  lose(): void {}

  leaveLane(): boolean {
    return false;
  }

  moveTo(): void {}

  onFrame(): void {}
  onRecord(): void {}

  end(): void {
    this.#topic?.numbering?.forget(this.#goOn);
    this.#subscription?.end();
  }
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function nameOf(value: Uint8Array | undefined): string {
  if (value === undefined) throw invalid("the argument 'topic' is missing");
  if (value.length === 0 || value.length > MAX_TOPIC_NAME)
    throw invalid(`a topic's name has 1 to ${MAX_TOPIC_NAME} bytes, not ${value.length}`);
  try {
    return strictUtf8.decode(value);
  } catch {
    throw invalid("a topic's name is UTF-8");
  }
}

/** Numbers that no message has had, however large, are those of what is to come. */
function afterOf(value: Uint8Array | undefined): number | undefined {
  if (value === undefined) return undefined;
  const text = value.length <= 20 ? strictAscii(value) : '';
  if (!/^\d{1,20}$/.test(text)) throw invalid("the argument 'after' is a decimal number");
  return Number(text);
}

function slowOf(value: Uint8Array | undefined): SlowChoice {
  const text = value === undefined ? 'skip' : strictAscii(value);
  if (text !== 'skip' && text !== 'cancel') throw invalid("the argument 'slow' is 'skip' or 'cancel'");
  return text;
}

function strictAscii(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes.subarray(0, 32));
}

function closedMeanwhile(): CommandError {
  return new CommandError('the topic was closed meanwhile', { code: 'not-found' });
}

/** What a peer is told of a relay: nothing of where it is, or what it says. */
function relayFailed({ notStarted }: ConnectionError): CommandError {
  return notStarted
    ? new CommandError('the relay of the topics takes nothing now', { code: 'overloaded' })
    : new CommandError('the relay of the topics has not answered: the message may have been published', {
        code: 'relay-lost',
      });
}

function invalid(message: string): CommandError {
  return new CommandError(message, { code: 'invalid-argument' });
}
