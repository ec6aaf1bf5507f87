/**
 * How much of what the main thread could encode it does encode. The way to a lane and back costs this thread a message and
 * a wake-up on either side, and the lane as much, so all threads together always take less where a small response is encoded
 * where it is. But lanes work beside this thread, and everybody waits for it: where it is at work for most of the time, and for
 * more than they are, it deals out to them what fills a batch. What it waits for a core counts twice: on a machine that has too few
 * for all, who takes little of one is given it at once, and who takes much waits for as long as others take.
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
const AIM = 0.8;
/**
 * How much of what is too much, and of what is too little, each look makes up for. It is found out again and again how much this
 * thread can take, so that is slower: meanwhile everybody waits.
 */
const LESS = 3;
const MORE = 1;
/** What comes to so much in a turn of the event loop costs this thread as much on either way. */
const FEW = 32 << 10;
/** What goes the same way at a time: more than a batch. */
const RUN = 64 << 10;
/** Most that is encoded in one turn, some 2 to 4 ms: others wait meanwhile. */
const MOST = 1 << 20;
/** How much of what is known of turns the newest replaces. */
const NEWEST = 0.125;

export class InlineShare {
  readonly #turns: Turns;
  /** Of what comes, as far as it is not little: 0 … 1. */
  #share = 1;
  /** What comes in a turn. */
  #usual = 0;
  /** The newest turn in which anything came: what came in it, and what of that was encoded here. */
  #turn = -1;
  #came = 0;
  #encoded = 0;
  /** Whether what comes now is for here, and how much of that there is to be. */
  #isHere = true;
  #left = 0;
  /** What should have been encoded here and was not; negative: was, and should not have been. */
  #owed = 0;

  constructor(turns: Turns) {
    this.#turns = turns;
  }

  /** {@link OnLook} of lanes-in-use.ts. */
  looked(main: number, lanes: number, weight: number): void {
    const left = Math.max(AIM, lanes) - main;
    const share = this.#share + (left < 0 ? LESS : MORE) * weight * left;
    this.#share = Math.min(1, Math.max(0, share));
  }

  /** Counts a response of `bytes`; whether it should be encoded here. */
  admit(bytes: number): boolean {
    if (bytes > SMALL || bytes === 0) return false;
    if (this.#turns.number !== this.#turn) this.#beginTurn();
    const cost = bytes + BESIDE;
    this.#came += cost;
    if (this.#encoded + cost > MOST) return false;
    if (!this.#areFew && (bytes > CROWD || !this.#deal(cost))) return false;
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
    this.#beginRun();
  }

  #beginRun(): void {
    this.#isHere = this.#owed > 0;
    this.#left = RUN;
  }

  /** Whether it is for here. The last few of a turn go the way of those before them: by themselves they would fill no batch. */
  #deal(cost: number): boolean {
    if (this.#share === 1) return true;
    if (this.#left <= 0 && this.#came + FEW < this.#usual) this.#beginRun();
    this.#left -= cost;
    this.#owed += this.#share * cost - (this.#isHere ? cost : 0);
    return this.#isHere;
  }
}
