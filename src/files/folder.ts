/** Folders that are to be there. */

import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes `folder`, and those above it, where they are missing. (Node's own mkdir with `recursive` goes round for ever
 * where a folder is there and says of what should be made in it that there is no such thing, as /proc does.)
 * @throws what the file system throws.
 */
export function makeFolder(folder: string, mode?: number): void {
  const above = dirname(folder);
  if (above !== folder && !existsSync(above)) makeFolder(above, mode);
  try {
    mkdirSync(folder, mode);
  } catch (error) {
    if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) throw error;
  }
}
