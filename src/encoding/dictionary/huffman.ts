/** A Huffman table for all 256 literals: the best code lengths, and their description (RFC 8878, 4.2.1). */

import { FseTable } from '../zstd-entropy.ts';
import { writeBackwards } from './bits.ts';
import { describeFrequencies, normalise } from './fse.ts';

const MAX_BITS = 11;
const WEIGHTS_LOG = 6;
/** Weights are from 0 (no code) to this. */
const MAX_WEIGHT = MAX_BITS + 1;

/**
 * Lengths of the best prefix code of at most 11 bits for symbols that were seen `counts` > 0 times. Package-merge: in
 * each of 11 rounds what is there is joined in pairs, and the cheapest 2n − 2 of the last round say how often a
 * symbol's code gets a bit longer.
 */
export function codeLengths(counts: readonly number[]): Uint8Array {
  interface Package {
    readonly weight: number;
    readonly symbols: readonly number[];
  }
  const byWeight = (a: Package, b: Package) => a.weight - b.weight;
  const leaves = counts.map((weight, symbol): Package => ({ weight, symbols: [symbol] })).sort(byWeight);
  let packages: Package[] = leaves;
  for (let bits = 1; bits < MAX_BITS; bits++) {
    const pairs: Package[] = [];
    for (let i = 0; i + 1 < packages.length; i += 2) {
      const [a, b] = [packages[i], packages[i + 1]];
      pairs.push({ weight: a.weight + b.weight, symbols: [...a.symbols, ...b.symbols] });
    }
    packages = [...leaves, ...pairs].sort(byWeight);
  }
  const lengths = new Uint8Array(counts.length);
  for (const { symbols } of packages.slice(0, 2 * counts.length - 2)) {
    for (const symbol of symbols) lengths[symbol]++;
  }
  return lengths;
}

/** What HuffmanTable.read() reads. Every symbol has a code; `lengths` are those of a full prefix code. */
export function describeLengths(lengths: Uint8Array): Uint8Array {
  const maxBits = Math.max(...lengths);
  const weights = Array.from(lengths, (length) => maxBits + 1 - length);
  // The last one follows from the others.
  const coded = codeWeights(weights.slice(0, -1));
  return Uint8Array.of(coded.length, ...coded);
}

/** Weights under FSE: two states take turns, each going through every second weight. */
function codeWeights(weights: readonly number[]): Uint8Array {
  const counts = new Array<number>(MAX_WEIGHT + 1).fill(0);
  for (const weight of weights) counts[weight]++;
  // A table of one symbol takes no bits at all, and would have no end.
  if (counts.filter((count) => count > 0).length === 1) counts[0]++;
  const frequencies = normalise(counts, WEIGHTS_LOG);
  const table = new FseTable(WEIGHTS_LOG, MAX_WEIGHT);
  table.build(frequencies, WEIGHTS_LOG);

  const count = weights.length;
  const states = new Array<number>(count);
  for (let i = count - 1; i >= 0; i--) {
    states[i] = i + 2 < count ? stateBefore(table, weights[i], states[i + 2]) : lastState(table, weights[i]);
  }
  const fields = [states[0], states[1]].map((value) => ({ value, count: table.log }));
  for (let i = 0; i + 2 < count; i++) {
    fields.push({ value: states[i + 2] - table.bases[states[i]], count: table.bits[states[i]] });
  }
  const described = describeFrequencies(frequencies, WEIGHTS_LOG);
  return Uint8Array.of(...described, ...writeBackwards(fields));
}

/** The state that gives `symbol` and can go on to `next`. */
function stateBefore({ symbols, bases, bits }: FseTable, symbol: number, next: number): number {
  return symbols.findIndex(
    (each, state) => each === symbol && next >= bases[state] && next < bases[state] + (1 << bits[state]),
  );
}

/** One that asks for bits which are not there, by which a decoder knows the end. */
function lastState({ symbols, bits }: FseTable, symbol: number): number {
  return symbols.findIndex((each, state) => each === symbol && bits[state] > 0);
}
