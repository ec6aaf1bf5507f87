/** Finite state entropy, the side of who makes tables: from counts to frequencies, to their description (RFC 8878, 4.1.1). */

import { highBit } from '../zstd-entropy.ts';
import { BitWriter } from './bits.ts';

const MIN_LOG = 5;

/**
 * Frequencies in 2^log of symbols that were seen `counts` times, one state at least for each that was seen at all. The
 * states are given out one by one to whom they save the most bits, which makes the sum the least there is.
 * −1 is a symbol that is rarer than one state in all.
 */
export function normalise(counts: ArrayLike<number>, log: number): number[] {
  const size = 1 << log;
  const frequencies: number[] = Array.from(counts, (count) => (count > 0 ? 1 : 0));
  const total = Array.from(counts).reduce((sum, count) => sum + count, 0);
  const saves = (symbol: number) => counts[symbol] * Math.log2(1 + 1 / frequencies[symbol]);
  const saved = frequencies.map((frequency, symbol) => (frequency > 0 ? saves(symbol) : 0));
  for (let left = size - frequencies.reduce((sum, each) => sum + each, 0); left > 0; left--) {
    const best = indexOfMost(saved);
    frequencies[best]++;
    saved[best] = saves(best);
  }
  return frequencies.map((frequency, symbol) =>
    frequency === 1 && counts[symbol] * size < total ? -1 : frequency,
  );
}

function indexOfMost(values: readonly number[]): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** What FseTable.read() reads. `frequencies` add up to 2^log, −1 counting as 1. */
export function describeFrequencies(frequencies: readonly number[], log: number): Uint8Array {
  const bits = new BitWriter();
  bits.write(log - MIN_LOG, 4);
  let remaining = 1 << log;
  for (let symbol = 0; remaining > 0; ) {
    const frequency = frequencies[symbol++];
    writeValue(bits, frequency + 1, remaining + 1);
    remaining -= Math.abs(frequency);
    if (frequency !== 0) continue;
    let zeros = 0;
    while (frequencies[symbol + zeros] === 0) zeros++;
    symbol += zeros;
    for (; zeros >= 3; zeros -= 3) bits.write(3, 2);
    bits.write(zeros, 2);
  }
  return bits.bytes();
}

/** A value from 0 to `most`; the smaller ones take one bit less. */
function writeValue(bits: BitWriter, value: number, most: number): void {
  const width = highBit(most);
  const threshold = (2 << width) - 1 - most;
  if (value < threshold) bits.write(value, width);
  else bits.write(value < 1 << width ? value : value + threshold, width + 1);
}
