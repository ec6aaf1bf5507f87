/** Sizes as people write them. */

const MULTIPLES: Readonly<Record<string, number>> = { '': 1, K: 1 << 10, M: 1 << 20, G: 1 << 30 };

/** Bytes: a whole number, perhaps with K, M or G for powers of 1 024; NaN for all else. It may be unsafe as an integer. */
export function sizeOf(text: string): number {
  const [, digits, suffix] = /^(\d+)([KMG]?)$/i.exec(text) ?? [];
  return digits === undefined ? Number.NaN : Number(digits) * MULTIPLES[suffix.toUpperCase()];
}
