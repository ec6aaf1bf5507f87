/**
 * A batch of finished frames on loan to the writers that send from it: owns how many still have some of it, and decides which runs
 * leave from the batch itself and which are copied.
 */

import { BATCH_SIZE } from '../../workers/batch.ts';

/** Where finished frames go. */
export interface FrameTarget {
  /** `bytes` are whole frames, and the target's own, or with `release` its until it calls that, which it always does. */
  send(bytes: Uint8Array, release?: () => void): void;
}

/** Runs up to this size are copied out of their batch: that costs less than to keep the batch for them. */
const COPY_LIMIT = 4096;
/**
 * While a lane has lent this many batches to slow readers, a run has to fill this much of one to keep it: together they
 * hold these, and otherwise at most four times their bytes.
 */
const FREE_LOANS = 8;
const LEND_ALWAYS = BATCH_SIZE / 4;

/** A delivered batch, on loan to the writers that send from it; it goes home when the last of them is done. */
export class BatchLease {
  readonly #batch: ArrayBuffer;
  readonly #giveBack: (batch: ArrayBuffer) => void;
  readonly #copyLimit: number;
  #holders = 1;

  /** `lent`: how many of the lane's batches writers have already. */
  constructor(batch: ArrayBuffer, lent: number, giveBack: (batch: ArrayBuffer) => void) {
    this.#batch = batch;
    this.#copyLimit = lent < FREE_LOANS ? COPY_LIMIT : LEND_ALWAYS;
    this.#giveBack = giveBack;
  }

  /** Sends a run of frames: from the batch itself, or copied where a slow reader would keep the batch for long. */
  send(writer: FrameTarget, bytes: Uint8Array, start: number, end: number): void {
    if (end - start <= this.#copyLimit) {
      writer.send(bytes.slice(start, end));
      return;
    }
    this.#holders++;
    writer.send(bytes.subarray(start, end), this.release);
  }

  readonly release = (): void => {
    if (--this.#holders === 0) this.#giveBack(this.#batch);
  };
}
