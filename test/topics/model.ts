/**
 * A topic under all that can happen to it at once, by a seed: subscribers of every kind join, leave, read slowly and resume,
 * workers die, epochs have every length. What each subscriber is given is held against what was published.
 */

import { readFileSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import {
  type Client,
  CommandError,
  type ConnectOptions,
  type Subscription,
  type TopicGap,
} from '../../src/index.ts';
import { numbers } from '../helpers/random.ts';
import { reach, serve } from '../helpers/serving.ts';

const DICTIONARY = new Uint8Array(readFileSync(new URL('../fixtures/mill.dict', import.meta.url)));
const FAILING = new URL('../fixtures/lane-commands.ts', import.meta.url);

/** Message `sequence` of a topic, by its number alone. */
export function messageOf(sequence: number): Uint8Array {
  const next = numbers(sequence);
  const size = [0, 1, 139, 268, 900, 6600, 33_000, 70_000][(next() % 64) % (next() % 4 === 0 ? 8 : 5)];
  const text = `message ${sequence} of the model, which is much like the ones before it; `;
  return Buffer.alloc(size, text);
}

/** What one subscriber has been given. */
class Reader {
  readonly subscription: Subscription;
  readonly slow: 'skip' | 'cancel';
  readonly gaps: TopicGap[] = [];
  last: number | undefined;
  lost = 0;
  wrong: string | undefined;
  readonly ended: Promise<Error | undefined>;
  #gate = Promise.withResolvers<void>();

  constructor(client: Client, after: number | undefined, slow: 'skip' | 'cancel') {
    this.last = after;
    this.slow = slow;
    this.subscription = client.subscribe('model', {
      after,
      slow,
      onGap: (gap) => {
        this.gaps.push(gap);
      },
    });
    this.#gate.resolve();
    this.ended = this.#read();
  }

  /** Whether it may have ended with `error`. */
  mayEndBy(error: Error): boolean {
    // Who asks by the published frames alone is told no codes.
    if (this.slow === 'cancel' && error instanceof CommandError && /^too slow/.test(error.message))
      return true;
    return /cancelled|closed/.test(error.message);
  }

  /** Reads nothing until {@link goOn}. */
  pause(): void {
    this.#gate.resolve();
    this.#gate = Promise.withResolvers();
  }

  goOn(): void {
    this.#gate.resolve();
  }

  async #read(): Promise<Error | undefined> {
    try {
      for await (const { sequence, data, lost = 0 } of this.subscription) {
        await this.#gate.promise;
        this.#check(sequence, data, lost);
      }
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }

  #check(sequence: number, data: Uint8Array, lost: number): void {
    this.lost += lost;
    if (this.last !== undefined && sequence !== this.last + 1 + lost)
      this.wrong ??= `${sequence} came after ${this.last} with ${lost} lost`;
    if (Buffer.compare(data, messageOf(sequence)) !== 0) this.wrong ??= `message ${sequence} has other bytes`;
    if (lost > 0 && this.gaps.at(-1)?.sequence !== sequence)
      this.wrong ??= `${lost} lost before ${sequence}, and nobody was told`;
    this.last = sequence;
  }
}

/** The kinds of clients: every decoder there is, windows that hold little, and none. */
const KINDS: readonly ConnectOptions[] = [
  {},
  {},
  { codecs: 'portable' },
  { profiles: ['zlib'] },
  { profiles: ['zlib'], codecs: 'portable' },
  { profiles: [] },
  { plain: true },
  { requestWindow: 3000 },
  { connectionWindow: 5000, requestWindow: 20_000 },
  { limits: { maxPayload: 2000 } },
];

/** Plays `steps` steps by `seed`; throws what is wrong. */
export async function play(
  t: ExecutionContext,
  seed: number,
  steps: number,
): Promise<{ gaps: number; read: number }> {
  const next = numbers(seed);
  const below = (count: number) => next() % count;
  const isShort = below(2) === 0;
  const { server, address } = await serve({
    workers: 2,
    // Where that is little encoders have no room for a context while those of other topics are at work.
    ...(isShort && { contextMemory: 7 << 20 }),
    limits: { maxTopicBacklog: 1000 + below(4) * 50_000 },
    commands: { die: { module: FAILING, export: 'die' } },
    dictionaries: below(2) === 0 ? [] : [{ bytes: DICTIONARY, commands: ['subscribe'] }],
  });
  const history = [0, 0, 5, 200][below(4)];
  const topic = server.topic('model', {
    history,
    epoch: { messages: 1 + below(20), bytes: 1000 * (1 + below(100)) },
  });
  const others = Array.from({ length: isShort ? 20 : 0 }, (_, i) => server.topic(`other ${i}`));
  const otherClient = await reach(address, {});
  for (const { name } of others) drained(otherClient.subscribe(name)).catch(() => undefined);
  const clients: Client[] = [];
  const readers: Reader[] = [];
  const current: Reader[] = [];
  const started = (reader: Reader) => {
    readers.push(reader);
    current.push(reader);
  };
  const slow = () => (below(4) === 0 ? 'cancel' : 'skip');
  const pick = <T>(list: readonly T[]): T | undefined => list[below(Math.max(1, list.length))];
  try {
    for (let step = 0; step < steps; step++) {
      const what = below(100);
      if (clients.length === 0 || (what < 5 && clients.length < 12))
        clients.push(await reach(address, KINDS[below(KINDS.length)]));
      else if (what === 5 && current.length < 40) {
        // More than have a stream of their own.
        const client = pick(clients) as Client;
        for (let i = 0; i < 20; i++) started(new Reader(client, undefined, 'skip'));
      } else if (what < 15 && current.length < 40)
        started(
          new Reader(pick(clients) as Client, below(2) === 0 ? undefined : below(topic.sequence + 1), slow()),
        );
      else if (what < 18 && current.length > 0) {
        // Resumes where it left, perhaps elsewhere.
        const [reader] = current.splice(below(current.length), 1);
        reader.goOn();
        reader.subscription.cancel();
        await reader.ended;
        started(new Reader(pick(clients) as Client, reader.last, slow()));
      } else if (what < 22) pick(current)?.pause();
      else if (what < 30) pick(current)?.goOn();
      else if (what < 31)
        await (pick(clients) as Client)
          .call('die', { args: { how: 'at once' } })
          .bytes()
          .catch(() => undefined);
      else if (what < 32 && clients.length > 1) await cut(clients.splice(below(clients.length), 1)[0]);
      else if (what < 34) {
        for (const other of others) other.publish('other '.repeat(50));
        topic.publish(messageOf(topic.sequence + 1));
      } else if (what < 40) await new Promise((resolve) => setImmediate(resolve));
      else if (what < 43) {
        const by = pick(clients) as Client;
        if (by.state === 'open') await by.publish('model', messageOf(topic.sequence + 1));
      } else for (let i = below(12); i >= 0; i--) topic.publish(messageOf(topic.sequence + 1));
      for (let i = current.length - 1; i >= 0; i--)
        if (!clients.some(({ state }) => state === 'open')) current.splice(i, 1);
    }
    // All that was subscribed is known.
    for (const client of clients) await client.call('capabilities').bytes();
    for (const reader of current) reader.goOn();
    topic.publish(messageOf(topic.sequence + 1));
    const { sequence } = topic;
    topic.close();
    for (const other of others) other.close();
    for (const reader of readers) {
      reader.goOn();
      const error = await reader.ended;
      if (reader.wrong !== undefined) throw new Error(`seed ${seed}: ${reader.wrong}`);
      if (error === undefined && reader.last !== sequence && (reader.last ?? 0) < sequence)
        if (history > 0 || reader.gaps.at(-1)?.sequence !== sequence + 1)
          throw new Error(`seed ${seed}: the last was ${reader.last}, not ${sequence}`);
      if (error !== undefined && !reader.mayEndBy(error))
        throw new Error(`seed ${seed}: ended by ${error.stack}`);
    }
    t.is((await server.stats()).topics.length, 0);
    const read = readers.reduce((sum, { last }) => sum + (last === undefined ? 0 : 1), 0);
    return { gaps: readers.reduce((sum, { lost }) => sum + lost, 0), read };
  } finally {
    for (const client of [otherClient, ...clients]) client.destroy();
    await server.close(0);
  }
}

/** Reads all there is. */
async function drained(subscription: Subscription): Promise<void> {
  for await (const _ of subscription);
}

/** Ends a connection without a word. */
async function cut(client: Client): Promise<void> {
  client.destroy();
  await client.closed;
}
