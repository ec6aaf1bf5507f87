/** `millrace experiment` as a process of its own, with traffic that it has recorded itself. */

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { readResults } from '../../src/experiment/results/results.ts';
import { addressOf, MILLRACE, start, until } from '../cli/helper.ts';
import { tempFolder } from '../files/helper.ts';

interface Ended {
  code: number;
  out: string;
  err: string;
}

function millrace(...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MILLRACE, ...args], (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

const QUICK = ['experiment', 'generate:json900', '--sample-bytes', '100K', '--rounds', '1', '--jobs', '1'];

test('an experiment is run, gone on with, and served from', async (t) => {
  const folder = tempFolder(t);
  const out = join(folder, 'results');
  const first = await millrace(...QUICK, '--out', out, '--level', '1,3', '--policy', 'single', '--json');
  t.is(first.code, 0, first.err);
  const [{ aim, flags, checked }] = JSON.parse(first.out);
  t.is(aim, 'balanced');
  t.regex(flags, /^--profile zstd-8mb --level [13] --policy single$/);
  t.true(checked.ratio > 1);

  const again = await millrace(...QUICK, '--out', out, '--level', '1,3,5', '--no-check');
  t.is(again.code, 1);
  t.regex(again.err, /^millrace: .*go on with --resume/);
  const resumed = await millrace(
    ...QUICK,
    '--out',
    out,
    '--level',
    '1,3,5',
    '--policy',
    'single',
    '--resume',
    '--no-check',
  );
  t.is(resumed.code, 0, resumed.err);
  t.regex(resumed.out, /^3 settings on \d+ responses\n/);
  t.regex(resumed.out, /millrace serve DIR --profile/);
  t.is(readResults(join(out, 'results.json')).cells.length, 3);

  const record = join(folder, 'capture');
  const from = ['--profile-from', join(out, 'results.json'), '--aim', 'cpu', '--record', record];
  const server = start(t, ['serve', out, '--port', '0', ...from]);
  const address = await addressOf(server);
  t.regex(server.seen.out, /policy single, zstd-8mb\)/);
  t.is(
    (await millrace('call', address, 'files.get', 'path=results.csv')).out,
    readFileSync(join(out, 'results.csv'), 'utf8'),
  );
  server.child.kill('SIGTERM');
  t.regex((await server.ended).out, /recorded 1 response, /);
  const captured = await millrace(
    'experiment',
    record,
    '--out',
    join(folder, 'more'),
    '--level',
    '1',
    '--no-check',
  );
  t.is(captured.code, 0, captured.err);
});

/** More settings than any machine is through with before somebody looks. */
const MANY = ['--level', '1..19', '--streams', '1..12'];

function linesOf(file: string): string[] {
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
}

test('a stop leaves a folder to go on with', async (t) => {
  const out = join(tempFolder(t), 'results');
  const journal = join(out, 'journal.jsonl');
  const { child, ended } = start(t, [...QUICK, '--out', out, ...MANY]);
  await until(() => linesOf(journal).length >= 3 || child.exitCode !== null);
  child.kill('SIGINT');
  const { code, err } = await ended;
  t.is(code, 130, err);
  t.regex(err, /^millrace: stopped; .*--resume/m);
  const { cells } = readResults(join(out, 'results.json'));
  t.true(cells.length >= 1 && cells.length < 19 * 12);
  t.is(linesOf(journal).filter((line) => line !== '').length, 1 + cells.length);
});

test('an experiment goes on when nobody reads how far it is', async (t) => {
  const out = join(tempFolder(t), 'results');
  const child = spawn(process.execPath, [MILLRACE, ...QUICK, '--out', out, '--level', '1', '--no-check']);
  t.teardown(() => child.kill('SIGKILL'));
  child.stderr.destroy();
  child.stdout.resume();
  t.deepEqual(await once(child, 'close'), [0, null]);
  t.is(readResults(join(out, 'results.json')).cells.length, 1);
});
