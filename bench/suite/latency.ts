/** Open-loop latency at parts of the saturation, 900-byte responses on one connection. */

import { median } from '../../src/experiment/results/statistics.ts';
import type { Bench } from '../bench.ts';
import { figure } from '../figures.ts';
import { makePayloads, noteOf, type PayloadSpec } from '../payloads.ts';
import { type Measurement, Rig } from '../proc.ts';
import { spread } from '../stats.ts';

const LOADS = [0.25, 0.5, 0.75];

export const latency: Bench = {
  name: 'latency',
  describe: 'p50, p99 and p99.9 at a quarter, half and three quarters of saturation',
  async run({ quick, seed, progress }) {
    const payloads: PayloadSpec = { name: 'json900', seed, streams: 2 };
    const rounds = quick ? 3 : 7;
    const seconds = quick ? 2 : 5;
    const total = rounds * (1 + LOADS.length);
    await using rig = await Rig.start({ peer: 'millrace', payloads });
    const closed = { kind: 'closed', inFlight: 100 } as const;
    await rig.measure(closed, 0.2, quick ? 1 : 2);
    const saturations: number[] = [];
    const byLoad = new Map<number, Measurement[]>(LOADS.map((load) => [load, []]));
    let done = 0;
    for (let round = 0; round < rounds; round++) {
      progress(done++, total, 'saturation');
      saturations.push((await rig.measure(closed, seconds / 2, 0.3)).requestsPerSecond);
      for (const load of LOADS) {
        progress(done++, total, `${load * 100} % of saturation`);
        const rate = load * median(saturations);
        byLoad.get(load)!.push(await rig.measure({ kind: 'open', rate, seed: seed + round }, seconds, 0.5));
      }
    }
    const p99 = spread(byLoad.get(0.5)!.map((each) => each.latency.p99));
    const at = (load: number, pick: (m: Measurement) => number) => median(byLoad.get(load)!.map(pick));
    return {
      bench: 'latency',
      summary:
        'Poisson arrivals, latency from the scheduled time; load generator on the same machine, arrivals released every millisecond, which the latencies include.',
      payloads: [noteOf(makePayloads(payloads))],
      tables: [
        {
          title: 'Latency, medians of the rounds',
          columns: ['load', 'requests/s', 'p50 ms', 'p99 ms', 'p99.9 ms', 'max ms'],
          rows: LOADS.map((load) => [
            `${load * 100} %`,
            Math.round(at(load, (m) => m.requestsPerSecond)),
            at(load, (m) => m.latency.p50),
            at(load, (m) => m.latency.p99),
            at(load, (m) => m.latency.p999),
            at(load, (m) => m.latency.max),
          ]),
          note: `Saturation, closed loop with 100 in flight: ${Math.round(median(saturations))} requests per second.`,
        },
      ],
      charts: [
        {
          title: 'Latency against load',
          kind: 'line',
          x: 'load, % of saturation',
          y: 'ms',
          series: 'percentile',
          points: LOADS.flatMap((load) => [
            { 'load, % of saturation': load * 100, ms: at(load, (m) => m.latency.p50), percentile: 'p50' },
            { 'load, % of saturation': load * 100, ms: at(load, (m) => m.latency.p99), percentile: 'p99' },
            { 'load, % of saturation': load * 100, ms: at(load, (m) => m.latency.p999), percentile: 'p99.9' },
          ]),
        },
      ],
      figures: [figure('latency.p99_half_load', p99.median, p99)],
      skipped: [],
      raw: { saturations, byLoad: Object.fromEntries(byLoad) },
    };
  },
};
