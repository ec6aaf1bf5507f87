/**
 * What is attached to the request IDs of one connection, where mostly one of them is in use at a time: that one is in the table
 * itself. Of a thousand connections that take turns nothing is in a cache, and each array beside it would be one more object to
 * wait for.
 */

import { IdTable } from './id-table.ts';

/** No request's ID. */
const NONE = -1;

/** A map from request IDs, 0 … 65 535, to values. */
export class RequestTable<T> {
  #id = NONE;
  #value: T | undefined;
  /** Undefined: there was never more than one at a time. */
  #others: IdTable<T> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(id: number): boolean {
    return this.#id === id || this.#hasOther(id);
  }

  get(id: number): T | undefined {
    if (this.#id === id) return this.#value;
    return this.#hasOthers ? this.#others?.get(id) : undefined;
  }

  set(id: number, value: T): void {
    if (this.#id !== id && (this.#id !== NONE || this.#hasOther(id))) {
      this.#others ??= new IdTable();
      this.#others.set(id, value);
      this.#size = this.#others.size + (this.#id === NONE ? 0 : 1);
      return;
    }
    if (this.#id === NONE) this.#size++;
    this.#id = id;
    this.#value = value;
  }

  /** Returns whether there was something to delete. */
  delete(id: number): boolean {
    if (this.#id === id) {
      this.#id = NONE;
      this.#value = undefined;
    } else if (!this.#hasOthers || this.#others?.delete(id) !== true) return false;
    this.#size--;
    return true;
  }

  clear(): void {
    this.#id = NONE;
    this.#value = undefined;
    this.#others = undefined;
    this.#size = 0;
  }

  /** The values as they are now, in the order of their IDs; the table may be changed while they are gone through. */
  values(): T[] {
    const ids = this.#others?.ids() ?? [];
    if (this.#id !== NONE) ids.push(this.#id);
    return ids.sort((one, other) => one - other).map((id) => this.get(id) as T);
  }

  get #hasOthers(): boolean {
    return this.#size > (this.#id === NONE ? 0 : 1);
  }

  #hasOther(id: number): boolean {
    return this.#hasOthers && this.#others?.has(id) === true;
  }
}
