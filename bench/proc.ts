/**
 * Server and client in a process each, so that the load generator's CPU is not the server's, and the measuring of one
 * against the other. Servers stay up while others are measured, idle, so that rounds can take turns: figures that are
 * compared were measured next to each other.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Operation, Operations, Reply, Request } from './child.ts';
import type { LoadShape } from './load.ts';
import type { PayloadSpec } from './payloads.ts';
import type { PeerOptions } from './peers/peer.ts';
import type { LatencySummary } from './stats.ts';
import type { Usage } from './usage.ts';

const children = new Set<ChildProcess>();

/** For Ctrl-C: nothing that we started outlives us. */
export function endAllChildren(): void {
  for (const child of children) child.kill('SIGKILL');
}

/** Runs a program to its end. @throws Error with what it said on stderr. */
export async function runCommand(command: string, args: readonly string[]): Promise<string> {
  const program = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(program);
  let output = '';
  let complaint = '';
  program.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  program.stderr.setEncoding('utf8').on('data', (text) => {
    complaint += text;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    program.once('error', reject).once('close', resolve);
  }).finally(() => children.delete(program));
  if (code !== 0) throw new Error(`${command} ended with ${code}: ${complaint.trim().slice(-500)}`);
  return output;
}

/** Runs one of our modules in a process of its own and returns what it printed. */
export function runModule(
  file: string,
  args: readonly string[],
  flags: readonly string[] = [],
): Promise<string> {
  return runCommand(process.execPath, ['--no-warnings', ...flags, file, ...args]);
}

class Child {
  readonly #name: string;
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  #next = 1;
  #gone: Error | undefined;

  constructor(name: string) {
    this.#name = name;
    // In a checkout this is child.ts, in a build child.js.
    const file = join(import.meta.dirname, `child${import.meta.filename.slice(-3)}`);
    this.#process = fork(file, {
      execArgv: ['--no-warnings'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    children.add(this.#process);
    this.#process.on('message', ({ id, value, error }: Reply) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(value);
      else waiting?.reject(new Error(`${name}: ${error}`));
    });
    this.#process.on('exit', (code, signal) => {
      children.delete(this.#process);
      this.#gone = new Error(`the process of ${name} ended (${signal ?? code})`);
      for (const { reject } of this.#waiting.values()) reject(this.#gone);
      this.#waiting.clear();
    });
  }

  ask<O extends Operation>(operation: O, ...args: Parameters<Operations[O]>): ReturnType<Operations[O]> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      if (this.#gone) return reject(this.#gone);
      this.#waiting.set(id, { resolve, reject });
      this.#process.send({ id, operation, args } satisfies Request);
    }) as ReturnType<Operations[O]>;
  }

  async end(): Promise<void> {
    if (this.#gone) return;
    const exited = new Promise((resolve) => this.#process.once('exit', resolve));
    await Promise.race([this.ask('close'), delay(2000, undefined, { ref: false })]).catch(() => {});
    this.#process.kill('SIGKILL');
    await exited;
  }

  get name(): string {
    return this.#name;
  }
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
}

export interface RigSpec {
  readonly peer: string;
  readonly payloads: PayloadSpec;
  readonly options?: PeerOptions;
  readonly connections?: number;
}

/** A peer's server and its client, up and connected. */
export class Rig implements AsyncDisposable {
  readonly name: string;
  /** Of the server after it had made its payloads and before it served: what is not the server's own. */
  readonly payloadRss: number;
  readonly #server: Child;
  readonly #client: Child;

  private constructor(name: string, payloadRss: number, server: Child, client: Child) {
    this.name = name;
    this.payloadRss = payloadRss;
    this.#server = server;
    this.#client = client;
  }

  static async start({ peer, payloads, options = {}, connections = 1 }: RigSpec): Promise<Rig> {
    const server = new Child(`${peer} server`);
    const client = new Child(`${peer} client`);
    try {
      const { port, rss } = await server.ask('serve', peer, payloads, options);
      await client.ask('connect', peer, payloads, options, port, connections);
      return new Rig(peer, rss, server, client);
    } catch (error) {
      await Promise.all([server.end(), client.end()]);
      throw error;
    }
  }

  /** Load for `warmSeconds` uncounted, then for `seconds` counted; the server is idle again afterwards. */
  async measure(shape: LoadShape, seconds: number, warmSeconds: number): Promise<Measurement> {
    await this.#client.ask('start', shape);
    await delay(warmSeconds * 1000);
    const [before] = await Promise.all([this.#server.ask('usage'), this.#client.ask('mark')]);
    await delay(seconds * 1000);
    const [after, mark] = await Promise.all([this.#server.ask('usage'), this.#client.ask('mark')]);
    await this.#client.ask('stop');
    if (mark.requests === 0) throw new Error(`${this.name}: no response in ${seconds} s`);
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
    };
  }

  serverUsage(): Promise<Usage> {
    return this.#server.ask('usage');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.end();
    await this.#server.end();
  }
}
