/** Which known name somebody has meant. */

/** Names that differ by more than a third of their letters mean something else. */
const LETTERS_PER_MISTAKE = 3;
/** Fewer letters than this are the beginning of too many names. */
const PREFIX_LETTERS = 4;

/** What to add to an error about `name`, which is not known: nothing, or what was probably meant. */
export function didYouMean(name: string, known: readonly string[]): string {
  const near = nearest(name, known);
  return near === undefined ? '' : `, did you mean '${near}'?`;
}

/** The known name that `name` was probably meant to be; undefined: there is none. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const given = name.toLowerCase();
  if (given.length > 64) return undefined;
  let best: string | undefined;
  let fewest = Math.max(1, Math.floor(given.length / LETTERS_PER_MISTAKE)) + 1;
  for (const candidate of known) {
    const mistakes = mistakesBetween(given, candidate.toLowerCase());
    if (mistakes < fewest) [best, fewest] = [candidate, mistakes];
  }
  return best ?? known.find((candidate) => isPartOf(given, candidate.toLowerCase()));
}

/** A name without its unit, or with one that it does not have. */
function isPartOf(a: string, b: string): boolean {
  const [short, long] = a.length < b.length ? [a, b] : [b, a];
  return short.length >= PREFIX_LETTERS && (long.startsWith(short) || long.endsWith(short));
}

/** Letters to change, add, leave out or swap with their neighbour (optimal string alignment). */
function mistakesBetween(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      row[j] = Math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + same);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) row[j] = Math.min(row[j], before[j - 2] + 1);
    }
    [before, above] = [above, row];
  }
  return above[b.length];
}
