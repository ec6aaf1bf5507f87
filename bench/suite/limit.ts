/** Our encoder against C libzstd: same level, same chunks, same flushes, in turns inside one process. */
import type { Bench, BenchContext, Result } from '../bench.ts';
import { figure } from '../figures.ts';
import { CompiledLimit } from '../limit.ts';
import type { LimitRounds } from '../limit-child.ts';
import { makePayloads, noteOf, type PayloadNote, type PayloadSpec } from '../payloads.ts';
import { median, pairedRatio, spread } from '../stats.ts';

const KINDS = ['json200', 'json900', 'json4k', 'text32k', 'random32k'];

interface Row {
  readonly payloads: PayloadNote;
  readonly level: number;
  readonly inside: LimitRounds;
  readonly system?: { readonly version: string; readonly c: number[]; readonly cBytes: number };
}

export const limit: Bench = {
  name: 'limit',
  describe: 'our encoder against C libzstd at the same work',
  async run(context) {
    const compiled = await CompiledLimit.compile();
    if (typeof compiled === 'string') return nothing(compiled);
    using limitOfC = compiled;
    const rows = await measure(context, limitOfC);
    const version = rows.find(({ system }) => system)?.system?.version;
    return {
      bench: 'limit',
      summary:
        `CPU per chunk, one zstd context, a flush after each chunk. C runs inside Node against the same libzstd ` +
        `(${process.versions.zstd}); ${version ? `the system's is ${version}` : 'the system has none to link with'}.`,
      payloads: rows.filter(({ level }) => level === 3).map(({ payloads }) => payloads),
      tables: [
        {
          title: 'CPU per chunk',
          columns: [
            'payload',
            'level',
            'C µs',
            'ours µs',
            'ours ÷ C',
            'min',
            'max',
            'ratio',
            `C ${version ?? ''} µs`,
          ],
          rows: rows.map(({ payloads, level, inside, system }) => {
            const ratio = pairedRatio(inside.ours, inside.c);
            return [
              payloads.name,
              level,
              fixed(median(inside.c)),
              fixed(median(inside.ours)),
              fixed(ratio.median, 3),
              fixed(ratio.min, 3),
              fixed(ratio.max, 3),
              fixed(inside.inBytes / inside.ourBytes),
              system ? fixed(spread(system.c).median) : null,
            ];
          }),
          note: 'ours: src/encoding/native.ts, without a server; ratio: bytes in over bytes out, the same for both.',
        },
      ],
      charts: [
        {
          title: 'Our encoder over C libzstd, level 3',
          kind: 'bar',
          x: 'payload',
          y: 'CPU ÷ CPU of C',
          points: rows
            .filter(({ level }) => level === 3)
            .map(({ payloads, inside }) => ({
              payload: payloads.name,
              'CPU ÷ CPU of C': pairedRatio(inside.ours, inside.c).median,
            })),
        },
      ],
      figures: [
        figure('frame32k.worker_vs_c', null),
        figure('frame32k.main_share', null),
        figure('frame32k.main_share_worker_handler', null),
      ],
      skipped: limitOfC.noProgram ? [`C against the system's libzstd: ${limitOfC.noProgram}`] : [],
      raw: rows,
    };
  },
};

async function measure(
  { quick, seed, corpus, progress }: BenchContext,
  compiled: CompiledLimit,
): Promise<Row[]> {
  const levels = quick ? [3] : [1, 3, 9];
  const rounds = quick ? 5 : 15;
  const specs: PayloadSpec[] = [...KINDS, ...(corpus ? [`corpus:${corpus}`] : [])].map((name) => ({
    name,
    seed,
  }));
  const total = specs.length * levels.length;
  const rows: Row[] = [];
  for (const spec of specs) {
    const payloads = makePayloads(spec);
    for (const level of levels) {
      progress(rows.length, total, `${spec.name}, level ${level}`);
      const inside = await compiled.insideNode({ payloads: spec, level, rounds });
      if (inside.cBytes !== inside.ourBytes) {
        throw new Error(
          `${spec.name}: C made ${inside.cBytes} bytes and we ${inside.ourBytes}: not the same work`,
        );
      }
      const system = compiled.noProgram ? undefined : await compiled.system(payloads, level, quick ? 2 : 5);
      rows.push({ payloads: noteOf(payloads), level, inside, ...(system && { system }) });
    }
  }
  return rows;
}

function nothing(why: string): Result {
  return {
    bench: 'limit',
    summary: 'Nothing to compare with here.',
    payloads: [],
    tables: [],
    charts: [],
    figures: [
      figure('frame32k.worker_vs_c', null),
      figure('frame32k.main_share', null),
      figure('frame32k.main_share_worker_handler', null),
    ],
    skipped: [why],
    raw: null,
  };
}

const fixed = (value: number, digits = 2) => Number(value.toFixed(digits));
