// TLS and mutual TLS, on the server's and the client's side.
import { readFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import ava, { type ExecutionContext } from 'ava';
import { connect, createServer, type Server, type ServerOptions } from '../../src/index.ts';

const test = ava.serial;
const file = (name: string) => readFileSync(new URL(`./fixtures-limits/tls/${name}`, import.meta.url));
const ca = file('ca.pem');
const SERVER = { cert: file('server.pem'), key: file('server.key') };
const ALICE = { ca, cert: file('client.pem'), key: file('client.key') };
const STRANGER = { ca, cert: file('stranger.pem'), key: file('stranger.key') };
const MUTUAL = { ...SERVER, ca, requestCert: true };

async function serve(t: ExecutionContext, options: ServerOptions): Promise<{ server: Server; port: number }> {
  const server = createServer({ workers: 1, ...options });
  const { port } = (await server.listen()) as { port: number };
  t.teardown(() => server.close(0));
  return { server, port };
}

test('commands and their data go over TLS as over TCP', async (t) => {
  const { port } = await serve(t, { tls: SERVER });
  const client = await connect({ port }, { tls: { ca }, encodeData: 'zlib' });
  const value = 'over TLS '.repeat(5000);
  t.is(await client.call('echo', { args: { value } }).text(), value);
  const data = 'data '.repeat(200_000);
  const answers = await Promise.all(Array.from({ length: 5 }, () => client.call('echo', { data }).text()));
  t.true(answers.every((answer) => answer === data));
  await client.close();
});

test('the client refuses a server that it does not know, and a name that is not the server’s', async (t) => {
  const { port } = await serve(t, { tls: SERVER });
  await t.throwsAsync(connect({ port }, { tls: {} }), {
    message: /cannot connect.*(certificate|verify|self)/,
  });
  await t.throwsAsync(connect({ port }, { tls: { ca, servername: 'elsewhere.example' } }), {
    message: /cannot connect/,
  });
});

test('mutual TLS: only who has a certificate of ours gets in', async (t) => {
  const reports: string[] = [];
  const { server, port } = await serve(t, {
    tls: { ...MUTUAL, rejectUnauthorized: true },
    onError: (error) => reports.push(String(error)),
  });
  const alice = await connect({ port }, { tls: ALICE });
  t.is(await alice.call('echo', { args: { value: 'x' } }).text(), 'x');
  await t.throwsAsync(connect({ port }, { tls: { ca } }));
  await t.throwsAsync(connect({ port }, { tls: STRANGER }));
  t.is((await server.stats()).connections, 1);
  await alice.close();
});

test('the authorize hook sees the certificate, and whether it was verified', async (t) => {
  const seen: unknown[] = [];
  const { port } = await serve(t, {
    tls: { ...MUTUAL, rejectUnauthorized: false },
    authorize: ({ connection, command }) => {
      if (command !== undefined) return true;
      const { peerCertificate, certificateVerified } = connection;
      seen.push([peerCertificate?.subject.CN, certificateVerified]);
      return certificateVerified && { principal: String(peerCertificate?.subject.CN) };
    },
  });
  const alice = await connect({ port }, { tls: ALICE });
  t.is(await alice.call('echo', { args: { value: 'x' } }).text(), 'x');
  await t.throwsAsync(connect({ port }, { tls: STRANGER }), { message: /not authorized/ });
  await t.throwsAsync(connect({ port }, { tls: { ca } }), { message: /not authorized/ });
  t.deepEqual(seen, [
    ['alice', true],
    ['alice', false],
    [undefined, false],
  ]);
  await alice.close();
});

test('neither clear text, nor noise, nor a handshake that never ends harms the server', async (t) => {
  const { server, port } = await serve(t, { tls: SERVER, limits: { idleTimeout: 300 } });
  const good = await connect({ port }, { tls: { ca } });
  await t.throwsAsync(connect({ port }, { timeoutMs: 1000 }));
  const noise = createConnection({ port });
  noise.on('error', () => undefined);
  noise.write(Buffer.from(Array.from({ length: 1000 }, (_, i) => (i * 37) % 256)));
  const loris = createConnection({ port });
  let lorisEnded = false;
  loris
    .on('error', () => undefined)
    .on('close', () => {
      lorisEnded = true;
    });
  loris.resume();
  await sleep(800);
  t.true(lorisEnded, 'a handshake has idleTimeout to end');
  t.is(await good.call('echo', { args: { value: 'x' } }).text(), 'x');
  t.is((await server.stats()).connections, 1);
  noise.destroy();
  await good.close();
});

test('a TLS client that ends its input is answered all the same', async (t) => {
  const { port } = await serve(t, { tls: SERVER, commands: { later: async () => sleep(200, 'later') } });
  const socket = connectTls({ port, ca, ...{ allowHalfOpen: true } });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.end(Buffer.from([5, 0, 0, 1, 0, 1, 1, 0x11, ...Buffer.from('later')]));
  await new Promise((resolve) => socket.once('end', resolve));
  t.true(Buffer.concat(chunks).toString('latin1').includes('later'));
  socket.destroy();
});
