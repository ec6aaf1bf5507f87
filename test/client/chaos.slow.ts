import test from 'ava';
import { runChaos } from './chaos.ts';

for (const seed of [10, 11, 12]) {
  test(`servers that die, drain and come back under 5 000 calls, seed ${seed}`, async (t) => {
    t.timeout(600_000);
    const circuits = seed % 2 === 1;
    const counts = await runChaos(t, {
      seed,
      calls: 5000,
      callers: 40,
      sites: 3,
      callsPerEvent: 40,
      circuits,
    });
    t.log(counts);
    // Where circuits are open, calls fail as fast as they are made: how many then are answered is chance.
    t.true(counts.answered > (circuits ? 0 : 2000));
    t.true(counts.twice > 0, 'some were sent again');
  });
}
