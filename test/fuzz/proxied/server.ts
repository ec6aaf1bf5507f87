/** The server's process. */

import { once } from 'node:events';
import { serveOperations } from '../../../src/experiment/process/operations.ts';
import {
  CommandError,
  type CommandRequest,
  ConnectionError,
  cached,
  createServer,
  type Handler,
  ProtocolError,
} from '../../../src/index.ts';
import { millRecord } from '../../helpers/mill.ts';
import { concat, digest } from '../../helpers/samples.ts';
import { LONG } from '../../helpers/serving.ts';
import { Stalls } from '../../siege/stalls.ts';
import { fill, patternFor } from './lane.ts';
import { TOPICS } from './plan.ts';

export interface ServerOperations {
  port(): Promise<number>;
  /** How often each task has begun on the main thread, by its ID, since the last time. */
  begun(): Promise<[id: string, times: number][]>;
  /** What is not as it was before all clients came; what should not have happened. */
  remains(): Promise<string[]>;
  faults(): Promise<string[]>;
  /** Longest stalls of the event loop since the last time, in milliseconds. */
  stalls(): Promise<{ stallMs: number; stallCpuMs: number }>;
}

const begun = new Map<string, number>();
const faults: string[] = [];

/** A handler that says which task it has begun. */
function noted(handler: Handler): Handler {
  return (request: CommandRequest) => {
    const id = request.text('id') ?? '';
    begun.set(id, (begun.get(id) ?? 0) + 1);
    return handler(request);
  };
}

const server = createServer({
  workers: 2,
  laneTimeout: LONG,
  dictionaries: [
    { file: new URL('../../fixtures/mill.dict', import.meta.url).pathname, commands: ['record'] },
  ],
  commands: {
    fill: noted(fill),
    'lane-fill': { module: new URL('./lane.ts', import.meta.url), export: 'fill' },
    cached: (request) => {
      const bytes = patternFor(request);
      return cached(digest(bytes), () => bytes.slice());
    },
    echo: noted((request) => request.text('id') ?? ''),
    record: noted((request) => millRecord(Number(request.text('seed')))),
    back: noted((request) => request.data),
    sink: noted(async ({ data }) => {
      const pieces: Uint8Array[] = [];
      for await (const piece of data) pieces.push(piece);
      return digest(concat(pieces));
    }),
    hold: noted(async ({ signal }) => {
      if (!signal.aborted) await once(signal, 'abort');
      return '';
    }),
  },
  onError: (error, { lane }) => {
    const isPeers = [ProtocolError, ConnectionError, CommandError].some((kind) => error instanceof kind);
    if (lane !== undefined || !isPeers)
      faults.push(error instanceof Error ? String(error.stack) : String(error));
  },
});
for (const topic of TOPICS) server.topic(topic);
const { port } = (await server.listen()) as { port: number };
process.on('warning', (warning) => faults.push(`warning: ${warning.message}`));
const stalls = new Stalls();

serveOperations<ServerOperations>({
  port: async () => port,
  begun: async () => {
    const list = [...begun];
    begun.clear();
    return list;
  },
  remains: async () => {
    const { connections, commands, input, output, topics, lanes, laneRestarts } = await server.stats();
    const counts: [string, number][] = [
      ['connections', connections],
      ['bytes of input', input.bytes],
      ['bytes of output', output.bytes],
      ['restarts of lanes', laneRestarts],
      ...commands.map(({ command, running }): [string, number] => [`running ${command}`, running]),
      ...topics.map(({ topic, subscribers }): [string, number] => [`subscribers of ${topic}`, subscribers]),
      ...lanes.map(({ lane, queuedBytes }): [string, number] => [
        `queued bytes of lane ${lane}`,
        queuedBytes,
      ]),
    ];
    return counts.filter(([, count]) => count !== 0).map(([what, count]) => `${count} ${what}`);
  },
  faults: async () => faults,
  stalls: async () => stalls.take(),
});
