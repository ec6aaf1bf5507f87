/** Files of results: there as a whole, or as they were. */

import { realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { checkRegularFile } from '../options/regular-file.ts';
import { fsProblem } from './paths.ts';

/**
 * Of a link it is the target that is written. Whatever is no file, such as a device, stays as it is.
 * @throws Error that names `file` and says why it cannot be written; nothing unfinished is left beside it.
 */
export function writeWhole(file: string, content: string | Uint8Array, mode?: number): void {
  let unfinished: string | undefined;
  try {
    const place = placeOf(file);
    unfinished = `${place}.${process.pid}.new`;
    writeFileSync(unfinished, content, { flag: 'wx', mode });
    renameSync(unfinished, place);
  } catch (error) {
    if (unfinished !== undefined) rmSync(unfinished, { force: true });
    throw cannotWrite(file, error);
  }
}

function placeOf(file: string): string {
  checkRegularFile(file);
  try {
    return realpathSync(file);
  } catch {
    return file; // nothing is there
  }
}

export function cannotWrite(file: string, error: unknown): Error {
  return new Error(`cannot write ${file}: ${fsProblem(error)}`, { cause: error });
}
