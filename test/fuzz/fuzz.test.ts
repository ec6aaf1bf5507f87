/**
 * A short run of every fuzz target, from a seed of its own each time and with a bounded number of inputs, and again
 * every input that has once failed. `npm run fuzz` is the long run.
 */

import test from 'ava';
import { allTargets } from './all.ts';
import { fuzz, regressions } from './target.ts';

/** Inputs of one run, and the milliseconds after which it ends in any case. */
const INPUTS: Record<string, number> = { splitter: 400, server: 100, client: 500 };
const OTHERWISE = 1500;
const MOST_TIME = 2500;

const targets = allTargets();
for (const target of targets) {
  test.serial(`${target.name} holds for inputs that nobody has thought of`, async (t) => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    const end = performance.now() + MOST_TIME;
    const most = INPUTS[target.name] ?? OTHERWISE;
    const figures = await fuzz(target, seed, (inputs) => inputs >= most || performance.now() > end);
    t.log(`${figures.inputs} inputs, ${figures.frames} frames from seed ${seed}`);
    t.true(figures.inputs > 0);
  });

  test.serial(`${target.name} holds for every input that has once failed`, async (t) => {
    for (const [name, input] of regressions(target)) {
      t.log(name);
      await target.run(input);
    }
    t.pass();
  });
}

test.after.always(() => Promise.all(targets.map((target) => target.close?.())));
