/** Our encoder against C libzstd: same level, same chunks, same flushes, in turns inside one process. */

import { median } from '../../src/experiment/results/statistics.ts';
import type { Bench, BenchContext, Result } from '../bench.ts';
import { figure } from '../figures.ts';
import { CompiledLimit } from '../limit.ts';
import type { LimitRounds } from '../limit-child.ts';
import { makePayloads, noteOf, type PayloadNote, type PayloadSpec } from '../payloads.ts';
import type { Measurement } from '../proc.ts';
import { pairedRatio, spread } from '../stats.ts';
import { COMPILED_AFTER, takeTurns } from '../turns.ts';

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
    const server = await measureServer(context, limitOfC);
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
        server.table,
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
      figures: server.figures,
      skipped: limitOfC.noProgram ? [`C against the system's libzstd: ${limitOfC.noProgram}`] : [],
      raw: { encoder: rows, server: server.raw },
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

/** Servers with one lane and one stream, by where the handler runs, and what a router takes that checks nothing. */
const SERVERS = {
  main: { peer: 'millrace', payloads: 'text32k', handler: 'main', inFlight: 32 },
  worker: { peer: 'millrace', payloads: 'text32k', handler: 'worker', inFlight: 32 },
  bare32k: { peer: 'bare router', payloads: 'text32k', handler: 'worker', inFlight: 32 },
  small: { peer: 'millrace', payloads: 'json900', handler: 'worker', inFlight: 100 },
  bareSmall: { peer: 'bare router', payloads: 'json900', handler: 'worker', inFlight: 100 },
} as const;

/** One lane with one stream in a whole server, next to C at the same frames. */
async function measureServer(context: BenchContext, compiled: CompiledLimit) {
  const specOf = (name: string): PayloadSpec => ({ name, seed: context.seed });
  const c: number[] = [];
  const smallC: number[] = [];
  const inC = async (name: string) => {
    const { c: rounds } = await compiled.insideNode({ payloads: specOf(name), level: 3, rounds: 3 });
    return median(rounds);
  };
  const results = await takeTurns(
    {
      contenders: Object.entries(SERVERS).map(([label, { peer, payloads, handler, inFlight }]) => ({
        label,
        rig: { peer, payloads: specOf(payloads), options: { workers: 1, streams: 1, handler } },
        shape: { kind: 'closed', inFlight },
        warmResponses: COMPILED_AFTER,
      })),
      rounds: [7, 3],
      seconds: [3, 1],
      async eachRound() {
        c.push(await inC('text32k'));
        smallC.push(await inC('json900'));
      },
    },
    context,
  );
  const of = (server: keyof typeof SERVERS, pick: (m: Measurement) => number) =>
    results.get(server)!.map(pick);
  const worker = (m: Measurement) => m.cpu.workers.reduce((a, b) => a + b, 0);
  const main = (m: Measurement) => m.cpu.main;
  const share = (server: keyof typeof SERVERS) => pairedRatio(of(server, main), of(server, worker));
  const against = pairedRatio(of('main', worker), c);
  const small = pairedRatio(of('small', main), smallC);
  return {
    figures: [
      figure('frame32k.worker_vs_c', against.median, against),
      figure('frame32k.main_share', share('main').median, share('main')),
      figure('frame32k.main_share_worker_handler', share('worker').median, share('worker')),
      figure('small.main_vs_c', small.median, small),
    ],
    table: {
      title: 'A server with one lane, and a bare router',
      columns: [
        'server',
        'payload',
        'handler',
        'worker µs',
        'main µs',
        'main ÷ worker',
        'C µs',
        'main ÷ C',
        'worker ÷ C',
        'responses/s',
      ],
      rows: (Object.keys(SERVERS) as (keyof typeof SERVERS)[]).map((server) => {
        const { peer, payloads, handler } = SERVERS[server];
        const byC = payloads === 'json900' ? smallC : c;
        return [
          peer,
          payloads,
          handler === 'main' ? 'on the main thread' : 'in the worker',
          fixed(median(of(server, worker)), 1),
          fixed(median(of(server, main)), 1),
          fixed(share(server).median, 4),
          fixed(median(byC), 1),
          fixed(pairedRatio(of(server, main), byC).median, 3),
          fixed(pairedRatio(of(server, worker), byC).median, 3),
          Math.round(median(of(server, ({ requestsPerSecond }) => requestsPerSecond))),
        ];
      }),
      note: 'The bare router splits, hands on and writes, with the same encoder: it parses, checks and keeps nothing, and bounds what a main thread can come to.',
    },
    raw: { c, smallC, rounds: Object.fromEntries(results) },
  };
}

function nothing(why: string): Result {
  const figures = [
    'frame32k.worker_vs_c',
    'frame32k.main_share',
    'frame32k.main_share_worker_handler',
    'small.main_vs_c',
  ];
  return {
    bench: 'limit',
    summary: 'Nothing to compare with here.',
    payloads: [],
    tables: [],
    charts: [],
    figures: figures.map((id) => figure(id, null)),
    skipped: [why],
    raw: null,
  };
}

const fixed = (value: number, digits = 2) => Number(value.toFixed(digits));
