/**
 * Files that somebody has named, by a flag or in a file: opened only when they are files. To open a FIFO waits until
 * somebody writes there, and what opening a device does only the device knows.
 */

import {
  closeSync,
  constants,
  createReadStream,
  fstatSync,
  openSync,
  type ReadStream,
  readFileSync,
  type Stats,
  statSync,
} from 'node:fs';

/** The code of the error for what is neither a file nor a folder. */
export const NOT_A_FILE = 'NOT_A_FILE';

/** Windows has neither FIFOs among its files nor the flag. */
const { O_RDONLY, O_NONBLOCK = 0 } = constants;

/** All of the file `path`. @throws Error of the system, with its code; {@link NOT_A_FILE} for what is none. */
export function readRegularFile(path: string): Buffer {
  const fd = openRegularFile(path);
  try {
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** A descriptor to read the file `path`. @throws as {@link readRegularFile} does. */
export function openRegularFile(path: string): number {
  checkRegular(statSync(path), path);
  const fd = openSync(path, O_RDONLY | O_NONBLOCK);
  try {
    // What was looked at may have been replaced since.
    checkRegular(fstatSync(fd), path);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** A stream of the file `path`, as text where there is an encoding. @throws as {@link readRegularFile} does. */
export function streamRegularFile(path: string, encoding?: BufferEncoding): ReadStream {
  return createReadStream(path, { fd: openRegularFile(path), encoding });
}

/** @throws Error when something other than a file is at `path`; nothing need be there. */
export function checkRegularFile(path: string): void {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats !== undefined) checkRegular(stats, path);
}

function checkRegular(stats: Stats, path: string): void {
  if (stats.isFile()) return;
  const code = stats.isDirectory() ? 'EISDIR' : NOT_A_FILE;
  const what = stats.isDirectory() ? 'is a folder' : 'is no regular file';
  throw Object.assign(new Error(`${path} ${what}`), { code, path });
}
