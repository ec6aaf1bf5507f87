/**
 * `npm test`: types, lint, then all fast tests, or those that the arguments name. With `--slow` the slow tests alone,
 * one file at a time; with `--coverage` the fast ones, and how much of src and workers they run. Everything that is
 * printed is the tools' own, but for the names of what failed and the last line: `N passed, N failed`, types and lint
 * counting as one each.
 */

import { spawn } from 'node:child_process';
import { globSync, readFileSync, rmSync } from 'node:fs';
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
/** Modules that import test files which start alike: a thread for each of those was half a second of CPU each time. */
const GROUPS = globSync('test/groups/*.ts', { cwd: ROOT });
const GROUPED = /^import '\.\.\/(.+\.test\.ts)';$/gm;
/** What is slow may take its time, and all of the machine. */
const SLOW = ['--concurrency', '1', '--timeout', '20m'];
const SLOW_FILES = ['test/**/*.slow.ts'];
const REPORT = [
  ...['report', '--temp-directory', COVERAGE, '--reporter', 'text', '--all'],
  ...['--include', 'src/**', '--include', 'workers/**'],
];

let passed = 0;
const failures: string[] = [];
/** One of ava's lines has told of a failure. */
let anyFailed = false;

/** Runs a package's command under our own runtime, whatever the machine's is; resolves with its exit code. */
function run(
  script: string,
  args: readonly string[],
  onLine: (line: string) => void,
  env = process.env,
): Promise<number> {
  const child = spawn(process.execPath, [script, ...args], {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  createInterface({ input: child.stdout }).on('line', onLine);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
  });
}

/** Tests start Node hundreds of times: what is compiled already is a quarter of that. It would blur the coverage. */
function environment(): NodeJS.ProcessEnv {
  if (coverage) return { ...process.env, NODE_V8_COVERAGE: COVERAGE, NODE_DISABLE_COMPILE_CACHE: '1' };
  return { NODE_COMPILE_CACHE: join(CACHE, 'compiled'), ...process.env };
}

/** The groups, and each file that is in none. */
function fastFiles(): string[] {
  const members = (group: string) => [...readFileSync(join(ROOT, group), 'utf8').matchAll(GROUPED)];
  const grouped = new Set(GROUPS.flatMap(members).map(([, file]) => join('test', file)));
  return [...GROUPS, ...globSync('test/**/*.test.ts', { cwd: ROOT }).filter((file) => !grouped.has(file))];
}

/** What it says is printed as a whole, for the tests say much at the same time. */
async function check(name: string, script: string, args: readonly string[]): Promise<void> {
  const said = [`# ${name}`];
  const code = await run(script, args, (line) => said.push(line));
  console.log(said.join('\n'));
  if (code === 0) passed++;
  else failures.push(name);
}

/**
 * The types of one project. Several checkers at once do a third of the work twice, and the tests have the other cores; what
 * has not changed since the last run is not looked at again.
 */
function types(name: string, project: string, known: string): Promise<void> {
  const incremental = ['--incremental', '--tsBuildInfoFile', join(CACHE, known)];
  return check(name, 'node_modules/typescript/bin/tsc', ['-p', project, '--checkers', '1', ...incremental]);
}

/** Each keeps one core busy, the tests the others meanwhile. */
async function checks(): Promise<void> {
  await types('types', 'tsconfig.json', 'types.tsbuildinfo');
  await types('types of the page', 'src/page/tsconfig.json', 'types-page.tsbuildinfo');
  await check('lint', 'node_modules/@biomejs/biome/bin/biome', ['check', '--error-on-warnings', '.']);
}

const PASSED = /^ {2}[✔√] /;
/** A failed test; a file that could not be run; a test that was pending when time was up. */
const FAILED = /^ {2}(?:[✘×] (?:\[fail\]: )?(?!Timed out while)|◌ )(.*)/;
const CRASHED = /^ {2}((?:Uncaught exception|Unhandled rejection) in .*)/;

/** Prints ava's report, and counts its results. (Its TAP would be easier to read, but breaks off when a test times out.) */
function count(line: string): void {
  console.log(line);
  const plain = stripVTControlCharacters(line);
  const failed = FAILED.exec(plain) ?? CRASHED.exec(plain);
  if (failed !== null) {
    anyFailed = true;
    failures.push(failed[1]);
  } else if (PASSED.test(plain)) passed++;
}

async function tests(args: readonly string[]): Promise<void> {
  console.log('# tests');
  const code = await run(AVA, args, count, environment());
  // A test file that cannot even be loaded, or a run in which there was none, has no line of its own.
  if (code !== 0 && !anyFailed) failures.push(`ava, which ended with code ${code}`);
}

// What an earlier run has left counts for nothing.
if (coverage) rmSync(COVERAGE, { recursive: true, force: true });
const files = args.length > 0 ? args : slow ? SLOW_FILES : fastFiles();

if (slow) await tests([...SLOW, ...files]);
else await Promise.all([checks(), tests(files)]);
if (coverage) await run('node_modules/c8/bin/c8.js', REPORT, console.log);

for (const name of failures) console.log(`failed: ${name}`);
console.log(`${passed} passed, ${failures.length} failed`);
process.exitCode = failures.length === 0 ? 0 : 1;
