/** The soak's server process, seen from outside; malloc is set up there as `millrace serve` does it. */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { serverEnvironment } from '../../src/ops/malloc.ts';

export interface ServerFigures {
  rss: number;
  /** What the JavaScript heaps of all threads hold, and what they hold outside of themselves. */
  heaps: number;
  /** CPU time of all threads. */
  cpuSeconds: number;
  connections: number;
  /** To all connections that there have been. */
  bytesWritten: number;
  /** Contexts on lanes. */
  streams: number;
  deaths: number;
}

export class ServerProcess {
  readonly port: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
  }

  /** `budget`: MiB for all contexts. */
  static async start(budget?: number): Promise<ServerProcess> {
    const args = budget === undefined ? [] : [String(budget)];
    const env = serverEnvironment(process.env);
    const child = fork(fileURLToPath(new URL('./server.ts', import.meta.url)), args, { execArgv: [], env });
    process.once('exit', () => child.kill('SIGKILL'));
    const failed = once(child, 'exit').then(() => Promise.reject(new Error('the server did not start')));
    const [{ port }] = (await Promise.race([once(child, 'message'), failed])) as [{ port: number }];
    failed.catch(() => undefined);
    return new ServerProcess(child, port);
  }

  /** @throws Error when the process has ended. */
  async figures(): Promise<ServerFigures> {
    if (this.#child.exitCode !== null) throw new Error(`the server has ended with ${this.#child.exitCode}`);
    this.#child.send('figures');
    const [figures] = (await once(this.#child, 'message')) as [ServerFigures];
    return figures;
  }

  /** Ends the server in an orderly way; resolves with its exit code. */
  async stop(): Promise<number | null> {
    const exited = once(this.#child, 'exit');
    this.#child.send('stop');
    const [code] = (await exited) as [number | null];
    return code;
  }
}

export const mebibytes = (bytes: number) => Math.round(bytes / 2 ** 20);

/** CPU seconds of this process, all its threads together. */
export function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
