/** A Redis that can be stopped and started again, with what it had or without. */

import { type ChildProcess, spawn } from 'node:child_process';
import type { ExecutionContext } from 'ava';
import { freePort } from '../../bench/peers/listen.ts';
import { tempFolder } from '../files/helper.ts';
import { killed } from '../helpers/serving.ts';

export class RestartableRedis {
  readonly url: string;
  readonly #port: number;
  readonly #dir: string;
  #process: ChildProcess | undefined;

  static async make(t: ExecutionContext): Promise<RestartableRedis> {
    return new RestartableRedis(t, await freePort());
  }

  private constructor(t: ExecutionContext, port: number) {
    this.#port = port;
    this.#dir = tempFolder(t);
    this.url = `redis://127.0.0.1:${port}`;
    t.teardown(() => this.stop());
  }

  async start(keeps: boolean): Promise<void> {
    const kept = keeps ? ['--appendonly', 'yes', '--appendfsync', 'always'] : ['--appendonly', 'no'];
    const options = ['--port', `${this.#port}`, '--bind', '127.0.0.1', '--save', '', ...kept];
    const redis = spawn('redis-server', [...options, '--dir', this.#dir]);
    this.#process = redis;
    let said = '';
    for await (const text of redis.stdout) {
      said += text;
      if (said.includes('Ready to accept connections')) return;
    }
    throw new Error(`redis-server ended: ${said}`);
  }

  /** It is there, and says nothing any more. */
  hang(): void {
    this.#process?.kill('SIGSTOP');
  }

  goOn(): void {
    this.#process?.kill('SIGCONT');
  }

  async stop(): Promise<void> {
    if (this.#process !== undefined) await killed(this.#process);
  }
}

/** Publishes as soon as the relay lets it. */
export async function insist(publish: () => number | Promise<number>): Promise<number> {
  for (;;) {
    try {
      return await publish();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
