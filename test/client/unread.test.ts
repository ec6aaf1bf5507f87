/** What a client holds of responses that nobody reads. */

import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import type { ConnectOptions } from '../../src/index.ts';
import { PieceQueue } from '../../src/reactor/piece-queue.ts';
import { FrameType } from '../../src/wire/frame.ts';
import { Splitter } from '../../src/wire/splitter.ts';
import { heldBytes } from '../helpers/gc.ts';
import { frame, frames, times } from '../helpers/raw-peer.ts';
import { dial, failure, impostor } from '../helpers/serving.ts';

const MIB = 1 << 20;
const bytes = (id: number, length: number, flag = 'continuation') =>
  frame(`${id} 2 0 bytes-response ${flag} `, new Uint8Array(length));

/** A client of a server that announces `extensions`; `heard`: types of frames that the server gets. */
async function between(t: ExecutionContext, extensions: string[], options: ConnectOptions = {}) {
  const heard: number[] = [];
  let server: Socket | undefined;
  const address = await impostor(t, (socket) => {
    server = socket;
    const splitter = new Splitter({ maxPayload: 65_535, onFrame: ({ type }) => void heard.push(type) });
    socket.on('data', (chunk: Uint8Array) => splitter.push(chunk));
    socket.write(frame(`0 2 stream-begin sender-settings 0 ${JSON.stringify({ extensions })}`));
  });
  const client = await dial(t, address, options);
  return { client, heard, server: server as unknown as Socket };
}

const CANCELS: { extensions: string[]; cancels: number }[] = [
  { extensions: [], cancels: 0 },
  { extensions: ['cancel'], cancels: 1 },
];
for (const { extensions, cancels } of CANCELS) {
  test(`past maxUnread the response with the most unread bytes fails, the others go on; ${cancels} cancels are sent`, async (t) => {
    const { client, heard, server } = await between(t, [...extensions, 'ping'], { maxUnread: MIB });
    const [small, large, other] = ['a', 'b', 'c'].map((name) => client.call(name));
    server.write(
      frames(
        bytes(1, 1000),
        times(40, () => bytes(3, 32_768)),
        bytes(5, 10, 'eos'),
      ),
    );
    t.is((await other.bytes()).length, 10);
    t.regex((await failure(large.bytes())).message, /^maxUnread: .*more than 1048576 bytes/);
    server.write(
      frames(
        times(200, () => bytes(3, 32_768)),
        bytes(3, 1, 'eos'),
        bytes(1, 5, 'eos'),
      ),
    );
    t.is((await small.bytes()).length, 1005);
    // By the time that this has arrived, so has all that went before.
    const pinged = client.ping().catch(() => undefined);
    while (!heard.includes(FrameType.ping)) await turn();
    t.is(heard.filter((type) => type === FrameType.cancel).length, cancels);
    t.is(heard.filter((type) => type === FrameType.credit).length, 0, 'the server knows no credit');
    client.destroy();
    await pinged;
  });
}

test('responses that have ended count towards maxUnread until they are read', async (t) => {
  const { client, server } = await between(t, [], { maxUnread: MIB });
  const calls = Array.from({ length: 20 }, (_, i) => client.call(`c${i}`));
  server.write(frames(...calls.map((_, i) => bytes(2 * i + 1, 60_000 + i, 'eos'))));
  const last = client.call('last');
  server.write(bytes(41, 1, 'eos'));
  await last.bytes();
  const results = await Promise.all(calls.map((call) => call.bytes().then(({ length }) => length, String)));
  const failed = results.filter((result) => /maxUnread/.test(String(result)));
  t.is(failed.length, 3, '20 of 60 000 bytes, of which 17 fit');
});

test('what is read in time, or asked for as a whole, may be longer than maxUnread', async (t) => {
  const { client, server } = await between(t, [], { maxUnread: 100_000 });
  const [whole, read] = [client.call('a'), client.call('b')];
  const both = Promise.all([whole.bytes(), countOf(read)]);
  for (let i = 0; i < 40; i++) {
    server.write(frames(bytes(1, 32_768), bytes(3, 32_768)));
    const marked = client.call('mark');
    server.write(bytes(2 * i + 5, 1, 'eos'));
    await marked.bytes();
  }
  server.write(frames(bytes(1, 0, 'eos'), bytes(3, 0, 'eos')));
  const [all, count] = await both;
  t.is(all.length, 40 * 32_768);
  t.is(count, 40 * 32_768);
});

async function countOf(response: AsyncIterable<Uint8Array>): Promise<number> {
  let count = 0;
  for await (const piece of response) count += piece.length;
  return count;
}

test('a response that is left early does not count any more', async (t) => {
  const { client, server } = await between(t, ['cancel'], { maxUnread: MIB });
  for (let i = 0; i < 10; i++) {
    const response = client.call('a');
    server.write(
      frames(
        times(10, () => bytes(2 * i + 1, 30_000)),
        bytes(2 * i + 1, 1, 'eos'),
      ),
    );
    for await (const _ of response) break;
  }
  const last = client.call('last');
  server.write(
    frames(
      times(30, () => bytes(21, 30_000)),
      bytes(21, 0, 'eos'),
    ),
  );
  t.is(await countOf(last), 900_000);
});

test.serial('a million pieces of one byte cost hardly more than their bytes', async (t) => {
  const { client, server } = await between(t, ['credit']);
  const response = client.call('a');
  const other = client.call('b');
  const pieces = times(10_000, () => bytes(1, 1));
  const before = heldBytes();
  for (let i = 0; i < 100; i++) server.write(pieces);
  server.write(bytes(3, 1, 'eos'));
  await other.bytes();
  const grown = heldBytes() - before;
  t.true(grown < 20 * MIB, `${grown} bytes for 1 000 000`);
  server.write(bytes(1, 0, 'eos'));
  t.is(await countOf(response), 1_000_000);
});

test('pieces come out of their queue as they went in, whatever their sizes', (t) => {
  const sizes = [0, 1, 1, 4096, 4095, 1, 1, 5000, 0, 3, 100_000, 2048, 2048, 1, 4097];
  for (const takeOut of [() => 0, (i: number) => (i % 3 === 0 ? 1 : 0), () => 1]) {
    const queue = new PieceQueue();
    const pushed: number[] = [];
    const out: Uint8Array[] = [];
    sizes.forEach((size, i) => {
      const piece = Uint8Array.from({ length: size }, (_, at) => (at + i) % 251);
      queue.push(piece);
      pushed.push(...piece);
      piece.fill(255);
      for (let n = takeOut(i); n > 0; n--) out.push(queue.shift() ?? new Uint8Array(0));
      t.is(queue.length, pushed.length - out.reduce((sum, { length }) => sum + length, 0));
    });
    out.push(...queue.takeAll());
    t.is(queue.length, 0);
    t.is(queue.shift(), undefined);
    t.true(Buffer.concat(out).equals(Uint8Array.from(pushed)));
  }
});
