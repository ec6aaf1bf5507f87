/**
 * Handles on what stands at a path (O_PATH): they open nothing, stay on what they were made on whatever is moved or
 * linked afterwards, and /proc/self/fd tells where that is. Linux only.
 */

import { closeSync, constants, fstatSync, openSync, readlinkSync, type Stats } from 'node:fs';

/** O_PATH; node:fs does not name it. */
const PLACE = 0o10_000_000;

/** Flags for {@link openPlace}: only a folder; not what a link in the last part leads to. */
export const FOLDER_ONLY = constants.O_DIRECTORY ?? 0;
export const NO_FOLLOW = constants.O_NOFOLLOW ?? 0;

/** A handle, which the caller closes. @throws what the file system throws. */
export function openPlace(path: string, flags = 0): number {
  return openSync(path, PLACE | flags);
}

let handles: string | undefined;

/** A way to what a handle is on, and from a folder's to what is in it, that nobody can bend while it is open. */
export function wayTo(place: number): string {
  // Not by /proc/self, a link that the system would follow each time. It says by which number this process is known there.
  handles ??= `/proc/${readlinkSync('/proc/self')}/fd/`;
  return handles + place;
}

/** Where what a handle is on is by now, without links. */
export function whereIs(place: number): string {
  return readlinkSync(wayTo(place));
}

/** What stands at `path`; a link stands for where it leads. `use` gets its stats and where it is. */
export function atPlace<T>(path: string, use: (stats: Stats, real: string) => T): T {
  const place = openPlace(path);
  try {
    return use(fstatSync(place), whereIs(place));
  } finally {
    closeSync(place);
  }
}

/** Whether there are such handles here; `folder` is a path without links. */
export function hasPlaces(folder: string): boolean {
  if (process.platform !== 'linux') return false;
  try {
    const place = openPlace(folder, FOLDER_ONLY);
    try {
      return whereIs(place) === folder;
    } finally {
      closeSync(place);
    }
  } catch {
    return false;
  }
}
