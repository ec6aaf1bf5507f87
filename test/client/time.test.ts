// What a client makes of time that passes.

import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import ava from 'ava';
import { ConnectionError, connect } from '../../src/index.ts';
import { encodeFrame, FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { encodeSenderSettings } from '../../src/wire/payloads.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { digest, sample } from '../helpers/samples.ts';
import { dial, failure, halted, impostor, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

// One after the other: time is stopped.
const test = ava.serial;

const SETTINGS = encodeFrame({
  requestId: 0,
  streamId: 2,
  streamFlags: StreamFlag.begin,
  type: FrameType.senderSettings,
  flags: 0,
  payload: encodeSenderSettings({ extensions: [] }),
});

// The time limit says nothing about the protocol that the other end speaks.
const SILENT: [string, (socket: Socket) => void, string][] = [
  ['says nothing', () => undefined, 'it sent nothing'],
  ['says nothing but reads', (socket) => socket.resume(), 'it sent nothing'],
  [
    'sends half a frame',
    (socket) => socket.write(SETTINGS.subarray(0, 20)),
    'it sent 20 bytes, not its settings,',
  ],
];
for (const [what, talk, sent] of SILENT) {
  test(`connect() to a server that ${what} and then nothing more: the time limit is what failed`, async (t) => {
    const clock = stoppedClock(t);
    const talked = Promise.withResolvers<void>();
    const where = await impostor(t, (socket) => {
      talk(socket);
      talked.resolve();
    });
    let isOver = false;
    const failed = failure(connect(where)).finally(() => {
      isOver = true;
    });
    await talked.promise;
    const took = await clock.advanceUntil(() => isOver, 10);
    t.true(took >= 10_000);
    const error = await failed;
    t.true(error instanceof ConnectionError);
    t.is(error.message, `connected to 127.0.0.1:${where.port}, but ${sent} within 10000 ms`);
  });
}

test('connect() to a half-duplex server fails in the end, and says why', async (t) => {
  const clock = stoppedClock(t);
  const accepted = Promise.withResolvers<void>();
  const { port } = await serving(t, {
    halfDuplex: true,
    authorize: () => {
      accepted.resolve();
      return true;
    },
  });
  const failed = failure(connect({ port }, { timeoutMs: 300 }));
  await accepted.promise;
  const error = await clock.advanceWhile(failed, 10, turn);
  t.is(error.message, `connected to 127.0.0.1:${port}, but it sent nothing within 300 ms`);
});

test('connect() with TLS to what says nothing: the time limit, and that it was the handshake', async (t) => {
  const clock = stoppedClock(t);
  const greeted = Promise.withResolvers<void>();
  const where = await impostor(t, (socket) => once(socket, 'data').then(() => greeted.resolve()));
  const failed = failure(connect(where, { tls: {}, timeoutMs: 500 }));
  await greeted.promise;
  clock.advance(500);
  const error = await failed;
  t.true(error instanceof ConnectionError);
  t.is(
    error.message,
    `cannot connect to 127.0.0.1:${where.port}: its TLS handshake was not over within 500 ms`,
  );
});

test('connect() that is given up throws the reason, whatever it is, at every step of the way', async (t) => {
  for (const reason of [null, 'enough', new Error('enough')])
    for (const way of ['TCP', 'TLS', 'WebSocket'] as const) {
      const greeted = Promise.withResolvers<void>();
      const { port } = await impostor(t, (socket) => once(socket, 'data').then(() => greeted.resolve()));
      const giveUp = new AbortController();
      const { signal } = giveUp;
      const connecting =
        way === 'WebSocket'
          ? connect(`ws://127.0.0.1:${port}`, { signal })
          : connect({ port }, { signal, tls: way === 'TLS' ? {} : undefined });
      await greeted.promise;
      giveUp.abort(reason);
      t.is(
        await connecting.then(
          () => 'connected',
          (error) => error,
        ),
        reason,
        `${way}: ${reason}`,
      );
    }
});

test('an argument that is neither text nor bytes is named, and nothing of its command is sent', async (t) => {
  // Half a command on the wire would end the connection when the server is tired of waiting for the rest.
  const commands = { hello: () => 'hello' };
  const clock = stoppedClock(t);
  const { address } = await serving(t, { commands, limits: { idleTimeout: 200 } });
  const client = await dial(t, address);
  for (const value of [5, null]) {
    const error = await failure(client.call('hello', { args: { n: value as never } }).bytes());
    t.regex(error.message, /^argument n is made of bytes or a string, not of (a number|null)$/);
  }
  await client.ping();
  clock.advance(10_000);
  t.is(await client.call('hello').text(), 'hello');
});

test('a handler that takes long is no reason to end the connection, nor is an upload that waits for it', async (t) => {
  const clock = stoppedClock(t);
  const { port } = await serving(t, { limits: { idleTimeout: 60, maxBufferedInput: 50_000 } });
  const client = await dial(t, { port }, { requestWindow: 50_000 });
  const other = await dial(t, { port });
  const data = sample(2_000_000, 1);
  const reader = client.call('echo', { data })[Symbol.asyncIterator]();
  const parts = [(await reader.next()).value as Uint8Array];
  // By then the upload stands still, wherever in a frame that is.
  await halted(
    () => client.stats().bytesWritten,
    () => other.ping(),
  );
  clock.advance(10_000);
  await other.ping();
  for await (const piece of { [Symbol.asyncIterator]: () => reader }) parts.push(piece);
  t.is(digest(Buffer.concat(parts)), digest(data));
});
