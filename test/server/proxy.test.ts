// Behind a proxy: its header says who is calling, and is believed only where the server was told so.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as connectSocket, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import ava, { type ExecutionContext } from 'ava';
import type { ConnectionInfo, ServerOptions } from '../../src/index.ts';
import { who } from '../fixtures/codes.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { binaryHeader, fact, LOCAL, TCP4, withChecksum } from '../helpers/proxy.ts';
import { frame, HELLO, RawPeer } from '../helpers/raw-peer.ts';
import { dial, failure, rawSocket, reach, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

const test = ava.serial;
const file = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}`, import.meta.url));
const ca = file('ca.pem');
const TLS = { cert: file('server.pem'), key: file('server.key'), ca, requestCert: true };
const LINE = 'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n';
const ADDRESSES = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];
const ASK = [HELLO, '1 1 0 command-name eos who'] as const;

/** A server behind a proxy that tells handlers and hook who is calling. */
async function proxied(t: ExecutionContext, options: ServerOptions = {}) {
  const asked: ConnectionInfo[] = [];
  const running = await serving(t, {
    proxyProtocol: true,
    commands: { who },
    authorize: ({ connection, command }) => {
      if (command === undefined) asked.push(connection);
      return true;
    },
    ...options,
  });
  return { ...running, asked };
}

async function remoteSeen(peer: RawPeer): Promise<string | undefined> {
  const answer = await peer.answer(1);
  return answer && JSON.parse(answer).remote;
}

for (const [version, header] of [
  [1, Buffer.from(LINE)],
  [2, withChecksum(TCP4, [...ADDRESSES, ...fact(2, 'mill.example')])],
] as const) {
  test(`version ${version}: handlers and the hook see who is behind the proxy, however the bytes come`, async (t) => {
    const { port, asked, server } = await proxied(t);
    const all = Buffer.concat([header, ...ASK.map((line) => frame(line))]);
    for (const cuts of [[], [header.length], [1, 2, 3, 13, 17, header.length + 3], [header.length - 1]]) {
      const socket = await rawSocket(t, { host: '127.0.0.1', port });
      const peer = new RawPeer(socket);
      let from = 0;
      for (const cut of [...cuts, all.length]) {
        await new Promise((resolve) => socket.write(all.subarray(from, cut), resolve));
        // Written apart; that they are read apart is for the system to decide.
        await server.stats();
        from = cut;
      }
      t.is(await remoteSeen(peer), '192.0.2.1:56324');
    }
    t.is(asked.length, 4);
    const [{ remote, proxies }] = asked;
    t.is(remote, '192.0.2.1:56324');
    t.like(proxies?.[0], { version, source: '192.0.2.1:56324', destination: '198.51.100.2:443' });
    t.regex(proxies?.[0].proxy ?? '', /^127\.0\.0\.1:\d+$/);
    const facts = proxies?.[0].facts.map(({ type, value }) => [type, Buffer.from(value).toString()]);
    t.deepEqual(facts, version === 1 ? [] : [[2, 'mill.example']]);
  });
}

test('a proxy that speaks for itself, or does not know, is who is calling', async (t) => {
  const { port } = await proxied(t);
  for (const header of [Buffer.from('PROXY UNKNOWN\r\n'), binaryHeader(0, [], LOCAL)]) {
    const peer = await RawPeer.connect(t, port);
    peer.send(header, ...ASK);
    t.regex((await remoteSeen(peer)) ?? '', /^127\.0\.0\.1:\d+$/);
  }
});

for (const [what, bytes] of [
  ['no header', frame(HELLO)],
  ['a broken one', Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8 1 x\r\n')],
  ['one with a wrong checksum', binaryHeader(TCP4, [...ADDRESSES, ...fact(3, 'abcd')])],
  ['one that is too long', Buffer.from('PROXY '.padEnd(200, 'x'))],
] as const) {
  test(`a connection that begins with ${what} is dropped without a word; the hook is not asked`, async (t) => {
    const { port, asked, reported } = await proxied(t);
    const peer = await RawPeer.connect(t, port);
    peer.send(bytes, ...ASK);
    t.false(await peer.until(() => peer.frames.length > 0));
    const { about, error } = await reported(() => true);
    t.regex(String(error), /^ProxyHeaderError: /);
    t.regex(about.remote ?? '', /^127\.0\.0\.1:\d+$/);
    t.deepEqual(asked, []);
  });
}

test('who sends no header, or half of one, is not waited for without end, and keeps nobody from a place', async (t) => {
  const clock = stoppedClock(t);
  const { port, reported, server } = await proxied(t, { limits: { idleTimeout: 100 }, maxConnections: 3 });
  for (const bytes of ['', 'PROXY TCP4', '\r\n\r\n\0\r\nQUIT\n']) {
    const peer = await RawPeer.connect(t, port);
    if (bytes !== '') peer.send(Buffer.from(bytes, 'latin1'));
    t.false(
      await clock.advanceWhile(
        peer.until(() => false),
        10,
        turn,
      ),
    );
    await reported(({ error }) => /no PROXY header within 100 ms/.test(String(error)));
  }
  const half = await RawPeer.connect(t, port);
  half.socket.end('PROXY');
  await reported(({ error }) => /ended before its PROXY header did/.test(String(error)));
  const peer = await RawPeer.connect(t, port);
  peer.send(Buffer.from(LINE), ...ASK);
  t.is(await remoteSeen(peer), '192.0.2.1:56324');
  t.is((await server.stats()).connections, 1);
});

test('a header that came while this thread was held up is in time, and so are first bytes', async (t) => {
  const clock = stoppedClock(t);
  const { port, asked, server } = await proxied(t, { limits: { idleTimeout: 300, openingTimeout: 300 } });
  const all = Buffer.concat([Buffer.from(LINE), ...ASK.map((line) => frame(line))]);
  for (const first of [0, LINE.length, LINE.length + 2]) {
    const peer = new RawPeer(await rawSocket(t, { host: '127.0.0.1', port }));
    if (first > 0) peer.socket.write(all.subarray(0, first));
    // Round trips, in which what was sent so far is read.
    for (let i = 0; i < 5; i++) await server.stats();
    // After this the timers are due before anything is read.
    await turn();
    peer.socket.write(all.subarray(first));
    clock.advance(600);
    t.is(await remoteSeen(peer), '192.0.2.1:56324', `${first} bytes before it`);
  }
  t.is(asked.length, 3);
});

test('where the option is off, a header is no beginning of a connection', async (t) => {
  const { port, asked } = await proxied(t, { proxyProtocol: false });
  const socket = await rawSocket(t, { host: '127.0.0.1', port });
  socket.write(LINE);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  t.regex(answer.toString(), /^HTTP\/1.1 400 /);
  t.deepEqual(asked, []);
});

/** A TLS connection that begins, beneath TLS, with a header. */
async function tlsBehindProxy(t: ExecutionContext, port: number, together: boolean): Promise<Socket> {
  const beneath = connectSocket({ port, host: '127.0.0.1' });
  t.teardown(() => beneath.destroy());
  await new Promise((resolve) => beneath.once('connect', resolve));
  if (together) beneath.cork();
  beneath.write(LINE);
  const client = { ca, cert: file('client.pem'), key: file('client.key') };
  const socket = connectTls({ socket: beneath, ...client, servername: 'localhost' });
  if (together) setImmediate(() => beneath.uncork());
  socket.on('error', () => undefined);
  t.teardown(() => socket.destroy());
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  return socket;
}

for (const together of [false, true]) {
  test(`TLS goes on after the header${together ? ', also when its first bytes come with it' : ''}`, async (t) => {
    const { port, asked } = await proxied(t, { tls: TLS });
    const peer = new RawPeer(await tlsBehindProxy(t, port, together));
    peer.send(...ASK);
    t.is(await remoteSeen(peer), '192.0.2.1:56324');
    t.is(asked[0].proxies?.[0].version, 1);
    t.true(asked[0].certificateVerified);
  });
}

test('a handshake that fails behind a proxy is reported of who is behind it', async (t) => {
  const { port, reported } = await proxied(t, { tls: TLS });
  const peer = await RawPeer.connect(t, port);
  peer.send(Buffer.from(`${LINE}no TLS at all, but long enough for a record`));
  await peer.until(() => false);
  const { about } = await reported(() => true);
  t.is(about.remote, '192.0.2.1:56324');
});

test('a server behind a proxy closes although headers are awaited', async (t) => {
  const { port, server } = await proxied(t);
  const peer = await RawPeer.connect(t, port);
  await server.stats();
  await server.close(0);
  t.false(await peer.until(() => false));
  await failure(reach({ port }));
});

test('a client of a server behind no proxy is where it says', async (t) => {
  const { port } = await serving(t, { commands: { who } });
  const client = await dial(t, { port });
  t.regex(JSON.parse(await client.call('who').text()).remote, /^127\.0\.0\.1:\d+$/);
});
