/**
 * The package as its users get it: packed, installed from the tarball into an empty folder, and run there by the oldest
 * Node.js that package.json names, the newest ones, and some that are too old. Needs a registry; the folder is removed.
 */

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { ROOT } from '../helpers/imports.ts';

type Context = ExecutionContext<unknown>;

/** Versions as npm resolves them; the first two are what `engines` begins with. */
const SUPPORTED = ['22.19.0', '24.6.0', '22', '24', '26'];
const TOO_OLD = ['18', '20', '22.18.0', '24.5.0'];
const OLDEST_TYPESCRIPT = '5.7.2';
const MODULE_SETTINGS = [
  ['nodenext', 'nodenext'],
  ['esnext', 'bundler'],
];

const FOLDER = mkdtempSync(join(tmpdir(), 'millrace-installed-'));
const APP = join(FOLDER, 'app');
const MILLRACE = join(APP, 'node_modules/millrace/dist/src/cli/millrace.js');
const PROGRAM = join(APP, 'program.mjs');

interface Ended {
  code: number;
  out: string;
  err: string;
}

/** Runs a program to its end, whatever its end is. */
async function run(cwd: string, file: string, ...args: string[]): Promise<Ended> {
  try {
    const { stdout, stderr } = await promisify(execFile)(file, args, { cwd, maxBuffer: 16 << 20 });
    return { code: 0, out: stdout, err: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, out: stdout, err: stderr };
  }
}

async function npm(t: Context, cwd: string, ...args: string[]): Promise<string> {
  const { code, out, err } = await run(
    cwd,
    'npm',
    ...args,
    '--no-audit',
    '--no-fund',
    '--no-update-notifier',
  );
  t.is(code, 0, err);
  return out;
}

/** Installs packages into a folder of its own, or into one that is there. */
async function install(t: Context, folder: string, ...packages: string[]): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const manifest = join(folder, 'package.json');
  if (!existsSync(manifest)) writeFileSync(manifest, '{"type":"module","private":true}');
  await npm(t, folder, 'install', '--ignore-scripts', ...packages);
}

/** The executable of a Node.js, by the package for this platform that npm's package `node` installs. */
async function nodeOf(t: Context, version: string): Promise<string> {
  const platform = process.platform === 'win32' ? 'win' : process.platform;
  const name = `node-${platform}-${process.arch}`;
  const folder = join(FOLDER, `node-${version}`);
  await install(t, folder, `${name}@${version}`);
  return join(folder, 'node_modules', name, 'bin', platform === 'win' ? 'node.exe' : 'node');
}

test.before('the tarball is installed into an empty folder', async (t) => {
  t.timeout(600_000);
  await npm(t, ROOT, 'run', 'build');
  const out = await npm(t, ROOT, 'pack', '--ignore-scripts', '--json', '--pack-destination', FOLDER);
  const [{ filename }] = Object.values(JSON.parse(out)) as { filename: string }[];
  await install(t, APP, join(FOLDER, filename));
  for (const name of ['program.mjs', 'lane.mjs', 'program.ts']) {
    writeFileSync(join(APP, name), readFileSync(join(import.meta.dirname, 'consumer', name)));
  }
  mkdirSync(join(APP, 'served'));
  for (let each = 0; each < 40; each++) {
    writeFileSync(join(APP, 'served', `${each}.txt`), `file ${each}\n`.repeat(100));
  }
});

test.after.always('nothing is left', () => rmSync(FOLDER, { recursive: true, force: true }));

/** `millrace serve`, asked and pulled from by `millrace call` and `pull`, and stopped as a service is. */
async function serveAndPull(t: Context, node: string, copy: string): Promise<void> {
  const server = spawn(node, [MILLRACE, 'serve', 'served', '--port', '0', '--workers', '1'], { cwd: APP });
  t.teardown(() => server.kill('SIGKILL'));
  const [line] = await once(createInterface({ input: server.stdout }), 'line');
  const address = / on (\S+) /.exec(line)?.[1] ?? line;
  const called = await run(APP, node, MILLRACE, 'call', address, 'files.get', 'path=7.txt');
  t.is(called.out, readFileSync(join(APP, 'served/7.txt'), 'utf8'), called.err);
  const pulled = await run(APP, node, MILLRACE, 'pull', address, copy, '--json');
  t.like(JSON.parse(pulled.out), { files: 40, failed: [] }, pulled.err);
  server.kill('SIGTERM');
  t.deepEqual(await once(server, 'exit'), [0, null]);
}

/** An experiment of two settings. */
async function experiment(t: Context, node: string, out: string): Promise<void> {
  const grid = [
    '--profile',
    'zstd-8mb',
    '--level',
    '1,3',
    '--streams',
    '1',
    '--workers',
    '1',
    '--rounds',
    '1',
  ];
  const args = ['experiment', 'served', ...grid, '--out', out];
  const { code, err } = await run(APP, node, MILLRACE, ...args);
  t.is(code, 0, err);
  const { cells } = JSON.parse(readFileSync(join(APP, out, 'results.json'), 'utf8'));
  t.true(cells.length >= 2);
  for (const cell of cells) t.is(cell.error, undefined);
}

for (const version of SUPPORTED) {
  test.serial(
    `Node.js ${version}: server, client in both codecs, lanes, command line, an experiment`,
    async (t) => {
      t.timeout(600_000);
      const node = await nodeOf(t, version);
      const { code, out, err } = await run(APP, node, PROGRAM);
      t.is(err, '');
      t.is(code, 0);
      t.deepEqual(JSON.parse(out), {
        native: 'hello river',
        portable: 'hello river',
        lane: 'a lane',
        lanes: 1,
      });
      const required = await run(APP, node, '-p', "typeof require('millrace/client').connect");
      t.is(required.out, 'function\n', required.err);
      await serveAndPull(t, node, `copy-${version}`);
      await experiment(t, node, `experiment-${version}`);
    },
  );
}

for (const version of TOO_OLD) {
  test.serial(`Node.js ${version} is told in one line that it is too old`, async (t) => {
    t.timeout(600_000);
    const node = await nodeOf(t, version);
    const says =
      /^millrace: this needs Node\.js 22\.19 or later 22\.x, or 24\.6 or later \(this is v[\d.]+\)\n$/;
    for (const entry of ['millrace', 'millrace/client']) {
      const code = `import('${entry}').catch((error) => console.log(error.message))`;
      const { out, err } = await run(APP, node, '-e', code);
      t.regex(out, says, err);
    }
    const { code, out, err } = await run(APP, node, MILLRACE, '--version');
    t.is(code, 2);
    t.is(out, '');
    t.regex(err, says);
  });
}

test.serial(`TypeScript ${OLDEST_TYPESCRIPT} takes the types with nothing skipped`, async (t) => {
  t.timeout(600_000);
  t.true(
    readFileSync(join(ROOT, 'README.md'), 'utf8').includes(`TypeScript: ${OLDEST_TYPESCRIPT.slice(0, 3)} or`),
  );
  await install(t, APP, `typescript@${OLDEST_TYPESCRIPT}`, '@types/node@22');
  for (const [module, resolution] of MODULE_SETTINGS) {
    const args = [
      '--strict',
      '--noEmit',
      '--skipLibCheck',
      'false',
      '--target',
      'es2022',
      '--module',
      module,
    ];
    const { code, out } = await run(
      APP,
      process.execPath,
      'node_modules/typescript/bin/tsc',
      ...args,
      '--moduleResolution',
      resolution,
      'program.ts',
    );
    t.is(code, 0, `${resolution}: ${out}`);
  }
});
