/** The trees of the demo: what is served, and whether it is what came. */

import {
  closeSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type FileEntry, listFiles } from '../src/files/listing.ts';
import { Root } from '../src/files/root.ts';

/** Most files of the default tree, and bytes that one may have. */
const MAX_FILES = 4000;
const MAX_SIZE = 64 << 10;

const TEXT =
  /\.([cm]?[jt]sx?|json|map|md|markdown|txt|ya?ml|html|css)$|(^|\/)(license|readme|changelog)[^/]*$/i;

/** All files below a folder, by path. */
export function filesOf(folder: string): FileEntry[] {
  return [...listFiles(new Root(folder), '', () => {})];
}

/**
 * Makes a tree of the first small text files that npm has installed here, in the order of their paths, and returns
 * its folder.
 */
export function linkSmallTextFiles(folder: string): string {
  const source = nodeModules();
  const small = filesOf(source).filter(({ path, size }) => size <= MAX_SIZE && TEXT.test(path));
  for (const { path } of small.slice(0, MAX_FILES)) {
    const to = join(folder, path);
    mkdirSync(dirname(to), { recursive: true });
    linkOrCopy(join(source, path), to);
  }
  return folder;
}

function nodeModules(): string {
  const folder = fileURLToPath(new URL('../node_modules', import.meta.url));
  if (existsSync(folder)) return folder;
  throw new Error("there is no node_modules here: give a folder, as in 'npm run demo -- DIR'");
}

/** A link costs nothing, but only within one file system. */
function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to);
  }
}

/** What the responses to a pull carry: the listing, then the content of every file. */
export function* payloadsOf(
  root: string,
  files: readonly FileEntry[],
  listing: Uint8Array,
): Generator<Uint8Array> {
  yield listing;
  for (const { path } of files) yield readFileSync(join(root, path));
}

/** Whether `copy` has exactly these files of `original`, byte for byte. */
export function haveSameFiles(original: string, copy: string, files: readonly FileEntry[]): boolean {
  const copied = filesOf(copy);
  return (
    copied.length === files.length &&
    copied.every(({ path, size }, i) => path === files[i].path && size === files[i].size) &&
    files.every(({ path }) => isSameFile(join(original, path), join(copy, path)))
  );
}

const left = Buffer.alloc(1 << 20);
const right = Buffer.alloc(1 << 20);

function isSameFile(a: string, b: string): boolean {
  const fds = [openSync(a, 'r'), openSync(b, 'r')];
  try {
    for (;;) {
      const count = readSync(fds[0], left);
      if (readSync(fds[1], right) !== count) return false;
      if (count === 0) return true;
      if (left.compare(right, 0, count, 0, count) !== 0) return false;
    }
  } finally {
    fds.forEach(closeSync);
  }
}
