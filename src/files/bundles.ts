/** Which files a pull asks for together. */

import type { FileEntry } from './listing.ts';
import { stemOf } from './paths.ts';

/**
 * Files up to this size are asked for many at a time, in bytes. Half of a small file's time is that of its request, and
 * what comes in whole frames compresses better.
 */
const MAX_BUNDLED_SIZE = 64 << 10;

/** What one bundle may hold: bytes, files, and characters of all paths. */
const BUNDLE_SIZE = 128 << 10;
const BUNDLE_FILES = 256;
const BUNDLE_PATHS_LENGTH = 64 << 10;

/**
 * Several files of one name have bundles of their own where they come to so many bytes, and none of these ends with
 * fewer: what is alike goes by one stream. Of node_modules, Python's library, headers and documents (2 600 to 4 000 files each) that
 * took 0.99 to 1.02 of the bytes that ending wherever the name changes does, and 0.37 to 0.7 of the requests; bundles
 * that are always full took up to 1.05.
 */
const BUNDLE_OF_ONE_NAME = 16 << 10;

/** The small files in bundles of at least two, in their order: those of one name should follow each other. */
export function bundlesOf(entries: Iterable<FileEntry>): (readonly FileEntry[])[] {
  const bundles: Bundle[] = [];
  let bundle = new Bundle();
  const endBundle = () => {
    bundles.push(bundle);
    bundle = new Bundle();
  };
  let wasApart = false;
  for (const alike of runsOfOneName(entries)) {
    const isApart = alike.length > 1 && sizeOf(alike) >= BUNDLE_OF_ONE_NAME;
    if ((isApart || wasApart) && bundle.bytes >= BUNDLE_OF_ONE_NAME) endBundle();
    wasApart = isApart;
    for (const entry of alike) {
      if (!bundle.hasRoomFor(entry)) endBundle();
      bundle.add(entry);
    }
  }
  endBundle();
  return bundles.map(({ files }) => files).filter(({ length }) => length > 1);
}

/** The small files, those of one name that follow each other together. */
function* runsOfOneName(entries: Iterable<FileEntry>): Generator<readonly FileEntry[], void, void> {
  let run: FileEntry[] = [];
  let name = '';
  for (const entry of entries) {
    if (entry.size > MAX_BUNDLED_SIZE) continue;
    const previous = name;
    name = stemOf(entry.path);
    if (name !== previous) {
      yield run;
      run = [];
    }
    run.push(entry);
  }
  yield run;
}

function sizeOf(entries: readonly FileEntry[]): number {
  return entries.reduce((sum, { size }) => sum + size, 0);
}

class Bundle {
  readonly files: FileEntry[] = [];
  bytes = 0;
  #pathsLength = 0;

  hasRoomFor({ path, size }: FileEntry): boolean {
    return (
      this.bytes + size <= BUNDLE_SIZE &&
      this.#pathsLength + path.length <= BUNDLE_PATHS_LENGTH &&
      this.files.length < BUNDLE_FILES
    );
  }

  add(entry: FileEntry): void {
    this.files.push(entry);
    this.bytes += entry.size;
    this.#pathsLength += entry.path.length;
  }
}
