/**
 * Whose each slot of a lane is, in memory that both sides share: a lane deals its time out among parties, however many slots one of
 * them has. The main thread writes it down before the first record of the slot leaves.
 */

/** Slots that can be told apart; those with a higher number are {@link NOBODY}'s. */
const MAX_SLOTS = 1 << 16;
/** The party of what is done for no peer. */
export const NOBODY = 0;

export class Parties {
  readonly memory: SharedArrayBuffer;
  readonly #numbers: Uint32Array;

  constructor(memory = new SharedArrayBuffer(4 * MAX_SLOTS)) {
    this.memory = memory;
    this.#numbers = new Uint32Array(memory);
  }

  of(slot: number): number {
    return slot < MAX_SLOTS ? Atomics.load(this.#numbers, slot) : NOBODY;
  }

  set(slot: number, party: number): void {
    if (slot < MAX_SLOTS) Atomics.store(this.#numbers, slot, party);
  }
}
