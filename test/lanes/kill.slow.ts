/** Parts that fail under load, for as long as it takes: workers that die, and connections that are cut at every byte. */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';
import { cutEvery } from './cutter.ts';
import { killLoad } from './kill-load.ts';

test.serial(
  'under load with workers killed all the while, responses are byte-perfect or say that a worker died',
  async (t) => {
    const figures = await killLoad(4, 200);
    t.log(figures);
    t.is(figures.corrupt, 0);
    t.deepEqual(figures.unexplained, []);
    t.true(figures.whole > figures.kills);
  },
);

test.serial(
  'a connection cut after any byte of a response gives what was whole, and an error for the rest',
  async (t) => {
    const cuts = await cutEvery(t, 1);
    t.log(`cut after each of ${cuts} bytes`);
    t.true(cuts > 500);
  },
);

test.serial('threads that make contexts are ended 400 times, and the process goes on', (t) => {
  const program = join(import.meta.dirname, 'ended-making.ts');
  const { status, stderr } = spawnSync(process.execPath, [program, '400'], { encoding: 'utf8' });
  t.is(status, 0, stderr);
});
