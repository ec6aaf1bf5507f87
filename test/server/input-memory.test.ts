// What peers make a server hold on the way in is a budget of all connections, and nobody is ended by its own speed.
import test from 'ava';
import { nativeZstd } from '../../src/encoding/native.ts';
import type { CommandRequest, Server } from '../../src/index.ts';
import { InputBudget } from '../../src/reactor/input-budget.ts';
import { writeU16 } from '../../src/wire/fields.ts';
import { encodeFrame, FrameType } from '../../src/wire/frame.ts';
import { encodeAll } from '../encoding/helpers.ts';
import { frame, frames, HELLO, RawPeer, times } from '../helpers/raw-peer.ts';
import { halted, servingOnSharedLanes } from '../helpers/serving.ts';
import { streamSettingsPayload } from '../independent/client.ts';

const serving = servingOnSharedLanes(test);

const KIB = 1024;
const MIB = KIB * KIB;
const ARGUMENT = 60 * KIB;
const id = (i: number) => 2 * i + 1;

/** The first frame of an argument that announces `announced` bytes and has `sent` of them. */
function begun(requestId: number, announced: number, sent: number, flags = 1): Uint8Array {
  const payload = new Uint8Array(4 + 1 + sent).fill(120);
  writeU16(payload, 0, 1);
  writeU16(payload, 2, announced);
  return encodeFrame({
    requestId,
    streamId: 1,
    streamFlags: 0,
    type: FrameType.commandArgument,
    flags,
    payload,
  });
}
const rest = (requestId: number, size: number, flags: number) =>
  encodeFrame({
    requestId,
    streamId: 1,
    streamFlags: 0,
    type: FrameType.commandArgument,
    flags,
    payload: new Uint8Array(size).fill(120),
  });
/** A command with one whole argument of `size` bytes. */
const withArgument = (requestId: number, command: string, size: number) =>
  frames(`${requestId} 1 0 command-name have-args ${command}`, begun(requestId, size, size, 2));

const hang = (request: CommandRequest) =>
  new Promise<undefined>((resolve) => request.signal.addEventListener('abort', () => resolve(undefined)));
const hangInLane = { module: new URL('../fixtures/lane-commands.ts', import.meta.url) };

const held = async (server: Server) => (await server.stats()).input.bytes;
/** What the server holds once it stands still. */
const heldAtLast = (server: Server) =>
  halted(
    () => held(server),
    () => held(server),
  );

test('what was only announced is not held, what has come is, and all is given back', async (t) => {
  const { server, port } = await serving(t, { commands: { hang } });
  t.deepEqual((await server.stats()).input, {
    bytes: 0,
    limit: (await server.stats()).input.limit,
    refused: 0,
    cancelled: 0,
  });
  const peer = await RawPeer.connect(t, port);
  peer.send(
    HELLO,
    times(127, (i) =>
      frames(`${id(i)} 1 0 command-name have-args hang`, begun(id(i), ARGUMENT, 20), rest(id(i), 20, 1)),
    ),
  );
  await peer.seen();
  const small = await held(server);
  t.true(small > 127 * 40 && small < 127 * KIB, `${small} bytes for 127 times 60 KiB that were announced`);
  peer.send(rest(1, ARGUMENT - 40, 1));
  await peer.seen();
  t.true((await held(server)) >= small + ARGUMENT - 40);
  peer.send(rest(1, 0, 2), '1 1 0 cancel 0 ');
  t.is(await peer.answer(1), 'error: cancelled');
  t.true((await heldAtLast(server)) < 127 * KIB);
  peer.close();
  while ((await server.stats()).connections > 0);
  t.is(await held(server), 0);
});

test('a value that comes in pieces of any size is whole', async (t) => {
  const { port } = await serving(t);
  const peer = await RawPeer.connect(t, port);
  const value = Array.from({ length: 3000 }, (_, i) => String.fromCharCode(97 + (i % 26))).join('');
  peer.send(HELLO, '1 1 0 command-name have-args echo');
  const head = new Uint8Array([5, 0, 0, 0, ...Buffer.from('value')]);
  writeU16(head, 2, value.length);
  peer.send(frame('1 1 0 command-argument continuation ', head));
  for (let at = 0, size = 1; at < value.length; at += size++) {
    const last = at + size >= value.length;
    peer.send(`1 1 0 command-argument ${last ? 'eoa' : 'continuation'} ${value.slice(at, at + size)}`);
  }
  t.is(await peer.answer(1), value);
});

test('where the budget is used up, the command that wants more is refused, and whoever holds little goes on', async (t) => {
  const { server, port } = await serving(t, { inputMemory: MIB, commands: { hang } });
  const greedy = await RawPeer.connect(t, port);
  greedy.send(
    HELLO,
    times(30, (i) => withArgument(id(i), 'hang', ARGUMENT)),
  );
  await greedy.seen();
  const refused = greedy.frames.filter(({ type }) => type === FrameType.errorResponse);
  t.true(refused.length >= 14, `${refused.length} of 30 commands with 60 KiB each are refused`);
  t.regex((await greedy.answer(id(29))) ?? '', /^error: inputMemory: /);
  t.true(greedy.unharmed);
  const { input } = await server.stats();
  t.true(input.bytes <= input.limit, `${input.bytes} of ${input.limit}`);
  t.is(input.limit, MIB);
  t.is(input.refused, refused.length);
  const other = await RawPeer.connect(t, port);
  other.send(HELLO, withArgument(1, 'unknown', 30 * KIB), '3 1 0 command-name eos x');
  t.is(await other.answer(1), "error: unknown command 'unknown'");
  t.is(await other.answer(3), "error: unknown command 'x'");
  // Once its handlers have ended there is room again.
  greedy.send(times(30, (i) => `${id(i)} 1 0 cancel 0 `));
  t.is(await greedy.answer(1), 'error: cancelled');
  await heldAtLast(server);
  greedy.send(withArgument(101, 'nobody', ARGUMENT));
  t.is(await greedy.answer(101), "error: unknown command 'nobody'");
});

test('the refusal has the code overloaded, which says that nothing has run', async (t) => {
  let ran = 0;
  const { port } = await serving(t, {
    inputMemory: 200 * KIB,
    commands: {
      hang: (request: CommandRequest) => {
        ran++;
        return hang(request);
      },
    },
  });
  const peer = await RawPeer.connect(t, port);
  peer.send(
    HELLO.replace('"goaway"', '"error-codes"'),
    times(8, (i) => withArgument(id(i), 'hang', ARGUMENT)),
  );
  await peer.seen();
  const errors = peer.frames.filter(({ type }) => type === FrameType.errorResponse);
  t.is(errors.length + ran, 8);
  t.true(errors.length > 0);
  for (const { payload } of errors) t.regex(Buffer.from(payload).toString(), /^overloaded\0inputMemory: /);
});

test('those that hold the most give way to one that wants less', async (t) => {
  const { server, port } = await serving(t, { inputMemory: MIB });
  const greedy = await RawPeer.connect(t, port);
  // 15 commands whose arguments do not end: nearly all of the budget, and nothing of them has run.
  greedy.send(
    HELLO,
    times(15, (i) =>
      frames(`${id(i)} 1 0 command-name have-args echo`, begun(id(i), ARGUMENT, ARGUMENT - 1)),
    ),
  );
  await greedy.seen();
  t.is((await server.stats()).input.refused, 0);
  const modest = await RawPeer.connect(t, port);
  modest.send(
    HELLO,
    '1 1 0 command-name have-args unknown',
    times(3, (i) => {
      const head = begun(1, ARGUMENT, ARGUMENT, i === 2 ? 2 : 0);
      head[12] = 97 + i;
      return head;
    }),
  );
  t.is(await modest.answer(1), "error: unknown command 'unknown'");
  await greedy.seen();
  const refused = greedy.frames.filter(({ type }) => type === FrameType.errorResponse);
  t.true(refused.length > 0 && refused.length <= 4, `${refused.length} give way`);
  t.true(greedy.unharmed);
  // What still comes of a refused command is passed over; the others go on.
  const gone = refused.map(({ requestId }) => requestId);
  greedy.send(...Array.from({ length: 15 }, (_, i) => rest(id(i), 1, 2)));
  for (let i = 0; i < 15; i++)
    t.regex((await greedy.answer(id(i))) ?? '', gone.includes(id(i)) ? /^error: inputMemory/ : /^$/);
});

for (const [where, command] of Object.entries({ 'on the main thread': 'hang', 'in a lane': 'lane' })) {
  test(`unread command data counts, and the request with the most of it is cancelled: ${where}`, async (t) => {
    const { server, port } = await serving(t, {
      inputMemory: MIB,
      commands: { hang, lane: { ...hangInLane, export: 'hang' } },
    });
    const hello = HELLO.replace('"goaway"', '"data-credit"');
    const greedy = await RawPeer.connect(t, port);
    const piece = 'x'.repeat(32 * KIB);
    greedy.send(hello);
    for (let i = 0; i < 4; i++) {
      greedy.send(
        `${id(i)} 1 0 command-name have-data ${command}`,
        times(8 + i, () => `${id(i)} 1 0 command-data continuation ${piece}`),
      );
    }
    // When the last one passes the budget, the one before it holds the most.
    t.regex((await greedy.answer(5)) ?? '', /^error: inputMemory: .* command data/);
    await greedy.seen();
    t.true(greedy.unharmed);
    const { input } = await server.stats();
    t.true(input.bytes <= input.limit, `${input.bytes} of ${input.limit}`);
    t.is(input.cancelled, 1);
    // What still comes of it is passed over.
    greedy.send('5 1 0 command-data eos rest', '9 1 0 command-name eos x');
    t.is(await greedy.answer(9), "error: unknown command 'x'");
  });
}

test('what waits for a handler that reads is held back, not refused, and flows on', async (t) => {
  const { server, port } = await serving(t, { inputMemory: 256 * KIB });
  const peers = await Promise.all(Array.from({ length: 4 }, () => RawPeer.connect(t, port)));
  const piece = 'y'.repeat(32 * KIB);
  for (const peer of peers) {
    peer.send('1 1 stream-begin command-name have-data echo');
    for (let i = 0; i < 40; i++)
      peer.send(`1 1 0 command-data ${i === 39 ? 'eos' : 'continuation'} ${piece}`);
  }
  for (const peer of peers) t.is((await peer.answer(1))?.length, 40 * 32 * KIB);
  t.is((await server.stats()).input.cancelled, 0);
  t.is(await heldAtLast(server), 0);
});

test('that a peer has gone is found while what it has sent waits, and that is dropped', async (t) => {
  const { server, port } = await serving(t, { commands: { hang }, keepAliveInterval: 0 });
  const peer = await RawPeer.connect(t, port);
  const zeros = new Uint8Array(64 * KIB);
  const [first, next] = encodeAll(nativeZstd, [zeros, zeros], { level: 1 });
  const data = '1 3 encoded command-data continuation ';
  peer.send(
    HELLO,
    frame('0 3 stream-begin stream-settings 0 ', streamSettingsPayload('zstd-8mb')),
    '1 1 0 command-name have-data hang',
    frame(data, first),
  );
  await peer.seen();
  peer.send(times(30_000, () => frame(data, next)));
  // More than its handler wants; what else is there to read, the server does not.
  while ((await held(server)) <= MIB);
  await heldAtLast(server);
  peer.socket.resetAndDestroy();
  while ((await server.stats()).connections > 0);
  t.is(await held(server), 0);
});

test('a frame that is larger than all there is ends its connection, with the name of the limit', async (t) => {
  const { port } = await serving(t, { inputMemory: MIB, limits: { maxPayload: 8 * MIB } });
  const peer = await RawPeer.connect(t, port);
  peer.send(HELLO);
  peer.socket.write(frame('1 1 0 command-data eos ', new Uint8Array(4 * MIB)).subarray(0, 2 * MIB));
  t.regex((await peer.protocolError()) ?? '', /^protocol error \(limit\): inputMemory: /);
});

test('the budget finds who holds the most among many, and nobody within the own share is asked', (t) => {
  const budget = new InputBudget(10 * MIB);
  const asked: number[] = [];
  const shares = Array.from({ length: 1000 }, (_, i) => {
    const share = budget.open();
    const size = i < 900 ? 10_000 : 10_000 + 1000 * i;
    share.take(i < 997 ? (i < 900 ? 1000 : 65 * KIB - i) : size);
    share.holder = {
      letGo() {
        asked.push(i);
        share.give(share.held);
        return true;
      },
    };
    return share;
  });
  const newcomer = budget.open();
  t.true(newcomer.makeRoom(64 * KIB), 'its own share nobody can refuse');
  t.deepEqual(asked, []);
  const room = budget.limit - budget.used;
  t.true(newcomer.makeRoom(room + 1) || asked.length > 0);
  t.true(
    asked.every((i) => i >= 997),
    String(asked),
  );
  for (const share of shares) share.close();
  t.is(budget.used, 0);
});

// ------------------------------------------------------------------------------------- speed ends nobody

test('126 cancels and 20 commands in one write: those for which there is no room fail, the connection goes on', async (t) => {
  const { port } = await serving(t, { commands: { hang } });
  const peer = await RawPeer.connect(t, port);
  const hello = HELLO.replace('"goaway"', '"error-codes"');
  peer.send(
    hello,
    times(126, (i) => `${id(i)} 1 0 command-name eos hang`),
  );
  await peer.seen();
  peer.send(
    times(126, (i) => `${id(i)} 1 0 cancel 0 `),
    times(20, (i) => `${1001 + 2 * i} 1 0 command-name eos x`),
  );
  for (let i = 0; i < 126; i++) t.is(await peer.answer(id(i)), 'error: cancelled\0cancelled');
  for (let i = 0; i < 20; i++)
    t.regex(
      (await peer.answer(1001 + 2 * i)) ?? 'the end',
      /^error: (unknown-command|overloaded\0maxConcurrentRequests: )/,
    );
  await peer.seen();
  peer.send('3001 1 0 command-name have-data echo', '3001 1 0 command-data eos still there');
  t.is(await peer.answer(3001), 'still there');
});
