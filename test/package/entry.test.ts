import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import * as client from '../../src/client.ts';
import * as everything from '../../src/index.ts';
import { nodeProblem } from '../../src/node-version.ts';
import { codeOf, importsOf, loadedBy, ROOT } from '../helpers/imports.ts';

const run = promisify(execFile);
const FOR_NODE = ['src/index.ts', 'src/client.ts'];

/** Prints the packages whose files are read by importing the module that is named. */
const LOADED = `
const { registerHooks } = require('node:module');
const packages = new Set();
registerHooks({
  load(url, context, next) {
    const name = /node_modules\\/((?:@[^/]+\\/)?[^/]+)\\/(?!.*node_modules)/.exec(url)?.[1];
    if (name !== undefined) packages.add(name);
    return next(url, context);
  },
});
import(process.argv[1]).then(() => console.log([...packages].sort().join(' ')));`;

async function packagesOf(entry: string): Promise<string> {
  const { stdout } = await run(process.execPath, ['-e', LOADED, join(ROOT, entry)]);
  return stdout.trim();
}

test('the library loads what a server cannot do without: none of WebSockets, of the command line and of experiments', async (t) => {
  t.is(await packagesOf('src/index.ts'), 'lru-cache piscina');
});

test('nothing imports node:http, which would load a WebSocket client of its own at each start', (t) => {
  t.false(loadedBy(['src/index.ts', 'src/cli/main.ts']).has('node:http'));
});

test('a client loads no package', async (t) => {
  t.is(await packagesOf('src/client.ts'), '');
  t.is(await packagesOf('src/browser.ts'), '', 'a page loads it when it asks for zlib');
});

test('no server is loaded with a client', (t) => {
  const server = /^src\/(server|lanes|capture|experiment|cli)\/|^workers\//;
  t.deepEqual(
    [...loadedBy(['src/client.ts'])].filter((module) => server.test(module)),
    [],
  );
});

test('the library has all that the client has', (t) => {
  for (const [name, value] of Object.entries(client)) {
    t.is((everything as Record<string, unknown>)[name], value, name);
  }
});

test('the entries for Node.js look at its version before anything else', (t) => {
  for (const entry of FOR_NODE) t.is(importsOf(entry)[0].to, 'src/require-node.ts');
  // A name that an old Node does not have would end the import before any of it runs.
  for (const module of ['src/require-node.ts', 'src/node-version.ts']) {
    t.notRegex(codeOf(module), /import \{[^}]*\} from 'node:/);
  }
});

test('releases of Node.js that lack something we use are refused in one line', (t) => {
  for (const version of ['18.20.8', '20.19.5', '22.15.0', '22.18.0', '23.11.0', '24.5.0', '9.0.0']) {
    t.regex(
      nodeProblem(version) ?? '',
      /^this needs Node\.js 22\.19 or later .*\(this is v[\d.]+\)$/,
      version,
    );
  }
  for (const version of ['22.19.0', '22.20.1', '24.6.0', '24.21.0', '25.0.0', '26.10.0']) {
    t.is(nodeProblem(version), undefined, version);
  }
});

test('a runtime that lacks something of its version is told what', async (t) => {
  const lacking = (what: string) =>
    t.throwsAsync(
      run(process.execPath, ['-e', `${what}; import(process.argv[1])`, join(ROOT, 'src/client.ts')]),
    );
  t.regex(
    (await lacking('process.threadCpuUsage = undefined')).message,
    /with process\.threadCpuUsage, which/,
  );
  t.regex(
    (await lacking("Object.defineProperty(zlib, 'createZstdCompress', { value: null })")).message,
    /with zstd in node:zlib, which/,
  );
});

test('package.json asks for the same releases', (t) => {
  const { engines } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const oldest = [...engines.node.matchAll(/\d+\.\d+\.\d+/g)].map(([version]) => version);
  t.deepEqual(oldest, ['22.19.0', '24.6.0']);
  for (const version of oldest) {
    t.is(nodeProblem(version), undefined);
    t.truthy(nodeProblem(version.replace(/\.(\d+)\./, (_all: string, minor: string) => `.${+minor - 1}.`)));
  }
});

test('where zlib has no handles as we know them, minizlib takes their place', async (t) => {
  const code = `
    import zlib from 'node:zlib';
    for (const name of ['createZstdCompress', 'createDeflate']) Object.defineProperty(zlib, name, { value: () => ({}) });
    const { nativeCodecs } = await import(process.argv[1]);
    console.log(nativeCodecs().map(({ implementation }) => implementation).join(' '));`;
  const args = ['--input-type=module', '-e', code, join(ROOT, 'src/encoding/native.ts')];
  t.regex((await run(process.execPath, args)).stdout, /^minizlib minizlib /);
});
