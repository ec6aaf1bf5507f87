/** More of senseless.test.ts: what takes seconds, for it is about frames in a second. */

import test from 'ava';
import { dial, serving } from '../helpers/serving.ts';

test('a client keeps to the rates that a server announces: cancels, pings and credit', async (t) => {
  const { port } = await serving(t, {
    limits: { maxCancels: 16, maxPings: 16, maxCredits: 16 },
    commands: {
      hang: ({ signal }) => new Promise((resolve) => signal.addEventListener('abort', () => resolve(''))),
      pour: () => 'z'.repeat(40_000),
    },
  });
  const client = await dial(t, { port }, { requestWindow: 8192 });
  const calls = Array.from({ length: 20 }, () => client.call('hang').text());
  await client.ping();
  for (const each of [...calls]) each.catch(() => undefined);
  const cancelled = await Promise.allSettled(
    Array.from({ length: 20 }, async () => {
      for await (const _ of client.call('pour')) break;
    }),
  );
  t.true(cancelled.every(({ status }) => status === 'fulfilled'));
  await Promise.all(Array.from({ length: 20 }, () => client.ping()));
  t.is((await client.call('pour').text()).length, 40_000);
  t.is(client.state, 'open');
});
