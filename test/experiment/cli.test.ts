/** `millrace experiment`, and what `serve` has to do with it, in this process. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { readResults } from '../../src/experiment/results/results.ts';
import { isOneLine, millrace, run, serve, until } from '../cli/helper.ts';
import { tempFolder } from '../files/helper.ts';

const QUICK = ['experiment', 'generate:json900', '--sample-bytes', '50K', '--rounds', '1', '--jobs', '1'];
const FEW = [...QUICK, '--policy', 'single'];

test.serial('an experiment is run, gone on with, and served from', async (t) => {
  const out = join(tempFolder(t), 'results');
  const first = await millrace(...FEW, '--out', out, '--level', '1', '--json');
  t.is(first.code, 0, first.err);
  t.regex(first.err, /^in a server of its own: zstd-8mb, level 1, single$/m);
  const [{ aim, flags, checked }] = JSON.parse(first.out);
  t.true(checked.ratio > 1);
  t.is(aim, 'balanced');
  t.is(flags, '--profile zstd-8mb --level 1 --policy single');

  isOneLine(t, await millrace(...FEW, '--out', out, '--level', '1,3'), 1, /go on with --resume/);
  const resumed = await millrace(...FEW, '--out', out, '--level', '1,3,99', '--resume', '--no-check');
  t.is(resumed.code, 0, resumed.err);
  t.regex(resumed.err, /^zstd-8mb, level 99, single: /m);
  t.regex(resumed.out, /^3 settings on \d+ responses, 1 failed\n/);
  t.regex(resumed.out, /millrace serve DIR --profile/);
  t.is(readResults(join(out, 'results.json')).cells.length, 3);

  const from = ['--profile-from', join(out, 'results.json'), '--aim', 'cpu'];
  const { address, seen, signals, ended } = await serve(
    t,
    { 'a.txt': 'text' },
    ...from,
    '--record',
    join(out, 'capture'),
  );
  t.regex(seen.out, /policy single, zstd-8mb\)/);
  t.is((await millrace('call', address, 'files.get', 'path=a.txt')).out, 'text');
  signals.emit('SIGTERM', 'SIGTERM');
  t.regex((await ended).out, /recorded 1 response, /);
});

test.serial('with --json what else there is to say goes to standard error', async (t) => {
  const folder = tempFolder(t);
  const source = join(folder, 'same.jsonl');
  writeFileSync(source, '{"all":"the same"}\n'.repeat(20));
  const args = ['--level', '1', '--policy', 'single', '--dictionaries', 'none,4K', '--no-check', '--json'];
  const budget = ['--connections', '1000', '--context-budget', '1K'];
  const out = join(folder, 'x');
  const { out: said, err } = await millrace('experiment', source, '--out', out, ...args, ...budget);
  t.true(JSON.parse(said).length > 0);
  t.regex(err, /^millrace: Settings with these dictionaries were left out: of 4K: /m);
  t.regex(err, /^millrace: Fewest bytes at .* no setting that was tried keeps within it/m);
});

test.serial('a stop leaves a folder to go on with', async (t) => {
  const out = join(tempFolder(t), 'results');
  const journal = join(out, 'journal.jsonl');
  const linesOf = () => readFileSync(journal, { encoding: 'utf8', flag: 'a+' }).trim().split('\n').length;
  const { signals, ended, said } = run([...QUICK, '--out', out, '--level', '1', '--streams', '1..12']);
  await said('err', / of 12 settings/);
  await until(() => linesOf() >= 2);
  signals.emit('SIGINT', 'SIGINT');
  const { code, err } = await ended;
  t.is(code, 130);
  t.regex(err, /^millrace: stopped; .*--resume/m);
  const { cells } = readResults(join(out, 'results.json'));
  t.true(cells.length >= 1 && cells.length < 12, `${cells.length}`);
  t.is(linesOf(), 1 + cells.length);
});

test.serial('what cannot be asked for is one line and exit code 2', async (t) => {
  const folder = tempFolder(t);
  const grid = join(folder, 'grid.yaml');
  writeFileSync(grid, 'grids:\n  - level: [a]\n');
  const wrong: [string[], RegExp][] = [
    [['experiment', 'generate:json900', '--grid', grid], /grid\.yaml: grids\.0\.level/],
    [['experiment', 'generate:json900', '--grid', grid, '--level', '1'], /cannot be used with/],
    [['experiment', 'generate:json900', '--level', '9..1'], /--level: .*a range that goes up/],
    [['experiment', 'generate:json900', '--window-log', '99'], /--window-log: /],
    [['experiment', 'generate:json900', '--links', '1M,fast'], /speeds in bit\/s/],
    [['experiment'], /missing required argument/],
    [['serve', folder, '--profile-from', grid], /grid\.yaml/],
    [['serve', folder, '--profile-from', grid, '--level', '1'], /cannot be used with/],
    [['serve', folder, '--profile-from', grid, '--tuning', 'records'], /cannot be used with/],
  ];
  for (const [args, message] of wrong) isOneLine(t, await millrace(...args), 2, message);
});
