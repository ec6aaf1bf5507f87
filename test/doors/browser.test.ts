// The browser's client, over the WebSocket that Node.js has too; and what it weighs.

import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import ava, { type ExecutionContext } from 'ava';
import { build } from 'esbuild';
import { WebSocketServer } from 'ws';
import { freePort } from '../../bench/peers/listen.ts';
import { type Client, connect, connectPool } from '../../src/browser.ts';
import { createServer, type TopicMessage } from '../../src/index.ts';
import { commands } from '../helpers/commands.ts';
import { ROOT } from '../helpers/imports.ts';
import { digest, sample } from '../helpers/samples.ts';
import { failure, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

const test = ava.serial;

/** Bytes, gzipped, of all that a page needs which connects and uploads nothing. */
const MOST = 32 * 1024;

function ending(t: ExecutionContext, client: Client): Client {
  t.teardown(() => client.destroy());
  return client;
}

test('responses, uploads, text and cancels from a browser', async (t) => {
  const { port } = await serving(t, { commands: commands() });
  const client = ending(t, await connect(`ws://127.0.0.1:${port}/`));
  t.is(await client.call('generator').text(), 'one two three');
  const args = { size: String(3 << 20), seed: '1' };
  t.is(digest(await client.call('lane-sample', { args }).bytes()), digest(sample(3 << 20, 1)));
  t.true(client.stats().streams.some(({ profile, frames }) => profile === 'zstd-8mb' && frames > 0));
  const data = sample(1 << 20, 2);
  t.is(digest(await client.call('echo', { data }).bytes()), digest(data));
  for await (const _ of client.call('sample', { args: { size: String(64 << 20), seed: '5' } })) break;
  t.is(await client.call('generator').text(), 'one two three');
  await client.close();
  t.is(client.state, 'closed');
});

test('zlib is loaded where it is asked for, both ways', async (t) => {
  const { port } = await serving(t, { profile: 'zlib' });
  const plain = ending(t, await connect(`ws://127.0.0.1:${port}/`));
  const zlib = ending(
    t,
    await connect(`ws://127.0.0.1:${port}/`, { profiles: ['zlib'], encodeData: 'zlib' }),
  );
  const data = sample(300_000, 3);
  for (const client of [plain, zlib]) t.is(digest(await client.call('echo', { data }).bytes()), digest(data));
  const profiles = (client: Client) => client.stats().streams.map(({ profile }) => profile);
  t.true(profiles(plain).includes('zstd-8mb'));
  t.true(profiles(zlib).includes('zlib'));
});

test('the server keeps to the window that its client asks for', async (t) => {
  const { port } = await serving(t, { level: 6, commands: commands() });
  for (const maxWindowSize of [1 << 10, 1 << 17, 8 << 20]) {
    // A window over the limit would end the connection.
    const client = ending(t, await connect(`ws://127.0.0.1:${port}/`, { limits: { maxWindowSize } }));
    const args = { size: String(1 << 20), seed: '7' };
    t.is(digest(await client.call('lane-sample', { args }).bytes()), digest(sample(1 << 20, 7)));
    await client.close();
  }
});

test('the server keeps to that window with a dictionary, too', async (t) => {
  const dictionaries = [{ bytes: readFileSync(join(ROOT, 'test/fixtures/mill.dict')) }];
  const options = { level: 1, contexts: 'kept', policy: 'per-request', dictionaries } as const;
  const { port } = await serving(t, { ...options, commands: commands() });
  const client = ending(t, await connect(`ws://127.0.0.1:${port}/`));
  const args = { size: String(3 << 20), seed: '7' };
  for (const command of ['sample', 'lane-sample', 'sample'])
    t.is(digest(await client.call(command, { args }).bytes()), digest(sample(3 << 20, 7)));
});

test('a topic keeps to the window of browsers with a dictionary, too', async (t) => {
  const dictionaries = [{ bytes: readFileSync(join(ROOT, 'test/fixtures/mill.dict')) }];
  const { server, port } = await serving(t, { level: 1, dictionaries });
  const topic = server.topic('news');
  const client = ending(t, await connect(`ws://127.0.0.1:${port}/`));
  while (client.stats().dictionaries.length === 0) await client.ping();
  const heard = client.subscribe('news')[Symbol.asyncIterator]();
  const first = heard.next();
  while (topic.subscribers === 0) await client.ping();
  const message = sample((1 << 20) - 9, 7);
  for (let i = 0; i < 4; i++) topic.publish(message);
  for (let i = 0; i < 4; i++) {
    const { value } = await (i === 0 ? first : heard.next());
    t.is(digest((value as TopicMessage).data), digest(message));
  }
});

test('a topic is for browsers, too: encoded for all whose windows are not smaller, and plain for others', async (t) => {
  const { server, port } = await serving(t, { level: 9, windowLog: 22 });
  const topic = server.topic('news');
  for (const [maxWindowSize, isEncoded] of [
    [1 << 10, false],
    [1 << 19, false],
    [1 << 20, true],
    [8 << 20, true],
  ] as const) {
    const client = ending(t, await connect(`ws://127.0.0.1:${port}/`, { limits: { maxWindowSize } }));
    const heard = client.subscribe('news')[Symbol.asyncIterator]();
    const first = heard.next();
    while (topic.subscribers === 0) await client.ping();
    for (let i = 0; i < 3; i++) {
      topic.publish(`message ${i}`);
      const { value } = i === 0 ? await first : await heard.next();
      t.is(new TextDecoder().decode(value?.data), `message ${i}`);
    }
    const encoded = client
      .stats()
      .streams.some(({ profile, frames }) => profile === 'zstd-8mb' && frames > 0);
    t.is(encoded, isEncoded, String(maxWindowSize));
    client.destroy();
    while (topic.subscribers > 0) await new Promise((resolve) => setImmediate(resolve));
  }
});

test('a pool connects again when its server has come back', async (t) => {
  const commands = { where: () => 'here' };
  let server = createServer({ workers: 1, commands });
  // One that systems give out by themselves may be a connection's when the server is back.
  const port = await freePort();
  await server.listen({ port });
  const pool = connectPool(`http://127.0.0.1:${port}/`, {
    minBackoffMs: 1,
    maxBackoffMs: 20,
    circuitFailures: 1_000_000,
  });
  t.teardown(() => pool.destroy());
  t.is(await pool.call('where').text(), 'here');
  const lost = new Promise((resolve) => pool.on('lost', resolve));
  const away = new Promise((resolve) => pool.on('goaway', resolve));
  await server.close(0);
  await Promise.race([lost, away]);
  server = createServer({ workers: 1, commands });
  t.teardown(() => server.close(0));
  await server.listen({ port });
  t.is(await pool.call('where', { idempotent: true }).text(), 'here');
  await pool.close();
});

test('a connection that does not come about says so, and nothing secret', async (t) => {
  const silent = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'millrace.v1' });
  await once(silent, 'listening');
  t.teardown(() => {
    for (const each of silent.clients) each.terminate();
    silent.close();
  });
  const { port } = silent.address() as { port: number };
  const url = `ws://127.0.0.1:${port}/?token=secret`;
  const late = (await failure(connect(url, { timeoutMs: 50 }))) as Error & { code: string };
  t.is(late.code, 'connect-timeout');
  t.notRegex(late.message, /secret/);
  const reason = new Error('never mind');
  const stop = new AbortController();
  const given = failure(connect(url, { signal: stop.signal }));
  await once(silent, 'connection');
  stop.abort(reason);
  t.is(await given, reason);
  const none = (await failure(connect('ws://127.0.0.1:1/'))) as Error & { code: string };
  t.is(none.code, 'connect-failed');
  await t.throwsAsync(connect('ftp://x'), { message: /ws:, wss:/ });
  await t.throwsAsync(
    connect('/path'),
    { message: /ws:, wss:/ },
    'there is no page here that it could be below',
  );
  await t.throwsAsync(connect(url, { timeout: 1 } as object), { message: /did you mean 'timeoutMs'/ });
});

test('profiles that there are not are told before anything is opened', async (t) => {
  const url = 'ws://127.0.0.1:1/';
  await t.throwsAsync(connect(url, { profiles: ['zstd'] }), { message: /^option profiles\.0: 'zstd' / });
  for (const encodeData of ['zstd-8mb', 'zstd-dict'])
    await t.throwsAsync(connect(url, { encodeData }), {
      message: `option encodeData: '${encodeData}' is not allowed, only 'zlib', 'identity'`,
    });
});

/** Bundles `text`, an entry module in src; the folder with what came of it. */
async function bundled(t: ExecutionContext, text: string): Promise<string> {
  const outdir = mkdtempSync(join(ROOT, 'node_modules/.millrace-bundle-'));
  t.teardown(() => rmSync(outdir, { recursive: true, force: true }));
  await build({
    stdin: { contents: text, resolveDir: join(ROOT, 'src'), loader: 'ts' },
    bundle: true,
    splitting: true,
    format: 'esm',
    minify: true,
    target: 'es2024',
    logLevel: 'silent',
    outdir,
    entryNames: 'page',
  });
  return outdir;
}

/** The files that a page gets when it loads `page.js`: what is imported when it is asked for is not among them. */
function loadedWith(folder: string, name = 'page.js', seen = new Set<string>()): Set<string> {
  seen.add(name);
  const text = readFileSync(join(folder, name), 'utf8');
  for (const [, to] of text.matchAll(/(?:from|import)"\.\/([^"]+)"/g))
    if (!seen.has(to)) loadedWith(folder, to, seen);
  return seen;
}

test('a page that connects loads at most 32 KiB, gzipped, and no zlib', async (t) => {
  const folder = await bundled(t, "export { connect } from './browser.ts';");
  const files = [...loadedWith(folder)];
  t.true(readdirSync(folder).length > files.length, 'zlib is a file of its own');
  const bytes = files.map((name) => gzipSync(readFileSync(join(folder, name)), { level: 9 }).length);
  const sum = bytes.reduce((a, b) => a + b);
  t.true(sum <= MOST, `${sum} bytes`);
  t.log(`${sum} bytes`);
});

test('the bundle is a module that a script element can load, and works', async (t) => {
  const { port } = await serving(t);
  const folder = await bundled(t, "export * from './browser.ts';");
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  const { connect: connectBundled } = await import(pathToFileURL(join(folder, 'page.js')).href);
  const client = ending(t, await connectBundled(`ws://127.0.0.1:${port}/`, { encodeData: 'zlib' }));
  const data = sample(100_000, 9);
  t.is(digest(await client.call('echo', { data }).bytes()), digest(data));
});
