import test from 'ava';
import { runChaos } from './chaos.ts';

for (let seed = 10; seed < 16; seed++) {
  test(`servers that die, drain and come back under 5 000 calls, seed ${seed}`, async (t) => {
    t.timeout(600_000);
    const counts = await runChaos(t, {
      seed,
      calls: 5000,
      callers: 40,
      sites: 3,
      callsPerEvent: 40,
      circuits: seed % 2 === 1,
    });
    t.log(counts);
    t.true(counts.answered > 2000);
    t.true(counts.twice > 0, 'some were sent again');
  });
}
