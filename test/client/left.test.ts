/** Readers that leave: before they have begun, while they wait, with more at hand; and calls that are cancelled beside them. */

import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { type CommandRequest, connectPool, type Response, type Server } from '../../src/index.ts';
import { dial, failure, PATIENT, PATIENT_POOL, serving } from '../helpers/serving.ts';

/** Calls of {@link endless} that run. */
let running = 0;

/** Says what it has at once, then nothing more until it is cancelled. */
async function* endless({ signal }: CommandRequest): AsyncGenerator<string> {
  running++;
  signal.addEventListener('abort', () => running--);
  yield 'all that there is';
  await new Promise((resolve) => signal.addEventListener('abort', resolve));
}

/** Resolves once so many calls of {@link endless} run and subscriptions stand, together. */
async function busy(server: Server, count: number): Promise<void> {
  const found = async () =>
    (await server.stats()).topics.reduce((sum, { subscribers }) => sum + subscribers, running);
  while ((await found()) !== count) await turn();
}

type Leave = (reading: AsyncGenerator<unknown>) => unknown;
const WAYS: [string, Leave][] = [
  ['before it has read', (reading) => reading.return(undefined)],
  ['by an error before it has read', (reading) => reading.throw(new Error('mine')).catch(() => undefined)],
  ['by the end of its block', async (reading) => void (await reading[Symbol.asyncDispose]())],
  [
    'while it waits for more',
    async (reading) => {
      await reading.next();
      const waiting = reading.next();
      await Promise.allSettled([waiting, reading.return(undefined)]);
    },
  ],
];

for (const [when, leave] of WAYS) {
  test.serial(
    `who leaves a response or a subscription ${when} cancels it, of a connection and of a pool`,
    async (t) => {
      const { server, address } = await serving(t, { commands: { endless } });
      server.topic('news', { history: 1 }).publish('first');
      const client = await dial(t, address);
      const pool = connectPool(address, PATIENT_POOL);
      t.teardown(() => pool.destroy());
      for (const caller of [client, pool]) {
        const reads = () => [caller.call('endless'), caller.subscribe('news', { after: 0 })];
        const both = reads();
        await busy(server, 2);
        for (const [left, read] of both.entries()) {
          await leave(read[Symbol.asyncIterator]() as AsyncGenerator<unknown>);
          await busy(server, 1 - left);
        }
      }
      t.pass('nothing runs and nobody is subscribed');
    },
  );
}

test('a response that has come whole and is left unread is let go of', async (t) => {
  const large = new Uint8Array(900_000);
  const { address } = await serving(t, { commands: { large: () => large } });
  const client = await dial(t, address, { maxUnread: 1_000_000, requestWindow: 1 << 20 });
  const pool = connectPool(address, {
    ...PATIENT_POOL,
    size: 1,
    connect: { ...PATIENT, maxUnread: 1_000_000, requestWindow: 1 << 20 },
  });
  t.teardown(() => pool.destroy());
  for (const caller of [client, pool]) {
    for (let round = 0; round < 4; round++) {
      const response = caller.call('large');
      t.is(await response.ended, undefined, 'no other response has been let go of for it');
      await response[Symbol.asyncIterator]().return();
      t.is(await response.ended, undefined, 'it has ended as it did');
    }
  }
});

async function read(response: AsyncIterable<unknown>, after: (count: number) => void): Promise<number> {
  let count = 0;
  const { message } = await failure(
    (async () => {
      for await (const _ of response) after(++count);
    })(),
  );
  if (message !== 'enough') throw new Error(message);
  return count;
}

test('a response gives nothing more once it is cancelled, whatever has come', async (t) => {
  const many = async function* ({ signal }: CommandRequest) {
    for (let i = 0; i < 20; i++) yield new Uint8Array(5000);
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
  };
  const { address } = await serving(t, { commands: { many } });
  const client = await dial(t, address);
  const cancels: ((response: Response, stop: AbortController) => void)[] = [
    (response) => response.cancel('enough'),
    (_, stop) => stop.abort(new Error('enough')),
  ];
  for (const cancel of cancels) {
    const stop = new AbortController();
    const response = client.call('many', { signal: stop.signal });
    t.is(await read(response, () => cancel(response, stop)), 1);
  }
});

test('a subscription gives no message once it is cancelled, whatever has come', async (t) => {
  const { server, address } = await serving(t, {});
  const topic = server.topic('news', { history: 100 });
  for (let i = 0; i < 50; i++) topic.publish(`message ${i}`);
  const client = await dial(t, address);
  const pool = connectPool(address, PATIENT_POOL);
  t.teardown(() => pool.destroy());
  for (const caller of [client, pool]) {
    const subscription = caller.subscribe('news', { after: 0 });
    t.is(await read(subscription, (count) => count === 3 && subscription.cancel('enough')), 3);
    const stop = new AbortController();
    const other = caller.subscribe('news', { after: 0, signal: stop.signal });
    t.is(await read(other, () => stop.abort(new Error('enough'))), 1);
  }
  await busy(server, 0);
});
