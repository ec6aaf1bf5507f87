/** What it costs to be watched: metrics, and a line for every request, against neither. */

import { median } from '../../src/experiment/results/statistics.ts';
import type { Bench } from '../bench.ts';
import { figure } from '../figures.ts';
import { makePayloads, noteOf, type PayloadSpec } from '../payloads.ts';
import type { PeerOptions } from '../peers/peer.ts';
import type { Measurement } from '../proc.ts';
import { pairedRatio, spread } from '../stats.ts';
import { takeTurns } from '../turns.ts';

const IN_FLIGHT = 100;
const OFF = 'neither';
const METRICS = 'metrics';
const BOTH = 'metrics and a log of requests';

const WATCHED: Readonly<Record<string, PeerOptions['watched']>> = {
  [OFF]: undefined,
  [METRICS]: 'metrics',
  [BOTH]: 'requests',
};

export const ops: Bench = {
  name: 'ops',
  describe: '900 B responses with metrics and a log of requests, against neither',
  async run(context) {
    const payloads: PayloadSpec = { name: 'json900', seed: context.seed };
    const results = await takeTurns(
      {
        contenders: Object.entries(WATCHED).map(([label, watched]) => ({
          label,
          rig: { peer: 'millrace', payloads, options: { watched } },
          shape: { kind: 'closed', inFlight: IN_FLIGHT },
        })),
        rounds: [15, 7],
        seconds: [2, 1],
      },
      context,
    );
    const cpuOf = (label: string) => results.get(label)!.map(({ cpu }: Measurement) => cpu.total);
    const against = (label: string) => pairedRatio(cpuOf(label), cpuOf(OFF));
    const figures = [
      ['ops.metrics_cpu', METRICS],
      ['ops.requests_log_cpu', BOTH],
    ].map(([id, label]) => figure(id!, against(label!).median, against(label!)));
    return {
      bench: 'ops',
      summary: `900-byte responses, one connection, ${IN_FLIGHT} in flight; metrics are asked for once a second, the log goes to /dev/null.`,
      payloads: [noteOf(makePayloads(payloads))],
      tables: [
        {
          title: 'Server CPU per response',
          columns: ['watched by', 'CPU µs', 'main µs', 'requests/s'],
          rows: Object.keys(WATCHED).map((label) => [
            label,
            Number(spread(cpuOf(label)).median.toFixed(2)),
            Number(median(results.get(label)!.map(({ cpu }) => cpu.main)).toFixed(2)),
            Math.round(median(results.get(label)!.map(({ requestsPerSecond }) => requestsPerSecond))),
          ]),
        },
      ],
      charts: [],
      figures,
      skipped: [],
      raw: Object.fromEntries(results),
    };
  },
};
