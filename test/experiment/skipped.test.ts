/** Folders in which something cannot be read: the rest is the traffic, and what is left out is named. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { readResults } from '../../src/experiment/results/results.ts';
import { readSources } from '../../src/experiment/traffic/sources.ts';
import { fill, tempFolder } from '../files/helper.ts';
import { CELL, run } from './helper.ts';

const OPTIONS = { maxBytes: 1 << 20, seed: 1 };
const GOOD = Object.fromEntries(
  Array.from({ length: 20 }, (_, i) => [`d${i % 3}/f${i}.txt`, `${i} `.repeat(99)]),
);

test('a folder with things that cannot be read is the traffic of all others', async (t) => {
  const folder = tempFolder(t);
  fill(folder, GOOD);
  const good = await readSources([folder], OPTIONS);
  t.deepEqual(good.skipped, []);
  writeFileSync(join(folder, 'disk.img'), '');
  truncateSync(join(folder, 'disk.img'), 3 * 2 ** 30);
  writeFileSync(join(folder, 'larger'), Buffer.alloc(OPTIONS.maxBytes + 1));
  writeFileSync(Buffer.concat([Buffer.from(`${folder}/caf`), Buffer.from([0xe9])]), 'x');
  mkdirSync(Buffer.concat([Buffer.from(`${folder}/folder`), Buffer.from([0xe9])]));
  execFileSync('mkfifo', [join(folder, 'd1/fifo')]);
  symlinkSync('nowhere', join(folder, 'broken'));
  const read = await readSources([folder], OPTIONS);
  t.is(read.workload.responses.length, 20);
  t.is(read.workload.bytes, good.workload.bytes);
  const large = `larger than the ${OPTIONS.maxBytes} bytes that are taken of its source`;
  t.deepEqual(Object.fromEntries(read.skipped.map(({ path, error }) => [path, error])), {
    [join(folder, 'disk.img')]: large,
    [join(folder, 'larger')]: large,
    [join(folder, 'caf\ufffd')]: 'the name is not UTF-8',
    [join(folder, 'folder\ufffd')]: 'the name is not UTF-8',
    [join(folder, 'd1/fifo')]: 'not a file',
  });
});

test('the results and the report name what is not part of the traffic', async (t) => {
  const folder = tempFolder(t);
  fill(folder, GOOD);
  writeFileSync(join(folder, '<huge>'), Buffer.alloc(OPTIONS.maxBytes + 1));
  const out = join(tempFolder(t), 'out');
  await run(await readSources([folder], OPTIONS), { out, cells: [CELL] });
  const { skipped, skippedCount } = readResults(join(out, 'results.json'));
  t.is(skippedCount, 1);
  t.is(skipped![0].path, join(folder, '<huge>'));
  t.regex(readFileSync(join(out, 'report.html'), 'utf8'), /<li>[^<]*&#60;huge&#62;: larger than the/);
});

test('where there are only files larger than what is to be taken, the smallest is', async (t) => {
  const folder = tempFolder(t);
  fill(folder, { large: 'x'.repeat(300), larger: 'x'.repeat(400), empty: '' });
  const { workload, skipped } = await readSources([folder], { maxBytes: 100, seed: 1 });
  t.is(workload.bytes, 300);
  t.deepEqual(
    skipped.map(({ path }) => path),
    [join(folder, 'larger')],
  );
});

test('a folder of which nothing can be taken is an error that says why', async (t) => {
  const folder = tempFolder(t);
  writeFileSync(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xe9])]), 'x');
  await t.throwsAsync(readSources([folder], OPTIONS), {
    message: `nothing is left to take: ${folder}/\ufffd: the name is not UTF-8`,
  });
});
