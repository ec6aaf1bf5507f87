/** Flow-control arithmetic, standing alone (protocol C4): bytes of response, counted before encoding. */

import { ProtocolError } from '../wire/errors.ts';

/** Largest window that credit may add up to, in bytes. */
export const MAX_WINDOW = 2 ** 31 - 1;

/** Bytes that a peer still lets us send; unlimited until it has announced a window. */
export class Window {
  #available: number;

  /** `initial` bytes, or undefined for no flow control. */
  constructor(initial: number | undefined) {
    this.#available = initial ?? Number.POSITIVE_INFINITY;
  }

  get available(): number {
    return this.#available;
  }

  get limited(): boolean {
    return this.#available !== Number.POSITIVE_INFINITY;
  }

  take(bytes: number): void {
    this.#available -= bytes;
  }

  /**
   * Adds what the peer has granted.
   * @throws ProtocolError when the window would pass {@link MAX_WINDOW}.
   */
  add(bytes: number): void {
    if (this.#available + bytes > MAX_WINDOW && this.limited) {
      throw new ProtocolError('limit', `credit of ${bytes} bytes takes a window past ${MAX_WINDOW} bytes`);
    }
    this.#available += bytes;
  }
}

/** What a gate may hold of its shared one's level whatever the others hold, in bytes. */
const OWN_SHARE = 128 * 1024;

/** Least room while less than that share is really filled, in bytes. */
const LEAST_ROOM = 4096;

/** A level that fills and empties; who finds it full waits for room. */
export class Gate {
  readonly limit: number;
  #used = 0;
  #promised = 0;
  #waiters: (() => void)[] = [];
  #shared: Gate | undefined;

  /** `shared`: a level that this one and others fill together; when it is full, each still has {@link OWN_SHARE}. */
  constructor(limit: number, shared?: Gate) {
    this.limit = limit;
    this.#shared = shared;
  }

  get used(): number {
    return this.#used;
  }

  get room(): number {
    const room = this.#roomLeft;
    return this.#hasShare ? Math.max(room, Math.min(LEAST_ROOM, this.limit)) : room;
  }

  get #roomLeft(): number {
    const own = Math.max(0, this.limit - this.#used);
    if (this.#shared === undefined) return own;
    return Math.min(own, Math.max(OWN_SHARE - this.#used, this.#shared.room));
  }

  /** Promises take room, but not all: who was promised something may be idle for long, and others have to go on. */
  get #hasShare(): boolean {
    return this.#promised > 0 && this.#used - this.#promised < Math.min(OWN_SHARE, this.limit);
  }

  /** {@link take} for what may come later, or never. */
  promise(bytes: number): void {
    this.#promised += bytes;
    this.take(bytes);
  }

  /** So much of what was promised has come, and is to be given as anything else. */
  keepPromise(bytes: number): void {
    this.#promised -= bytes;
  }

  take(bytes: number): void {
    this.#used += bytes;
    this.#shared?.take(bytes);
  }

  give(bytes: number): void {
    this.#used -= bytes;
    this.#shared?.give(bytes);
    // Waking waits for a quarter of the room, so that a crowd does not wake for every frame.
    if (this.#waiters.length > 0 && (this.#used <= this.limit * 0.75 || this.#hasShare)) this.#wakeInTurn();
  }

  /** Calls `resume` once, when there may be room again. */
  wait(resume: () => void): void {
    this.#waiters.push(resume);
  }

  /** Oldest first, while there is room; who still cannot go on waits again, behind the others. */
  #wakeInTurn(): void {
    for (let left = this.#waiters.length; left > 0 && (this.#used < this.limit || this.#hasShare); left--)
      this.#waiters.shift()?.();
  }

  /** Holds nothing any more, and lets all waiters look again. */
  close(): void {
    this.#shared?.give(this.#used);
    this.#shared = undefined;
    this.wake();
  }

  /** Lets all waiters look again, whatever the level. */
  wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resume of waiters) resume();
  }
}
