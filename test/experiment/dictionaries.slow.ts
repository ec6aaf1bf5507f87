/** Experiments with dictionaries as they are run: exact to the byte in a server, on workers, and from the command line. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { parseDictionary } from '../../src/encoding/dictionary/format.ts';
import { parseGrids } from '../../src/experiment/grid/grid.ts';
import { queueRunner } from '../../src/experiment/queue.ts';
import { readResults } from '../../src/experiment/results/results.ts';
import { runExperiment } from '../../src/experiment/run.ts';
import { millrace, run as runCli, serve } from '../cli/helper.ts';
import { tempFolder } from '../files/helper.ts';
import { generated, listener, run, SETTINGS } from './helper.ts';
import { startRedis, withRedis } from './redis.ts';

const CELLS = parseGrids([
  { policy: 'single', contexts: ['kept', 'none'], dictionaries: ['none', '4K', '16K'] },
]);

test('dictionaries are the same in every run, and a run goes on with more of them', async (t) => {
  const read = await generated('mixed', 600_000);
  const folder = tempFolder(t);
  const first = await run(read, { cells: CELLS, out: join(folder, 'one') });
  t.deepEqual(first.seen.failed, []);
  const fewer = CELLS.filter(({ dictionary }) => dictionary !== 16_384);
  const out = join(folder, 'two');
  await run(read, { cells: fewer, out });
  const { results } = await run(read, { cells: CELLS, out, resume: true });
  const figures = ({ cells }: typeof results) =>
    cells.map(({ key, measures }) => [key, measures!.wireBytes, measures!.dictionaryBytes]);
  t.deepEqual(figures(results), figures(first.results));
  for (const name of ['4K.dict', '16K.dict'])
    t.deepEqual(readFileSync(join(out, name)), readFileSync(join(folder, 'one', name)));
  // What was measured on all of the traffic is no part of this.
  const plain = CELLS.filter(({ dictionary }) => dictionary === undefined);
  await t.throwsAsync(run(read, { cells: plain, out, resume: true }), { message: /it differs in training/ });
});

test('a server with the recommended dictionary sends what was promised, and a memory budget leads to no contexts', async (t) => {
  const read = await generated('json900', 1_000_000);
  const budget = { connections: 1000, memoryBytes: 64 << 20 };
  const { results } = await run(read, { cells: CELLS, out: join(tempFolder(t), 'x'), check: true, budget });
  for (const { aim, key, cell, checked } of results.recommendations) {
    const { measures } = results.cells.find((each) => each.key === key)!;
    t.true(
      Math.abs(checked!.ratio / measures!.ratio - 1) < 0.002,
      `${key}: ${checked!.ratio} of ${measures!.ratio}`,
    );
    if (aim === 'connections' || aim === 'memory') t.is(cell.contexts, 'none');
  }
  const of = (dictionary: number | undefined, contexts: 'none' | undefined) =>
    results.cells.find(({ cell }) => cell.dictionary === dictionary && cell.contexts === contexts)!.measures!;
  // Without a context a dictionary gains most of what one is kept for.
  t.true(of(16_384, 'none').ratio > 2 * of(undefined, 'none').ratio);
  t.true(of(16_384, undefined).ratio > of(undefined, undefined).ratio);
});

test('the flags that are recommended can be pasted', async (t) => {
  const out = join(tempFolder(t), 'my results');
  const wanted = ['--policy', 'single', '--dictionaries', '4K', '--contexts', 'none'];
  const quick = ['--sample-bytes', '200K', '--rounds', '1', '--jobs', '1', '--no-check'];
  const ended = await millrace('experiment', 'generate:json900', ...quick, ...wanted, '--out', out);
  t.is(ended.code, 0, ended.err);
  const file = join(out, '4K.dict');
  t.notThrows(() => parseDictionary(readFileSync(file)));
  t.true(ended.out.includes(`--dictionary '${file}' --contexts none`), ended.out);
  for (const flags of [
    ['--profile', 'zstd-8mb', '--dictionary', file, '--contexts', 'none'],
    ['--profile-from', join(out, 'results.json'), '--aim', 'bytes'],
  ]) {
    const { address, signals, ended: served } = await serve(t, { 'a.txt': 'text' }, ...flags);
    t.is((await millrace('call', address, 'files.get', 'path=a.txt')).out, 'text');
    signals.emit('SIGTERM', 'SIGTERM');
    t.is((await served).code, 0);
  }
  const both = await millrace(
    'serve',
    out,
    '--profile-from',
    join(out, 'results.json'),
    '--contexts',
    'kept',
  );
  t.is(both.code, 2);
  t.regex(both.err, /cannot be used with/);
});

withRedis('workers get dictionaries with the traffic', async (t) => {
  const url = await startRedis(t);
  const worker = runCli(['experiment-worker', url]);
  const read = await generated('json900', 200_000);
  const out = join(tempFolder(t), 'x');
  const { events } = listener();
  const settings = { ...SETTINGS, cells: CELLS, out };
  const far = await runExperiment(read, settings, events, (options) => queueRunner(url, options));
  const near = await run(read, { cells: CELLS, out: join(out, 'near') });
  t.deepEqual(
    far.cells.map(({ measures }) => measures?.wireBytes),
    near.results.cells.map(({ measures }) => measures?.wireBytes),
  );
  t.true(readResults(join(out, 'results.json')).cells.every(({ host }) => host !== undefined));
  worker.signals.emit('SIGTERM', 'SIGTERM');
  t.like(await worker.ended, { code: 0, err: '' });
});
