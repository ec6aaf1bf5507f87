/** Pools in tests, over pairs in memory: their links break when a test says so. */

import type { ExecutionContext } from 'ava';
import {
  type Client,
  connectOver,
  createPool,
  memoryPair,
  type Pool,
  type PoolOptions,
  type Server,
  type Transport,
} from '../../src/index.ts';
import { PATIENT, Watch } from './serving.ts';

/** Where a pool connects to: a server that may not be there. */
export class Site {
  readonly watch = new Watch();
  readonly name: string;
  server: Server | undefined;
  /** The server's ends of the connections made so far, whether they are open or not. */
  readonly links: Transport[] = [];
  attempts = 0;

  constructor(name: string, server?: Server) {
    this.name = name;
    this.server = server;
  }

  async connect(signal?: AbortSignal): Promise<Client> {
    this.attempts++;
    this.watch.changed();
    if (this.server === undefined) throw new Error(`nobody is at ${this.name}`);
    const [near, far] = memoryPair({ remote: this.name });
    this.links.push(far);
    this.server.accept(far);
    return connectOver(near, { signal, ...PATIENT });
  }

  /** Breaks all connections. */
  cut(): void {
    for (const link of this.links.splice(0)) link.destroy();
  }
}

/** Options that make no test wait. */
export const QUICK: PoolOptions = { minBackoffMs: 1, maxBackoffMs: 5, circuitOpenMs: 5, maxWaitMs: 600_000 };

/** A pool of these sites for the length of one test. */
export function pooling(
  t: ExecutionContext<unknown>,
  sites: readonly Site[],
  options: PoolOptions = QUICK,
): Pool<Site> {
  const pool = createPool(sites, (site, signal) => site.connect(signal), options);
  t.teardown(() => {
    pool.destroy();
    return pool.closed;
  });
  return pool;
}
