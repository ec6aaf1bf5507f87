/** Dictionaries, and contexts that are not kept: the first responses, many connections, and what either costs. */

import { median } from '../../src/experiment/results/statistics.ts';
import { connect, createServer } from '../../src/index.ts';
import type { Bench, BenchContext, Result } from '../bench.ts';
import { trainedOn } from '../dictionary-file.ts';
import { type Figure, figure } from '../figures.ts';
import { makePayloads, noteOf, type PayloadSpec } from '../payloads.ts';
import { CONNECT_MS, type PeerOptions } from '../peers/peer.ts';
import { type Measurement, Rig } from '../proc.ts';
import { Scratch } from '../scratch.ts';
import { pairedRatio, type Spread } from '../stats.ts';
import { takeTurns } from '../turns.ts';

const WS = 'ws + deflate';
const WS_PLAIN = 'ws';
const KEPT = 'kept';
const KEPT_DICT = 'kept, dictionary';
const KEPT_RECORDS = 'kept, dictionary, tuning records';
const NONE_DICT = 'none, dictionary';
const NONE_2 = 'none, dictionary, 2 lanes';
const AUTO_DICT = 'auto, dictionary';
const PLAIN = 'plain';
const IN_FLIGHT = 100;
const FIRST = 10;
/** Connections until a server knows how streams had better begin; the first of them fetches the dictionary. */
const LEARNING = 8;
const MEASURED = 20;
/** Bytes of the dictionary that the first responses are shown with besides: the trainer's default. */
const SMALL = 16 << 10;
const RESPONSES = 100;
/** Connections that take turns. */
const MANY = 1000;

export const dictionary: Bench = {
  name: 'dictionary',
  describe: 'dictionaries and contexts none: first responses, bytes, memory and CPU of many connections',
  async run(context) {
    const payloads: PayloadSpec = { name: 'json900', seed: context.seed, streams: 2 };
    using scratch = new Scratch();
    const file = trainedOn(payloads, scratch.path);
    const cache = `${scratch.path}/held`;
    const dict = { dictionary: file, dictionaryCache: cache };
    const first = await firstResponses(payloads, file, trainedOn(payloads, scratch.path, SMALL), cache);
    const turns = await inTurns(context, payloads, dict);
    const crowds = await manyInTurns(context, payloads, dict);
    const held = context.quick ? 300 : 2000;
    const memory = await memoryPerConnection(payloads, { ...dict, contexts: 'none' }, held, context);
    const wire = (label: string) => wiresOf(turns, label);
    const cpu = (label: string) => cpusOf(turns, label);
    const crowd = (label: string, other: string) => pairedRatio(cpusOf(crowds, label), cpusOf(crowds, other));
    const affordable = [KEPT, KEPT_DICT, KEPT_RECORDS, NONE_DICT].filter(
      (label) => median(cpu(label)) <= median(cpu(KEPT)),
    );
    const best = affordable.reduce((a, b) => (median(wire(b)) < median(wire(a)) ? b : a));
    const vsWs = pairedRatio(wire(best), wire(WS));
    const noneVsKept = pairedRatio(wire(NONE_DICT), wire(KEPT));
    const scaling = pairedRatio(cpu(NONE_2), cpu(NONE_DICT));
    const vsPlain = pairedRatio(cpu(NONE_DICT), cpu(WS_PLAIN));
    const figures = [
      spreadFigure('dict.small_wire_vs_ws', vsWs),
      figure('dict.first_response', first.dictionary / first.kept),
      figure('dict.none_memory', memory / 1024),
      spreadFigure('dict.none_wire_vs_kept', noneVsKept),
      spreadFigure('dict.cpu_many_connections', crowd(NONE_DICT, KEPT)),
      spreadFigure('dict.scaling_cpu_2_vs_1', scaling),
      spreadFigure('small.cpu_vs_ws_plain', vsPlain),
      spreadFigure('many.cpu_1000_vs_ws_deflate', crowd(AUTO_DICT, WS)),
      spreadFigure('many.cpu_1000_vs_ws_plain', crowd(AUTO_DICT, WS_PLAIN)),
      spreadFigure('many.plain_1000_vs_ws_plain', crowd(PLAIN, WS_PLAIN)),
    ];
    const rows = [...rowsOf(turns, 1), ...rowsOf(crowds, MANY)];
    return resultOf(payloads, rows, figures, first, {
      first,
      memory,
      crowds: Object.fromEntries(crowds),
      turns: Object.fromEntries(turns),
    });
  },
};

type Turns = ReadonlyMap<string, Measurement[]>;
/** Bytes on the wire, by what is held. */
type First = Readonly<Record<'kept' | 'dictionary' | 'smaller', number>>;

function firstRows({ kept, dictionary, smaller }: First): (string | number)[][] {
  const named = { none: kept, '16 KiB': smaller, '64 KiB': dictionary };
  return Object.entries(named).map(([name, bytes]) => [name, Number(bytes.toFixed(1))]);
}

function wiresOf(turns: Turns, label: string): number[] {
  return (turns.get(label) as Measurement[]).map(({ wireBytes }) => wireBytes);
}

function cpusOf(turns: Turns, label: string): number[] {
  return (turns.get(label) as Measurement[]).map(({ cpu }) => cpu.total);
}

function spreadFigure(id: string, ratio: Spread): Figure {
  return figure(id, ratio.median, ratio);
}

function rowsOf(turns: Turns, connections: number): (string | number)[][] {
  return [...turns.keys()].map((label) => [
    label,
    connections,
    Math.round(median(wiresOf(turns, label))),
    Number(median(cpusOf(turns, label)).toFixed(1)),
  ]);
}

function resultOf(
  payloads: PayloadSpec,
  rows: (string | number)[][],
  figures: Figure[],
  first: First,
  raw: unknown,
): Result {
  return {
    bench: 'dictionary',
    summary: `900-byte responses, ${IN_FLIGHT} in flight in all, zstd level 3. The dictionary (64 KiB) was trained on records of another seed, and is held.`,
    payloads: [noteOf(makePayloads(payloads))],
    tables: [
      { title: 'Contexts', columns: ['contexts', 'connections', 'bytes', 'server CPU µs'], rows },
      {
        title: `The first ${FIRST} responses of a connection`,
        columns: ['dictionary', 'bytes'],
        rows: firstRows(first),
      },
    ],
    charts: [],
    figures,
    skipped: [],
    raw,
  };
}

/** Bytes that the first ten responses of a connection take, on average: without a dictionary, and with one or a smaller one that is held. */
async function firstResponses(
  spec: PayloadSpec,
  file: string,
  smaller: string,
  dictionaryCache: string,
): Promise<First> {
  const payloads = makePayloads(spec);
  const commands = {
    get: (request: { text(name: string): string | undefined }) => payloads.get(Number(request.text('i'))),
  };
  const mean = async (dictionaries: { file: string }[]) => {
    await using server = createServer({ workers: 1, dictionaries, commands });
    const address = (await server.listen()) as { host: string; port: number };
    let bytes = 0;
    for (let round = 0; round < LEARNING + MEASURED; round++) {
      await using client = await connect(address, { dictionaryCache, timeoutMs: CONNECT_MS });
      while (client.stats().dictionaries.length < dictionaries.length) await client.ping();
      const before = client.stats().bytesRead;
      for (let i = 0; i < FIRST; i++)
        await client.call('get', { args: { i: String(round * FIRST + i) } }).bytes();
      if (round >= LEARNING) bytes += client.stats().bytesRead - before;
    }
    return bytes / MEASURED / FIRST;
  };
  return {
    dictionary: await mean([{ file }]),
    smaller: await mean([{ file: smaller }]),
    kept: await mean([]),
  };
}

function inTurns(context: BenchContext, payloads: PayloadSpec, dict: PeerOptions) {
  const one: PeerOptions = { workers: 1, streams: 1 };
  const ours: [string, PeerOptions][] = [
    [KEPT, one],
    [KEPT_DICT, { ...one, ...dict, contexts: 'kept' }],
    [KEPT_RECORDS, { ...one, ...dict, contexts: 'kept', tuning: 'records' }],
    [NONE_DICT, { ...one, ...dict, contexts: 'none' }],
    [NONE_2, { ...dict, workers: 2, streams: 2, contexts: 'none' }],
  ];
  const contenders = [
    ...[WS, WS_PLAIN].map((peer) => ({ label: peer, rig: { peer, payloads } })),
    ...ours.map(([label, options]) => ({ label, rig: { peer: 'millrace', payloads, options } })),
  ];
  return takeTurns(
    {
      contenders: contenders.map((each) => ({ ...each, shape: { kind: 'closed', inFlight: IN_FLIGHT } })),
      rounds: [7, 3],
      seconds: [3, 1],
    },
    context,
  );
}

/** Many connections that take turns, so that each wake-up brings little. */
function manyInTurns(context: BenchContext, payloads: PayloadSpec, dict: PeerOptions) {
  const one: PeerOptions = { workers: 1, streams: 1 };
  const ours: [string, PeerOptions][] = [
    [KEPT, one],
    [NONE_DICT, { ...one, ...dict, contexts: 'none' }],
    [AUTO_DICT, { ...one, ...dict, contexts: 'auto' }],
    [PLAIN, { ...one, profile: 'identity' }],
  ];
  const contenders = [
    ...[WS, WS_PLAIN].map((peer) => ({ label: peer, rig: { peer, payloads, connections: MANY } })),
    ...ours.map(([label, options]) => ({
      label,
      rig: { peer: 'millrace', payloads, options, connections: MANY },
    })),
  ];
  return takeTurns(
    {
      contenders: contenders.map((each) => ({
        ...each,
        shape: { kind: 'turns', inFlight: IN_FLIGHT },
        warmSeconds: 2,
      })),
      rounds: [5, 3],
      seconds: [4, 1.5],
    },
    context,
  );
}

/** Bytes of the server, with heap and malloc as `millrace serve` sets them up, for each connection that has had its responses. */
async function memoryPerConnection(
  payloads: PayloadSpec,
  options: PeerOptions,
  connections: number,
  { quick }: BenchContext,
): Promise<number> {
  await using rig = await Rig.start({
    peer: 'millrace',
    payloads,
    options: { workers: 1, streams: 1, ...options },
    connections: 8,
    asServe: true,
  });
  for (let i = 0; i < RESPONSES; i++) await rig.touch();
  const before = await rig.settledUsage();
  await rig.addConnections(connections);
  for (let i = 0; i < (quick ? RESPONSES / 10 : RESPONSES); i++) await rig.touch();
  const after = await rig.settledUsage();
  return (after.rss - before.rss) / connections;
}
