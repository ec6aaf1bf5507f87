/**
 * The same responses under every way to share contexts: what each costs in ratio, CPU and memory, as the experiment
 * measures it. The curve is the price of parallelism: the ratio lost against the number of streams that a connection's
 * responses are spread over.
 */
import { type Cell, normalise } from '../../src/experiment/grid/cell.ts';
import { EncodingMeter } from '../../src/experiment/measure/encodings.ts';
import { Evaluator } from '../../src/experiment/measure/evaluator.ts';
import type { Measures } from '../../src/experiment/results/results.ts';
import { Random } from '../../src/experiment/traffic/random.ts';
import { makeWorkload, type Workload, type WorkloadResponse } from '../../src/experiment/traffic/workload.ts';
import { MAX_STREAMS } from '../../src/lanes/policy.ts';
import { DEFAULT_FRAME_SIZE } from '../../src/wire/frame.ts';
import type { Bench, BenchContext, Result, TableCell } from '../bench.ts';
import { makePayloads, noteOf } from '../payloads.ts';
import { spread } from '../stats.ts';

interface Traffic {
  readonly name: string;
  /** Kinds in random turn, each as often as gives it an equal share of the bytes; affinity keeps them apart. */
  readonly payloads: readonly string[];
  readonly framesPerResponse: number;
}

const TRAFFIC: readonly Traffic[] = [
  { name: 'json900', payloads: ['json900'], framesPerResponse: 1 },
  { name: 'text, 8 frames', payloads: ['text32k'], framesPerResponse: 8 },
  { name: 'four kinds mixed', payloads: ['json200', 'json900', 'json4k', 'text32k'], framesPerResponse: 1 },
];

/** Every payload once: with nothing sent twice, no pool needs to be larger than the window. */
const TOTAL_BYTES = 16 << 20;
const IN_FLIGHT = 32;

interface Row {
  readonly traffic: Traffic;
  readonly cell: Cell;
  readonly measures: Measures;
}

export const contexts: Bench = {
  name: 'contexts',
  describe: `ratio, CPU and memory under per-request, single, shared 2 … ${MAX_STREAMS} and affinity`,
  async run(context) {
    const rows = await measure(context);
    const names = [...new Set(rows.flatMap(({ traffic }) => traffic.payloads))];
    return {
      bench: 'contexts',
      summary: `16 MiB of distinct responses, zstd level 3, through a server's one lane, ${IN_FLIGHT} requests in flight. Lost: against a single context.`,
      payloads: names.map((name) => noteOf(makePayloads({ name, seed: context.seed }))),
      tables: [...new Set(rows.map(({ traffic }) => traffic))].map((traffic) => ({
        title: `Contexts: ${traffic.name}`,
        columns: ['policy', 'ratio', 'lost %', 'CPU µs/MB', '±', 'contexts', 'MiB'],
        rows: rows.filter((row) => row.traffic === traffic).map(rowOf),
      })),
      charts: [
        curve(rows, 'Ratio lost against the number of streams', 'ratio lost, %', lostOf),
        curve(rows, 'Memory of the contexts', 'MiB', memoryOf),
        curve(
          rows,
          'CPU against the number of streams',
          'µs per MB',
          ({ measures }) => spread(measures.compress.rounds).median,
        ),
      ],
      figures: [],
      skipped: [],
      raw: rows,
    };
  },
};

async function measure({ quick, seed, corpus, progress }: BenchContext): Promise<Row[]> {
  const all = corpus
    ? [...TRAFFIC, { name: 'corpus', payloads: [`corpus:${corpus}`], framesPerResponse: 1 }]
    : TRAFFIC;
  const total = all.reduce((sum, traffic) => sum + gridFor(traffic, quick).length, 0);
  const rows: Row[] = [];
  for (const traffic of all) {
    const workload = makeResponses(traffic, seed);
    const meter = new EncodingMeter(workload, []);
    const rounds = quick ? 2 : 5;
    const options = { workload, meter, codecs: [], rounds, inFlight: IN_FLIGHT, workers: 1, links: [] };
    const evaluator = new Evaluator(options);
    try {
      for (const cell of gridFor(traffic, quick)) {
        progress(rows.length, total, `${traffic.name}, ${label(cell)}`);
        rows.push({ traffic, cell, measures: await evaluator.evaluate(cell) });
      }
    } finally {
      await evaluator.close();
    }
  }
  return rows;
}

/** Where all responses are of one kind, affinity says nothing new. */
function gridFor({ payloads }: Traffic, quick: boolean): Cell[] {
  const counts = quick ? [2, 4, 8, MAX_STREAMS] : Array.from({ length: MAX_STREAMS - 1 }, (_, i) => i + 2);
  const base = { profile: 'zstd-8mb', level: 3, frameSize: DEFAULT_FRAME_SIZE, coalesceMs: 0 };
  const cells: Cell[] = [
    { ...base, policy: 'single', streams: 1 },
    { ...base, policy: 'per-request', streams: 1 },
    ...counts.map((streams) => ({ ...base, policy: 'shared' as const, streams })),
  ];
  if (payloads.length > 1) cells.push({ ...base, policy: 'affinity', streams: payloads.length });
  return cells.map(normalise);
}

function makeResponses({ name, payloads, framesPerResponse }: Traffic, seed: number): Workload {
  const pools = payloads.map((kind) => makePayloads({ name: kind, seed }));
  const weights = pools.map(({ bytes, count }) => count / bytes);
  const used = pools.map(() => 0);
  const random = new Random(seed);
  const responses: WorkloadResponse[] = [];
  for (let bytes = 0; bytes < TOTAL_BYTES; ) {
    const kind = weighted(weights, random);
    const pool = pools[kind]!;
    const frames = Math.min(framesPerResponse, pool.count - used[kind]!);
    if (frames === 0) break;
    const response = Buffer.concat(Array.from({ length: frames }, () => pool.get(used[kind]!++)));
    responses.push({ command: payloads[kind]!, connection: 0, bytes: response });
    bytes += response.length;
  }
  return makeWorkload([name], responses);
}

function weighted(weights: readonly number[], random: Random): number {
  let left = random.unit() * weights.reduce((a, b) => a + b);
  for (const [i, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return i;
  }
  return 0;
}

function rowOf(row: Row): TableCell[] {
  const { cell, measures } = row;
  const cpu = spread(measures.compress.rounds);
  return [
    label(cell),
    fixed(measures.ratio, 3),
    fixed(lostOf(row), 1),
    Math.round(cpu.median),
    Math.round(cpu.mad),
    measures.contexts,
    fixed(memoryOf(row), 1),
  ];
}

/** Percent of the ratio that a single context has. */
function lostOf({ measures }: Row): number {
  return 100 * (1 - measures.single.wireBytes / measures.wireBytes);
}

function memoryOf({ measures }: Row): number {
  return measures.connectionBytes / 2 ** 20;
}

function label({ policy, streams }: Cell): string {
  return policy === 'shared' ? `shared ${streams}` : policy;
}

/** Over `single`, which is one stream, and `shared`. */
function curve(rows: Row[], title: string, y: string, value: (row: Row) => number): Result['charts'][number] {
  const points = rows
    .filter(({ cell }) => cell.policy === 'single' || cell.policy === 'shared')
    .map((row) => ({ streams: row.cell.streams, [y]: value(row), responses: row.traffic.name }));
  return { title, kind: 'line', x: 'streams', y, series: 'responses', points };
}

const fixed = (value: number, digits: number) => Number(value.toFixed(digits));
