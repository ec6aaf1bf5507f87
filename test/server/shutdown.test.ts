// The end: close(), SIGTERM, and peers that are no longer there.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createConnection, createServer as createNetServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import ava, { type ExecutionContext } from 'ava';
import { type Client, createServer, type ServerOptions } from '../../src/index.ts';
import { FrameType } from '../../src/wire/frame.ts';
import { tempFolder } from '../files/helper.ts';
import { arrived, makeLatch } from '../fixtures/latch.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { frames, HELLO, RawPeer, times } from '../helpers/raw-peer.ts';
import { dial, halted, LONG, reach, serving, Watch } from '../helpers/serving.ts';

const test = ava.serial;
const lane = (name: string) => ({
  module: new URL('../fixtures/failing.ts', import.meta.url),
  export: name,
});

/** A handler that sends half of its answer, and the rest when it may; and how to wait until so many have begun. */
function halves() {
  const watch = new Watch();
  const goOn = Promise.withResolvers<void>();
  let begun = 0;
  const slow = async function* () {
    begun++;
    watch.changed();
    yield 'half '.repeat(2000);
    await goOn.promise;
    yield 'whole '.repeat(2000);
  };
  return {
    slow,
    goOn: () => goOn.resolve(),
    begun: (count: number) => watch.until(() => begun >= count || undefined),
  };
}
const WHOLE = 'half '.repeat(2000) + 'whole '.repeat(2000);

test('close(0) while data is being decoded ends its request, and blames nobody', async (t) => {
  // What comes back from the decoder comes at its own time.
  for (let round = 0; round < 4; round++) {
    const { server, port, reports } = await serving(t);
    const client = await dial(t, { port }, { encodeData: 'zstd-8mb' });
    const uploads = Array.from({ length: 3 }, () => client.call('echo', { data: new Uint8Array(3_000_000) }));
    await uploads[0][Symbol.asyncIterator]().next();
    const closed = server.close(0);
    await Promise.allSettled(uploads.slice(1).map((upload) => upload.bytes()));
    await closed;
    await client.closed;
    t.deepEqual(reports, []);
  }
});

test('close() lets requests in flight finish, tells peers, and takes no new ones', async (t) => {
  const { slow, goOn, begun } = halves();
  const { server, port } = await serving(t, { commands: { slow } });
  const client = await dial(t, { port });
  const inFlight = Array.from({ length: 5 }, () => client.call('slow').text());
  await begun(5);
  const closed = server.close(LONG);
  // The reply comes behind what tells the client.
  await client.ping();
  await t.throwsAsync(client.call('echo').text(), { message: /going away: server is shutting down/ });
  await t.throwsAsync(reach({ port }), { message: /nothing listens there/ });
  goOn();
  for (const answer of await Promise.all(inFlight)) t.is(answer, WHOLE);
  await closed;
  await client.closed;
});

test('close() says up to which request it answers, and refuses the later ones of peers that do not know goaway', async (t) => {
  const { slow, goOn, begun } = halves();
  const { server, port } = await serving(t, { commands: { slow } });
  const [modern, old] = [await RawPeer.connect(t, port), await RawPeer.connect(t, port)];
  modern.send(HELLO, '1 1 0 command-name eos slow', '3 1 0 command-name eos slow');
  old.send('1 1 stream-begin command-name eos slow');
  await begun(3);
  const closed = server.close(LONG);
  t.true(await modern.until(() => modern.frames.some(({ type }) => type === FrameType.goaway)));
  const goaway = modern.frames.find(({ type }) => type === FrameType.goaway)!;
  t.is(goaway.payload[0] + 256 * goaway.payload[1], 3);
  old.send('3 1 0 command-name eos echo');
  t.is(await old.answer(3), 'error: server is shutting down');
  goOn();
  t.is(await modern.answer(3), WHOLE);
  t.is(await old.answer(1), WHOLE);
  await closed;
});

test('a handler that has its own server closed at once, and returns its whole answer all the same, is answered once', async (t) => {
  for (const answer of ['too late', Uint8Array.of(1, 2, 3)]) {
    const { server, port, reports } = await serving(t, {
      commands: {
        last: () => {
          void server.close(0);
          return answer;
        },
      },
    });
    const peer = await RawPeer.connect(t, port);
    peer.send('1 1 stream-begin command-name eos last');
    t.not(await peer.answer(1), undefined);
    t.false(await peer.until(() => false));
    t.is(peer.frames.filter(({ requestId }) => requestId === 1).length, 1);
    t.deepEqual(reports, []);
  }
});

/** Turns of the event loop in which everybody in this process answers what has been asked. */
async function settle(client: Client): Promise<void> {
  for (let i = 0; i < 5; i++) await client.ping();
}

const held = makeLatch();
const ENDLESS: Record<string, ServerOptions['commands']> = {
  'on the main thread': {
    endless: async function* () {
      for (;;) {
        yield 'x'.repeat(1000);
        await sleep(5);
      }
    },
  },
  'that hears nothing': {
    endless: async function* () {
      yield 'x';
      await new Promise(() => undefined);
    },
  },
  'in a lane': { endless: lane('endless') },
  'that holds its lane': {
    endless: {
      module: new URL('../fixtures/stubborn.ts', import.meta.url),
      export: 'busy',
      options: held,
    },
  },
};
for (const [where, commands] of Object.entries(ENDLESS)) {
  test(`after the grace time a handler ${where} is ended, and its peer told`, async (t) => {
    const clock = stoppedClock(t);
    const { server, port } = await serving(t, { commands });
    const peer = await RawPeer.connect(t, port);
    peer.send('1 1 stream-begin command-name eos endless', '3 1 0 command-name have-args endless');
    if (where === 'that holds its lane') await arrived(held, 1);
    else await peer.until(() => peer.frames.some(({ requestId }) => requestId === 1));
    const closed = server.close(200);
    clock.advance(199);
    for (let i = 0; i < 30; i++) await turn();
    const isOver = () => peer.frames.some(({ type }) => type === FrameType.errorResponse);
    t.false(isOver());
    // What cannot be stopped has some time more.
    await clock.advanceWhile(closed, 1, turn);
    t.regex((await peer.answer(1)) ?? 'the end', /^error: (server is shutting down|worker of lane 0 died)/);
    t.true(await peer.until(() => peer.ended));
  });
}

test('a peer that reads nothing does not keep the server from closing', async (t) => {
  let made = 0;
  const pour = async function* () {
    for (; ; made++) yield new Uint8Array(65_536);
  };
  const { server, port } = await serving(t, { commands: { pour } });
  const peer = await RawPeer.connect(t, port);
  peer.socket.pause();
  peer.send('1 1 stream-begin command-name eos pour');
  const other = await dial(t, { port });
  await halted(
    () => made,
    () => other.ping(),
  );
  await server.close(100);
  t.pass();
});

test('peers that go on sending as fast as they can do not keep the server from closing', async (t) => {
  const begun = new Watch();
  let pieces = 0;
  const sink = async ({ data }: { data: AsyncIterable<Uint8Array> }) => {
    for await (const _ of data) {
      pieces++;
      begun.changed();
    }
    return 'all';
  };
  const { server, port } = await serving(t, { commands: { sink } });
  const bytes = times(2000, () => '1 1 0 command-data continuation x');
  const peers = await Promise.all(Array.from({ length: 8 }, () => RawPeer.connect(t, port)));
  for (const { socket } of peers) {
    const flood = () => {
      while (socket.writable && socket.write(bytes));
    };
    socket.write(frames(HELLO, '1 1 0 command-name have-data sink'));
    socket.on('drain', flood);
    flood();
  }
  await begun.until(() => pieces > 1000 || undefined);
  await server.close(0);
  t.is((await server.stats()).connections, 0);
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

/** Whether somebody listens there. */
async function opens(port: number): Promise<boolean> {
  const socket = createConnection({ port });
  const opened = await once(socket, 'connect').then(
    () => true,
    () => false,
  );
  socket.destroy();
  return opened;
}

for (const busy of [false, true]) {
  test(`SIGTERM ends the command line's server with 0${busy ? ', with requests in flight' : ''}`, async (t) => {
    const cli = fileURLToPath(new URL('../../src/cli/millrace.ts', import.meta.url));
    const child = spawn(process.execPath, [cli, 'serve', '.', '--port', '0', '--workers', '1'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const port = Number(/:(\d+)/.exec(line.toString())![1]);
    const client = await dial(t, { port });
    const refused = Promise.withResolvers<void>();
    const upload = async function* () {
      yield new Uint8Array(1000);
      await refused.promise;
      yield new Uint8Array(1000);
    };
    const echo = busy ? client.call('echo', { data: upload() }) : undefined;
    const pieces = echo?.[Symbol.asyncIterator]();
    let bytes = (await pieces?.next())?.value?.length ?? 0;
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    // It has heard once it takes no more connections.
    while (busy && (await opens(port)));
    refused.resolve();
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
  const clock = stoppedClock(t);
  const { server, port, reports } = await serving(t, { keepAliveInterval: 150 });
  const tunnel = await behindTunnel(t, port);
  const here = await dial(t, { port });
  await dial(t, { port: tunnel.port });
  const other = await dial(t, { port });
  const passes = async () => {
    clock.advance(150);
    await settle(other);
  };
  for (let i = 0; i < 6; i++) await passes();
  t.is((await server.stats()).connections, 3, 'all answer pings');
  tunnel.cut();
  for (let i = 0; i < 6; i++) await passes();
  t.is((await server.stats()).connections, 2);
  t.true(reports.some(({ error }) => String(error).includes('keepAliveInterval')));
  t.is(await here.call('echo', { args: { value: 'here' } }).text(), 'here');
});

for (const how of ['destroy', 'resetAndDestroy'] as const) {
  test(`a peer that is gone (${how}) is found also while it is not read, and its handler told`, async (t) => {
    const clock = stoppedClock(t);
    const begun = Promise.withResolvers<void>();
    let aborted = false;
    const { server, port } = await serving(t, {
      keepAliveInterval: 100,
      limits: { maxBufferedInput: 1 },
      commands: {
        // Reads none of its data.
        subscribe: ({ signal }) =>
          new Promise((resolve) => {
            begun.resolve();
            signal.addEventListener('abort', () => {
              aborted = true;
              resolve(undefined);
            });
          }),
      },
    });
    const peer = await RawPeer.connect(t, port);
    peer.send(HELLO, '1 1 0 command-name have-data subscribe', '1 1 0 command-data continuation more');
    await begun.promise;
    const other = await dial(t, { port });
    for (let i = 0; i < 4; i++) {
      clock.advance(100);
      await settle(other);
    }
    t.false(peer.ended);
    t.false(aborted);
    peer.socket[how]();
    await clock.advanceUntil(() => aborted);
    t.is((await server.stats()).connections, 1);
  });
}

test('a peer that does not speak ping is not asked', async (t) => {
  const clock = stoppedClock(t);
  const { server, port } = await serving(t, { keepAliveInterval: 100 });
  const peer = await RawPeer.connect(t, port);
  peer.send('1 1 stream-begin command-name eos echo');
  await peer.answer(1);
  const other = await dial(t, { port });
  for (let i = 0; i < 6; i++) {
    clock.advance(100);
    await settle(other);
  }
  t.is((await server.stats()).connections, 2);
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
    else await t.throwsAsync(reach(address as { port: number }), { message: /nothing listens/ });
    t.is(server.address === undefined, typeof address === 'string');
    await t.throwsAsync(server.listen(), { message: /the server is closed/ });
  });
}
