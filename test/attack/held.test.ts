/** What a peer may do over and over must not be kept: each case asks the garbage collector what is left of it. */

import { randomFillSync } from 'node:crypto';
import test from 'ava';
import { nativeZstd } from '../../src/encoding/native.ts';
import { cached, type Handler } from '../../src/index.ts';
import { makePolicy } from '../../src/lanes/policy.ts';
import { IncomingFrames, type Ticket } from '../../src/reactor/incoming.ts';
import { signalled } from '../../src/server/signalled.ts';
import { FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import { encodeAll } from '../encoding/helpers.ts';
import { arrived, makeLatch, release } from '../fixtures/latch.ts';
import { heldBytes, stillHeld } from '../helpers/gc.ts';
import { frame, HELLO, RawPeer } from '../helpers/raw-peer.ts';
import { dial, halted, serving } from '../helpers/serving.ts';
import { streamSettingsPayload } from '../independent/client.ts';

const ROUNDS = 200;

interface Case {
  /** What the requests wait for when they are stopped. */
  what: string;
  settings: string;
  handler: Handler;
}

const CASES: Case[] = [
  {
    what: 'credit that never comes',
    settings: HELLO.replace('{', '{"requestWindow":0,'),
    handler: async function* () {
      yield 'x';
    },
  },
  {
    what: 'cached output that another is producing',
    settings: HELLO.replace('{', '{"contentEncodings":["zstd-8mb"],'),
    handler: async function* () {
      yield cached('key', () => new Promise(() => undefined));
    },
  },
];

for (const { what, settings, handler } of CASES) {
  test.serial(`${ROUNDS} requests that waited for ${what} and were stopped are let go of`, async (t) => {
    const seen: WeakRef<object>[] = [];
    const { address } = await serving(t, {
      workers: 1,
      commands: {
        wait: (request) => {
          seen.push(new WeakRef(request));
          return handler(request);
        },
      },
    });
    const peer = await RawPeer.connect(t, address.port);
    // The first one keeps waiting.
    peer.send(settings, '1 1 0 command-name eos wait');
    for (let i = 1; i <= ROUNDS; i++) {
      const id = 2 * i + 1;
      peer.send(`${id} 1 0 command-name eos wait`, '0 1 0 ping 0 12345678');
      // By the time of the reply it waits.
      t.true(await peer.until(() => peer.frames.filter(({ type }) => type === FrameType.ping).length === i));
      peer.send(`${id} 1 0 cancel 0 `);
      t.is(await peer.answer(id), 'error: cancelled');
    }
    t.is(seen.length, 1 + ROUNDS);
    const held = await stillHeld(seen);
    t.true(held < 10, `${held} are held`);
  });
}

test.serial('affinity keeps nothing of the keys that a peer makes up', (t) => {
  const policy = makePolicy('affinity');
  const streams = [0, 1].map((index) => ({
    index,
    open: true,
    resting: false,
    requests: 0,
    responses: 0,
    pendingBytes: 0,
    bytesIn: 0,
  }));
  const ask = (i: number) => {
    const key = `${i} `.padEnd(60_000, 'x');
    // The same key goes by the same stream, however often it is asked for.
    t.is(policy({ command: 'c', key }, streams), policy({ command: 'c', key }, streams));
  };
  ask(0);
  const before = heldBytes();
  for (let i = 1; i <= 300; i++) ask(i);
  const grown = heldBytes() - before;
  t.true(grown < 10 << 20, `${grown >> 20} MiB`);
});

test.serial(
  'bombs decoded on one lane wait for a frame on a lane that is held up: a few of them are held',
  async (t) => {
    const latch = makeLatch();
    t.teardown(() => release(latch));
    const { port, server } = await serving(t, {
      workers: 2,
      policy: 'single',
      commands: {
        busy: {
          module: new URL('../fixtures/stubborn.ts', import.meta.url),
          export: 'busy',
          options: latch,
        },
        sink: async function* ({ data }) {
          for await (const piece of data) if (piece.length < 0) yield piece;
        },
      },
    });
    const other = await dial(t, { port });
    await other.call('capabilities').text();
    const settings = streamSettingsPayload('zstd-8mb');
    const peer = await RawPeer.connect(t, port);
    const bombs = Array.from({ length: 56 }, () => {
      const bomb = new Uint8Array(1_000_000);
      randomFillSync(bomb, 0, 2000);
      return bomb;
    });
    const encoded = (payloads: Uint8Array[]) =>
      encodeAll(nativeZstd, [Uint8Array.of(1), ...payloads], { level: 1 });
    const [first, ...onThree] = encoded(bombs);
    const [, onFive] = encoded([Uint8Array.of(2)]);
    const on = (streamId: number, payload: Uint8Array) =>
      frame(`1 ${streamId} encoded command-data continuation `, payload);
    // One lane has a stream already: the first decoder goes to the other one, the second to either.
    peer.send(
      HELLO,
      '1 1 0 command-name have-data sink',
      ...[3, 5].flatMap((id) => [frame(`0 ${id} stream-begin stream-settings 0 `, settings), on(id, first)]),
    );
    const opened = async () =>
      (await server.stats()).lanes.reduce((sum, { openStreams }) => sum + openStreams, 0);
    while ((await opened()) < 3);
    const before = heldBytes();
    const busy = other.call('busy').text();
    await arrived(latch, 1);
    peer.send(on(5, onFive), ...onThree.map((bomb) => on(3, bomb)));
    let peak = 0;
    await halted(
      () => peer.socket.writableLength,
      async () => {
        await other.ping();
        peak = Math.max(peak, heldBytes() - before);
      },
    );
    t.true(peak < 40 << 20, `${peak >> 20} MiB`);
    release(latch);
    t.is(await busy, 'done');
    peer.send('1 1 0 command-data eos ');
    t.is(await peer.answer(1), '');
  },
);

test.serial('frames that wait for a decoder do not keep the chunks that they came in', (t) => {
  const held: Uint8Array[] = [];
  const decoders = {
    supports: () => true,
    open: () => undefined,
    close: () => undefined,
    decode: () => undefined,
  };
  const incoming = new IncomingFrames(
    'client',
    DEFAULT_LIMITS,
    decoders,
    { take: (_frame, payload) => void held.push(payload) },
    () => 0,
  );
  const on = (streamFlags: number, type: number, payload: Uint8Array) =>
    incoming.push({ requestId: 1, streamId: 3, streamFlags, type, flags: 1, payload });
  on(StreamFlag.begin, FrameType.streamSettings, streamSettingsPayload('zstd-8mb'));
  const before = heldBytes();
  for (let i = 0; i < 1000; i++) {
    on(StreamFlag.encoded, FrameType.commandData, new Uint8Array(65_536).subarray(7, 9));
    on(0, FrameType.commandData, new Uint8Array(65_536).subarray(7, 9));
  }
  t.deepEqual(held, []);
  const grown = heldBytes() - before;
  t.true(grown < 10 << 20, `${grown >> 20} MiB`);
  t.is(incoming.heldBytes, 2000 * 258);
});

test('tiny frames that wait for a decoder are held as they came, and none keeps much beside its bytes', (t) => {
  const tickets: Ticket[] = [];
  const decoders = {
    supports: () => true,
    open: () => undefined,
    close: () => undefined,
    decode: (_: number, ticket: Ticket) => void tickets.push(ticket),
  };
  const incoming = new IncomingFrames('client', DEFAULT_LIMITS, decoders, { take: () => t.fail() }, () => 0);
  const begin = { requestId: 1, streamId: 3, streamFlags: StreamFlag.begin, flags: 1 };
  incoming.push({ ...begin, type: FrameType.streamSettings, payload: streamSettingsPayload('zstd-8mb') });
  const chunk = new Uint8Array(65_536);
  const sizes = [1, 20, 0, 255, 256, 300, 19, 7, 254, 100];
  const came: Uint8Array[] = [];
  for (let i = 0; i < 500; i++) {
    const payload = randomFillSync(chunk.subarray(9, 9 + sizes[i % sizes.length]));
    came.push(payload.slice());
    incoming.push({
      ...begin,
      streamFlags: StreamFlag.encoded,
      type: FrameType.commandData,
      payload,
    });
    chunk.fill(0);
  }
  t.deepEqual(
    tickets.map(({ frame }) => frame.payload),
    came,
  );
  for (const { frame, cost } of tickets) t.true(frame.payload.buffer.byteLength <= 4 * cost);
});

test.serial('who watches figures for days keeps nothing of each wait for the next ones', async (t) => {
  const controller = new AbortController();
  const over = signalled(controller.signal);
  const waits = 20_000;
  const before = heldBytes();
  for (let i = 0; i < waits; i++) {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wait = over.or(promise);
    resolve();
    await wait;
  }
  const bytesEach = (heldBytes() - before) / waits;
  t.true(bytesEach < 100, `${bytesEach} bytes each`);
  const last = over.or(new Promise(() => undefined));
  controller.abort();
  await last;
  await over.or(new Promise(() => undefined));
  t.true(over.isSo);
});
