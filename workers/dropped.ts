/**
 * Slots of a lane whose results nobody waits for any more, in memory that both sides share: what the thread still has to
 * decode for one, it passes over. By a record alone it would learn that only behind all that work.
 *
 * The main thread marks a slot and then sends its `close` record; the thread takes the mark back as it gets there, before
 * the slot can be another's.
 */

/** Slots that can be marked; what has a higher number is decoded in vain. */
const MAX_SLOTS = 1 << 16;

export class DroppedSlots {
  readonly memory: SharedArrayBuffer;
  readonly #marks: Uint8Array;

  constructor(memory = new SharedArrayBuffer(MAX_SLOTS)) {
    this.memory = memory;
    this.#marks = new Uint8Array(memory);
  }

  has(slot: number): boolean {
    return slot < MAX_SLOTS && Atomics.load(this.#marks, slot) === 1;
  }

  add(slot: number): void {
    if (slot < MAX_SLOTS) Atomics.store(this.#marks, slot, 1);
  }

  delete(slot: number): void {
    if (slot < MAX_SLOTS) Atomics.store(this.#marks, slot, 0);
  }
}
