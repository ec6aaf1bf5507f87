/**
 * Whether the main thread has room to encode what it could. The way to a lane and back costs this thread a message and
 * a wake-up on either side, and the lane as much, so all threads together always take less where a small response is encoded
 * where it is. But lanes work beside this thread, and everybody waits for it: when it is at work for most of the time, what
 * fills a batch goes to them, until less comes than was too much. Part of it to either would cost more than all of it to one: batches would be
 * smaller, and as many.
 */

import type { Turns } from '../connection/turns.ts';

/** Bytes of the largest that is small: it takes the encoder some 20 µs. */
export const SMALL = 8192;
/**
 * Bytes of the largest that a crowd of is for here. A lane that encodes it in a batch costs all threads some 2 µs more, however long it
 * is, and takes its bytes' time off this one.
 */
const CROWD = 2048;
/** What each response costs beside its bytes, in bytes. Each of these is some 2 to 4 ns. */
const BESIDE = 512;
/** For how much of the time the main thread may be at work, where lanes are for less. */
const FULL = 0.85;
/** With so little to do without encoding, it can encode all. */
const FREE = 0.25;
/** Of what was too much, so much may come at most before it is tried again, or so many milliseconds have to pass: other things may have been it. */
const ENOUGH_LESS = 0.75;
const TRIED_AGAIN_MS = 10_000;
/** What comes to so much in a turn of the event loop costs this thread as much on either way. */
const FEW = 32 << 10;
/** Most that is encoded in one turn, some 2 to 4 ms: others wait meanwhile. */
const MOST = 1 << 20;
/** How much of what is known of turns the newest replaces. */
const NEWEST = 0.125;

export class InlineRoom {
  readonly #turns: Turns;
  /** Whether there is room for more than a few. */
  #isRoom = true;
  /** What comes in a millisecond, and what came of that when the room ended, so long ago. */
  #rate = 0;
  #tooMuch = 0;
  #endedMsAgo = 0;
  #sinceLook = 0;
  /** What comes in a turn. */
  #usual = 0;
  /** The newest turn in which anything came: what came in it, and what of that was encoded here. */
  #turn = -1;
  #came = 0;
  #encoded = 0;

  constructor(turns: Turns) {
    this.#turns = turns;
  }

  /** {@link OnLook} of lanes-in-use.ts. */
  looked(main: number, lanes: number, spanMs: number, weight: number): void {
    this.#rate += weight * (this.#sinceLook / spanMs - this.#rate);
    this.#sinceLook = 0;
    if (this.#isRoom) this.#endWhere(main > Math.max(FULL, lanes));
    else this.#isRoom = this.#isRoomAgain(main, spanMs);
  }

  #endWhere(isFull: boolean): void {
    this.#isRoom = !isFull;
    this.#tooMuch = this.#rate;
    this.#endedMsAgo = 0;
  }

  #isRoomAgain(main: number, spanMs: number): boolean {
    this.#endedMsAgo += spanMs;
    if (main < FREE || this.#rate < ENOUGH_LESS * this.#tooMuch) return true;
    return this.#endedMsAgo >= TRIED_AGAIN_MS;
  }

  /** Counts a response of `bytes`; whether it should be encoded here. */
  admit(bytes: number): boolean {
    if (bytes > SMALL || bytes === 0) return false;
    if (this.#turns.number !== this.#turn) this.#beginTurn();
    const cost = bytes + BESIDE;
    this.#came += cost;
    this.#sinceLook += cost;
    if (this.#encoded + cost > MOST) return false;
    if (!this.#areFew && (bytes > CROWD || !this.#isRoom)) return false;
    this.#encoded += cost;
    return true;
  }

  get #areFew(): boolean {
    return this.#came <= FEW && this.#usual <= FEW;
  }

  #beginTurn(): void {
    this.#turn = this.#turns.number;
    this.#usual += NEWEST * (this.#came - this.#usual);
    this.#came = 0;
    this.#encoded = 0;
  }
}
