// The life of a connection as its client sees it: how far it is, what it hears, how it ends.

import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import ava, { type ExecutionContext } from 'ava';
import { type Client, type ConnectionError, connect, createServer } from '../../src/index.ts';
import { encodeFrame, FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { encodeGoaway, encodeSenderSettings } from '../../src/wire/payloads.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { commands, on, THREADS } from '../helpers/commands.ts';
import { dial, failure, impostor, servingOnSharedLanes, Watch } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

// Some stop the clock.
const test = ava.serial;
/** Milliseconds: more than any test takes. */
const LONG = 600_000;
const NEVER = () => new Promise<never>(() => undefined);

const EXTENSIONS = ['cancel', 'ping', 'goaway'];

function frame(type: number, payload: Uint8Array, streamFlags = 0): Uint8Array {
  return encodeFrame({ requestId: 0, streamId: 2, streamFlags, type, flags: 0, payload });
}
const settings = (more: object = {}) =>
  frame(
    FrameType.senderSettings,
    encodeSenderSettings({ extensions: EXTENSIONS, ...more }),
    StreamFlag.begin,
  );

/** A server that only says what the test wants it to. */
async function puppet(t: ExecutionContext, more: object = {}): Promise<{ client: Client; socket: Socket }> {
  const connected = Promise.withResolvers<Socket>();
  const where = await impostor(t, (socket) => {
    socket.write(settings(more));
    socket.resume();
    connected.resolve(socket);
  });
  return { client: await dial(t, where), socket: await connected.promise };
}

function outcomeOf(client: Client, args?: Record<string, string>) {
  return failure(client.call('c', { args }).text()) as Promise<ConnectionError>;
}

test('the state goes from open over draining to closed, by the events of a server that is closed', async (t) => {
  const { server, port } = await serving(t, { commands: commands() });
  const client = await dial(t, { port });
  t.is(client.state, 'open');
  t.is(client.closeReason, undefined);
  const heard: string[] = [];
  const watch = new Watch();
  client.on('goaway', ({ reason }) => {
    heard.push(`goaway ${reason.code} ${client.state}: ${reason.message}`);
    watch.changed();
  });
  client.on('closed', ({ reason }) =>
    heard.push(`closed ${(reason as ConnectionError).code} ${client.state}`),
  );
  const feed = client.call('feed');
  const pieces = feed[Symbol.asyncIterator]();
  await pieces.next();
  t.deepEqual(client.stats().calls, { waiting: 0, inFlight: 1 });
  await server.close({ graceMs: LONG });
  await client.closed;
  t.deepEqual(heard, [
    'goaway shutting-down draining: the server is going away: server is shutting down',
    'closed shutting-down closed',
  ]);
  t.is((client.closeReason as ConnectionError).code, 'shutting-down');
});

for (const thread of THREADS) {
  test(`a response without an end comes to a good one when the server drains (${thread})`, async (t) => {
    const { server, port } = await serving(t, { commands: commands() });
    const client = await dial(t, { port });
    const pieces = client.call(on(thread, 'feed'))[Symbol.asyncIterator]();
    t.is(Buffer.from((await pieces.next()).value as Uint8Array).toString(), 'begun ');
    const closed = server.close({ graceMs: LONG });
    t.is(
      Buffer.from((await pieces.next()).value as Uint8Array).toString(),
      'shutting-down: server is shutting down',
    );
    t.true((await pieces.next()).done);
    await closed;
  });
}

test('a request that still waits for authorize when the server begins to drain is told as soon as it runs', async (t) => {
  const judged = Promise.withResolvers<boolean>();
  const asked = Promise.withResolvers<void>();
  const authorize = ({ command }: { command?: string }) => {
    if (command === undefined) return true;
    asked.resolve();
    return judged.promise;
  };
  const { server, port } = await serving(t, { commands: commands(), authorize });
  const client = await dial(t, { port });
  const answers = THREADS.map((thread) => client.call(on(thread, 'feed')).text());
  await asked.promise;
  await client.ping();
  const closed = server.close({ graceMs: LONG });
  judged.resolve(true);
  for (const answer of await Promise.all(answers))
    t.is(answer, 'begun shutting-down: server is shutting down');
  await closed;
});

test('a listener that throws disturbs neither the others nor the calls; one that is taken off hears nothing', async (t) => {
  const { error: log } = console;
  const logged: unknown[][] = [];
  console.error = (...line) => logged.push(line);
  t.teardown(() => {
    console.error = log;
  });
  const { client, socket } = await puppet(t);
  let heard = 0;
  client.on('goaway', () => {
    throw new Error('mine');
  });
  const off = client.on('goaway', () => t.fail());
  client.on('goaway', () => heard++);
  off();
  const waits = outcomeOf(client);
  socket.write(frame(FrameType.goaway, encodeGoaway(1, 'maintenance')));
  socket.end();
  t.is((await waits).code, 'lost');
  t.is(heard, 1);
  t.regex(String(logged[0]), /a listener for 'goaway' threw/);
  t.throws(() => client.on('closed', undefined as never), { instanceOf: TypeError });
});

test('after goaway: what was sent later than the request which it names has not run, and what waited has not either', async (t) => {
  const { client, socket } = await puppet(t, { maxConcurrentRequests: 4 });
  const outcomes = Array.from({ length: 6 }, () => outcomeOf(client));
  t.deepEqual(client.stats().calls, { waiting: 2, inFlight: 4 });
  socket.write(frame(FrameType.goaway, encodeGoaway(3, 'maintenance')));
  const queued = await Promise.all(outcomes.slice(4));
  t.deepEqual(
    queued.map(({ code, notStarted }) => [code, notStarted]),
    Array(2).fill(['shutting-down', true]),
  );
  socket.end();
  const sent = await Promise.all(outcomes.slice(0, 4));
  t.deepEqual(
    sent.map(({ code, notStarted }) => [code, notStarted]),
    [
      ['lost', false],
      ['lost', false],
      ['shutting-down', true],
      ['shutting-down', true],
    ],
  );
  const late = await outcomeOf(client);
  t.deepEqual([late.code, late.notStarted], ['shutting-down', true]);
});

test('after goaway of a server that has run nothing, nothing has run', async (t) => {
  const { client, socket } = await puppet(t);
  const outcome = outcomeOf(client);
  socket.write(frame(FrameType.goaway, encodeGoaway(0, 'maintenance')));
  socket.end();
  t.true((await outcome).notStarted);
});

test('close() with a grace time: what is in flight may end within it', async (t) => {
  const goOn = Promise.withResolvers<string>();
  const begun = Promise.withResolvers<void>();
  const slow = () => {
    begun.resolve();
    return goOn.promise;
  };
  const { port } = await serving(t, { commands: { slow } });
  const client = await dial(t, { port });
  const answer = client.call('slow').text();
  await begun.promise;
  const closed = client.close({ graceMs: LONG });
  t.is(client.state, 'draining');
  const refused = await outcomeOf(client);
  t.deepEqual([refused.code, refused.notStarted], ['closed', true]);
  goOn.resolve('whole');
  t.is(await answer, 'whole');
  await closed;
  t.is((client.closeReason as ConnectionError).code, 'closed');
});

test('close() with a grace time: what is left after it is cancelled at both ends, and the connection ends', async (t) => {
  const clock = stoppedClock(t);
  const begun = Promise.withResolvers<void>();
  const cancelled = Promise.withResolvers<void>();
  const endless = ({ signal }: { signal: AbortSignal }) => {
    signal.addEventListener('abort', () => cancelled.resolve());
    begun.resolve();
    return NEVER();
  };
  const { port } = await serving(t, { commands: { endless }, limits: { maxConcurrentRequests: 1 } });
  const client = await dial(t, { port });
  const inFlight = failure(client.call('endless').text()) as Promise<ConnectionError>;
  const waiting = failure(client.call('endless').text()) as Promise<ConnectionError>;
  await begun.promise;
  let isClosed = false;
  const closed = client.close({ graceMs: 300 }).then(() => {
    isClosed = true;
  });
  clock.advance(299);
  await client.ping();
  t.false(isClosed);
  clock.advance(1);
  const [sent, unsent] = await Promise.all([inFlight, waiting]);
  t.deepEqual(
    [sent.code, sent.notStarted, unsent.code, unsent.notStarted],
    ['closed', false, 'closed', true],
  );
  await cancelled.promise;
  await closed;
});

test('close() with a grace time leaves a server that answers nothing and does not end', async (t) => {
  const clock = stoppedClock(t);
  const { client } = await puppet(t);
  const outcome = outcomeOf(client);
  const closed = client.close({ graceMs: 10 });
  await clock.advanceWhile(closed, 10, turn);
  t.is((await outcome).code, 'closed');
});

test('close() refuses what is no grace time', async (t) => {
  const { client } = await puppet(t);
  t.throws(() => client.close({ graceMs: -1 }), { instanceOf: TypeError, message: /graceMs/ });
  t.throws(() => client.close({ grace: 1 } as object), { instanceOf: TypeError, message: /grace/ });
  const server = createServer({ workers: 1 });
  t.throws(() => server.close({ graceMs: Number.NaN }), { instanceOf: TypeError, message: /graceMs/ });
  await server.close();
});

test('await using closes a client and a server', async (t) => {
  let client: Client;
  {
    await using server = createServer({ workers: 1, commands: { hello: () => 'hello' } });
    const address = (await server.listen()) as { host: string; port: number };
    {
      await using mine = await connect(address);
      client = mine;
      t.is(await mine.call('hello').text(), 'hello');
    }
    t.is(client.state, 'closed');
  }
  t.is((client.closeReason as ConnectionError).code, 'closed');
});
