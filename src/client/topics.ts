/** Topics as a client uses them (protocol C10): subscriptions that are read message by message, and publishing. */

import { callable, checkOptions, integer, oneOf, type Rules, string } from '../options/rules.ts';
import { type Bytes, bytesOrTextOf, kindOf } from '../wire/bytes.ts';
import { ProtocolError } from '../wire/errors.ts';
import { asError, watchRejection } from '../wire/thrown.ts';
import { after } from '../wire/timers.ts';
import { MAX_MESSAGE_BYTES, type TopicGap, type TopicMessage, TopicReader } from '../wire/topic-records.ts';
import { decodeUtf8 } from '../wire/utf8.ts';
import { backoff } from './backoff.ts';
import { errorOfReason, leftBy, notReadToItsEnd, readAlready } from './given-up.ts';
import { CALL_RULES, type CallOptions } from './options.ts';
import type { Responding } from './response.ts';

/** Options of `publish`. */
export type PublishOptions = Pick<CallOptions, 'signal' | 'authorization' | 'deadlineMs'>;

/** Options of `subscribe` (protocol C10). */
export interface SubscribeOptions extends Pick<CallOptions, 'signal' | 'authorization' | 'sensitive'> {
  /**
   * The sequence number of the last message that one has: those after it come first, as far as the topic's history has them. Where
   * the topic has had none of that number its server has begun anew, and what it has had since is told as lost.
   */
  after?: number;
  /**
   * What is to become of a subscription that takes messages more slowly than they are published for long: it misses some and
   * is told how many (`skip`, the default), or it fails with the code `too-slow` (`cancel`).
   */
  slow?: 'skip' | 'cancel';
  /**
   * Told of messages that were lost, each once, before the next one comes. One that throws, or whose promise rejects, fails the
   * subscription.
   */
  onGap?: (gap: TopicGap) => void;
  /** Most bytes of one message; default 1 MiB. A longer one fails the subscription. */
  maxBytes?: number;
}

const SUBSCRIBE_RULES: Rules<SubscribeOptions> = {
  signal: CALL_RULES.signal,
  authorization: CALL_RULES.authorization,
  sensitive: CALL_RULES.sensitive,
  after: integer(0),
  slow: oneOf(['skip', 'cancel']),
  onGap: callable,
  maxBytes: integer(0, MAX_MESSAGE_BYTES),
};

const PUBLISH_RULES: Rules<PublishOptions> = {
  signal: CALL_RULES.signal,
  authorization: CALL_RULES.authorization,
  deadlineMs: CALL_RULES.deadlineMs,
};

const DEFAULT_MAX_BYTES = 1 << 20;

/** A subscription to a topic: its messages, in order. */
export interface Subscription extends AsyncIterable<TopicMessage> {
  readonly topic: string;
  /**
   * Messages as they come, once; leaving the loop early ends the subscription. Numbers leave none out, but for those that
   * `lost` and `onGap` tell of. It ends when the topic is closed.
   * @throws CommandError with which the server ends it, such as `not-found`, `not-authorized`, `too-slow` and `shutting-down`;
   *   ConnectionError when the connection is lost, ProtocolError when what comes is no subscription. A pool goes on, on another
   *   connection and after the newest message, where it is no fault of the subscription's, however long that takes.
   */
  [Symbol.asyncIterator](): AsyncGenerator<TopicMessage, void, undefined>;
  /** Ends the subscription: its iteration fails with `reason`, and gives no more messages, come or not. */
  cancel(reason?: unknown): void;
}

/** Sends a command, as a client or a pool does. */
export type Caller = (command: string, options: CallOptions) => Responding;

/** How a subscription that has failed goes on, on another connection. */
export interface Resuming {
  /** Whether it may, after this error. */
  may(error: Error): boolean;
  /** Calls `listener` when it need not be tried any more; the function that is returned ends that. */
  onEnd(listener: () => void): () => void;
}

/** How often it may fail before anything has come, and the pauses before it is tried again, in milliseconds. */
const MAX_FAILURES = 8;
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 5000;

/** Subscribes at once. Never throws: a failure is in the iteration. `resuming`: how it goes on by itself; default: not. */
export function subscribe(
  call: Caller,
  topic: string,
  options: SubscribeOptions,
  resuming?: Resuming,
): Subscription {
  return new TopicSubscription(call, topic, options, resuming);
}

/** Publishes a message; resolves with its sequence number. @throws TypeError for what is none, and as a call does. */
export async function publish(
  call: Caller,
  topic: string,
  message: Bytes | string,
  options: PublishOptions,
): Promise<number> {
  checkOptions(options, PUBLISH_RULES, 'publish');
  string(topic, 'topic');
  const data = bytesOrTextOf(message);
  if (data === undefined)
    throw new TypeError(`a message is made of bytes or a string, not of ${kindOf(message)}`);
  const { signal, authorization, deadlineMs } = options;
  const answer = await call('publish', { args: { topic }, data, signal, authorization, deadlineMs }).whole();
  const text = decodeUtf8(answer);
  const sequence = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(sequence))
    throw new ProtocolError('bad-payload', 'publish: no sequence number');
  return sequence;
}

class TopicSubscription implements Subscription {
  readonly topic: string;
  readonly #call: Caller;
  readonly #options: SubscribeOptions;
  readonly #resuming: Resuming | undefined;
  #response: Responding | undefined;
  /** Why there is nothing to iterate. */
  #mistake: Error | undefined;
  #isTaken = false;
  #cancelled: { readonly reason: unknown } | undefined;
  #endPause: () => void = () => undefined;

  constructor(call: Caller, topic: string, options: SubscribeOptions, resuming?: Resuming) {
    this.topic = topic;
    this.#call = call;
    this.#resuming = resuming;
    this.#options = options;
    try {
      checkOptions(options, SUBSCRIBE_RULES, 'subscribe');
      string(topic, 'topic');
      this.#options = { ...options };
      this.#response = this.#subscribe(options.after);
    } catch (error) {
      this.#mistake = asError(error);
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<TopicMessage, void, undefined> {
    if (this.#isTaken) throw readAlready(`the subscription to '${this.topic}'`);
    this.#isTaken = true;
    return leftBy(this.#messages(), () => {
      this.cancel(notReadToItsEnd());
      void this.#response?.pieces().return();
    });
  }

  cancel(reason?: unknown): void {
    if (this.#cancelled !== undefined) return;
    this.#cancelled = { reason };
    this.#response?.cancel(reason);
    this.#endPause();
  }

  #subscribe(after: number | undefined): Responding {
    const { slow, signal, authorization, sensitive } = this.#options;
    const args = {
      topic: this.topic,
      ...(after === undefined ? {} : { after: String(after) }),
      ...(slow === undefined || slow === 'skip' ? {} : { slow }),
    };
    return this.#call('subscribe', { args, signal, authorization, sensitive });
  }

  async *#messages(): AsyncGenerator<TopicMessage, void, undefined> {
    if (this.#mistake !== undefined) throw this.#mistake;
    const { after: had, maxBytes = DEFAULT_MAX_BYTES } = this.#options;
    let next = had === undefined ? 0 : had + 1;
    let newest: number | undefined;
    let mostFailures = MAX_FAILURES;
    for (let failures = 0; ; ) {
      const reader = new TopicReader(maxBytes, next, this.#tellGap, newest);
      let isOurs = false;
      try {
        for await (const piece of (this.#response as Responding).pieces()) {
          // From now on it goes on for as long as its server may be away.
          mostFailures = Number.POSITIVE_INFINITY;
          failures = 0;
          isOurs = true;
          // Handing the generator on whole would take three times as many promises.
          for (const message of reader.read(piece)) {
            yield message;
            this.#throwIfGivenUp();
          }
          isOurs = false;
        }
        isOurs = true;
        reader.end();
        return;
      } catch (error) {
        if (isOurs || !this.#mayResume(asError(error)) || ++failures > mostFailures) throw error;
      }
      next = reader.next;
      newest = reader.had;
      await this.#pause(failures);
      this.#throwIfGivenUp();
      this.#response = this.#subscribe(next === 0 ? undefined : next - 1);
    }
  }

  #mayResume(error: Error): boolean {
    return !this.#isGivenUp && this.#resuming?.may(error) === true;
  }

  #throwIfGivenUp(): void {
    if (this.#isGivenUp) throw errorOfReason((this.#cancelled ?? this.#options.signal)?.reason, false);
  }

  get #isGivenUp(): boolean | undefined {
    return this.#cancelled !== undefined || this.#options.signal?.aborted;
  }

  /** Ends early with the subscription, and with whoever sends its calls. */
  async #pause(failures: number): Promise<void> {
    const { signal } = this.#options;
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const timer = after(backoff(failures, FIRST_PAUSE_MS, MAX_PAUSE_MS), resolve as () => void);
    const off = this.#resuming?.onEnd(resolve as () => void);
    signal?.addEventListener('abort', resolve);
    this.#endPause = resolve as () => void;
    await promise;
    clearTimeout(timer);
    off?.();
    signal?.removeEventListener('abort', resolve);
  }

  readonly #tellGap = (gap: TopicGap): void => {
    watchRejection(this.#options.onGap?.(gap), (error) => this.cancel(error));
  };
}
