/**
 * What a path on the wire may look like. Both ends hold every path against these rules: the server before it opens
 * one, the client before it writes one, for either may be talking to somebody hostile.
 *
 * A path is relative, its parts separated by '/', and names something strictly below the folder it is relative to.
 */

import { NOT_A_FILE } from '../options/regular-file.ts';
import { visible } from '../wire/visible.ts';

/** Longest path, in UTF-16 units; systems with a limit of their own have it at 4 096 bytes or below. */
export const MAX_PATH_LENGTH = 4096;

/** Most parts that a path may have. */
export const MAX_PATH_DEPTH = 256;

/** Names that Windows takes for devices wherever they stand, and characters that mean something to it. */
const WINDOWS_DEVICE = /^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)/i;
const WINDOWS_SPECIAL = /[\\:*?"<>|\p{Cc}]|[. ]$/u;

/**
 * Why `path` is not acceptable, for people and without the path itself; undefined when it is.
 * `platform` is that of the machine whose file system it is for.
 */
export function pathProblem(path: string, platform: string = process.platform): string | undefined {
  if (path === '') return 'the path is empty';
  if (path.length > MAX_PATH_LENGTH) return `the path is longer than ${MAX_PATH_LENGTH} characters`;
  if (path.includes('\0')) return 'the path holds a NUL byte';
  if (!path.isWellFormed()) return 'the path is not valid Unicode';
  if (path.startsWith('/')) return 'the path is absolute';
  const parts = path.split('/');
  if (parts.length > MAX_PATH_DEPTH) return `the path has more than ${MAX_PATH_DEPTH} parts`;
  for (const part of parts) {
    const problem = partProblem(part, platform);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function partProblem(part: string, platform: string): string | undefined {
  if (part === '') return 'the path has an empty part';
  if (part === '..') return "the path leaves its folder by '..'";
  if (part === '.') return "the path has a part '.'";
  if (platform !== 'win32') return undefined;
  if (WINDOWS_SPECIAL.test(part)) return 'the path has a part that Windows cannot have as a name';
  return WINDOWS_DEVICE.test(part) ? 'the path names a Windows device' : undefined;
}

/**
 * A path as people write it, made one of those above where it means the same: `./a//b/` is `a/b`, and `.` is ''.
 * What means something else (`..`, a '/' in front) stays as it is, to be refused.
 */
export function tidyPath(path: string): string {
  if (path.startsWith('/')) return path;
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');
}

/** The path of what is called `name` in `folder`; '' is the root. */
export function pathOf(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`;
}

/** The last part of a path. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** The name up to its first dot, in lower case: `index` for `lib/index.d.ts`, `.gitignore` for itself. */
export function stemOf(path: string): string {
  const name = nameOf(path);
  const dot = name.indexOf('.', 1);
  return (dot > 0 ? name.slice(0, dot) : name).toLowerCase();
}

/** A path as it may stand in a message: on one line, with nothing unseen in it, and not endless. */
export function shownPath(path: string): string {
  return visible(path.length > 200 ? `${path.slice(0, 200).toWellFormed()}…` : path);
}

const FS_PROBLEMS: Record<string, string> = {
  ENOENT: 'no such file',
  ENOTDIR: 'no such file',
  EISDIR: 'not a file',
  [NOT_A_FILE]: 'not a file',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ELOOP: 'too many links on the way',
  ENAMETOOLONG: 'the path is too long',
  EMFILE: 'too many files are open',
  ENFILE: 'too many files are open',
  ENOSPC: 'the disk is full',
  EFBIG: 'the file may not be so large',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the disk is read-only',
  EIO: 'the disk failed',
  ERR_FS_FILE_TOO_LARGE: 'the file is too large to be read at once',
  EAGAIN: 'there is nothing to read now',
  ESTALE: 'no such file',
  EEXIST: 'something else is in its place',
  ENOTEMPTY: 'something else is in its place',
};

/** What a file system's error means, for people; never with a path in it, for the error's own is absolute. */
export function fsProblem(error: unknown): string {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code === undefined) return 'it cannot be read';
  return Object.hasOwn(FS_PROBLEMS, code) ? FS_PROBLEMS[code] : `the file system says ${code}`;
}

const FS_CODES: Record<string, string> = {
  ENOENT: 'not-found',
  ENOTDIR: 'not-found',
  EISDIR: 'invalid-argument',
  ELOOP: 'invalid-argument',
  ENAMETOOLONG: 'invalid-argument',
  EACCES: 'not-authorized',
  EPERM: 'not-authorized',
};

/** What the code of a file system's error is for a peer's programs (protocol C11). */
export function fsErrorCode(code: string): string {
  return Object.hasOwn(FS_CODES, code) ? FS_CODES[code] : 'internal';
}

/** What any error means, for people: the file system's as above, another one by its message. */
export function problemOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as NodeJS.ErrnoException;
  // A peer may have chosen it.
  if (code !== undefined && Object.hasOwn(FS_PROBLEMS, code)) return fsProblem(error);
  if (error.message !== '') return error.message;
  // Of several errors, none of which stands for all.
  const parts = error instanceof AggregateError ? [...new Set(error.errors.map(problemOf))] : [];
  return parts.join('; ') || code || error.name;
}
