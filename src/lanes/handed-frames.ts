/**
 * What was handed to a lane to be made frames of, and has not come back, by slot: should the lane die, it goes out as it is (a frame
 * says for itself whether it is encoded). The frames of a slot come back in the order in which they were handed in, one for each.
 */

import { Fifo } from '../wire/fifo.ts';

/** A frame that is not encoded: where it belongs, and what it holds. */
export interface HandedFrame {
  readonly requestId: number;
  readonly type: number;
  readonly flags: number;
  /** Not a copy: bytes that a handler has yielded are not its own any more. */
  readonly payload: Uint8Array;
  readonly length: number;
  /** Its payload was to be encoded, and has used up credit. */
  readonly credited: boolean;
}

export class HandedFrames {
  readonly #bySlot: (Fifo<HandedFrame> | undefined)[] = [];
  readonly #distrusted = new Set<number>();
  #trusted = true;

  add(slot: number, frame: HandedFrame): void {
    this.#bySlot[slot] ??= new Fifo();
    this.#bySlot[slot].push(frame);
  }

  /** The oldest of the slot is back. */
  returned(slot: number): void {
    this.#bySlot[slot]?.shift();
  }

  /** Nobody wants the slot's frames any more, or nothing of it comes any more: it may be another's from now on. */
  drop(slot: number): void {
    this.#bySlot[slot] = undefined;
    this.#distrusted.delete(slot);
  }

  /** An encoder has failed: of what was handed in on the slot some belongs to responses that are over. */
  distrust(slot: number): void {
    this.#distrusted.add(slot);
  }

  /** It is not known any more what has come back. */
  distrustAll(): void {
    this.#trusted = false;
  }

  /** The thread is dead: what is left of a slot, in order; undefined: nobody knows. */
  left(slot: number): readonly HandedFrame[] | undefined {
    if (!this.#trusted || this.#distrusted.has(slot)) return undefined;
    const frames = [...(this.#bySlot[slot] ?? [])];
    // Bytes that were transferred since are gone.
    return frames.every(({ payload, length }) => payload.length === length) ? frames : undefined;
  }
}
