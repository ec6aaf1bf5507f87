/**
 * The same responses under every way to share contexts: what each costs in ratio, CPU and memory. The curve is the
 * price of parallelism: the ratio lost against the number of streams that a connection's responses are spread over.
 */
import { join } from 'node:path';
import { runModule } from '../../src/experiment/process/run.ts';
import type { Bench, BenchContext, Cell, Result } from '../bench.ts';
import type { ContextPolicy, ContextsOutcome, ContextsTask } from '../contexts-child.ts';
import { makePayloads, noteOf } from '../payloads.ts';
import { spread } from '../stats.ts';

interface Workload {
  readonly name: string;
  readonly payloads: readonly string[];
  readonly framesPerRequest: number;
}

const WORKLOADS: readonly Workload[] = [
  { name: 'json900', payloads: ['json900'], framesPerRequest: 1 },
  { name: 'text, 8 frames', payloads: ['text32k'], framesPerRequest: 8 },
  { name: 'four kinds mixed', payloads: ['json200', 'json900', 'json4k', 'text32k'], framesPerRequest: 1 },
];

interface Row {
  readonly workload: Workload;
  readonly policy: ContextPolicy;
  readonly outcome: ContextsOutcome;
}

export const contexts: Bench = {
  name: 'contexts',
  describe: 'ratio, CPU and memory under per-frame, per-request, single, shared 1 … 16 and affinity',
  async run(context) {
    const rows = await measure(context);
    const names = [...new Set(rows.flatMap(({ workload }) => workload.payloads))];
    const ratio = ({ outcome }: Row) => outcome.inBytes / outcome.outBytes;
    const baseline = (row: Row) =>
      ratio(rows.find(({ workload, policy }) => workload === row.workload && policy.kind === 'single')!);
    return {
      bench: 'contexts',
      summary:
        '16 MiB of distinct responses, zstd level 3, encoders alone, without a server. Lost: against a single context.',
      payloads: names.map((name) => noteOf(makePayloads({ name, seed: context.seed }))),
      tables: [...new Set(rows.map(({ workload }) => workload))].map((workload) => ({
        title: `Contexts: ${workload.name}`,
        columns: ['policy', 'ratio', 'lost %', 'CPU µs/MiB', '±', 'contexts', 'RSS MiB'],
        rows: rows
          .filter((row) => row.workload === workload)
          .map((row): Cell[] => {
            const cpu = spread(row.outcome.cpuPerMiB);
            return [
              label(row.policy),
              fixed(ratio(row), 3),
              fixed(100 * (1 - ratio(row) / baseline(row)), 1),
              Math.round(cpu.median),
              Math.round(cpu.mad),
              row.outcome.contexts,
              fixed(row.outcome.memory / 2 ** 20, 1),
            ];
          }),
      })),
      charts: [
        curve(
          rows,
          'Ratio lost against the number of streams',
          'ratio lost, %',
          (row) => 100 * (1 - ratio(row) / baseline(row)),
        ),
        curve(rows, 'Memory of the contexts', 'RSS, MiB', ({ outcome }) => outcome.memory / 2 ** 20),
        curve(
          rows,
          'CPU against the number of streams',
          'µs per MiB',
          ({ outcome }) => spread(outcome.cpuPerMiB).median,
        ),
      ],
      figures: [],
      skipped: [],
      raw: rows,
    };
  },
};

async function measure({ quick, seed, corpus, progress }: BenchContext): Promise<Row[]> {
  const counts = quick ? [1, 2, 4, 8, 16] : Array.from({ length: 16 }, (_, i) => i + 1);
  const policies: ContextPolicy[] = [
    { kind: 'per-frame' },
    { kind: 'per-request' },
    { kind: 'single' },
    ...counts.map((streams) => ({ kind: 'shared' as const, streams })),
    { kind: 'affinity' },
  ];
  const workloads = corpus
    ? [...WORKLOADS, { name: 'corpus', payloads: [`corpus:${corpus}`], framesPerRequest: 1 }]
    : WORKLOADS;
  const cases = workloads.flatMap((workload) =>
    policies
      // Where all requests are of one kind and one frame, these two say nothing new.
      .filter(({ kind }) => kind !== 'affinity' || workload.payloads.length > 1)
      .filter(({ kind }) => kind !== 'per-frame' || workload.framesPerRequest > 1)
      .map((policy) => ({ workload, policy })),
  );
  const file = join(import.meta.dirname, '..', `contexts-child${import.meta.filename.slice(-3)}`);
  const rows: Row[] = [];
  for (const { workload, policy } of cases) {
    progress(rows.length, cases.length, `${workload.name}, ${label(policy)}`);
    const { payloads, framesPerRequest } = workload;
    const task: ContextsTask = { payloads, seed, framesPerRequest, policy, level: 3, rounds: quick ? 2 : 5 };
    rows.push({ workload, policy, outcome: JSON.parse(await runModule(file, [JSON.stringify(task)])) });
  }
  return rows;
}

function label(policy: ContextPolicy): string {
  return policy.kind === 'shared' ? `shared ${policy.streams}` : policy.kind;
}

function curve(rows: Row[], title: string, y: string, value: (row: Row) => number): Result['charts'][number] {
  return {
    title,
    kind: 'line',
    x: 'streams',
    y,
    series: 'responses',
    points: rows.flatMap((row) =>
      row.policy.kind === 'shared'
        ? [{ streams: row.policy.streams, [y]: value(row), responses: row.workload.name }]
        : [],
    ),
  };
}

const fixed = (value: number, digits: number) => Number(value.toFixed(digits));
