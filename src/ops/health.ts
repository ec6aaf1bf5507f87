/** Whether a server should get requests: not while it drains, has no worker, or has no memory for what they need. */

import type { Server, ServerStats } from '../index.ts';
import { within } from '../lanes/within.ts';

/** How long the figures may take: workers that are at work for longer are workers all the same. */
const STATS_MS = 1000;
/** How long a context that was refused counts, and how full the budget is then: idle ones make room by themselves. */
const REFUSED_MS = 5000;
const FULL = 0.9;

export class Health {
  readonly #server: Server;
  #refused = 0;
  #refusedAtMs = Number.NEGATIVE_INFINITY;

  constructor(server: Server) {
    this.#server = server;
  }

  /** Why not; undefined: it should. */
  async notReady(): Promise<string | undefined> {
    if (this.#server.address === undefined) return 'it does not listen';
    let stats: ServerStats | undefined;
    const asked = this.#server.stats().then((each) => {
      stats = each;
    });
    if (!(await within(asked, STATS_MS)) || stats === undefined) return undefined;
    return this.#problemIn(stats);
  }

  #problemIn({ state, lanes, contexts, output }: ServerStats): string | undefined {
    if (contexts.refused > this.#refused) this.#refusedAtMs = performance.now();
    this.#refused = contexts.refused;
    if (state === 'draining') return 'it drains';
    if (lanes.length === 0) return 'it has no worker';
    if (output.bytes >= output.limit) return 'outputMemory is used up';
    const isRefusing = performance.now() - this.#refusedAtMs < REFUSED_MS;
    return isRefusing && contexts.bytes >= FULL * contexts.limit ? 'contextMemory is used up' : undefined;
  }
}
