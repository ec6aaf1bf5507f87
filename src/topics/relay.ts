/**
 * Topics of several processes and machines as one, by way of Redis. A script numbers each message, keeps it in a stream and
 * tells all servers; who has missed some, because Redis was not to be reached, takes them from the stream, and what is not
 * there any more is a gap. No number is delivered twice.
 */

import type { Redis } from 'ioredis';
import { ConnectionError } from '../wire/errors.ts';
import { overLimit } from '../wire/limits.ts';
import { asError } from '../wire/thrown.ts';
import { every, MAX_TIMER_MS, type Timer, unref } from '../wire/timers.ts';
import type { LiveTopic, Numbering } from './topic.ts';

/** Messages that the stream keeps at least, where a topic's history is not longer. */
const LEAST_KEPT = 1000;
/** Messages that are fetched at a time. */
const PAGE = 256;
/** Bytes of messages that may wait for Redis to take them. */
const MAX_WAITING = 64 << 20;
/** Where Redis has lost what it had, numbers go on this far above what the publisher knows: others may know of more. */
const LEAP = 1_000_000;

/**
 * KEYS: the stream, whose name is the channel's, too. ARGV: the newest number that the caller knows, {@link LEAP}; then of what
 * is published the message, and how many are kept. IDs are 1-NUMBER.
 */
const NEXT_NUMBER = `
local newest = 0
if redis.call('EXISTS', KEYS[1]) == 1 then
  local facts = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #facts, 2 do
    if facts[i] == 'last-generated-id' then newest = tonumber(string.match(facts[i + 1], '^1%-(%d+)$') or 0) end
  end
end
local known = tonumber(ARGV[1])
local isBehind = known > newest
if isBehind then newest = known + tonumber(ARGV[2]) end
local number = string.format('%.0f', newest + 1)
local id = '1-' .. number`;
const PUBLISH = `${NEXT_NUMBER}
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], id, 'm', ARGV[3])
redis.call('PUBLISH', KEYS[1], number .. ' ' .. ARGV[3])
return number`;
/** Where Redis has lost what it had, takes a number that no message gets: a stream keeps in mind the newest that it has had. */
const RAISE = `${NEXT_NUMBER}
if isBehind then
  redis.call('XADD', KEYS[1], id, 'm', '')
  redis.call('XDEL', KEYS[1], id)
end`;
/** The IDs of a stream between which ours are: who else writes to it has others. */
const FIRST_ID = '1-1';
const LAST_ID = '1';

/** One for what is asked, the other for what is heard. */
interface Connections {
  readonly commands: Redis;
  readonly events: Redis;
}

type Entry = [id: Buffer, fields: Buffer[]];

/** What joins all topics of one server to those of others; it connects when the first topic is joined. */
export class RedisRelay {
  readonly #url: string;
  readonly #timeoutMs: number;
  readonly #report: (error: unknown) => void;
  readonly #topics = new Map<string, RelayedTopic>();
  #open: Promise<Connections> | undefined;
  #watch: Timer | undefined;
  /** Bytes of the messages that Redis has not taken yet. */
  #waitingBytes = 0;
  #isClosed = false;

  /** `timeoutMs`: how long Redis may take for an answer; then its connection is made anew. */
  constructor(url: string, timeoutMs: number, report: (error: unknown) => void) {
    this.#url = url;
    // It is given to timers that are not ours.
    this.#timeoutMs = Math.min(timeoutMs, MAX_TIMER_MS);
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
      whenReady: (had, goOn) => relayed.whenReady(had, goOn),
      forget: (goOn) => relayed.forget(goOn),
      publish: (message) => this.#publish(relayed, message),
      close: () => this.#leave(relayed),
    };
  }

  #leave(relayed: RelayedTopic): void {
    const { key } = relayed;
    this.#topics.delete(key);
    relayed.close();
    // There may be a topic of the same name by the time that this is done.
    this.#open
      ?.then(({ events }) => (this.#topics.has(key) ? undefined : events.unsubscribe(key)))
      .catch(() => undefined);
  }

  get #connections(): Promise<Connections> {
    this.#open ??= this.#connect();
    return this.#open;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#watch);
    const open = await this.#open?.catch(() => undefined);
    open?.commands.disconnect();
    open?.events.disconnect();
  }

  async load(): Promise<typeof Redis> {
    try {
      return (await import('ioredis')).Redis;
    } catch (error) {
      throw new Error('a relay needs one more package: npm install ioredis', { cause: error });
    }
  }

  async #connect(): Promise<Connections> {
    const Client = await this.load();
    // What may have been done is not done again: a message would come twice.
    const options = {
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      lazyConnect: true,
      // The second ends what waits behind a Redis that says something now and then.
      socketTimeout: this.#timeoutMs,
      commandTimeout: this.#timeoutMs,
    };
    const commands = new Client(this.#url, { ...options, enableOfflineQueue: false });
    const events = new Client(this.#url, { ...options, autoResubscribe: false });
    let isDown = false;
    for (const each of [commands, events]) {
      each.on('error', (error) => {
        if (!isDown) this.#report(relayError(error));
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
      const number = numberIn(message.subarray(0, Math.max(0, space)).toString());
      if (number > 0) this.#topics.get(channel.toString())?.heard(number, message.subarray(space + 1));
    });
    if (this.#isClosed) {
      commands.disconnect();
      events.disconnect();
    }
    // What only listens would never hear that there is nobody any more.
    else this.#watch = unref(every(this.#timeoutMs, () => askForSignOfLife(commands, events)));
    return { commands, events };
  }

  /** Hears of what is published from now on, then takes what has been before. */
  async #follow(commands: Redis, events: Redis, topics: readonly RelayedTopic[]): Promise<void> {
    if (topics.length === 0) return;
    await events.subscribe(...topics.map(({ key }) => key));
    for (const topic of topics) topic.connected(commands);
  }

  /** @throws ConnectionError that says whether Redis may have got the message. */
  async #publish({ key, topic, kept }: RelayedTopic, message: Uint8Array): Promise<number> {
    const { length } = message;
    if (this.#waitingBytes + length > MAX_WAITING)
      throw notPublished(`${this.#waitingBytes} bytes of messages wait for it`);
    // The caller's bytes may change as soon as this waits for something.
    const bytes = Buffer.from(message);
    this.#waitingBytes += length;
    try {
      const commands = await this.#ready();
      const answer = await commands.eval(PUBLISH, 1, key, topic.sequence, LEAP, bytes, kept);
      const number = numberIn(String(answer));
      if (number === 0) throw new Error('its answer is no number');
      return number;
    } catch (error) {
      throw error instanceof ConnectionError ? error : relayError(error);
    } finally {
      this.#waitingBytes -= length;
    }
  }

  /** @throws ConnectionError when it cannot be reached: nothing is sent then. */
  async #ready(): Promise<Redis> {
    const { commands } = await this.#connections.catch((error: unknown) => {
      throw notPublished(asError(error).message);
    });
    if (commands.status !== 'ready') throw notPublished('it cannot be reached');
    return commands;
  }
}

function askForSignOfLife(...connections: Redis[]): void {
  for (const each of connections) if (each.status === 'ready') each.ping().catch(() => undefined);
}

function relayError(error: unknown): ConnectionError {
  return new ConnectionError(`the relay: ${asError(error).message}`, { cause: error });
}

function notPublished(why: string): ConnectionError {
  return new ConnectionError(`the relay: ${why}`, { code: 'connect-failed', notStarted: true });
}

/** One topic, as this server has it of Redis. */
class RelayedTopic {
  readonly topic: LiveTopic;
  readonly key: string;
  /** Messages that the stream keeps. */
  readonly kept: number;
  readonly #history: number;
  readonly #report: (error: unknown) => void;
  /** The topic has what was published before it was joined. */
  #hasBegun = false;
  /** Who waits for that, or for more, and the number that he has had. */
  readonly #waiting = new Map<() => void, number>();
  /** It is about to look for what others have had. */
  #looks = false;
  #commands: Redis | undefined;
  /** One thing after the other, in the order in which they were heard of. */
  #work: Promise<void> = Promise.resolve();

  constructor(topic: LiveTopic, key: string, history: number, report: (error: unknown) => void) {
    this.topic = topic;
    this.key = key;
    this.kept = Math.max(LEAST_KEPT, history);
    this.#history = history;
    this.#report = report;
  }

  whenReady(had: number, goOn: () => void): void {
    if (this.topic.isClosed || (this.#hasBegun && had <= this.topic.sequence)) return goOn();
    this.#waiting.set(goOn, had);
    if (this.#hasBegun) this.#look();
  }

  forget(goOn: () => void): void {
    this.#waiting.delete(goOn);
  }

  /** All that is published from now on is heard of. */
  connected(commands: Redis): void {
    this.#commands = commands;
    this.#then(async () => {
      await this.#comeUp();
      await this.#raise();
    });
  }

  heard(number: number, message: Buffer): void {
    this.#then(async () => {
      if (!this.#hasBegun || number > this.topic.sequence + 1) await this.#comeUpTo(`1-${number - 1}`);
      // It was there before, or Redis counts anew.
      else if (number <= this.topic.sequence) await this.#raise();
      this.#deliver(number, message);
      this.#wakeServed();
      if (this.#waiting.size > 0) this.#look();
    });
  }

  /** The topic is closed. */
  close(): void {
    this.#wake([...this.#waiting.keys()]);
  }

  /** Who has had no more than there is here goes on. */
  #wakeServed(): void {
    const { sequence } = this.topic;
    this.#wake([...this.#waiting.keys()].filter((goOn) => Number(this.#waiting.get(goOn)) <= sequence));
  }

  #wake(waiting: readonly (() => void)[]): void {
    for (const goOn of waiting) if (this.#waiting.delete(goOn)) goOn();
  }

  /** Where it cannot, or fails, those who wait go on with the next message, or once Redis is there again. */
  #look(): void {
    if (this.#looks) return;
    this.#looks = true;
    this.#then(async () => {
      this.#looks = false;
      if (!this.topic.isClosed && this.#commands?.status === 'ready') await this.#comeUp();
    });
  }

  /** Takes from the stream all that there is. Who waited when that began goes on, whatever he has had. */
  async #comeUp(): Promise<void> {
    const waiting = [...this.#waiting.keys()];
    await this.#comeUpTo(LAST_ID);
    this.#wake(waiting);
    if (this.#waiting.size > 0) this.#look();
  }

  #then(run: () => Promise<void>): void {
    this.#work = this.#work.then(run).catch(this.#report);
  }

  /** Takes from the stream what this server has not had, up to the ID `last`; at first, what history keeps of that. */
  async #comeUpTo(last: string): Promise<void> {
    if (this.#hasBegun) return this.#catchUp(last);
    const entries = await this.#read('xrevrangeBuffer', last, FIRST_ID, Math.max(1, this.#history));
    entries.reverse();
    if (entries.length > 0) this.topic.missed(numberOf(entries[0]) - 1);
    for (const entry of entries) this.#deliver(numberOf(entry), entry[1][1]);
    this.#hasBegun = true;
    this.#wakeServed();
  }

  async #catchUp(last: string): Promise<void> {
    let before: number;
    let page: number;
    do {
      before = this.topic.sequence;
      const entries = await this.#read('xrangeBuffer', `1-${before + 1}`, last, PAGE);
      for (const entry of entries) this.#deliver(numberOf(entry), entry[1][1]);
      page = entries.length;
      // A topic that is closed takes nothing more.
    } while (page === PAGE && this.topic.sequence > before);
  }

  async #read(
    how: 'xrangeBuffer' | 'xrevrangeBuffer',
    from: string,
    to: string,
    most: number,
  ): Promise<Entry[]> {
    return ((await this.#commands?.[how](this.key, from, to, 'COUNT', most)) ?? []) as Entry[];
  }

  /** Where Redis counts anew, its next number is to be above all that were delivered here. */
  async #raise(): Promise<void> {
    if (!this.topic.isClosed) await this.#commands?.eval(RAISE, 1, this.key, this.topic.sequence, LEAP);
  }

  #deliver(number: number, message: Uint8Array): void {
    if (number <= this.topic.sequence || this.topic.isClosed) return;
    const { maxMessageBytes } = this.topic;
    if (message.length <= maxMessageBytes) return this.topic.deliver(number, message);
    // Another server takes longer ones, and this one promises its subscribers not to.
    this.topic.missed(number);
    const what = `message ${number} of topic '${this.topic.name}' has ${message.length} bytes, over ${maxMessageBytes}`;
    this.#report(overLimit('maxMessageBytes', what));
  }
}

function areReady(...connections: Redis[]): boolean {
  return connections.every(({ status }) => status === 'ready');
}

function numberOf([id]: Entry): number {
  return numberIn(id.toString().slice('1-'.length));
}

/** The number of a message that `text` is; 0: it is none, for anybody may write to a Redis. */
function numberIn(text: string): number {
  const number = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : 0;
  return Number.isSafeInteger(number) ? number : 0;
}
