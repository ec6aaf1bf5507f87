/**
 * What is open, where it comes and goes by the thousand a second. A Map or Set is rebuilt every few dozen of those, and keeps
 * what has long gone alive with the tables that it leaves behind (see id-table.ts).
 */

/** What may be in a bag, and in no more than one. */
export interface Bagged {
  /** For the {@link Bag} alone: where it is; −1: in none. */
  place: number;
}

export class Bag<T extends Bagged> implements Iterable<T> {
  readonly #all: T[] = [];

  get size(): number {
    return this.#all.length;
  }

  add(one: T): void {
    one.place = this.#all.push(one) - 1;
  }

  /** Does nothing where it is not in it. */
  delete(one: T): void {
    if (one.place < 0) return;
    const last = this.#all.pop();
    if (last !== undefined && last !== one) {
      this.#all[one.place] = last;
      last.place = one.place;
    }
    one.place = -1;
  }

  /** Those that are in it now; they may come and go while they are gone through. */
  [Symbol.iterator](): Iterator<T> {
    return [...this.#all].values();
  }
}
