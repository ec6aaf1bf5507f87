// Flow control of command data (protocol C4): what a handler leaves unread keeps nothing else from being heard.
import ava, { type ExecutionContext } from 'ava';
import { portableCodecs } from '../../src/encoding/portable.ts';
import type { Client, CommandDefinition, ServerOptions } from '../../src/index.ts';
import { FrameType } from '../../src/wire/frame.ts';
import { decodeCredit, encodeStreamSettings } from '../../src/wire/payloads.ts';
import { uploads } from '../fixtures/uploads.ts';
import { frame, HELLO, RawPeer } from '../helpers/raw-peer.ts';
import { dial, failure, halted, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

// One after the other: they share the counts of the fixture.
const test = ava.serial;
const KIB = 1024;
const MIB = KIB * KIB;
const WITH_CREDIT = HELLO.replace('"goaway"', '"data-credit"');
const MODULE = new URL('../fixtures/uploads.ts', import.meta.url);
/** All from one set of options, so that they share the state of their module in a lane. */
const options = {};
const THREADS: Record<string, Record<string, CommandDefinition>> = {
  'on the main thread': uploads,
  'in a lane': Object.fromEntries(
    Object.keys(uploads).map((name) => [name, { module: MODULE, export: 'makeUploads', options }]),
  ),
};

/** Resolves when so many `held` calls wait, and so many were stopped, more than `before`. */
async function counted(client: Client, before: string, more: [number, number]): Promise<void> {
  const [waiting, stopped] = before.split(' ').map(Number);
  const wanted = `${waiting + more[0]} ${stopped + more[1]}`;
  while ((await client.call('counts').text()) !== wanted);
}

const counts = (client: Client) => client.call('counts').text();

async function* pieces(count: number, size: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < count; i++) yield new Uint8Array(size).fill(i);
}

const tinyLimits: ServerOptions = { limits: { maxRequestData: 10, maxConnectionData: 16 } };

async function peerOf(t: ExecutionContext, own: ServerOptions, hello = WITH_CREDIT): Promise<RawPeer> {
  const { port } = await serving(t, own);
  const peer = await RawPeer.connect(t, port);
  peer.send(hello);
  return peer;
}

/** Bytes credited to a request so far; 0: to the connection. */
function credited(peer: RawPeer, requestId: number): number {
  return peer.frames
    .filter((each) => each.type === FrameType.credit && each.requestId === requestId)
    .reduce((sum, { payload }) => sum + decodeCredit(payload), 0);
}

const data = (id: number, text: string, flags = 'continuation') => `${id} 1 0 command-data ${flags} ${text}`;

for (const [where, commands] of Object.entries(THREADS)) {
  test(`the end of an upload that its handler ${where} leaves unread is heard, and so are other calls`, async (t) => {
    const { port } = await serving(t, { commands });
    const [client, other] = [await dial(t, { port }), await dial(t, { port })];
    const before = await counts(client);
    const abort = new AbortController();
    const reason = new Error('enough');
    const upload = client.call('held', { data: pieces(16, MIB), signal: abort.signal });
    const failed = failure(upload.bytes());
    await counted(client, before, [1, 0]);
    await halted(
      () => client.stats().bytesWritten,
      () => other.ping(),
    );
    t.is(
      await client
        .call('read', { data: new Uint8Array(3 * MIB) })
        .text()
        .then(bytesOf),
      3 * MIB,
    );
    abort.abort(reason);
    t.is(await failed, reason);
    await counted(client, before, [1, 1]);
    t.is(await client.call('hello').text(), 'hello');
  });

  test(`what a handler ${where} reads is credited; all of an upload arrives that had to wait`, async (t) => {
    const { port } = await serving(t, { commands, limits: { maxRequestData: 64 * KIB } });
    const [client, other] = [await dial(t, { port }), await dial(t, { port })];
    const before = await counts(client);
    const upload = client.call('held', { data: pieces(100, 10_000) }).text();
    await counted(client, before, [1, 0]);
    const written = await halted(
      () => client.stats().bytesWritten,
      () => other.ping(),
    );
    t.true(written < 200 * KIB, `${written} bytes went out although nobody reads`);
    await client.call('open').text();
    t.is(bytesOf(await upload), 1_000_000);
  });

  test(`a thousand pieces of one byte that a handler ${where} leaves unread are few pieces`, async (t) => {
    const peer = await peerOf(t, { commands });
    peer.send('1 1 0 command-name have-data held');
    for (let i = 0; i < 1000; i++) peer.send(data(1, 'x'));
    peer.send(data(1, 'y', 'eos'));
    await peer.seen();
    peer.send('3 1 0 command-name eos open');
    const [bytes, count] = ((await peer.answer(1)) ?? '').split(' ').map(Number);
    t.is(bytes, 1001);
    t.true(count <= 70, `${count} pieces`);
  });
}

function bytesOf(answer: string): number {
  return Number(answer.split(' ')[0]);
}

test('a hundred uploads that nobody reads do not keep another one waiting, nor from being cancelled', async (t) => {
  const { port } = await serving(t, {
    commands: uploads,
    limits: { maxRequestData: 64 * KIB, maxConnectionData: 100 * 64 * KIB + MIB },
  });
  const client = await dial(t, { port });
  const before = await counts(client);
  const abort = new AbortController();
  const unread = Array.from({ length: 100 }, () =>
    failure(client.call('held', { data: pieces(10, 64 * KIB), signal: abort.signal }).bytes()),
  );
  await counted(client, before, [100, 0]);
  t.is(bytesOf(await client.call('read', { data: new Uint8Array(5 * MIB) }).text()), 5 * MIB);
  abort.abort(new Error('all of them'));
  for (const error of await Promise.all(unread)) t.is(error.message, 'all of them');
  await counted(client, before, [100, 100]);
  // What they had used up of the connection's window is there again.
  t.is(bytesOf(await client.call('read', { data: new Uint8Array(20 * MIB) }).text()), 20 * MIB);
});

test('windows go to whoever speaks data-credit, and never half duplex', async (t) => {
  const settingsOf = async (own: ServerOptions, hello: string) => {
    const peer = await peerOf(t, own, hello);
    if (own.halfDuplex) peer.socket.end();
    await peer.until(() => peer.frames.length > 0);
    return JSON.parse(new TextDecoder().decode(peer.frames[0].payload));
  };
  const spoken = await settingsOf(tinyLimits, WITH_CREDIT);
  t.is(spoken.requestWindow, 10);
  t.is(spoken.connectionWindow, 16);
  t.true(spoken.extensions.includes('data-credit'));
  for (const [own, hello] of [
    [tinyLimits, HELLO],
    [{ ...tinyLimits, halfDuplex: true }, WITH_CREDIT],
  ] as const) {
    const silent = await settingsOf(own, hello);
    t.is(silent.requestWindow, undefined);
    t.is(silent.connectionWindow, undefined);
    t.false(silent.extensions.includes('data-credit'));
  }
});

test('credit of both windows comes as a handler reads; for the connection also of what nobody waits for', async (t) => {
  const peer = await peerOf(t, { ...tinyLimits, commands: uploads });
  peer.send('1 1 0 command-name have-data read', data(1, '1234567890'));
  await peer.until(() => credited(peer, 1) === 10 && credited(peer, 0) === 10);
  t.is(credited(peer, 1), 10);
  // Cancelled: what is on its way is dropped, and only the connection gets it back.
  peer.send('1 1 0 cancel 0 ', data(1, 'abcdefgh'));
  t.true(await peer.until(() => credited(peer, 0) >= 18));
  t.is(await peer.answer(1), 'error: cancelled');
  // Refused before it ran.
  peer.send('3 1 0 command-name have-data nobody', data(3, 'abcdefgh'));
  t.true(await peer.until(() => credited(peer, 0) >= 26));
  t.is(credited(peer, 1), 10);
  t.is(credited(peer, 3), 0);
});

test('data left unread at the end of its request is given back to the connection', async (t) => {
  const peer = await peerOf(t, { ...tinyLimits, commands: uploads });
  for (let id = 1; id < 40; id += 2) {
    peer.send(`${id} 1 0 command-name have-data hello`, data(id, '1234567', 'eos'));
    t.is(await peer.answer(id), 'hello');
    const sent = 7 * ((id + 1) / 2);
    // A window that ran dry would show here: at most half of it may still be owed.
    t.true(await peer.until(() => credited(peer, 0) > sent - 8));
  }
  t.true(peer.unharmed);
});

test('windows count bytes before encoding', async (t) => {
  const codec = portableCodecs().find(({ profile }) => profile === 'zlib');
  const encoder = codec?.createEncoder?.({});
  if (encoder === undefined) return void t.fail();
  const encoded = (size: number) => {
    const target = new Uint8Array(encoder.bound(size));
    return target.subarray(0, encoder.encode(new Uint8Array(size), target, 0));
  };
  const peer = await peerOf(t, { commands: uploads, limits: { maxRequestData: 50_000 } });
  peer.send(
    frame('0 3 stream-begin stream-settings 0 ', encodeStreamSettings('zlib')),
    '1 1 0 command-name have-data held',
    frame('1 3 encoded command-data continuation ', encoded(50_000)),
    '3 1 0 command-name eos hello',
  );
  t.is(await peer.answer(3), 'hello');
  peer.send(frame('1 3 encoded command-data continuation ', encoded(1)));
  t.regex((await peer.protocolError()) ?? '', /limit\): maxRequestData: .*requestWindow of 50000 bytes/);
});

test('a peer that waits for credit is not idle; one that has room and says nothing is', async (t) => {
  const { port } = await serving(t, {
    commands: uploads,
    limits: { maxRequestData: 10, idleTimeout: 50 },
  });
  const [waits, owes] = [await RawPeer.connect(t, port), await RawPeer.connect(t, port)];
  waits.send(WITH_CREDIT, '1 1 0 command-name have-data held', data(1, '1234567890'));
  await waits.seen();
  owes.send(WITH_CREDIT, '1 1 0 command-name have-data held', data(1, '1'));
  t.regex((await owes.protocolError()) ?? '', /timeout\): idleTimeout/);
  await waits.seen();
  t.true(waits.unharmed);
  waits.send('3 1 0 command-name eos open');
  await waits.answer(3);
  t.regex((await waits.protocolError()) ?? '', /timeout\): idleTimeout/, 'now it is its turn');
});

test('a cancel does not wait for data of its request that is still to be decoded', async (t) => {
  const { port } = await serving(t, { commands: uploads });
  const client = await dial(t, { port }, { encodeData: 'zstd-8mb' });
  const before = await counts(client);
  for (let i = 0; i < 20; i++) {
    const upload = client.call('held', { data: pieces(50, 30_000) });
    upload.cancel(new Error('at once'));
    t.is((await failure(upload.bytes())).message, 'at once');
  }
  await client.call('hello').text();
  t.is(bytesOf(await client.call('read', { data: new Uint8Array(3 * MIB) }).text()), 3 * MIB);
  const [waiting, stopped] = (await counts(client)).split(' ').map(Number);
  const [waitingBefore, stoppedBefore] = before.split(' ').map(Number);
  t.is(waiting - waitingBefore, stopped - stoppedBefore);
});

test('credit of a client for a request that never was is ignored', async (t) => {
  const peer = await peerOf(t, { commands: uploads });
  peer.send('99 1 0 credit 0 \\xff\\xff\\xff\\xff');
  await peer.seen();
  t.true(peer.unharmed);
});
