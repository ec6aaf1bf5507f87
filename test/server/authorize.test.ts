// Who gets in: the authorize hook per connection and per command; and contexts that two secrets' owners never share.
import { once } from 'node:events';
import { symlinkSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { connect as connectSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import ava, { type ExecutionContext } from 'ava';
import {
  type Authorize,
  type AuthorizeQuery,
  type CommandRequest,
  ConnectionError,
  cached,
  type ServerOptions,
} from '../../src/index.ts';
import { FrameType } from '../../src/wire/frame.ts';
import { fill, tempFolder } from '../files/helper.ts';
import { roles, who } from '../fixtures/codes.ts';
import { frames, HELLO, RawPeer } from '../helpers/raw-peer.ts';
import { dial, listening, reach, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

const test = ava.serial;

test('nothing is read from a connection before the hook has said yes to it', async (t) => {
  let admit: (yes: boolean) => void = () => undefined;
  const asked = Promise.withResolvers<void>();
  const ran: string[] = [];
  const authorize: Authorize = ({ command }) =>
    command !== undefined ||
    new Promise<boolean>((resolve) => {
      admit = resolve;
      asked.resolve();
    });
  const { server, port } = await serving(t, {
    authorize,
    commands: { note: ({ command }) => void ran.push(command) },
  });
  const peer = await RawPeer.connect(t, port);
  peer.send(
    '0 1 stream-begin sender-settings 0 {"contentEncodings":["zstd-8mb"]}',
    '1 1 0 command-name eos note',
  );
  await asked.promise;
  // Round trips to the lane, for as long as reading would take many times over.
  for (let i = 0; i < 30; i++) await server.stats();
  t.deepEqual(ran, []);
  t.is(peer.frames.length, 0, 'not even settings are answered');
  t.is((await server.stats()).lanes[0].openStreams, 0);
  admit(true);
  t.is(await peer.answer(1), '');
  t.deepEqual(ran, ['note']);
});

const RPC = 'HTTP/1.1\r\nHost: mill\r\nContent-Length: 0\r\n\r\n';
/** A command in one piece, by each door. */
const AT_ONCE: Record<string, Uint8Array | string> = {
  frames: frames(HELLO, '1 1 0 command-name eos note'),
  HTTP: `POST /rpc/note ${RPC}`,
  'HTTP in the server of somebody else': `POST /mill/rpc/note ${RPC}`,
};

for (const [door, bytes] of Object.entries(AT_ONCE)) {
  test(`who asks and resets its connection at once is not taken for one on a Unix socket: ${door}`, async (t) => {
    const remotes: string[] = [];
    const ran: string[] = [];
    const { server, port, reports } = await serving(t, {
      commands: { note: ({ command }) => void ran.push(command) },
      authorize: ({ connection }) => remotes.push(connection.remote) > 0 && connection.remote === 'unix',
    });
    const http = createHttp();
    await server.attach(http, { path: '/mill' });
    const theirs = await listening(http);
    t.teardown(() => http.close());
    const to = door.includes('somebody else') ? theirs : port;
    // The system hands out one connection in a turn of the event loop: most are reset before it is theirs.
    const resets = Array.from({ length: 20 }, async () => {
      const socket = connectSocket(to, '127.0.0.1');
      await once(socket, 'connect');
      socket.write(bytes);
      socket.resetAndDestroy();
    });
    await Promise.all(resets);
    const last = connectSocket(to, '127.0.0.1').end(`POST /mill/rpc/ping ${RPC}`);
    t.teardown(() => last.destroy());
    await once(last.resume(), 'end');
    t.deepEqual(
      remotes.filter((remote) => !remote.startsWith('127.0.0.1:')),
      [],
    );
    t.deepEqual(ran, []);
    if (to !== port) return;
    const told = reports.filter(({ error }) => /reset before it was accepted/.test(String(error)));
    t.true(told.length > 0);
    // Whose fault it is shows by its kind: those who watch a server's own faults leave it out.
    t.true(told.every(({ error }) => error instanceof ConnectionError && error.code === 'lost'));
  });
}

/** What `onError` hears of a no that the hook did not mean. */
const REASONS: [RegExp, RegExp][] = [
  [/throws$|rejects/, /the hook is broken/],
  [/never answers/, /^Error: authorizeTimeout: authorize has not answered within 50 ms$/],
  [/^answers/, /^TypeError: authorize answered with .*: neither a boolean nor \{ principal \} alone/],
];

for (const [how, authorize] of [
  ['says no', () => false],
  ['says no later', async () => sleep(50, false)],
  [
    'throws',
    () => {
      throw new Error('the hook is broken');
    },
  ],
  ['answers nonsense', () => 'yes' as never],
  ['answers nothing', () => undefined as never],
  ['answers 1', () => 1 as never],
  ['answers with an array', () => [] as never],
  ['answers with { allowed: false }', () => ({ allowed: false }) as never],
  ['answers with { allowed: true }', () => ({ allowed: true }) as never],
  ['answers with nobody', () => ({ principal: undefined })],
  ['answers with null', () => ({ principal: null })],
  ["answers with ''", () => ({ principal: '' })],
  ['answers with false', () => ({ principal: false })],
  ['answers with more than a principal', () => ({ principal: 'alice', allowed: false }) as never],
  ['answers with a principal that is inherited', () => Object.create({ principal: 'alice' }) as never],
  ['answers with an object of a class', () => Object.assign(new Map(), { principal: 'alice' }) as never],
  ['answers with a function', () => Object.assign(() => true, { principal: 'alice' }) as never],
  ['answers with a true of a box', () => new Boolean(true) as never],
  ['rejects', async () => Promise.reject(new Error('the hook is broken'))],
  ['never answers', () => new Promise<never>(() => undefined)],
  [
    'answers with a getter that throws',
    () => ({
      get principal(): string {
        throw new Error('the hook is broken');
      },
    }),
  ],
] as [string, Authorize][]) {
  test(`a connection to which the hook ${how} is told so and closed, and nothing of it runs`, async (t) => {
    let ran = 0;
    const { server, port, reports } = await serving(t, {
      authorize,
      authorizeTimeout: 50,
      commands: { note: () => void ran++ },
    });
    const peer = await RawPeer.connect(t, port);
    peer.send(HELLO, '1 1 0 command-name eos note');
    t.is(await peer.protocolError(), 'protocol error (not-authorized): not authorized');
    t.true(await peer.until(() => peer.ended));
    t.is(peer.frames.length, 1);
    t.is(ran, 0);
    t.is((await server.stats()).lanes[0].openStreams, 0);
    const about = REASONS.find(([which]) => which.test(how))?.[1];
    t.deepEqual(reports.filter(({ error }) => about?.test(String(error))).length > 0, about !== undefined);
    await t.throwsAsync(reach({ port }), { message: /not authorized/ });
  });
}

test('the hook is told command, mode, arguments and authorization; handlers and reports never see the latter', async (t) => {
  const asked: AuthorizeQuery[] = [];
  const seen: string[] = [];
  const { port, reports } = await serving(t, {
    authorize: (query) => {
      asked.push(query);
      return true;
    },
    commands: {
      change: (request: CommandRequest) => {
        seen.push([...request.args.keys()].join());
        throw new Error('change failed');
      },
      look: { handler: () => 'seen', mode: 'ro' },
    },
  });
  const client = await dial(t, { port }, { authorization: 'Bearer of-a-secret' });
  await t.throwsAsync(client.call('change', { args: { what: 'all' } }).text());
  await client.call('look', { authorization: 'Bearer of-another' }).text();
  await client.call('echo').text();
  const told = asked.map(({ command, mode, args, authorization }) => [
    command,
    mode,
    [...(args?.keys() ?? [])],
    authorization,
  ]);
  t.deepEqual(told, [
    [undefined, undefined, [], undefined],
    ['change', 'rw', ['what'], 'Bearer of-a-secret'],
    ['look', 'ro', [], 'Bearer of-another'],
    ['echo', 'ro', [], 'Bearer of-a-secret'],
  ]);
  t.deepEqual(seen, ['what']);
  t.is(reports.length, 1);
  t.false(`${reports[0].error} ${JSON.stringify(reports[0].about)}`.includes('Bearer'));
});

test('what the hook reads as one path, the handler does not read as another', async (t) => {
  const root = tempFolder(t);
  fill(root, { secret: 'the secret' });
  const { port } = await serving(t, {
    root,
    authorize: ({ args }) => Buffer.from(args?.get('path') ?? []).toString() !== 'secret',
  });
  const client = await dial(t, { port });
  const get = (path: string) => client.call('files.get', { args: { path } }).text();
  await t.throwsAsync(get('secret'), { message: 'not authorized' });
  // A decoder that takes U+FEFF for a byte order mark would open the secret.
  await t.throwsAsync(get('\ufeffsecret'), { message: /^no such file/ });
  fill(root, { '\ufeffsecret': '\ufeffno secret' });
  t.is(await get('\ufeffsecret'), '\ufeffno secret');
});

test('the hook judges files by where they really are, whatever they are called', async (t) => {
  const root = tempFolder(t);
  fill(root, { 'secret/key': 'the secret', 'open/text': 'open', 'open/deep/er': 'open' });
  symlinkSync('../secret', join(root, 'open/way'));
  symlinkSync('secret/key', join(root, 'also'));
  symlinkSync('open', join(root, 'opened'));
  symlinkSync(tmpdir(), join(root, 'outside'));
  const told: unknown[] = [];
  const { port } = await serving(t, {
    root,
    authorize: ({ command, paths }) => {
      if (command !== undefined) told.push(paths);
      return paths?.every((path) => path !== 'secret' && !path.startsWith('secret/')) ?? true;
    },
  });
  const client = await dial(t, { port });
  const ask = (command: string, args: Record<string, string>) => client.call(command, { args }).text();
  for (const path of ['secret/key', 'open/way/key', 'opened/way/key', 'also', 'opened/way/none']) {
    await t.throwsAsync(ask('files.get', { path }), { message: 'not authorized', code: 'not-authorized' });
    await t.throwsAsync(ask('files.stat', { path }), { message: 'not authorized' });
    const paths = JSON.stringify(['open/text', path]);
    await t.throwsAsync(ask('files.bundle', { paths }), { message: 'not authorized' });
  }
  await t.throwsAsync(ask('files.list', { path: 'opened/way' }), { message: 'not authorized' });
  told.length = 0;
  t.is(await ask('files.get', { path: 'opened/text' }), 'open');
  t.is(await ask('files.get', { path: 'opened/deep/er' }), 'open');
  t.regex(await ask('files.stat', { path: '.' }), /folder/);
  await ask('files.list', { path: 'opened/deep' });
  await t.throwsAsync(ask('files.get', { path: 'opened/none/at/all' }), { code: 'not-found' });
  await t.throwsAsync(ask('files.list', { path: 'outside' }), { code: 'not-found' });
  await t.throwsAsync(ask('files.get', { path: '../x' }), { code: 'invalid-argument' });
  await ask('echo', { value: 'x' });
  t.deepEqual(told, [
    ['open/text'],
    ['open/deep/er'],
    [''],
    ['open/deep'],
    ['open/none/at/all'],
    ['outside'],
    ['../x'],
    undefined,
  ]);
});

test('who may not use a command does not learn whether there is one', async (t) => {
  const asked: (string | undefined)[] = [];
  const { port } = await serving(t, {
    authorize: ({ command, mode, authorization }) => {
      if (command !== undefined) asked.push(`${command} ${mode}`);
      return command === undefined || authorization === 'friend';
    },
    commands: { known: () => 'it is' },
  });
  const client = await dial(t, { port });
  const refused = { message: 'not authorized', code: 'not-authorized' };
  for (const command of ['known', 'none']) {
    await t.throwsAsync(client.call(command).text(), refused);
    await t.throwsAsync(client.call(command, { data: 'x'.repeat(100_000) }).text(), refused);
  }
  const unknown = client.call('none', { authorization: 'friend', data: 'x'.repeat(100_000) }).text();
  await t.throwsAsync(unknown, { message: "unknown command 'none'", code: 'unknown-command' });
  t.is(await client.call('known', { authorization: 'friend' }).text(), 'it is');
  t.deepEqual(asked, ['known rw', 'known rw', 'none rw', 'none rw', 'none rw', 'known rw']);
});

test('an answer that comes too late is no, and its request no longer counts', async (t) => {
  const { port, reported } = await serving(t, {
    limits: { maxConcurrentRequests: 2 },
    authorizeTimeout: 50,
    authorize: ({ command }) => command !== 'slow' || new Promise(() => undefined),
    commands: { slow: () => 'never' },
  });
  const client = await dial(t, { port });
  for (let round = 0; round < 3; round++) {
    await t.throwsAsync(client.call('slow').text(), { message: 'not authorized', code: 'not-authorized' });
  }
  t.is(await client.call('echo', { args: { value: 'x' } }).text(), 'x');
  await reported(({ error }) => /authorizeTimeout/.test(String(error)));
});

test('a command that is refused does not run, its data goes nowhere, and its connection lives on', async (t) => {
  let ran = 0;
  const { port } = await serving(t, {
    authorize: async ({ mode }) => sleep(20, mode !== 'rw'),
    commands: { change: () => void ran++ },
  });
  const client = await dial(t, { port });
  const data = 'x'.repeat(500_000);
  await t.throwsAsync(client.call('change', { data }).text(), { message: 'not authorized' });
  t.is(ran, 0);
  t.is(await client.call('echo', { data }).text(), data, 'data waits for the hook');
  const response = client.call('echo', { data });
  response.cancel();
  await t.throwsAsync(response.text());
  t.is(await client.call('echo', { args: { value: 'lives on' } }).text(), 'lives on');
});

test('a connection belongs to one principal', async (t) => {
  const { port } = await serving(t, {
    authorize: ({ authorization, connection }) =>
      authorization === undefined ? connection.principal !== undefined || true : { principal: authorization },
  });
  const client = await dial(t, { port });
  const ask = (authorization: string) => client.call('echo', { args: { value: 'x' }, authorization }).text();
  t.is(await ask('alice'), 'x');
  t.is(await ask('alice'), 'x');
  await t.throwsAsync(ask('mallory'), { message: /another principal/ });
  t.is(await ask('alice'), 'x');
});

for (const thread of ['main', 'lane']) {
  test(`handlers know who is calling, from where, and a name for it in logs: ${thread}`, async (t) => {
    const module = new URL('../fixtures/codes.ts', import.meta.url);
    const command = thread === 'main' ? who : { module, export: 'who' };
    const alice = { name: 'alice', roles: new Set(['miller']), since: new Date(0) };
    const ids: (string | undefined)[] = [];
    const { port } = await serving(t, {
      commands: { who: command, roles: thread === 'main' ? roles : { module, export: 'roles' } },
      authorize: ({ command, authorization, requestId }) => {
        if (command === 'who') ids.push(requestId);
        // Made anew for each answer, and the same all the same.
        return authorization === 'alice' ? { principal: { ...alice } } : true;
      },
    });
    const client = await dial(t, { port });
    const tell = async (authorization?: string) =>
      JSON.parse(await client.call('who', { authorization }).text());
    const before = await tell();
    t.is(before.principal, null);
    t.regex(before.remote, /^127\.0\.0\.1:\d+$/);
    t.is((await tell('alice')).principal.name, 'alice');
    t.is((await tell()).principal.name, 'alice', 'the connection is hers');
    t.is(await client.call('roles').text(), 'miller 1970');
    const other = await dial(t, { port });
    const seen = [before.requestId, ...(await Promise.all([tell(), tell(), tell()])).map((x) => x.requestId)];
    const others = JSON.parse(await other.call('who').text());
    t.is(others.principal, null);
    t.is(new Set([...seen, others.requestId]).size, 5);
    for (const id of [...seen, others.requestId]) t.true(ids.includes(id), id);
  });
}

test('a principal that cannot be cloned fails the commands of lanes, and says why at home', async (t) => {
  const module = new URL('../fixtures/codes.ts', import.meta.url);
  const principal = { name: 'alice', secretOf: () => 'the marker' };
  const { port, reports } = await serving(t, {
    commands: {
      main: ({ principal }) => (principal as { name: string }).name,
      lane: { module, export: 'who' },
    },
    authorize: () => ({ principal }),
  });
  const client = await dial(t, { port });
  t.is(await client.call('main').text(), 'alice');
  await t.throwsAsync(client.call('lane').text(), {
    code: 'internal',
    message: 'internal error: what the authorize hook gave as principal cannot be cloned for a worker',
  });
  t.is(await client.call('main').text(), 'alice');
  t.deepEqual([reports.length, reports[0].about.command], [1, 'lane']);
  t.regex(String(reports[0].error), /could not be cloned/);
});

test('requests that wait for the hook count, and can be cancelled', async (t) => {
  const { port } = await serving(t, {
    limits: { maxConcurrentRequests: 3 },
    authorize: ({ command }) => command === undefined || new Promise(() => undefined),
  });
  const peer = await RawPeer.connect(t, port);
  peer.send(HELLO, ...[1, 3, 5].map((id) => `${id} 1 0 command-name eos echo`), '3 1 0 cancel 0 ');
  t.is(await peer.answer(3), 'error: cancelled');
  peer.send('7 1 0 command-name eos echo', '9 1 0 command-name eos echo');
  for (const id of [7, 9]) t.regex((await peer.answer(id)) ?? '', /^error: maxConcurrentRequests: /);
  t.true(peer.unharmed);
});

// ------------------------------------------------------------------------- the length oracle (protocol D: CRIME, BREACH)

const SECRET = 'token=9f3ac1e7';
const ALPHABET = '0123456789abcdef';

/**
 * The attacker sees lengths only. It has the victim's connection ask for the page with the secret, then for a page that
 * reflects its guess, and keeps the guess whose response is the shortest.
 */
async function mountOracle(t: ExecutionContext, port: number, sensitiveRequest: boolean): Promise<string> {
  let known = 'token=';
  while (known.length < SECRET.length) {
    const lengths: [string, number][] = [];
    for (const letter of ALPHABET)
      lengths.push([letter, await reflectedLength(port, known + letter, sensitiveRequest)]);
    lengths.sort(([, a], [, b]) => a - b);
    if (lengths[0][1] === lengths[1][1]) break;
    known += lengths[0][0];
  }
  t.log(`the attacker knows '${known}'`);
  return known;
}

/** Bytes on the wire of the response that reflects `guess`, on a connection that has carried the secret before. */
async function reflectedLength(port: number, guess: string, sensitive: boolean): Promise<number> {
  const client = await reach({ port }, { profiles: ['zlib'] });
  try {
    await client.call('secret', { sensitive }).text();
    const before = client.stats().bytesRead;
    await client.call('echo', { args: { value: guess } }).text();
    return client.stats().bytesRead - before;
  } finally {
    client.destroy();
  }
}

const PAGE = `<html><body>Your account. <input type="hidden" value="${SECRET}"> Welcome back.</body></html>`;
const oracle = (sensitive: boolean): ServerOptions => ({
  policy: 'single',
  limits: { maxStreamBegins: 1e9 },
  commands: { secret: { handler: () => PAGE, sensitive } },
});

test('the length oracle works on a shared context', async (t) => {
  const { port } = await serving(t, oracle(false));
  const known = await mountOracle(t, port, false);
  t.is(known, SECRET, 'letter by letter the whole secret leaks');
});

test('the length oracle fails when the handler is marked sensitive', async (t) => {
  const { port } = await serving(t, oracle(true));
  t.is(await mountOracle(t, port, false), 'token=');
});

test('the length oracle fails when the request says :sensitive', async (t) => {
  const { port } = await serving(t, oracle(false));
  t.is(await mountOracle(t, port, true), 'token=');
});

test('the data of a sensitive request is sent plain, too', async (t) => {
  const { port } = await serving(t, {});
  const client = await dial(t, { port }, { encodeData: 'zlib' });
  const data = 'secret '.repeat(5000);
  const written = async (sensitive: boolean) => {
    const before = client.stats().bytesWritten;
    t.is(await client.call('echo', { data, sensitive }).text(), data);
    return client.stats().bytesWritten - before;
  };
  t.true((await written(false)) < 5000);
  t.true((await written(true)) >= data.length);
});

for (const [what, definition] of [
  ['a handler on the main thread', { handler: () => PAGE }],
  ['a cached output', { handler: () => cached('page', () => new TextEncoder().encode(PAGE)) }],
  ['a handler in a lane', { module: new URL('../fixtures/lane-text.ts', import.meta.url) }],
] as [string, { handler: () => string }][]) {
  test(`what is sensitive goes out unencoded, on a stream without a context: ${what}`, async (t) => {
    const { port } = await serving(t, { commands: { secret: { ...definition, sensitive: true } } });
    const peer = await RawPeer.connect(t, port);
    peer.send(
      '0 1 stream-begin sender-settings 0 {"contentEncodings":["zstd-8mb"]}',
      '1 1 0 command-name eos secret',
    );
    t.truthy(await peer.answer(1));
    peer.send('3 1 0 command-name eos capabilities');
    await peer.answer(3);
    const of = (id: number) =>
      peer.frames.filter(({ requestId, type }) => requestId === id && type === FrameType.bytesResponse);
    t.true(
      of(1).every(({ streamFlags }) => (streamFlags & 4) === 0),
      'not encoded',
    );
    t.true(
      of(3).some(({ streamFlags }) => (streamFlags & 4) !== 0),
      'others are',
    );
    const shared = new Set(of(3).map(({ streamId }) => streamId));
    t.false(
      of(1).some(({ streamId }) => shared.has(streamId)),
      'and not on a stream of theirs',
    );
  });
}

/** Bytes of the response that reflects `guess`, after the page with the secret or without it. */
async function reflected(port: number, guess: string, afterSecret: boolean): Promise<number> {
  const client = await reach({ port }, { profiles: ['zstd-8mb'] });
  try {
    if (afterSecret) await client.call('secret').text();
    else await client.call('echo', { args: { value: 'x'.repeat(40) } }).text();
    const before = client.stats().bytesRead;
    await client.call('echo', { args: { value: guess } }).text();
    return client.stats().bytesRead - before;
  } finally {
    client.destroy();
  }
}

for (const contexts of ['kept', 'none'] as const) {
  test(`a guess in one response ${contexts === 'kept' ? 'is shortened' : 'is not shortened'} by the secret in another, contexts ${contexts}`, async (t) => {
    const { port } = await serving(t, { ...oracle(false), contexts });
    const guess = `<input type="hidden" value="${SECRET}">`;
    const shorter = (await reflected(port, guess, false)) - (await reflected(port, guess, true));
    if (contexts === 'kept') t.true(shorter > 20, String(shorter));
    else t.is(shorter, 0);
  });
}

test('contexts none do not help where the secret and the guess are in one response', async (t) => {
  const { port } = await serving(t, {
    contexts: 'none',
    commands: { page: { handler: (request) => `${PAGE}<p>You asked for ${request.text('guess')}</p>` } },
  });
  const client = await dial(t, { port }, { profiles: ['zstd-8mb'] });
  const length = async (guess: string) => {
    const before = client.stats().bytesRead;
    await client.call('page', { args: { guess } }).text();
    return client.stats().bytesRead - before;
  };
  await length('warm');
  t.true((await length(`value="${SECRET}"`)) < (await length('value="token=xqzvbnmk"')));
});
