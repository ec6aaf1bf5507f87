/** Attacks on the memory of a server, which runs in a process of its own so that its memory can be told. */

import { connect as connectSocket } from 'node:net';
import test from 'ava';
import { nativeZstd } from '../../src/encoding/native.ts';
import { encodeAll, ZLIB_CODECS } from '../encoding/helpers.ts';
import { frame, frames, HELLO } from '../helpers/raw-peer.ts';
import { streamSettingsPayload } from '../independent/client.ts';
import { holdConnections } from '../soak/hold.ts';
import { ServerProcess } from '../soak/process.ts';

const MEBIBYTE = 1 << 20;

for (const [codec, size, count] of [
  [nativeZstd, 64 << 10, 10_000],
  [ZLIB_CODECS[0], 60 << 10, 4000],
] as const) {
  const profile = codec.profile;
  test.serial(
    `${count} ${profile} frames of ${size} zeros each, for a handler that reads none, cost a few of them`,
    async (t) => {
      const server = await ServerProcess.start(64);
      t.teardown(() => server.stop());
      const { rss: before } = await server.figures();
      const zeros = new Uint8Array(size);
      const bombs = encodeAll(
        codec,
        Array.from({ length: count }, () => zeros),
        { level: 1 },
      );
      const socket = connectSocket(server.port, '127.0.0.1');
      socket.on('error', () => undefined).resume();
      t.teardown(() => socket.destroy());
      await new Promise((resolve) => socket.once('connect', resolve));
      const begin = frame('0 3 stream-begin stream-settings 0 ', streamSettingsPayload(profile));
      const data = bombs.map((bytes) => frame('1 3 encoded command-data continuation ', bytes));
      socket.write(frames(HELLO, begin, '1 1 0 command-name have-data hold', ...data));
      let peak = before;
      for (let i = 0; i < 60; i++) peak = Math.max(peak, (await server.figures()).rss);
      // All of them would be hundreds of MiB; 12 may be held decoded, the rest is the allocators' slack.
      t.true(peak - before < 120 * MEBIBYTE, `${(peak - before) / MEBIBYTE} MiB`);
    },
  );
}

test.serial(
  'a thousand connections that never read are bounded, and leave nothing when they go',
  async (t) => {
    const [first, second] = await holdConnections(1000, 2, 16);
    // Without bounds they would hold 4 GiB.
    t.true(first.peak - first.before < 500 * MEBIBYTE, `${(first.peak - first.before) / MEBIBYTE} MiB`);
    t.true(second.peak - first.peak < 150 * MEBIBYTE, 'memory is used again');
  },
);

test.serial('200 connections that announce 127 arguments of 64 KiB each cost what they send', async (t) => {
  const server = await ServerProcess.start(64);
  t.teardown(() => server.stop());
  const { rss: before } = await server.figures();
  const ids = Array.from({ length: 127 }, (_, i) => 2 * i + 1);
  const begun = ids.flatMap((id) => [
    `${id} 1 0 command-name have-args hold`,
    // A name of 1 byte, a value of 65 535, of which 20 come.
    `${id} 1 0 command-argument continuation \\x01\\x00\\xff\\xffa${'x'.repeat(20)}`,
  ]);
  const bytes = frames(HELLO, ...begun, '0 1 0 ping 0 12345678');
  const answered = Array.from({ length: 200 }, async () => {
    const socket = connectSocket(server.port, '127.0.0.1');
    t.teardown(() => socket.destroy());
    await new Promise((resolve) => socket.once('connect', resolve));
    const settled = new Promise((resolve) => socket.once('data', resolve));
    socket.on('error', () => undefined).write(bytes);
    await settled;
  });
  await Promise.all(answered);
  let peak = before;
  for (let i = 0; i < 20; i++) peak = Math.max(peak, (await server.figures()).rss);
  // Taken as announced it would be 1.6 GiB.
  t.true(peak - before < 150 * MEBIBYTE, `${(peak - before) / MEBIBYTE} MiB`);
});
