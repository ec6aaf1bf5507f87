/** readme.test.ts runs the README's sample; this compiles it, as a user's project does. */

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { ROOT } from '../helpers/imports.ts';
import { blocks } from '../helpers/readme.ts';

test('the sample passes the strictest check of types, with nothing set up', async (t) => {
  // Below the checkout, so that types of Node.js are found as beside an installed package.
  const folder = mkdtempSync(join(ROOT, 'node_modules/.millrace-types-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const tsc = (...args: string[]) =>
    promisify(execFile)(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), ...args], {
      cwd: folder,
    }).catch(({ stdout }) => t.fail(stdout));
  await tsc('-p', join(ROOT, 'tsconfig.build.json'), '--emitDeclarationOnly', '--outDir', 'dist');
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  writeFileSync(join(folder, 'sample.ts'), blocks('ts')[0].replace("'millrace'", "'./dist/src/index.js'"));
  await tsc(
    '--strict',
    '--noEmit',
    '--ignoreConfig',
    '--module',
    'nodenext',
    '--target',
    'es2023',
    'sample.ts',
  );
  t.pass();
});
