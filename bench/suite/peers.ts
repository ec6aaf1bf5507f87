/**
 * What a user would pick instead. All servers stay up and take turns, round by round, so that the ratios are of
 * neighbours in time; the latency is an open loop's at half of the saturation that the rounds found.
 */

import { median } from '../../src/experiment/results/statistics.ts';
import type { Bench, BenchContext, Result, Table } from '../bench.ts';
import { trainedOn } from '../dictionary-file.ts';
import { type Figure, figure } from '../figures.ts';
import { makePayloads, noteOf, type PayloadSpec } from '../payloads.ts';
import { allPeers } from '../peers/index.ts';
import type { Peer, PeerOptions } from '../peers/peer.ts';
import type { Measurement } from '../proc.ts';
import { Scratch } from '../scratch.ts';
import { pairedRatio, spread } from '../stats.ts';
import { takeTurns } from '../turns.ts';

const IN_FLIGHT = 100;
const OURS = 'millrace';
const DICTIONARY = `${OURS}, dictionary`;
/** What the figures are of, as `small.cpu_vs_ws_plain` is: no context, so that they hold for any number of connections. */
const SHOWN = `${DICTIONARY}, none`;
/** The others work on one thread and its helpers; ours besides as it comes, with a lane per core. */
const ONE_LANE: PeerOptions = { workers: 1, streams: 1 };
const WS = 'ws + deflate';
const H2 = 'http2 + zstd sync';

interface Row {
  readonly peer: string;
  readonly describe: string;
  readonly rounds: Measurement[];
  readonly halfLoad: Measurement;
}

export const peers: Bench = {
  name: 'peers',
  describe: '900-byte responses, one connection, 100 in flight, against http2, ws, gRPC and nginx',
  async run(context) {
    const payloads: PayloadSpec = { name: 'json900', seed: context.seed, streams: 2 };
    const note = noteOf(makePayloads(payloads));
    const peers = await allPeers();
    const skipped = peers.flatMap(({ name, missing }) => (missing?.() ? [`${name}: ${missing()}`] : []));
    const rows = await measureAll(context, payloads, peers);
    return {
      bench: 'peers',
      summary: `One connection, ${IN_FLIGHT} requests in flight, ${note.description}. CPU is the server's, all threads.`,
      payloads: [note],
      tables: [
        table(rows),
        ratios(rows),
        {
          title: 'Peers',
          columns: ['peer', 'what it is'],
          rows: rows.map(({ peer, describe }) => [peer, describe]),
        },
      ],
      charts: charts(rows),
      figures: figures(rows),
      skipped,
      raw: rows,
    } satisfies Result;
  },
};

async function measureAll(
  context: BenchContext,
  payloads: PayloadSpec,
  peers: readonly Peer[],
): Promise<Row[]> {
  using scratch = new Scratch();
  const held: PeerOptions = {
    ...ONE_LANE,
    dictionary: trainedOn(payloads, scratch.path),
    dictionaryCache: `${scratch.path}/held`,
  };
  const here = peers
    .filter(({ missing }) => !missing?.())
    .flatMap((peer) => (peer.name === OURS ? ours(peer, held) : [asItComes(peer)]));
  const halfLoads = new Map<string, Measurement>();
  const rounds = await takeTurns(
    {
      contenders: here.map(({ label, peer, options }) => ({
        label,
        rig: { peer, payloads, options },
        shape: { kind: 'closed', inFlight: IN_FLIGHT },
      })),
      rounds: [7, 3],
      seconds: [3, 1],
      async afterwards({ label }, rig, rounds) {
        const rate = median(rounds.map(({ requestsPerSecond }) => requestsPerSecond)) / 2;
        halfLoads.set(
          label,
          await rig.measure({ kind: 'open', rate, seed: context.seed }, context.quick ? 1 : 5, 0.5),
        );
      },
    },
    context,
  );
  return here.map(({ label, describe }) => ({
    peer: label,
    describe,
    rounds: rounds.get(label)!,
    halfLoad: halfLoads.get(label)!,
  }));
}

interface Entry {
  readonly label: string;
  readonly describe: string;
  readonly peer: string;
  readonly options: PeerOptions;
}

function asItComes({ name, describe }: Peer): Entry {
  return { label: name, describe, peer: name, options: {} };
}

/** `held`: options of one lane with a dictionary that clients hold. */
function ours(peer: Peer, held: PeerOptions): Entry[] {
  const entry = (label: string, describe: string, options: PeerOptions): Entry => ({
    label,
    describe,
    peer: OURS,
    options,
  });
  return [
    entry(OURS, 'zstd level 3, one lane, one stream, handler on the main thread', ONE_LANE),
    entry(`${OURS}, records`, 'the same with --tuning records', { ...ONE_LANE, tuning: 'records' }),
    entry(DICTIONARY, 'with a dictionary of 64 KiB, trained on other records', held),
    entry(`${DICTIONARY}, records`, 'with the dictionary and --tuning records', {
      ...held,
      tuning: 'records',
    }),
    entry(SHOWN, 'with the dictionary and --contexts none', { ...held, contexts: 'none' }),
    { ...asItComes(peer), label: `${OURS}, all cores` },
  ];
}

const of = (row: Row, pick: (measurement: Measurement) => number) => row.rounds.map(pick);
const rps = (measurement: Measurement) => measurement.requestsPerSecond;
const cpu = (measurement: Measurement) => measurement.cpu.total;
const wire = (measurement: Measurement) => measurement.wireBytes;

function table(rows: Row[]): Table {
  return {
    title: 'Per response, 900-byte JSON records',
    columns: [
      'peer',
      'requests/s',
      '±',
      'CPU µs',
      '±',
      'main µs',
      'wire B',
      'peak RSS MiB',
      'p50 ms',
      'p99 ms',
      'p99.9 ms',
    ],
    rows: rows.map((row) => {
      const perSecond = spread(of(row, rps));
      const spent = spread(of(row, cpu));
      const last = row.rounds.at(-1)!;
      const latency = row.halfLoad.latency;
      return [
        row.peer,
        Math.round(perSecond.median),
        Math.round(perSecond.mad),
        round(spent.median, 1),
        round(spent.mad, 1),
        round(median(of(row, ({ cpu: { main } }) => main)), 1),
        Math.round(median(of(row, wire))),
        Math.round(last.peakRss / 2 ** 20),
        round(latency.p50, 2),
        round(latency.p99, 2),
        round(latency.p999, 2),
      ];
    }),
    note: '± is the median absolute deviation of the rounds. Latency: open loop at half of the saturation, from the scheduled time. Peak RSS includes the payloads, 32 MiB and more. The main thread of nginx is outside Node.',
  };
}

/** Each of ours against the two that compress on a kept connection: what the figures say of one of them. */
function ratios(rows: Row[]): Table {
  const others = rows.filter(({ peer }) => peer === WS || peer === H2);
  const picks = { CPU: cpu, 'requests/s': rps, wire: wire };
  return {
    title: 'Ours against others, medians of the rounds',
    columns: ['peer', ...others.flatMap(({ peer }) => Object.keys(picks).map((what) => `${what} ÷ ${peer}`))],
    rows: rows
      .filter(({ peer }) => peer.startsWith(OURS))
      .map((row) => [
        row.peer,
        ...others.flatMap((other) =>
          Object.values(picks).map((pick) => round(pairedRatio(of(row, pick), of(other, pick)).median, 3)),
        ),
      ]),
    note: `The figures small.* are of the row ${SHOWN}.`,
  };
}

function charts(rows: Row[]): Result['charts'] {
  const bar = (title: string, y: string, pick: (m: Measurement) => number, logarithmic: boolean) => ({
    title,
    kind: 'bar' as const,
    x: 'peer',
    y,
    logarithmic,
    points: rows.map((row) => ({ peer: row.peer, [y]: median(of(row, pick)) })),
  });
  return [
    bar('Requests per second', 'requests/s', rps, false),
    bar('Server CPU per response', 'µs', cpu, false),
    bar('Bytes on the wire per response', 'bytes', wire, false),
  ];
}

/** `small.*`; null while millrace is not among the peers. */
function figures(rows: Row[]): Figure[] {
  const row = (peer: string) => rows.find((each) => each.peer === peer);
  const against = (id: string, peer: string, pick: (m: Measurement) => number) => {
    const ours = row(SHOWN);
    const theirs = row(peer);
    if (ours === undefined || theirs === undefined) return figure(id, null);
    const ratio = pairedRatio(of(ours, pick), of(theirs, pick));
    return figure(id, ratio.median, ratio);
  };
  return [
    against('small.cpu_vs_ws', WS, cpu),
    against('small.cpu_vs_h2', H2, cpu),
    against('small.wire_vs_ws', WS, wire),
    against('small.wire_vs_h2', H2, wire),
    against('small.rps_vs_ws', WS, rps),
    against('small.rps_vs_h2', H2, rps),
  ];
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
