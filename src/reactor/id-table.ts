/**
 * What is attached to request IDs, for tables whose entries come and go by the thousand a second. A Map is rebuilt
 * every few dozen of those, and each table that it leaves behind points to the next: one of them that grew old keeps
 * all later ones, and the requests in them, alive until the next full collection. Then every scavenge copies some
 * 300 bytes per request that has long been answered: 6 to 9 ms, three times a second, at 17 000 requests a second.
 */

const SMALLEST = 4;
const FREE = -1;

/** A map from request IDs, 0 … 65 535, to values; at most half full, probed linearly. */
export class IdTable<T> {
  /** An array of JavaScript's: a typed one takes 200 bytes more, and there are four tables for each connection. */
  #ids: number[] | undefined;
  #values: (T | undefined)[] = [];
  #size = 0;
  /** Bits of a hash that are not of a place. */
  #shift = 0;

  get size(): number {
    return this.#size;
  }

  has(id: number): boolean {
    return this.#ids !== undefined && this.#ids[this.#find(this.#ids, id)] === id;
  }

  get(id: number): T | undefined {
    return this.#ids === undefined ? undefined : this.#values[this.#find(this.#ids, id)];
  }

  set(id: number, value: T): void {
    if (this.#ids === undefined || 2 * this.#size >= this.#ids.length) this.#grow();
    const ids = this.#ids as number[];
    const at = this.#find(ids, id);
    if (ids[at] === FREE) this.#size++;
    ids[at] = id;
    this.#values[at] = value;
  }

  /** Returns whether there was something to delete. */
  delete(id: number): boolean {
    const ids = this.#ids;
    if (ids === undefined) return false;
    let gap = this.#find(ids, id);
    if (ids[gap] === FREE) return false;
    this.#size--;
    // What was pushed past the gap by others moves back, so that probing never meets a hole.
    const mask = ids.length - 1;
    const shift = this.#shift;
    for (let at = (gap + 1) & mask; ids[at] !== FREE; at = (at + 1) & mask) {
      const home = homeOf(ids[at], shift);
      if (((at - home) & mask) < ((at - gap) & mask)) continue;
      ids[gap] = ids[at];
      this.#values[gap] = this.#values[at];
      gap = at;
    }
    ids[gap] = FREE;
    this.#values[gap] = undefined;
    return true;
  }

  clear(): void {
    this.#ids = undefined;
    this.#values = [];
    this.#size = 0;
  }

  /** The IDs as they are now, the smallest first; the table may be changed while they are gone through. */
  ids(): number[] {
    return this.#ids?.filter((id) => id !== FREE).sort((one, other) => one - other) ?? [];
  }

  /** The values as they are now, in the order of their IDs; the table may be changed while they are gone through. */
  values(): T[] {
    return this.ids().map((id) => this.get(id) as T);
  }

  /** Where `id` is, or would be. */
  #find(ids: readonly number[], id: number): number {
    const mask = ids.length - 1;
    let at = homeOf(id, this.#shift);
    while (ids[at] !== id && ids[at] !== FREE) at = (at + 1) & mask;
    return at;
  }

  #grow(): void {
    const ids = this.#ids ?? [];
    const values = this.#values;
    const length = Math.max(SMALLEST, 2 * ids.length);
    this.#ids = new Array<number>(length).fill(FREE);
    this.#values = new Array(length).fill(undefined);
    this.#shift = 32 - Math.log2(length);
    this.#size = 0;
    for (let at = 0; at < ids.length; at++) if (ids[at] !== FREE) this.set(ids[at], values[at] as T);
  }
}

/**
 * By the golden ratio, which keeps IDs that follow each other apart: side by side they made one long run, and to delete
 * the oldest meant to go through all of it.
 */
function homeOf(id: number, shift: number): number {
  return Math.imul(id, 0x9e3779b1) >>> shift;
}
