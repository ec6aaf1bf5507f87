/** What one connection holds of the memory that input may take. */

/** What a connection may hold whatever the others do, in bytes: a frame of the largest default payload fits. */
export const OWN_SHARE = 64 * 1024;

/** What all connections hold together (InputBudget), as the share of one sees it. */
export interface Budget {
  readonly limit: number;
  readonly used: number;
  readonly counts: { refused: number; cancelled: number };
  /** What `share` holds has become `after` bytes. */
  changed(share: InputShare, before: number, after: number): void;
  /** Whether `share` may hold `bytes` more, once those that hold more than that have let go. */
  makeRoom(share: InputShare, bytes: number): boolean;
  /** Calls `resume` once, when there may be room again. */
  wait(resume: () => void): void;
}

/** Whose share it is. */
export interface InputHolder {
  /** Lets go of the request that holds the most, if there is one that can: whether it has. */
  letGo(): boolean;
}

export class InputShare {
  readonly #budget: Budget;
  holder: InputHolder | undefined;
  #held = 0;
  #closed = false;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  /** Bytes that the connection holds. */
  get held(): number {
    return this.#held;
  }

  /** Whether the budget is used up, and this connection past its own share of it. */
  get spent(): boolean {
    return this.#held > OWN_SHARE && this.#budget.used > this.#budget.limit;
  }

  /** Bytes that it may hold whatever the others do. */
  get own(): number {
    return OWN_SHARE;
  }

  get counts(): Budget['counts'] {
    return this.#budget.counts;
  }

  /** Whether `bytes` more may be held; others that hold more let go of some for it. */
  makeRoom(bytes: number): boolean {
    return this.#budget.makeRoom(this, bytes);
  }

  /** `bytes` more are held, or fewer when negative. */
  take(bytes: number): void {
    if (this.#closed || bytes === 0) return;
    const before = this.#held;
    this.#held += bytes;
    this.#budget.changed(this, before, this.#held);
  }

  give(bytes: number): void {
    this.take(-bytes);
  }

  /** Calls `resume` once, when there may be room again. */
  wait(resume: () => void): void {
    this.#budget.wait(resume);
  }

  /** The connection is gone, and holds nothing any more. */
  close(): void {
    this.take(-this.#held);
    this.#closed = true;
  }
}

const BOUNDLESS: Budget = {
  limit: Number.POSITIVE_INFINITY,
  used: 0,
  counts: { refused: 0, cancelled: 0 },
  changed: () => undefined,
  makeRoom: () => true,
  // Whoever has room does not wait.
  wait: () => undefined,
};

/** A share that nothing bounds, for a peer that others cannot be told from: a client's one server. */
export function unbounded(): InputShare {
  return new InputShare(BOUNDLESS);
}
