/**
 * What was handed to a lane to be made frames of, and has not come back: should the lane die, it goes out as it is (a frame says for
 * itself whether it is encoded). Each batch is copied as it leaves, which is one copy for many frames, and let go of when it comes home.
 */

import { BatchReader, freeBatch } from '../../workers/batch.ts';
import { Op } from '../../workers/records.ts';

/** A frame that is not encoded: where it belongs, and what it holds. */
export interface HandedFrame {
  readonly requestId: number;
  readonly type: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  /** Its payload was to be encoded, and has used up credit. */
  readonly credited: boolean;
}

export class HandedFrames {
  /** How many were handed in on each slot, and how many of these have come back, in the same order; both wrap at 2^32. */
  readonly #handed: number[] = [];
  readonly #returned: number[] = [];
  /** Copies of the batches that the thread has, by their numbers, oldest first. */
  readonly #copies = new Map<number, ArrayBuffer>();
  readonly #distrusted = new Set<number>();
  #trusted = true;

  /** The number of the next one on a slot. */
  next(slot: number): number {
    const number = ((this.#handed[slot] ?? 0) + 1) >>> 0;
    this.#handed[slot] = number;
    return number;
  }

  /** The oldest of the slot is back. */
  returned(slot: number): void {
    this.#returned[slot] = ((this.#returned[slot] ?? 0) + 1) >>> 0;
  }

  /** Nothing of the slot's comes any more: it may be another's from now on. */
  slotFree(slot: number): void {
    this.#returned[slot] = this.#handed[slot] ?? 0;
    this.#distrusted.delete(slot);
  }

  keep(batch: number, copy: ArrayBuffer): void {
    this.#copies.set(batch, copy);
  }

  /** The batch is home, and all that was made of it before it. */
  letGo(batch: number): void {
    const copy = this.#copies.get(batch);
    if (copy === undefined) return;
    this.#copies.delete(batch);
    freeBatch(copy);
  }

  /** An encoder has failed: of what was handed in on the slot some belongs to responses that are over. */
  distrust(slot: number): void {
    this.#distrusted.add(slot);
  }

  /** It is not known any more what has come back. */
  distrustAll(): void {
    this.#trusted = false;
  }

  /** The thread is dead: what is left of each slot, in order; undefined: nobody knows. Nothing is kept any more. */
  left(): (slot: number) => readonly HandedFrame[] | undefined {
    const left = new Map<number, HandedFrame[]>();
    for (const copy of this.#copies.values()) {
      const record = new BatchReader(copy);
      while (record.next()) if (isFrame(record) && this.#isLeft(record)) add(left, record);
    }
    this.#copies.clear();
    return (slot) => (this.#trusted && !this.#distrusted.has(slot) ? (left.get(slot) ?? []) : undefined);
  }

  #isLeft({ slot, extra }: BatchReader): boolean {
    return ((extra - (this.#returned[slot] ?? 0)) | 0) > 0;
  }
}

function isFrame({ op }: BatchReader): boolean {
  return op === Op.encode || op === Op.pass;
}

function add(
  left: Map<number, HandedFrame[]>,
  { slot, op, requestId, type, flags, payload }: BatchReader,
): void {
  const frame = { requestId, type, flags, payload, credited: op === Op.encode };
  const frames = left.get(slot);
  if (frames === undefined) left.set(slot, [frame]);
  else frames.push(frame);
}
