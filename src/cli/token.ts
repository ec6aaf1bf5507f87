/** The token that a server's authorize hook is shown: from a file or the environment, never from a command line. */

import { closeSync, fstatSync, readSync, type Stats } from 'node:fs';
import { fsProblem } from '../files/paths.ts';
import { openRegularFile } from '../options/regular-file.ts';
import { UsageError } from './outcome.ts';

/** Longest token, in bytes; an argument of a command may have eight times as many. */
const MAX_BYTES = 8192;

/** The token in a file that is its owner's alone. @throws UsageError, in which nothing of the token is. */
export function readToken(file: string): string {
  const text = read(file);
  const token = text.trim();
  if (token === '') throw new UsageError(`${file}: there is no token in it`);
  return checked(token, file);
}

/** The value of the environment variable; empty is none. @throws UsageError, as above. */
export function tokenOf(value: string | undefined): string | undefined {
  const token = value?.trim() ?? '';
  return token === '' ? undefined : checked(token, 'MILLRACE_TOKEN');
}

function checked(token: string, where: string): string {
  if (Buffer.byteLength(token) > MAX_BYTES) throw tooLong(where);
  if (/[\p{Cc}\p{Zl}\p{Zp}\ufffd]/u.test(token))
    throw new UsageError(`${where}: a token is one line of text, without control characters`);
  return token;
}

function tooLong(where: string): UsageError {
  return new UsageError(`${where}: a token has ${MAX_BYTES} bytes at most`);
}

function read(file: string): string {
  let fd: number | undefined;
  try {
    fd = openRegularFile(file);
    check(fstatSync(fd), file);
    const bytes = Buffer.alloc(MAX_BYTES + 3);
    let length = 0;
    for (let count = -1; count !== 0 && length < bytes.length; length += count)
      count = readSync(fd, bytes, length, bytes.length - length, null);
    if (length === bytes.length) throw tooLong(file);
    return bytes.toString('utf8', 0, length);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`cannot read ${file}: ${fsProblem(error)}`);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function check(stats: Stats, file: string): void {
  // Windows has no such bits.
  if (process.platform !== 'win32' && (stats.mode & 0o077) !== 0)
    throw new UsageError(`${file}: others than its owner may use it; chmod 600 makes it a token's file`);
}
