/** The server under siege; its event loop and its memory are watched from within. */

import { readFileSync } from 'node:fs';
import { cached, createServer } from '../../src/index.ts';
import { pattern } from '../fixtures/pattern.ts';
import { answer } from './child.ts';
import { Stalls } from './stalls.ts';

export interface ServerFigures {
  /** Longest stalls of the event loop since the last asking, in milliseconds: by the clock, and in CPU time of its own. */
  stallMs: number;
  stallCpuMs: number;
  /** RSS now, and the most since the last asking, in bytes. */
  rss: number;
  peak: number;
  connections: number;
}

/** The cached output that the attacks ask for, and a piece of what is long. */
const CACHED = pattern(1, 3_000_000);
const PIECE = pattern(2, 16_384);
const MODULE = new URL('../fixtures/lane-commands.ts', import.meta.url);
const secured = process.argv.includes('tls');
const tlsFile = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}`, import.meta.url));

const server = createServer({
  workers: 2,
  tls: secured ? { key: tlsFile('server.key'), cert: tlsFile('server.pem') } : undefined,
  commands: {
    hello: () => 'hello',
    fill: { module: MODULE, export: 'fill' },
    cached: () => cached('siege', () => CACHED),
    here: async function* (request) {
      for (let left = 64 * Number(request.text('mebibytes')); left > 0; left--) yield PIECE;
    },
    sink: async (request) => {
      let count = 0;
      for await (const piece of request.data) count += piece.length;
      return String(count);
    },
    hold: ({ signal }) =>
      new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined))),
  },
  onError: () => undefined,
});
const { port } = (await server.listen()) as { port: number };
const stalls = new Stalls();
let peak = 0;
const watch = setInterval(() => {
  peak = Math.max(peak, process.memoryUsage.rss());
}, 50).unref();

answer({
  port: () => port,
  figures: async (): Promise<ServerFigures> => {
    const { connections } = await server.stats();
    const rss = process.memoryUsage.rss();
    const figures = { ...stalls.take(), rss, peak: Math.max(peak, rss), connections };
    peak = 0;
    return figures;
  },
  /** Milliseconds that a shutdown takes beyond its grace. */
  close: async () => {
    const graceMs = 1000;
    const began = performance.now();
    await server.close({ graceMs });
    clearInterval(watch);
    return Math.max(0, Math.round(performance.now() - began - graceMs));
  },
});
