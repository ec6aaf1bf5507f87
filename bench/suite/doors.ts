/** The doors beside that for frames alone: what a response costs over a WebSocket and by HTTP, and what a page has to load. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { median } from '../../src/experiment/results/statistics.ts';
import type { Bench } from '../bench.ts';
import { figure } from '../figures.ts';
import type { LoadShape } from '../load.ts';
import { longTasks } from '../page-tasks.ts';
import { makePayloads, noteOf, type PayloadSpec } from '../payloads.ts';
import { type Measurement, Rig } from '../proc.ts';
import { pairedRatio } from '../stats.ts';

const HTTP_CONNECTIONS = 64;

/** Who is measured, by what load, in turns. */
const RUNNERS: readonly { peer: string; connections: number; load: LoadShape }[] = [
  { peer: 'millrace', connections: 1, load: { kind: 'closed', inFlight: 100 } },
  { peer: 'millrace, WebSocket', connections: 1, load: { kind: 'closed', inFlight: 100 } },
  { peer: 'ws + deflate', connections: 1, load: { kind: 'closed', inFlight: 100 } },
  {
    peer: 'millrace, HTTP',
    connections: HTTP_CONNECTIONS,
    load: { kind: 'closed', inFlight: HTTP_CONNECTIONS },
  },
  {
    peer: 'fastify + zstd',
    connections: HTTP_CONNECTIONS,
    load: { kind: 'closed', inFlight: HTTP_CONNECTIONS },
  },
];

export const doors: Bench = {
  name: 'doors',
  describe: '900-byte responses over a WebSocket and by HTTP, and the size of the browser client',
  async run({ quick, seed, progress }) {
    const payloads: PayloadSpec = { name: 'json900', seed, streams: 2 };
    const rounds = quick ? 3 : 7;
    const seconds = quick ? 1 : 4;
    const measured = new Map<string, Measurement[]>(RUNNERS.map(({ peer }) => [peer, []]));
    await using stack = new AsyncDisposableStack();
    const rigs: Rig[] = [];
    for (const { peer, connections } of RUNNERS)
      rigs.push(stack.use(await Rig.start({ peer, payloads, connections })));
    for (const [i, rig] of rigs.entries()) await rig.measure(RUNNERS[i]!.load, 0.2, 0.5);
    let done = 0;
    for (let round = 0; round < rounds; round++)
      for (const [i, rig] of rigs.entries()) {
        const { peer, load } = RUNNERS[i]!;
        progress(done++, rounds * rigs.length, peer);
        measured.get(peer)!.push(await rig.measure(load, seconds, 0.2));
      }
    const cpu = (peer: string) => measured.get(peer)!.map((each) => each.cpu.total);
    const against = (id: string, ours: string, theirs: string) => {
      const ratio = pairedRatio(cpu(ours), cpu(theirs));
      return figure(id, ratio.median, ratio);
    };
    const bundle = await bundleSize();
    const page = await longTasks(rigs[0]!, RUNNERS[0]!.load, quick ? 10 : 60);
    const unseen = typeof page === 'string';
    return {
      bench: 'doors',
      summary: `900-byte responses; frames with 100 in flight on one connection, HTTP with one in flight on each of ${HTTP_CONNECTIONS}.`,
      payloads: [noteOf(makePayloads(payloads))],
      tables: [
        {
          title: 'Server CPU per response, medians of the rounds',
          columns: ['door', 'µs', 'main thread µs', 'bytes on the wire', 'responses/s'],
          rows: RUNNERS.map(({ peer }) => {
            const of = (pick: (m: Measurement) => number) => median(measured.get(peer)!.map(pick));
            return [
              peer,
              Number(of((m) => m.cpu.total).toFixed(1)),
              Number(of((m) => m.cpu.main).toFixed(1)),
              Math.round(of((m) => m.wireBytes)),
              Math.round(of((m) => m.requestsPerSecond)),
            ];
          }),
          note: `A page that connects loads ${bundle} bytes, gzipped; zlib, which it loads when it asks for it, not counted.`,
        },
      ],
      charts: [],
      figures: [
        against('doors.ws_cpu_vs_tcp', 'millrace, WebSocket', 'millrace'),
        against('doors.ws_cpu_vs_ws_deflate', 'millrace, WebSocket', 'ws + deflate'),
        against('doors.http_vs_fastify_zstd', 'millrace, HTTP', 'fastify + zstd'),
        figure('doors.bundle', Number((bundle / 1024).toFixed(1))),
        figure('doors.page_long_tasks', unseen ? null : page.open.length),
      ],
      skipped: unseen ? [`doors.page_long_tasks: ${page}`] : [],
      raw: { ...Object.fromEntries(measured), page },
    };
  },
};

/** Bytes, gzipped, of what a page loads that imports `connect` alone. */
async function bundleSize(): Promise<number> {
  const outdir = mkdtempSync(join(tmpdir(), 'millrace-bundle-'));
  try {
    const { metafile } = await build({
      stdin: {
        contents: "export { connect } from './browser.ts';",
        resolveDir: join(import.meta.dirname, '../../src'),
        loader: 'ts',
      },
      bundle: true,
      splitting: true,
      format: 'esm',
      minify: true,
      target: 'es2024',
      metafile: true,
      outdir,
    });
    const entry = Object.keys(metafile.outputs).find(
      (name) => metafile.outputs[name]!.entryPoint === '<stdin>',
    )!;
    const needed = new Set<string>();
    const add = (name: string) => {
      if (needed.has(name)) return;
      needed.add(name);
      for (const { path, kind } of metafile.outputs[name]!.imports)
        if (kind === 'import-statement') add(path);
    };
    add(entry);
    return [...needed].reduce((sum, name) => sum + gzipSync(readFileSync(name), { level: 9 }).length, 0);
  } finally {
    rmSync(outdir, { recursive: true, force: true });
  }
}
