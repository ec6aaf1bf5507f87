// Dictionaries between a server and its clients: who offers, fetches, checks, holds, and who breaks the rules.

import { readFileSync, statSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import zlib from 'node:zlib';
import ava, { type ExecutionContext } from 'ava';
import { readDictionary } from '../../src/encoding/read-dictionary.ts';
import { type Client, connect, createServer, type ServerOptions } from '../../src/index.ts';
import { ContextBudget } from '../../src/lanes/budget.ts';
import { type Frame, FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { decodeStreamSettings } from '../../src/wire/payloads.ts';
import { millRecord } from '../helpers/mill.ts';
import { frame, frames, RawPeer } from '../helpers/raw-peer.ts';
import { dial, impostor, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

const test = ava.serial;
const FILE = new URL('../fixtures/mill.dict', import.meta.url);
const BYTES = new Uint8Array(readFileSync(FILE));
const { id: ID } = readDictionary(BYTES);
/** Another dictionary, of the same content. */
const OTHER = BYTES.slice();
OTHER[5] ^= 1;
const OTHER_ID = readDictionary(OTHER).id;

const commands: ServerOptions['commands'] = {
  mill: (request) => millRecord(Number(request.text('i'))),
  mine: { handler: (request) => millRecord(Number(request.text('i'))), contexts: 'none' },
  secret: { handler: () => millRecord(1), sensitive: true },
  count: async (request) => {
    let bytes = 0;
    for await (const piece of request.data) bytes += piece.length;
    return String(bytes);
  },
};
const mills = { dictionaries: [{ bytes: BYTES }], commands };

/** Resolves when the client holds so many dictionaries. */
async function holding(client: Client, count = 1): Promise<void> {
  while (client.stats().dictionaries.length < count) await client.ping();
  await client.ping();
}

const record = (client: Client, i: number, command = 'mill') =>
  client.call(command, { args: { i: String(i) } }).text();

const profilesOf = (client: Client) => client.stats().streams.map(({ profile }) => profile);

for (const contexts of ['kept', 'none', 'auto'] as const) {
  test(`contexts ${contexts}: a dictionary is fetched once, and every response is right before and after`, async (t) => {
    const { server, address } = await serving(t, { ...mills, contexts });
    const client = await dial(t, address);
    for (let i = 0; i < 5; i++) t.is(await record(client, i), millRecord(i));
    await holding(client);
    t.deepEqual(client.stats().dictionaries, [ID]);
    for (let i = 0; i < 100; i++) t.is(await record(client, i), millRecord(i));
    t.true(profilesOf(client).includes('zstd-dict'));
    t.is(await record(client, 3, 'mine'), millRecord(3));
    const rows = (await server.stats()).streams;
    const framesOf = rows.map(({ profile, frames }) => (profile === 'zstd-dict' ? frames : 0));
    t.true(framesOf.reduce((a, b) => a + b) >= 100);
  });
}

test('a client with portable codecs fetches dictionaries, and decodes with them', async (t) => {
  for (const contexts of ['kept', 'none'] as const) {
    const { address } = await serving(t, { ...mills, contexts });
    const client = await dial(t, address, { codecs: 'portable' });
    await holding(client);
    for (let i = 0; i < 50; i++) t.is(await record(client, i), millRecord(i));
    t.true(profilesOf(client).includes('zstd-dict'));
  }
});

test('a client that decodes no zstd-dict is offered nothing, and answered as ever', async (t) => {
  const { address } = await serving(t, mills);
  const client = await dial(t, address, { profiles: ['zstd-8mb'] });
  t.is(client.serverSettings?.dictionaries, undefined);
  for (let i = 0; i < 20; i++) t.is(await record(client, i), millRecord(i));
  t.false(profilesOf(client).includes('zstd-dict'));
});

test('each command has its own dictionary, and what is sensitive has none', async (t) => {
  const { address } = await serving(t, {
    commands,
    dictionaries: [{ bytes: BYTES, commands: ['mill'] }, { bytes: OTHER }],
  });
  const peer = await RawPeer.connect(t, address.port);
  peer.send(
    `0 1 stream-begin sender-settings 0 {"contentEncodings":["zstd-8mb","zstd-dict"],"extensions":["dictionary"],"dictionaries":["${ID}","${OTHER_ID}"]}`,
    ...asks(1, 'mill', 1),
    ...asks(3, 'count'),
    ...asks(5, 'secret'),
  );
  for (const request of [1, 3, 5]) await peer.until(() => isAnswered(peer, request));
  t.is(dictionaryOf(peer, 1), ID);
  t.is(dictionaryOf(peer, 3), OTHER_ID);
  t.is(dictionaryOf(peer, 5), undefined);
  const secret = peer.frames.find(({ requestId }) => requestId === 5) as Frame;
  t.is(secret.streamFlags & StreamFlag.encoded, 0);
  peer.send(...asks(7, 'echo', 1, 'value'));
  await peer.until(() => isAnswered(peer, 7));
  t.is(dictionaryOf(peer, 7), OTHER_ID);
  const { payload } = peer.frames.find(({ requestId }) => requestId === 1) as Frame;
  const stream = zlib.createZstdDecompress({ dictionary: BYTES });
  const [text] = await new Promise<Buffer[]>((done) => {
    stream.once('data', (piece: Buffer) => done([piece]));
    stream.write(payload);
  });
  t.is(text.toString(), millRecord(1), 'node:zlib reads it');
  stream.destroy();
});

const isAnswered = ({ frames: all }: RawPeer, request: number) =>
  all.some(({ requestId, type, flags }) => requestId === request && (type === 5 || flags === 2));

function asks(request: number, command: string, i?: number, name = 'i'): string[] {
  if (i === undefined) return [`${request} 1 0 command-name eos ${command}`];
  const value = String(i);
  const head = `\\x0${name.length}\\x00\\x0${value.length}\\x00`;
  return [
    `${request} 1 0 command-name have-args ${command}`,
    `${request} 1 0 command-argument eoa ${head}${name}${value}`,
  ];
}

/** The dictionary that the stream of a response has named last before it. */
function dictionaryOf({ frames: all }: RawPeer, request: number): string | undefined {
  const at = all.findIndex(
    ({ requestId, type }) => requestId === request && type === FrameType.bytesResponse,
  );
  const { streamId, streamFlags } = all[at];
  if ((streamFlags & StreamFlag.encoded) === 0) return undefined;
  const settings = all
    .slice(0, at)
    .findLast((each) => each.streamId === streamId && each.type === FrameType.streamSettings) as Frame;
  const { profile, bytes } = decodeStreamSettings(settings.payload);
  return profile === 'zstd-dict' ? Buffer.from(bytes.subarray(1)).toString('hex') : undefined;
}

test('without contexts two connections are sent the same bytes for the same response, whatever went before', async (t) => {
  const { address } = await serving(t, { ...mills, contexts: 'none' });
  const payloads: string[] = [];
  for (const before of [0, 1, 20]) {
    const peer = await RawPeer.connect(t, address.port);
    peer.send(
      `0 1 stream-begin sender-settings 0 {"contentEncodings":["zstd-8mb","zstd-dict"],"dictionaries":["${ID}"]}`,
    );
    for (let i = 0; i < before; i++) peer.send(...asks(101 + 2 * i, 'mill', i % 10));
    peer.send(...asks(1, 'mill', 7));
    await peer.until(() => isAnswered(peer, 1));
    const found = peer.frames.find(({ requestId }) => requestId === 1) as Frame;
    t.is(dictionaryOf(peer, 1), ID);
    payloads.push(Buffer.from(found.payload).toString('hex'));
    t.is(zlib.zstdDecompressSync(found.payload, { dictionary: BYTES }).toString(), millRecord(7));
  }
  t.is(new Set(payloads).size, 1);
});

for (const contexts of ['kept', 'none', 'auto'] as const)
  for (const codecs of ['native', 'portable'] as const)
    test(`clients that take small windows alone are told of none larger: contexts ${contexts}, ${codecs}`, async (t) => {
      const { address } = await serving(t, { ...mills, contexts });
      for (const maxWindowSize of [1 << 10, 1 << 13, 1 << 15]) {
        const client = await dial(t, address, { codecs, limits: { maxWindowSize } });
        await holding(client);
        for (let i = 0; i < 8; i++) t.is(await record(client, i), millRecord(i));
        t.true(profilesOf(client).includes('zstd-dict'));
      }
    });

test('a stream without a context costs no memory for contexts, however many there are', async (t) => {
  const { server, address } = await serving(t, { ...mills, contexts: 'none' });
  const first = await dial(t, address);
  await holding(first);
  await record(first, 1);
  const { bytes } = (await server.stats()).contexts;
  for (let i = 0; i < 10; i++) {
    const client = await dial(t, address);
    await holding(client);
    t.is(await record(client, i), millRecord(i));
  }
  t.is((await server.stats()).contexts.bytes, bytes);
});

test('auto: where memory or caches have no room, responses go without a context and not without encoding', (t) => {
  const never = { streamIdleTimeout: 1e9, streamLifetime: 1e9 };
  const idle = {
    idle: true,
    usedAt: 0,
    giveUp: () => t.fail('nobody is given up for it'),
    renew: () => undefined,
  };
  const small = new ContextBudget({ contextMemory: 13 << 19, ...never });
  const wanted = { dictionary: ID };
  t.falsy(small.takeContext('zstd-dict', wanted, 'auto')?.shape.contextFree);
  small.hold(idle);
  t.true(small.takeContext('zstd-dict', wanted, 'auto')?.shape.contextFree);
  const large = new ContextBudget({ contextMemory: 1 << 30, ...never });
  const shapes = Array.from({ length: 200 }, () => {
    large.hold({ ...idle });
    return large.takeContext('zstd-dict', wanted, 'auto')?.shape;
  });
  t.deepEqual([shapes[0]?.windowLog, shapes[0]?.contextFree], [undefined, undefined]);
  t.true(
    shapes.some((shape) => shape?.windowLog === 17),
    'smaller windows first',
  );
  t.true(shapes.at(-1)?.contextFree);
  t.falsy(
    large.takeContext('zstd-8mb', {}, 'auto')?.shape.contextFree,
    'without a dictionary small ones are kept',
  );
  const none = new ContextBudget({ contextMemory: 1000, ...never });
  for (const contexts of ['kept', 'none', 'auto'] as const)
    t.is(none.takeContext('zstd-dict', wanted, contexts), undefined, 'with no memory at all: unencoded');
});

test('uploads are encoded with a dictionary as soon as one is held', async (t) => {
  const { address } = await serving(t, mills);
  const client = await dial(t, address, { encodeData: 'zstd-dict' });
  await holding(client);
  const sent: number[] = [];
  for (let i = 0; i < 3; i++) {
    const before = client.stats().bytesWritten;
    const data = millRecord(8000 + i);
    t.is(await client.call('count', { data }).text(), String(data.length));
    sent.push(client.stats().bytesWritten - before);
  }
  t.true(sent[0] < 130, `${sent[0]} bytes for the first one, settings among them`);
});

const OFFERED =
  '0 1 stream-begin sender-settings 0 {"contentEncodings":["zstd-8mb","zstd-dict"],"extensions":["dictionary"]}';
const heldFrame = (id: string) => frame('0 1 0 dictionary-held 0 ', Buffer.from(id, 'hex'));
const named = (id: string, log = 15) =>
  frame(
    '0 3 stream-begin stream-settings 0 ',
    Buffer.concat([Buffer.from('\x09zstd-dict'), Buffer.from([log]), Buffer.from(id, 'hex')]),
  );

/** What a client may not do, and how the error begins. */
const HOSTILE: [string, (string | Uint8Array)[], RegExp][] = [
  ['holds what was not offered', [OFFERED, heldFrame('00'.repeat(16))], /unknown-dictionary/],
  [
    'holds what it was not told of',
    ['0 1 stream-begin sender-settings 0 {}', heldFrame(ID)],
    /unknown-dictionary/,
  ],
  [
    'holds before its settings',
    [frame('0 1 stream-begin dictionary-held 0 ', Buffer.from(ID, 'hex'))],
    /extension-without-settings/,
  ],
  ['holds more than 16', [OFFERED, ...Array.from({ length: 17 }, () => heldFrame(ID))], /more than 16/],
  ['holds half an ID', [OFFERED, heldFrame(ID.slice(0, 16))], /bad-payload/],
  ['begins a stream with what nobody holds', [OFFERED, named('00'.repeat(16))], /unknown-dictionary/],
  ['begins a stream without an ID', [OFFERED, named('')], /17 settings bytes/],
  ['begins a stream with half an ID', [OFFERED, named(ID.slice(0, 16))], /17 settings bytes/],
  [
    'lists 17 in its settings',
    [`0 1 stream-begin sender-settings 0 {"dictionaries":${JSON.stringify(Array(17).fill(ID))}}`],
    /bad-payload/,
  ],
  ['lists what is no ID', ['0 1 stream-begin sender-settings 0 {"dictionaries":["x"]}'], /bad-payload/],
  ['lists no list', ['0 1 stream-begin sender-settings 0 {"dictionaries":{"length":1e9}}'], /bad-payload/],
];
for (const [what, sent, message] of HOSTILE) {
  test(`a client that ${what} breaks the protocol, and nobody else notices`, async (t) => {
    const { address } = await serving(t, mills);
    const beside = await dial(t, address);
    const peer = await RawPeer.connect(t, address.port);
    peer.send(...sent);
    t.regex((await peer.protocolError()) ?? '', message);
    t.is(await record(beside, 5), millRecord(5));
  });
}

test('16 times held is no error, and a window over the limit is one', async (t) => {
  const { address } = await serving(t, mills);
  const peer = await RawPeer.connect(t, address.port);
  const hello = OFFERED.replace('"dictionary"', '"dictionary","ping"');
  peer.send(hello, ...Array.from({ length: 16 }, () => heldFrame(ID)));
  await peer.seen();
  t.true(peer.unharmed);
  const data = zlib.zstdCompressSync('some data', { dictionary: BYTES });
  peer.send(
    '1 1 0 command-name have-data count',
    named(ID, 31),
    frame('1 3 encoded command-data eos ', data),
  );
  t.regex((await peer.protocolError()) ?? '', /maxWindowSize/);
});

test('a dictionary that does not exist is not found', async (t) => {
  const { address } = await serving(t, mills);
  const client = await dial(t, address);
  await t.throwsAsync(client.call('dictionary', { args: { id: '00'.repeat(16) } }).bytes(), {
    code: 'not-found',
    message: /no such dictionary/,
  });
  t.deepEqual(new Uint8Array(await client.call('dictionary', { args: { id: ID } }).bytes()), BYTES);
});

/** A server that offers a dictionary and answers with `bytes` when it is asked for it. */
function lying(t: ExecutionContext, offer: object, bytes: Uint8Array) {
  return impostor(t, (socket) => {
    const settings = JSON.stringify({
      contentEncodings: ['zstd-dict'],
      extensions: ['dictionary', 'credit'],
      dictionaries: [offer],
    });
    socket.write(frames(`0 2 stream-begin sender-settings 0 ${settings}`));
    let asked = '';
    socket.on('data', (chunk) => {
      asked += chunk.toString('latin1');
      if (!asked.includes('dictionary\x26') && !/command|dictionary.*id/s.test(asked)) return;
      if (!asked.includes(ID)) return;
      asked = '';
      socket.write(frame('1 2 0 bytes-response eos ', bytes));
    });
  });
}

const LIES: [string, object, Uint8Array][] = [
  ['other bytes', { id: ID, bytes: BYTES.length }, BYTES.map((byte, i) => (i === 3000 ? byte ^ 1 : byte))],
  ['too few bytes', { id: ID, bytes: BYTES.length }, BYTES.subarray(1)],
  ['too many bytes', { id: ID, bytes: BYTES.length - 1 }, BYTES],
];
for (const [what, offer, bytes] of LIES) {
  test(`a server that sends ${what} for a dictionary is left, and what it sent is never used`, async (t) => {
    const where = await lying(t, offer, bytes);
    const client = await dial(t, where);
    await client.closed;
    t.regex(String(client.closeReason), /other bytes than dictionary/);
    t.deepEqual(client.stats().dictionaries, []);
  });
}

test('a server may not offer more than 16, over 1 MiB, or what has no ID', async (t) => {
  const offers = [
    Array(17).fill({ id: ID, bytes: 5 }),
    [{ id: ID, bytes: 2 ** 21 }],
    [{ id: 'x', bytes: 5 }],
    [null],
  ];
  for (const dictionaries of offers) {
    const where = await impostor(t, (socket) => {
      socket.write(frames(`0 2 stream-begin sender-settings 0 ${JSON.stringify({ dictionaries })}`));
    });
    await t.throwsAsync(connect(where), { message: /sender-settings/ });
  }
});

async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'millrace-dictionaries-'));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

test('a cache keeps dictionaries over connections: they are held before the first call, and checked', async (t) => {
  const { address } = await serving(t, mills);
  const dictionaryCache = join(await folder(t), 'made', 'when needed');
  const first = await dial(t, address, { dictionaryCache });
  t.deepEqual(first.stats().dictionaries, []);
  await holding(first);
  while (!(await readdir(dictionaryCache).catch(() => [] as string[])).includes(`${ID}.dict`))
    await first.ping();
  const second = await dial(t, address, { dictionaryCache });
  t.deepEqual(second.stats().dictionaries, [ID]);
  t.true(second.stats().bytesRead < BYTES.length);
  t.is(await record(second, 9), millRecord(9));
  t.true(profilesOf(second).includes('zstd-dict'));
  const file = join(dictionaryCache, `${ID}.dict`);
  for (const damage of [() => truncate(file, 100), () => writeFile(file, OTHER)]) {
    await damage();
    const again = await dial(t, address, { dictionaryCache });
    await holding(again);
    t.is(await record(again, 4), millRecord(4));
    while (Buffer.compare(await readFile(file).catch(() => Buffer.alloc(0)), BYTES) !== 0) await again.ping();
  }
  t.deepEqual(await readdir(dictionaryCache), [`${ID}.dict`]);
});

test('a cache that cannot be written to costs nothing but its use', async (t) => {
  const { address } = await serving(t, mills);
  const file = join(await folder(t), 'file');
  await writeFile(file, 'not a folder');
  const client = await dial(t, address, { dictionaryCache: file });
  await holding(client);
  t.is(await record(client, 2), millRecord(2));
});

test('a cache in a place where no folder can be made is given up at once', async (t) => {
  const { DictionaryFiles } = await import('../../src/client/dictionary-files.ts');
  const file = join(await folder(t), 'file');
  await writeFile(file, 'not a folder');
  // Of /proc Node's own mkdir never comes back.
  const places = [join(file, 'below'), ...(process.platform === 'linux' ? ['/proc/none/below'] : [])];
  for (const place of places)
    await t.throwsAsync(new DictionaryFiles(place).save('00'.repeat(16), BYTES), undefined, place);
  const made = join(await folder(t), 'two', 'levels');
  await new DictionaryFiles(made).save(ID, BYTES);
  t.is(statSync(made).mode & 0o777, 0o700);
});

test('the cache has a bound, and what was used last stays', async (t) => {
  const { DictionaryFiles } = await import('../../src/client/dictionary-files.ts');
  const path = await folder(t);
  const files = new DictionaryFiles(path);
  const id = (i: number) => i.toString(16).padStart(32, '0');
  for (let i = 0; i < 40; i++) await files.save(id(i), new Uint8Array(1 << 20));
  const names = await readdir(path);
  t.true(names.length <= 32 && names.includes(`${id(39)}.dict`), String(names.length));
});

test('createServer refuses what is no dictionary, what is damaged, and what is for no command', async (t) => {
  const dir = await folder(t);
  const damaged = join(dir, 'damaged');
  await writeFile(damaged, BYTES.subarray(0, 60));
  const huge = join(dir, 'huge');
  await writeFile(huge, new Uint8Array((1 << 20) + 1));
  const wrongs: [ServerOptions, RegExp][] = [
    [
      { dictionaries: [{ bytes: Buffer.from('what is this then?') }] },
      /dictionaries\.0: not a zstd dictionary/,
    ],
    [{ dictionaries: [{ file: damaged }] }, /dictionaries\.0: .*damaged: damaged dictionary/],
    [{ dictionaries: [{ file: huge }] }, /over 1048576/],
    [
      { dictionaries: [{ file: join(dir, 'missing') }] },
      /^option dictionaries\.0: \S*missing: no such file$/,
    ],
    [{ dictionaries: [{ file: dir }] }, /not a file/],
    [{ dictionaries: [{}] }, /either file or bytes/],
    [{ dictionaries: [{ bytes: BYTES }, { bytes: OTHER }] }, /for all commands already/],
    [{ dictionaries: [{ bytes: BYTES, commands: ['nope'] }] }, /no command 'nope'/],
    [{ dictionaries: [{ bytes: BYTES, comands: [] } as object] }, /did you mean 'commands'/],
    [{ contexts: 'some' as 'none' }, /option contexts: 'some'/],
  ];
  for (const [options, message] of wrongs) t.throws(() => createServer(options), { message });
});

test('seven commands have a dictionary of their own beside that of all others; one more is refused, and says why', async (t) => {
  const names = Array.from({ length: 8 }, (_, i) => `own ${i}`);
  const own = names.map((name, i) => {
    const bytes = BYTES.slice();
    bytes[5] ^= 2 + i;
    return { bytes, commands: [name], id: readDictionary(bytes).id };
  });
  const given = (count: number): ServerOptions => ({
    commands: Object.fromEntries(names.map((name) => [name, commands.mill])),
    dictionaries: [
      { bytes: BYTES },
      ...own.slice(0, count).map(({ bytes, commands: of }) => ({ bytes, commands: of })),
    ],
  });
  const message = /commands have 9 different pairs of them, over 8: each but one takes a stream/;
  t.throws(() => createServer(given(8)), { instanceOf: TypeError, message });
  t.throws(() => createServer({ ...given(4), policy: 'adaptive' }), { message: /have 5 .*, over 4/ });
  const { address } = await serving(t, given(7));
  const peer = await RawPeer.connect(t, address.port);
  const ids = [ID, ...own.map(({ id }) => id)].map((id) => `"${id}"`).slice(0, 8);
  peer.send(
    `0 1 stream-begin sender-settings 0 {"contentEncodings":["zstd-8mb","zstd-dict"],"dictionaries":[${ids}]}`,
    ...names.flatMap((name, i) => asks(1 + 2 * i, name, i)),
  );
  for (const i of names.keys()) await peer.until(() => isAnswered(peer, 1 + 2 * i));
  const used = names.map((_, i) => dictionaryOf(peer, 1 + 2 * i));
  t.deepEqual(used, [...own.slice(0, 7).map(({ id }) => id), ID]);
});
