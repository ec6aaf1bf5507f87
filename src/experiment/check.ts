/**
 * The check against the real thing: a setting run in the server, under load from a client in a process of its own. The
 * sizes have to be those of the model; the CPU is that of threads which share the machine with all that a server does.
 */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { CodecModule } from '../encoding/codec.ts';
import type { CommandRequest } from '../reactor/command.ts';
import { createServer, type ServerStats } from '../server.ts';
import type { Cell } from './cell.ts';
import { median } from './evaluator.ts';
import type { LoadTask } from './load-child.ts';
import { optionsOf } from './recommended.ts';
import type { Check } from './results.ts';
import type { Workload } from './workload.ts';

/** After a first one, in which code is compiled and threads are cold. */
const ROUNDS = 3;
const COMMAND = 'experiment.get';
/** A server takes so many requests of one connection by default. */
const MAX_IN_FLIGHT = 128;

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const CHILD = fileURLToPath(new URL(`load-child.${EXTENSION}`, import.meta.url));

/** What the check needs to know of an experiment. */
export interface CheckOptions {
  readonly workload: Workload;
  readonly codecs: readonly CodecModule[];
  readonly workers: number;
  /** Requests in flight on each connection. */
  readonly inFlight: number;
}

/** @throws Error when a request fails. */
export async function checkInServer(
  { workload, codecs, workers, inFlight }: CheckOptions,
  cell: Cell,
): Promise<Check> {
  const { responses, bytes } = workload;
  const server = createServer({
    ...optionsOf(cell),
    codecs,
    workers,
    cacheBytes: 0,
    commands: {
      [COMMAND]: {
        handler: (request: CommandRequest) => responses[Number(request.text('i'))].bytes,
        affinityKey: (args) => {
          const { key, command } = responses[Number(Buffer.from(args.get('i') ?? []).toString())];
          return key ?? command;
        },
      },
    },
  });
  try {
    const address = await server.listen({ host: '127.0.0.1', port: 0 });
    const task: LoadTask = {
      port: (address as { port: number }).port,
      command: COMMAND,
      inFlight: Math.min(inFlight, MAX_IN_FLIGHT),
      connections: byConnection(workload),
      profile: cell.profile,
      codecs: codecs.map(({ url, export: name }) => ({ url, export: name })),
    };
    const round = async () => {
      const before = figuresOf(await server.stats());
      await promisify(execFile)(process.execPath, [CHILD, JSON.stringify(task)]);
      const after = figuresOf(await server.stats());
      return after.map((figure, i) => figure - before[i]);
    };
    const [bytesIn, bytesOut] = await round();
    const rounds: number[][] = [];
    while (rounds.length < ROUNDS) rounds.push(await round());
    return {
      // Identity goes out from the main thread: no lane has seen it.
      ratio: bytesOut === 0 ? bytes / (bytes + 8 * responses.length) : bytesIn / bytesOut,
      compressMicrosPerMB: (1e12 * median(rounds.map(([, , lanes]) => lanes))) / bytes,
      mainMicrosPerResponse: (1e6 * median(rounds.map(([, , , main]) => main))) / responses.length,
    };
  } finally {
    await server.close(0);
  }
}

/** Bytes into the lanes' encoders, bytes out of them, CPU seconds of the lanes, of this thread. */
function figuresOf({ lanes }: ServerStats): [number, number, number, number] {
  const { user, system } = process.threadCpuUsage();
  const sum = (of: (lane: ServerStats['lanes'][number]) => number) =>
    lanes.reduce((total, lane) => total + of(lane), 0);
  return [
    sum((lane) => lane.bytesIn),
    sum((lane) => lane.bytesOut),
    sum((lane) => lane.cpuSeconds),
    (user + system) / 1e6,
  ];
}

function byConnection({ responses }: Workload): number[][] {
  const indices = new Map<number, number[]>();
  for (const [index, { connection }] of responses.entries()) {
    const known = indices.get(connection);
    if (known === undefined) indices.set(connection, [index]);
    else known.push(index);
  }
  return [...indices.values()];
}
