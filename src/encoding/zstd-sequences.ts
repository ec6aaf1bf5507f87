/** The three codes that a zstd sequence is made of, and which tables they are read by (RFC 8878, 3.1.1.3.2). */

import { corrupt, FseTable } from './zstd-entropy.ts';

/**
 * Most bits of a state, and the highest code, of each of the three FSE tables; bits of a state, and how often each code
 * comes, of the predefined ones.
 */
export const SEQUENCE_CODES = {
  offsets: {
    maxLog: 8,
    maxSymbol: 31,
    log: 5,
    frequencies: [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1],
  },
  matchLengths: {
    maxLog: 9,
    maxSymbol: 52,
    log: 6,
    frequencies: [
      1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
    ],
  },
  literalLengths: {
    maxLog: 9,
    maxSymbol: 35,
    log: 6,
    frequencies: [
      4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1,
      -1, -1,
    ],
  },
} as const;
export type SequenceCode = keyof typeof SEQUENCE_CODES;

/** Baselines and extra bits of the length codes (RFC 8878, 3.1.1.3.2.1.1). */
export const LITERAL_LENGTH_BITS = Uint8Array.of(
  ...zeros(16),
  ...[1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
);
export const LITERAL_LENGTH_BASES = basesOf(LITERAL_LENGTH_BITS, 0);
export const MATCH_LENGTH_BITS = Uint8Array.of(
  ...zeros(32),
  ...[1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
);
export const MATCH_LENGTH_BASES = basesOf(MATCH_LENGTH_BITS, 3);

/** The tables of one code: the predefined one, the last that a block has brought, and the one in use, if any. */
export class CodeTables {
  readonly #predefined: FseTable;
  readonly #own: FseTable;
  #current: FseTable | undefined;

  constructor(code: SequenceCode) {
    const { maxLog, maxSymbol, log, frequencies } = SEQUENCE_CODES[code];
    this.#own = new FseTable(maxLog, maxSymbol);
    this.#predefined = new FseTable(log, maxSymbol);
    this.#predefined.build(frequencies, log);
  }

  /** `initial` is what a mode of "repeat" means in the first block: a dictionary's table. */
  reset(initial: FseTable | undefined): void {
    this.#current = initial;
  }

  get table(): FseTable {
    return this.#current as FseTable;
  }

  /** Takes the table that `mode` says, reading its description at `at`; returns where that ends. */
  select(mode: number, bytes: Uint8Array, at: number, end: number): number {
    switch (mode) {
      case 0:
        this.#current = this.#predefined;
        return at;
      case 1:
        if (at >= end) throw corrupt('a sequences section that is cut off');
        this.#own.repeat(bytes[at]);
        this.#current = this.#own;
        return at + 1;
      case 2:
        this.#current = this.#own;
        return this.#own.read(bytes, at, end);
      default:
        if (this.#current === undefined) throw corrupt('a repeated table that was never sent');
        return at;
    }
  }
}

function zeros(count: number): number[] {
  return new Array<number>(count).fill(0);
}

/** Each code begins where the one before it ends. */
function basesOf(bits: Uint8Array, first: number): Uint32Array {
  const bases = new Uint32Array(bits.length);
  for (let code = 0, base = first; code < bits.length; base += 2 ** bits[code++]) bases[code] = base;
  return bases;
}
