// One port for frames, HTTP and WebSockets; doors in the servers of others; WebSockets from Node.js.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer as createHttp, type Server as HttpServer } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { connect as connectTls } from 'node:tls';
import ava, { type ExecutionContext } from 'ava';
import { WebSocketServer, WebSocket as WsSocket } from 'ws';
import { speechOf } from '../../src/doors/sniff.ts';
import { type AuthorizeQuery, cached, connect, connectPool } from '../../src/index.ts';
import { messagesOf } from '../../src/wire/messages.ts';
import { commands, on, THREADS } from '../helpers/commands.ts';
import { frame, frames, HELLO, RawPeer } from '../helpers/raw-peer.ts';
import { digest, sample } from '../helpers/samples.ts';
import {
  dial,
  failure,
  listening,
  rawSocket,
  type Serving,
  serve,
  serversOnSharedLanes,
  servingOnSharedLanes,
} from '../helpers/serving.ts';
import { argumentPayload } from '../independent/client.ts';
import { ask, upgradeStatus, WebPeer, Wire } from './helper.ts';

const createServer = serversOnSharedLanes(ava);
const serving = servingOnSharedLanes(ava);

const ECHO = '1 1 stream-begin command-name eos echo';
const tls = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}`, import.meta.url));

// One after the other: they share lanes.
const test = ava.serial;

let shared: Promise<Serving> | undefined;

/** The server of all tests that need nothing of their own. */
function common(): Promise<Serving> {
  shared ??= serve({ commands: commands() });
  return shared;
}

ava.after.always(async () => (await shared)?.server.close(0));

// ------------------------------------------------------------------------------------------- one port

test('frames, HTTP and WebSockets come in at one port', async (t) => {
  const { address, port } = await common();
  const url = `ws://127.0.0.1:${port}/`;
  const [raw, web] = [await dial(t, address), await dial(t, url)];
  t.is(await raw.call('generator').text(), 'one two three');
  t.is(await web.call('generator').text(), 'one two three');
  t.is((await ask(port, '/rpc/generator')).body.toString(), 'one two three');
});

test('the same over TLS, by ALPN and by the first bytes', async (t) => {
  const server = createServer({
    workers: 1,
    tls: { cert: tls('server.pem'), key: tls('server.key') },
  });
  t.teardown(() => server.close(0));
  const address = (await server.listen()) as { host: string; port: number };
  const ca = { ca: tls('ca.pem'), servername: 'localhost' };
  const raw = await dial(t, address, { tls: ca });
  t.is(await raw.call('echo', { args: { value: 'raw' } }).text(), 'raw');
  const web = await dial(t, `wss://127.0.0.1:${address.port}/`, { tls: ca });
  t.is(await web.call('echo', { args: { value: 'wss' } }).text(), 'wss');
  for (const ALPNProtocols of [['http/1.1'], undefined]) {
    const socket = connectTls({ ...address, ...ca, ALPNProtocols });
    await once(socket, 'secureConnect');
    t.is(socket.alpnProtocol, ALPNProtocols === undefined ? false : 'http/1.1');
    socket.write('POST /rpc/echo?value=http HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    const answer = Buffer.concat(await socket.toArray()).toString();
    t.regex(answer, /^HTTP\/1.1 200 OK[\s\S]*http/);
  }
});

test('doors that are shut let nobody in, and the others do', async (t) => {
  const open = async (doors: { raw?: boolean; http?: boolean; webSocket?: boolean }) => {
    const server = createServer({ workers: 1, onError: () => undefined });
    t.teardown(() => server.close(0));
    const { port } = (await server.listen({ ...doors })) as { port: number };
    const peer = await RawPeer.connect(t, port);
    peer.send(ECHO);
    const raw = (await peer.answer(1)) === '';
    const http =
      doors.raw === undefined && !doors.http && !doors.webSocket ? 0 : (await ask(port, '/rpc/echo')).status;
    const webSocket = http === 0 ? 0 : await upgradeStatus(port);
    return { raw, http, webSocket };
  };
  t.deepEqual(await open({ raw: false }), { raw: false, http: 200, webSocket: 101 });
  t.deepEqual(await open({ http: false, webSocket: true }), { raw: true, http: 426, webSocket: 101 });
  t.deepEqual(await open({ http: true, webSocket: false }), { raw: true, http: 200, webSocket: 404 });
  t.deepEqual(await open({ http: false, webSocket: false }), { raw: true, http: 0, webSocket: 0 });
  for (const [doors, agreed, refused] of [
    [{ raw: false }, 'http/1.1', 'millrace/1'],
    [{ http: false, webSocket: false }, 'millrace/1', 'http/1.1'],
  ] as const) {
    const secure = createServer({
      workers: 1,
      tls: { cert: tls('server.pem'), key: tls('server.key') },
      onError: () => undefined,
    });
    t.teardown(() => secure.close(0));
    const address = (await secure.listen(doors)) as { host: string; port: number };
    const ca = { ca: tls('ca.pem'), servername: 'localhost' };
    const both = connectTls({ ...address, ...ca, ALPNProtocols: ['millrace/1', 'http/1.1'] });
    await once(both, 'secureConnect');
    t.is(both.alpnProtocol, agreed, 'TLS agrees to nothing that is not spoken behind it');
    both.destroy();
    const tried = once(connectTls({ ...address, ...ca, ALPNProtocols: [refused] }), 'secureConnect');
    t.regex((await failure(tried)).message, /no application protocol/);
  }
  const server = createServer({ workers: 1 });
  t.teardown(() => server.close(0));
  await t.throwsAsync(server.listen({ raw: false, http: false, webSocket: false }), {
    message: /every door is shut/,
  });
  await t.throwsAsync(server.listen({ htpp: false } as object), { message: /htpp.*did you mean 'http'/ });
});

test('by its first three bytes a connection is one of frames or one of HTTP', (t) => {
  for (const method of ['GET', 'PUT', 'POST', 'PRI', 'M-SEARCH', 'OPTIONS'])
    for (const lines of ['', '\r\n', '\r\n\r\n', '\n'])
      t.is(speechOf(Buffer.from(`${lines}${method} / HTTP/1.1`)), 'http', JSON.stringify(lines + method));
  // The longest first frame there can be, and one whose length looks like two capitals.
  for (const first of [
    frame(HELLO),
    frame(ECHO),
    Uint8Array.of(0x47, 0x45, 0, 1),
    Uint8Array.of(0xff, 0xff, 0),
  ])
    t.is(speechOf(first), 'frames');
  t.is(
    speechOf(Uint8Array.of(0x16, 3, 1)),
    'frames',
    'TLS at a port without it is for the door of frames to refuse',
  );
  t.is(speechOf(Buffer.from('GE')), undefined);
});

test('first bytes may trickle, and are waited for only so long; who says nothing at all may stay', async (t) => {
  const { port, reported } = await serving(t, { limits: { openingTimeout: 200 } });
  const silent = await RawPeer.connect(t, port);
  const slow = await rawSocket(t, { host: '127.0.0.1', port });
  slow.write('GE');
  const closed = once(slow.resume(), 'end');
  await reported(({ error }) => /openingTimeout/.test(String(error)));
  await closed;
  silent.send(ECHO);
  t.is(await silent.answer(1), '');
  const head = new Wire(t, port).send('POST /rpc/echo HTTP/1.1', 'Host: x', '');
  const empty = new Wire(t, port).send('', '', '');
  for (const late of [head, empty]) t.regex(await late.rest(), /^HTTP\/1.1 408 /);
});

test('a server that is closed ends what has said nothing, and what waits for a next request', async (t) => {
  const server = createServer({ workers: 1 });
  const { port } = (await server.listen()) as { port: number };
  const silent = new Wire(t, port);
  const idle = new Wire(t, port).send('POST /rpc/echo?value=x HTTP/1.1', 'Host: x', '', '');
  await idle.heard(/x$/);
  await server.close();
  await Promise.all([silent.rest(), idle.rest()]);
  t.pass();
});

// ------------------------------------------------------------------------------------------ WebSockets

for (const thread of THREADS) {
  test(`responses, uploads and cancels over a WebSocket, handlers on the ${thread} thread`, async (t) => {
    const { port } = await common();
    const client = await dial(t, `ws://127.0.0.1:${port}/`, { encodeData: 'zstd-8mb' });
    const size = 1 << 20;
    const answers = [1, 2, 3].map((seed) =>
      client.call(on(thread, 'sample'), { args: { size: String(size), seed: String(seed) } }).bytes(),
    );
    for (const [i, answer] of (await Promise.all(answers)).entries())
      t.is(digest(answer), digest(sample(size, i + 1)));
    const data = sample(1 << 20, 4);
    t.is(digest(await client.call('echo', { data }).bytes()), digest(data));
    for await (const _ of client.call(on(thread, 'sample'), { args: { size: String(8 << 20), seed: '5' } }))
      break;
    t.is(await client.call(on(thread, 'generator')).text(), 'one two three');
    await client.close();
  });
}

test('a WebSocket is refused by its origin and by its subprotocol, before there is one', async (t) => {
  const { port } = await common();
  const from = (origin: string, host?: string) =>
    upgradeStatus(port, { headers: { origin, ...(host !== undefined && { host }) } });
  t.is(await upgradeStatus(port), 101, 'what says no origin is no page');
  t.is(await from(`http://127.0.0.1:${port}`), 101);
  t.is(await from(`http://127.0.0.1:${port + 1}`), 403);
  t.is(await from('https://evil.example'), 403);
  t.is(await from('null'), 403);
  t.is(await from('http://a.example', 'a.example'), 101);
  t.is(await upgradeStatus(port, { protocol: '' }), 400);
  t.is(await upgradeStatus(port, { protocol: 'millrace.v2' }), 400);
  const listed = await serving(t, { http: { origins: ['https://app.example'] } });
  t.is(await upgradeStatus(listed.port, { headers: { origin: 'https://app.example' } }), 101);
  t.is(await upgradeStatus(listed.port, { headers: { origin: `http://127.0.0.1:${listed.port}` } }), 403);
  t.is((await ask(listed.port, '/rpc/echo', { headers: { origin: 'https://evil.example' } })).status, 403);
});

test('the hook sees headers and the token of a WebSocket, and its refusal reaches the client', async (t) => {
  const asked: AuthorizeQuery[] = [];
  const { port } = await serving(t, {
    commands: commands(),
    authorize: (query) => {
      asked.push(query);
      return query.authorization === 'Bearer good' ? { principal: 'ada' } : false;
    },
  });
  const url = `ws://127.0.0.1:${port}/`;
  const client = await dial(t, url, { headers: { authorization: 'Bearer good', cookie: 'a=b' } });
  t.is(await client.call('generator').text(), 'one two three');
  t.is(asked[0].connection.headers?.cookie, 'a=b');
  t.is(asked[1].command, 'generator');
  t.is(((await failure(connect(url))) as { code?: string }).code, 'not-authorized');
  t.regex((await failure(connect(url))).message, /not authorized/);
});

test('connect() says why a WebSocket did not come about, and pools take URLs', async (t) => {
  const { port } = await serving(t, { http: { origins: [] } });
  await t.throwsAsync(connect(`http://127.0.0.1:${port}/`), { message: /ws:\/\/ or wss:\/\// });
  const { promise, resolve } = Promise.withResolvers<number>();
  const plain = createHttp((_req, res) => res.writeHead(200).end('a page'));
  plain.listen(0, '127.0.0.1', () => resolve((plain.address() as { port: number }).port));
  t.teardown(() => plain.close());
  t.regex(
    (await failure(connect(`ws://127.0.0.1:${await promise}/x?token=secret`))).message,
    /HTTP status 200$/,
  );
  t.notRegex((await failure(connect(`ws://127.0.0.1:${await promise}/x?token=secret`))).message, /secret/);
  const refused = (await failure(
    connect(`ws://127.0.0.1:${port}/`, { headers: { origin: 'http://no.example' } }),
  )) as Error & { code: string };
  t.is(refused.code, 'not-authorized');
  const pool = connectPool([`ws://127.0.0.1:${port}/`], { size: 2 });
  await pool.ready();
  t.is(await pool.call('echo', { args: { value: 'pooled' } }).text(), 'pooled');
  await pool.close();
});

test('text, no frame, half a frame and a message that is too long end a WebSocket, and it alone', async (t) => {
  const { port, reported } = await serving(t, { limits: { maxMessage: 61_440 } });
  const other = await WebPeer.open(t, port);
  const text = await WebPeer.open(t, port);
  text.socket.send('hello');
  t.is(await text.closed(), 1003);
  const empty = await WebPeer.open(t, port);
  empty.send();
  t.regex(await empty.protocolError(), /partial-message.*no frame/);
  const half = await WebPeer.open(t, port);
  half.socket.send(frame(ECHO).subarray(0, 9));
  t.regex(await half.protocolError(), /partial-message.*inside a frame/);
  await reported(({ error }) => /inside a frame/.test(String(error)));
  const long = await WebPeer.open(t, port);
  long.socket.send(new Uint8Array(61_441));
  t.is(await long.closed(), 1009);
  other.send(ECHO);
  t.is(await other.answer(1), '');
});

/** A WebSocket frame by hand: masked unless told otherwise. */
function wsFrame(first: number, payload: Uint8Array, { mask = true, length = payload.length } = {}): Buffer {
  const size =
    length < 126
      ? Buffer.of((mask ? 0x80 : 0) | length)
      : Buffer.of((mask ? 0x80 : 0) | 127, 0, 0, 0, 0, length >>> 24, length >>> 16, length >>> 8, length);
  return Buffer.concat([Buffer.of(first), size, ...(mask ? [Buffer.alloc(4)] : []), payload]);
}

const UPGRADE = [
  'GET / HTTP/1.1',
  'Host: x',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Protocol: chat, millrace.v1',
  'Sec-WebSocket-Extensions: permessage-deflate',
  '',
  '',
];

test('a message in fragments with pings between is a message; permessage-deflate is not agreed to', async (t) => {
  const { port } = await common();
  const wire = new Wire(t, port).send(...UPGRADE);
  const head = await wire.heard(/\r\n\r\n/);
  t.regex(head, /^HTTP\/1.1 101 /);
  t.regex(head, /Sec-WebSocket-Protocol: millrace.v1/);
  t.notRegex(head, /Extensions/);
  const bytes = frames(
    HELLO,
    '1 1 0 command-name have-args echo',
    '1 1 0 command-argument eoa \\x05\\x00\\x02\\x00valuehi',
  );
  wire.socket.write(wsFrame(0x02, bytes.subarray(0, 5)));
  wire.socket.write(wsFrame(0x89, Buffer.from('ping')));
  wire.socket.write(wsFrame(0x00, bytes.subarray(5, 30)));
  wire.socket.write(wsFrame(0x80, bytes.subarray(30)));
  t.regex(await wire.heard(/hi$/), /ping[\s\S]*hi$/);
});

test('messages that come with the request for a WebSocket are answered in their order, however many', async (t) => {
  const { port } = await common();
  const values = Array.from({ length: 60 }, (_, i) => `line ${i}\n\n\n\n`);
  const messages = values.map((value, i) => {
    const id = 2 * i + 1;
    const echo = frames(
      `${id} 1 ${i === 0 ? 'stream-begin' : '0'} command-name have-args echo`,
      frame(`${id} 1 0 command-argument eoa `, argumentPayload('value', value)),
    );
    return wsFrame(0x82, echo);
  });
  const wire = new Wire(t, port);
  wire.socket.write(
    Buffer.concat([Buffer.from(UPGRADE.join('\r\n')), wsFrame(0x82, frame(HELLO)), ...messages]),
  );
  const all = await wire.heard(/line 59/);
  t.deepEqual(
    all.match(/line \d+/g),
    values.map((value) => value.trim()),
  );
});

test('what breaks the rules of WebSockets ends with the code that says so', async (t) => {
  const { port } = await common();
  const echo = frame(ECHO);
  const cases: [string, Buffer, number][] = [
    ['not masked', wsFrame(0x82, echo, { mask: false }), 1002],
    ['a reserved bit', wsFrame(0xc2, echo), 1002],
    ['an unknown opcode', wsFrame(0x83, echo), 1002],
    ['a continuation of nothing', wsFrame(0x80, echo), 1002],
    ['a ping in fragments', wsFrame(0x09, Buffer.from('x')), 1002],
    ['a ping that is too long', wsFrame(0x89, Buffer.alloc(126)), 1002],
    ['a message in the middle of another', Buffer.concat([wsFrame(0x02, echo), wsFrame(0x82, echo)]), 1002],
    [
      'a length that is over the limit, none of which comes',
      wsFrame(0x82, Buffer.alloc(0), { length: 0x7fff_ffff }),
      1009,
    ],
    ['a close code that is none', wsFrame(0x88, Buffer.of(0x03, 0xed)), 1002],
    ['a close of one byte', wsFrame(0x88, Buffer.of(1)), 1002],
  ];
  for (const [what, bytes, code] of cases) {
    const wire = new Wire(t, port).send(...UPGRADE);
    await wire.heard(/\r\n\r\n/);
    wire.socket.write(bytes);
    const heard = Buffer.from(await wire.heard(/\r\n\r\n.{4}/s), 'latin1');
    const at = heard.indexOf('\r\n\r\n') + 4;
    t.deepEqual([heard[at], heard.readUInt16BE(at + 2)], [0x88, code], what);
  }
});

test('more WebSocket pings than are allowed end it', async (t) => {
  const { port } = await serving(t, { limits: { maxPings: 20 } });
  const peer = await WebPeer.open(t, port);
  for (let i = 0; i < 21; i++) peer.socket.ping('x');
  t.is(await peer.closed(), 1008);
});

test('a peer that reads nothing holds its handlers back over a WebSocket, too', async (t) => {
  let yielded = 0;
  const { port } = await serving(t, {
    policy: 'single',
    commands: {
      flood: async function* () {
        for (; yielded < 2000; yielded++) yield sample(64 * 1024, yielded);
      },
    },
    limits: { maxBufferedOutput: 1 << 20 },
  });
  const peer = await WebPeer.open(t, port);
  peer.socket.pause();
  peer.send('1 1 stream-begin command-name eos flood');
  const other = await dial(t, `ws://127.0.0.1:${port}/`);
  let last = -1;
  for (let same = 0; same < 30; ) {
    await other.ping();
    same = yielded === last ? same + 1 : 0;
    last = yielded;
  }
  t.true(last < 1000, `${last} pieces of 64 KiB were made for somebody who reads nothing`);
});

test('messages that are not whole count as held; whose are the largest are ended, and small ones go through', async (t) => {
  const inputMemory = 300 * 1024;
  const { server, port, reported } = await serving(t, { inputMemory });
  const held = async () => (await server.stats()).input.bytes;
  const peers = await Promise.all(Array.from({ length: 4 }, () => WebPeer.open(t, port)));
  const part = (bytes: number) => [Buffer.alloc(bytes), { binary: true, fin: false }] as const;
  for (const peer of peers) peer.socket.send(...part(70 * 1024));
  while ((await held()) < 4 * 70 * 1024) await new Promise(setImmediate);
  peers[0].socket.send(...part(200 * 1024));
  t.is(await peers[0].closed(), 1013);
  const { error } = await reported(({ error }) => String(error).includes('inputMemory'));
  t.like(error, { message: 'inputMemory: no memory is left for the rest of a message' });
  t.true((await held()) <= inputMemory);
  const client = await dial(t, `ws://127.0.0.1:${port}/`);
  const data = sample(50 * 1024, 1);
  t.deepEqual(await client.call('echo', { data }).bytes(), data);
  for (const peer of peers.slice(1)) peer.socket.terminate();
  while ((await held()) > 0) await client.ping();
});

test('what many connections share comes over a WebSocket in whole frames, too: cached output, messages of topics', async (t) => {
  const bytes = randomBytes(200_000);
  const { server, port } = await serving(t, { commands: { shared: () => cached('shared', () => bytes) } });
  const topic = server.topic('news', { history: 10 });
  const sizes = [900, 1100, 20_000, 200_000];
  const publish = () => {
    for (const size of sizes) topic.publish(bytes.subarray(0, size));
  };
  publish();
  const client = await dial(t, `ws://127.0.0.1:${port}/`);
  for (let i = 0; i < 3; i++) t.deepEqual(Buffer.from(await client.call('shared').bytes()), bytes);
  const heard: Buffer[] = [];
  for await (const { sequence, data } of client.subscribe('news', { after: 0 })) {
    heard.push(Buffer.from(data));
    if (sequence === 2 * sizes.length) break;
    // These are encoded for who listens.
    if (sequence === sizes.length) publish();
  }
  t.deepEqual(
    heard,
    [...sizes, ...sizes].map((size) => bytes.subarray(0, size)),
  );
});

test('a run of frames is cut into messages between frames only', (t) => {
  const piece = frame(ECHO, sample(255, 1));
  const chunk = Buffer.concat(Array.from({ length: 2000 }, () => piece));
  const messages = messagesOf(chunk);
  t.true(messages.length > 3);
  t.true(messages.every(({ length }) => length % piece.length === 0 && length <= 60 * 1024));
  t.true(Buffer.concat(messages).equals(chunk));
});

// ------------------------------------------------------------------------------------ servers of others

interface Theirs {
  readonly port: number;
  readonly http: HttpServer;
  /** Upgrades that came to them. */
  readonly upgrades: string[];
}

/** A server that answers everything, and has WebSockets of its own at /theirs. */
async function theirs(t: ExecutionContext, http: HttpServer): Promise<Theirs> {
  const upgrades: string[] = [];
  const webSockets = new WebSocketServer({ noServer: true });
  http.on('request', (req, res) => res.end(`theirs: ${req.url} ${req.headers.upgrade ?? ''}`));
  http.on('upgrade', (req, socket, head) => {
    upgrades.push(req.url ?? '');
    webSockets.handleUpgrade(req, socket, head, (each) =>
      each.on('message', (data) => each.send(`theirs: ${data}`)),
    );
  });
  const port = await listening(http);
  t.teardown(() => {
    http.closeAllConnections();
    http.close();
  });
  return { port, http, upgrades };
}

test('attach() takes its path and nothing else, however their server was made, and gives it back', async (t) => {
  const { port, http, upgrades } = await theirs(t, createHttp());
  const server = createServer({ workers: 1 });
  const before = [http.listeners('request'), http.listeners('upgrade')];
  await server.attach(http, { path: '/mill' });
  t.deepEqual([http.listeners('request'), http.listeners('upgrade').slice(0, 1)], before);
  const value = async (path: string, method = 'POST') => (await ask(port, path, { method })).body.toString();
  t.is(await value('/mill/rpc/echo?value=ours'), 'ours');
  t.is(await value('/millrace/rpc/echo', 'GET'), 'theirs: /millrace/rpc/echo ');
  t.is(await value('/', 'GET'), 'theirs: / ');
  t.is(await upgradeStatus(port, { path: '/mill' }), 101);
  t.deepEqual(upgrades, []);
  const client = await dial(t, `ws://127.0.0.1:${port}/mill`);
  t.is(await client.call('echo', { args: { value: 'web' } }).text(), 'web');
  const other = new WsSocket(`ws://127.0.0.1:${port}/theirs`);
  await once(other, 'open');
  other.send('hello');
  t.is(String((await once(other, 'message'))[0]), 'theirs: hello');
  other.terminate();
  await server.close();
  t.is(await value('/mill/rpc/echo', 'GET'), 'theirs: /mill/rpc/echo ');
  await t.throwsAsync(server.attach(http, { path: '/mill' }), { message: /closed/ });
});

test('who attaches and closes, in whatever order, leaves their server as it was', async (t) => {
  const { port, http } = await theirs(t, createHttp());
  const own = () =>
    ['emit', 'shouldUpgradeCallback'].map((name) => Object.getOwnPropertyDescriptor(http, name));
  const before = [own(), http.listeners('upgrade')];
  const who = (name: string) => createServer({ workers: 1, commands: { who: () => name } });
  const answer = async (path = '/mill') => (await ask(port, `${path}/rpc/who`)).body.toString();
  let last = who('0');
  await last.attach(http, { path: '/mill' });
  for (const name of ['1', '2', '3']) {
    const next = who(name);
    await next.attach(http, { path: '/mill' });
    t.is(await answer(), name);
    await last.close(0);
    t.is(await answer(), name);
    last = next;
  }
  await last.close(0);
  t.regex(await answer(), /^theirs/);
  t.deepEqual([own(), http.listeners('upgrade')], before);
});

test('whoever has put something over what attach() did keeps it, and it is not done twice', async (t) => {
  const { port, http } = await theirs(t, createHttp());
  const first = createServer({ workers: 1 });
  await first.attach(http, { path: '/mill' });
  const ours = http.emit;
  let seen = 0;
  http.emit = function (this: HttpServer, ...args: Parameters<HttpServer['emit']>) {
    if (args[0] === 'request') seen++;
    return ours.apply(this, args);
  } as HttpServer['emit'];
  const over = http.emit;
  await first.close(0);
  t.regex((await ask(port, '/mill/rpc/echo')).body.toString(), /^theirs/);
  const second = createServer({ workers: 1 });
  t.teardown(() => second.close(0));
  await second.attach(http, { path: '/mill' });
  t.is(http.emit, over);
  t.is((await ask(port, '/mill/rpc/echo?value=x')).body.toString(), 'x');
  t.is(seen, 2);
});

test('of several paths the longest takes what comes, whichever was attached last', async (t) => {
  const { port, http } = await theirs(t, createHttp());
  for (const path of ['/a', '/a/b', '/']) {
    const server = createServer({ workers: 1, commands: { who: () => path } });
    t.teardown(() => server.close(0));
    await server.attach(http, { path });
  }
  for (const [base, path] of Object.entries({ '/a': '/a', '/a/b': '/a/b', '': '/' })) {
    t.is((await ask(port, `${base}/rpc/who`)).body.toString(), path);
    const client = await dial(t, `ws://127.0.0.1:${port}${base}/`);
    t.is(await client.call('who').text(), path);
  }
});

test('attach() and http.prefix take no path that no client can ask for', async (t) => {
  const http = createHttp();
  const server = createServer({ workers: 1 });
  t.teardown(() => server.close(0));
  for (const path of ['', 'rpc', '/a/../b', '/./a', '/a b', '/ä', '/a?b', '/a#b', '/a\\b', '/a\n'])
    await t.throwsAsync(server.attach(http, { path }), { message: /^option path: / }, path);
  for (const prefix of ['..', 'a/../b', '.'])
    t.throws(() => createServer({ http: { prefix } }), { message: /^option http\.prefix: / }, prefix);
});

test('where they take no upgrades, a request with one that is not ours is answered as before', async (t) => {
  const http = createHttp((req, res) => res.end(`theirs: ${req.url} ${req.headers.upgrade}`));
  const port = await listening(http);
  t.teardown(() => http.close());
  const server = createServer({ workers: 1 });
  t.teardown(() => server.close(0));
  await server.attach(http, { path: '/mill' });
  const headers = { connection: 'Upgrade', upgrade: 'h2c' };
  t.is((await ask(port, '/other', { method: 'GET', headers })).body.toString(), 'theirs: /other h2c');
  t.is((await ask(port, '/mill/rpc/echo?value=x', { headers })).body.toString(), 'x');
  t.is(await upgradeStatus(port, { path: '/mill/' }), 101);
});

test('attach() to https, behind its certificate; what is no server, or no path, is refused', async (t) => {
  const cert = { cert: tls('server.pem'), key: tls('server.key') };
  const https = createHttps(cert, (_req, res) => res.end('theirs'));
  const port = await listening(https);
  t.teardown(() => https.close());
  const server = createServer({ workers: 1 });
  t.teardown(() => server.close(0));
  await server.attach(https, { path: '/mill/' });
  const client = await dial(t, `wss://127.0.0.1:${port}/mill`, {
    tls: { ca: tls('ca.pem'), servername: 'localhost' },
  });
  t.is(await client.call('echo', { args: { value: 'wss' } }).text(), 'wss');
  await client.close();
  await t.throwsAsync(server.attach({} as HttpServer, { path: '/' }), { message: /node:http or node:https/ });
  await t.throwsAsync(server.attach(createHttp(), { path: 'mill' }), { message: /begins with a slash/ });
  await t.throwsAsync(server.attach(createHttp(), {} as { path: string }), { message: /path: missing/ });
});
