/**
 * A few inputs for every fuzz target that needs no process of its own, from a seed of its own each time, and again every
 * input that has once failed. fuzz.slow.ts has many, and all targets; `npm run fuzz` is the long run.
 */

import test from 'ava';
import { lightTargets } from './all.ts';
import { fuzz, randomSeed, regressions } from './target.ts';

/** Inputs that cost more than others do are fewer. */
const INPUTS: Readonly<Record<string, number>> = { splitter: 60, server: 15, client: 60 };
const OTHERWISE = 150;

const targets = lightTargets();
for (const target of targets) {
  test.serial(`${target.name} holds for some inputs that nobody has thought of`, async (t) => {
    const seed = randomSeed();
    const most = INPUTS[target.name] ?? OTHERWISE;
    const figures = await fuzz(target, seed, (inputs) => inputs >= most);
    t.log(`${figures.inputs} inputs, ${figures.frames} frames from seed ${seed}`);
    t.is(figures.inputs, most);
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
