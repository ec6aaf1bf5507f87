/**
 * The memory that what peers send may take on its way in, all connections together: a hard budget in bytes. Held arguments,
 * frames that wait for a decoder or behind one, unread command data and frames that are not whole count while they are
 * held, as much of them as has come. When it is used up, whoever holds the most has to let go first.
 */

import { type Budget, InputShare, OWN_SHARE } from './input-share.ts';

/** Connections looked at to find one that can let go; if none of these can, the others most likely cannot, either. */
const MAX_LOOKS = 64;

/** Bits of a number of bytes that is large but can be. */
const SIZES = 53;

export class InputBudget implements Budget {
  /** Bytes that all connections together may hold. */
  readonly limit: number;
  /** Requests refused for want of room before anything of them ran, and requests cancelled for it, since the start. */
  readonly counts = { refused: 0, cancelled: 0 };
  #used = 0;
  /** Connections past their share, by the bits of what they hold. */
  readonly #large = Array.from({ length: SIZES + 1 }, () => new Set<InputShare>());
  #waiters: (() => void)[] = [];
  #makingRoom = false;

  constructor(limit: number) {
    this.limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  /** The share of a new connection. */
  open(): InputShare {
    return new InputShare(this);
  }

  changed(share: InputShare, before: number, after: number): void {
    this.#used += after - before;
    const from = sizeOf(before);
    const to = sizeOf(after);
    if (from !== to) {
      if (from > 0) this.#large[from].delete(share);
      if (to > 0) this.#large[to].add(share);
    }
    // Waking waits for a quarter of the room, so that a crowd does not wake for every frame.
    if (this.#waiters.length > 0 && this.#used <= this.limit * 0.75) this.#wake();
  }

  makeRoom(share: InputShare, bytes: number): boolean {
    // What lets go looks again at what it holds, and must not make others let go in the middle of this.
    if (this.#makingRoom || share.held + bytes <= OWN_SHARE || this.#hasRoom(bytes)) return true;
    this.#makingRoom = true;
    try {
      this.#relieve(share.held + bytes, bytes);
    } finally {
      this.#makingRoom = false;
    }
    return this.#hasRoom(bytes);
  }

  #hasRoom(bytes: number): boolean {
    return this.#used + bytes <= this.limit;
  }

  /** Has those that hold more than `least` let go, the largest first (to a factor of two), until there is room for `bytes`. */
  #relieve(least: number, bytes: number): void {
    let looks = MAX_LOOKS;
    for (let size = SIZES; size >= Math.max(1, sizeOf(least)); size--) {
      for (const other of [...this.#large[size]]) {
        if (looks-- === 0) return;
        while (!this.#hasRoom(bytes) && other.held > least && other.holder?.letGo());
        if (this.#hasRoom(bytes)) return;
      }
    }
  }

  wait(resume: () => void): void {
    this.#waiters.push(resume);
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resume of waiters) resume();
  }
}

/** 0 within a connection's own share; else the bits of the number. */
function sizeOf(bytes: number): number {
  return bytes <= OWN_SHARE ? 0 : Math.min(SIZES, 1 + Math.floor(Math.log2(bytes)));
}
