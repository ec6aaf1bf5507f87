/** Files of results: there as a whole, or as they were. */

import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { fsProblem } from './paths.ts';

/** @throws Error that names `file` and says why it cannot be written; nothing unfinished is left beside it. */
export function writeWhole(file: string, content: string | Uint8Array, mode?: number): void {
  const unfinished = `${file}.${process.pid}.new`;
  try {
    writeFileSync(unfinished, content, { flag: 'wx', mode });
    renameSync(unfinished, file);
  } catch (error) {
    rmSync(unfinished, { force: true });
    throw cannotWrite(file, error);
  }
}

export function cannotWrite(file: string, error: unknown): Error {
  return new Error(`cannot write ${file}: ${fsProblem(error)}`, { cause: error });
}
