/** Parts that fail under load, for as long as it takes: workers that die, and connections that are cut at every byte. */

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
