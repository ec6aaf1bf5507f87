// A server and a client over transports of the user's own.

import { setImmediate as turn } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { connectOver as connectFromBrowser } from '../../src/browser.ts';
import {
  type AuthorizeQuery,
  type Client,
  ConnectionError,
  type ConnectOverOptions,
  connectOver,
  memoryPair,
  type Server,
  type Transport,
} from '../../src/index.ts';
import { tempFolder } from '../files/helper.ts';
import { arrived, makeLatch, release } from '../fixtures/latch.ts';
import { commands, on, THREADS } from '../helpers/commands.ts';
import { digest, sample } from '../helpers/samples.ts';
import { failure, PATIENT, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(test);

async function over(t: ExecutionContext, server: Server, options: ConnectOverOptions = {}): Promise<Client> {
  const [near, far] = memoryPair();
  server.accept(far);
  const client = await connectOver(near, { ...PATIENT, ...options });
  t.teardown(() => client.destroy());
  return client;
}

for (const thread of THREADS) {
  test(`commands of every kind over a pair in memory, their handlers on the ${thread} thread`, async (t) => {
    const { server } = await serving(t, { commands: commands() });
    const client = await over(t, server);
    t.is(await client.call(on(thread, 'generator')).text(), 'one two three');
    const size = 3 << 20;
    const answers = [1, 2, 3].map((seed) =>
      client.call(on(thread, 'sample'), { args: { size: String(size), seed: String(seed) } }).bytes(),
    );
    for (const [i, answer] of (await Promise.all(answers)).entries())
      t.is(digest(answer), digest(sample(size, i + 1)));
    await client.close();
    t.is(client.state, 'closed');
  });
}

test('command data, portable codecs and a small high-water mark', async (t) => {
  const { server } = await serving(t);
  const [near, far] = memoryPair({ highWaterMark: 100 });
  server.accept(far);
  const client = await connectFromBrowser(near, { encodeData: 'zlib' });
  const data = sample(1 << 20, 1);
  t.is(digest(await client.call('echo', { data }).bytes()), digest(data));
  await client.close();
});

test('a server that does not listen serves what it accepts, and ends it when it is closed', async (t) => {
  const { createServer } = await import('../../src/index.ts');
  const server = createServer({ workers: 1 });
  const client = await over(t, server);
  t.is((await server.stats()).connections, 1);
  await server.close({ graceMs: 0 });
  await client.closed;
  t.is((client.closeReason as ConnectionError).code, 'shutting-down');
});

test('a request is over when its connection goes while the end of its response is in a lane', async (t) => {
  const [near, far] = memoryPair();
  const latch = makeLatch();
  const { server } = await serving(t, {
    workers: 1,
    commands: {
      hold: { module: new URL('../fixtures/stubborn.ts', import.meta.url), export: 'busy', options: latch },
      last: () => {
        setImmediate(() => far.destroy());
        return 'in the lane by then';
      },
    },
  });
  server.accept(far);
  const client = await connectOver(near, PATIENT);
  // The lane cannot answer before the connection is gone, however late this thread gets its turn.
  const held = failure(client.call('hold').bytes());
  await arrived(latch, 1);
  await failure(client.call('last').bytes());
  await Promise.all([held, client.closed]);
  release(latch);
  const row = (await server.stats()).commands.find(({ command }) => command === 'last');
  t.is(row?.running, 0);
  t.deepEqual(row?.codes, { cancelled: 1 });
});

test('what is said of a connection is what authorize is told', async (t) => {
  const seen: AuthorizeQuery['connection'][] = [];
  const authorize = ({ connection }: AuthorizeQuery) => {
    seen.push(connection);
    return true;
  };
  const { server } = await serving(t, { authorize });
  const [near, far] = memoryPair({ remote: 'tab 7' });
  server.accept(far, { certificateVerified: true });
  const client = await connectOver(near, PATIENT);
  t.deepEqual(seen[0], { remote: 'tab 7', certificateVerified: true });
  await client.close();
});

test('what is no transport is refused by name; past maxConnections and after close() one is destroyed', async (t) => {
  const { server } = await serving(t, { maxConnections: 1 });
  t.throws(() => server.accept({} as Transport), { instanceOf: TypeError, message: /no method write/ });
  t.throws(() => server.accept(undefined as unknown as Transport), { instanceOf: TypeError });
  await over(t, server);
  for (const step of [() => undefined, () => server.close(0)]) {
    await step();
    const [near, far] = memoryPair();
    server.accept(far);
    const error = await failure(connectOver(near));
    t.true(error instanceof ConnectionError, error.message);
  }
});

test('connectOver() to an end that is gone, or goes while modules are loaded, ends', async (t) => {
  const [gone] = memoryPair();
  const told = new Promise<void>((resolve) => {
    gone.onClose = () => resolve();
  });
  gone.destroy();
  await told;
  const late = (await failure(connectOver(gone, { timeoutMs: 1 }))) as ConnectionError;
  t.is(late.code, 'connect-timeout');
  const [near, far] = memoryPair();
  const dictionaryCache = tempFolder(t);
  const going = failure(connectOver(near, { timeoutMs: 2 ** 31 - 1, dictionaryCache }));
  far.destroy();
  t.is(((await going) as ConnectionError).code, 'lost');
});

test('connectOver() to an end that says nothing: the time limit', async (t) => {
  const [near] = memoryPair();
  const error = (await failure(connectOver(near, { timeoutMs: 1 }))) as ConnectionError;
  t.is(error.code, 'connect-timeout');
  t.true(error.notStarted);
  await turn();
});
