/** What is wrong with the modules of lanes is found by listen(), which leaves nothing running then. */

import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { createServer, type LaneCommand } from '../../src/index.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { dial, serving } from '../helpers/serving.ts';

const BROKEN = new URL('../fixtures/lane-broken.ts', import.meta.url);
const THROWS = new URL('../fixtures/lane-throws.ts', import.meta.url);
const MISSING = new URL('../fixtures/lane-missing.ts', import.meta.url);

const CASES: [string, LaneCommand, RegExp][] = [
  ['is missing', { module: MISSING }, /^command 'x' cannot run: Cannot find module .*lane-missing/],
  ['throws when it is loaded', { module: THROWS }, /^command 'x' cannot run: not today$/],
  [
    'lacks its default export',
    { module: BROKEN },
    /^command 'x' cannot run: .*lane-broken.* has no function 'default'/,
  ],
  ['exports no function', { module: BROKEN, export: 'text' }, /has no function 'text'/],
  [
    'makes no handler of that name',
    { module: BROKEN, export: 'few', options: {} },
    /'few' returns has no handler 'x'$/,
  ],
];

for (const [name, command, message] of CASES) {
  test(`a module that ${name} fails listen()`, async (t) => {
    const server = createServer({ workers: 2, commands: { x: command }, onError: () => undefined });
    const error = await t.throwsAsync(server.listen());
    t.regex(error.message, message);
    t.is(server.address, undefined);
    await t.throwsAsync(server.listen(), { message: 'the server is closed' });
    t.is((await server.stats()).lanes.length, 0);
  });
}

test('a codec module that is missing fails listen()', async (t) => {
  const codecs = [{ url: MISSING.href, export: 'x', codecs: [] }];
  const server = createServer({ workers: 1, codecs, onError: () => undefined });
  await t.throwsAsync(server.listen(), { message: /lane-missing/ });
  t.is(server.address, undefined);
});

test('a factory may take its time', async (t) => {
  const there: LaneCommand = { module: BROKEN, export: 'late', options: {} };
  const { address } = await serving(t, { workers: 1, commands: { there } });
  const client = await dial(t, address);
  t.is(await client.call('there').text(), 'here');
});

test('a factory may have the thread for longer than a lane may be silent otherwise', async (t) => {
  const there: LaneCommand = { module: BROKEN, export: 'busy', options: {} };
  const { reports } = await serving(t, { workers: 1, laneTimeout: 20, commands: { there } });
  t.deepEqual(reports, []);
});

test.serial('a factory that never comes to an end fails listen()', async (t) => {
  const clock = stoppedClock(t);
  const there: LaneCommand = { module: BROKEN, export: 'never', options: {} };
  const server = createServer({ workers: 1, commands: { there } });
  const message = 'the modules of commands were not loaded within 30000 ms';
  await t.throwsAsync(clock.advanceWhile(server.listen(), 1000, turn), { message });
});
