/**
 * Open-loop latency, 900-byte responses on one connection: at parts of our own saturation, and beside others at equal load,
 * half of what each of them can do, which is how their users would see a change to ours.
 */

import { median } from '../../src/experiment/results/statistics.ts';
import type { Bench, BenchContext, Result, Table } from '../bench.ts';
import { type Figure, figure } from '../figures.ts';
import { makePayloads, noteOf, type PayloadSpec } from '../payloads.ts';
import { findPeer } from '../peers/index.ts';
import { type Measurement, Rig } from '../proc.ts';
import { pairedRatio, spread } from '../stats.ts';

const LOADS = [0.25, 0.5, 0.75];
const HALF = 0.5;
const CLOSED = { kind: 'closed', inFlight: 100 } as const;
const OTHERS = [
  { id: 'latency.p99_vs_ws', peer: 'ws + deflate' },
  { id: 'latency.p99_vs_h2', peer: 'http2 + zstd sync' },
] as const;

type Other = (typeof OTHERS)[number];

/** Measurements at one offered load, ours and another's in turns. */
interface Pair {
  readonly other: Other;
  readonly ours: Measurement[];
  readonly theirs: Measurement[];
}

export const latency: Bench = {
  name: 'latency',
  describe: 'p50, p99 and p99.9 at a quarter, half and three quarters of saturation, and beside others',
  async run(context) {
    const payloads: PayloadSpec = { name: 'json900', seed: context.seed, streams: 2 };
    await using rig = await Rig.start({ peer: 'millrace', payloads });
    await rig.measure(CLOSED, 0.2, context.quick ? 1 : 2);
    const own = await measureOwn(context, rig);
    const pairs: Pair[] = [];
    const skipped: string[] = [];
    for (const other of OTHERS) {
      const missing = (await findPeer(other.peer)).missing?.();
      if (missing === undefined) pairs.push(await measureBeside(context, payloads, rig, other));
      else skipped.push(`${other.peer}: ${missing}`);
    }
    return makeResult(payloads, own, pairs, skipped);
  },
};

const roundsOf = ({ quick }: BenchContext) => (quick ? 3 : 7);
const secondsOf = ({ quick }: BenchContext) => (quick ? 2 : 5);
const stepsOf = (context: BenchContext) => roundsOf(context) * (1 + LOADS.length + 2 * OTHERS.length);

interface Own {
  readonly saturations: number[];
  readonly byLoad: ReadonlyMap<number, Measurement[]>;
}

async function measureOwn(context: BenchContext, rig: Rig): Promise<Own> {
  const seconds = secondsOf(context);
  const saturations: number[] = [];
  const byLoad = new Map<number, Measurement[]>(LOADS.map((load) => [load, []]));
  let done = 0;
  for (let round = 0; round < roundsOf(context); round++) {
    context.progress(done++, stepsOf(context), 'saturation');
    saturations.push((await rig.measure(CLOSED, seconds / 2, 0.3)).requestsPerSecond);
    for (const load of LOADS) {
      context.progress(done++, stepsOf(context), `${load * 100} % of saturation`);
      const shape = { kind: 'open', rate: load * median(saturations), seed: context.seed + round } as const;
      byLoad.get(load)!.push(await rig.measure(shape, seconds, 0.5));
    }
  }
  return { saturations, byLoad };
}

async function measureBeside(
  context: BenchContext,
  payloads: PayloadSpec,
  rig: Rig,
  other: Other,
): Promise<Pair> {
  const seconds = secondsOf(context);
  const rounds = roundsOf(context);
  const done = rounds * (1 + LOADS.length + 2 * OTHERS.indexOf(other));
  await using theirRig = await Rig.start({ peer: other.peer, payloads });
  const { requestsPerSecond } = await theirRig.measure(CLOSED, seconds, context.quick ? 1 : 2);
  const pair: Pair = { other, ours: [], theirs: [] };
  for (let round = 0; round < rounds; round++) {
    const shape = { kind: 'open', rate: HALF * requestsPerSecond, seed: context.seed + round } as const;
    context.progress(done + 2 * round, stepsOf(context), `millrace at the load of ${other.peer}`);
    pair.ours.push(await rig.measure(shape, seconds, 0.5));
    context.progress(done + 2 * round + 1, stepsOf(context), other.peer);
    pair.theirs.push(await theirRig.measure(shape, seconds, 0.5));
  }
  return pair;
}

const p99Of = ({ latency: { p99 } }: Measurement) => p99;

function makeResult(
  payloads: PayloadSpec,
  { saturations, byLoad }: Own,
  pairs: readonly Pair[],
  skipped: readonly string[],
): Result {
  const p99 = spread(byLoad.get(HALF)!.map(p99Of));
  const at = (load: number, pick: (m: Measurement) => number) => median(byLoad.get(load)!.map(pick));
  return {
    bench: 'latency',
    summary:
      'Poisson arrivals, latency from the scheduled time; load generator on the same machine, arrivals released every millisecond, which the latencies include.',
    payloads: [noteOf(makePayloads(payloads))],
    tables: [
      {
        title: 'Latency, medians of the rounds',
        columns: ['load', ...COLUMNS],
        rows: LOADS.map((load) => [`${load * 100} %`, ...cells(byLoad.get(load)!)]),
        note: `Saturation, closed loop with 100 in flight: ${Math.round(median(saturations))} requests per second.`,
      },
      ...(pairs.length > 0 ? [besideTable(pairs)] : []),
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
          { 'load, % of saturation': load * 100, ms: at(load, p99Of), percentile: 'p99' },
          { 'load, % of saturation': load * 100, ms: at(load, (m) => m.latency.p999), percentile: 'p99.9' },
        ]),
      },
    ],
    figures: [
      figure('latency.p99_half_load', p99.median, p99),
      ...OTHERS.map((other) =>
        besideFigure(
          other,
          pairs.find((pair) => pair.other === other),
        ),
      ),
    ],
    skipped,
    raw: { saturations, byLoad: Object.fromEntries(byLoad), pairs },
  };
}

const COLUMNS = ['requests/s', 'p50 ms', 'p99 ms', 'p99.9 ms', 'max ms'];

function cells(rounds: readonly Measurement[]): number[] {
  const of = (pick: (m: Measurement) => number) => median(rounds.map(pick));
  return [
    Math.round(of((m) => m.requestsPerSecond)),
    of((m) => m.latency.p50),
    of(p99Of),
    of((m) => m.latency.p999),
    of((m) => m.latency.max),
  ];
}

function besideTable(pairs: readonly Pair[]): Table {
  return {
    title: 'Latency at equal load, half of what the other can do',
    columns: ['peer', ...COLUMNS],
    rows: pairs.flatMap(({ other, ours, theirs }) => [
      ['millrace', ...cells(ours)],
      [other.peer, ...cells(theirs)],
    ]),
  };
}

function besideFigure({ id }: Other, pair: Pair | undefined): Figure {
  if (pair === undefined) return figure(id, null);
  const ratio = pairedRatio(pair.ours.map(p99Of), pair.theirs.map(p99Of));
  return figure(id, ratio.median, ratio);
}
