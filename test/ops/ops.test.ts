/** What operators have of a server: channels, figures, metrics, health, a log, and what systemd is told. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import test, { type ExecutionContext } from 'ava';
import { CommandError, type CommandRequest, type RequestEnded, type Server } from '../../src/index.ts';
import { adminHandler, listenAdmin } from '../../src/ops/admin.ts';
import { Gathered } from '../../src/ops/gathered.ts';
import { Health } from '../../src/ops/health.ts';
import { ServerLog } from '../../src/ops/log.ts';
import { Metrics } from '../../src/ops/metrics.ts';
import { Sparing } from '../../src/ops/sparing.ts';
import { handedDown, Notify } from '../../src/ops/systemd.ts';
import { tempFolder } from '../files/helper.ts';
import { dial, LONG, rawSocket, serving } from '../helpers/serving.ts';

const CODES = new URL('../fixtures/codes.ts', import.meta.url);

const COMMANDS = {
  hello: () => 'hello '.repeat(100),
  refuse: () => {
    throw new CommandError('no', { code: 'no-water' });
  },
  broken: () => {
    throw new Error('secret');
  },
  'lane.throw': { module: CODES, export: 'refuseLate' },
};

/** Messages of a channel about `server` from now on. */
function messagesOf<Message extends { server: Server }>(
  t: ExecutionContext,
  name: string,
  server: Server,
): Message[] {
  const seen: Message[] = [];
  const listener = (message: unknown) => {
    if ((message as Message).server === server) seen.push(message as Message);
  };
  subscribe(name, listener);
  t.teardown(() => unsubscribe(name, listener));
  return seen;
}

const quiet = { onError: () => undefined };

test('a request that is over is told with its command, code, bytes and times', async (t) => {
  const { server, address } = await serving(t, { commands: COMMANDS, ...quiet });
  const seen = messagesOf<RequestEnded>(t, 'millrace:request:end', server);
  const client = await dial(t, address);
  await client.call('hello').bytes();
  for (const command of ['refuse', 'broken', 'nope', 'lane.throw'])
    await t.throwsAsync(client.call(command).bytes());
  t.deepEqual(
    seen.map(({ command, code }) => [command, code]),
    [
      ['hello', 'ok'],
      ['refuse', 'no-water'],
      ['broken', 'internal'],
      ['(unknown)', 'unknown-command'],
      ['lane.throw', 'no-water'],
    ],
  );
  const [hello] = seen;
  t.is(hello.bytes, 600);
  t.true(hello.wireBytes > 8 && hello.wireBytes < 200, 'it was encoded');
  t.true(hello.queuedMs >= 0 && hello.workMs >= 0);
  t.regex(hello.requestId, /^\d+-1$/);
  t.is(hello.profile, 'zstd-8mb');
});

test('figures are kept by command and by profile, and are those of the connections together', async (t) => {
  const { server, address } = await serving(t, { commands: COMMANDS, ...quiet });
  const client = await dial(t, address);
  for (let i = 0; i < 3; i++) await client.call('hello').bytes();
  await t.throwsAsync(client.call('refuse').bytes());
  await t.throwsAsync(client.call('x'.repeat(30)).bytes());
  await client.call('hello', { sensitive: true }).bytes();
  const { commands, profiles, connectionTotals, limitsHit, state } = await server.stats();
  const row = (name: string) => commands.find(({ command }) => command === name);
  t.like(row('hello'), { running: 0, codes: { ok: 4 }, bytes: 2400 });
  t.deepEqual(row('refuse')?.codes, { 'no-water': 1 });
  t.deepEqual(row('(unknown)')?.codes, { 'unknown-command': 1 });
  t.is(profiles.find(({ profile }) => profile === 'plain')?.bytesIn, 600);
  t.true((profiles.find(({ profile }) => profile === 'zstd-8mb')?.bytesIn ?? 0) >= 1800);
  t.like(connectionTotals, { opened: 1, closed: {} });
  t.true(connectionTotals.bytesRead > 0 && connectionTotals.bytesWritten > 0);
  t.deepEqual(limitsHit, {});
  t.is(state, 'serving');
});

test('codes of handlers without end are one after the first 32', async (t) => {
  let code = 0;
  const fail = () => {
    throw new CommandError('no', { code: `code-${code++}` });
  };
  const { server, address } = await serving(t, { commands: { fail } });
  const client = await dial(t, address);
  for (let i = 0; i < 40; i++) await t.throwsAsync(client.call('fail').bytes());
  const { codes = {} } = (await server.stats()).commands.find(({ command }) => command === 'fail') ?? {};
  t.is(Object.keys(codes).length, 33);
  t.is(codes.other, 8);
});

test('a limit that a peer has reached is counted by its name', async (t) => {
  const { server, address } = await serving(t, { limits: { maxArguments: 1 }, ...quiet });
  const seen = messagesOf<{ server: Server; limit: string }>(t, 'millrace:limit', server);
  // One that is not told what the server takes.
  const client = await dial(t, address, { plain: true });
  await t.throwsAsync(client.call('echo', { args: { a: '1', b: '2' } }).bytes());
  await client.closed;
  while (seen.length === 0) await new Promise((resolve) => setImmediate(resolve));
  t.is(seen[0].limit, 'maxArguments');
  t.deepEqual((await server.stats()).limitsHit, { maxArguments: 1 });
  t.is((await server.stats()).connectionTotals.closed.limit, 1);
});

test('update() changes what can be changed for who comes from then on, and nothing when one thing is wrong', async (t) => {
  const { server, address } = await serving(t, { level: 1 });
  const client = await dial(t, address);
  const limits = async () =>
    (await client.call('capabilities').json<{ limits: { maxPings: number } }>()).limits;
  server.update({ level: 9, limits: { maxPings: 50 }, contextMemory: 50_000_000 });
  t.is((await limits()).maxPings, 50);
  t.is((await server.stats()).contexts.limit, 50_000_000);
  t.throws(() => server.update({ limits: { maxPings: 60 }, level: 99 }));
  t.is((await limits()).maxPings, 50);
  t.throws(() => server.update({ tls: {} }), { message: /cannot change/ });
  t.throws(() => server.update({ workers: 3 } as never), {
    message: /option workers: update takes no such option/,
  });
  server.update({ limits: undefined, contextMemory: undefined });
  t.is((await limits()).maxPings, 10_000);
});

test('a connection that is old is told to go, and what runs on it ends in peace', async (t) => {
  const wait = ({ draining }: CommandRequest) =>
    new Promise<string>((resolve) => {
      draining.addEventListener('abort', () => resolve((draining.reason as Error).message));
    });
  const { server, address } = await serving(t, { commands: { wait }, maxConnectionAge: 500 });
  let told: string | undefined;
  // Where this machine is so slow that one is old before it is used, the next one may not be.
  while (told === undefined) {
    const client = await dial(t, address);
    told = await client
      .call('wait')
      .text()
      .catch((error) => {
        if (!error.notStarted) throw error;
        return undefined;
      });
  }
  t.is(told, 'the connection is old');
  t.is((await server.stats()).state, 'serving');
});

// ---------------------------------------------------------------------------------------------- metrics, health

async function admin(t: ExecutionContext, server: Server) {
  const metrics = await Metrics.of(server);
  const health = new Health(server);
  const http = createHttpServer(
    adminHandler({
      metrics: async () => ({ text: await metrics.text(), type: metrics.contentType }),
      notReady: () => health.notReady(),
    }),
  ).listen(0, '127.0.0.1');
  await once(http, 'listening');
  t.teardown(() => {
    metrics.close();
    http.close();
    http.closeAllConnections();
  });
  const { port } = http.address() as AddressInfo;
  return async (path: string, method = 'GET') => {
    const asked = request({ port, path, method, agent: false }).end();
    const [response] = await once(asked, 'response');
    let text = '';
    for await (const piece of response) text += piece;
    return { status: response.statusCode as number, text };
  };
}

test.serial(
  '/metrics has the figures, and one line for each command however many names are asked for',
  async (t) => {
    const { server, address } = await serving(t, { commands: COMMANDS, ...quiet });
    const ask = await admin(t, server);
    const client = await dial(t, address);
    for (let i = 0; i < 5; i++) await client.call('hello').bytes();
    for (let i = 0; i < 50; i++) await t.throwsAsync(client.call(`nope${i}`).bytes());
    const { status, text } = await ask('/metrics');
    t.is(status, 200);
    const value = (name: string) =>
      Number(new RegExp(`^${name.replace(/[{}()+]/g, '\\$&')} (.*)$`, 'm').exec(text)?.[1]);
    t.is(value('millrace_requests_total{command="hello",code="ok"}'), 5);
    t.is(value('millrace_requests_total{command="(unknown)",code="unknown-command"}'), 50);
    t.is(value('millrace_request_seconds_count{command="hello"}'), 5);
    t.is(value('millrace_request_seconds_bucket{le="+Inf",command="hello"}'), 5);
    t.is(value('millrace_response_bytes_total{command="hello"}'), 3000);
    t.is(value('millrace_connections'), 1);
    t.true(value('millrace_lane_cpu_seconds_total{process="1",lane="0"}') > 0);
    t.regex(text, /^nodejs_eventloop_lag_seconds /m);
    t.notRegex(text, /nope/);
    const again = await ask('/metrics');
    t.true(
      again.text.includes('millrace_requests_total{command="hello",code="ok"} 5'),
      'asking changes nothing',
    );
  },
);

test.serial('/healthz and /readyz: ready while it serves, not while it drains', async (t) => {
  const held = Promise.withResolvers<string>();
  const { server, address } = await serving(t, { commands: { wait: () => held.promise } });
  const ask = await admin(t, server);
  t.deepEqual(await ask('/healthz'), { status: 200, text: 'ok\n' });
  t.deepEqual(await ask('/readyz'), { status: 200, text: 'ok\n' });
  t.is((await ask('/readyz', 'HEAD')).text, '');
  t.is((await ask('/nothing')).status, 404);
  t.is((await ask('/metrics', 'POST')).status, 405);
  const client = await dial(t, address);
  await client.ready();
  const waiting = client.call('wait').text();
  await client.ping();
  const closing = server.close({ graceMs: LONG });
  t.deepEqual(await ask('/readyz'), { status: 503, text: 'not ready: it drains\n' });
  t.is((await ask('/healthz')).status, 200);
  held.resolve('');
  await Promise.all([waiting, closing]);
});

test.serial(
  'a crowd that asks at once gets one page, and who does not wait for answers gets none',
  async (t) => {
    let pages = 0;
    const gate = Promise.withResolvers<void>();
    const handler = adminHandler({
      metrics: async () => {
        pages++;
        await gate.promise;
        return { text: `page ${pages}\n`, type: 'text/plain' };
      },
      notReady: async () => undefined,
    });
    const http = await listenAdmin(handler, { host: '127.0.0.1', port: 0 });
    t.teardown(() => {
      http.close();
      http.closeAllConnections();
    });
    const { port } = http.address() as AddressInfo;
    const open = async () => {
      const socket = await rawSocket(t, { host: '127.0.0.1', port });
      let text = '';
      socket.setEncoding('latin1').on('data', (piece) => {
        text += piece;
      });
      return { socket, text: () => text };
    };
    const ask = 'GET /metrics HTTP/1.1\r\nHost: mill\r\n\r\n';
    const crowd = await Promise.all(Array.from({ length: 60 }, open));
    for (const { socket } of crowd) {
      socket.write(ask);
      await once(http, 'request');
    }
    gate.resolve();
    await Promise.all(crowd.map(({ socket, text }) => text() !== '' || once(socket, 'data')));
    t.is(pages, 2, 'that of the first, and that of all who have asked since');
    t.true(crowd.every(({ text }) => text().startsWith('HTTP/1.1 200 ')));
    const before = pages;
    const hasty = await open();
    hasty.socket.write(ask.repeat(3000));
    await new Promise((resolve) => hasty.socket.once('close', resolve));
    t.true(pages - before <= 8, `${pages - before} pages for one`);
    t.true(hasty.text().split('HTTP/1.1 200').length <= 9);
  },
);

// --------------------------------------------------------------------------------------------------------- log

async function logOf(t: ExecutionContext, settings: Parameters<typeof ServerLog.to>[1]) {
  let written = '';
  const stream = new Writable({
    write(piece, _encoding, done) {
      written += piece;
      done();
    },
  });
  const log = await ServerLog.to(stream, settings);
  t.teardown(() => log.close());
  const lines = () => {
    const all = written.split('\n').filter(Boolean);
    written = '';
    return all;
  };
  return { log, lines };
}

test.serial('every request is a line when that is asked for, without secrets', async (t) => {
  const principal = { name: 'ada', token: 'sesame', password: 'sesame' };
  const { server, address } = await serving(t, {
    commands: COMMANDS,
    authorize: () => ({ principal }),
    ...quiet,
  });
  const { log, lines } = await logOf(t, { accessLog: true });
  log.update({ accessLog: true }, server);
  const client = await dial(t, address);
  await client.call('hello', { authorization: 'Bearer sesame' }).bytes();
  await t.throwsAsync(client.call('refuse').bytes());
  const all = lines();
  t.is(all.length, 2);
  const [first, second] = all.map((line) => JSON.parse(line));
  t.like(first, { kind: 'request', command: 'hello', code: 'ok', bytes: 600, profile: 'zstd-8mb' });
  t.true(
    first.ratio > 3 && first.queuedMs >= 0 && first.workMs >= 0 && first.remote.startsWith('127.0.0.1:'),
  );
  t.is(first.principal.name, 'ada');
  t.is(second.code, 'no-water');
  t.false(all.join().includes('sesame'));
  log.update({ accessLog: false });
  await client.call('hello').bytes();
  t.deepEqual(lines(), [], 'no more');
});

test('what peers say steers no terminal that a log is read on', async (t) => {
  const evil = 'a\u202eb\u009b2Jc\u001b[2J';
  for (const logFormat of ['json', 'pretty'] as const) {
    const { log, lines } = await logOf(t, { log: 'debug', logFormat });
    log.onError(new Error(evil), { remote: 'here' });
    log.onError(new Error(evil), { command: 'hello' });
    log.close();
    const all = lines().join('\n');
    t.regex(all, /a\\+u202eb\\+u009b2Jc\\+u001b\[2J/);
    for (const character of ['\u202e', '\u009b', '\u001b']) t.false(all.includes(character));
  }
});

test('of one kind so many are logged a second, and then how many there were besides', async (t) => {
  const { log, lines } = await logOf(t, { log: 'info' });
  for (let i = 0; i < 1000; i++) log.onError(new Error(`no ${i}`), { command: 'hello' });
  log.onError(new Error('another'), { lane: 1 });
  log.close();
  const all = lines().map((line) => JSON.parse(line));
  t.is(all.filter(({ kind }) => kind === 'command hello').length, 11);
  t.like(all.at(-1), { kind: 'command hello', leftOut: 990, msg: 'left out' });
  t.is(all.filter(({ kind }) => kind === 'lane').length, 1);
});

test('lines gather into bytes, whatever they have in them and however long they are', (t) => {
  const written: Uint8Array[] = [];
  let isFlushed = false;
  const gathered = new Gathered({
    write: (bytes) => written.push(bytes) > 0,
    flushSync: () => {
      isFlushed = true;
    },
  });
  const lines = Array.from({ length: 3000 }, (_, i) => `${i} ${'ü€😀'.repeat(i % 9)}\n`);
  lines.splice(1000, 0, `${'€'.repeat(50_000)}\n`);
  for (const line of lines) gathered.write(line);
  t.true(written.length > 2 && written.length < 10);
  gathered.flushSync();
  t.is(Buffer.concat(written).toString(), lines.join(''));
  t.true(isFlushed);
});

test('kinds are bounded, too', (t) => {
  const told: string[] = [];
  const sparing = new Sparing((kind, leftOut) => told.push(`${kind}: ${leftOut}`));
  let allowed = 0;
  for (let i = 0; i < 1000; i++) if (sparing.allows(`kind ${i}`)) allowed++;
  sparing.flush();
  t.is(allowed, 110);
  t.deepEqual(told, ['other: 890']);
});

test('connections that fail are a matter of --verbose', async (t) => {
  const { log, lines } = await logOf(t, { log: 'info' });
  log.onError(new Error('reset'), { remote: '1.2.3.4:5' });
  t.deepEqual(lines(), []);
  log.update({ log: 'info', verbose: true });
  log.onError(new Error('reset'), { remote: '1.2.3.4:5' });
  t.like(JSON.parse(lines()[0]), { level: 40, kind: 'connection', error: 'reset' });
});

test('on a terminal the log is for people', async (t) => {
  const stream = Object.assign(new PassThrough(), { isTTY: true });
  const log = await ServerLog.to(stream, {});
  log.tell('a word');
  await once(stream, 'readable');
  t.regex(String(stream.read()), /INFO.*a word/);
  log.close();
});

// ----------------------------------------------------------------------------------------------------- systemd

test.serial('systemd is told in order, by systemd-notify; that it cannot be told is said', async (t) => {
  if (process.platform === 'win32') return t.pass('there is no systemd');
  const folder = tempFolder(t);
  const said = join(folder, 'said');
  const program = join(folder, 'systemd-notify');
  writeFileSync(program, `#!/bin/sh\necho "$@" >> ${said}\n`);
  chmodSync(program, 0o755);
  const complaints: string[] = [];
  const env = {
    PATH: `${folder}:/bin:/usr/bin`,
    NOTIFY_SOCKET: '/run/x',
    WATCHDOG_USEC: '60000',
    WATCHDOG_PID: String(process.pid),
  };
  const notify = new Notify(env, (message) => complaints.push(message));
  await notify.ready('serves');
  const lines = () => readFileSync(said, 'utf8').trim().split('\n');
  while (!lines().includes('WATCHDOG=1')) await new Promise((resolve) => setTimeout(resolve, 5));
  await notify.reloading();
  await notify.ready('serves');
  await notify.stopping();
  const others = lines().filter((line) => line !== 'WATCHDOG=1');
  t.is(others[0], 'READY=1 STATUS=serves');
  t.regex(others[1], /^RELOADING=1 MONOTONIC_USEC=\d+$/);
  t.deepEqual(others.slice(2), ['READY=1 STATUS=serves', 'STOPPING=1']);
  t.deepEqual(complaints, []);
  const mute = new Notify({ PATH: '/nowhere', NOTIFY_SOCKET: '/run/x' }, (message) =>
    complaints.push(message),
  );
  await mute.ready('serves');
  t.regex(complaints[0], /^cannot tell systemd READY=1: /);
  await new Notify({}, () => t.fail()).ready('without systemd nothing is said');
});

test('sockets are taken when they were handed down to this very process', (t) => {
  const mine = { LISTEN_FDS: '2', LISTEN_PID: String(process.pid), LISTEN_FDNAMES: 'admin:main' };
  t.deepEqual(handedDown(mine), { fd: 4, adminFd: 3 });
  t.deepEqual(Object.keys(mine), [], 'children do not get them');
  t.deepEqual(handedDown({ LISTEN_FDS: '1' }), { fd: 3, adminFd: undefined });
  t.is(handedDown({ LISTEN_FDS: '1', LISTEN_PID: '1' }), undefined);
  t.is(handedDown({ LISTEN_FDS: 'x' }), undefined);
  t.is(handedDown({}), undefined);
});

test.serial('who asks for what fails is told nothing of why; the operator is', async (t) => {
  const told: Error[] = [];
  const fails = async (): Promise<never> => {
    throw new Error('password=hunter2 in /srv/private');
  };
  const onError = (error: Error) => void told.push(error);
  const handler = adminHandler({ metrics: fails, notReady: fails, onError });
  const http = await listenAdmin(handler, { host: '127.0.0.1', port: 0 });
  t.teardown(() => {
    http.close();
    http.closeAllConnections();
  });
  const { port } = http.address() as AddressInfo;
  for (const path of ['/metrics', '/readyz', '/metrics']) {
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    t.deepEqual([response.status, await response.text()], [500, 'internal error\n']);
  }
  t.is(told.length, 3);
  t.true(told.every(({ message }) => message.includes('hunter2')));
});
