/** Figures as they are measured: a little of each here, more in measures.slow.ts. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { extraCodecs } from '../../src/encoding/extra.ts';
import { parseGrids } from '../../src/experiment/grid/grid.ts';
import { TestBed } from '../../src/experiment/measure/load.ts';
import { tempFolder } from '../files/helper.ts';
import { generated, run } from './helper.ts';

/** One small experiment, as it is run: figures of all kinds of settings, and of those that cannot be. */
test('figures agree with each other, failures are told, and what is recommended is checked in a server', async (t) => {
  const read = await generated('json900', 200_000);
  const out = join(tempFolder(t), 'x');
  const cells = parseGrids([
    { profile: 'identity', policy: 'single' },
    { policy: ['single', 'shared'] },
    { level: 99, policy: 'single' },
    { profile: 'lzma', policy: 'single' },
    { profile: 'zlib', tuning: 'records', policy: 'single' },
  ]);
  const { results, seen } = await run(read, { cells, out, check: true });
  t.deepEqual(
    results.cells.map(({ error }) => error?.slice(0, 22)),
    [
      undefined,
      undefined,
      undefined,
      'zstd level must be a w',
      "unknown profile 'lzma'",
      "zlib has no tuning 're",
    ],
  );
  t.is(seen.failed.length, 3);
  t.regex(readFileSync(join(out, 'report.html'), 'utf8'), /<h3>Failed<\/h3>/);
  const [plain, single, shared] = results.cells.map(({ measures }) => measures!);
  t.is(plain.wireBytes, read.workload.bytes + 8 * read.workload.responses.length);
  t.is(plain.contextBytes, 0);
  t.is(single.single.morePercent, 0);
  t.is(shared.single.wireBytes, single.wireBytes);
  t.true(shared.wireBytes > single.wireBytes && shared.single.morePercent > 0);
  t.true(single.ratio > 1.5 * single.http!.ratio);
  t.true(single.contextBytes > 200_000 && single.contextBytes < 4_000_000);
  t.is(shared.connectionBytes, 2 * shared.contextBytes);
  const ofCommands = single.commands.reduce((sum, row) => sum + row.wireBytes, 0);
  t.true(ofCommands < single.wireBytes, 'settings frames belong to no command');
  const [{ key, checked }] = results.recommendations;
  t.true(
    Math.abs(checked!.ratio / results.cells.find((each) => each.key === key)!.measures!.ratio - 1) < 0.02,
    `${checked!.ratio}`,
  );
  t.true(checked!.promised.compress.rounds.length >= 2);
});

test('a load whose requests fail says so, and so does one whose clients have gone', async (t) => {
  const { workload } = await generated('json900', 50_000);
  const bed = new TestBed({ workload, codecs: [extraCodecs], workers: 1, inFlight: 4 });
  const task = { port: 1, command: 'x', inFlight: 1, connections: [[0]], profiles: ['zlib'], codecs: [] };
  await t.throwsAsync(bed.ask(task), { message: /nothing listens there/ });
  await bed.close();
  await t.throwsAsync(bed.ask(task), { message: 'the clients have died' });
});
