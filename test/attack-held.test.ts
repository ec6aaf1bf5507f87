/** What a peer may do over and over must not be kept: each case asks the garbage collector what is left of it. */

import test from 'ava';
import { cached, type Handler } from '../src/index.ts';
import { makePolicy } from '../src/lanes/policy.ts';
import { FrameType } from '../src/wire/frame.ts';
import { HELLO } from './attack-helper.ts';
import { heldBytes, stillHeld } from './helpers/gc.ts';
import { serving } from './helpers/serving.ts';
import { RawPeer } from './raw-peer.ts';

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
    const peer = await RawPeer.connect(address.port);
    t.teardown(() => peer.close());
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
  for (let i = 1; i <= 1000; i++) ask(i);
  const grown = heldBytes() - before;
  t.true(grown < 10 << 20, `${grown >> 20} MiB`);
});
