/** `millrace pull` as a build makes it: one module. */

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { bundle } from '../../release/bundle.ts';
import { createServer } from '../../src/index.ts';
import { contents, fill, tempFolder } from '../files/helper.ts';
import { ROOT } from '../helpers/imports.ts';

const run = promisify(execFile);
const SOURCE = join(ROOT, 'src/cli/millrace.ts');

test('the bundle pulls what is served, says of itself what the source says, and loads no file of ours', async (t) => {
  const folder = tempFolder(t);
  const [root, module] = [join(folder, 'root'), join(folder, 'pull.cjs')];
  fill(root, { 'a/1': 'one', 'a/2': 'two', long: Buffer.alloc(700_000, 'long') });
  await bundle(module);
  await using server = createServer({ root, workers: 1 });
  const address = await server.listen({ host: '127.0.0.1', port: 0 });
  const start = `require(${JSON.stringify(module)}).main(['node', 'millrace', ...process.argv.slice(1)])
    .then((code) => { process.exitCode = code; console.error(Object.keys(require.cache).length); })`;
  const ask = (...args: string[]) => run(process.execPath, ['-e', start, '--', 'pull', ...args]);

  const port = 'port' in address ? address.port : 0;
  const pulled = await ask(`127.0.0.1:${port}`, join(folder, 'copy'), '--json');
  t.like(JSON.parse(pulled.stdout), { files: 3, failed: [] });
  t.is(pulled.stderr.trim(), '1', 'modules that it has loaded, itself among them');
  t.deepEqual(contents(join(folder, 'copy')), contents(root));

  const { stdout } = await run(process.execPath, ['--no-warnings', SOURCE, 'pull', '--help']);
  t.is((await ask('--help')).stdout, stdout);
  t.true(readFileSync(module, 'utf8').includes('Copyright (c) 2011 TJ Holowaychuk'));
});
