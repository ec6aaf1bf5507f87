// The end: close(), SIGTERM, and peers that are no longer there.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createConnection, createServer as createNetServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import ava, { type ExecutionContext } from 'ava';
import {
  type CommandRequest,
  connect,
  createServer,
  type Server,
  type ServerOptions,
} from '../../src/index.ts';
import { FrameType } from '../../src/wire/frame.ts';
import { tempFolder } from '../files/helper.ts';
import { HELLO, RawPeer } from '../helpers/raw-peer.ts';

const test = ava.serial;
const lane = (name: string) => ({
  module: new URL('../fixtures-limits/failing.ts', import.meta.url),
  export: name,
});

async function serve(t: ExecutionContext, options: ServerOptions): Promise<{ server: Server; port: number }> {
  const server = createServer({ workers: 1, ...options });
  const { port } = (await server.listen()) as { port: number };
  t.teardown(() => server.close(0));
  return { server, port };
}

const slow = async function* (request: CommandRequest) {
  for (let i = 0; i < 10; i++) {
    yield `${i} `.repeat(2000);
    await sleep(Number(request.text('ms') ?? 30));
  }
};
const SLOW = Array.from({ length: 10 }, (_, i) => `${i} `.repeat(2000)).join('');

test('close() lets requests in flight finish, tells peers, and takes no new ones', async (t) => {
  const { server, port } = await serve(t, { commands: { slow } });
  const client = await connect({ port });
  const inFlight = Array.from({ length: 5 }, () => client.call('slow').text());
  await sleep(100);
  const closed = server.close(5000);
  await sleep(50);
  await t.throwsAsync(client.call('echo').text(), { message: /going away: server is shutting down/ });
  await t.throwsAsync(connect({ port }), { message: /nothing listens there/ });
  for (const answer of await Promise.all(inFlight)) t.is(answer, SLOW);
  await closed;
  await client.closed;
});

test('close() says up to which request it answers, and refuses the later ones of peers that do not know goaway', async (t) => {
  const { server, port } = await serve(t, { commands: { slow } });
  const [modern, old] = [await RawPeer.connect(port), await RawPeer.connect(port)];
  t.teardown(() => {
    for (const peer of [modern, old]) peer.close();
  });
  modern.send(HELLO, '1 1 0 command-name eos slow', '3 1 0 command-name eos slow');
  old.send('1 1 stream-begin command-name eos slow');
  await sleep(100);
  const closed = server.close(5000);
  t.true(await modern.until(() => modern.frames.some(({ type }) => type === FrameType.goaway)));
  const goaway = modern.frames.find(({ type }) => type === FrameType.goaway)!;
  t.is(goaway.payload[0] + 256 * goaway.payload[1], 3);
  old.send('3 1 0 command-name eos echo');
  t.is(await old.answer(3), 'error: server is shutting down');
  t.is(await modern.answer(3), SLOW);
  t.is(await old.answer(1), SLOW);
  await closed;
});

for (const [where, commands] of [
  [
    'on the main thread',
    {
      endless: async function* () {
        for (;;) {
          yield 'x'.repeat(1000);
          await sleep(5);
        }
      },
    },
  ],
  [
    'that hears nothing',
    {
      endless: async () => {
        await sleep(60_000, undefined, { ref: false });
        return 'late';
      },
    },
  ],
  ['in a lane', { endless: lane('endless') }],
  ['in an endless loop in a lane', { endless: lane('loop') }],
] as [string, ServerOptions['commands']][]) {
  test(`after the grace time a handler ${where} is ended, and its peer told`, async (t) => {
    const { server, port } = await serve(t, { commands, laneTimeout: 60_000 });
    const peer = await RawPeer.connect(port);
    t.teardown(() => peer.close());
    peer.send('1 1 stream-begin command-name eos endless', '3 1 0 command-name have-args endless');
    await sleep(200);
    const started = performance.now();
    await server.close(200);
    const took = performance.now() - started;
    t.true(took >= 190 && took < 4500, `${took} ms`);
    t.regex((await peer.answer(1)) ?? '', /^error: (server is shutting down|worker of lane 0 died)/);
    t.true(await peer.until(() => peer.ended));
  });
}

test('a peer that reads nothing does not keep the server from closing', async (t) => {
  const pour = async function* () {
    for (;;) yield new Uint8Array(65_536);
  };
  const { server, port } = await serve(t, { commands: { pour } });
  const peer = await RawPeer.connect(port);
  t.teardown(() => peer.close());
  peer.socket.pause();
  peer.send('1 1 stream-begin command-name eos pour');
  await sleep(200);
  const started = performance.now();
  await server.close(100);
  t.true(performance.now() - started < 5000);
});

test('a server that is closed, or closes, does not listen', async (t) => {
  const server = createServer({ commands: {}, workers: 1 });
  const closed = server.close();
  await t.throwsAsync(server.listen(), { message: 'the server is closed' });
  await closed;
  await t.throwsAsync(server.listen(), { message: 'the server is closed' });
});

test('close() is one and the same promise, and closing before listening is fine', async (t) => {
  const server = createServer({ workers: 1 });
  t.is(server.close(), server.close());
  await server.close();
});

for (const busy of [false, true]) {
  test(`SIGTERM ends the command line's server with 0${busy ? ', with requests in flight' : ''}`, async (t) => {
    const cli = fileURLToPath(new URL('../../src/cli/millrace.ts', import.meta.url));
    const child = spawn(process.execPath, [cli, 'serve', '.', '--port', '0', '--workers', '1'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const port = Number(/:(\d+)/.exec(line.toString())![1]);
    const client = await connect({ port });
    const upload = async function* () {
      yield new Uint8Array(1000);
      await sleep(600);
      yield new Uint8Array(1000);
    };
    const echo = busy ? client.call('echo', { data: upload() }) : undefined;
    const pieces = echo?.[Symbol.asyncIterator]();
    let bytes = (await pieces?.next())?.value?.length ?? 0;
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    if (pieces !== undefined) for await (const piece of pieces) bytes += piece.length;
    const [code] = (await exit) as [number];
    t.is(code, 0);
    t.is(bytes, busy ? 2000 : 0, 'what was in flight is whole');
    await client.closed;
  });
}

test("SIGTERM ends the command line's server with 0 from the moment on at which it listens", async (t) => {
  const path = join(tempFolder(t), 'socket');
  const cli = fileURLToPath(new URL('../../src/cli/millrace.ts', import.meta.url));
  const child = spawn(process.execPath, [cli, 'serve', '.', '--socket', path, '--workers', '1'], {
    stdio: 'ignore',
  });
  t.teardown(() => child.kill('SIGKILL'));
  const exit = once(child, 'exit');
  // Its socket is there before its workers are.
  while (!existsSync(path)) await sleep(1);
  child.kill('SIGTERM');
  t.deepEqual(await exit, [0, null]);
});

/** A client behind a network that can be cut: after `cut()` nothing passes, and nobody is told. */
async function behindTunnel(t: ExecutionContext, port: number): Promise<{ port: number; cut: () => void }> {
  const pairs: Socket[] = [];
  const tunnel = createNetServer((near) => {
    const far = createConnection({ port });
    near.pipe(far);
    far.pipe(near);
    for (const socket of [near, far]) socket.on('error', () => undefined);
    pairs.push(near, far);
  });
  tunnel.listen(0);
  await once(tunnel, 'listening');
  t.teardown(() => {
    for (const socket of pairs) socket.destroy();
    tunnel.close();
  });
  const cut = () => {
    for (const socket of pairs) {
      socket.unpipe();
      socket.on('data', () => undefined);
    }
  };
  return { port: (tunnel.address() as { port: number }).port, cut };
}

test('a peer that is no longer there is found by its silence; one that is silent and there is kept', async (t) => {
  const reports: string[] = [];
  const { server, port } = await serve(t, {
    keepAliveInterval: 150,
    onError: (error) => reports.push(String(error)),
  });
  const tunnel = await behindTunnel(t, port);
  const [here, gone] = [await connect({ port }), await connect({ port: tunnel.port })];
  t.teardown(() => {
    for (const client of [here, gone]) client.destroy();
  });
  await sleep(700);
  t.is((await server.stats()).connections, 2, 'both answer pings');
  tunnel.cut();
  await sleep(700);
  t.is((await server.stats()).connections, 1);
  t.true(reports.some((report) => report.includes('keepAliveInterval')));
  t.is(await here.call('echo', { args: { value: 'here' } }).text(), 'here');
});

for (const how of ['destroy', 'resetAndDestroy'] as const) {
  test(`a peer that is gone (${how}) is found also while it is not read, and its handler told`, async (t) => {
    const aborted = Promise.withResolvers<void>();
    const { server, port } = await serve(t, {
      keepAliveInterval: 100,
      limits: { maxBufferedInput: 1 },
      commands: {
        // Reads none of its data.
        subscribe: ({ signal }) =>
          new Promise((resolve) =>
            signal.addEventListener('abort', () => {
              aborted.resolve();
              resolve(undefined);
            }),
          ),
      },
    });
    const peer = await RawPeer.connect(port);
    peer.send(HELLO, '1 1 0 command-name have-data subscribe', '1 1 0 command-data continuation more');
    await sleep(300);
    t.is((await server.stats()).connections, 1);
    t.false(peer.ended);
    peer.socket[how]();
    await aborted.promise;
    t.is((await server.stats()).connections, 0);
  });
}

test('a peer that does not speak ping is not asked', async (t) => {
  const { server, port } = await serve(t, { keepAliveInterval: 100 });
  const peer = await RawPeer.connect(port);
  t.teardown(() => peer.close());
  peer.send('1 1 stream-begin command-name eos echo');
  await sleep(500);
  t.is((await server.stats()).connections, 1);
  t.false(peer.frames.some(({ type }) => type === FrameType.ping));
});

const TURNS: Record<string, () => Promise<unknown>> = {
  'in the same step': async () => undefined,
  'a step later': () => Promise.resolve(),
  'a turn later': () => sleep(0),
};
for (const [when, turn] of Object.entries(TURNS)) {
  test(`a server that is closed while it begins to listen, ${when}, does not listen afterwards`, async (t) => {
    const server = createServer({ workers: 1 });
    const listening = server.listen().catch(String);
    if (when !== 'in the same step') await turn();
    await Promise.all([server.close(100), server.close(100)]);
    const address = await listening;
    if (typeof address === 'string') t.regex(address, /closed/);
    else await t.throwsAsync(connect(address as { port: number }), { message: /nothing listens/ });
    t.is(server.address === undefined, typeof address === 'string');
    await t.throwsAsync(server.listen(), { message: /the server is closed/ });
  });
}
