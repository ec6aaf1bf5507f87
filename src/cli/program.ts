/**
 * What every command line of ours does alike: help that was asked for goes to standard output; what the user got
 * wrong is one line on standard error and exit code 2; what went wrong is one line there and exit code 1.
 */

import { Command, CommanderError } from 'commander';
import { EXIT_FAILED, EXIT_MISUSED, type Io, processIo } from './io.ts';
import { messageOf, Stopped, UsageError } from './outcome.ts';

/** A program to add options and commands to. */
export function newProgram(name: string): Command {
  return (
    new Command(name)
      .helpOption('-h, --help', 'print this help')
      .helpCommand(false)
      .exitOverride()
      // What follows a command is that command's, though the program may have a flag of the same name.
      .enablePositionalOptions()
      // Errors are reported below, where all are; help that nobody asked for is not printed.
      .configureOutput({ writeErr: () => {}, outputError: () => {} })
  );
}

/** Runs the program with `argv` (as process.argv). Never rejects. @returns the exit code. */
export async function runProgram(
  program: Command,
  argv: readonly string[],
  io = processIo(),
): Promise<number> {
  try {
    await program.parseAsync(argv);
    return io.exitCode;
  } catch (error) {
    return report(error, io);
  }
}

/** What was given to an option that does not exist stays where it is: it may have been a token. */
function withoutValue(message: string): string {
  return message.replace(/^(unknown option '[^'=]+)=.*'/s, "$1'");
}

/** Prints the one line that an error deserves and returns the exit code. */
function report(error: unknown, io: Io): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0; // --help or --version has been printed
    const isMissing = error.code === 'commander.help';
    io.complain(
      isMissing
        ? "a command is missing; see 'millrace --help'"
        : withoutValue(error.message.replace(/^error: /, '')),
    );
    return EXIT_MISUSED;
  }
  if (process.env.MILLRACE_DEBUG) console.error(error);
  io.complain(messageOf(error));
  if (error instanceof Stopped) return error.exitCode;
  return error instanceof UsageError ? EXIT_MISUSED : EXIT_FAILED;
}
