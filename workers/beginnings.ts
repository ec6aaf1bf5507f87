/**
 * How streams of one kind begin whose context is made late. Without it their first responses go by the encoder that all of
 * the thread have in common, at a higher level: a short connection then needs no context, which takes longer to make than that
 * takes for so little, and memory. Where responses have more in common with those before them than with the dictionary, the
 * context makes fewer bytes of them from the second on. So streams begin in both ways, most of them in that which has made less of
 * the first bytes of streams lately.
 */

/** Bytes of a stream, before encoding, that are its beginning: about what is encoded at the higher level in the time that making a context takes. */
export const BEGINNING_BYTES = 12 << 10;
/** Streams take turns until so much is known of either way; then every so many-th takes the one that is behind. */
const KNOWN_BYTES = 2 * BEGINNING_BYTES;
const TRIAL_EVERY = 256;
/**
 * Ways that differ by no more than this part of their bytes are taken by chance, the better one more often. Streams of all peers
 * are counted: who adds some of his own, and sees how the next begins, would else learn to the byte what others' have come to.
 */
const ALIKE = 0.03;
/** What was longer ago counts half as much once so many bytes have come since. */
const HALVED_BYTES = 1 << 20;

interface Sums {
  before: number;
  after: number;
}

export class Beginnings {
  readonly #alone: Sums = { before: 0, after: 0 };
  readonly #kept: Sums = { before: 0, after: 0 };
  readonly #random: () => number;
  #streams = 0;

  /** `random`: numbers from 0 up to, not including, 1. */
  constructor(random = Math.random) {
    this.#random = random;
  }

  /** That of the next stream. */
  begin(): Beginning {
    const alone = this.#nextIsAlone(this.#streams++);
    return new Beginning(alone, alone ? this.#alone : this.#kept);
  }

  #nextIsAlone(number: number): boolean {
    const [alone, kept] = [this.#alone, this.#kept];
    if (Math.min(alone.before, kept.before) < KNOWN_BYTES) return number % 2 === 0;
    const chance = 1 + ALIKE * (this.#random() - this.#random());
    const aloneIsAhead = alone.after * kept.before <= kept.after * alone.before * chance;
    return (number % TRIAL_EVERY === 0) !== aloneIsAhead;
  }
}

/** The beginning of one stream. */
export class Beginning {
  /** Whether it goes without a context. */
  readonly alone: boolean;
  readonly #sums: Sums;
  #left = BEGINNING_BYTES;

  constructor(alone: boolean, sums: Sums) {
    this.alone = alone;
    this.#sums = sums;
  }

  /** Takes in a payload of so many bytes; false: it is over before that. */
  takes(bytes: number): boolean {
    this.#left -= bytes;
    return this.#left >= 0;
  }

  /** Counts a payload, by its bytes before encoding and after. */
  count(before: number, after: number): void {
    const sums = this.#sums;
    sums.before += before;
    sums.after += after;
    if (sums.before < HALVED_BYTES) return;
    sums.before /= 2;
    sums.after /= 2;
  }
}
