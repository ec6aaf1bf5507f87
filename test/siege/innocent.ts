/** Innocent clients: one that was there before, and new ones all the time. */

import { setTimeout as delay } from 'node:timers/promises';
import { connect } from '../../src/index.ts';
import { answer } from './child.ts';

export interface InnocentFigures {
  /** Small calls and pings of the old connection. */
  calls: number;
  callP99Ms: number;
  callMaxMs: number;
  pingP99Ms: number;
  /** New connections, until the server's settings have come. */
  arrivals: number;
  arrivalP99Ms: number;
  arrivalMaxMs: number;
  failures: number;
}

const [port, kind] = process.argv.slice(2);
const where = { port: Number(port) };
// How long a newcomer takes is said, and not judged.
const options = { timeoutMs: 2 ** 31 - 1, tls: kind === 'tls' ? { rejectUnauthorized: false } : undefined };
const client = await connect(where, options);
let calls: number[] = [];
let pings: number[] = [];
let arrivals: number[] = [];
let failures = 0;

async function timed(into: () => number[], work: () => Promise<unknown>): Promise<void> {
  const began = performance.now();
  try {
    await work();
  } catch {
    failures++;
  }
  into().push(performance.now() - began);
}

async function callsAndPings(): Promise<never> {
  for (;;) {
    await timed(
      () => calls,
      () => client.call('hello').text(),
    );
    await timed(
      () => pings,
      () => client.ping(),
    );
    await delay(5);
  }
}

async function arrive(): Promise<void> {
  const newcomer = await connect(where, options);
  newcomer.destroy();
}

async function newcomers(): Promise<never> {
  for (;;) {
    await timed(() => arrivals, arrive);
    await delay(50);
  }
}

callsAndPings();
newcomers();

answer({
  ready: () => true,
  /** Answers when the old client has had an answer and a new one its settings, since the figures were asked for. */
  served: async () => {
    while (calls.length === 0 || arrivals.length === 0) await delay(5);
    return true;
  },
  figures: (): InnocentFigures => {
    const figures = {
      calls: calls.length,
      callP99Ms: quantile(calls, 0.99),
      callMaxMs: quantile(calls, 1),
      pingP99Ms: quantile(pings, 0.99),
      arrivals: arrivals.length,
      arrivalP99Ms: quantile(arrivals, 0.99),
      arrivalMaxMs: quantile(arrivals, 1),
      failures,
    };
    calls = [];
    pings = [];
    arrivals = [];
    failures = 0;
    return figures;
  },
});

function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return Math.round(sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0);
}
