/**
 * What every command line of ours does alike: help that was asked for goes to standard output; what the user got
 * wrong is one line on standard error and exit code 2; what went wrong is one line there and exit code 1.
 */

import { Command, CommanderError } from 'commander';
import { fsProblem } from '../files/paths.ts';
import { messageOf, Stopped, UsageError } from './outcome.ts';
import { oneLine } from './show.ts';

const EXIT_FAILED = 1;
const EXIT_MISUSED = 2;

/** A program to add options and commands to. */
export function newProgram(name: string): Command {
  return (
    new Command(name)
      .helpOption('-h, --help', 'print this help')
      .helpCommand(false)
      .exitOverride()
      // Errors are reported below, where all are; help that nobody asked for is not printed.
      .configureOutput({ writeErr: () => {}, outputError: () => {} })
  );
}

/** Runs the program with `argv` (as process.argv); where it fails, sets the exit code. Never rejects. */
export async function runProgram(program: Command, argv: readonly string[]): Promise<void> {
  process.stdout.on('error', onOutputError);
  // What is said there is about the work and not its outcome: who does not read it does not stop the work.
  process.stderr.on('error', () => {});
  try {
    await program.parseAsync(argv);
  } catch (error) {
    process.exitCode = report(error);
  }
}

/**
 * That nobody reads our output any more is no error, and ends nothing but what is done for that output alone (call.ts):
 * a server serves on, a pull pulls on. Output that cannot be written for another reason is a failure, said once.
 */
function onOutputError(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE' || process.exitCode === EXIT_FAILED) return;
  complain(`cannot write the output: ${fsProblem(error)}`);
  process.exitCode = EXIT_FAILED;
}

/** Prints the one line that an error deserves and returns the exit code. */
function report(error: unknown): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0; // --help or --version has been printed
    const isMissing = error.code === 'commander.help';
    complain(
      isMissing ? "a command is missing; see 'millrace --help'" : error.message.replace(/^error: /, ''),
    );
    return EXIT_MISUSED;
  }
  if (process.env.MILLRACE_DEBUG) console.error(error);
  complain(messageOf(error));
  if (error instanceof Stopped) return error.exitCode;
  return error instanceof UsageError ? EXIT_MISUSED : EXIT_FAILED;
}

function complain(message: string): void {
  console.error(`millrace: ${oneLine(message)}`);
}
