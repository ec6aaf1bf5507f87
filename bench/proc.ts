/**
 * Server and client in a process each, so that the load generator's CPU is not the server's, and the measuring of one
 * against the other. Servers stay up while others are measured, idle, so that rounds can take turns: figures that are
 * compared were measured next to each other.
 */
import { spawn } from 'node:child_process';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Child } from '../src/experiment/process/child.ts';
import { track } from '../src/experiment/process/track.ts';
import { HEAP_FLAGS, serverEnvironment } from '../src/ops/malloc.ts';
import type { Threads } from './cgroup.ts';
import type { Operations } from './child.ts';
import type { LoadShape } from './load.ts';
import type { PayloadSpec } from './payloads.ts';
import type { PeerOptions } from './peers/peer.ts';
import type { LatencySummary } from './stats.ts';
import type { Usage } from './usage.ts';

/** One of our modules as a process that says one line when it is ready and goes on until it is disposed of. */
export async function startModule(
  file: string,
  args: readonly string[],
): Promise<{ said: string } & Disposable> {
  const module = track(
    spawn(process.execPath, ['--no-warnings', file, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  );
  const said = await new Promise<string>((resolve, reject) => {
    module.stdout.setEncoding('utf8').once('data', (text: string) => resolve(text.trim()));
    module.once('exit', (code) => reject(new Error(`${basename(file)} ended with ${code}`)));
  });
  return { said, [Symbol.dispose]: () => void module.kill('SIGKILL') };
}

const CHILD = join(import.meta.dirname, 'child.ts');

function startChild(name: string, asServe = false): Child<Operations> {
  const setup = asServe ? { env: serverEnvironment(process.env), flags: HEAP_FLAGS } : {};
  return new Child(CHILD, `the process of ${name} has ended`, setup);
}

/** One window of load. CPU in microseconds per response, bytes per response. */
export interface Measurement {
  readonly seconds: number;
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly decodedBytes: number;
  readonly wireBytes: number;
  readonly cpu: {
    readonly total: number;
    readonly main: number;
    readonly workers: number[];
    readonly other: number;
  };
  readonly latency: LatencySummary;
  readonly rss: number;
  readonly peakRss: number;
  /** Frames that encoders made in the window, in total; undefined where the server does not count. */
  readonly encodedFrames: number | undefined;
}

/** Without a response for so long a peer has failed: on a machine with 30 times its work half of gRPC's took over 5 s. */
const LONGEST_WAIT_SECONDS = 60;

export interface RigSpec {
  readonly peer: string;
  readonly payloads: PayloadSpec;
  readonly options?: PeerOptions;
  readonly connections?: number;
  /** The server's heap and malloc are set up as `millrace serve` does it. */
  readonly asServe?: boolean;
}

/** A peer's server and its client, up and connected. */
export class Rig implements AsyncDisposable {
  readonly name: string;
  /** Of the server after it had made its payloads and before it served: what is not the server's own. */
  readonly payloadRss: number;
  readonly #spec: RigSpec;
  /** Where clients connect to. */
  readonly port: number;
  readonly #server: Child<Operations>;
  readonly #client: Child<Operations>;

  private constructor(
    spec: RigSpec,
    port: number,
    payloadRss: number,
    server: Child<Operations>,
    client: Child<Operations>,
  ) {
    this.name = spec.peer;
    this.payloadRss = payloadRss;
    this.#spec = spec;
    this.port = port;
    this.#server = server;
    this.#client = client;
  }

  /** `through`: makes of the server's port the one that clients connect to, such as a link's; missing: the same. */
  static async start(spec: RigSpec, through?: (port: number) => Promise<number>): Promise<Rig> {
    const { peer, payloads, options = {}, connections = 1, asServe } = spec;
    const server = startChild(`${peer} server`, asServe);
    const client = startChild(`${peer} client`);
    try {
      const { port: serverPort, rss } = await server.ask('serve', peer, payloads, options);
      const port = (await through?.(serverPort)) ?? serverPort;
      await client.ask('connect', peer, payloads, options, port, connections);
      return new Rig(spec, port, rss, server, client);
    } catch (error) {
      await Promise.all([server.end(), client.end()]);
      throw error;
    }
  }

  /** Load for `warmSeconds` uncounted, then for `seconds` counted; the server is idle again afterwards. */
  async measure(shape: LoadShape, seconds: number, warmSeconds: number): Promise<Measurement> {
    await this.#client.ask('start', shape);
    await delay(warmSeconds * 1000);
    let [after, mark] = await this.#figures();
    let before = after;
    let waited = 0;
    // A slow peer on a busy machine may need longer than a short round for its first response.
    do {
      before = after;
      await delay(seconds * 1000);
      [after, mark] = await this.#figures();
      waited += seconds;
    } while (mark.requests === 0 && waited < LONGEST_WAIT_SECONDS);
    // Of one that has failed nothing is waited for.
    if (mark.requests === 0) throw new Error(`${this.name}: no response in ${LONGEST_WAIT_SECONDS} s`);
    await this.#client.ask('stop');
    // The two clocks are a little apart; rates over each one's own window are not.
    const perSecond = mark.requests / mark.seconds;
    const perResponse = (spent: number) => spent / ((after.atMs - before.atMs) / 1000) / perSecond;
    return {
      seconds: mark.seconds,
      requests: mark.requests,
      requestsPerSecond: perSecond,
      decodedBytes: mark.decodedBytes / mark.requests,
      wireBytes: mark.wireBytes / mark.requests,
      cpu: {
        total: perResponse(after.total - before.total),
        main: perResponse(after.main - before.main),
        workers: after.workers.map((spent, i) => perResponse(spent - (before.workers[i] ?? 0))),
        other: perResponse(after.other - before.other),
      },
      latency: mark.latency,
      rss: after.rss,
      peakRss: after.peakRss,
      encodedFrames:
        after.encodedFrames === undefined ? undefined : after.encodedFrames - (before.encodedFrames ?? 0),
    };
  }

  /** What the server has used so far, and what the client has had since it was asked last. */
  #figures() {
    return Promise.all([this.#server.ask('usage'), this.#client.ask('mark')]);
  }

  /** More connections from the same client, idle until something is asked. */
  async addConnections(count: number): Promise<void> {
    const { peer, payloads, options = {} } = this.#spec;
    await this.#client.ask('connect', peer, payloads, options, this.port, count);
  }

  /** The server's, on Linux. */
  serverThreads(): Promise<Threads> {
    return this.#server.ask('threads');
  }

  /** One request on every connection. */
  touch(): Promise<void> {
    return this.#client.ask('touch');
  }

  /** The server's, after its garbage is gone. */
  async settledUsage(): Promise<Usage> {
    await this.#server.ask('settle');
    return this.#server.ask('usage');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.end();
    await this.#server.end();
  }
}
