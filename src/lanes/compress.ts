/** One-off compression on a lane, for outputs that main-thread handlers yield as cached. */

import type { BatchReader } from '../../workers/batch.ts';
import { unpackPieces } from '../../workers/packed.ts';
import { Op } from '../../workers/records.ts';
import type { SlotOwner } from './lane.ts';
import type { LanePool } from './pool.ts';

class Job implements SlotOwner {
  readonly writer = undefined;
  readonly #then: (pieces: Uint8Array[] | undefined) => void;
  #close = (): void => undefined;

  constructor(
    pool: LanePool,
    whose: object,
    bytes: Uint8Array,
    then: (pieces: Uint8Array[] | undefined) => void,
    level: number,
  ) {
    this.#then = then;
    const lane = pool.leastUsed();
    if (lane === undefined) {
      then(undefined);
      return;
    }
    const slot = lane.open(this, whose);
    const close = () => lane.close(slot);
    this.#close = close;
    lane.input.add(Op.compress, slot, 0, 0, level, bytes);
  }

  onFrame(): void {}

  onRecord(record: BatchReader): void {
    this.#close();
    this.#then(unpackPieces(record.payload));
  }

  onLost(): void {
    this.#then(undefined);
  }
}

/**
 * Compresses `bytes` whole on the least used lane; `then` gets undefined when that lane dies meanwhile. `level`: 1 … 19, or 0 for
 * that of the cache. `whose`: as in {@link Lane.open}.
 */
export function compressOnLane(
  pool: LanePool,
  whose: object,
  bytes: Uint8Array,
  then: (pieces: Uint8Array[] | undefined) => void,
  level = 0,
): void {
  new Job(pool, whose, bytes, then, level);
}
