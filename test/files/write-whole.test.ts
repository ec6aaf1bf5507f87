import { execFileSync } from 'node:child_process';
import { lstatSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { writeWhole } from '../../src/files/write-whole.ts';
import { tempFolder } from './helper.ts';

test('a result takes the place of the file that was there, and leaves nothing beside it', (t) => {
  const folder = tempFolder(t);
  const file = join(folder, 'results.json');
  writeWhole(file, 'first');
  writeWhole(file, 'second');
  t.is(readFileSync(file, 'utf8'), 'second');
  t.deepEqual(readdirSync(folder), ['results.json']);
});

test('what is no file is never replaced by one, also behind a link', (t) => {
  const folder = tempFolder(t);
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const link = join(folder, 'link');
  symlinkSync('fifo', link);
  for (const place of [fifo, link]) {
    t.throws(() => writeWhole(place, 'x'), { message: `cannot write ${place}: not a file` });
    t.false(lstatSync(place).isFile());
  }
  t.true(lstatSync(fifo).isFIFO());
  t.true(lstatSync(link).isSymbolicLink());
  t.deepEqual(readdirSync(folder).sort(), ['fifo', 'link']);
});

test('of a link it is the target that is written', (t) => {
  const folder = tempFolder(t);
  const target = join(folder, 'target');
  writeFileSync(target, 'before');
  const link = join(folder, 'link');
  symlinkSync('target', link);
  writeWhole(link, 'after');
  t.is(readFileSync(target, 'utf8'), 'after');
  t.true(lstatSync(link).isSymbolicLink());
});
