/** An example is a program that ends, and says in its last comment what it prints. */

import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ExecutionContext } from 'ava';
import { ROOT } from '../helpers/imports.ts';

const EXAMPLES = join(ROOT, 'examples');
const PRELOADED = new URL('../helpers/from-source.ts', import.meta.url).href;
const run = promisify(execFile);

export const PROGRAMS = readdirSync(EXAMPLES).filter((name) => !name.endsWith('-handlers.ts'));

/** The shortest ones of each kind: what the fast tests run. */
export const FAST = ['hello.ts', 'lanes.ts'];

export async function printsWhatItSays(t: ExecutionContext, name: string): Promise<void> {
  const path = join(EXAMPLES, name);
  const [, said = ''] = readFileSync(path, 'utf8').split('\n// prints:\n');
  const { stdout, stderr } = await run(process.execPath, ['--import', PRELOADED, path]);
  t.is(stdout.trim(), said.replace(/^\/\/ /gm, '').trim());
  t.not(said.trim(), '');
  t.is(stderr, '');
}
