/**
 * The folders below one that a pull writes into, held open: whoever moves them, or puts links in their place, cannot
 * lead what is done in one of them anywhere else (places.ts). Without such handles every folder is looked at before
 * and after, and between the two there is a gap.
 */

import { closeSync, fstatSync, lstatSync, realpathSync, type Stats } from 'node:fs';
import { descriptorLimit, isOutOfDescriptors } from './descriptors.ts';
import { FOLDER_ONLY, hasPlaces, NO_FOLLOW, openPlace, wayTo } from './places.ts';

/** Folders that are held at a time beside those in use: this many, or fewer where the process may have few. */
const MAX_HELD = 512;
const SHARE_OF_PROCESS = 1 / 8;

/** Why a file cannot be put where it belongs; one line for people. */
export class DestinationError extends Error {
  override readonly name = 'DestinationError';
}

/** A folder in use, until `release`. */
export interface HeldFolder {
  /** What its entries' names are to be put behind. */
  readonly at: string;
  /** @throws DestinationError when another one, or nothing, has its name by now. */
  check(): void;
  release(): void;
}

/** Folders are named by their path below the outermost, ending in '/'; that one is ''. */
export class HeldFolders {
  readonly #base: Held;
  /** Where that was when it was opened, ending in '/'. */
  readonly #real: string;
  readonly #places: boolean;
  /** By name, those used least recently first. */
  readonly #held = new Map<string, Held>();
  readonly #max = Math.max(1, Math.min(MAX_HELD, Math.floor(descriptorLimit() * SHARE_OF_PROCESS)));

  /** `places: false`: do without handles, as where there are none. @throws what the file system throws. */
  constructor(folder: string, places = true) {
    const real = realpathSync(folder);
    this.#places = places && hasPlaces(real);
    const path = real.replace(/[/\\]$/, '');
    this.#real = `${path}/`;
    this.#base = this.#open('', path);
  }

  /** Whether a way into a folder can be bent while it is in use. */
  get canBend(): boolean {
    return !this.#places;
  }

  /**
   * @throws DestinationError when something on the way is not a folder, what the file system throws when there is none.
   */
  take(folder: string): HeldFolder {
    return this.#take(folder);
  }

  /** Does something with what is in a folder. @throws as {@link take}, and what `use` throws. */
  in<T>(folder: string, use: (at: string) => T): T {
    const held = this.#take(folder);
    try {
      return use(held.at);
    } finally {
      held.release();
    }
  }

  /** Lets go of all that are not in use; false when there were none. */
  letGo(): boolean {
    const some = this.#held.size > 0;
    for (const held of this.#held.values()) held.release();
    this.#held.clear();
    return some;
  }

  /** Those in use stay open until they are released. */
  close(): void {
    this.letGo();
    this.#base.release();
  }

  #take(folder: string): Held {
    if (folder === '') return this.#base.hold();
    const known = this.#held.get(folder);
    this.#held.delete(folder);
    if (known === undefined || !this.#isInPlace(known)) {
      known?.release();
      return this.#keep(this.#openBelow(folder));
    }
    return this.#keep(known);
  }

  #keep(held: Held): Held {
    this.#held.set(held.name, held);
    held.hold();
    if (this.#held.size > this.#max) {
      const [[oldest, unused]] = this.#held;
      this.#held.delete(oldest);
      unused.release();
    }
    return held;
  }

  /** One step at a time: a link on the way would not be seen otherwise. */
  #openBelow(folder: string): Held {
    const above = this.#take(aboveOf(folder));
    try {
      const held = this.#open(folder, above.at + folder.slice(above.name.length, -1));
      if (this.canBend) above.check();
      return held;
    } finally {
      above.release();
    }
  }

  #open(folder: string, path: string): Held {
    if (!this.#places) return new Held(folder, `${path}/`, lookedAt(path), this.#isInPlace);
    let place: number;
    try {
      place = this.#openPlace(path);
    } catch (error) {
      // What is no folder is said more clearly.
      if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') lookedAt(path);
      throw error;
    }
    return new Held(folder, `${wayTo(place)}/`, fstatSync(place), this.#isInPlace, place);
  }

  #openPlace(path: string): number {
    const flags = FOLDER_ONLY | NO_FOLLOW;
    try {
      return openPlace(path, flags);
    } catch (error) {
      if (!isOutOfDescriptors(error) || !this.letGo()) throw error;
      return openPlace(path, flags);
    }
  }

  /**
   * Whether it is still that folder which has the name: what is written into one that was moved away is lost. Where the
   * outermost was is asked first: the way by its handle takes twice as long, and is needed only where that was moved itself.
   */
  readonly #isInPlace = (held: Held): boolean => {
    const name = held.name.slice(0, -1);
    return isAt(this.#real + name, held) || (this.#places && isAt(this.#base.at + name, held));
  };
}

class Held implements HeldFolder {
  readonly name: string;
  readonly at: string;
  readonly dev: number;
  readonly ino: number;
  readonly #isInPlace: (held: Held) => boolean;
  readonly #place: number | undefined;
  #users = 1;

  constructor(
    name: string,
    at: string,
    { dev, ino }: Stats,
    isInPlace: (held: Held) => boolean,
    place?: number,
  ) {
    this.name = name;
    this.at = at;
    this.dev = dev;
    this.ino = ino;
    this.#isInPlace = isInPlace;
    this.#place = place;
  }

  check(): void {
    if (!this.#isInPlace(this)) throw new DestinationError('a folder above it has been moved');
  }

  hold(): this {
    this.#users++;
    return this;
  }

  release(): void {
    if (--this.#users === 0 && this.#place !== undefined) closeSync(this.#place);
  }
}

/** The folder that a path is in, ending in '/'; '' for the outermost. */
export function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/') + 1);
}

/** The folder that a folder is in. */
export function aboveOf(folder: string): string {
  return folderOf(folder.slice(0, -1));
}

/** Whether it is this very folder that is at `path`. */
function isAt(path: string, { dev, ino }: Held): boolean {
  try {
    const now = lstatSync(path);
    return now.dev === dev && now.ino === ino;
  } catch {
    // Nothing has the name, or a file or a circle of links is on the way.
    return false;
  }
}

/** A folder without its '/', or the look would follow a link. @throws DestinationError when it is none. */
function lookedAt(path: string): Stats {
  const stats = lstatSync(path);
  if (!stats.isDirectory()) throw notAFolder(stats.isSymbolicLink());
  return stats;
}

function notAFolder(isLink: boolean): DestinationError {
  return new DestinationError(`${isLink ? 'a link' : 'a file'} is in the place of a folder above it`);
}
