/** Parts that fail under load: workers that die, and connections that are cut at every byte. */

import { connect as connectSocket, createServer as createNetServer, type Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { type Client, CommandError, ConnectionError, connect, createServer } from '../../src/index.ts';
import { pattern } from '../fixtures/pattern.ts';
import { killLoad } from './kill-load.ts';

const MODULE = new URL('../fixtures/lane-commands.ts', import.meta.url);
const FAILING = new URL('../fixtures-limits/failing.ts', import.meta.url);

test.serial(
  'under load with workers killed all the while, responses are byte-perfect or say that a worker died',
  async (t) => {
    const figures = await killLoad(4, 200);
    t.log(figures);
    t.is(figures.corrupt, 0);
    t.deepEqual(figures.unexplained, []);
    t.true(figures.kills >= 3 && figures.whole > 100);
  },
);

async function server(t: ExecutionContext, streams: number) {
  const made = createServer({
    workers: 2,
    streams,
    commands: {
      fill: { module: MODULE, export: 'fill' },
      die: { module: MODULE, export: 'die' },
      slow: async function* () {
        for (let i = 0; i < 40; i++) {
          await new Promise((resolve) => setTimeout(resolve, 10));
          yield pattern(i, 1000).slice();
        }
      },
    },
  });
  t.teardown(() => made.close(100));
  const { port } = (await made.listen()) as { port: number };
  return { made, port };
}

for (const how of ['exit', 'throw', 'reject']) {
  test.serial(`a worker that dies by ${how} fails what was on its lane, and nothing else`, async (t) => {
    const { port } = await server(t, 1);
    // One stream per connection: connections take turns on the two lanes.
    const clients = await Promise.all([connect({ port }), connect({ port })]);
    const [victim, other] = clients;
    await Promise.all(
      clients.map((client) => client.call('echo', { args: { value: 'open a stream' } }).bytes()),
    );
    const undisturbed = other.call('slow').bytes();
    const lost = victim.call('slow').bytes();
    await Promise.all([
      t.throwsAsync(victim.call('die', { args: { how } }).bytes(), {
        instanceOf: CommandError,
        message: /worker of lane \d died/,
      }),
      t.throwsAsync(lost, { instanceOf: CommandError, message: /worker of lane \d died/ }),
    ]);
    const expected = Buffer.concat(Array.from({ length: 40 }, (_, i) => pattern(i, 1000)));
    t.is(Buffer.compare(await undisturbed, expected), 0);
    t.is(await victim.call('echo', { args: { value: 'served on' } }).text(), 'served on');
    await Promise.all(clients.map((client) => client.close()));
  });
}

test.serial('what a dying worker takes with it does not use up the window of a connection', async (t) => {
  const made = createServer({
    workers: 1,
    commands: {
      die: { module: MODULE, export: 'die' },
      here: () => pattern(3, 100_000).slice(),
    },
  });
  t.teardown(() => made.close(100));
  const { port } = (await made.listen()) as { port: number };
  const client = await connect({ port }, { connectionWindow: 64 << 10 });
  for (let i = 0; i < 4; i++) {
    // The call runs before what is behind it in the same batch is encoded, and that goes with the worker.
    const lost = [client.call('die', { args: { how: 'at once' } }), client.call('here'), client.call('here')];
    await Promise.all(lost.map((response) => response.bytes().catch(() => undefined)));
    while ((await made.stats()).lanes.length === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const whole = await client.call('here', { deadlineMs: 20_000 }).bytes();
  t.is(Buffer.compare(whole, pattern(3, 100_000)), 0);
  await client.close();
});

/** Hands on what the server sends, up to a byte, and cuts the connection there. */
class Cutter {
  readonly #net = createNetServer((socket) => this.#pass(socket));
  readonly #target: number;
  cutAfter = Number.POSITIVE_INFINITY;
  passed = 0;

  constructor(target: number) {
    this.#target = target;
  }

  async listen(t: ExecutionContext): Promise<number> {
    await new Promise<void>((resolve) => this.#net.listen(0, '127.0.0.1', resolve));
    t.teardown(() => this.#net.close());
    return (this.#net.address() as { port: number }).port;
  }

  #pass(near: Socket): void {
    const far = connectSocket(this.#target, '127.0.0.1');
    const cut = () => {
      near.resetAndDestroy();
      far.resetAndDestroy();
    };
    this.passed = 0;
    near.on('error', cut).on('end', () => far.end());
    far.on('error', cut).on('end', () => near.end());
    near.on('data', (chunk) => far.write(chunk));
    far.on('data', (chunk: Buffer) => {
      const room = this.cutAfter - this.passed;
      this.passed += Math.min(room, chunk.length);
      if (chunk.length < room) near.write(chunk);
      // Not destroyed before it has gone out, or less would arrive than is wanted.
      else near.write(chunk.subarray(0, room), cut);
    });
  }
}

test.serial(
  'a connection cut after any byte of a response gives what was whole, and an error for the rest',
  async (t) => {
    const { made, port } = await server(t, 2);
    const cutter = new Cutter(port);
    const proxied = { port: await cutter.listen(t) };
    const talk = async (): Promise<(Uint8Array | Error)[]> => {
      let client: Client;
      try {
        client = await connect(proxied);
      } catch (error) {
        return [error as Error];
      }
      const calls = [700, 1400].map((size, i) =>
        client.call('fill', { args: { seed: String(i), size: String(size) } }).bytes(),
      );
      const results = await Promise.all(calls.map((call) => call.catch((error: Error) => error)));
      await client.close();
      return results;
    };
    const whole = await talk();
    t.deepEqual(whole, [pattern(0, 700), pattern(1, 1400)]);
    const total = cutter.passed;
    let cut = 0;
    for (cutter.cutAfter = 1; cutter.cutAfter < total; cutter.cutAfter++, cut++) {
      const results = await talk();
      for (const [i, result] of results.entries()) {
        if (result instanceof Error)
          t.true(result instanceof ConnectionError, `${cutter.cutAfter}: ${result}`);
        else t.deepEqual(result, whole[i], `after ${cutter.cutAfter} bytes`);
      }
    }
    t.log(`cut after each of ${cut} bytes`);
    while ((await made.stats()).connections > 0) await new Promise((resolve) => setImmediate(resolve));
    t.true(cut > 500);
  },
);

test.serial('a request cut after any byte is never run half', async (t) => {
  const asked: string[] = [];
  const made = createServer({
    workers: 1,
    commands: { note: (request) => void asked.push(`${request.text('a')} ${request.text('b')}`) },
  });
  t.teardown(() => made.close(100));
  const { port } = (await made.listen()) as { port: number };
  const { commandParts, rawFrame } = await import('../independent/client.ts');
  const parts = commandParts('note', {
    args: [
      ['a', 'first value'],
      ['b', 'second value'],
    ],
    piece: 5,
  });
  const bytes = Buffer.concat(
    parts.map((part, i) => rawFrame({ ...part, request: 1, stream: 1, streamFlags: i === 0 ? 1 : 0 })),
  );
  for (let cut = 0; cut <= bytes.length; cut++) {
    for (const reset of [false, true]) {
      const socket = connectSocket(port, '127.0.0.1');
      await new Promise((resolve) => socket.once('connect', resolve));
      socket.on('error', () => undefined).resume();
      const closed = new Promise((resolve) => socket.once('close', resolve));
      await new Promise((resolve) => socket.write(bytes.subarray(0, cut), resolve));
      if (reset) socket.resetAndDestroy();
      else socket.end();
      await closed;
    }
  }
  while ((await made.stats()).connections > 0) await new Promise((resolve) => setImmediate(resolve));
  t.true(asked.length >= 1 && asked.length <= 2);
  t.deepEqual([...new Set(asked)], ['first value second value']);
});

const BOUNDS = [
  { what: 'room for output', maxBufferedOutput: 5000, connectionWindow: undefined },
  { what: 'credit', maxBufferedOutput: 5000, connectionWindow: 12_000 },
];
for (const { what, maxBufferedOutput, connectionWindow } of BOUNDS) {
  test(`a request that wakes while its stream is lost keeps no ${what}`, async (t) => {
    const made = createServer({
      workers: 1,
      policy: 'single',
      limits: { maxBufferedOutput },
      laneTimeout: 400,
      commands: { spin: { module: FAILING, export: 'spin' }, big: () => pattern(1, 5000).slice() },
    });
    t.teardown(() => made.close(100));
    const client = await connect((await made.listen()) as { port: number }, { connectionWindow });
    t.teardown(() => client.destroy());
    await client.call('big').bytes();
    // The lane takes nothing more; the first of these fills the bound, the others wait.
    const calls = [client.call('spin'), ...Array.from({ length: 5 }, () => client.call('big'))];
    const ends = await Promise.all(calls.map((call) => call.text().catch(String)));
    // One may have gone through while the lane loaded the module.
    t.true(ends.filter((end) => /no sign of life/.test(end)).length >= 5);
    while ((await made.stats()).lanes.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    for (let i = 0; i < 5; i++) t.is((await client.call('big').bytes()).length, 5000);
  });
}
