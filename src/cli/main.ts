/**
 * The command line. What the user got wrong is one line and exit code 2; what went wrong is one line and exit code 1;
 * the commands themselves are beside this file and know nothing of either.
 */

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { addCall } from './call.ts';
import { addFrame } from './frame.ts';
import { Stopped, UsageError } from './outcome.ts';
import { addPull } from './pull.ts';
import { addServe } from './serve.ts';
import { oneLine } from './show.ts';

const EXIT_FAILED = 1;
const EXIT_MISUSED = 2;

const EXAMPLES = `
Examples:
  millrace serve ./public --port 7711
  millrace pull 127.0.0.1:7711 ./copy
  millrace call 127.0.0.1:7711 files.get path=index.html

'millrace COMMAND --help' says more about each.`;

/** Runs the command line `argv` (as process.argv); where it fails, sets the exit code. Never rejects. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    await run(argv);
  } catch (error) {
    process.exitCode = report(error);
  }
}

async function run(argv: readonly string[]): Promise<void> {
  const program = new Command('millrace')
    .description('Serves and fetches files and commands over one compressed connection.')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .addHelpText('after', EXAMPLES)
    .exitOverride()
    // Errors are reported below, where all are; help that nobody asked for is not printed.
    .configureOutput({ writeErr: () => {}, outputError: () => {} });
  addServe(program);
  addPull(program);
  addCall(program);
  addFrame(program);
  await program.parseAsync(argv);
}

/** Prints the one line that an error deserves and returns the exit code. */
function report(error: unknown): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0; // --help or --version has been printed
    const message =
      error.code === 'commander.help' ? "a command is missing; see 'millrace --help'" : error.message;
    complain(message.replace(/^error: /, ''));
    return EXIT_MISUSED;
  }
  if (process.env.MILLRACE_DEBUG) console.error(error);
  complain(error instanceof Error ? error.message : String(error));
  if (error instanceof Stopped) return error.exitCode;
  return error instanceof UsageError ? EXIT_MISUSED : EXIT_FAILED;
}

function complain(message: string): void {
  console.error(`millrace: ${oneLine(message)}`);
}

/** The package's version; this file is three folders below package.json when compiled, and two in the source. */
function version(): string {
  for (const path of ['../../package.json', '../../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));
      if (name === 'millrace') return version;
    } catch {
      // It is the other one.
    }
  }
  return 'unknown';
}
