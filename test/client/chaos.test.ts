// Servers come and go under a pool's calls: see chaos.ts; chaos.slow.ts does it for longer.

import test from 'ava';
import { runChaos } from './chaos.ts';

test('servers that die, drain and come back: every call ends once, and runs twice only where it may', async (t) => {
  const counts = await runChaos(t, {
    seed: 1,
    calls: 300,
    callers: 20,
    sites: 2,
    callsPerEvent: 25,
    circuits: false,
  });
  t.log(counts);
  t.true(counts.answered > 150);
});
