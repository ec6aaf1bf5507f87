/** How long to wait before what has failed is tried again. */

/** Milliseconds after so many failures in a row, 1 or more: `firstMs`, then twice as many each time, up to `mostMs`; jittered. */
export function backoff(failures: number, firstMs: number, mostMs: number, random?: () => number): number {
  return jittered(Math.min(mostMs, firstMs * 2 ** (failures - 1)), random);
}

/**
 * From half of `delayMs` to all of it: clients that have lost the same server do not come back as one. `random`: from 0 to
 * below 1.
 */
export function jittered(delayMs: number, random: () => number = Math.random): number {
  return Math.ceil(delayMs * (0.5 + random() / 2));
}
