/** Every fuzz target for some seconds, from a seed of its own each time. */

import test from 'ava';
import { allTargets } from './all.ts';
import { fuzz, randomSeed } from './target.ts';

const SECONDS = 8;

const targets = allTargets();
for (const target of targets) {
  test.serial(`${target.name} holds for ${SECONDS} seconds of inputs`, async (t) => {
    const seed = randomSeed();
    const end = performance.now() + 1000 * SECONDS;
    const figures = await fuzz(target, seed, (inputs) => inputs > 0 && performance.now() > end);
    t.log(`${figures.inputs} inputs, ${figures.frames} frames from seed ${seed}`);
    t.true(figures.inputs > 0);
  });
}

test.after.always(() => Promise.all(targets.map((target) => target.close?.())));
