/** Files read line by line: every line whole, wherever the pieces that are read are cut, and none too long in memory. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { linesOf } from '../../src/options/lines.ts';
import { tempFolder } from '../files/helper.ts';

/** What is read of a file at once. */
const CHUNK = 64 << 10;

async function read(path: string, maxBytes: number): Promise<(string | undefined)[]> {
  const lines: (string | undefined)[] = [];
  for await (const line of linesOf(path, maxBytes)) lines.push(line?.toString('latin1'));
  return lines;
}

test('lines end with LF or CR LF, the last one with the file', async (t) => {
  const path = join(tempFolder(t), 'lines');
  for (const [text, lines] of [
    ['', []],
    ['\n', ['']],
    ['a', ['a']],
    ['a\n', ['a']],
    ['a\r\n\r\nb', ['a', '', 'b']],
    ['a\rb\n\r', ['a\rb', '']],
  ] as const) {
    writeFileSync(path, text);
    t.deepEqual(await read(path, 100), lines);
  }
});

test('a line is whole wherever the pieces that are read are cut', async (t) => {
  const path = join(tempFolder(t), 'lines');
  for (const length of [CHUNK - 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK]) {
    const line = 'x'.repeat(length);
    writeFileSync(path, `${line}\r\n${line}\nend`);
    t.deepEqual(await read(path, length), [line, line, 'end']);
  }
});

test('a line over the limit is undefined, and a byte order mark counts as none of it', async (t) => {
  const path = join(tempFolder(t), 'lines');
  for (const length of [8, 9, 12, 3 * CHUNK]) {
    writeFileSync(path, `\ufeff${'x'.repeat(length)}\r\n${'y'.repeat(length)}\nend`);
    const whole = length <= 8;
    t.deepEqual(await read(path, 8), [
      whole ? 'x'.repeat(length) : undefined,
      whole ? 'y'.repeat(length) : undefined,
      'end',
    ]);
  }
});
