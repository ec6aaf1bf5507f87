/** A relay that does not have, or does not do, what one would like: its topics go on, and nobody waits for ever. */

import { createConnection, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { Redis } from 'ioredis';
import { freePort } from '../../bench/peers/listen.ts';
import type { CommandError, Server, Subscription, TopicGap, TopicMessage } from '../../src/index.ts';
import { startRedis, withRedis } from '../experiment/redis.ts';
import { dial, failure, impostor, LONG, serving } from '../helpers/serving.ts';
import { insist, RestartableRedis } from './redis.ts';

const CHANNEL = 'millrace:topic:t';

/** The first messages of a subscription: number, text, and how many were lost before. */
async function take(subscription: Subscription, count: number): Promise<[number, string, number][]> {
  const messages: TopicMessage[] = [];
  for await (const message of subscription) if (messages.push(message) === count) break;
  return messages.map(({ sequence, data, lost = 0 }) => [sequence, Buffer.from(data).toString(), lost]);
}

async function subscribed(topic: { readonly subscribers: number }): Promise<void> {
  while (topic.subscribers === 0) await turn();
}

function visit(t: ExecutionContext, url: string): Redis {
  const redis = new Redis(url);
  t.teardown(() => redis.disconnect());
  return redis;
}

/** Resolves once a connection of the server waits for an answer to `subscribe`. */
async function waiting(server: Server, count: number): Promise<void> {
  const running = async () => (await server.stats()).commands.find(({ command }) => command === 'subscribe');
  while ((await running())?.running !== count) await turn();
}

withRedis('what others write to the channel and the stream is none of the topic', async (t) => {
  const redis = visit(t, await startRedis(t));
  await redis.xadd(CHANNEL, '1-7', 'm', 'ours');
  await redis.xadd(CHANNEL, '1-9007199254740992', 'm', 'past 2^53 − 1');
  await redis.xadd(CHANNEL, '2-1', 'm', 'not ours');
  const errors: Error[] = [];
  const relay = `redis://127.0.0.1:${redis.options.port}`;
  const { server, address } = await serving(t, { relay, onError: (error) => errors.push(error) });
  const topic = server.topic('t', { history: 10 });
  const client = await dial(t, address);
  const first = take(client.subscribe('t', { after: 0 }), 3);
  await subscribed(topic);
  const garbage = [
    '',
    ' ',
    'hello',
    'x y',
    '-1 a',
    '0 a',
    '1.5 a',
    '8.5 a',
    '0x9 a',
    '1e3 a',
    ' 9 a',
    '+9 a',
  ];
  for (const each of [...garbage, 'Infinity a', '9007199254740992 a', '1e300 a'])
    await redis.publish(CHANNEL, each);
  await redis.publish(CHANNEL, '8 well said');
  await redis.publish(CHANNEL, '10 and again');
  t.deepEqual(await first, [
    [7, 'ours', 6],
    [8, 'well said', 0],
    [10, 'and again', 1],
  ]);
  // Above IDs of others there is none for ours: that is told, to whoever publishes, too.
  for (const { message } of errors) t.regex(message, /XADD/);
});

withRedis(
  'a topic that the relay cannot give its numbers ends who waits: closed, or with its server',
  async (t) => {
    const redis = visit(t, await startRedis(t));
    await redis.set(CHANNEL, 'no stream');
    const relay = `redis://127.0.0.1:${redis.options.port}`;
    const refusal = Promise.withResolvers<Error>();
    const { server, address } = await serving(t, { relay, onError: refusal.resolve });
    const topic = server.topic('t');
    const client = await dial(t, address);
    const early = failure(take(client.subscribe('t'), 1));
    t.regex((await refusal.promise).message, /WRONGTYPE/);
    await waiting(server, 1);
    topic.close();
    t.like(await early, { code: 'not-found' });

    const unreachable = await serving(t, {
      relay: `redis://127.0.0.1:${await freePort()}`,
      onError: () => undefined,
    });
    unreachable.server.topic('t');
    const late = failure(take((await dial(t, unreachable.address)).subscribe('t'), 1));
    await waiting(unreachable.server, 1);
    // What never ends would be cancelled after this time, with another code.
    await unreachable.server.close(LONG);
    t.like(await late, { code: 'shutting-down' });
  },
);

withRedis('a topic whose relay is mended has its numbers with the next message', async (t) => {
  const redis = visit(t, await startRedis(t));
  await redis.set(CHANNEL, 'no stream');
  const relay = `redis://127.0.0.1:${redis.options.port}`;
  const refusal = Promise.withResolvers<Error>();
  const { server, address } = await serving(t, { relay, onError: refusal.resolve });
  const topic = server.topic('t');
  const subscription = take((await dial(t, address)).subscribe('t'), 1);
  await refusal.promise;
  await redis.del(CHANNEL);
  t.is(await topic.publish('one'), 1);
  t.deepEqual(await subscription, [[1, 'one', 0]]);
});

withRedis(
  'who comes from a server that is ahead of this one misses nothing, and gets nothing twice',
  async (t) => {
    const redis = visit(t, await startRedis(t));
    const relay = `redis://127.0.0.1:${redis.options.port}`;
    const { server, address } = await serving(t, { relay, relayTimeout: LONG });
    const topic = server.topic('t', { history: 10 });
    const client = await dial(t, address);
    for (const text of ['one', 'two']) await insist(() => topic.publish(text));
    t.deepEqual(await take(client.subscribe('t', { after: 1 }), 1), [[2, 'two', 0]]);
    // What another server has been told of, and this one has not yet.
    await redis.xadd(CHANNEL, '1-3', 'm', 'three');
    const gaps: TopicGap[] = [];
    const onGap = (gap: TopicGap) => void gaps.push(gap);
    const late = [2, 3].map((after) => take(client.subscribe('t', { after, onGap }), 4 - after));
    while (topic.subscribers < late.length) await turn();
    await topic.publish('four');
    t.deepEqual(await Promise.all(late), [
      [
        [3, 'three', 0],
        [4, 'four', 0],
      ],
      [[4, 'four', 0]],
    ]);
    t.deepEqual(gaps, []);
  },
);

withRedis(
  'who comes from a server that is ahead of one without its relay waits until that is back',
  async (t) => {
    const redis = await RestartableRedis.make(t);
    await redis.start(true);
    const errors: Error[] = [];
    const onError = (error: Error) => void errors.push(error);
    const { server, address } = await serving(t, { relay: redis.url, relayTimeout: LONG, onError });
    const topic = server.topic('t');
    await insist(() => topic.publish('one'));
    const visitor = new Redis(redis.url);
    await visitor.xadd(CHANNEL, '1-2', 'm', 'two');
    visitor.disconnect();
    await redis.stop();
    while (errors.length === 0) await turn();
    const client = await dial(t, address);
    const gaps: TopicGap[] = [];
    const onGap = (gap: TopicGap) => void gaps.push(gap);
    const ahead = take(client.subscribe('t', { after: 2, onGap }), 1);
    const late = take(client.subscribe('t', { after: 1, onGap }), 2);
    const given = client.subscribe('t', { after: 2 });
    await waiting(server, 3);
    given.cancel();
    await waiting(server, 2);
    for (const { message } of errors)
      t.regex(message, /^the relay: /, 'that it is away is told, not who asks');
    await redis.start(true);
    while (topic.subscribers < 2) await turn();
    await insist(() => topic.publish('three'));
    t.deepEqual(await ahead, [[3, 'three', 0]]);
    t.deepEqual(await late, [
      [2, 'two', 0],
      [3, 'three', 0],
    ]);
    t.deepEqual(gaps, []);
  },
);

withRedis('a topic that is closed while it catches up asks the relay for nothing more', async (t) => {
  const redis = visit(t, await startRedis(t));
  const relay = `redis://127.0.0.1:${redis.options.port}`;
  const { server } = await serving(t, { relay });
  const topic = server.topic('t');
  await insist(() => topic.publish('one'));
  while (topic.sequence === 0) await turn();
  const missed = redis.pipeline();
  for (let number = 2; number <= 2000; number++) missed.xadd(CHANNEL, `1-${number}`, 'm', 'missed');
  await missed.exec();
  await redis.publish(CHANNEL, '2001 the newest');
  while (topic.sequence === 1) await turn();
  topic.close();
  const pages = async () => /cmdstat_xrange:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1];
  // It hears of the topic no more, either.
  while (((await redis.pubsub('NUMSUB', CHANNEL)) as [string, number])[1] > 0) await turn();
  for (let i = 0; i < 100; i++) await redis.ping();
  t.true(Number(await pages()) <= 3);
});

withRedis(
  'what a new server publishes after the relay has lost all reaches those that have been there',
  async (t) => {
    const redis = await RestartableRedis.make(t);
    await redis.start(false);
    const options = { relay: redis.url, onError: () => undefined };
    const { server, address } = await serving(t, options);
    const topic = server.topic('t');
    const messages = take((await dial(t, address)).subscribe('t'), 3);
    await subscribed(topic);
    for (let number = 1; number <= 2; number++) t.is(await topic.publish(`${number}`), number);
    await redis.stop();
    await redis.start(false);
    const stranger = (await serving(t, options)).server.topic('t');
    let isOver = false;
    void messages.finally(() => {
      isOver = true;
    });
    const sent = new Map<number, string>();
    for (let i = 0; !isOver; i++) sent.set(await insist(() => stranger.publish(`new ${i}`)), `new ${i}`);
    const [, , [number, text, lost]] = await messages;
    t.is(text, `${sent.get(number)}`);
    t.is(lost, number - 3);
  },
);

withRedis(
  'a relay that hangs fails what is published in time, with a code, and goes on when it is back',
  async (t) => {
    const redis = await RestartableRedis.make(t);
    await redis.start(false);
    const errors: Error[] = [];
    const relay = { relay: redis.url, relayTimeout: 250, onError: (error: Error) => errors.push(error) };
    const { server, address } = await serving(t, relay);
    const listening = await serving(t, { ...relay, relayTimeout: 2 ** 40, onError: () => undefined });
    const topic = server.topic('t');
    listening.server.topic('t', { history: 10 });
    const client = await dial(t, address);
    const subscription = (await dial(t, listening.address)).subscribe('t', { after: 0 });
    const heard = (async () => {
      const messages: TopicMessage[] = [];
      for await (const message of subscription) {
        messages.push(message);
        if (Buffer.from(message.data).toString() === 'after') break;
      }
      return messages;
    })();
    let error: CommandError;
    do {
      redis.goOn();
      await insist(() => topic.publish('before'));
      redis.hang();
      error = (await failure(client.publish('t', 'in between'))) as CommandError;
      // It may have been found out before the message came to it.
    } while (error.code === 'overloaded');
    t.like(error, { code: 'relay-lost', notStarted: false });
    do error = (await failure(client.publish('t', 'while it is away'))) as CommandError;
    while (error.code === 'relay-lost');
    t.like(error, { code: 'overloaded', notStarted: true });
    redis.goOn();
    await insist(() => client.publish('t', 'after'));
    for (const [index, { sequence, lost }] of (await heard).entries())
      t.deepEqual([sequence, lost], [index + 1, undefined]);
    t.true(errors.length < 10, errors.join('\n'));
  },
);

withRedis('a message of another server that is longer than this one takes is told as lost', async (t) => {
  const relay = await startRedis(t);
  const errors: Error[] = [];
  const strict = { relay, limits: { maxMessageBytes: 10 }, onError: (error: Error) => errors.push(error) };
  const { server, address } = await serving(t, strict);
  const other = (await serving(t, { relay })).server.topic('t');
  const topic = server.topic('t', { history: 10 });
  await insist(() => other.publish('first'));
  while (topic.sequence < 1) await turn();
  const gaps: TopicGap[] = [];
  const client = await dial(t, address);
  const messages = take(client.subscribe('t', { after: 0, onGap: (gap) => gaps.push(gap) }), 3);
  await subscribed(topic);
  for (const message of ['x'.repeat(11), 'exactly 10', 'y'.repeat(12)]) await other.publish(message);
  while (topic.sequence < 4) await turn();
  topic.close();
  t.deepEqual(await messages, [
    [1, 'first', 0],
    [3, 'exactly 10', 1],
  ]);
  t.deepEqual(gaps, [
    { lost: 1, sequence: 3 },
    { lost: 1, sequence: 5 },
  ]);
  t.deepEqual(
    errors.map(({ message }) => message),
    [
      "maxMessageBytes: message 2 of topic 't' has 11 bytes, over 10",
      "maxMessageBytes: message 4 of topic 't' has 12 bytes, over 10",
    ],
  );
});

withRedis('what waits for a relay that hangs is bounded, and what is over that fails at once', async (t) => {
  const redis = await RestartableRedis.make(t);
  await redis.start(false);
  const { server } = await serving(t, { relay: redis.url, relayTimeout: LONG, onError: () => undefined });
  const topic = server.topic('t');
  await insist(() => topic.publish('before'));
  redis.hang();
  const large = new Uint8Array(1 << 20);
  const published = Array.from({ length: 65 }, async () => topic.publish(large));
  const error = await failure(published[64]);
  t.like(error, { name: 'ConnectionError', notStarted: true });
  t.regex(error.message, /67108864 bytes of messages wait for it/);
  await redis.stop();
  for (const waiting of published.slice(0, 64))
    t.like(await failure(waiting), { name: 'ConnectionError', notStarted: false });
});

withRedis(
  'a server whose way to the relay is cut without a word finds out, though it only listens',
  async (t) => {
    const relay = await startRedis(t);
    const { port } = new URL(relay);
    const cut = new Set<Socket>();
    const between = await impostor(t, (socket) => {
      const there = createConnection({ host: '127.0.0.1', port: Number(port) });
      cut.add(there);
      there.on('error', () => undefined);
      socket.on('close', () => there.destroy());
      socket.on('data', (bytes) => cut.has(there) && there.write(bytes));
      there.on('data', (bytes) => cut.has(there) && socket.write(bytes));
    });
    const cutOff = {
      relay: `redis://127.0.0.1:${between.port}`,
      relayTimeout: 250,
      onError: () => undefined,
    };
    const { server, address } = await serving(t, cutOff);
    const topic = server.topic('t', { history: 10 });
    const other = (await serving(t, { relay })).server.topic('t');
    const messages = take((await dial(t, address)).subscribe('t'), 2);
    await subscribed(topic);
    await insist(() => other.publish('one'));
    while (topic.sequence < 1) await turn();
    cut.clear();
    await other.publish('two');
    t.deepEqual(await messages, [
      [1, 'one', 0],
      [2, 'two', 0],
    ]);
  },
);
