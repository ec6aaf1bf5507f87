/** The policy `adaptive` against every fixed level, over links of one speed and over one that changes. */

import { median } from '../../src/experiment/results/statistics.ts';
import { ladderOf, RUNG_STREAMS, type Rung } from '../../src/lanes/adaptive.ts';
import type { Bench, Result } from '../bench.ts';
import { figure } from '../figures.ts';
import { Link } from '../link.ts';
import { makePayloads, noteOf, type PayloadSpec } from '../payloads.ts';
import type { PeerOptions } from '../peers/peer.ts';
import { Rig } from '../proc.ts';
import { pairedRatio } from '../stats.ts';

const IN_FLIGHT = 100;
const ADAPTIVE = 'adaptive';
/** Half a period of the link that changes. */
const TURN_MS = 2000;

interface Way {
  readonly label: string;
  /** Bits per second, in turns; empty: as fast as loopback and the proxy are. */
  readonly speeds: readonly number[];
}

const WAYS: readonly Way[] = [
  { label: '1 Mbit/s', speeds: [1e6] },
  { label: '10 Mbit/s', speeds: [1e7] },
  { label: '100 Mbit/s', speeds: [1e8] },
  { label: '1 Gbit/s', speeds: [1e9] },
  { label: 'not shaped', speeds: [] },
  { label: '10 and 200 Mbit/s by turns', speeds: [1e7, 2e8] },
];

type ByWay = ReadonlyMap<Way, ReadonlyMap<string, number[]>>;

export const links: Bench = {
  name: 'links',
  describe: 'policy adaptive against fixed levels behind links of 1 Mbit/s and more, and one that changes',
  async run({ seed, quick, progress }) {
    const payloads: PayloadSpec = { name: 'json900', seed, streams: RUNG_STREAMS };
    const rungs = ladderOf('zstd-8mb');
    const contenders: [string, PeerOptions][] = [
      ...rungs.map((rung): [string, PeerOptions] => [nameOf(rung), optionsOf(rung)]),
      [ADAPTIVE, { policy: 'adaptive' }],
    ];
    const rounds = quick ? 1 : 5;
    const seconds = quick ? 1 : 2;
    const rigs = new Map<string, { rig: Rig; link: Link }>();
    const found = new Map(
      WAYS.map((way) => [way, new Map(contenders.map(([name]) => [name, [] as number[]]))]),
    );
    const total = WAYS.length * rounds * contenders.length;
    let done = 0;
    try {
      for (const [name, options] of contenders) {
        let link: Link | undefined;
        const through = async (port: number) => {
          link = await Link.start(port);
          return link.port;
        };
        const rig = await Rig.start({ peer: 'millrace', payloads, options }, through);
        rigs.set(name, { rig, link: link as unknown as Link });
        await rig.measure({ kind: 'closed', inFlight: IN_FLIGHT }, 0.2, quick ? 1 : 2);
      }
      for (const way of WAYS) {
        for (let round = 0; round < rounds; round++) {
          for (const [name] of contenders) {
            progress(done++, total, `${way.label}, ${name}`);
            const { rig, link } = rigs.get(name) as { rig: Rig; link: Link };
            await link.setSpeeds(way.speeds, TURN_MS);
            // The first round on a slow link is the one in which a ladder climbs.
            const settle = round === 0 ? SETTLE_SECONDS : 0.5;
            const changing = way.speeds.length > 1;
            const window = changing ? (2 * TURN_MS) / 1000 : seconds;
            const { requestsPerSecond } = await rig.measure(
              { kind: 'closed', inFlight: IN_FLIGHT },
              window,
              settle,
            );
            found.get(way)!.get(name)!.push(requestsPerSecond);
            await link.setSpeeds([]);
          }
        }
      }
    } finally {
      for (const { rig, link } of rigs.values()) {
        await rig[Symbol.asyncDispose]();
        await link.end();
      }
    }
    return makeResult(payloads, found);
  },
};

const SETTLE_SECONDS = 3;

function nameOf(rung: Rung): string {
  return rung === 'plain' ? 'plain' : `level ${rung}`;
}

function optionsOf(rung: Rung): PeerOptions {
  return rung === 'plain'
    ? { profile: 'identity' }
    : { policy: 'shared', streams: RUNG_STREAMS, level: rung };
}

function makeResult(payloads: PayloadSpec, found: ByWay): Result {
  const names = [...[...found.values()][0]!.keys()];
  const rows = [...found].map(([{ label }, byName]) => {
    const rates = names.map((name) => median(byName.get(name)!));
    const adaptive = rates.at(-1)!;
    const best = Math.max(...rates.slice(0, -1));
    const rounds = pairedRatio(byName.get(names.at(-1)!)!, byName.get(names[rates.indexOf(best)]!)!);
    return { label, rates, share: adaptive / best, rounds };
  });
  const worst = rows.slice(0, -1).reduce((least, row) => (row.share < least.share ? row : least));
  const changing = rows.at(-1)!;
  return {
    bench: 'links',
    summary: `900-byte records, one connection, ${IN_FLIGHT} in flight, through a proxy with a token bucket, in a process of its own; responses per second.`,
    payloads: [noteOf(makePayloads(payloads))],
    tables: [
      {
        title: 'Responses per second behind a link, medians of the rounds',
        columns: ['link', ...names, 'adaptive ÷ best fixed'],
        rows: rows.map(({ label, rates, share }) => [
          label,
          ...rates.map(Math.round),
          Number(share.toFixed(2)),
        ]),
        note: `10 Gbit/s is more than loopback does here with a proxy, client and server on one machine: the row that is not shaped stands for it. The changing link has ${TURN_MS} ms of each speed.`,
      },
    ],
    charts: [],
    figures: [
      figure('links.adaptive_vs_best', worst.share, worst.rounds),
      figure('links.adaptive_changing', changing.share, changing.rounds),
    ],
    skipped: [],
    raw: Object.fromEntries([...found].map(([{ label }, byName]) => [label, Object.fromEntries(byName)])),
  };
}
