/** Parts that fail: workers that die, and connections that are cut. */

import { connect as connectSocket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { CommandError } from '../../src/index.ts';
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
  test.serial(`a worker that dies by ${how} fails what was on its lane, and nothing else`, async (t) => {
    const { port, goOn } = await twoLanes(t);
    // One stream per connection: connections take turns on the two lanes.
    const clients = await Promise.all([dial(t, { port }), dial(t, { port })]);
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
    goOn();
    const expected = Buffer.concat([pattern(0, 20_000), pattern(1, 20_000)]);
    t.is(Buffer.compare(await undisturbed, expected), 0);
    t.is(await victim.call('echo', { args: { value: 'served on' } }).text(), 'served on');
  });
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
    // The lane takes nothing more; the first of these fills the bound, the others wait.
    const calls = [client.call('spin'), ...Array.from({ length: 5 }, () => client.call('big'))];
    const answers = Promise.all(calls.map((call) => call.text().catch(String)));
    await clock.advanceWhile(answers, 1000, () => client.ping());
    // One may have gone through while the lane loaded the module.
    t.true((await answers).filter((end) => /worker of lane 0 died/.test(end)).length >= 5);
    clock.advance(100);
    while ((await server.stats()).lanes.length === 0) await client.ping();
    for (let i = 0; i < 5; i++) t.is((await client.call('big').bytes()).length, 5000);
  });
}
