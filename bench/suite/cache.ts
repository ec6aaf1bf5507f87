/**
 * Responses that many requests share, spliced from the cache of compressed payloads, against compressing each, and
 * against nginx sending files that are compressed already.
 */

import { median } from '../../src/experiment/results/statistics.ts';
import type { Bench, Result } from '../bench.ts';
import { type Figure, figure } from '../figures.ts';
import { makePayloads, noteOf } from '../payloads.ts';
import { findPeer } from '../peers/index.ts';
import type { Measurement } from '../proc.ts';
import { pairedRatio, spread } from '../stats.ts';
import { type Contender, takeTurns } from '../turns.ts';

const IN_FLIGHT = 32;
const NGINX = 'nginx + gzip_static';
const SIZES = { text4k: '4 KiB', text32k: '32 KiB', text1m: '1 MiB' } as const;
type Payload = keyof typeof SIZES;
const NAMES = Object.keys(SIZES) as Payload[];

const spliced = (name: Payload) => `${SIZES[name]}, cached, spliced`;
const static_ = (name: Payload) => `${SIZES[name]}, ${NGINX}`;
const ENCODED = '32 KiB, compressed';

export const cache: Bench = {
  name: 'cache',
  describe: 'responses from the cache against compressing them, and against nginx with gzip_static',
  async run(context) {
    const { seed } = context;
    const missing = (await findPeer(NGINX)).missing?.();
    const shape = { kind: 'closed', inFlight: IN_FLIGHT } as const;
    const contenders: Contender[] = NAMES.flatMap((name) => [
      {
        label: spliced(name),
        rig: { peer: 'millrace', payloads: { name, seed }, options: { cached: true } },
        shape,
        // Until every payload has been asked for once and is in the cache.
        warmSeconds: 3,
      },
      ...(missing ? [] : [{ label: static_(name), rig: { peer: NGINX, payloads: { name, seed } }, shape }]),
    ]);
    contenders.push({
      label: ENCODED,
      rig: { peer: 'millrace', payloads: { name: 'text32k', seed }, options: { workers: 1, streams: 1 } },
      shape,
    });
    const results = await takeTurns({ contenders, rounds: [7, 3], seconds: [3, 1] }, context);
    return report(results, seed, missing);
  },
};

function report(
  results: ReadonlyMap<string, Measurement[]>,
  seed: number,
  missing: string | undefined,
): Result {
  const of = (label: string, pick: (m: Measurement) => number) => results.get(label)!.map(pick);
  const total = ({ cpu }: Measurement) => cpu.total;
  const encoderCalls = NAMES.flatMap((name) =>
    of(spliced(name), (m) => m.encodedFrames ?? Number.NaN),
  ).reduce((a, b) => a + b, 0);
  const against = (id: string, label: string): Figure => {
    if (!results.has(label)) return figure(id, null);
    const ratio = pairedRatio(of(spliced('text32k'), total), of(label, total));
    // A splice that calls an encoder is no splice, however cheap.
    return figure(id, encoderCalls === 0 ? ratio.median : null, ratio);
  };
  return {
    bench: 'cache',
    summary: `One connection, ${IN_FLIGHT} in flight. Frames encoded while spliced responses were measured: ${encoderCalls}.`,
    payloads: NAMES.map((name) => noteOf(makePayloads({ name, seed }))),
    tables: [
      {
        title: 'Server CPU per response',
        columns: ['response', 'CPU µs', 'main µs', 'requests/s', 'wire B', 'encoder calls per response'],
        rows: [...results.keys()].map((label) => [
          label,
          Number(spread(of(label, total)).median.toFixed(1)),
          Number(median(of(label, ({ cpu }) => cpu.main)).toFixed(1)),
          Math.round(median(of(label, ({ requestsPerSecond }) => requestsPerSecond))),
          Math.round(median(of(label, ({ wireBytes }) => wireBytes))),
          callsPerResponse(results.get(label)!),
        ]),
      },
    ],
    charts: [],
    figures: [
      against('cache.cpu_vs_encode', ENCODED),
      against('cache.cpu_vs_nginx_static', static_('text32k')),
    ],
    skipped: [
      ...(encoderCalls === 0
        ? []
        : [`cache.cpu_vs_encode: ${encoderCalls} encoder calls for spliced responses`]),
      ...(missing ? [`cache.cpu_vs_nginx_static: ${missing}`] : []),
    ],
    raw: Object.fromEntries(results),
  };
}

/** A server that has no encoders to count has none. */
function callsPerResponse(of: readonly Measurement[]): number | string {
  const calls = median(of.map(({ encodedFrames = Number.NaN, requests }) => encodedFrames / requests));
  return Number.isNaN(calls) ? '–' : Number(calls.toFixed(3));
}
