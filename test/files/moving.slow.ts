/** All hands of moving.ts, and one that does not know what it does. */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pull } from '../../src/files/pull.ts';
import { linux } from '../helpers/linux.ts';
import { killed } from '../helpers/serving.ts';
import { ASKS, askUnderHand, CLIENT, HABITS, prepare, pullUnderHand, state } from './moving.ts';

for (const moved of ['a', 'a/b', '']) {
  for (const habit of Object.keys(HABITS)) {
    linux(`nothing is touched behind a link in the place of DEST/${moved} ${habit}`, async (t) => {
      await pullUnderHand(t, moved, habit);
    });
    linux(`nothing is told from behind a link in the place of ROOT/${moved} ${habit}`, async (t) => {
      for (const ask of ASKS) await askUnderHand(t, moved, habit, ask);
    });
  }
}

const PULLS = 400;

linux(
  `${PULLS} pulls beside a process that swaps folders as fast as it can touch nothing outside`,
  async (t) => {
    const { dest, victim } = prepare(t);
    const untouched = state(victim);
    const swapper = fork(fileURLToPath(new URL('./swapper.ts', import.meta.url)), [join(dest, 'a'), victim]);
    t.teardown(() => killed(swapper));
    await once(swapper, 'message');
    let bent = 0;
    // Where there is one core, they may never have met by then.
    for (let i = 0; i < PULLS || bent === 0; i++) {
      const { failed } = await pull(CLIENT, dest).catch(() => ({ failed: [] }));
      bent += failed.length;
      t.deepEqual(state(victim), untouched);
    }
    t.true(bent > 0);
  },
);
