/** Data that a command line names: `--data FILE`, or `-`. */

import { fsProblem } from '../files/paths.ts';
import { streamRegularFile } from '../options/regular-file.ts';
import type { Io } from './io.ts';

/** The bytes of a file, or of standard input for `-`. @throws Error that says which of them cannot be read, and why. */
export async function* readData(name: string, { stdin }: Io): AsyncGenerator<Uint8Array> {
  try {
    yield* name === '-' ? stdin : streamRegularFile(name);
  } catch (error) {
    throw new Error(`cannot read ${name === '-' ? 'standard input' : name}: ${fsProblem(error)}`);
  }
}
