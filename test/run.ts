/**
 * `npm test`: types, lint, then all fast tests, or those that the arguments name. With `--slow` the slow tests alone,
 * one file at a time; with `--coverage` the fast ones, and how much of src and workers they run. Everything that is
 * printed is the tools' own, but for the names of what failed and the last line: `N passed, N failed`, types and lint
 * counting as one each.
 */

import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const CACHE = join(ROOT, 'node_modules/.cache');
const COVERAGE = join(CACHE, 'coverage');

/** Our own flags; all others, and names of files, are ava's. */
const FLAGS = ['--slow', '--coverage'];
const [slow, coverage] = FLAGS.map((flag) => process.argv.includes(flag));
const args = process.argv.slice(2).filter((arg) => !FLAGS.includes(arg));

const AVA = 'node_modules/ava/entrypoints/cli.mjs';
const FAST_FILES = ['test/**/*.test.ts'];
/** What is slow may take its time, and all of the machine. */
const SLOW = ['--concurrency', '1', '--timeout', '20m'];
const SLOW_FILES = ['test/**/*.slow.ts'];
const REPORT = [
  ...['report', '--temp-directory', COVERAGE, '--reporter', 'text', '--all'],
  ...['--include', 'src/**', '--include', 'workers/**'],
];

let passed = 0;
const failures: string[] = [];

/** Runs a package's command under our own runtime, whatever the machine's is; resolves with its exit code. */
function run(script: string, args: readonly string[], onLine?: (line: string) => void): Promise<number> {
  const stdout = onLine === undefined ? 'inherit' : 'pipe';
  const child = spawn(process.execPath, [script, ...args], {
    cwd: ROOT,
    env: environment(onLine !== undefined),
    stdio: ['ignore', stdout, 'inherit'],
  });
  const lines = child.stdout && createInterface({ input: child.stdout });
  lines?.on('line', (line) => {
    console.log(line);
    onLine?.(line);
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
  });
}

/** Tests start Node hundreds of times: what is compiled already is a quarter of that. It would blur the coverage. */
function environment(isTests: boolean): NodeJS.ProcessEnv {
  if (!isTests) return process.env;
  if (coverage) return { ...process.env, NODE_V8_COVERAGE: COVERAGE, NODE_DISABLE_COMPILE_CACHE: '1' };
  return { NODE_COMPILE_CACHE: join(CACHE, 'compiled'), ...process.env };
}

async function check(name: string, script: string, args: readonly string[]): Promise<void> {
  console.log(`# ${name}`);
  if ((await run(script, args)) === 0) passed++;
  else failures.push(name);
}

const PASSED = /^ {2}[✔√] /;
/** A failed test; a file that could not be run; a test that was pending when time was up. */
const FAILED = /^ {2}(?:[✘×] (?:\[fail\]: )?(?!Timed out while)|◌ )(.*)/;
const CRASHED = /^ {2}((?:Uncaught exception|Unhandled rejection) in .*)/;

/** Counts results in ava's report. (Its TAP would be easier to read, but breaks off when a test times out.) */
function count(line: string): void {
  const plain = stripVTControlCharacters(line);
  const failed = FAILED.exec(plain) ?? CRASHED.exec(plain);
  if (failed !== null) failures.push(failed[1]);
  else if (PASSED.test(plain)) passed++;
}

async function tests(args: readonly string[]): Promise<void> {
  console.log('# tests');
  const failedBefore = failures.length;
  const code = await run(AVA, args, count);
  // A test file that cannot even be loaded, or a run in which there was none, has no line of its own.
  if (code !== 0 && failures.length === failedBefore) failures.push(`ava, which ended with code ${code}`);
}

// What an earlier run has left counts for nothing.
if (coverage) rmSync(COVERAGE, { recursive: true, force: true });
const files = args.length > 0 ? args : slow ? SLOW_FILES : FAST_FILES;

if (slow) await tests([...SLOW, ...files]);
else {
  await check('types', 'node_modules/typescript/bin/tsc', ['-p', 'tsconfig.json']);
  await check('types of the page', 'node_modules/typescript/bin/tsc', ['-p', 'src/page/tsconfig.json']);
  await check('lint', 'node_modules/@biomejs/biome/bin/biome', ['check', '--error-on-warnings', '.']);
  await tests(files);
}
if (coverage) await run('node_modules/c8/bin/c8.js', REPORT);

for (const name of failures) console.log(`failed: ${name}`);
console.log(`${passed} passed, ${failures.length} failed`);
process.exitCode = failures.length === 0 ? 0 : 1;
