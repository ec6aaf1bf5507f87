/**
 * A subscription (protocol C10) as server-sent events: each message one, its number the event's ID, so that a page's EventSource
 * goes on after the newest that it has, or where it began if it has none. What is no text is an event named `base64`; messages
 * that were lost are one named `gap`.
 */

import type { IncomingMessage } from 'node:http';
import type { Answer } from '../server/answer-feed.ts';
import type { Progress, ReceivedFailure } from '../wire/payloads.ts';
import { MAX_MESSAGE_BYTES, type TopicGap, type TopicMessage, TopicReader } from '../wire/topic-records.ts';
import { encodeUtf8 } from '../wire/utf8.ts';
import type { EventSink } from './event-sink.ts';

type Arguments = ReadonlyMap<string, Uint8Array>;

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class TopicEvents implements Answer {
  readonly #events: EventSink;
  // Of ours alone: who publishes is held to its limits.
  readonly #reader: TopicReader;
  #begun = false;

  /** `args`: what the subscription is asked for with. */
  constructor(events: EventSink, args: Arguments) {
    this.#events = events;
    const after = args.get('after');
    const next = after === undefined ? 0 : Number(Buffer.from(after).toString()) + 1;
    const from = Number.isSafeInteger(next) ? next : 0;
    const tellGap = (gap: TopicGap) => events.event(JSON.stringify(gap), { name: 'gap' });
    this.#reader = new TopicReader(MAX_MESSAGE_BYTES, from, tellGap);
  }

  bytes(bytes: Uint8Array, last: boolean): void {
    for (const message of this.#reader.read(bytes)) this.#send(message);
    if (this.#reader.position !== undefined) this.#begin(this.#reader.position);
    if (last) this.#events.bytes(new Uint8Array(0), true);
  }

  text(text: string): void {
    this.#events.text(text);
  }

  progress(progress: Progress): void {
    this.#events.progress(progress);
  }

  fail(failure: ReceivedFailure): void {
    this.#events.fail(failure);
  }

  flush(taken: () => void): void {
    this.#events.flush(taken);
  }

  /** There may be no message for long: it knows that it is subscribed, and from where on. */
  #begin(position: number): void {
    if (!this.#begun) this.#events.id(String(position - 1));
    this.#begun = true;
  }

  #send({ sequence, data }: TopicMessage): void {
    this.#begin(sequence);
    const id = String(sequence);
    try {
      this.#events.event(strictUtf8.decode(data), { id });
    } catch {
      this.#events.event(Buffer.from(data).toString('base64'), { id, name: 'base64' });
    }
  }
}

/** The arguments of who has been here before: an EventSource says by a header which event was its last. */
export function resumedBy({ headers }: IncomingMessage, args: Arguments): Arguments {
  const last = headers['last-event-id'];
  if (typeof last !== 'string' || !/^\d{1,20}$/.test(last)) return args;
  return new Map(args).set('after', encodeUtf8(last));
}
