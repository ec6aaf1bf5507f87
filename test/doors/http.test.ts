// HTTP: frames by POST (protocol A7), commands for whoever has nothing but curl, and what must not get past the parser.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createNetServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import ava, { type ExecutionContext } from 'ava';
import { z } from 'zod';
import {
  CommandError,
  createServer,
  ProgressOutput,
  type ServerOptions,
  TextOutput,
} from '../../src/index.ts';
import { FrameType } from '../../src/wire/frame.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { ROOT } from '../helpers/imports.ts';
import { frames } from '../helpers/raw-peer.ts';
import { digest, sample } from '../helpers/samples.ts';
import { dial, listening, type Serving, serve, servingOnSharedLanes } from '../helpers/serving.ts';
import { ask, askFrames, FRAMES, framesIn, PART_A, PREFIX, said, Wire } from './helper.ts';

const serving = servingOnSharedLanes(ava);

const ECHO = [
  '1 1 stream-begin command-name have-args echo',
  '1 1 0 command-argument eoa \\x05\\x00\\x02\\x00valuehi',
];
const SETTINGS = (profile: string) =>
  `0 1 stream-begin sender-settings 0 {"contentEncodings":["${profile}"],"extensions":["error-codes"]}`;
const LINE = JSON.stringify({ station: 'river', level: 2.5 });

const commands: ServerOptions['commands'] = {
  change: async function* () {
    yield 'changed';
  },
  add: {
    args: z.object({ a: z.coerce.number(), b: z.coerce.number().optional() }),
    mode: 'ro',
    handler: async function* ({ input }) {
      const { a, b = 0 } = input as unknown as { a: number; b?: number };
      yield String(a + b);
    },
  },
  since: {
    args: z.object({ day: z.coerce.date(), count: z.coerce.number() }),
    handler: ({ input }) => String(input),
  },
  lines: {
    mode: 'ro',
    handler: async function* (request) {
      yield `${LINE}\n`.repeat(Number(request.text('count') ?? 100));
    },
  },
  'broken-off': async function* () {
    yield sample(100_000, 1);
    throw new CommandError('no more', { code: 'no-more' });
  },
  'no-water': () => {
    throw new CommandError('no water', { code: 'no-water', data: { level: 2 } });
  },
  who: ({ principal }) => String(principal),
  events: {
    mode: 'ro',
    handler: async function* (request) {
      yield 'one\ntwo\n';
      yield new TextOutput('for people\n');
      yield new ProgressOutput(1, 2, 'topic');
      yield 'no end of line';
      if (request.text('fail') !== undefined) throw new CommandError('over', { code: 'over' });
    },
  },
  silent: {
    mode: 'ro',
    handler: ({ signal }) => once(signal, 'abort').then(() => ''),
  },
  endless: {
    mode: 'ro',
    handler: async function* (request) {
      while (!request.signal.aborted) {
        yield 'tick\n';
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
  },
};

// One after the other: each server has threads of its own.
const test = ava.serial;

let shared: Promise<Serving> | undefined;

/** The server of all tests that need nothing of their own. */
function common(): Promise<Serving> {
  shared ??= serve({ commands });
  return shared;
}

ava.after.always(async () => (await shared)?.server.close(0));

test('every status of protocol A7', async (t) => {
  const { port } = await common();
  const status = async (path: string, headers?: Record<string, string>, method?: string) =>
    (
      await ask(port, `${PREFIX}/${path}`, {
        method,
        headers: { accept: PART_A, 'content-type': PART_A, ...headers },
      })
    ).status;
  t.is(await status('ro/echo'), 200);
  t.is(await status('rw/echo'), 200);
  t.is(await status('rw/change'), 200);
  t.is(await status('ro/change'), 403);
  t.is(await status('ro/none'), 404);
  t.is(await status('rx/echo'), 404);
  t.is(await status('ro'), 404);
  t.is(await status('ro/%ff'), 404);
  t.is(await status('ro/echo', { accept: '*/*' }), 406);
  t.is(await status('ro/echo', { accept: `${PART_A};q=0` }), 406);
  t.is(await status('ro/echo', { 'content-type': 'application/octet-stream' }), 415);
  t.is(await status('ro/echo', { 'content-length': String(2 ** 31) }), 413);
  const got = await ask(port, `${PREFIX}/ro/echo`, { method: 'GET', headers: { accept: PART_A } });
  t.deepEqual([got.status, got.headers.allow], [405, 'POST']);
  t.is((await ask(port, '/nowhere')).status, 404);
});

test('whom the hook forbids a command learns by no door whether there is one', async (t) => {
  const { port } = await serving(t, { commands, authorize: ({ command }) => command === undefined });
  const multiple = (command: string) =>
    askFrames(port, 'ro/multirequest', [`1 1 stream-begin command-name eos ${command}`]);
  const doors: Record<string, (command: string) => Promise<{ status: number; body: Buffer }>> = {
    'ro, well formed': (command) =>
      askFrames(port, `ro/${command}`, [`1 1 stream-begin command-name eos ${command}`]),
    'rw, well formed': (command) =>
      askFrames(port, `rw/${command}`, [`1 1 stream-begin command-name eos ${command}`]),
    'ro, for no answer': (command) => askFrames(port, `ro/${command}`, ECHO, { accept: 'text/html' }),
    'rw, of no type': (command) => askFrames(port, `rw/${command}`, ECHO, { 'content-type': 'text/html' }),
    'rw, too large': (command) =>
      ask(port, `${PREFIX}/rw/${command}`, {
        headers: { accept: PART_A, 'content-type': PART_A, 'content-length': String(2 ** 31) },
      }),
    'many in one': multiple,
    rpc: (command) => ask(port, `/rpc/${command}`),
    'rpc, by GET': (command) => ask(port, `/rpc/${command}`, { method: 'GET' }),
    'rpc, events': (command) =>
      ask(port, `/rpc/${command}`, { method: 'GET', headers: { accept: 'text/event-stream' } }),
    'rpc, of no type': (command) =>
      ask(port, `/rpc/${command}`, { headers: { 'content-type': 'text/html' }, body: 'x' }),
  };
  for (const [door, through] of Object.entries(doors)) {
    const [none, ...known] = await Promise.all(['none', 'add', 'change', 'echo'].map(through));
    const told = ({ status, body }: { status: number; body: Buffer }) => [status, body.toString()];
    for (const each of known) t.deepEqual(told(each), told(none), door);
  }
  t.is((await ask(port, '/rpc', { method: 'GET' })).status, 401);
});

test('frames are answered with the media type that was asked for; ours permits extensions, part A alone does not', async (t) => {
  const { port } = await common();
  const plain = await askFrames(port, 'ro/echo', ECHO);
  t.deepEqual([plain.status, plain.headers['content-type'], said(plain.body)], [200, PART_A, 'hi']);
  const ours = { accept: FRAMES, 'content-type': FRAMES };
  const [first, ...rest] = ECHO;
  const settled = [SETTINGS('zstd-8mb'), first.replace('stream-begin', '0'), ...rest];
  const encoded = await askFrames(port, 'ro/echo', settled, ours);
  t.deepEqual([encoded.status, encoded.headers['content-type']], [200, FRAMES]);
  const found = framesIn(encoded.body);
  t.is(found[0].type, FrameType.senderSettings);
  t.true(found.some(({ type }) => type === FrameType.streamSettings));
  const halves: Record<string, string>[] = [{}, { accept: FRAMES }, { 'content-type': FRAMES }];
  for (const headers of halves) {
    const refused = await askFrames(port, 'ro/echo', settled, headers);
    t.is(refused.status, 400);
    t.regex(said(refused.body), /^protocol error.*both ways/);
  }
});

test('one request carries the command of its URL, and one; multirequest any number', async (t) => {
  const { port } = await serving(t, { commands, http: { prefix: 'frames/v1' } });
  const at = (path: string, ...lines: string[]) => {
    const headers = { accept: PART_A, 'content-type': PART_A };
    return ask(port, `/frames/v1/${path}`, { headers, body: frames(...lines) });
  };
  const other = await at('ro/add', ...ECHO);
  t.is(other.status, 400);
  t.regex(said(other.body), /not the one in the URL/);
  const two = await at(
    'rw/change',
    '1 1 stream-begin command-name eos change',
    '3 1 0 command-name eos change',
  );
  t.is(two.status, 400);
  t.regex(said(two.body), /one command/);
  const many = await at(
    'rw/multirequest',
    '1 1 stream-begin command-name eos change',
    '3 1 0 command-name eos who',
  );
  t.is(many.status, 200);
  t.regex(said(many.body), /^(changedundefined|undefinedchanged)$/);
  const forbidden = await at('ro/multirequest', '1 1 stream-begin command-name eos change');
  t.regex(said(forbidden.body), /under rw only/);
  t.is((await ask(port, `${PREFIX}/ro/echo`)).status, 404);
});

test('nothing is answered before the end of the request, and a body that is broken off runs nothing', async (t) => {
  const { port } = await common();
  const body = frames(...ECHO);
  const head = [`POST ${PREFIX}/ro/echo HTTP/1.1`, 'Host: x', `Accept: ${PART_A}`, `Content-Type: ${PART_A}`];
  const wire = new Wire(t, port).send(...head, 'Transfer-Encoding: chunked', 'Expect: 100-continue', '', '');
  t.is(await wire.heard(/\r\n\r\n/), 'HTTP/1.1 100 Continue\r\n\r\n');
  wire.socket.write(`${body.length.toString(16)}\r\n`);
  wire.socket.write(body);
  wire.socket.write('\r\n');
  // A round trip, in which it would have answered.
  await ask(port, '/rpc/echo');
  t.is(await wire.heard(/Continue/), 'HTTP/1.1 100 Continue\r\n\r\n');
  wire.socket.write('0\r\n\r\n');
  t.regex(await wire.heard(/hi/), /HTTP\/1.1 200 OK[\s\S]*hi/);
  // The same connection takes the next one.
  wire.send('POST /rpc/echo?value=again HTTP/1.1', 'Host: x', '', '');
  t.regex(await wire.heard(/again/), /again/);
  const refused = new Wire(t, port).send(
    `POST ${PREFIX}/ro/echo HTTP/1.1`,
    'Host: x',
    'Content-Length: 10',
    'Expect: 100-continue',
    '',
    '',
  );
  t.regex(await refused.heard(/\r\n\r\n/), /^HTTP\/1.1 406 /, 'nothing is asked for that is refused');
});

test('/rpc takes arguments from the query, JSON and forms, and holds them to their schema', async (t) => {
  const { port } = await common();
  const text = async (path: string, type?: string, body?: string) => {
    const { status, body: bytes } = await ask(port, `/rpc/${path}`, {
      body,
      headers: type === undefined ? {} : { 'content-type': type },
    });
    return `${status} ${bytes.toString().trim()}`;
  };
  t.is(await text('add?a=1&b=2'), '200 3');
  t.is(await text('add', 'application/json; charset=utf-8', '{"a":1.5,"b":null}'), '200 1.5');
  t.is(await text('add?a=1', 'application/json', '{"b":2}'), '200 3');
  t.is(await text('add', 'application/x-www-form-urlencoded', 'a=2&b=3'), '200 5');
  t.regex(await text('add?b=2'), /^400 .*"code":"invalid-argument"/);
  t.regex(await text('add?a=1&a=2'), /^400 .*given twice/);
  t.regex(await text('add?:sensitive=1&a=1'), /^400 .*reserved/);
  t.regex(await text('add', 'application/json', '[1]'), /^400 .*not a JSON object/);
  t.regex(await text('add', 'application/json', '{'), /^400 .*not JSON/);
  t.regex(await text('add', 'text/plain', 'a=1'), /^415 /);
  t.regex(await text(`add?${'a'.repeat(20_000)}=1`), /^431 /);
  t.is(
    await text('add', 'application/json', `{"a":"${'1'.repeat(2 << 20)}"}`),
    '413 maxArgumentBytes: a body of more than 1048576 bytes',
  );
  t.is(await text('echo', 'application/octet-stream', 'bytes'), '200 bytes');
});

test('errors of /rpc are a status, a code, a message and data', async (t) => {
  const { port } = await serving(t, {
    commands,
    authorize: ({ authorization, command }) =>
      command === 'change' ? false : authorization === undefined ? true : { principal: authorization },
  });
  const error = async (path: string, headers = {}) => {
    const { status, body } = await ask(port, `/rpc/${path}`, { headers });
    return [status, JSON.parse(body.toString())];
  };
  t.deepEqual(await error('no-water'), [422, { code: 'no-water', message: 'no water', data: { level: 2 } }]);
  t.deepEqual(await error('none'), [404, { code: 'unknown-command', message: "unknown command 'none'" }]);
  const no = { code: 'not-authorized', message: 'not authorized' };
  t.deepEqual(await error('change'), [401, no]);
  t.deepEqual(await error('change', { authorization: 'Bearer x' }), [403, no]);
  t.is((await ask(port, '/rpc/who', { headers: { authorization: 'Bearer x' } })).body.toString(), 'Bearer x');
  t.is((await ask(port, '/rpc/who')).body.toString(), 'undefined');
  const got = await ask(port, '/rpc/add', { method: 'GET' });
  t.deepEqual([got.status, got.headers.allow], [405, 'POST']);
  await t.throwsAsync(
    ask(port, '/rpc/broken-off'),
    { message: /aborted|hang up/ },
    'half a response passes for whole with nobody',
  );
});

test('a body of arguments is UTF-8, with or without the mark of one, or refused', async (t) => {
  const { port } = await common();
  const echo = async (type: string, body: Uint8Array) => {
    const answer = await ask(port, '/rpc/echo', { headers: { 'content-type': type }, body });
    return `${answer.status} ${answer.body.toString().trim()}`;
  };
  const json = Buffer.from('{"value":"ü"}');
  t.is(await echo('application/json', json), '200 ü');
  t.is(await echo('application/json', Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), json])), '200 ü');
  t.regex(await echo('application/json', Buffer.from(json.toString(), 'latin1')), /^400 .*not UTF-8/);
  t.regex(
    await echo('application/x-www-form-urlencoded', Buffer.from('value=\xfc', 'latin1')),
    /^400 .*not UTF-8/,
  );
});

test('a query and a form may say any bytes, escaped', async (t) => {
  const { port } = await common();
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  const escaped = [...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
  const type = { 'content-type': 'application/x-www-form-urlencoded' };
  t.deepEqual((await ask(port, `/rpc/echo?value=${escaped}`)).body, bytes);
  t.deepEqual(
    (await ask(port, '/rpc/echo', { headers: type, body: Buffer.from(`value=${escaped}`) })).body,
    bytes,
  );
  for (const [query, value] of Object.entries({
    'value=a+b%2Bc%zz%': 'a b+c%zz%',
    '&value=x=y&': 'x=y',
    value: '',
    'v%61lue=%c3%bc': 'ü',
  })) {
    t.is((await ask(port, `/rpc/echo?${query}`)).body.toString(), value, query);
    t.is(
      (await ask(port, '/rpc/echo', { headers: type, body: Buffer.from(query) })).body.toString(),
      value,
      query,
    );
  }
});

test('an error that passes says when to ask again, whatever was to come', async (t) => {
  const full = () => {
    throw new CommandError('full', { code: 'overloaded' });
  };
  const { port } = await serving(t, { commands: { full: { mode: 'ro', handler: full } } });
  for (const accept of ['*/*', 'text/event-stream']) {
    const { status, headers } = await ask(port, '/rpc/full', { headers: { accept } });
    t.deepEqual([status, headers['retry-after']], [503, '1'], accept);
  }
});

test('responses of /rpc are compressed as the client takes them, small ones and long ones', async (t) => {
  const { port } = await common();
  const decoders = { zstd: zstdDecompressSync, gzip: gunzipSync } as const;
  for (const count of [20, 20_000]) {
    const expected = `${LINE}\n`.repeat(count);
    for (const [coding, decode] of Object.entries(decoders)) {
      const answer = await ask(port, `/rpc/lines?count=${count}`, {
        headers: { 'accept-encoding': `${coding}, br` },
      });
      t.is(answer.headers['content-encoding'], coding);
      t.true(answer.body.length < expected.length / 5);
      t.is(decode(answer.body).toString(), expected, `${coding} ${count}`);
    }
    const plain = await ask(port, `/rpc/lines?count=${count}`, {
      headers: { 'accept-encoding': 'zstd;q=0' },
    });
    t.is(plain.headers['content-encoding'], undefined);
    t.is(plain.body.toString(), expected);
  }
  const both = await ask(port, '/rpc/lines', {
    headers: { 'accept-encoding': 'gzip, zstd', accept: 'application/json' },
  });
  t.deepEqual([both.headers['content-encoding'], both.headers['content-type']], ['zstd', 'application/json']);
  t.is(
    (await ask(port, '/rpc/add?a=1', { headers: { 'accept-encoding': 'zstd' } })).headers['content-encoding'],
    undefined,
  );
});

test('of codings a client gets the one that it likes best, and never one that it does not take', async (t) => {
  const { port } = await common();
  const sent: [accept: string, coding: string | undefined, ofSmall?: string][] = [
    ['gzip;q=1, zstd;q=0.5', 'gzip'],
    ['gzip;q=0.5, zstd;q=0.5', 'zstd'],
    ['identity, gzip;q=0.5', undefined],
    ['identity;q=0.5, gzip', 'gzip'],
    ['*', 'gzip'],
    ['gzip;q=0, *', 'zstd'],
    ['gzip;q=0, zstd;q=0, *', undefined],
    ['*;q=0.1, identity', undefined],
    ['*;q=0, identity', undefined],
    ['x-gzip', undefined],
    ['br', undefined],
    ['', undefined],
    ['gzip, identity;q=0', 'gzip', 'gzip'],
    ['zstd, *;q=0', 'zstd', 'zstd'],
    ['identity;q=0, *', 'gzip', 'gzip'],
  ];
  for (const [accept, coding, ofSmall] of sent)
    for (const [path, expected] of [
      ['lines', coding],
      ['lines?count=0', ofSmall],
      ['lines?count=3000', coding],
    ] as const) {
      const { status, headers } = await ask(port, `/rpc/${path}`, { headers: { 'accept-encoding': accept } });
      t.deepEqual([status, headers['content-encoding']], [200, expected], `${accept} ${path}`);
    }
  for (const accept of ['identity;q=0', 'br, *;q=0', 'gzip;q=0, zstd;q=0.000, identity;q=0'])
    t.is((await ask(port, '/rpc/change', { headers: { 'accept-encoding': accept } })).status, 406, accept);
});

test('a page of an origin that is listed may ask, and read the answer', async (t) => {
  const origin = 'https://app.example';
  const { port } = await serving(t, {
    commands,
    http: { origins: [origin] },
    authorize: ({ authorization }) => authorization === 'open',
  });
  const allowed = (path: string, method: string, headers: Record<string, string>) =>
    ask(port, path, { method, headers: { origin, ...headers } });
  const asks = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' };
  for (const path of ['/rpc/add', '/rpc', `${PREFIX}/ro/echo`]) {
    const { status, headers, body } = await allowed(path, 'OPTIONS', asks);
    t.deepEqual([status, body.length, headers['access-control-allow-origin']], [204, 0, origin], path);
    t.is(headers['access-control-allow-headers'], 'authorization');
    t.is(headers['access-control-allow-credentials'], 'true');
  }
  for (const [path, status] of [
    ['/rpc/add?a=1', 200],
    ['/rpc/add', 400],
    ['/rpc/no-water', 422],
    ['/rpc/events', 200],
  ] as const) {
    const answer = await allowed(path, 'POST', { accept: 'text/event-stream', authorization: 'open' });
    t.deepEqual([answer.status, answer.headers['access-control-allow-origin']], [status, origin], path);
  }
  const other = await ask(port, '/rpc/add', {
    method: 'OPTIONS',
    headers: { ...asks, origin: 'https://x.example' },
  });
  t.deepEqual([other.status, other.headers['access-control-allow-origin']], [403, undefined]);
  for (const wrong of [
    'app.example',
    'https://app.example/',
    'https://APP.example',
    'https://app.example:443',
    '',
  ])
    t.throws(() => createServer({ http: { origins: [wrong] } }), { message: /option http.origins/ }, wrong);
  const any = await serving(t, { commands, http: { origins: ['*', 'chrome-extension://abc', 'null'] } });
  const { headers } = await ask(any.port, '/rpc/add?a=1', { headers: { origin } });
  t.is(headers['access-control-allow-origin'], '*');
  t.is(headers['access-control-allow-credentials'], undefined, 'who may be anybody is sent as nobody');
});

test('events: lines, what is for people, progress, errors, and an end; an endless response ends with its listener', async (t) => {
  const { port } = await common();
  const events = async (path: string, method = 'POST') =>
    (await ask(port, `/rpc/${path}`, { method, headers: { accept: 'text/event-stream' } })).body.toString();
  const progress = '{"position":1,"total":2,"topic":"topic","unit":"","item":""}';
  const begin = `data: one\n\ndata: two\n\nevent: text\ndata: for people\n\nevent: progress\ndata: ${progress}\n\n`;
  const whole = `${begin}data: no end of line\n\nevent: end\ndata: \n\n`;
  t.is(await events('events'), whole);
  t.is(await events('events', 'GET'), whole);
  t.is(await events('events?fail=1'), `${begin}event: error\ndata: {"code":"over","message":"over"}\n\n`);
  const quiet = await serving(t, { commands, keepAliveInterval: 10 });
  const silent = new Wire(t, quiet.port).send(
    'GET /rpc/silent HTTP/1.1',
    'Host: x',
    'Accept: text/event-stream',
    '',
    '',
  );
  t.regex(await silent.heard(/\r\n:\n\n/), /^HTTP\/1.1 200 /, 'what has nothing to say does not look dead');
  const client = await dial(t, { host: '127.0.0.1', port });
  const wire = new Wire(t, port).send(
    'GET /rpc/endless HTTP/1.1',
    'Host: x',
    'Accept: text/event-stream',
    '',
    '',
  );
  await wire.heard(/(data: tick\n\n[\s\S]*){3}/);
  wire.socket.destroy();
  await client.ping();
  t.pass();
});

test('paths that are none of ours are answered by the fallback, to whoever gets in', async (t) => {
  const { port, reports } = await serving(t, {
    authorize: ({ connection }) => connection.headers?.authorization === 'open',
    http: {
      fallback: (request, response) => {
        if (request.url === '/broken') throw new Error('it is broken');
        response.end(`${request.method} ${request.url}`);
      },
    },
  });
  const headers = { authorization: 'open' };
  t.is((await ask(port, '/page?x=1', { headers })).body.toString(), 'POST /page?x=1');
  t.is((await ask(port, '/page')).status, 401);
  t.is((await ask(port, '/broken', { headers })).status, 500);
  t.regex(String(reports[0].error), /it is broken/);
  const waiting = new Wire(t, port).send(
    'POST /page HTTP/1.1',
    'Host: x',
    'Authorization: open',
    'Expect: 100-continue',
    'Content-Length: 5',
    '',
    '',
  );
  t.regex(await waiting.heard(/POST \/page/), /^HTTP\/1\.1 100 Continue\r\n/);
  await waiting.rest();
  t.pass('a body that does not come ends with its connection');
});

test('uploads by HTTP are read as fast as their handler reads, and are bounded', async (t) => {
  const { port } = await serving(t, { commands, limits: { maxBody: 4 << 20 } });
  const headers = { 'content-type': 'application/octet-stream' };
  const body = sample(4 << 20, 1);
  t.is(digest((await ask(port, '/rpc/echo', { headers, body })).body), digest(body));
  t.is((await ask(port, '/rpc/echo', { headers, body: sample((4 << 20) + 1, 1) })).status, 413);
  const chunked = new Wire(t, port).send(
    'POST /rpc/change HTTP/1.1',
    'Host: x',
    'Content-Type: application/octet-stream',
    'Transfer-Encoding: chunked',
    '',
    '',
  );
  chunked.socket.write('500001\r\n');
  chunked.socket.write(Buffer.alloc(0x500001));
  t.regex(await chunked.heard(/HTTP\/1.1 [24]/), /HTTP\/1.1 (200|413) /);
});

test('what is no request of HTTP/1, or has a body in a coding, is not taken for one', async (t) => {
  const { port } = await common();
  const first = async (...lines: string[]) =>
    (await new Wire(t, port).send(...lines, '', '').rest()).split('\r\n')[0];
  t.regex(await first('GET /rpc HTTP/2.0', 'Host: x'), / 505 /);
  t.regex(await first('GET /rpc'), / 505 /);
  const coded = ['POST /rpc/echo HTTP/1.1', 'Host: x', 'Content-Type: application/octet-stream'];
  t.regex(await first(...coded, 'Transfer-Encoding: gzip, chunked', '', '3', 'abc', '0'), / 501 /);
});

test('GET /rpc says what there is', async (t) => {
  const { port } = await common();
  const { status, body } = await ask(port, '/rpc', { method: 'GET' });
  t.is(status, 200);
  const { openapi, paths } = JSON.parse(body.toString());
  t.is(openapi, '3.1.0');
  const { post } = paths['/rpc/add'];
  t.deepEqual(Object.keys(post.requestBody.content['application/json'].schema.properties), ['a', 'b']);
  t.is(post['x-mode'], 'ro');
  const { schema } = paths['/rpc/since'].post.requestBody.content['application/json'];
  t.deepEqual(
    Object.keys(schema.properties),
    ['day', 'count'],
    'one that has no schema leaves the others theirs',
  );
  t.true(Object.keys(paths).includes('/rpc/echo'));
});

test('GET /rpc names what schemas share or repeat by references that lead there', async (t) => {
  const money = z.object({ amount: z.string() }).meta({ id: 'Money/€' });
  const tree = z.object({
    name: z.string(),
    get child() {
      return tree.optional();
    },
  });
  const typed = (args: z.ZodType) => ({ args, handler: () => 'x' });
  const { port } = await serving(t, {
    commands: { pay: typed(z.object({ a: money, b: money })), 'a/b': typed(tree), a_b: typed(tree) },
  });
  const document = JSON.parse((await ask(port, '/rpc', { method: 'GET' })).body.toString());
  const schemaOf = (path: string) => document.paths[path].post.requestBody.content['application/json'].schema;
  const at = (reference: string) => {
    const steps = decodeURIComponent(reference).split('/').slice(1);
    return steps.reduce((value, step) => value[step.replaceAll('~1', '/')], document);
  };
  const { a, b } = schemaOf('/rpc/pay').properties;
  t.deepEqual(at(a.$ref).properties, { amount: { type: 'string' } });
  t.is(a.$ref, b.$ref);
  const children = ['/rpc/a%2Fb', '/rpc/a_b'].map((path) => schemaOf(path).properties.child.$ref);
  for (const child of children) t.is(at(at(child).properties.child.$ref), at(child));
  t.not(...(children as [string, string]));
  for (const name of Object.keys(document.components.schemas)) t.regex(name, /^[\w.-]+$/);
});

test('GET /rpc says what may be in the query, where command data leaves no other place', async (t) => {
  const args = z.object({ id: z.coerce.number().describe('which'), of: z.array(z.string()).optional() });
  const { port } = await serving(t, { commands: { put: { args, handler: () => 'x' } } });
  const { paths } = JSON.parse((await ask(port, '/rpc', { method: 'GET' })).body.toString());
  t.deepEqual(paths['/rpc/put'].post.parameters, [
    { name: 'id', in: 'query', description: 'which', schema: { type: 'number', description: 'which' } },
  ]);
  const [any] = paths['/rpc/publish'].post.parameters;
  t.like(any, { in: 'query', style: 'form', explode: true, schema: { type: 'object' } });
});

test('GET /rpc asks schemas once, and is answered whatever they say of themselves', async (t) => {
  let asked = 0;
  const saying = (input: () => unknown) => ({
    args: {
      '~standard': {
        version: 1,
        vendor: 'x',
        validate: (value: unknown) => ({ value }),
        jsonSchema: { input },
      },
    } as never,
    handler: () => 'x',
  });
  const { port } = await serving(t, {
    commands: {
      whole: saying(() => ({ type: 'object', asked: ++asked })),
      large: saying(() => ({ default: 5n })),
      nothing: saying(() => ({ properties: null })),
      'no schema': saying(() => ({ properties: { a: null, b: true, c: 5 } })),
      yes: saying(() => true),
      ['__proto__']: saying(() => ({ items: { $ref: '#' } })),
      circle: saying(() => {
        const circle: unknown[] = [];
        return { circle: circle.push(circle) && circle };
      }),
    },
  });
  for (let i = 0; i < 2; i++) {
    const { status, body } = await ask(port, '/rpc', { method: 'GET' });
    t.is(status, 200);
    const { paths } = JSON.parse(body.toString());
    const schemas = ['whole', 'large', 'circle'].map(
      (name) => paths[`/rpc/${name}`].post.requestBody.content['application/json'].schema,
    );
    t.deepEqual(schemas, [{ type: 'object', asked: 1 }, { type: 'object' }, { type: 'object' }]);
  }
});

test('requests that two parsers could read in two ways are refused, and their connection is closed', async (t) => {
  const { port } = await common();
  const cases: [string, string][] = [
    ['two lengths', 'Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!'],
    ['two equal lengths', 'Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello'],
    ['a list of lengths', 'Content-Length: 5, 5\r\n\r\nhello'],
    ['a length with a sign', 'Content-Length: +5\r\n\r\nhello'],
    ['a length and chunks', 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['chunks that are not the last coding', 'Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n'],
    ['a coding of another name', 'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'],
    ['a folded header', 'X-A: b\r\n c: d\r\n\r\n'],
    ['a bare LF', 'X-A: b\nX-C: d\r\n\r\n'],
    ['a bare CR', 'X-A: b\rX-C: d\r\n\r\n'],
    ['a space before the colon', 'Content-Length : 5\r\n\r\nhello'],
    ['a NUL', 'X-A: b\0c\r\n\r\n'],
    ['a chunk size that is none', 'Transfer-Encoding: chunked\r\n\r\n5x\r\nhello\r\n0\r\n\r\n'],
    ['a chunk that is longer than it says', 'Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n'],
    ['no host', ''],
    ['two hosts', 'Host: y\r\nContent-Length: 0\r\n\r\n'],
    ['two credentials', 'Authorization: a\r\nAUTHORIZATION: b\r\nContent-Length: 0\r\n\r\n'],
    ['two types', 'Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}'],
  ];
  for (const [what, text] of cases) {
    const first =
      what === 'no host'
        ? 'POST /rpc/echo?value=x HTTP/1.1\r\n\r\n'
        : `POST /rpc/echo?value=x HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n${text}`;
    const wire = new Wire(t, port);
    wire.socket.write(`${first}POST /rpc/echo?value=smuggled HTTP/1.1\r\nHost: x\r\n\r\n`);
    const all = await wire.rest();
    t.regex(all, /HTTP\/1.1 400 |^$/, what);
    t.notRegex(all, /smuggled/, what);
  }
  t.is((await ask(port, '/rpc/echo?value=well')).body.toString(), 'well');
});

test('bodies that come slowly are given up, and hold up nobody else', async (t) => {
  const { port } = await serving(t, { commands, limits: { idleTimeout: 100, commandTimeout: 400 } });
  const begun = (type: string, path = '/rpc/echo') =>
    new Wire(t, port).send(
      `POST ${path} HTTP/1.1`,
      'Host: x',
      `Content-Type: ${type}`,
      `Accept: ${PART_A}`,
      'Content-Length: 1000',
      '',
      '{',
    );
  const slow = [
    begun('application/json'),
    begun('application/octet-stream'),
    begun(PART_A, `${PREFIX}/ro/echo`),
  ];
  t.is((await ask(port, '/rpc/echo?value=meanwhile')).body.toString(), 'meanwhile');
  for (const [i, wire] of slow.entries())
    t.regex(await wire.rest(), i === 1 ? /^HTTP|^$/ : /^HTTP\/1.1 4(08|00) /);
});

test('the rest of a body that came while this thread was held up is in time', async (t) => {
  const clock = stoppedClock(t);
  const size: NonNullable<ServerOptions['commands']>[string] = async ({ data }) => {
    let bytes = 0;
    for await (const piece of data) bytes += piece.length;
    return `${bytes} bytes`;
  };
  for (const limits of [{ idleTimeout: 500 }, { commandTimeout: 500 }])
    for (const [type, body, answer] of [
      ['application/json', '{"value":"hi"}', 'hi'],
      ['application/octet-stream', 'hi and so on', '12 bytes'],
    ]) {
      const { port, server } = await serving(t, { commands: { size }, limits });
      const wire = new Wire(t, port).send(
        `POST /rpc/${answer === 'hi' ? 'echo' : 'size'} HTTP/1.1`,
        'Host: x',
        'Connection: close',
        `Content-Type: ${type}`,
        `Content-Length: ${body.length}`,
        '',
        body.slice(0, 2),
      );
      await once(wire.socket, 'connect');
      // Round trips, in which what was sent so far is read.
      for (let i = 0; i < 5; i++) await server.stats();
      // After this the timers are due before anything is read.
      await turn();
      wire.socket.write(body.slice(2));
      clock.advance(500);
      t.regex(
        await wire.rest(),
        new RegExp(`^HTTP/1.1 200 [^]*${answer}`),
        `${type} ${JSON.stringify(limits)}`,
      );
    }
});

test('many upgrades that are only half there leave the other doors as they are', async (t) => {
  const { port, server } = await serving(t, { limits: { openingTimeout: 300 } });
  const half = Array.from({ length: 200 }, () =>
    new Wire(t, port).send('GET / HTTP/1.1', 'Host: x', 'Connection: Upgrade', 'Upgrade: websocket', ''),
  );
  const client = await dial(t, { host: '127.0.0.1', port });
  t.is(await client.call('echo', { args: { value: 'raw' } }).text(), 'raw');
  t.is((await ask(port, '/rpc/echo?value=http')).body.toString(), 'http');
  t.is((await server.stats()).connections, 1, 'none of them is a connection of the server');
  for (const wire of half) t.regex(await wire.rest(), /^HTTP\/1.1 408 /);
});

const NGINX = '/usr/sbin/nginx';

/** nginx before `port`, as deploy/nginx.conf has it; the port that it listens at. */
async function nginx(t: ExecutionContext, port: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-nginx-'));
  const probe = createNetServer();
  const at = await listening(probe);
  await new Promise((resolve) => probe.close(resolve));
  const shipped = readFileSync(join(ROOT, 'deploy/nginx.conf'), 'utf8');
  const site = shipped
    .replace('127.0.0.1:7711', `127.0.0.1:${port}`)
    .replace('listen 80', `listen 127.0.0.1:${at}`);
  writeFileSync(
    join(folder, 'nginx.conf'),
    `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/log;
    events {}
    http {
      access_log off; client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f;
      uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
      ${site}
    }`,
  );
  const child = spawn(NGINX, ['-p', folder, '-c', join(folder, 'nginx.conf')], { stdio: 'ignore' });
  t.teardown(async () => {
    child.kill();
    await once(child, 'exit');
    rmSync(folder, { recursive: true, force: true });
  });
  for (;;) {
    try {
      await ask(at, '/nowhere');
      return at;
    } catch {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

if (existsSync(NGINX))
  test('behind nginx: frames by POST, curl, events and a WebSocket', async (t) => {
    const { port } = await common();
    const at = await nginx(t, port);
    t.is(said((await askFrames(at, 'ro/echo', ECHO)).body), 'hi');
    const body = sample(2 << 20, 1);
    const headers = { 'content-type': 'application/octet-stream' };
    t.is(digest((await ask(at, '/rpc/echo', { headers, body })).body), digest(body));
    const events = await ask(at, '/rpc/events', { headers: { accept: 'text/event-stream' } });
    t.regex(events.body.toString(), /event: end/);
    const client = await dial(t, `ws://127.0.0.1:${at}/`);
    t.is(digest(await client.call('echo', { data: body }).bytes()), digest(body));
    await client.close();
    // Nothing gathers what goes on, and a page is let in by the host that it asks.
    const origin = `http://127.0.0.1:${at}`;
    const lines = ['POST /rpc/endless HTTP/1.1', `Host: 127.0.0.1:${at}`, `Origin: ${origin}`];
    const endless = new Wire(t, at).send(...lines, 'Content-Length: 0', '', '');
    t.regex(await endless.heard(/tick/), /^HTTP\/1.1 200 /);
    endless.socket.destroy();
  });
else test('behind nginx: not tried, there is none here (apt-get install nginx-light)', (t) => t.pass());

if (existsSync('/usr/bin/curl'))
  test('curl gets what it asks for', async (t) => {
    const { port } = await common();
    const curl = (...args: string[]) =>
      new Promise<string>((resolve, reject) => {
        execFile('curl', ['-sS', ...args], (error, stdout) =>
          error === null ? resolve(stdout) : reject(error),
        );
      });
    const at = `http://127.0.0.1:${port}/rpc`;
    t.is(await curl('-d', 'a=1', `${at}/add`), '1');
    t.is(await curl('--json', '{"a":1}', `${at}/add`), '1');
    t.is(await curl('-X', 'POST', '--compressed', `${at}/lines?count=1000`), `${LINE}\n`.repeat(1000));
    t.is(
      await curl('--http2', '-X', 'POST', `${at}/add?a=2`),
      '2',
      'an upgrade that is offered is none that must be',
    );
  });
else test('curl: not tried, there is none here', (t) => t.pass());
