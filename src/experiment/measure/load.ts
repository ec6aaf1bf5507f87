/**
 * A setting in the server, under load: where the CPU of every setting comes from, and the check of what is recommended.
 *
 * The load. Clients in a process of their own ask over loopback for the responses in the traffic's order, each
 * connection for its own, and keep a number of requests in flight: when one is answered, the next is sent. Handlers
 * have their bytes at hand. What counts is the CPU of the lanes' threads, with all they do: encoding, batches, waking up
 * and going to sleep. An encoder that is kept busy would need less: in a server its thread sleeps while the requests
 * are elsewhere, and other threads have the caches. Each round is one of new connections, whose contexts begin empty.
 */

import type { CodecModule } from '../../encoding/codec.ts';
import type { Dictionary } from '../../encoding/dictionary.ts';
import { ZSTD_DICT } from '../../encoding/profiles.ts';
import { LanePool } from '../../lanes/pool.ts';
import type { CommandRequest } from '../../reactor/command.ts';
import { makeServer, type Server, type ServerStats } from '../../server/server.ts';
import type { Cell } from '../grid/cell.ts';
import { Child } from '../process/child.ts';
import { moduleBeside } from '../process/run.ts';
import { optionsOf } from '../results/recommended.ts';
import type { Cpu } from '../results/results.ts';
import { mean } from '../results/statistics.ts';
import { cut } from '../simulate/frame-plan.ts';
import type { Workload } from '../traffic/workload.ts';
import type { LoadOperations, LoadTask } from './load-child.ts';
import type { DictionariesBySize } from './train.ts';

const COMMAND = 'experiment.get';
/** Requests that a server takes of one connection at a time by default. */
const MAX_IN_FLIGHT = 128;

const CHILD = moduleBeside(import.meta.url, 'load-child');

/** What a load needs to know of an experiment. */
export interface LoadOptions {
  readonly workload: Workload;
  readonly codecs: readonly CodecModule[];
  /** Lanes of the server. */
  readonly workers: number;
  /** Requests in flight on each connection. */
  readonly inFlight: number;
  /** Those that cells name; missing: none. */
  readonly dictionaries?: DictionariesBySize;
}

/** What one round of a load has cost. */
export interface LoadRound {
  readonly responses: number;
  /** Of those responses. */
  readonly bytes: number;
  /** That the lanes have made, with those of stream settings. */
  readonly frames: number;
  /** Into the lanes' encoders, and out of them as frames; 0 where the main thread sends everything as it is. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** CPU seconds of all lanes' threads, and of the main thread. */
  readonly laneSeconds: number;
  readonly mainSeconds: number;
  /** By the clock. */
  readonly seconds: number;
}

/** Lanes and clients that loads on different settings have in common: warm, as in a server that runs for long. */
export class TestBed {
  readonly options: LoadOptions;
  readonly pool: LanePool;
  readonly #clients = new Child<LoadOperations>(CHILD, 'the clients have died');

  constructor(options: LoadOptions) {
    this.options = options;
    const { workers, codecs, dictionaries = new Map<number, Dictionary>() } = options;
    this.pool = new LanePool({
      ...{ workers, codecs },
      dictionaries: [...dictionaries.values()],
      handlers: [],
      inline: false,
      cacheLevel: 9,
      onLost: () => undefined,
    });
  }

  /** Runs the clients. @throws Error when something was not answered. */
  ask(task: LoadTask): Promise<void> {
    return this.#clients.ask('load', task);
  }

  async close(): Promise<void> {
    await this.#clients.end();
    await this.pool.close();
  }
}

/** A server that runs as a cell says and has the traffic to send. */
export class LoadedServer {
  readonly #bed: TestBed;
  readonly #cell: Cell;
  readonly #server: Server;
  readonly #connections: readonly (readonly number[])[];
  /** Undefined where it has those of its bed. */
  #ownLanes: LanePool | undefined;
  #port = 0;

  private constructor(bed: TestBed, cell: Cell, pool: LanePool | undefined) {
    this.#bed = bed;
    this.#cell = cell;
    const { workload, codecs, workers, dictionaries } = bed.options;
    const { responses } = workload;
    this.#connections = byConnection(workload);
    const options = {
      ...optionsOf(cell, (size) => ({ bytes: dictionaries?.get(size)?.bytes })),
      // Where pieces wait for more is in the plan's cuts, which the handler makes.
      coalesceMs: 0,
      codecs,
      workers,
      cacheBytes: 0,
      commands: {
        [COMMAND]: {
          handler: (request: CommandRequest) => answer(responses[Number(request.text('i'))], cell),
          affinityKey: (args: ReadonlyMap<string, Uint8Array>) => {
            const { key, command } = responses[Number(Buffer.from(args.get('i') ?? []).toString())];
            return key ?? command;
          },
        },
      },
    };
    // Encoders are weighed by what lanes take.
    this.#server = makeServer(options, (lanes) => {
      if (pool !== undefined) return pool;
      this.#ownLanes = new LanePool({ ...lanes, inline: false });
      return this.#ownLanes;
    });
  }

  /** `ownLanes`: lanes that are the server's alone, as in a process that has just started. */
  static async start(bed: TestBed, cell: Cell, { ownLanes }: { ownLanes: boolean }): Promise<LoadedServer> {
    const loaded = new LoadedServer(bed, cell, ownLanes ? undefined : bed.pool);
    const address = await loaded.#server.listen({ host: '127.0.0.1', port: 0 });
    loaded.#port = (address as { port: number }).port;
    return loaded;
  }

  /** Asks for the first `share` of the traffic, all by default. @throws Error when a request fails. */
  async round(share = 1): Promise<LoadRound> {
    const { workload, codecs, inFlight } = this.#bed.options;
    const connections = this.#connections.map((indices) =>
      indices.slice(0, Math.max(1, Math.ceil(share * indices.length))),
    );
    const asked = connections.flat();
    const task: LoadTask = {
      port: this.#port,
      command: COMMAND,
      inFlight: Math.min(inFlight, MAX_IN_FLIGHT),
      connections,
      ...this.#held(),
      codecs: codecs.map(({ url, export: name }) => ({ url, export: name })),
    };
    const before = await this.#figures();
    const startedAtMs = performance.now();
    await this.#bed.ask(task);
    const seconds = (performance.now() - startedAtMs) / 1000;
    const after = await this.#figures();
    const [frames, bytesIn, bytesOut, laneSeconds, mainSeconds] = after.map(
      (figure, i) => figure - before[i],
    );
    return {
      responses: asked.length,
      bytes: asked.reduce((sum, index) => sum + workload.responses[index].bytes.length, 0),
      ...{ frames, bytesIn, bytesOut, laneSeconds, mainSeconds, seconds },
    };
  }

  /** What clients decode, and hold from the beginning: what it takes to send a dictionary is another figure. */
  #held(): Pick<LoadTask, 'profiles' | 'dictionary'> {
    const { profile, dictionary: size } = this.#cell;
    const dictionary = size === undefined ? undefined : this.#bed.options.dictionaries?.get(size);
    if (dictionary === undefined) return { profiles: [profile] };
    return {
      profiles: [ZSTD_DICT, profile],
      dictionary: Buffer.from(dictionary.bytes).toString('base64'),
    };
  }

  async close(): Promise<void> {
    await this.#server.close(0);
    await this.#ownLanes?.close();
  }

  /** Frames of the lanes, bytes into them and out of them, CPU seconds of the lanes, of this thread. */
  async #figures(): Promise<[number, number, number, number, number]> {
    const { lanes } = await this.#server.stats();
    const { user, system } = process.threadCpuUsage();
    const sum = (of: (lane: ServerStats['lanes'][number]) => number) =>
      lanes.reduce((total, lane) => total + of(lane), 0);
    return [
      sum((lane) => lane.frames),
      sum((lane) => lane.bytesIn),
      sum((lane) => lane.bytesOut),
      sum((lane) => lane.cpuSeconds),
      (user + system) / 1e6,
    ];
  }
}

/** Microseconds of the lanes' threads for each 10^6 bytes of responses. */
export function laneMicrosPerMB({ laneSeconds, bytes }: LoadRound): number {
  return (1e12 * laneSeconds) / bytes;
}

export function mainMicrosPerResponse({ mainSeconds, responses }: LoadRound): number {
  return (1e6 * mainSeconds) / responses;
}

/**
 * `rounds` in microseconds for each 10^6 bytes. Their mean, not their median: what disturbs a machine comes and goes
 * within a round, and the mean of a few is what two series agree on best.
 */
export function cpuOf(rounds: readonly number[], { bytes, responses }: Workload): Cpu {
  const microsPerMB = mean(rounds);
  return {
    microsPerMB,
    microsPerResponse: (microsPerMB * bytes) / 1e6 / responses.length,
    rounds: [...rounds],
  };
}

/** A handler's output: whole, or in the pieces that a capture has seen, joined as the cell says. */
function answer(response: Workload['responses'][number], cell: Cell): Uint8Array | AsyncIterable<Uint8Array> {
  const { bytes, pieces = [] } = response;
  return pieces.length > 1 ? inPieces(response, cell) : bytes;
}

async function* inPieces(response: Workload['responses'][number], cell: Cell): AsyncGenerator<Uint8Array> {
  for (const { start, end } of cut(response, cell)) {
    if (start > 0) await new Promise(setImmediate);
    yield response.bytes.subarray(start, end);
  }
}

/** Connections that a workload's responses went to. */
export function connectionsOf({ responses }: Workload): number {
  return new Set(responses.map(({ connection }) => connection)).size;
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
