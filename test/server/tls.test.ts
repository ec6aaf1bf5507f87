// TLS and mutual TLS, on the server's and the client's side.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import ava from 'ava';
import { connect } from '../../src/index.ts';
import { dial, failure, LONG, rawSocket, reach, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

const test = ava.serial;
const file = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}`, import.meta.url));
const ca = file('ca.pem');
const SERVER = { cert: file('server.pem'), key: file('server.key') };
const ALICE = { ca, cert: file('client.pem'), key: file('client.key') };
const STRANGER = { ca, cert: file('stranger.pem'), key: file('stranger.key') };
const MUTUAL = { ...SERVER, ca, requestCert: true };

test('commands and their data go over TLS as over TCP', async (t) => {
  const { port } = await serving(t, { tls: SERVER });
  const client = await dial(t, { port }, { tls: { ca }, encodeData: 'zlib' });
  const value = 'over TLS '.repeat(5000);
  t.is(await client.call('echo', { args: { value } }).text(), value);
  const data = 'data '.repeat(200_000);
  const answers = await Promise.all(Array.from({ length: 5 }, () => client.call('echo', { data }).text()));
  t.true(answers.every((answer) => answer === data));
});

test('the client refuses a server that it does not know, and a name that is not the server’s', async (t) => {
  const { port } = await serving(t, { tls: SERVER });
  await t.throwsAsync(reach({ port }, { tls: {} }), {
    message: /cannot connect.*(certificate|verify|self)/,
  });
  await t.throwsAsync(reach({ port }, { tls: { ca, servername: 'elsewhere.example' } }), {
    message: /cannot connect/,
  });
});

test('mutual TLS: only who has a certificate of ours gets in', async (t) => {
  const { server, port } = await serving(t, { tls: { ...MUTUAL, rejectUnauthorized: true } });
  const alice = await dial(t, { port }, { tls: ALICE });
  t.is(await alice.call('echo', { args: { value: 'x' } }).text(), 'x');
  await t.throwsAsync(reach({ port }, { tls: { ca } }));
  await t.throwsAsync(reach({ port }, { tls: STRANGER }));
  t.is((await server.stats()).connections, 1);
});

test('what OpenSSL says is told without where in its sources it does', async (t) => {
  const errors: string[] = [];
  const onError = ({ message }: Error) => void errors.push(message);
  const { port } = await serving(t, { tls: { ...MUTUAL, rejectUnauthorized: true }, onError });
  const { message } = await failure(reach({ port }, { tls: { ca } }));
  t.regex(message, /millrace protocol \([\w ]*certificate[\w ]*\), or wants a certificate that it knows$/);
  t.regex(errors.join(), /^peer did not return a certificate$/);
  const plain = await serving(t);
  t.regex(
    (await failure(connect(`wss://127.0.0.1:${plain.port}/`))).message,
    /^cannot connect to wss:.*: it does not speak TLS$/,
  );
});

test('the authorize hook sees the certificate, and whether it was verified', async (t) => {
  const seen: unknown[] = [];
  const { port } = await serving(t, {
    tls: { ...MUTUAL, rejectUnauthorized: false },
    authorize: ({ connection, command }) => {
      if (command !== undefined) return true;
      const { peerCertificate, certificateVerified } = connection;
      seen.push([peerCertificate?.subject.CN, certificateVerified]);
      return certificateVerified && { principal: String(peerCertificate?.subject.CN) };
    },
  });
  const alice = await dial(t, { port }, { tls: ALICE });
  t.is(await alice.call('echo', { args: { value: 'x' } }).text(), 'x');
  await t.throwsAsync(reach({ port }, { tls: STRANGER }), { message: /not authorized/ });
  await t.throwsAsync(reach({ port }, { tls: { ca } }), { message: /not authorized/ });
  t.deepEqual(seen, [
    ['alice', true],
    ['alice', false],
    [undefined, false],
  ]);
});

test('what an open server cannot change of TLS is refused, and not passed over', async (t) => {
  const lenient = { ...MUTUAL, rejectUnauthorized: false };
  const { server, port } = await serving(t, { tls: lenient });
  for (const [tls, name] of [
    [{ ...lenient, rejectUnauthorized: true }, 'rejectUnauthorized'],
    [MUTUAL, 'rejectUnauthorized'],
    [{ ...lenient, requestCert: false }, 'requestCert'],
    [{ ...lenient, SNICallback: () => undefined }, 'SNICallback'],
    [{ ...lenient, ALPNProtocols: ['http/1.1'] }, 'ALPNProtocols'],
    [{ ...lenient, ALPNCallback: () => undefined }, 'ALPNCallback'],
    [{ ...lenient, pskCallback: () => null }, 'pskCallback'],
    [{ ...lenient, handshakeTimeout: 1 }, 'handshakeTimeout'],
  ] as const)
    t.throws(() => server.update({ tls }), {
      message: `option tls.${name}: it cannot change while the server is open`,
    });
  t.throws(() => server.update({ tls: undefined }), { message: /whether TLS is spoken/ });
  server.update({ tls: { ...lenient, minVersion: 'TLSv1.3' } });
  t.is(await (await dial(t, { port }, { tls: { ca } })).call('ping').text(), 'pong');
});

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const)
  test(`${maxVersion}: who was verified by authorities that are trusted no more cannot resume as verified`, async (t) => {
    const verified: boolean[] = [];
    const tls = { ...MUTUAL, rejectUnauthorized: false, ticketKeys: Buffer.alloc(48, 7) };
    const { server, port } = await serving(t, {
      tls,
      authorize: ({ connection, command }) =>
        command !== undefined || verified.push(connection.certificateVerified) > 0,
    });
    let session: Buffer | undefined;
    const ask = async (identity: object): Promise<boolean> => {
      const options = { ca, servername: 'localhost', ALPNProtocols: ['http/1.1'], maxVersion };
      const socket = connectTls({ port, ...options, ...identity, session });
      socket.on('session', (ticket) => {
        session = ticket;
      });
      await once(socket, 'secureConnect');
      const isReused = socket.isSessionReused();
      socket.end('POST /rpc/ping HTTP/1.1\r\nHost: mill\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      await once(socket.resume(), 'end');
      return isReused;
    };
    t.false(await ask({ cert: ALICE.cert, key: ALICE.key }));
    t.true(await ask({}), 'a session is resumed');
    server.update({ tls: { ...tls, ca: file('stranger.pem') } });
    t.false(await ask({}));
    t.deepEqual(verified, [true, true, false]);
  });

test('neither clear text nor noise harms the server', async (t) => {
  const { server, port } = await serving(t, { tls: SERVER });
  const good = await dial(t, { port }, { tls: { ca } });
  await t.throwsAsync(reach({ port }), { message: /wants TLS/ });
  const noise = createConnection({ port });
  noise.on('error', () => undefined).resume();
  noise.write(Buffer.from(Array.from({ length: 1000 }, (_, i) => (i * 37) % 256)));
  await once(noise, 'close');
  t.is(await good.call('echo', { args: { value: 'x' } }).text(), 'x');
  t.is((await server.stats()).connections, 1);
});

test('a handshake that never ends is ended: it has idleTimeout', async (t) => {
  const { port } = await serving(t, { tls: SERVER, limits: { idleTimeout: 300 } });
  const silent = createConnection({ port });
  silent.on('error', () => undefined).resume();
  await once(silent, 'close');
  t.pass();
});

for (const proxyProtocol of [false, true])
  test(`a client that ends in the middle of its handshake is let go of at once${proxyProtocol ? ', behind a proxy' : ''}`, async (t) => {
    const { port } = await serving(t, { tls: SERVER, proxyProtocol, limits: { idleTimeout: LONG } });
    const header = proxyProtocol ? 'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n' : '';
    for (const hello of [Buffer.alloc(0), Buffer.from([22, 3, 1, 0, 200, 1])]) {
      const socket = await rawSocket(t, { host: '127.0.0.1', port });
      socket.end(Buffer.concat([Buffer.from(header), hello]));
      await once(socket.resume(), 'close');
    }
    t.pass();
  });

test('a TLS client that ends its input is answered all the same', async (t) => {
  const { port } = await serving(t, { tls: SERVER, commands: { later: async () => sleep(200, 'later') } });
  const socket = connectTls({ port, ca, ...{ allowHalfOpen: true } });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.end(Buffer.from([5, 0, 0, 1, 0, 1, 1, 0x11, ...Buffer.from('later')]));
  await new Promise((resolve) => socket.once('end', resolve));
  t.true(Buffer.concat(chunks).toString('latin1').includes('later'));
  socket.destroy();
});
