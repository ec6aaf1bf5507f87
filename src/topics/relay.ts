/**
 * Topics of several processes and machines as one, by way of Redis. A script numbers each message, keeps it in a stream and
 * tells all servers; who has missed some, because Redis was not to be reached, takes them from the stream, and what is not
 * there any more is a gap. No number is delivered twice.
 */

import type { Redis } from 'ioredis';
import { ConnectionError } from '../wire/errors.ts';
import { asError } from '../wire/thrown.ts';
import type { LiveTopic, Numbering } from './topic.ts';

/** Messages that the stream keeps at least, where a topic's history is not longer. */
const LEAST_KEPT = 1000;
/** Messages that are fetched at a time. */
const PAGE = 256;
/** Where Redis has lost what it had, numbers go on this far above what the publisher knows: others may know of more. */
const LEAP = 1_000_000;

/**
 * KEYS: the stream, whose name is the channel's, too. ARGV: the message, the newest number that the publisher knows, how many
 * are kept, {@link LEAP}. IDs are 1-NUMBER.
 */
const PUBLISH = `
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local newest = 0
if #last > 0 then newest = tonumber(string.match(last[1][1], '%d+$')) end
local known = tonumber(ARGV[2])
if known > newest then newest = known + tonumber(ARGV[4]) end
local number = string.format('%.0f', newest + 1)
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '1-' .. number, 'm', ARGV[1])
redis.call('PUBLISH', KEYS[1], number .. ' ' .. ARGV[1])
return number`;

/** One for what is asked, the other for what is heard. */
interface Connections {
  readonly commands: Redis;
  readonly events: Redis;
}

type Entry = [id: Buffer, fields: Buffer[]];

/** What joins all topics of one server to those of others; it connects when the first topic is joined. */
export class RedisRelay {
  readonly #url: string;
  readonly #report: (error: unknown) => void;
  readonly #topics = new Map<string, RelayedTopic>();
  #open: Promise<Connections> | undefined;
  #isClosed = false;

  constructor(url: string, report: (error: unknown) => void) {
    this.#url = url;
    this.#report = report;
  }

  join(topic: LiveTopic, history: number): Numbering {
    const key = `millrace:topic:${topic.name}`;
    const relayed = new RelayedTopic(topic, key, history, this.#report);
    this.#topics.set(key, relayed);
    const open = this.#connections;
    open
      .then(async ({ commands, events }) => {
        if (areReady(commands, events)) await this.#follow(commands, events, [relayed]);
      })
      .catch(this.#report);
    return {
      ready: relayed.ready,
      publish: (message) => this.#publish(relayed, message),
      close: () => void this.#topics.delete(key),
    };
  }

  get #connections(): Promise<Connections> {
    this.#open ??= this.#connect();
    return this.#open;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const open = await this.#open?.catch(() => undefined);
    open?.commands.disconnect();
    open?.events.disconnect();
  }

  async #connect(): Promise<Connections> {
    let Client: typeof Redis;
    try {
      Client = (await import('ioredis')).Redis;
    } catch (error) {
      throw new Error('a relay needs one more package: npm install ioredis', { cause: error });
    }
    // What may have been done is not done again: a message would come twice.
    const options = { autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0, lazyConnect: true };
    const commands = new Client(this.#url, { ...options, enableOfflineQueue: false });
    const events = new Client(this.#url, { ...options, autoResubscribe: false });
    let isDown = false;
    for (const each of [commands, events]) {
      each.on('error', (error) => {
        if (!isDown) this.#report(new ConnectionError(`the relay: ${asError(error).message}`));
        isDown = true;
      });
      each.on('ready', () => {
        isDown = false;
        if (areReady(commands, events))
          this.#follow(commands, events, [...this.#topics.values()]).catch(this.#report);
      });
      each.connect().catch(() => undefined);
    }
    events.on('messageBuffer', (channel: Buffer, message: Buffer) => {
      const space = message.indexOf(' ');
      const number = Number(message.subarray(0, space).toString());
      this.#topics.get(channel.toString())?.heard(number, message.subarray(space + 1));
    });
    if (this.#isClosed) {
      commands.disconnect();
      events.disconnect();
    }
    return { commands, events };
  }

  /** Hears of what is published from now on, then takes what has been before. */
  async #follow(commands: Redis, events: Redis, topics: readonly RelayedTopic[]): Promise<void> {
    if (topics.length === 0) return;
    await events.subscribe(...topics.map(({ key }) => key));
    for (const topic of topics) topic.connected(commands);
  }

  async #publish({ key, topic, kept }: RelayedTopic, message: Uint8Array): Promise<number> {
    // The caller's bytes may change as soon as this waits for something.
    const bytes = Buffer.from(message);
    try {
      const { commands } = await this.#connections;
      return Number(await commands.eval(PUBLISH, 1, key, bytes, topic.sequence, kept, LEAP));
    } catch (error) {
      throw new ConnectionError(`the relay: ${asError(error).message}`, { cause: error });
    }
  }
}

/** One topic, as this server has it of Redis. */
class RelayedTopic {
  readonly topic: LiveTopic;
  readonly key: string;
  /** Messages that the stream keeps. */
  readonly kept: number;
  /** Resolves when the topic has what was published before it was joined. */
  readonly ready: Promise<void>;
  readonly #history: number;
  readonly #report: (error: unknown) => void;
  #isReady: () => void = () => undefined;
  #hasBegun = false;
  #commands: Redis | undefined;
  /** One thing after the other, in the order in which they were heard of. */
  #work: Promise<void> = Promise.resolve();

  constructor(topic: LiveTopic, key: string, history: number, report: (error: unknown) => void) {
    this.topic = topic;
    this.key = key;
    this.kept = Math.max(LEAST_KEPT, history);
    this.#history = history;
    this.#report = report;
    this.ready = new Promise((resolve) => {
      this.#isReady = resolve;
    });
  }

  /** All that is published from now on is heard of. */
  connected(commands: Redis): void {
    this.#commands = commands;
    this.#then(async () => {
      if (this.#hasBegun) return this.#catchUp('+');
      await this.#begin(commands);
      this.#hasBegun = true;
      this.#isReady();
    });
  }

  heard(number: number, message: Buffer): void {
    this.#then(async () => {
      if (number > this.topic.sequence + 1) await this.#catchUp(`1-${number - 1}`);
      this.#deliver(number, message);
    });
  }

  #then(run: () => Promise<void>): void {
    this.#work = this.#work.then(run).catch(this.#report);
  }

  async #begin(commands: Redis): Promise<void> {
    const entries = (await commands.xrevrangeBuffer(
      this.key,
      '+',
      '-',
      'COUNT',
      Math.max(1, this.#history),
    )) as Entry[];
    entries.reverse();
    if (entries.length > 0) this.topic.missed(numberOf(entries[0]) - 1);
    for (const entry of entries) this.#deliver(numberOf(entry), entry[1][1]);
  }

  /** Takes from the stream what comes after the newest message, up to the ID `last`. */
  async #catchUp(last: string): Promise<void> {
    for (let page = PAGE; page === PAGE; ) {
      const first = `1-${this.topic.sequence + 1}`;
      const entries = (await this.#commands?.xrangeBuffer(this.key, first, last, 'COUNT', PAGE)) as Entry[];
      for (const entry of entries) this.#deliver(numberOf(entry), entry[1][1]);
      page = entries.length;
    }
  }

  #deliver(number: number, message: Uint8Array): void {
    if (number > this.topic.sequence && !this.topic.isClosed) this.topic.deliver(number, message);
  }
}

function areReady(...connections: Redis[]): boolean {
  return connections.every(({ status }) => status === 'ready');
}

function numberOf([id]: Entry): number {
  return Number(id.toString().slice('1-'.length));
}
