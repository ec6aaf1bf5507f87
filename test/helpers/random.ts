/** The one seeded generator of the tests (mulberry32): the same numbers for the same seed. */

/** Whole numbers from 0 up to, not including, 2^32. */
export function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}

/** Numbers from 0 up to, not including, 1. */
export function randomNumbers(seed: number): () => number {
  const next = numbers(seed);
  return () => next() / 2 ** 32;
}
