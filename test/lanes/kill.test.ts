/** Parts that fail: workers that die, and connections that are cut. */

import { connect as connectSocket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { CommandError, cached, type ServerOptions, TextOutput } from '../../src/index.ts';
import { pattern } from '../fixtures/pattern.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { dial, lanesOpen, serving } from '../helpers/serving.ts';
import { commandParts, rawFrame } from '../independent/client.ts';
import { cutEvery } from './cutter.ts';

const MODULE = new URL('../fixtures/lane-commands.ts', import.meta.url);
const FAILING = new URL('../fixtures/failing.ts', import.meta.url);

/** Two lanes; `slow` gives half of its answer, and the rest after `goOn`. */
async function twoLanes(t: ExecutionContext) {
  const goOn = Promise.withResolvers<void>();
  const running = await serving(t, {
    workers: 2,
    streams: 1,
    commands: {
      fill: { module: MODULE, export: 'fill' },
      die: { module: MODULE, export: 'die' },
      slow: async function* () {
        yield pattern(0, 20_000).slice();
        await goOn.promise;
        yield pattern(1, 20_000).slice();
      },
    },
  });
  return { ...running, goOn: () => goOn.resolve() };
}

for (const how of ['exit', 'throw', 'reject']) {
  test.serial(
    `a worker that dies by ${how} fails what ran there, and nothing that was only encoded there`,
    async (t) => {
      const { port, goOn } = await twoLanes(t);
      // One stream per connection: connections take turns on the two lanes.
      const clients = await Promise.all([dial(t, { port }), dial(t, { port })]);
      const [victim, other] = clients;
      await Promise.all(
        clients.map((client) => client.call('echo', { args: { value: 'open a stream' } }).bytes()),
      );
      const undisturbed = other.call('slow').bytes();
      const moved = victim.call('slow').bytes();
      await t.throwsAsync(victim.call('die', { args: { how } }).bytes(), {
        instanceOf: CommandError,
        message: /worker of lane \d died/,
      });
      goOn();
      const expected = Buffer.concat([pattern(0, 20_000), pattern(1, 20_000)]);
      t.is(Buffer.compare(await undisturbed, expected), 0);
      t.is(Buffer.compare(await moved, expected), 0);
      t.is(await victim.call('echo', { args: { value: 'served on' } }).text(), 'served on');
    },
  );
}

test.serial('what a dying worker takes with it does not use up the window of a connection', async (t) => {
  const { server, port } = await serving(t, {
    commands: {
      die: { module: MODULE, export: 'die' },
      here: () => pattern(3, 100_000).slice(),
    },
  });
  const client = await dial(t, { port }, { connectionWindow: 64 << 10 });
  for (let i = 0; i < 4; i++) {
    // The call runs before what is behind it in the same batch is encoded, and that goes with the worker.
    const lost = [client.call('die', { args: { how: 'at once' } }), client.call('here'), client.call('here')];
    await Promise.all(lost.map((response) => response.bytes().catch(() => undefined)));
    await lanesOpen({ server }, 1);
  }
  const whole = await client.call('here').bytes();
  t.is(Buffer.compare(whole, pattern(3, 100_000)), 0);
});

test.serial(
  'a connection cut in the middle of a response gives what was whole, and an error for the rest',
  async (t) => {
    t.true((await cutEvery(t, 31)) > 20);
  },
);

test.serial('a request cut after any byte is never run half', async (t) => {
  const asked: string[] = [];
  const { server, port } = await serving(t, {
    commands: { note: (request) => void asked.push(`${request.text('a')} ${request.text('b')}`) },
  });
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
  while ((await server.stats()).connections > 0) await new Promise((resolve) => setImmediate(resolve));
  t.true(asked.length >= 1 && asked.length <= 2);
  t.deepEqual([...new Set(asked)], ['first value second value']);
});

const HUNG: [string, ServerOptions][] = [
  ['one stream for all', { policy: 'single' }],
  ['several', { streams: 4 }],
  ['a stream of its own for each', { policy: 'per-request', streams: 4 }],
  ['no context', { contexts: 'none' }],
];
for (const [what, options] of HUNG) {
  test.serial(`what a hung lane was to encode arrives, each byte once and in order: ${what}`, async (t) => {
    const clock = stoppedClock(t);
    const goOn = Promise.withResolvers<void>();
    const { server, port } = await serving(t, {
      ...options,
      laneTimeout: 4000,
      commands: {
        spin: { module: FAILING, export: 'spin' },
        small: (request) => `small ${request.text('n')}`,
        large: async function* (request) {
          for (let i = 0; i < 20; i++) yield pattern(Number(request.text('n')) + i, 30_000).slice();
        },
        long: async function* () {
          yield new TextOutput('it begins\n');
          yield pattern(1, 40_000).slice();
          await goOn.promise;
          yield new TextOutput('it ends\n');
          yield pattern(2, 40_000).slice();
        },
        fails: async function* () {
          yield pattern(3, 100).slice();
          throw new CommandError('as it should', { code: 'mine' });
        },
        kept: async function* (request) {
          yield 'before ';
          yield cached(`key ${request.text('n')}`, () => pattern(4, 70_000).slice());
          yield ' after';
        },
      },
    });
    const client = await dial(t, { port });
    await client.call('small', { args: { n: '0' } }).bytes();
    const lines: string[] = [];
    const spin = client.call('spin', { sensitive: true }).text().catch(String);
    const calls = Array.from({ length: 6 }, (_, i) => {
      const args = { n: String(i) };
      return [
        client.call('small', { args }).text(),
        client.call('large', { args }).bytes(),
        client
          .call('fails')
          .bytes()
          .catch((error: CommandError) => error.code),
        client.call('kept', { args }).bytes(),
      ];
    });
    const long = client.call('long', { onText: (text) => lines.push(text) }).bytes();
    const answers = Promise.all(calls.flat());
    await clock.advanceWhile(spin, 1000, () => client.ping());
    clock.advance(100);
    goOn.resolve();
    const ends = await answers;
    for (let i = 0; i < 6; i++) {
      const [small, large, fails, kept] = ends.slice(4 * i, 4 * i + 4);
      t.is(small, `small ${i}`);
      const expected = Array.from({ length: 20 }, (_, k) => pattern(i + k, 30_000));
      t.is(Buffer.compare(large as Uint8Array, Buffer.concat(expected)), 0);
      t.is(fails, 'mine');
      const whole = [Buffer.from('before '), pattern(4, 70_000), Buffer.from(' after')];
      t.is(Buffer.compare(kept as Uint8Array, Buffer.concat(whole)), 0);
    }
    t.is(Buffer.compare(await long, Buffer.concat([pattern(1, 40_000), pattern(2, 40_000)])), 0);
    t.deepEqual(lines, ['it begins\n', 'it ends\n']);
    t.regex(await spin, /worker of lane 0 died/);
    t.is(await client.call('small', { args: { n: '9' } }).text(), 'small 9');
    t.is((await server.stats()).connections, 1);
  });
}

const BOUNDS = [
  { what: 'room for output', maxBufferedOutput: 5000, connectionWindow: undefined },
  { what: 'credit', maxBufferedOutput: 5000, connectionWindow: 12_000 },
];
for (const { what, maxBufferedOutput, connectionWindow } of BOUNDS) {
  test.serial(`a request that wakes while its stream is lost keeps no ${what}`, async (t) => {
    const clock = stoppedClock(t);
    const { server, port } = await serving(t, {
      policy: 'single',
      limits: { maxBufferedOutput },
      laneTimeout: 4000,
      commands: { spin: { module: FAILING, export: 'spin' }, big: () => pattern(1, 5000).slice() },
    });
    const client = await dial(t, { port }, { connectionWindow });
    await client.call('big').bytes();
    // The lane takes nothing more; the first of these fills the bound, the others wait until it is dead.
    const calls = [client.call('spin'), ...Array.from({ length: 5 }, () => client.call('big'))];
    const answers = Promise.all(calls.map((call) => call.text().catch(String)));
    await clock.advanceWhile(answers, 1000, () => client.ping());
    const died = (await answers).filter((end) => /worker of lane 0 died/.test(end));
    t.is(died.length, 1);
    clock.advance(100);
    while ((await server.stats()).lanes.length === 0) await client.ping();
    for (let i = 0; i < 5; i++) t.is((await client.call('big').bytes()).length, 5000);
  });
}
