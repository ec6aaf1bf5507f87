/** The server of the soak, in a process of its own so that its memory is its own. Says its figures when asked. */

import { createServer, TextOutput } from '../../src/index.ts';
import { pattern } from '../fixtures/pattern.ts';
import { cpuSeconds } from './process.ts';

const MODULE = new URL('../fixtures/lane-commands.ts', import.meta.url);
let deaths = 0;
/** Budget for contexts in MiB; without it the server's own default. */
const budget = process.argv[2];
const server = createServer({
  workers: 2,
  // Peers that have half-closed and gone are found out by pings that nobody takes.
  keepAliveInterval: 5000,
  contextMemory: budget === undefined ? undefined : Number(budget) * 2 ** 20,
  commands: {
    fill: { module: MODULE, export: 'fill' },
    die: { module: MODULE, export: 'die' },
    deaf: { module: MODULE, export: 'deaf' },
    here: async function* (request) {
      const bytes = pattern(Number(request.text('seed')), Number(request.text('size')));
      for (let at = 0; at < bytes.length; at += 16_384) yield bytes.slice(at, at + 16_384);
    },
    tell: async function* (request) {
      for (let i = Number(request.text('size')); i > 0; i--)
        yield new TextOutput({ format: '%s\n', labels: [], args: ['a line for people'] });
    },
    hold: ({ signal }) =>
      new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined))),
  },
  onError: (_error, { lane }) => {
    if (lane !== undefined) deaths++;
  },
});
const { port } = (await server.listen()) as { port: number };
process.send?.({ port });
process.on('disconnect', () => process.exit());
process.on('message', async (message) => {
  if (message === 'stop') {
    await server.close(2000);
    process.exit(0);
  }
  const { connections, connectionTotals, lanes } = await server.stats();
  const { rss, heapUsed, external } = process.memoryUsage();
  const streams = lanes.reduce((sum, lane) => sum + lane.openStreams, 0);
  const heaps = lanes.reduce((sum, lane) => sum + lane.memoryBytes, heapUsed + external);
  const { bytesWritten } = connectionTotals;
  process.send?.({ rss, heaps, cpuSeconds: cpuSeconds(), connections, bytesWritten, streams, deaths });
});
