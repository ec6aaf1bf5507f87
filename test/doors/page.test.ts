// The live page by HTTP, and the figures that it reads. What it looks like is in page.slow.ts.

import { readFileSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import ava, { type ExecutionContext } from 'ava';
import { type AuthorizeQuery, createServer } from '../../src/index.ts';
import type { LiveFigures } from '../../src/server/live-figures.ts';
import { ROOT } from '../helpers/imports.ts';
import {
  dial,
  failure,
  LONG,
  listening,
  type Serving,
  serve,
  servingOnSharedLanes,
} from '../helpers/serving.ts';
import { buildPage } from './built-page.ts';
import { ask } from './helper.ts';

const onSharedLanes = servingOnSharedLanes(ava);
const test = ava.serial;

let shared: Promise<Serving> | undefined;

function common(): Promise<Serving> {
  shared ??= serve({ commands: { slow: () => new Promise((resolve) => setImmediate(resolve, 'slow')) } });
  return shared;
}

ava.before(buildPage);
ava.after.always(async () => (await shared)?.server.close(0));

const get = (port: number, path: string, headers = {}) => ask(port, path, { method: 'GET', headers });

async function figures(t: ExecutionContext, { address }: Serving, count = 1): Promise<LiveFigures[]> {
  const client = await dial(t, address);
  const text = await client.call('server.stats', { args: { count: String(count) } }).text();
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

test('the page and all that it names come from the server itself, with nothing in line', async (t) => {
  const { port } = await common();
  const { status, headers, body } = await get(port, '/');
  t.is(status, 200);
  const policy = String(headers['content-security-policy']);
  t.regex(policy, /default-src 'none'.*script-src 'self'.*style-src 'self'.*frame-ancestors 'none'/);
  t.notRegex(policy, /unsafe|\*|https?:/);
  const html = body.toString();
  t.notRegex(html, /<style|style=|<script(?![^>]* src=)|\son\w+=|https?:/);
  const named = [...html.matchAll(/(?:href|src)="([^"#][^"]*)"/g)].map(([, path]) => path);
  t.deepEqual(named, ['page/icon.svg', 'page/page.css', 'page/page.js']);
  for (const path of named) {
    const plain = await get(port, `/${path}`);
    const packed = await get(port, `/${path}`, { 'accept-encoding': 'gzip' });
    t.is(plain.status, 200, path);
    t.is(packed.headers['content-encoding'], 'gzip');
    t.deepEqual(gunzipSync(packed.body), plain.body);
    t.is(plain.headers['x-content-type-options'], 'nosniff');
  }
});

test('the licence of what is built into the page goes along with it', (t) => {
  const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
  t.true(read('dist/browser/page/licenses.txt').endsWith(read('node_modules/uplot/LICENSE')));
});

test('what is not of the page is not there, and the page is only read', async (t) => {
  const { port } = await common();
  for (const path of ['/nothing', '/page/', '/page/page.ts', '/page/..%2f..%2fpackage.json', '/constructor'])
    t.is((await get(port, path)).status, 404, path);
  const { status, headers } = await ask(port, '/', { body: 'x' });
  t.is(status, 405);
  t.is(headers.allow, 'GET, HEAD');
});

test('in the server of somebody else it is below the path', async (t) => {
  const http = createHttp((_req, res) => res.end('theirs'));
  const port = await listening(http);
  const server = createServer({ workers: 1 });
  t.teardown(async () => {
    await server.close(0);
    http.close();
  });
  await server.attach(http, { path: '/mill' });
  const moved = await get(port, '/mill?a=1');
  t.is(moved.status, 308);
  t.is(moved.headers.location, '/mill/?a=1');
  t.regex((await get(port, '/mill/')).body.toString(), /<title>millrace/);
  t.is((await get(port, '/mill/page/page.css')).status, 200);
  t.is((await get(port, '/')).body.toString(), 'theirs');
});

test('without the page there is neither it nor what it reads', async (t) => {
  const { port, address } = await onSharedLanes(t, { http: { page: false } });
  t.is((await get(port, '/')).status, 404);
  t.is((await get(port, '/page/page.js')).status, 404);
  const client = await dial(t, address);
  t.like(await failure(client.call('server.stats').text()), { code: 'unknown-command' });
});

test('who may not come in gets neither the page nor the figures', async (t) => {
  const asked: AuthorizeQuery[] = [];
  const { port, address } = await onSharedLanes(t, {
    authorize: (query) => {
      asked.push(query);
      return (
        query.authorization === 'good' ||
        (query.command === undefined && query.connection.headers === undefined)
      );
    },
  });
  for (const path of ['/', '/page/page.js']) {
    const { status, headers } = await get(port, path);
    t.is(status, 401);
    t.regex(String(headers['www-authenticate']), /^Basic /);
    t.is((await get(port, path, { authorization: 'bad' })).status, 403);
    t.is((await get(port, path, { authorization: 'good' })).status, 200);
  }
  const client = await dial(t, address);
  t.like(await failure(client.call('server.stats').text()), { code: 'not-authorized' });
  t.like(asked.at(-1), { command: 'server.stats', mode: 'ro' });
  const allowed = client.call('server.stats', { authorization: 'good', args: { count: '1' } });
  t.is((JSON.parse(await allowed.text()) as LiveFigures).state, 'serving');
});

test('the figures are of the server, its lanes and the streams of each connection', async (t) => {
  const server = await common();
  const other = await dial(t, server.address);
  await other.call('slow').text();
  const [first, second] = await figures(t, server, 2);
  t.true((first?.atMs ?? 0) < (second?.atMs ?? 0));
  t.is(second?.lanes.length, 1);
  const row = second?.peers.find(({ watches }) => !watches);
  t.is(row?.remote.startsWith('127.0.0.1:'), true);
  t.like(row?.streams[0], {
    profile: 'zstd-8mb',
    level: 3,
    windowBytes: 2 << 20,
    lane: 0,
    bytesIn: 4,
  });
  t.true((row?.streams[0]?.contextBytes ?? 0) > 2 << 20);
  t.true((row?.streams[0]?.ageMs ?? 0) > 0);
});

test('what those who watch are sent is told apart, and commands are timed while somebody watches', async (t) => {
  const server = await common();
  const watcher = await dial(t, server.address);
  const other = await dial(t, server.address);
  const lines = watcher.call('server.stats')[Symbol.asyncIterator]();
  const next = async () =>
    JSON.parse(Buffer.from((await lines.next()).value as Uint8Array).toString()) as LiveFigures;
  t.deepEqual((await next()).slowest, []);
  await other.call('slow').text();
  const now = await next();
  t.is(now.watching.connections, 1);
  t.true(now.watching.bytesWritten > 0 && now.watching.bytesWritten < now.connectionTotals.bytesWritten);
  t.like(now.slowest, [{ command: 'slow', requests: 1 }]);
  t.true((now.slowest[0]?.mostMs ?? 0) > 0);
  await lines.return?.(undefined);
});

test('a count that is none is refused, and so is one watcher too many', async (t) => {
  const { address } = await common();
  const client = await dial(t, address);
  for (const count of ['0', '-1', '1.5', 'x'])
    t.like(
      await failure(client.call('server.stats', { args: { count } }).text()),
      { code: 'invalid-argument' },
      count,
    );
  const watching = Array.from({ length: 32 }, () => client.call('server.stats')[Symbol.asyncIterator]());
  await Promise.all(watching.map((each) => each.next()));
  t.like(await failure(client.call('server.stats').text()), { code: 'overloaded' });
  await Promise.all(watching.map((each) => each.return(undefined)));
});

test('who watches is no hindrance to a server that stops', async (t) => {
  const { server, address } = await serve();
  const client = await dial(t, address);
  const lines = client.call('server.stats')[Symbol.asyncIterator]();
  await lines.next();
  const closed = server.close(LONG);
  let last = await lines.next();
  while (!last.done) last = await lines.next();
  await closed;
  t.pass('the response has come to a good end');
});
