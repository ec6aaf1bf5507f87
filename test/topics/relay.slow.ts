/** Topics of several servers as one, by way of Redis. */

import type { ExecutionContext } from 'ava';
import { connectPool, type Subscription, type TopicMessage } from '../../src/index.ts';
import { withRedis } from '../experiment/redis.ts';
import { dial, LONG, serving } from '../helpers/serving.ts';
import { insist, RestartableRedis } from './redis.ts';

/** A server that never gives up an answer of the relay's: what is published again is there twice. */
const serverOf = (t: ExecutionContext, { url }: RestartableRedis) =>
  serving(t, { relay: url, relayTimeout: LONG });

/** Collects what a subscription gives. */
function collect(subscription: Subscription) {
  const messages: TopicMessage[] = [];
  let more: () => void = () => undefined;
  const read = async () => {
    for await (const message of subscription) {
      messages.push(message);
      more();
    }
  };
  // It ends with its client.
  void read().catch(() => undefined);
  const until = async (done: () => boolean) => {
    while (!done())
      await new Promise<void>((resolve) => {
        more = resolve;
      });
  };
  return { messages, until };
}

for (const keeps of [true, false]) {
  withRedis(
    `two servers are one topic, also when the relay ends in between and ${keeps ? 'has' : 'has lost'} what it had`,
    async (t) => {
      const redis = await RestartableRedis.make(t);
      await redis.start(keeps);
      const servers = [await serverOf(t, redis), await serverOf(t, redis)];
      const topics = servers.map(({ server }) => server.topic('t', { history: 50 }));
      const clients = await Promise.all(servers.map(({ address }) => dial(t, address)));
      const collected = clients.map((client) => collect(client.subscribe('t', { after: 0 })));
      while (topics.some(({ subscribers }) => subscribers === 0)) await new Promise(setImmediate);
      const sent = new Map<number, string>();
      const publish = async (by: number, text: string) =>
        sent.set(
          await insist(() =>
            by % 3 === 0 ? topics[by % 2].publish(text) : clients[by % 2].publish('t', text),
          ),
          text,
        );
      for (let i = 0; i < 60; i++) await publish(i, `message ${i}`);
      await redis.stop();
      await t.throwsAsync(async () => topics[0].publish('into the void'));
      await redis.start(keeps);
      for (let i = 60; i < 120; i++) await publish(i, `message ${i}`);
      const newest = Math.max(...sent.keys());
      for (const { messages, until } of collected) {
        await until(() => messages.at(-1)?.sequence === newest);
        let next = 1;
        for (const { sequence, data, lost = 0 } of messages) {
          t.is(sequence, next + lost);
          t.is(Buffer.from(data).toString(), `${sent.get(sequence)}`);
          next = sequence + 1;
        }
        t.is(new Set(messages.map(({ sequence }) => sequence)).size, messages.length);
        if (keeps) t.is(messages.length, sent.size);
      }
    },
  );
}

withRedis('who loses its server goes on at another one, and what history holds is not lost', async (t) => {
  const redis = await RestartableRedis.make(t);
  await redis.start(false);
  const servers = [await serverOf(t, redis), await serverOf(t, redis)];
  const topics = servers.map(({ server }) => server.topic('t', { history: 1000 }));
  const pools = Array.from({ length: 20 }, () =>
    connectPool(
      servers.map(({ address }) => address),
      { size: 1, maxWaitMs: LONG, connect: { timeoutMs: LONG } },
    ),
  );
  t.teardown(() => Promise.all(pools.map((pool) => pool.destroy())));
  const collected = pools.map((pool) => collect(pool.subscribe('t', { after: 0 })));
  for (let i = 1; i <= 50; i++) t.is(await insist(() => topics[i % 2].publish(`message ${i}`)), i);
  const closed = servers[0].server.close();
  for (let i = 51; i <= 100; i++) t.is(await topics[1].publish(`message ${i}`), i);
  await closed;
  for (const { messages, until } of collected) {
    await until(() => messages.length === 100);
    t.deepEqual(
      messages.map(({ sequence, lost }) => [sequence, lost]),
      messages.map((_, i) => [i + 1, undefined]),
    );
  }
});
