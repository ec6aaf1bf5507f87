/** How long commands take, while somebody wants to know: those of the last half minute to a minute. */

import { type RequestEnded, requestEnded } from './channels.ts';
import type { Server } from './server.ts';

/** How long requests of one command have taken. */
export interface SlowCommand {
  readonly command: string;
  readonly requests: number;
  /** Milliseconds from a command's last byte until its last frame was ready; of these, until its handler began. */
  readonly meanMs: number;
  readonly mostMs: number;
  readonly meanQueuedMs: number;
}

interface Sums {
  requests: number;
  totalMs: number;
  queuedMs: number;
  mostMs: number;
}

const PERIOD_MS = 30_000;

/** One row for each command of the server's, and so bounded. */
export class SlowCommands {
  readonly #server: Server;
  #since = 0;
  #now = new Map<string, Sums>();
  #before = new Map<string, Sums>();

  constructor(server: Server) {
    this.#server = server;
  }

  start(): void {
    this.#since = performance.now();
    requestEnded.subscribe(this.#onRequest);
  }

  stop(): void {
    requestEnded.unsubscribe(this.#onRequest);
    this.#now.clear();
    this.#before.clear();
  }

  /** The `most` slowest, by the mean, the slowest first. */
  rows(most: number): SlowCommand[] {
    this.#turn();
    const names = new Set([...this.#now.keys(), ...this.#before.keys()]);
    const rows = [...names].map((command): SlowCommand => {
      const parts = [this.#now.get(command), this.#before.get(command)].filter((each) => each !== undefined);
      const sum = (of: (sums: Sums) => number) => parts.reduce((total, each) => total + of(each), 0);
      const requests = sum((each) => each.requests);
      return {
        command,
        requests,
        meanMs: sum((each) => each.totalMs) / requests,
        mostMs: Math.max(...parts.map((each) => each.mostMs)),
        meanQueuedMs: sum((each) => each.queuedMs) / requests,
      };
    });
    return rows.sort((a, b) => b.meanMs - a.meanMs).slice(0, most);
  }

  #turn(): void {
    const nowMs = performance.now();
    if (nowMs - this.#since < PERIOD_MS) return;
    this.#before = nowMs - this.#since < 2 * PERIOD_MS ? this.#now : new Map();
    this.#now = new Map();
    this.#since = nowMs;
  }

  readonly #onRequest = (message: unknown): void => {
    const { server, command, queuedMs, workMs } = message as RequestEnded;
    if (server !== this.#server) return;
    const sums = this.#now.get(command) ?? { requests: 0, totalMs: 0, queuedMs: 0, mostMs: 0 };
    sums.requests++;
    sums.totalMs += queuedMs + workMs;
    sums.queuedMs += queuedMs;
    sums.mostMs = Math.max(sums.mostMs, queuedMs + workMs);
    this.#now.set(command, sums);
  };
}
