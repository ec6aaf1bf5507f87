/** The command line with `pull` alone: a build makes one module of it, for loading many takes longer than a short pull. */

import { baseProgram } from './base.ts';
import { processIo } from './io.ts';
import { runProgram } from './program.ts';
import { addPull } from './pull.ts';

/** As main.ts's, for `argv` that asks for `pull`. Never rejects. @returns the exit code. */
export function main(argv: readonly string[], io = processIo()): Promise<number> {
  const program = baseProgram(io);
  addPull(program, io);
  return runProgram(program, argv, io);
}
