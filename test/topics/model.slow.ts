/** The model of model.ts by many seeds. */

import test from 'ava';
import { play } from './model.ts';

const SEEDS = Number(process.env.MILLRACE_SEEDS ?? 40);
const FIRST = Number(process.env.MILLRACE_SEED ?? 1);

for (let seed = FIRST; seed < FIRST + SEEDS; seed++)
  test.serial(
    `whatever happens to a topic, nobody misses a message unannounced, by seed ${seed}`,
    async (t) => {
      const { read } = await play(t, seed, 400);
      t.true(read > 0);
    },
  );
