/** Figures from a noisy machine: medians with their spread, ratios paired round by round, latency histograms. */
import * as hdr from 'hdr-histogram-js';
import { median } from '../src/experiment/results/statistics.ts';

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Median absolute deviation from the median. */
  readonly mad: number;
  readonly n: number;
}

export function spread(values: readonly number[]): Spread {
  const middle = median(values);
  return {
    median: middle,
    min: Math.min(...values),
    max: Math.max(...values),
    mad: median(values.map((value) => Math.abs(value - middle))),
    n: values.length,
  };
}

/**
 * Of the ratios of values that were measured next to each other: what slows the machine for a while slows both sides.
 * @throws RangeError when the two do not pair.
 */
export function pairedRatio(ours: readonly number[], theirs: readonly number[]): Spread {
  if (ours.length !== theirs.length)
    throw new RangeError(`${ours.length} values do not pair with ${theirs.length}`);
  return spread(ours.map((value, i) => value / theirs[i]!));
}

/** All in milliseconds. */
export interface LatencySummary {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  readonly count: number;
}

/** An HdrHistogram in steps of a microsecond, exact to three digits, up to a minute. */
export class Latency {
  readonly #histogram = hdr.build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 60_000_000,
    numberOfSignificantValueDigits: 3,
  });

  record(milliseconds: number): void {
    this.#histogram.recordValue(Math.min(60_000_000, Math.max(1, Math.round(milliseconds * 1000))));
  }

  reset(): void {
    this.#histogram.reset();
  }

  summary(): LatencySummary {
    const at = (percent: number) => this.#histogram.getValueAtPercentile(percent) / 1000;
    return { p50: at(50), p99: at(99), p999: at(99.9), max: at(100), count: this.#histogram.totalCount };
  }
}
