/**
 * `npm test`: types, lint, then all tests, or those that the arguments name. Everything that is printed is the tools'
 * own, but for the names of what failed and the last line: `N passed, N failed`, types and lint counting as one each.
 */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

let passed = 0;
const failures: string[] = [];

/** Runs a package's command under our own runtime, whatever the machine's is; resolves with its exit code. */
function run(script: string, args: readonly string[], onLine?: (line: string) => void): Promise<number> {
  const stdout = onLine === undefined ? 'inherit' : 'pipe';
  const child = spawn(process.execPath, [script, ...args], {
    cwd: ROOT,
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

await check('types', 'node_modules/typescript/bin/tsc', ['-p', 'tsconfig.json']);
await check('lint', 'node_modules/@biomejs/biome/bin/biome', ['check', '--error-on-warnings', '.']);

console.log('# tests');
const failedBefore = failures.length;
const code = await run('node_modules/ava/entrypoints/cli.mjs', process.argv.slice(2), count);
// A test file that cannot even be loaded, or a run in which there was none, has no line of its own.
if (code !== 0 && failures.length === failedBefore) failures.push(`ava, which ended with code ${code}`);

for (const name of failures) console.log(`failed: ${name}`);
console.log(`${passed} passed, ${failures.length} failed`);
process.exitCode = failures.length === 0 ? 0 : 1;
