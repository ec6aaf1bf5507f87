// Commands by HTTP without frames: in lanes and on the main thread, held to the limits of all doors, and ended in order.

import { randomBytes } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import ava from 'ava';
import { CommandError, type ServerOptions, TextOutput } from '../../src/index.ts';
import { arrived, makeLatch, release, stand } from '../fixtures/latch.ts';
import { pattern } from '../fixtures/pattern.ts';
import { digest, sample } from '../helpers/samples.ts';
import { halted, LONG, type Serving, serving, servingOnSharedLanes, signal } from '../helpers/serving.ts';
import { ask, Wire } from './helper.ts';

const onSharedLanes = servingOnSharedLanes(ava);

// One after the other: some servers have threads of their own.
const test = ava.serial;

const fixture = (name: string) => new URL(`../fixtures/${name}.ts`, import.meta.url);
const inLane = (module: string, name: string) => ({ module: fixture(module), export: name });
const DATA = { 'content-type': 'application/octet-stream' };

async function text(port: number, path: string, type?: string, body?: string | Uint8Array): Promise<string> {
  const answer = await ask(port, `/rpc/${path}`, { body, headers: type ? { 'content-type': type } : {} });
  return `${answer.status} ${answer.body.toString().trim()}`;
}

/** Resolves when no session is open. */
async function allGone({ server }: Serving): Promise<void> {
  while ((await server.stats()).connections > 0) await new Promise((resolve) => setImmediate(resolve));
}

test('a command of a lane runs there: its bytes, its data, its errors, its death', async (t) => {
  const running = await serving(t, {
    commands: {
      fill: inLane('lane-commands', 'fill'),
      fail: inLane('lane-commands', 'fail'),
      upload: inLane('killers', 'upload'),
      exit: inLane('killers', 'exit'),
      innocent: inLane('killers', 'innocent'),
    },
  });
  const { port, server } = running;
  for (const size of [0, 900, 20_000, 3_000_000]) {
    const path = `/rpc/fill?size=${size}&seed=7`;
    const plain = await ask(port, path);
    t.is(digest(plain.body), digest(pattern(7, size)));
    const { headers, body } = await ask(port, path, { headers: { 'accept-encoding': 'zstd' } });
    t.is(headers['content-encoding'], size < 256 ? undefined : 'zstd');
    t.is(digest(size < 256 ? body : zstdDecompressSync(body)), digest(pattern(7, size)));
  }
  t.is(await text(port, 'upload', 'application/octet-stream', sample(3_000_000, 1)), '200 3000000');
  t.regex(await text(port, 'fail?when=before'), /^500 .*"code":"internal"/);
  t.regex(await text(port, 'exit'), /^50[03] .*worker/);
  t.is(await text(port, 'innocent'), '200 innocent');
  await allGone(running);
  const { commands, lanes } = await server.stats();
  t.is(commands.find(({ command }) => command === 'fill')?.codes.ok, 8);
  t.true(
    lanes.every(({ openStreams }) => openStreams === 0),
    'nothing is left in a lane',
  );
});

test('an answer without frames says all, however small those of others are', async (t) => {
  const data = { list: 'x'.repeat(1000) };
  const fail = () => {
    throw new CommandError('no', { code: 'no', data });
  };
  const long = 'line '.repeat(200);
  const { port } = await onSharedLanes(t, {
    frameSize: 256,
    commands: { fail, tell: () => new TextOutput(long) },
  });
  t.deepEqual(JSON.parse((await text(port, 'fail')).slice(4)).data, data);
  const events = await ask(port, '/rpc/tell', { headers: { accept: 'text/event-stream' } });
  t.true(events.body.toString().includes(`data: ${long}\n`));
});

test('who hangs up cancels the handler, on the main thread and in a lane', async (t) => {
  const gone = signal();
  const latch = makeLatch();
  const running = await serving(t, {
    commands: {
      waits: async ({ signal: over }) => {
        over.addEventListener('abort', () => gone.resolve());
        await stand(latch);
        return '';
      },
      hang: inLane('lane-commands', 'hang'),
    },
  });
  const { port, server, reported } = running;
  const wire = new Wire(t, port).send('POST /rpc/waits HTTP/1.1', 'Host: x', '', '');
  await arrived(latch, 1);
  wire.socket.destroy();
  await gone.promise;
  const other = new Wire(t, port).send('POST /rpc/hang HTTP/1.1', 'Host: x', '', '');
  const isRunning = async () =>
    (await server.stats()).commands.find(({ command }) => command === 'hang')?.running === 1;
  while (!(await isRunning())) await new Promise((resolve) => setImmediate(resolve));
  other.socket.destroy();
  await allGone(running);
  release(latch);
  const { about } = await reported(({ error }) => /closed the connection/.test(String(error)));
  t.truthy(about.remote);
  const ended = (await server.stats()).commands.filter(({ codes }) => codes.cancelled === 1);
  t.deepEqual(ended.map(({ command }) => command).sort(), ['hang', 'waits']);
});

test('arguments are held to the limits of all commands, and what passes them harms nobody', async (t) => {
  const { port, server } = await onSharedLanes(t, {
    limits: { maxArguments: 2, maxHeldArgumentBytes: 1000 },
    commands: { ok: () => 'ok' },
  });
  const json = (value: object) => text(port, 'ok', 'application/json', JSON.stringify(value));
  t.regex(await text(port, 'ok?%C3%A9=1'), /^400 .*ASCII/);
  t.regex(await json({ long: 'x'.repeat(65_536) }), /^400 .*more than 65535 bytes/);
  t.regex(await json({ a: 1, b: 2, c: 3 }), /^413 .*maxArguments/);
  t.regex(await json({ a: 'x'.repeat(1000) }), /^503 .*maxHeldArgumentBytes/);
  t.is(await json({ a: 1, b: 2 }), '200 ok');
  const { limitsHit, commands } = await server.stats();
  t.is(limitsHit.maxArguments, 1);
  t.deepEqual(commands.find(({ command }) => command === 'ok')?.codes, { ok: 1, overloaded: 1 });
});

test('a request is one of as many connections as there may be', async (t) => {
  const latch = makeLatch();
  const { port } = await onSharedLanes(t, {
    maxConnections: 1,
    commands: {
      waits: async () => {
        await stand(latch);
        return 'waited';
      },
    },
  });
  const first = ask(port, '/rpc/waits');
  await arrived(latch, 1);
  t.is((await ask(port, '/rpc/waits').catch(() => ({ status: 503 }))).status, 503);
  release(latch);
  t.is((await first).body.toString(), 'waited');
});

test('a server that closes lets the requests in flight end, tells their handlers, and answers those that do not', async (t) => {
  const latch = makeLatch();
  const commands: ServerOptions['commands'] = {
    drains: async ({ draining }) => {
      const told = new Promise<string>((resolve) =>
        draining.addEventListener('abort', () => resolve(`${draining.reason.message}`)),
      );
      await stand(latch);
      return told;
    },
    never: async () => {
      await stand(latch);
      return new Promise<string>(() => undefined);
    },
  };
  const { port, server } = await onSharedLanes(t, { commands });
  const well = ask(port, '/rpc/drains');
  await arrived(latch, 1);
  const closed = server.close(LONG);
  release(latch);
  t.is((await well).body.toString(), 'server is shutting down');
  await closed;
  const other = await onSharedLanes(t, { commands });
  const cut = ask(other.port, '/rpc/never');
  await arrived(latch, 2);
  await other.server.close(0);
  const { status, body } = await cut;
  t.is(status, 503);
  t.is(JSON.parse(body.toString()).code, 'cancelled');
});

test('a query may have question marks of its own', async (t) => {
  const { port } = await serving(t, { commands: { echo: ({ text }) => text('q') } });
  t.is((await ask(port, '/rpc/echo?q=who?me?')).body.toString(), 'who?me?');
});

test('small bodies, which share an encoder, stand alone each', async (t) => {
  const { port } = await onSharedLanes(t, {
    commands: {
      bytes: ({ text: argument }) => sample(Number(argument('size')), Number(argument('seed'))),
    },
  });
  const decoders = { zstd: zstdDecompressSync, gzip: gunzipSync } as const;
  const sizes = [256, 257, 900, 2047, 2048, 2049, 8191, 8192, 8193, 32_768];
  const asked = sizes.flatMap((size, i) =>
    [i, i, i + 1].flatMap((seed) =>
      Object.entries(decoders).map(async ([coding, decode]) => {
        const headers = { 'accept-encoding': coding };
        const answer = await ask(port, `/rpc/bytes?size=${size}&seed=${seed}`, { headers });
        t.is(answer.headers['content-encoding'], coding);
        t.is(Number(answer.headers['content-length']), answer.body.length);
        t.is(digest(decode(answer.body)), digest(sample(size, seed)), `${coding} ${size}`);
        return answer.body;
      }),
    ),
  );
  const bodies = await Promise.all(asked);
  for (let i = 0; i < bodies.length; i += 6) {
    t.deepEqual(bodies[i], bodies[i + 2], 'what came before changes nothing of the next');
    t.deepEqual(bodies[i + 1], bodies[i + 3]);
  }
});

test('a handler waits for a client that does not read', async (t) => {
  let produced = 0;
  const over = signal();
  const running = await onSharedLanes(t, {
    limits: { maxBufferedOutput: 1 << 20 },
    commands: {
      endless: async function* ({ signal: gone }) {
        gone.addEventListener('abort', () => over.resolve());
        for (;;) {
          produced += 100_000;
          yield randomBytes(100_000);
        }
      },
    },
  });
  for (const coding of ['identity', 'zstd', 'gzip']) {
    produced = 0;
    const wire = new Wire(t, running.port);
    wire.socket.pause();
    wire.send('POST /rpc/endless HTTP/1.1', 'Host: x', `Accept-Encoding: ${coding}`, '', '');
    const meanwhile = () => ask(running.port, '/rpc/echo?value=meanwhile');
    while (produced === 0) await meanwhile();
    await halted(() => produced, meanwhile);
    t.true(produced < 64 << 20, `${coding}: ${produced} bytes`);
    wire.socket.destroy();
    await allGone(running);
  }
  await over.promise;
});

test('who subscribes to the ends of requests hears of those by HTTP', async (t) => {
  const { port, server } = await onSharedLanes(t, {
    commands: { who: ({ requestId }) => requestId },
    authorize: ({ command }) => command !== 'secret' && { principal: 'mill' },
  });
  const told: { requestId: string; command: string; code: string; bytes: number; principal: unknown }[] = [];
  const listener = (message: unknown) => {
    const ended = message as (typeof told)[number] & { server: unknown };
    if (ended.server === server) told.push(ended);
  };
  subscribe('millrace:request:end', listener);
  t.teardown(() => unsubscribe('millrace:request:end', listener));
  const { body } = await ask(port, '/rpc/who');
  t.is((await ask(port, '/rpc/secret')).status, 401);
  t.deepEqual(
    told.map(({ requestId, command, code, bytes, principal }) => [
      requestId,
      command,
      code,
      bytes,
      principal,
    ]),
    [
      [body.toString(), 'who', 'ok', body.length, 'mill'],
      [told[1]?.requestId, '(unknown)', 'not-authorized', 0, 'mill'],
    ],
  );
});

test('an upload waits for a handler that does not read it', async (t) => {
  const latch = makeLatch();
  const { port, server } = await onSharedLanes(t, {
    inputMemory: 4 << 20,
    commands: {
      late: async ({ data }) => {
        await stand(latch);
        let bytes = 0;
        for await (const piece of data) bytes += piece.length;
        return String(bytes);
      },
    },
  });
  const body = sample(16 << 20, 3);
  const answer = ask(port, '/rpc/late', { headers: DATA, body });
  await arrived(latch, 1);
  for (let before = -1; before !== (await server.stats()).input.bytes || before === 0; ) {
    before = (await server.stats()).input.bytes;
    for (let i = 0; i < 50; i++) await ask(port, '/rpc/echo?value=meanwhile');
  }
  t.true((await server.stats()).input.bytes < 3 << 20);
  release(latch);
  t.is((await answer).body.toString(), String(16 << 20));
});

test('nothing behind a request whose answer ends the connection runs: it may have been the body of that one', async (t) => {
  let ran = 0;
  const { port } = await onSharedLanes(t, { commands: { echo: () => 'well', hidden: () => `${++ran}` } });
  const last = [
    'POST /rpc/echo HTTP/1.1\r\nHost: x\r\nHost: y\r\n',
    'POST /rpc/echo HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: b\r\n',
    'POST /rpc/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n',
    'POST /rpc/echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n',
  ];
  for (const head of last) {
    const wire = new Wire(t, port);
    const body = head.includes('chunked') ? '0\r\n\r\n' : '';
    wire.socket.write(`${head}\r\n${body}${'POST /rpc/hidden HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3)}`);
    const all = await wire.rest();
    t.regex(all, /^HTTP\/1.1 (400|501) /, head);
    t.is(all.match(/^HTTP/gm)?.length, 1, head);
    t.is((await ask(port, '/rpc/echo')).body.toString(), 'well');
    t.is(ran, 0, head);
  }
});
