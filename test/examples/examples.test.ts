/** Each example is run, and prints what it says that it prints. */

import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { ROOT } from '../helpers/imports.ts';

const EXAMPLES = join(ROOT, 'examples');
const PRELOADED = new URL('../helpers/from-source.ts', import.meta.url).href;
const run = promisify(execFile);

const programs = readdirSync(EXAMPLES).filter((name) => !name.endsWith('-handlers.ts'));

test('there is an example of everything that the README sends people here for', (t) => {
  for (const name of ['hello', 'lanes', 'upload', 'authorize', 'gateway', 'records', 'fastify', 'express'])
    t.true(programs.includes(`${name}.ts`), name);
});

for (const name of programs) {
  test.serial(`examples/${name} prints what it says`, async (t) => {
    const path = join(EXAMPLES, name);
    const [, said = ''] = readFileSync(path, 'utf8').split('\n// prints:\n');
    const { stdout, stderr } = await run(process.execPath, ['--import', PRELOADED, path]);
    t.is(stdout.trim(), said.replace(/^\/\/ /gm, '').trim());
    t.not(said.trim(), '');
    t.is(stderr, '');
  });
}
