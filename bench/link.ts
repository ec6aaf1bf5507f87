/** A link between a server and its clients, whose speed can be set: link-child.ts from its parent's side. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { LinkOrder } from './link-child.ts';
import { track } from './proc.ts';

export class Link {
  /** Where clients connect. */
  readonly port: number;
  readonly #process: ChildProcess;

  private constructor(child: ChildProcess, port: number) {
    this.#process = child;
    this.port = port;
  }

  /** A link to the server at `server`, as fast as it can be. */
  static async start(server: number): Promise<Link> {
    const file = join(import.meta.dirname, `link-child${import.meta.filename.slice(-3)}`);
    const child = track(
      fork(file, { execArgv: ['--no-warnings'], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] }),
    );
    return new Link(child, await order(child, { server, speeds: [], turnMs: 1 }));
  }

  /** Bits per second; several take turns of `turnMs`; none: not shaped. */
  async setSpeeds(speeds: readonly number[], turnMs = 1): Promise<void> {
    await order(this.#process, { speeds, turnMs });
  }

  async end(): Promise<void> {
    const exited = once(this.#process, 'exit');
    this.#process.disconnect();
    await exited;
  }
}

async function order(child: ChildProcess, order: LinkOrder): Promise<number> {
  child.send(order);
  const [{ port }] = await once(child, 'message');
  return port;
}
