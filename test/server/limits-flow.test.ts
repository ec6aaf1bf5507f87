// Flow control: who does not read waits alone, and holds no more than was agreed.
import ava from 'ava';
import {
  type CommandDefinition,
  CommandError,
  type CommandRequest,
  ProgressOutput,
  TextOutput,
} from '../../src/index.ts';
import { FrameType } from '../../src/wire/frame.ts';
import { idle } from '../fixtures/stubborn.ts';
import { frame, HELLO, RawPeer } from '../helpers/raw-peer.ts';
import { dial, halted, serving as servingAlone, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

const test = ava.serial;
const KIB = 1024;
const FAILING = new URL('../fixtures/failing.ts', import.meta.url);
const STUBBORN = new URL('../fixtures/stubborn.ts', import.meta.url);

/** Counts what its handlers have made, by number. */
function pouring(made: number[]): (request: CommandRequest) => AsyncGenerator<Uint8Array> {
  return async function* (request) {
    const n = Number(request.text('n'));
    made[n] = 0;
    for (let i = 0; ; i++) {
      yield new Uint8Array(16 * KIB).fill(i);
      made[n] += 16 * KIB;
    }
  };
}

const pourFrames = (id: number, n: number, begin = 0): string[] => [
  `${id} 1 ${begin} command-name have-args pour`,
  `${id} 1 0 command-argument eoa \\x01\\x00${String.fromCharCode(92)}x0${String(n).length}\\x00n${n}`,
];

test('a response whose window is used up waits; the others of its connection do not', async (t) => {
  const made: number[] = [];
  const { port } = await serving(t, { commands: { pour: pouring(made) } });
  const client = await dial(t, { port }, { requestWindow: 100 * KIB });
  const unread = client.call('pour', { args: { n: '0' } });
  await halted(
    () => made[0] ?? 0,
    () => client.ping(),
  );
  const value = 'others go on '.repeat(1000);
  for (let i = 0; i < 50; i++) t.is(await client.call('echo', { args: { value } }).text(), value);
  // Its window, and the piece in the handler's hands.
  t.true(made[0] <= 100 * KIB + 48 * KIB, `${made[0]}`);
  let read = 0;
  for await (const piece of unread) {
    read += piece.length;
    if (read > 2000 * KIB) break;
  }
  t.true(made[0] > 2000 * KIB, 'reading gives credit');
});

test('credit is counted before encoding, for the request and for the connection', async (t) => {
  const { port } = await serving(t, { commands: { zeros: () => new Uint8Array(1000 * KIB) } });
  for (const window of ['requestWindow', 'connectionWindow']) {
    const peer = await RawPeer.connect(t, port);
    peer.send(
      `0 1 stream-begin sender-settings 0 {"contentEncodings":["zlib"],"${window}":${100 * KIB},"extensions":["credit","ping"]}`,
      '1 1 0 command-name eos zeros',
    );
    const wire = () =>
      peer.frames
        .filter(({ type }) => type === FrameType.bytesResponse)
        .reduce((sum, { payload }) => sum + payload.length, 0);
    const isOver = () =>
      peer.frames.some(({ type, flags }) => type === FrameType.bytesResponse && flags === 2);
    t.true((await halted(wire, () => peer.seen())) < 5 * KIB, 'they encode to next to nothing');
    t.false(isOver());
    peer.send(`${window === 'requestWindow' ? 1 : 0} 1 0 credit 0 \\x00\\x00\\x10\\x00`);
    t.true(await peer.until(isOver));
  }
});

test('thirty connections that never read stay bounded together, and others are served', async (t) => {
  const made: number[] = [];
  const { port } = await serving(t, { outputMemory: 4 * KIB * KIB, commands: { pour: pouring(made) } });
  for (let n = 0; n < 30; n++) {
    const peer = await RawPeer.connect(t, port);
    peer.socket.pause();
    peer.send(...pourFrames(1, n, 1));
  }
  const client = await dial(t, { port });
  const all = () => made.reduce((sum, bytes) => sum + bytes, 0);
  while (made.length < 30) await client.ping();
  const bytes = await halted(all, () => client.ping());
  t.log(`${Math.round(bytes / KIB / KIB)} MiB made, the kernel's part included`);
  t.true(made.every((each) => each < 16 * KIB * KIB));
  const value = 'x'.repeat(60_000);
  for (let i = 0; i < 20; i++) t.is(await client.call('echo', { args: { value } }).text(), value);
  t.is(all(), bytes, 'all wait');
});

for (const [what, news] of Object.entries({
  text: new TextOutput({ format: 'x'.repeat(1000), labels: [], args: [] }),
  progress: new ProgressOutput(1, -1, 'x'.repeat(1000), '', ''),
})) {
  test(`${what} waits for room, too`, async (t) => {
    let said = 0;
    const chatter = async function* () {
      for (; ; said++) yield news;
    };
    const { port } = await serving(t, { limits: { maxBufferedOutput: 256 * KIB }, commands: { chatter } });
    const [peer, other] = [await RawPeer.connect(t, port), await dial(t, { port })];
    peer.socket.pause();
    peer.send(HELLO, '1 1 0 command-name eos chatter');
    t.true(
      (await halted(
        () => said,
        () => other.ping(),
      )) > 0,
    );
  });
}

for (const where of ['on the main thread', 'in a lane']) {
  test(`all of a piece that had to wait arrives while its handler ${where} waits for something else`, async (t) => {
    const command = where === 'in a lane' ? { module: STUBBORN, export: 'idle' } : idle;
    const { port } = await serving(t, {
      limits: { maxBufferedOutput: 64 * KIB },
      commands: { idle: command },
    });
    const client = await dial(t, { port });
    let missing = 300_000;
    for await (const piece of client.call('idle', { args: { size: String(missing) } })) {
      missing -= piece.length;
      if (missing === 0) break;
    }
    t.is(missing, 0);
  });
}

for (const order of ['before', 'after'] as const) {
  test(`calls that idle in a lane from ${order} others use up outputMemory on do not keep their connection waiting`, async (t) => {
    const made: number[] = [];
    const { port } = await serving(t, {
      outputMemory: 1 << 20,
      commands: {
        pour: pouring(made),
        idle: { module: STUBBORN, export: 'idle' },
      },
    });
    const client = await dial(t, { port });
    const idling = async () => {
      for (let i = 0; i < 4; i++)
        client
          .call('idle')
          .text()
          .catch(() => undefined);
      await client.ping();
    };
    if (order === 'before') await idling();
    for (let i = 0; i < 4; i++) {
      const peer = await RawPeer.connect(t, port);
      peer.socket.pause();
      peer.send(...pourFrames(1, 2 * i, 1), ...pourFrames(3, 2 * i + 1));
    }
    const all = () => made.reduce((sum, bytes) => sum + bytes, 0);
    while (made.length < 8) await client.ping();
    await halted(all, () => client.ping());
    if (order === 'after') await idling();
    const value = 'x'.repeat(60_000);
    t.is(await client.call('echo', { args: { value } }).text(), value);
  });
}

for (const [what, frames] of Object.entries({
  'command data that is echoed': [
    '1 1 0 command-name have-data echo',
    ...Array.from({ length: 40 }, () => `1 1 0 command-data continuation ${'x'.repeat(10_000)}`),
    '1 1 0 command-data eos end',
  ],
  'commands that nobody knows': Array.from(
    { length: 3000 },
    (_, i) => `${2 * i + 1} 1 0 command-name eos ${'x'.repeat(250)}`,
  ),
})) {
  test(`half duplex: ${what}, whose answers pass the output bound, is an error and no standstill`, async (t) => {
    const { port } = await serving(t, {
      halfDuplex: true,
      limits: { maxBufferedOutput: 65_536, maxBufferedInput: 65_536, maxConcurrentRequests: 10_000 },
    });
    const peer = await RawPeer.connect(t, port);
    peer.send(HELLO, ...frames);
    peer.socket.end();
    t.regex((await peer.protocolError()) ?? 'nothing came', /limit\): maxBufferedOutput/);
  });
}

test('credit is read although uploads fill the input bound that wait for a stream, which waits for credit', async (t) => {
  const size = 500_000;
  const commands = { big: () => new Uint8Array(size) };
  const { port } = await serving(t, { policy: 'per-request', streams: 2, commands });
  const client = await dial(t, { port }, { requestWindow: 50_000 });
  const other = await dial(t, { port });
  const unread = [client.call('big'), client.call('big')];
  const uploads = Array.from({ length: 60 }, () =>
    client.call('echo', { data: new Uint8Array(30_000) }).bytes(),
  );
  // By then the server has all that it takes.
  await halted(
    () => client.stats().bytesWritten,
    () => other.ping(),
  );
  for (const response of unread) t.is((await response.bytes()).length, size);
  t.true((await Promise.all(uploads)).every(({ length }) => length === 30_000));
});

test('data of requests that wait for a stream, which waits for credit that never comes, is bounded', async (t) => {
  const commands = { big: () => new Uint8Array(500_000) };
  const { port } = await serving(t, { policy: 'per-request', streams: 1, commands });
  const peer = await RawPeer.connect(t, port);
  const settings = HELLO.replace('{', '{"requestWindow":1000,"contentEncodings":["zlib"],');
  peer.send(settings, '1 1 0 command-name eos big', '3 1 0 command-name have-data echo');
  const piece = frame('3 1 0 command-data continuation ', new Uint8Array(32 * KIB));
  for (let sent = 0; sent < 12 << 20; sent += piece.length) peer.send(piece);
  t.regex((await peer.answer(3)) ?? '', /too much command data/);
});

const LONG = 'é'.repeat(400);
const ERRORS: Record<string, string[]> = {
  'an unknown command': [`1 1 0 command-name eos ${'x'.repeat(250)}`],
  'a handler that fails': ['1 1 0 command-name eos fail'],
  'a handler that fails unencoded': [
    '1 1 0 command-name have-args fail',
    '1 1 0 command-argument eoa \\x0a\\x00\\x00\\x00:sensitive',
  ],
  'a worker that dies': ['1 1 0 command-name eos die'],
  'a deadline that is no number': [
    '1 1 0 command-name have-args fail',
    '1 1 0 command-argument eoa \\x0c\\x00\\x01\\x00:deadline-msx',
  ],
  'a protocol error': ['1 1 0 command-name 0 fail'],
  'a protocol error with a long name in it': [`0 1 0 error-response protocol ${LONG}`],
};
for (const [what, lines] of Object.entries(ERRORS)) {
  test(`an error fits what the peer takes of a frame: ${what}`, async (t) => {
    const { port } = await servingAlone(t, {
      commands: {
        fail: async function* () {
          yield 'x';
          throw new CommandError(LONG);
        },
        die: { module: FAILING, export: 'die' },
      },
    });
    const peer = await RawPeer.connect(t, port);
    peer.send(HELLO.replace('{', '{"maxFrameSize":256,'), ...lines);
    const error = () => peer.frames.find(({ type }) => type === FrameType.errorResponse);
    t.true(await peer.until(() => error() !== undefined));
    t.true(Number(error()?.payload.length) <= 256, `${error()?.payload.length} bytes`);
    t.false(new TextDecoder().decode(error()?.payload).includes('\ufffd'));
  });
}

const LATE: Record<string, (released: Promise<string>) => CommandDefinition> = {
  'on the main thread': (released) =>
    async function* () {
      yield 'x';
      await released;
    },
  'in a lane, which dies': () => ({ module: STUBBORN, export: 'never' }),
};
for (const [where, command] of Object.entries(LATE)) {
  test(`arguments of cancelled requests whose handler is still at work ${where} are held, and counted`, async (t) => {
    const released = Promise.withResolvers<string>();
    const { port } = await servingAlone(t, {
      limits: { maxHeldArgumentBytes: 100_000 },
      commands: { late: command(released.promise), die: { module: FAILING, export: 'die' } },
    });
    const held = async (peer: RawPeer, from: number) => {
      for (let id = from; id < from + 4; id += 2) {
        peer.send(
          `${id} 1 0 command-name have-args late`,
          frame(`${id} 1 0 command-argument continuation `, Buffer.from('\x01\x00\x40\x9cx', 'latin1')),
          frame(`${id} 1 0 command-argument eoa `, new Uint8Array(40_000)),
        );
        const begun = () => peer.frames.some(({ requestId }) => requestId === id);
        t.true(await peer.until(begun), `request ${id}`);
        peer.send(`${id} 1 0 cancel 0 `);
        t.regex((await peer.answer(id)) ?? '', /^(error: cancelled|error: no worker.*|x)$/);
      }
    };
    const one = await RawPeer.connect(t, port);
    const other = await RawPeer.connect(t, port);
    for (const peer of [one, other]) {
      peer.send(HELLO);
      await held(peer, 1);
    }
    one.send(
      '9 1 0 command-name have-args late',
      frame('9 1 0 command-argument continuation ', Buffer.from('\x01\x00\x40\x9cx', 'latin1')),
    );
    t.regex((await one.answer(9)) ?? '', /^error: maxHeldArgumentBytes/);
    t.true(one.unharmed);
    // Once the handlers have ended, or their worker, there is room again.
    released.resolve('x');
    other.send('7 1 0 command-name eos die');
    t.regex((await other.answer(7)) ?? '', /died/);
    await held(other, 9);
    await other.seen();
    t.true(other.unharmed);
  });
}
