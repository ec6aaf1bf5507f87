/**
 * One lane after the other: does a core more give a core's worth, and when is the main thread full?
 *
 * A lane is busy `lane` µs per MB and the main thread `main` µs per MB, whoever else there is. With n busy lanes the
 * bytes flow at n / lane, and the main thread is busy main · n / lane of the time: full at n = lane / main. The check:
 * what one lane predicts for the main thread at n lanes, against what it did there.
 */

import { median } from '../../src/experiment/results/statistics.ts';
import type { Bench, BenchContext, Result } from '../bench.ts';
import { figure } from '../figures.ts';
import { makePayloads, noteOf, type PayloadSpec } from '../payloads.ts';
import type { Measurement } from '../proc.ts';
import { pairedRatio } from '../stats.ts';
import { takeTurns } from '../turns.ts';
import { type Emulated, measureEmulated } from './emulated.ts';

const IN_FLIGHT = 32;
const SEVERAL = 4;

interface Case {
  readonly label: string;
  readonly workers: number;
  readonly connections: number;
}

export const scaling: Bench = {
  name: 'scaling',
  describe:
    'one to all lanes on one connection, then on several: throughput, CPU per MB, efficiency; then on emulated cores',
  async run(context) {
    const lanes = Math.max(2, laneLimit());
    const counts = [...new Set([1, 2, ...Array.from({ length: lanes }, (_, i) => i + 1)])];
    const cases: Case[] = [1, SEVERAL].flatMap((connections) =>
      counts.map((workers) => ({ label: `${workers} lanes, ${connections} conn.`, workers, connections })),
    );
    const payloads: PayloadSpec = { name: 'text32k', seed: context.seed, streams: lanes };
    const results = await takeTurns(
      {
        contenders: cases.map(({ label, workers, connections }) => ({
          label,
          rig: {
            peer: 'millrace',
            payloads,
            options: { workers, streams: workers, policy: 'shared' },
            connections,
          },
          shape: { kind: 'closed', inFlight: Math.ceil((IN_FLIGHT * lanes) / connections) },
        })),
        rounds: [7, 3],
        seconds: [3, 1],
      },
      context,
    );
    return makeResult(context, cases, results, payloads, await measureEmulated(context));
  },
};

/** All cores; more than these make no sense to measure. */
function laneLimit(): number {
  return Math.min(16, navigator.hardwareConcurrency);
}

const megabytes = ({ decodedBytes }: Measurement) => decodedBytes / 1e6;
const throughput = (m: Measurement) => megabytes(m) * m.requestsPerSecond;
const laneCpu = (m: Measurement) => m.cpu.workers.reduce((a, b) => a + b, 0) / megabytes(m);
const mainCpu = (m: Measurement) => m.cpu.main / megabytes(m);

function makeResult(
  { seed }: BenchContext,
  cases: Case[],
  results: ReadonlyMap<string, Measurement[]>,
  payloads: PayloadSpec,
  emulated: Emulated,
): Result {
  const of = ({ label }: Case, pick: (m: Measurement) => number) => results.get(label)!.map(pick);
  const one = (connections: number) =>
    cases.find((each) => each.workers === 1 && each.connections === connections)!;
  const rows = cases.map((each) => {
    const single = one(each.connections);
    const speed = median(of(each, throughput));
    const main = median(of(each, mainCpu));
    const lane = median(of(each, laneCpu));
    // Of the lanes' busy time, so that it holds also where the client takes the cores that the lanes would want.
    const predictedShare = median(of(single, mainCpu)) / median(of(single, laneCpu));
    return [
      each.workers,
      each.connections,
      Math.round(speed),
      Math.round(main),
      Math.round(lane),
      Math.round(
        median(of(each, ({ cpu }) => Math.max(...cpu.workers))) / (payloadBytes(results, each) / 1e6),
      ),
      Number((speed / median(of(single, throughput)) / each.workers).toFixed(2)),
      Number((lane / main).toFixed(1)),
      Number(predictedShare.toFixed(4)),
      Number((main / lane).toFixed(4)),
    ];
  });
  const two = cases.find((each) => each.workers === 2 && each.connections === 1)!;
  const ratio = pairedRatio(of(two, laneCpu), of(one(1), laneCpu));
  return {
    bench: 'scaling',
    summary:
      '32 KiB responses. The main thread is full at n = (lane µs per MB) ÷ (main µs per MB) lanes: the column "full at". ' +
      'Its share of the lanes’ time, predicted from one lane and measured, checks that. Client and server share the cores here, so wall-clock efficiency is a lower bound.',
    payloads: [noteOf(makePayloads({ ...payloads, seed })), ...emulated.payloads],
    tables: [
      {
        title: 'Scaling',
        columns: [
          'lanes',
          'connections',
          'MB/s',
          'main µs/MB',
          'lanes µs/MB',
          'busiest µs/MB',
          'efficiency',
          'full at',
          'share predicted',
          'share measured',
        ],
        rows,
      },
      ...emulated.tables,
    ],
    charts: [
      {
        title: 'CPU per MB',
        kind: 'line',
        x: 'lanes',
        y: 'µs per MB',
        series: 'thread',
        points: cases
          .filter(({ connections }) => connections === 1)
          .flatMap((each) => [
            { lanes: each.workers, 'µs per MB': median(of(each, laneCpu)), thread: 'lanes together' },
            { lanes: each.workers, 'µs per MB': median(of(each, mainCpu)), thread: 'main thread' },
          ]),
      },
      ...emulated.charts,
    ],
    figures: [figure('scaling.cpu_2_vs_1', ratio.median, ratio), ...emulated.figures],
    skipped: emulated.skipped,
    raw: { cores: Object.fromEntries(results), emulated: emulated.raw },
  };
}

function payloadBytes(results: ReadonlyMap<string, Measurement[]>, { label }: Case): number {
  return median(results.get(label)!.map(({ decodedBytes }) => decodedBytes));
}
