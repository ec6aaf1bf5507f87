// The server, held against the protocol document by a client that shares no code with it (test/independent/client.ts).
// Letters and numbers in the test names are the document's sections.
import { mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import zlib from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import {
  Arg,
  argumentPayload,
  Client,
  type CommandSpec,
  type ConnectOptions,
  chance,
  commandParts,
  creditPart,
  Data,
  dataPart,
  Encoder,
  EXTENSIONS,
  type Exchange,
  Failure,
  type Frame,
  Name,
  noise,
  type Outcome,
  type Part,
  type RunningServer,
  rawFrame,
  StreamFlag,
  settingsPart,
  startServer,
  streamSettingsPayload,
  Type,
  text,
} from './client.ts';
import { wraps } from './wrap.ts';

const PAGE = text(8 * 1024, 1);
const TEXT = text(300_000, 2);
const NOISE = noise(200_000, 3);
const BIG = Buffer.concat([text(600_000, 4), noise(300_000, 5), text(700_000, 6)]);
const SECRET = 'outside-the-folder-4f1b7c';
const SNOW = 'snow \u2603 \u00e9t\u00e9.txt';
const FILES: Record<string, Buffer> = {
  'hello.txt': Buffer.from('hello, world\n'),
  'empty.bin': Buffer.alloc(0),
  'page.txt': PAGE,
  'text.log': TEXT,
  'noise.bin': NOISE,
  'big.bin': BIG,
  'sub/inner.txt': Buffer.from('inner\n'),
  [SNOW]: Buffer.from('flakes'),
};
const ALL: ConnectOptions = { settings: { contentEncodings: ['zstd-8mb', 'zlib'], extensions: EXTENSIONS } };
const IDENTITY: ConnectOptions = { settings: { contentEncodings: ['identity'], extensions: EXTENSIONS } };
const PROFILES = ['zlib', 'zstd-8mb'] as const;

let base = '';
let folder = '';
let server: RunningServer;

test.before(async () => {
  base = await mkdtemp(path.join(os.tmpdir(), 'millrace-independent-'));
  folder = path.join(base, 'served');
  await mkdir(path.join(folder, 'sub'), { recursive: true });
  for (const [name, bytes] of Object.entries(FILES)) await writeFile(path.join(folder, name), bytes);
  await mkdir(path.join(base, 'outside'));
  await writeFile(path.join(base, 'secret.txt'), SECRET);
  await writeFile(path.join(base, 'outside', 'secret.txt'), SECRET);
  await symlink(path.join(base, 'secret.txt'), path.join(folder, 'link-file'));
  await symlink('../secret.txt', path.join(folder, 'link-relative'));
  await symlink(path.join(base, 'outside'), path.join(folder, 'link-dir'));
  server = await startServer(folder);
});

test.after.always(async () => {
  await server?.stop();
  if (base) await rm(base, { recursive: true, force: true });
});

async function connect(t: ExecutionContext, options: ConnectOptions = {}): Promise<Client> {
  const client = await Client.connect(server.port, options);
  t.teardown(() => client.close());
  return client;
}

/** Nothing that came in broke a rule of the document. */
function clean(t: ExecutionContext, client: Client): void {
  t.deepEqual(client.violations, []);
  t.deepEqual(
    client.protocolErrors.map((f) => f.payload.toString()),
    [],
  );
}

function same(t: ExecutionContext, actual: Buffer, expected: Uint8Array | string, what = 'the bytes'): void {
  const wanted = Buffer.from(expected as string);
  t.true(actual.equals(wanted), `${what}: ${actual.length} bytes came, ${wanted.length} wanted`);
}

function failed(t: ExecutionContext, outcome: Outcome): string {
  if (outcome.kind !== 'error') {
    t.fail(`an answer of ${outcome.body.length} bytes where an application error was due`);
    return '';
  }
  t.true(outcome.message.length > 0, 'a message for people');
  return outcome.message;
}

function get(name: string, more: CommandSpec['args'] = []): CommandSpec {
  return { args: [['path', name], ...more] };
}

// ---------------------------------------------------------------- part A, a peer without settings

test('protocol A: capabilities answers a JSON object with commands, profiles, limits and extensions', async (t) => {
  const client = await connect(t);
  const found = JSON.parse((await client.body(client.start('capabilities'))).toString());
  for (const key of ['commands', 'profiles', 'limits', 'extensions']) t.true(key in found, key);
  const commands = JSON.stringify(found.commands);
  for (const name of ['capabilities', 'echo', 'files.list', 'files.get', 'files.stat']) {
    t.true(commands.includes(`"${name}"`), name);
  }
  const profiles = JSON.stringify(found.profiles);
  for (const name of ['zlib', 'zstd-8mb']) t.true(profiles.includes(`"${name}"`), name);
  clean(t, client);
});

test('protocol A: echo gives back the argument value first and then its command data', async (t) => {
  const client = await connect(t);
  same(t, await client.body(client.start('echo', { data: ['abc', 'def'] })), 'abcdef');
  same(
    t,
    await client.body(client.start('echo', { args: [['value', 'first ']], data: ['then'] })),
    'first then',
  );
  same(t, await client.body(client.start('echo', { args: [['value', 'alone']] })), 'alone');
  clean(t, client);
});

test('protocol A: empty command data, an empty argument value and no data at all each get one whole empty answer', async (t) => {
  const client = await connect(t);
  same(t, await client.body(client.start('echo')), '');
  same(t, await client.body(client.start('echo', { data: [''] })), '');
  same(t, await client.body(client.start('echo', { args: [['value', '']] })), '');
  same(
    t,
    await client.body(client.start('echo', { args: [['value', '']], data: ['', 'x', '', 'y', ''] })),
    'xy',
  );
  same(t, await client.body(client.start('files.get', get('empty.bin'))), '');
  clean(t, client);
});

test('protocol A: files.list gives one JSON line per entry, with what the file system says of it', async (t) => {
  const client = await connect(t);
  const body = (await client.body(client.start('files.list'))).toString();
  const entries: Array<Record<string, unknown>> = body
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
  for (const name of ['hello.txt', 'empty.bin', 'text.log', SNOW]) {
    const entry = entries.find((e) => e.path === name);
    const truth = await stat(path.join(folder, name));
    t.truthy(entry, name);
    t.is(entry?.size, truth.size);
    t.true(Math.abs(Number(entry?.mtimeMs) - truth.mtimeMs) < 1.5, 'mtimeMs');
    t.is(Number(entry?.mode) & 0o777, truth.mode & 0o777);
  }
  t.false(body.includes('secret.txt'));
  const sub = (await client.body(client.start('files.list', get('sub')))).toString();
  t.true(sub.includes('inner.txt'));
  t.false(sub.includes('hello.txt'));
  clean(t, client);
});

test('protocol A: files.stat gives one JSON object', async (t) => {
  const client = await connect(t);
  for (const name of ['hello.txt', 'empty.bin', 'sub/inner.txt', SNOW]) {
    const truth = await stat(path.join(folder, name));
    const found = JSON.parse((await client.body(client.start('files.stat', get(name)))).toString());
    t.is(found.size, truth.size);
    t.true(Math.abs(found.mtimeMs - truth.mtimeMs) < 1.5);
  }
  clean(t, client);
});

test('protocol A: files.get gives whole files and ranges of them', async (t) => {
  const client = await connect(t);
  for (const [name, bytes] of Object.entries(FILES)) {
    same(t, await client.body(client.start('files.get', get(name))), bytes, name);
  }
  const ranges: Array<[number, number | undefined]> = [
    [0, 10],
    [1, 1],
    [299_990, undefined],
    [32_767, 2],
    [32_768, 65_537],
    [0, 300_000],
  ];
  for (const [offset, length] of ranges) {
    const more: Array<[string, string]> = [['offset', String(offset)]];
    if (length !== undefined) more.push(['length', String(length)]);
    const wanted = TEXT.subarray(offset, length === undefined ? undefined : offset + length);
    same(
      t,
      await client.body(client.start('files.get', get('text.log', more))),
      wanted,
      `${offset}+${length}`,
    );
  }
  same(
    t,
    await client.body(client.start('files.get', get('text.log', [['length', '7']]))),
    TEXT.subarray(0, 7),
  );
  clean(t, client);
});

test('protocol A: an unknown command, a missing file and a missing argument are application errors that free their ID', async (t) => {
  const client = await connect(t);
  const tries: Array<[string, CommandSpec]> = [
    ['no-such-command', {}],
    ['no-such-command', { args: [['a', 'b']], data: ['c', 'd'] }],
    ['files.get', get('no/such/file')],
    ['files.stat', get('no-such-file')],
    ['files.get', {}],
    ['files.get', get('sub')],
  ];
  for (const [name, spec] of tries) {
    failed(t, await client.answer(client.start(name, spec, 1, 7)));
    same(t, await client.body(client.start('echo', { data: ['still here'] }, 1, 7)), 'still here');
  }
  clean(t, client);
});

test('protocol A: command data that follows a command that has already failed harms nobody', async (t) => {
  const client = await connect(t);
  const bad = client.expect(1);
  client.write(client.commandBytes(1, 'no-such-command', { data: ['early'], open: true }));
  failed(t, await client.answer(bad));
  client.write(client.put(1, 1, dataPart('late', false)), client.put(1, 1, dataPart('later', true)));
  same(t, await client.body(client.start('echo', { data: ['fine'] }, 1, 3)), 'fine');
  clean(t, client);
});

test('protocol A: a peer without settings gets part A only, whatever it asks for', async (t) => {
  const client = await connect(t);
  const running: Array<[Exchange, Buffer | undefined]> = [];
  for (let i = 0; i < 3; i++) {
    for (const [name, bytes] of Object.entries(FILES)) {
      running.push([client.start('files.get', get(name), 1 + 2 * i), bytes]);
    }
    running.push([client.start('capabilities'), undefined]);
    running.push([client.start('files.list'), undefined]);
    running.push([
      client.start('echo', { args: [['value', TEXT.subarray(0, 60_000)]] }),
      TEXT.subarray(0, 60_000),
    ]);
  }
  for (const [exchange, wanted] of running) {
    const body = await client.body(exchange);
    if (wanted) same(t, body, wanted);
  }
  t.deepEqual(
    client.frames.filter((f) => f.encoded || (f.type !== Type.bytesResponse && f.type !== Type.textOutput)),
    [],
  );
  t.true(client.frames.every((f) => f.stream % 2 === 0 && f.stream > 0));
  t.true(client.frames.every((f) => f.wireLength <= 32_768));
  clean(t, client);
});

test('protocol A4, B10: echo answers the first piece of command data before it has got the second', async (t) => {
  const client = await connect(t);
  const echo = client.start('echo', { args: [['value', '<']], data: ['one'], open: true });
  let wanted = '<one';
  for (const word of ['two', 'three', 'four']) {
    await client.until(() => echo.received >= wanted.length, 'an echo in time');
    t.is(echo.body.toString(), wanted);
    t.false(echo.finished);
    client.write(client.put(1, echo.id, dataPart(word, false)));
    wanted += word;
  }
  await client.until(() => echo.received >= wanted.length, 'the last echo');
  client.write(client.put(1, echo.id, dataPart('', true)));
  same(t, await client.body(echo), wanted);
  clean(t, client);
});

test('protocol B2: an argument value in many pieces, with another request in between and over several streams', async (t) => {
  const client = await connect(t);
  const value = noise(65_535, 11);
  for (const piece of [1, 7, 4096, 30_000, 60_000]) {
    const size = piece < 10 ? 300 : value.length;
    const spec = { args: [['value', value.subarray(0, size)] as const], piece };
    same(t, await client.body(client.start('echo', spec)), value.subarray(0, size), `pieces of ${piece}`);
  }
  const slow = client.expect(101);
  const parts = commandParts('echo', { args: [['value', value]], piece: 5000, data: ['tail'] });
  const others: Exchange[] = [];
  for (const [i, part] of parts.entries()) {
    client.write(client.put(1 + 2 * (i % 3), slow.id, part));
    const other = client.expect(1001 + 2 * i);
    client.write(client.commandBytes(other.id, 'echo', { args: [['value', `between ${i}`]] }));
    others.push(other);
  }
  same(t, await client.body(slow), Buffer.concat([value, Buffer.from('tail')]));
  for (const [i, other] of others.entries()) same(t, await client.body(other), `between ${i}`);
  clean(t, client);
});

test('protocol B2: the first piece of a continued value may be empty, and continued arguments mix with whole ones', async (t) => {
  const client = await connect(t);
  const exchange = client.expect(1);
  const put = (part: Part): void => client.write(client.put(1, 1, part));
  const argument = (flags: number, payload: Uint8Array | string): void => {
    put({ type: Type.commandArgument, flags, payload });
  };
  put({ type: Type.commandName, flags: Name.haveArgs, payload: 'files.get' });
  argument(Arg.continuation, argumentPayload('path', '', 8));
  argument(Arg.continuation, 'text');
  argument(0, '.log');
  argument(0, argumentPayload('offset', '100'));
  argument(Arg.continuation, argumentPayload('length', '2', 3));
  argument(Arg.eoa, '50');
  same(t, await client.body(exchange), TEXT.subarray(100, 350));
  clean(t, client);
});

test('protocol A4: command data in many frames of all sizes comes back whole', async (t) => {
  const client = await connect(t);
  const next = chance(21);
  const data = Array.from({ length: 600 }, (_, i) => noise(next(i % 50 === 0 ? 30_000 : 300), i));
  data.push(noise(65_535, 9999));
  same(t, await client.body(client.start('echo', { data })), Buffer.concat(data));
  clean(t, client);
});

test('protocol A4: the frames of many requests, interleaved over several streams, each find their own answer', async (t) => {
  const client = await connect(t);
  const next = chance(31);
  const queues: Array<{ exchange: Exchange; parts: Part[]; wanted: Buffer }> = [];
  for (let i = 0; i < 60; i++) {
    const data = Array.from({ length: 1 + next(12) }, (_, k) => noise(next(2000), i * 100 + k));
    const value = noise(1 + next(3000), i + 50_000);
    const exchange = client.expect(client.nextId());
    const parts = commandParts('echo', { args: [['value', value]], piece: 1 + next(3000), data });
    queues.push({ exchange, parts, wanted: Buffer.concat([value, ...data]) });
  }
  const waiting = [...queues];
  const out: Buffer[] = [];
  while (waiting.length > 0) {
    const at = next(waiting.length);
    const { exchange, parts } = waiting[at]!;
    out.push(client.put(1 + 2 * next(5), exchange.id, parts.shift()!));
    if (parts.length === 0) waiting.splice(at, 1);
    if (out.length === 20 || waiting.length === 0) client.write(...out.splice(0));
  }
  for (const { exchange, wanted } of queues)
    same(t, await client.body(exchange), wanted, `request ${exchange.id}`);
  clean(t, client);
});

test('protocol A4: a request ID is free again as soon as its answer is complete', async (t) => {
  const client = await connect(t);
  for (let i = 0; i < 300; i++) {
    const word = `turn ${i}`;
    if (i % 10 === 9) failed(t, await client.answer(client.start('no-such-command', {}, 1, 1)));
    else same(t, await client.body(client.start('echo', { data: [word] }, 1, 1)), word);
  }
  clean(t, client);
});

test('protocol B4: request IDs wrap from 65535 to 1, past one that is still busy', async (t) =>
  wraps(t, await connect(t), 400));

test('protocol A5: a client stream may end and begin afresh, on one frame or over many', async (t) => {
  const client = await connect(t);
  for (let i = 0; i < 10; i++) {
    const exchange = client.expect(client.nextId());
    const parts = commandParts('echo', { args: [['value', 'v']], data: ['1', '2', '3'] });
    client.write(...parts.map((part) => client.put(5, exchange.id, part, { begin: true, end: true })));
    same(t, await client.body(exchange), 'v123');
    const other = client.expect(client.nextId());
    client.write(...parts.map((part, k) => client.put(7, other.id, part, { end: k === parts.length - 1 })));
    same(t, await client.body(other), 'v123');
  }
  clean(t, client);
});

test('protocol B1: a begin on a stream that is still open is accepted and resets the stream', async (t) => {
  const client = await connect(t);
  for (let i = 0; i < 10; i++) {
    const exchange = client.expect(client.nextId());
    const parts = commandParts('echo', { data: ['1', '2', '3'] });
    client.write(...parts.map((part) => client.put(1, exchange.id, part, { begin: true })));
    same(t, await client.body(exchange), '123');
  }
  clean(t, client);
});

test('protocol A5: sixteen client streams may be open at once, the last of all IDs among them', async (t) => {
  const client = await connect(t);
  const streams = [...Array.from({ length: 15 }, (_, i) => 1 + 2 * i), 255];
  const running = streams.map((stream) => client.start('echo', { data: [`on ${stream}`] }, stream));
  for (const [i, exchange] of running.entries()) same(t, await client.body(exchange), `on ${streams[i]}`);
  const again = streams.map((stream) => client.start('echo', { data: [`again ${stream}`] }, stream));
  for (const [i, exchange] of again.entries()) same(t, await client.body(exchange), `again ${streams[i]}`);
  clean(t, client);
});

test('protocol A5: stream-settings for identity are part A and change nothing', async (t) => {
  const client = await connect(t);
  const exchange = client.expect(1);
  client.write(client.beginStream(3, 'identity', 1), client.commandBytes(1, 'echo', { data: ['plain'] }, 3));
  same(t, await client.body(exchange), 'plain');
  clean(t, client);
});

const MIXED: Array<[string, CommandSpec, Buffer | string]> = [
  ['echo', { args: [['value', 'abc']], piece: 2, data: ['defg', '', 'h'] }, 'abcdefgh'],
  ['files.get', get('hello.txt'), FILES['hello.txt']!],
  ['echo', {}, ''],
  ['files.get', get('page.txt', [['offset', '8000']]), PAGE.subarray(8000)],
];

async function chopped(t: ExecutionContext, size: () => number, options: ConnectOptions = {}): Promise<void> {
  const client = await connect(t, options);
  const running = MIXED.map(([name, spec, wanted], i) => {
    const exchange = client.expect(client.nextId());
    return { exchange, wanted, bytes: client.commandBytes(exchange.id, name, spec, 1 + 2 * (i % 2)) };
  });
  await client.writeInPieces(Buffer.concat(running.map((r) => r.bytes)), size);
  for (const { exchange, wanted } of running) same(t, await client.body(exchange), wanted);
  clean(t, client);
}

test('protocol A1: every byte may arrive in a segment of its own', async (t) => {
  await chopped(t, () => 1);
  await chopped(t, () => 1, ALL);
});

test('protocol A1: segments may cut frames anywhere', async (t) => {
  for (let seed = 0; seed < 12; seed++) {
    const next = chance(seed);
    await chopped(t, () => 1 + next(23));
  }
});

test('protocol A1: everything may arrive in one segment', async (t) => {
  await chopped(t, () => Number.MAX_SAFE_INTEGER);
  const client = await connect(t);
  const running: Exchange[] = [];
  const bytes: Buffer[] = [];
  for (let i = 0; i < 100; i++) {
    const exchange = client.expect(client.nextId());
    running.push(exchange);
    bytes.push(client.commandBytes(exchange.id, 'echo', { data: [`${i}`] }));
  }
  client.write(...bytes);
  for (const [i, exchange] of running.entries()) same(t, await client.body(exchange), `${i}`);
  clean(t, client);
});

test('protocol C2: sender-settings and commands may go out in one write, before the server has said anything', async (t) => {
  const client = await connect(t, { ...ALL, manual: true });
  const exchange = client.expect(1);
  client.write(
    client.put(1, 0, settingsPart(ALL.settings!)),
    client.commandBytes(1, 'files.get', get('text.log')),
  );
  same(t, await client.body(exchange), TEXT);
  t.truthy(client.serverSettings);
  t.is(profilesUsed(client).length, 1);
  clean(t, client);
});

// ---------------------------------------------------------------- the raw client itself

test('protocol B1: the raw client follows a server that begins stream 2 anew for every response', async (t) => {
  const replies: Buffer[] = [];
  const settings = {
    request: 1,
    stream: 2,
    streamFlags: StreamFlag.begin,
    type: Type.streamSettings,
    flags: 0,
  };
  const from = (streamFlags: number, flags: number, payload: Uint8Array | string, request: number): Buffer =>
    rawFrame({ request, stream: 2, streamFlags, type: Type.bytesResponse, flags, payload });
  const sender = { request: 0, stream: 2, streamFlags: StreamFlag.begin, ...settingsPart({}) };
  replies.push(rawFrame(sender), from(1, Data.eos, 'first', 1));
  for (const request of [3, 5]) {
    const encoder = new Encoder('zstd-8mb');
    replies.push(rawFrame({ ...settings, request, payload: streamSettingsPayload('zstd-8mb') }));
    replies.push(from(4, Data.continuation, await encoder.encode(PAGE), request));
    replies.push(from(0, Data.continuation, 'plain in between', request));
    replies.push(from(4, Data.continuation, await encoder.finish(PAGE), request));
    replies.push(from(4, Data.eos, zlib.zstdCompressSync(Buffer.from('a zstd frame of its own')), request));
  }
  const fake = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.resume();
    socket.write(Buffer.concat(replies));
  });
  await new Promise<void>((resolve) => fake.listen(0, '127.0.0.1', resolve));
  t.teardown(() => fake.close());
  const client = await Client.connect((fake.address() as net.AddressInfo).port, ALL);
  t.teardown(() => client.close());
  // The answers were there before the questions: only the bytes matter here.
  await client.until(() => client.frames.length === replies.length, 'all frames');
  const bodies = [1, 3, 5].map((id) =>
    Buffer.concat(client.frames.filter((f) => f.request === id && f.type === 4).map((f) => f.payload)),
  );
  same(t, bodies[0]!, 'first');
  const wanted = Buffer.concat([
    PAGE,
    Buffer.from('plain in between'),
    PAGE,
    Buffer.from('a zstd frame of its own'),
  ]);
  same(t, bodies[1]!, wanted);
  same(t, bodies[2]!, wanted);
  t.true(client.frames[3]!.life !== client.frames[7]!.life);
  t.true(client.violations.every((v) => v.startsWith('a response to a request that is not active')));
});

// ---------------------------------------------------------------- protocol C2: encoded responses

test("protocol C2: the server's sender-settings are its first frame, and unknown keys in ours are ignored", async (t) => {
  const settings = {
    contentEncodings: ['zlib'],
    extensions: EXTENSIONS,
    'x-unknown': { deep: [1] },
    another: null,
  };
  const client = await connect(t, { settings });
  t.is(client.frames[0]!.type, Type.senderSettings);
  t.true(Array.isArray(client.serverSettings?.contentEncodings));
  t.true(client.serverSettings!.contentEncodings!.includes('zlib'));
  t.true(client.serverSettings!.contentEncodings!.includes('zstd-8mb'));
  same(t, await client.body(client.start('echo', { data: ['x'] })), 'x');
  await client.settle();
  t.is(client.frames.filter((f) => f.type === Type.senderSettings).length, 1);
  clean(t, client);
});

test('protocol C2: the frame that brings the settings may both begin and end its stream', async (t) => {
  const client = await connect(t, { settings: {}, manual: true });
  client.write(client.put(1, 0, settingsPart({}), { begin: true, end: true }));
  same(t, await client.body(client.start('echo', { data: ['after'] })), 'after');
  t.truthy(client.serverSettings);
  clean(t, client);
});

/** Every frame that was really encoded went out under a profile the client can decode. */
function profilesUsed(client: Client): string[] {
  return [
    ...new Set(client.frames.filter((f) => f.encoded && f.profile !== 'identity').map((f) => f.profile)),
  ];
}

const ENCODINGS: Array<[title: string, contentEncodings: string[] | undefined, allowed: string[]]> = [
  ['zstd-8mb', ['zstd-8mb'], ['zstd-8mb']],
  ['zlib', ['zlib'], ['zlib']],
  ['zstd-8mb and zlib', ['zstd-8mb', 'zlib'], ['zstd-8mb', 'zlib']],
  ['zlib and zstd-8mb', ['zlib', 'zstd-8mb'], ['zlib', 'zstd-8mb']],
  ['unknown names and zlib', ['x-none', 'zlib', 'br'], ['zlib']],
  ['identity', ['identity'], []],
  ['unknown names only', ['x-none', 'gzip'], []],
  ['nothing named', undefined, []],
];

for (const [title, contentEncodings, allowed] of ENCODINGS) {
  test(`protocol C2, B-profiles: with ${title} every response frame decodes at once, by two decoders, to its exact bytes`, async (t) => {
    const client = await connect(t, { settings: { contentEncodings, extensions: EXTENSIONS } });
    const running: Array<[Exchange, Buffer | undefined]> = [];
    for (let round = 0; round < 2; round++) {
      for (const name of ['text.log', 'noise.bin', 'empty.bin', 'hello.txt', 'page.txt']) {
        running.push([client.start('files.get', get(name), 1 + 2 * round), FILES[name]]);
      }
      const data = [TEXT.subarray(0, 20_000), noise(3000, round), TEXT.subarray(5, 32_000), ''];
      running.push([
        client.start('echo', { data }),
        Buffer.concat(data.map((d) => Buffer.from(d as string))),
      ]);
      running.push([client.start('capabilities'), undefined]);
      running.push([client.start('files.list'), undefined]);
    }
    running.push([client.start('files.get', get('big.bin')), BIG]);
    const bad = client.start('no-such-command');
    for (const [exchange, wanted] of running) {
      const body = await client.body(exchange);
      if (wanted) same(t, body, wanted, `request ${exchange.id}`);
    }
    failed(t, await client.answer(bad));
    const used = profilesUsed(client);
    if (allowed.length === 0) t.deepEqual(used, []);
    else t.true(used.length > 0 && used.every((name) => allowed.includes(name)), `used: ${used.join()}`);
    for (const settings of client.frames.filter((f) => f.type === Type.streamSettings)) {
      t.true([...allowed, 'identity'].includes(settings.profile), settings.profile);
    }
    clean(t, client);
  });
}

for (const profile of PROFILES) {
  test(`protocol A5, B-profiles: under ${profile} a context lives on from request to request`, async (t) => {
    const client = await connect(t, { settings: { contentEncodings: [profile], extensions: EXTENSIONS } });
    let wire = 0;
    for (let i = 0; i < 40; i++) {
      const exchange = client.start('echo', { data: [PAGE] });
      same(t, await client.body(exchange), PAGE);
      for (const frame of exchange.frames) wire += frame.wireLength;
    }
    const alone = 40 * zlib.deflateSync(PAGE).length;
    t.true(wire < alone / 2, `${wire} bytes on the wire; each alone would make ${alone}`);
    clean(t, client);
  });
}

test('protocol C2: no payload is longer than the maxFrameSize of the peer', async (t) => {
  const client = await connect(t, {
    settings: { contentEncodings: ['zlib'], extensions: EXTENSIONS, maxFrameSize: 2048 },
  });
  same(t, await client.body(client.start('files.get', get('noise.bin'))), NOISE);
  same(t, await client.body(client.start('files.get', get('text.log'))), TEXT);
  t.true(client.frames.every((f) => f.wireLength <= 2048));
  clean(t, client);
});

test('protocol C: a ping is answered with its own eight bytes', async (t) => {
  const client = await connect(t, ALL);
  for (let i = 0; i < 5; i++) {
    const token = noise(8, i);
    const reply = await client.ping(token);
    t.is(reply.request, 0);
  }
  clean(t, client);
});

test('the reply to a ping is found also when all frames are forgotten while it is on its way', async (t) => {
  const client = await connect(t, { settings: { extensions: ['ping'] } });
  t.true(client.frames.length > 0);
  const ping = client.ping(noise(8, 12));
  client.frames.length = 0;
  same(t, (await ping).payload, noise(8, 12));
});

// ---------------------------------------------------------------- encoded client streams

for (const profile of PROFILES) {
  test(`protocol B-profiles: encoded frames from the client under ${profile}, with plain ones in between`, async (t) => {
    const client = await connect(t, IDENTITY);
    client.write(client.beginStream(3, profile));
    const next = chance(41);
    for (let round = 0; round < 6; round++) {
      const exchange = client.expect(client.nextId());
      const data = [PAGE, noise(500, round), '', PAGE.subarray(100), 'x', TEXT.subarray(0, 32_000)];
      const parts = commandParts('echo', { args: [['value', `round ${round}`]], data });
      let small = 0;
      for (const part of parts) {
        const empty = (part.payload?.length ?? 0) === 0;
        if (empty || next(3) === 0) {
          client.write(client.put(3, exchange.id, part));
        } else {
          const bytes = await client.putEncoded(3, exchange.id, part);
          small += bytes.length;
          client.write(bytes);
        }
      }
      t.true(small < 60_000);
      const wanted = Buffer.concat(data.map((d) => Buffer.from(d as string)));
      same(t, await client.body(exchange), Buffer.concat([Buffer.from(`round ${round}`), wanted]));
    }
    clean(t, client);
  });

  test(`protocol A5, B-profiles: a client stream under ${profile} ends, finished or not, and begins again with a new context`, async (t) => {
    const client = await connect(t, ALL);
    for (let round = 0; round < 8; round++) {
      client.write(client.beginStream(3, profile, round % 2 === 0 ? 0 : 2 * round + 1));
      const exchange = client.expect(2 * round + 1);
      const [name, ...data] = commandParts('echo', { data: [PAGE, PAGE, 'last'] });
      client.write(await client.putEncoded(3, exchange.id, name!));
      client.write(await client.putEncoded(3, exchange.id, data[0]!));
      client.write(await client.putEncoded(3, exchange.id, data[1]!));
      const how = round % 4;
      // 0: ended and finished, 1: ended and not finished, 2: left open, 3: ended on a plain frame.
      if (how === 0)
        client.write(await client.putEncoded(3, exchange.id, data[2]!, { end: true, finish: true }));
      else if (how === 1) client.write(await client.putEncoded(3, exchange.id, data[2]!, { end: true }));
      else if (how === 2) client.write(await client.putEncoded(3, exchange.id, data[2]!));
      else client.write(client.put(3, exchange.id, data[2]!, { end: true }));
      same(
        t,
        await client.body(exchange),
        Buffer.concat([PAGE, PAGE, Buffer.from('last')]),
        `round ${round}`,
      );
    }
    clean(t, client);
  });

  test(`protocol A1: encoded frames under ${profile} may be cut anywhere on their way`, async (t) => {
    const client = await connect(t, ALL);
    const out = [client.beginStream(5, profile)];
    const wanted: Array<[Exchange, Buffer]> = [];
    for (let i = 0; i < 5; i++) {
      const exchange = client.expect(client.nextId());
      const data = [PAGE.subarray(i * 100), PAGE.subarray(0, 500), `end ${i}`];
      for (const part of commandParts('echo', { data }))
        out.push(await client.putEncoded(5, exchange.id, part));
      wanted.push([exchange, Buffer.concat(data.map((d) => Buffer.from(d as string)))]);
    }
    const next = chance(51);
    await client.writeInPieces(Buffer.concat(out), () => 1 + next(40));
    for (const [exchange, bytes] of wanted) same(t, await client.body(exchange), bytes);
    clean(t, client);
  });
}

test('protocol B-profiles: several complete zstd frames in a row on one stream are one valid stream', async (t) => {
  const client = await connect(t, ALL);
  const exchange = client.expect(1);
  const encoder = new Encoder('zstd-8mb');
  t.teardown(() => encoder.close());
  const pieces: Array<[wire: Buffer, meaning: Buffer]> = [];
  const whole = (bytes: Buffer, level = 3): [Buffer, Buffer] => [
    zlib.zstdCompressSync(bytes, { params: { [zlib.constants.ZSTD_c_compressionLevel]: level } }),
    bytes,
  ];
  const checksummed = { params: { [zlib.constants.ZSTD_c_checksumFlag]: 1 } };
  pieces.push(whole(PAGE), whole(Buffer.from('tiny')), whole(NOISE.subarray(0, 30_000), 9));
  pieces.push([zlib.zstdCompressSync(PAGE, checksummed), PAGE]);
  pieces.push([
    Buffer.concat([whole(PAGE)[0], whole(PAGE.subarray(7))[0]]),
    Buffer.concat([PAGE, PAGE.subarray(7)]),
  ]);
  pieces.push(
    [await encoder.encode(PAGE), PAGE],
    [await encoder.encode(TEXT.subarray(0, 999)), TEXT.subarray(0, 999)],
  );
  pieces.push([await encoder.finish(PAGE), PAGE], whole(TEXT.subarray(0, 100_000), 1));
  client.write(client.beginStream(3, 'zstd-8mb', 0, Buffer.from([20])));
  client.write(client.put(3, 1, { type: Type.commandName, flags: Name.haveData, payload: 'echo' }));
  for (const [i, [payload]] of pieces.entries()) {
    client.write(
      rawFrame({
        ...dataPart(payload, i === pieces.length - 1),
        request: 1,
        stream: 3,
        streamFlags: StreamFlag.encoded,
      }),
    );
  }
  same(t, await client.body(exchange), Buffer.concat(pieces.map(([, meaning]) => meaning)));
  clean(t, client);
});

test('protocol B-profiles: encoded frames on a stream under identity are the bytes themselves', async (t) => {
  const client = await connect(t, ALL);
  const exchange = client.expect(1);
  client.write(client.beginStream(3, 'identity'));
  for (const part of commandParts('echo', { data: ['as it is'] })) {
    client.write(rawFrame({ ...part, request: 1, stream: 3, streamFlags: StreamFlag.encoded }));
  }
  same(t, await client.body(exchange), 'as it is');
  clean(t, client);
});

test('protocol A4: the frames of one request on a plain, a zlib and a zstd stream keep their order', async (t) => {
  const client = await connect(t, ALL);
  const next = chance(61);
  client.write(
    client.beginStream(3, 'zlib'),
    client.beginStream(5, 'zstd-8mb'),
    client.beginStream(7, 'zstd-8mb'),
  );
  const queues: Array<{ exchange: Exchange; parts: Part[]; wanted: Buffer }> = [];
  for (let i = 0; i < 8; i++) {
    const data = Array.from({ length: 30 }, (_, k) =>
      Buffer.concat([Buffer.from(`[${i}.${k}]`), TEXT.subarray(0, next(k % 3 === 0 ? 30_000 : 60))]),
    );
    queues.push({
      exchange: client.expect(client.nextId()),
      parts: commandParts('echo', { data }),
      wanted: Buffer.concat(data),
    });
  }
  const waiting = [...queues];
  while (waiting.length > 0) {
    const at = next(waiting.length);
    const { exchange, parts } = waiting[at]!;
    const part = parts.shift()!;
    const stream = 1 + 2 * next(4);
    client.write(
      stream === 1 ? client.put(1, exchange.id, part) : await client.putEncoded(stream, exchange.id, part),
    );
    if (parts.length === 0) waiting.splice(at, 1);
  }
  for (const { exchange, wanted } of queues)
    same(t, await client.body(exchange), wanted, `request ${exchange.id}`);
  clean(t, client);
});

// ---------------------------------------------------------------- protocol C3: cancel

const cancelPart: Part = { type: Type.cancel, flags: 0 };

test('protocol C3: a cancelled request ends with the application error cancelled, and its ID is free again', async (t) => {
  const client = await connect(t, ALL);
  for (let round = 0; round < 5; round++) {
    const echo = client.start('echo', { data: ['begun'], open: true }, 1, 60_001);
    await client.until(() => echo.received === 5, 'the first echo');
    const before = echo.frames.length;
    const isAnswer = (f: Frame): boolean => f.request === 60_001 && f.type !== Type.streamSettings;
    client.write(client.put(1, 60_001, cancelPart));
    const outcome = await client.answer(echo);
    t.regex(failed(t, outcome), /cancelled/);
    t.deepEqual(
      echo.frames
        .slice(before)
        .filter(isAnswer)
        .map((f) => [f.type, f.flags]),
      [[Type.errorResponse, Failure.application]],
    );
    const upTo = client.frames.length;
    await client.settle(2);
    t.deepEqual(client.frames.slice(upTo).filter(isAnswer), []);
    same(t, await client.body(client.start('echo', { data: ['again'] }, 1, 60_001)), 'again');
  }
  clean(t, client);
});

test('protocol C3: one cancel does not touch the requests next to it', async (t) => {
  const client = await connect(t, ALL);
  const echoes = Array.from({ length: 6 }, (_, i) => client.start('echo', { data: [`${i}`], open: true }));
  for (const echo of echoes) await client.until(() => echo.received === 1, 'an echo');
  client.write(...echoes.filter((_, i) => i % 2 === 0).map((echo) => client.put(1, echo.id, cancelPart)));
  for (const [i, echo] of echoes.entries()) {
    if (i % 2 === 0) t.regex(failed(t, await client.answer(echo)), /cancelled/);
  }
  for (const [i, echo] of echoes.entries()) {
    if (i % 2 === 0) continue;
    client.write(client.put(1, echo.id, dataPart('!', true)));
    same(t, await client.body(echo), `${i}!`);
  }
  clean(t, client);
});

test('protocol C3: cancelling a finished or unknown request is ignored', async (t) => {
  const client = await connect(t, ALL);
  const done = client.start('echo', { data: ['done'] });
  same(t, await client.body(done), 'done');
  const before = client.frames.length;
  client.write(
    client.put(1, done.id, cancelPart),
    client.put(1, 4001, cancelPart),
    client.put(1, done.id, cancelPart),
  );
  await client.settle();
  t.deepEqual(
    client.frames.slice(before).filter((f) => f.type === Type.errorResponse),
    [],
  );
  clean(t, client);
});

test('protocol C3, C4: a request that waits for credit can be cancelled', async (t) => {
  const client = await connect(t, { settings: { extensions: EXTENSIONS, requestWindow: 1000 } });
  const file = client.start('files.get', get('big.bin'));
  await client.until(() => file.received >= 1000, 'the window to be used up');
  client.write(client.put(1, file.id, cancelPart));
  const outcome = await client.answer(file);
  t.regex(failed(t, outcome), /cancelled/);
  await client.settle();
  t.is(outcome.body.length, 1000);
  clean(t, client);
});

// ---------------------------------------------------------------- protocol C4: credit

test('protocol C4: a response stops at its window until credit comes, while other requests are answered', async (t) => {
  const client = await connect(t, {
    settings: { contentEncodings: ['zlib', 'zstd-8mb'], extensions: ['credit', 'ping'], requestWindow: 1000 },
  });
  const file = client.start('files.get', get('text.log'));
  let granted = 1000;
  for (const more of [500, 1, 40_000]) {
    await client.until(() => file.received >= granted, `${granted} bytes`);
    await client.settle();
    t.is(file.received, granted);
    same(t, await client.body(client.start('files.get', get('hello.txt'))), FILES['hello.txt']!);
    client.write(client.put(1, file.id, creditPart(more)));
    granted += more;
  }
  await client.until(() => file.received >= granted, `${granted} bytes`);
  await client.settle();
  t.is(file.received, granted);
  client.write(client.put(1, file.id, creditPart(TEXT.length)));
  same(t, await client.body(file), TEXT);
  // Credit and the last bytes may pass each other on the way.
  client.write(client.put(1, file.id, creditPart(100)));
  await client.settle();
  clean(t, client);
});

test('protocol C4: each request has a window of its own, and a response that fits needs no credit', async (t) => {
  const client = await connect(t, { settings: { extensions: ['credit', 'ping'], requestWindow: 1000 } });
  const stuck = [1, 2, 3].map(() => client.start('files.get', get('noise.bin')));
  for (const exchange of stuck) await client.until(() => exchange.received >= 1000, '1 000 bytes each');
  const exact = await client.body(client.start('files.get', get('noise.bin', [['length', '1000']])));
  same(t, exact, NOISE.subarray(0, 1000));
  client.write(client.put(1, stuck[1]!.id, creditPart(NOISE.length)));
  same(t, await client.body(stuck[1]!), NOISE);
  t.is(stuck[0]!.received, 1000);
  t.is(stuck[2]!.received, 1000);
  for (const i of [2, 0]) client.write(client.put(1, stuck[i]!.id, creditPart(NOISE.length)));
  same(t, await client.body(stuck[0]!), NOISE);
  same(t, await client.body(stuck[2]!), NOISE);
  clean(t, client);
});

test('protocol C4: the connection window holds all responses together, and credit under request ID 0 widens it', async (t) => {
  const client = await connect(t, { settings: { extensions: ['credit', 'ping'], connectionWindow: 3000 } });
  const files = [1, 2].map(() => client.start('files.get', get('noise.bin')));
  const total = (): number => files[0]!.received + files[1]!.received;
  await client.until(() => total() >= 3000, 'the window to be used up');
  for (let i = 0; i < 4; i++) await client.ping(noise(8, i));
  t.is(total(), 3000);
  client.write(client.put(1, 0, creditPart(2000)));
  await client.until(() => total() >= 5000, 'the widened window to be used up');
  for (let i = 0; i < 4; i++) await client.ping(noise(8, i));
  t.is(total(), 5000);
  client.write(client.put(1, 0, creditPart(2 * NOISE.length)));
  for (const exchange of files) same(t, await client.body(exchange), NOISE);
  clean(t, client);
});

// ---------------------------------------------------------------- protocol C6: reserved arguments

test('protocol C6: a deadline that passes ends the request, not before its time and not the others', async (t) => {
  const client = await connect(t, ALL);
  const calm = client.start('echo', { data: ['calm'], open: true });
  const before = performance.now();
  const late = client.start('echo', { args: [[':deadline-ms', '300']], data: ['late'], open: true });
  const outcome = await client.answer(late);
  failed(t, outcome);
  t.true(performance.now() - before >= 290);
  t.true('late'.startsWith(outcome.body.toString()));
  client.write(client.put(1, calm.id, dataPart('!', true)));
  same(t, await client.body(calm), 'calm!');
  clean(t, client);
});

test('protocol C6: a request that meets its deadline is answered, and reserved arguments are not the value', async (t) => {
  const client = await connect(t, ALL);
  const args: CommandSpec['args'] = [
    [':deadline-ms', '60000'],
    ['value', 'in time'],
    [':sensitive', '1'],
  ];
  same(t, await client.body(client.start('echo', { args })), 'in time');
  clean(t, client);
});

/** What else travelled in the lives of streams that carried encoded bytes of this request. */
function company(client: Client, id: number): Frame[] {
  const lives = new Set(
    client.frames
      .filter(
        (f) => f.request === id && f.encoded && f.profile !== 'identity' && f.type !== Type.streamSettings,
      )
      .map((f) => f.life),
  );
  return client.frames.filter((f) => lives.has(f.life) && f.request !== id && f.type !== Type.streamSettings);
}

for (const profile of PROFILES) {
  test(`protocol C6, D: under ${profile} a sensitive response stays out of every shared context`, async (t) => {
    const client = await connect(t, { settings: { contentEncodings: [profile], extensions: EXTENSIONS } });
    const running: Array<[Exchange, Buffer]> = [];
    const sensitive: Exchange[] = [];
    for (let i = 0; i < 8; i++) {
      running.push([client.start('files.get', get('text.log')), TEXT]);
      for (const spec of [get('text.log', [[':sensitive', '1']]), get('page.txt', [[':sensitive', '1']])]) {
        const exchange = client.start('files.get', spec);
        sensitive.push(exchange);
        running.push([exchange, spec.args![0]![1] === 'page.txt' ? PAGE : TEXT]);
      }
    }
    for (const [exchange, wanted] of running) same(t, await client.body(exchange), wanted);
    for (let i = 0; i < 8; i++) {
      const again = client.start('echo', { args: [[':sensitive', '1']], data: [PAGE] });
      sensitive.push(again);
      same(t, await client.body(again), PAGE);
      same(t, await client.body(client.start('echo', { data: [PAGE] })), PAGE);
    }
    t.deepEqual(profilesUsed(client), [profile]);
    t.is(new Set(sensitive.map((exchange) => exchange.id)).size, sensitive.length);
    for (const exchange of sensitive) t.deepEqual(company(client, exchange.id), []);
    clean(t, client);
  });
}

// ---------------------------------------------------------------- protocol B7: end of input

test('protocol B7: after the end of input what is in flight is answered and the connection closes', async (t) => {
  for (const options of [{}, ALL]) {
    const client = await connect(t, options);
    const file = client.expect(client.nextId());
    const echoes = Array.from({ length: 20 }, () => client.expect(client.nextId()));
    client.socket.end(
      Buffer.concat([
        client.commandBytes(file.id, 'files.get', get('big.bin')),
        ...echoes.map((e) => client.commandBytes(e.id, 'echo', { data: [`for ${e.id}`, PAGE] })),
      ]),
    );
    for (const echo of echoes) {
      same(t, await client.body(echo), Buffer.concat([Buffer.from(`for ${echo.id}`), PAGE]));
    }
    same(t, await client.body(file), BIG);
    await client.untilEnded();
    clean(t, client);
  }
});

test('protocol B7: commands still partly received at the end of input are never run', async (t) => {
  const client = await connect(t);
  const whole = client.expect(1);
  const nameOnly = client.expect(3);
  const halfArgument = client.expect(5);
  const halfData = client.expect(7);
  const [name, ...rest] = commandParts('echo', { args: [['value', 'abandoned']], piece: 4 });
  client.write(
    client.put(1, 3, { type: Type.commandName, flags: Name.haveArgs, payload: 'files.list' }),
    client.put(1, 5, name!),
    client.put(1, 5, rest[0]!),
    client.commandBytes(7, 'echo', { data: ['some'], open: true }),
  );
  client.socket.end(client.commandBytes(1, 'files.get', get('text.log')));
  same(t, await client.body(whole), TEXT);
  await client.untilEnded();
  for (const exchange of [nameOnly, halfArgument]) {
    t.deepEqual(
      exchange.frames.filter((f) => f.type === Type.bytesResponse),
      [],
    );
  }
  t.deepEqual(
    halfData.frames.filter((f) => f.type === Type.bytesResponse && f.flags === Data.eos),
    [],
  );
  clean(t, client);
});

test('protocol B7: input that ends inside a frame, or before any, closes the connection', async (t) => {
  const cut = await connect(t);
  same(t, await cut.body(cut.start('echo', { data: ['whole'] })), 'whole');
  cut.socket.end(cut.commandBytes(5, 'echo', { data: ['never whole'] }).subarray(0, 9));
  await cut.untilEnded();
  t.deepEqual(
    cut.frames.filter((f) => f.request === 5 && f.type === Type.bytesResponse),
    [],
  );
  t.deepEqual(cut.violations, []);
  for (const options of [{}, ALL]) {
    const silent = await connect(t, options);
    silent.socket.end();
    await silent.untilEnded();
    clean(t, silent);
  }
});

// ---------------------------------------------------------------- protocol B3, B5, B6: protocol errors

interface Offence {
  options?: ConnectOptions;
  /** The offence is the first thing on its connection. */
  fresh?: boolean;
  /** The offending bytes, with what has to come before them. */
  bytes: (client: Client) => Buffer | Promise<Buffer>;
}

async function offend(t: ExecutionContext, { options = {}, fresh = false, bytes }: Offence): Promise<void> {
  const witness = await connect(t, ALL);
  const running = witness.start('echo', { data: ['before'], open: true });
  await witness.until(() => running.received === 6, "the witness's first echo");

  const client = await connect(t, options);
  if (!fresh) same(t, await client.body(client.start('echo', { data: ['first'] }, 1, 301)), 'first');
  // Requests that an offence begins by the rules may be answered before it is found.
  for (let id = 1; id < 300; id += 2) client.expect(id);
  client.write(await bytes(client));
  const error = await client.until(() => client.protocolErrors[0], 'a protocol error');
  t.is(error.flags, Failure.protocol);
  t.true(error.stream % 2 === 0 && error.stream > 0);
  t.false(error.encoded && client.plain);
  t.true(error.payload.length > 0, 'a message for people');
  await client.untilEnded();
  t.is(client.protocolErrors.length, 1);
  t.deepEqual(client.violations, []);

  witness.write(witness.put(1, running.id, dataPart(' and after', true)));
  same(t, await witness.body(running), 'before and after');
  await witness.settle(1);
  clean(t, witness);
}

/** Frames on stream 1 by their parts. */
function onOne(client: Client, request: number, ...parts: Part[]): Buffer {
  return Buffer.concat(parts.map((part) => client.put(1, request, part)));
}

const argName: Part = { type: Type.commandName, flags: Name.haveArgs, payload: 'echo' };
const argAndDataName: Part = {
  type: Type.commandName,
  flags: Name.haveArgs | Name.haveData,
  payload: 'echo',
};
const argument = (flags: number, payload: Uint8Array): Part => ({
  type: Type.commandArgument,
  flags,
  payload,
});

/** Bytes that neither profile can mean anything by: reserved block types, wherever a payload begins. */
const RUBBISH = Buffer.alloc(100, 0xff);

async function corrupt(client: Client, profile: string, first: boolean): Promise<Buffer> {
  const out = [client.beginStream(3, profile)];
  const name: Part = { type: Type.commandName, flags: Name.haveData, payload: 'echo' };
  out.push(first ? client.put(3, 1, name) : await client.putEncoded(3, 1, name));
  out.push(rawFrame({ ...dataPart(RUBBISH, false), request: 1, stream: 3, streamFlags: StreamFlag.encoded }));
  return Buffer.concat(out);
}

function zstdData(client: Client, payload: Buffer): Buffer {
  return Buffer.concat([
    client.beginStream(3, 'zstd-8mb'),
    client.put(3, 1, { type: Type.commandName, flags: Name.haveData, payload: 'echo' }),
    rawFrame({ ...dataPart(payload, false), request: 1, stream: 3, streamFlags: StreamFlag.encoded }),
  ]);
}

const offences: Record<string, Offence> = {
  'an even request ID': { bytes: (c) => c.commandBytes(2, 'echo') },
  'request ID 0 for a command': { bytes: (c) => c.commandBytes(0, 'echo') },
  'an even stream ID': { bytes: (c) => c.commandBytes(1, 'echo', {}, 2) },
  'stream ID 0': { bytes: (c) => c.commandBytes(1, 'echo', {}, 0) },
  'a first frame without begin': { bytes: (c) => c.put(3, 1, commandParts('echo')[0]!, { begin: false }) },
  'a frame without begin after end': {
    bytes: (c) => {
      const ended = c.put(
        1,
        1,
        { type: Type.commandName, flags: Name.haveData, payload: 'echo' },
        { end: true },
      );
      return Buffer.concat([ended, c.put(1, 1, dataPart('x', false), { begin: false })]);
    },
  },
  'a command name with eos and have-data': {
    bytes: (c) => onOne(c, 1, { type: Type.commandName, flags: Name.eos | Name.haveData, payload: 'echo' }),
  },
  'a command name with eos and have-args': {
    bytes: (c) => onOne(c, 1, { type: Type.commandName, flags: Name.eos | Name.haveArgs, payload: 'echo' }),
  },
  'a command name without any flag': {
    bytes: (c) => onOne(c, 1, { type: Type.commandName, flags: 0, payload: 'echo' }),
  },
  'data before the end of the arguments': {
    bytes: (c) =>
      onOne(c, 1, argAndDataName, argument(0, argumentPayload('value', 'v')), dataPart('x', false)),
  },
  'data in the middle of an argument': {
    bytes: (c) =>
      onOne(
        c,
        1,
        argAndDataName,
        argument(Arg.continuation, argumentPayload('value', 'v', 9)),
        dataPart('x', false),
      ),
  },
  'an argument after eoa': {
    bytes: (c) =>
      onOne(
        c,
        1,
        argAndDataName,
        argument(Arg.eoa, argumentPayload('value', 'v')),
        argument(Arg.eoa, argumentPayload('other', 'w')),
      ),
  },
  'an argument name given twice': {
    bytes: (c) =>
      onOne(
        c,
        1,
        argName,
        argument(0, argumentPayload('value', 'v')),
        argument(Arg.eoa, argumentPayload('value', 'w')),
      ),
  },
  'a non-ASCII argument name': {
    bytes: (c) => onOne(c, 1, argName, argument(Arg.eoa, argumentPayload('val\u00fce', 'v'))),
  },
  'an argument frame too short for its own lengths': {
    bytes: (c) => onOne(c, 1, argName, argument(Arg.eoa, Buffer.from([200, 0, 1, 0, 97]))),
  },
  'a payload over 65 535 bytes': {
    bytes: () =>
      rawFrame({
        request: 1,
        stream: 1,
        streamFlags: 0,
        type: Type.commandData,
        flags: 1,
        payload: 'abc',
        claimedLength: 65_536,
      }),
  },
  'stream-settings on a frame without begin': {
    bytes: (c) =>
      onOne(c, 0, { type: Type.streamSettings, flags: 0, payload: streamSettingsPayload('identity') }),
  },
  'encoded stream-settings': {
    options: ALL,
    bytes: () =>
      rawFrame({
        request: 0,
        stream: 3,
        streamFlags: StreamFlag.begin | StreamFlag.encoded,
        type: Type.streamSettings,
        flags: 0,
        payload: streamSettingsPayload('zlib'),
      }),
  },
  'an encoded frame under a profile that nobody knows': {
    options: ALL,
    bytes: () =>
      Buffer.concat([
        rawFrame({
          request: 0,
          stream: 3,
          streamFlags: StreamFlag.begin,
          type: Type.streamSettings,
          flags: 0,
          payload: streamSettingsPayload('x-none'),
        }),
        rawFrame({ ...commandParts('echo')[0]!, request: 1, stream: 3, streamFlags: StreamFlag.encoded }),
      ]),
  },
  'a ping without settings': {
    bytes: (c) => onOne(c, 0, { type: Type.ping, flags: 0, payload: 'eightbyt' }),
  },
  'a credit without settings': { bytes: (c) => onOne(c, 0, creditPart(10)) },
  'a cancel without settings': {
    bytes: (c) =>
      Buffer.concat([c.commandBytes(1, 'echo', { data: ['x'], open: true }), onOne(c, 1, cancelPart)]),
  },
  'a request ID that is busy': {
    bytes: (c) => Buffer.concat([c.commandBytes(1, 'echo', { open: true }), c.commandBytes(1, 'echo')]),
  },
  'a 129th concurrent request': {
    bytes: (c) =>
      Buffer.concat(Array.from({ length: 129 }, (_, i) => c.commandBytes(1 + 2 * i, 'echo', { open: true }))),
  },
  'a command name of 256 bytes': { bytes: (c) => c.commandBytes(1, 'x'.repeat(256)) },
  'a 129th argument': {
    bytes: (c) =>
      c.commandBytes(1, 'echo', { args: Array.from({ length: 129 }, (_, i) => [`a${i}`, 'v'] as const) }),
  },
  'arguments over 1 MiB in total': {
    bytes: (c) => {
      const value = Buffer.alloc(65_535, 'v');
      const args = Array.from({ length: 17 }, (_, i) => [`a${i}`, i < 16 ? value : 'v'.repeat(100)] as const);
      return c.commandBytes(1, 'echo', { args });
    },
  },
  'a 17th open stream': {
    bytes: (c) =>
      Buffer.concat(Array.from({ length: 17 }, (_, i) => c.commandBytes(1 + 2 * i, 'echo', {}, 1 + 2 * i))),
  },
  'more than a hundred empty data frames in a row': {
    bytes: (c) => c.commandBytes(1, 'echo', { data: new Array(102).fill(''), open: true }),
  },
  'more than a thousand stream begins in a second': {
    bytes: (c) =>
      Buffer.concat([
        c.put(1, 1, { type: Type.commandName, flags: Name.haveData, payload: 'echo' }),
        ...Array.from({ length: 4000 }, () => c.put(3, 1, dataPart('x', false), { begin: true, end: true })),
      ]),
  },
  'an encoded frame that decodes to more than 1 MiB': {
    options: ALL,
    bytes: async (c) =>
      Buffer.concat([
        c.beginStream(3, 'zlib'),
        await c.putEncoded(3, 1, { type: Type.commandName, flags: Name.haveData, payload: 'echo' }),
        await c.putEncoded(3, 1, dataPart(text(1_200_000, 81).fill('a', 1000), false)),
      ]),
  },
  'a zstd frame that wants a window over 8 MiB': {
    options: ALL,
    bytes: async (c) => {
      const encoder = new Encoder('zstd-8mb', 25);
      const payload = await encoder.encode(PAGE);
      encoder.close();
      return zstdData(c, payload);
    },
  },
  'a single-segment zstd frame of more than 8 MiB': {
    options: ALL,
    // Magic, single segment with four bytes of content size (16 MiB), then a raw block of one byte.
    bytes: (c) => zstdData(c, Buffer.from('28b52ffd' + 'a0' + '00000001' + '080000' + '61', 'hex')),
  },
  'sender-settings over 4 096 bytes': {
    options: { ...ALL, manual: true },
    fresh: true,
    bytes: (c) => onOne(c, 0, settingsPart({ padding: 'x'.repeat(5000) })),
  },
};

for (const profile of PROFILES) {
  offences[`a first encoded frame that is not ${profile}`] = {
    options: ALL,
    bytes: (c) => corrupt(c, profile, true),
  };
  offences[`a corrupted encoded frame in the middle of a ${profile} stream`] = {
    options: ALL,
    bytes: (c) => corrupt(c, profile, false),
  };
}
for (const type of [4, 5, 6]) {
  offences[`a frame of type ${type}, which only servers send`] = {
    bytes: (c) => onOne(c, 1, { type, flags: type === 6 ? 0 : 2, payload: 'not for you' }),
  };
}
for (const type of [7, 13]) {
  offences[`a frame of type ${type}, which only servers send, after settings`] = {
    options: ALL,
    bytes: (c) => onOne(c, 0, { type, flags: 0, payload: Buffer.alloc(22) }),
  };
}
for (const type of [0, 14, 15]) {
  offences[`a frame of the unknown type ${type}`] = {
    options: type === 14 ? ALL : {},
    bytes: (c) => onOne(c, 1, { type, flags: 0, payload: '?' }),
  };
}

for (const [title, offence] of Object.entries(offences)) {
  test(`protocol B3–B9: ${title} is a protocol error, closes its connection and touches no other`, async (t) => {
    await offend(t, offence);
  });
}

test('protocol B9: what is just within the limits is no protocol error', async (t) => {
  const client = await connect(t);
  const within: Array<[string, CommandSpec]> = [
    ['x'.repeat(255), {}],
    ['no-such-command', { args: Array.from({ length: 128 }, (_, i) => [`a${i}`, 'v'] as const) }],
    [
      'no-such-command',
      { args: Array.from({ length: 15 }, (_, i) => [`a${i}`, Buffer.alloc(65_535)] as const) },
    ],
  ];
  for (const [name, spec] of within) failed(t, await client.call(name, spec));
  const empties = [...new Array(99).fill(''), 'x', ...new Array(99).fill(''), 'y'];
  same(t, await client.body(client.start('echo', { data: empties })), 'xy');
  const many = Array.from({ length: 128 }, () => client.start('echo', { open: true }));
  client.write(...many.map((exchange) => client.put(1, exchange.id, dataPart(`${exchange.id}`, true))));
  for (const exchange of many) same(t, await client.body(exchange), `${exchange.id}`);
  clean(t, client);
});

test('protocol B9: an encoded frame of 1 MiB that compresses well within the limits is accepted', async (t) => {
  for (const profile of PROFILES) {
    const client = await connect(t, ALL);
    const exchange = client.expect(1);
    const bytes = text(1024 * 1024, 91).fill('a', 100_000);
    client.write(
      client.beginStream(3, profile),
      await client.putEncoded(3, 1, { type: Type.commandName, flags: Name.haveData, payload: 'echo' }),
    );
    const frame = await client.putEncoded(3, 1, dataPart(bytes, true));
    t.true(frame.length <= 65_535, 'a legal frame of this test');
    client.write(frame);
    same(t, await client.body(exchange), bytes);
    clean(t, client);
  }
});

// ---------------------------------------------------------------- the folder and what lies outside it

const OUTSIDE = [
  '../secret.txt',
  '../outside/secret.txt',
  'sub/../../secret.txt',
  './../secret.txt',
  'sub/../sub/../../secret.txt',
  '../served/../secret.txt',
  '/etc/passwd',
  '//etc/passwd',
  'hello.txt\0',
  '../secret.txt\0.txt',
  '\0',
  'link-file',
  'link-relative',
  'link-dir/secret.txt',
  'link-dir/../secret.txt',
  '..\\secret.txt',
  '%2e%2e/secret.txt',
  '../..',
  '',
];

for (const options of [{}, ALL]) {
  const peer = options === ALL ? 'with settings' : 'without settings';
  test(`A peer ${peer} gets nothing from outside the served folder`, async (t) => {
    const client = await connect(t, options);
    const ways = [...OUTSIDE, path.join(base, 'secret.txt'), `${path.join(base, 'secret.txt')}\0`];
    for (const way of ways) {
      const exchange = client.start('files.get', get(way));
      failed(t, await client.answer(exchange));
      t.deepEqual(
        exchange.frames.filter((f) => f.type === Type.bytesResponse),
        [],
        JSON.stringify(way),
      );
    }
    for (const way of ways.filter((w) => !['', '../..'].includes(w))) {
      const known = await client.call('files.stat', get(way));
      if (!way.startsWith('link-file') && !way.startsWith('link-relative')) failed(t, known);
      if (known.kind === 'bytes')
        t.not(JSON.parse(known.body.toString()).size, SECRET.length, JSON.stringify(way));
    }
    for (const way of ['../..', '../outside', '/', base, 'link-dir', 'sub/../..', 'sub\0']) {
      const listed = await client.call('files.list', get(way));
      t.false(listed.body.toString().includes('secret'), JSON.stringify(way));
    }
    t.false(client.frames.some((f) => f.payload.includes(SECRET) || f.payload.includes('root:')));
    same(t, await client.body(client.start('files.get', get('hello.txt'))), FILES['hello.txt']!);
    clean(t, client);
  });
}
