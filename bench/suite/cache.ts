/** Responses that many requests share, spliced from the cache of compressed payloads, against compressing each. */

import { median } from '../../src/experiment/results/statistics.ts';
import type { Bench } from '../bench.ts';
import { figure } from '../figures.ts';
import { makePayloads, noteOf, type PayloadSpec } from '../payloads.ts';
import type { Measurement } from '../proc.ts';
import { pairedRatio, spread } from '../stats.ts';
import { takeTurns } from '../turns.ts';

const IN_FLIGHT = 32;
const SPLICED = 'cached, spliced';
const ENCODED = 'compressed';

export const cache: Bench = {
  name: 'cache',
  describe: '32 KiB responses from the cache against compressing them',
  async run(context) {
    const payloads: PayloadSpec = { name: 'text32k', seed: context.seed };
    const results = await takeTurns(
      {
        contenders: [
          {
            label: SPLICED,
            rig: { peer: 'millrace', payloads, options: { cached: true } },
            shape: { kind: 'closed', inFlight: IN_FLIGHT },
            // Until every payload has been asked for once and is in the cache.
            warmSeconds: 3,
          },
          {
            label: ENCODED,
            rig: { peer: 'millrace', payloads, options: { workers: 1, streams: 1 } },
            shape: { kind: 'closed', inFlight: IN_FLIGHT },
          },
        ],
        rounds: [7, 3],
        seconds: [3, 1],
      },
      context,
    );
    const of = (label: string, pick: (m: Measurement) => number) => results.get(label)!.map(pick);
    const ratio = pairedRatio(
      of(SPLICED, ({ cpu }) => cpu.total),
      of(ENCODED, ({ cpu }) => cpu.total),
    );
    const encoderCalls = of(SPLICED, ({ encodedFrames = Number.NaN }) => encodedFrames).reduce(
      (a, b) => a + b,
      0,
    );
    return {
      bench: 'cache',
      summary: `32 KiB responses, one connection, ${IN_FLIGHT} in flight. Frames encoded while spliced responses were measured: ${encoderCalls}.`,
      payloads: [noteOf(makePayloads(payloads))],
      tables: [
        {
          title: 'Server CPU per response',
          columns: ['response', 'CPU µs', 'main µs', 'requests/s', 'wire B', 'encoder calls per response'],
          rows: [SPLICED, ENCODED].map((label) => [
            label,
            Number(spread(of(label, ({ cpu }) => cpu.total)).median.toFixed(1)),
            Number(median(of(label, ({ cpu }) => cpu.main)).toFixed(1)),
            Math.round(median(of(label, ({ requestsPerSecond }) => requestsPerSecond))),
            Math.round(median(of(label, ({ wireBytes }) => wireBytes))),
            Number(
              median(
                of(label, ({ encodedFrames = Number.NaN, requests }) => encodedFrames / requests),
              ).toFixed(3),
            ),
          ]),
        },
      ],
      charts: [],
      // A splice that calls an encoder is no splice, however cheap.
      figures: [figure('cache.cpu_vs_encode', encoderCalls === 0 ? ratio.median : null, ratio)],
      skipped:
        encoderCalls === 0
          ? []
          : [`cache.cpu_vs_encode: ${encoderCalls} encoder calls for spliced responses`],
      raw: Object.fromEntries(results),
    };
  },
};
