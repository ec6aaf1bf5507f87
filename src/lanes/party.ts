/** Who shares a lane with whom: each of them is known to its thread by a number. */

const numbers = new WeakMap<object, number>();
let newest = 0;

/** The number of whom `whose` stands for, such as the flow of a connection; 1 … 2³² − 1, and then again from 1. */
export function partyOf(whose: object): number {
  let number = numbers.get(whose);
  if (number === undefined) {
    newest = (newest % 0xffff_ffff) + 1;
    number = newest;
    numbers.set(whose, number);
  }
  return number;
}
