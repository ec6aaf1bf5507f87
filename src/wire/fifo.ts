/** A queue whose oldest can be taken however long it is: `shift()` of an array moves all that is left, past some 16 000. */

/** Items that were taken are dropped from the front once there are so many, and no fewer than those that are left. */
const COMPACT_AT = 1024;

export class Fifo<Item> {
  #items: (Item | undefined)[] = [];
  #start = 0;

  get length(): number {
    return this.#items.length - this.#start;
  }

  /** The oldest; undefined: there is none. */
  get first(): Item | undefined {
    return this.#items[this.#start];
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  /** Something else in place of the oldest, where there is one. */
  replaceFirst(item: Item): void {
    if (this.length > 0) this.#items[this.#start] = item;
  }

  /** Takes the oldest; undefined: there is none. */
  shift(): Item | undefined {
    if (this.length === 0) return undefined;
    const item = this.#items[this.#start];
    this.#items[this.#start++] = undefined;
    if (this.length === 0) this.clear();
    else if (this.#start >= COMPACT_AT && this.#start * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#start);
      this.#start = 0;
    }
    return item;
  }

  clear(): void {
    this.#items = [];
    this.#start = 0;
  }

  *[Symbol.iterator](): Generator<Item, void, undefined> {
    for (let at = this.#start; at < this.#items.length; at++) yield this.#items[at] as Item;
  }
}
