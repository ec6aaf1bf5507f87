/** Connections of one thread's clients take turns together, and are otherwise on their own. */

import test from 'ava';
import { makeClient } from '../../src/client/client.ts';
import { codecsOf } from '../../src/client/connect.ts';
import { oneThread } from '../../src/client/one-thread.ts';
import { TurnShare, Work } from '../../src/connection/turns.ts';
import { connect, memoryPair } from '../../src/index.ts';
import { serving } from '../helpers/serving.ts';

test('connections with turns in common ask their transports for none, and each is answered', async (t) => {
  const { server } = await serving(t, { commands: { echo: ({ text }) => text('said') } });
  const codecs = await codecsOf({});
  let asked = 0;
  const clients = Array.from({ length: 5 }, () => {
    const [ours, theirs] = memoryPair();
    server.accept(theirs);
    const endOfTick = ours.endOfTick.bind(ours);
    ours.endOfTick = (run) => {
      asked++;
      endOfTick(run);
    };
    return makeClient(ours, codecs, {}, undefined, oneThread);
  });
  const said = (i: number) => clients[i % 5]!.call('echo', { args: { said: `${i}` } }).text();
  t.deepEqual(
    await Promise.all(Array.from({ length: 200 }, (_, i) => said(i))),
    Array.from({ length: 200 }, (_, i) => `${i}`),
  );
  t.is(asked, 0);
  await Promise.all(clients.map((client) => client.close()));
});

test('who replaces setImmediate for a while, as tests do, holds no connection up', async (t) => {
  const real = globalThis.setImmediate;
  const done = Promise.withResolvers<void>();
  const work = new Work(() => {
    done.resolve();
    return false;
  });
  globalThis.setImmediate = (() => undefined) as never;
  oneThread.turns.readyLater(work);
  globalThis.setImmediate = real;
  await done.promise;
  t.pass();
});

test('what some connections send in a turn takes nothing of what others may', async (t) => {
  const { turns } = oneThread;
  const one = new TurnShare(turns);
  const other = new TurnShare(turns);
  const turn = Promise.withResolvers<void>();
  other.wait(turn.resolve);
  await turn.promise;
  one.take(64 << 20);
  t.deepEqual([one.usedUp, other.usedUp], [true, false]);
});

test('connections with turns in common outlive those that are dropped in the midst of their input and output', async (t) => {
  const { port } = await serving(t, {
    commands: {
      flood: async function* () {
        for (let i = 0; i < 300; i++) yield new Uint8Array(10_000);
      },
      size: async ({ data }) => {
        let bytes = 0;
        for await (const piece of data) bytes += piece.length;
        return `${bytes}`;
      },
    },
  });
  const clients = await Promise.all(Array.from({ length: 6 }, () => connect({ port })));
  const data = new Uint8Array(3_000_000);
  const ended = clients.map(async (client, i) => {
    const flood = client.call('flood').bytes();
    const size = client.call('size', { data }).text();
    if (i % 2 === 0) {
      const reading = client.call('flood')[Symbol.asyncIterator]();
      await reading.next();
      client.destroy();
      return Promise.allSettled([flood, size]).then((both) => both.map(({ status }) => status).join());
    }
    return `${(await flood).length} ${await size}`;
  });
  const whole = '3000000 3000000';
  const dropped = 'rejected,rejected';
  t.deepEqual(await Promise.all(ended), [dropped, whole, dropped, whole, dropped, whole]);
  await Promise.all(clients.map((client) => client.close()));
});
