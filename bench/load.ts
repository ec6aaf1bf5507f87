/**
 * Load on one peer's connections, in the client's process. *Closed*: a number of requests in flight, the next one when
 * one is answered; it finds the saturation. *Open*: requests at the times of a Poisson process, drawn ahead, whatever the
 * server does; latency counts from the scheduled time, so a stall is charged to every request that it held up (no
 * coordinated omission). Every response is compared with the payload it should be: a figure never comes from broken
 * ones.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { closedLoop } from '../src/experiment/traffic/closed-loop.ts';
import { Random } from '../src/experiment/traffic/random.ts';
import type { Payloads } from './payloads.ts';
import type { Connection } from './peers/peer.ts';
import { Latency, type LatencySummary } from './stats.ts';

export type LoadShape =
  | { readonly kind: 'closed'; readonly inFlight: number }
  /** Closed, with so many requests in flight in all: connections take turns. */
  | { readonly kind: 'turns'; readonly inFlight: number }
  | { readonly kind: 'open'; readonly rate: number; readonly seed: number };

/** Since the mark before. */
export interface LoadMark {
  readonly requests: number;
  readonly seconds: number;
  readonly decodedBytes: number;
  readonly latency: LatencySummary;
  /** Open loop: the most requests that were unanswered at once. */
  readonly peakInFlight: number;
}

/**
 * Requests that are unanswered at once, at most. Where a server, or this process, is further behind its schedule, the others go
 * out later, and their latency counts from the scheduled time all the same: memory is bounded, and no stall is lost. HTTP/2
 * servers refuse what is too much at a time (Node's `maxSessionMemory`), and what is in flight has to be waited for at the end.
 */
export const MOST_IN_FLIGHT = 1000;

export class Load {
  readonly #connections: readonly Connection[];
  readonly #payloads: Payloads;
  readonly #latency = new Latency();
  #next = 0;
  #inFlight = 0;
  #peakInFlight = 0;
  #requests = 0;
  #decodedBytes = 0;
  #markedAt = performance.now();
  #running = false;
  #error: unknown;
  #loops: Promise<unknown>[] = [];

  constructor(connections: readonly Connection[], payloads: Payloads) {
    this.#connections = connections;
    this.#payloads = payloads;
  }

  /** Returns at once; the load goes on until stop(). */
  start(shape: LoadShape): void {
    if (this.#running) throw new Error('the load is already running');
    this.#running = true;
    let turn = 0;
    const next = () => this.#connections[turn++ % this.#connections.length]!;
    this.#loops =
      shape.kind === 'turns'
        ? [
            closedLoop(shape.inFlight, () =>
              this.#running ? this.#ask(next(), performance.now()) : undefined,
            ),
          ]
        : shape.kind === 'closed'
          ? this.#connections.map((connection) =>
              closedLoop(shape.inFlight, () => {
                return this.#running ? this.#ask(connection, performance.now()) : undefined;
              }),
            )
          : [this.#askOnSchedule(shape.rate, new Random(shape.seed))];
    this.mark();
  }

  /** @throws what a request failed with. */
  mark(): LoadMark {
    if (this.#error !== undefined) throw this.#error;
    const now = performance.now();
    const mark = {
      requests: this.#requests,
      seconds: (now - this.#markedAt) / 1000,
      decodedBytes: this.#decodedBytes,
      latency: this.#latency.summary(),
      peakInFlight: this.#peakInFlight,
    };
    this.#markedAt = now;
    this.#requests = 0;
    this.#decodedBytes = 0;
    this.#peakInFlight = this.#inFlight;
    this.#latency.reset();
    return mark;
  }

  /** Sends nothing more and waits for what is in flight. */
  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
    while (this.#inFlight > 0 && this.#error === undefined) await delay(1);
    if (this.#error !== undefined) throw this.#error;
  }

  async #askOnSchedule(rate: number, random: Random): Promise<void> {
    let due = performance.now();
    let turn = 0;
    while (this.#running) {
      const now = performance.now();
      while (due <= now && this.#inFlight < MOST_IN_FLIGHT) {
        void this.#ask(this.#connections[turn++ % this.#connections.length]!, due);
        due += random.gap(rate) * 1000;
      }
      // A timer's millisecond, not a spin, which would take a core from the server: latencies include it.
      await delay(1);
    }
  }

  async #ask(connection: Connection, since: number): Promise<void> {
    const i = this.#next++ % this.#payloads.count;
    this.#inFlight++;
    if (this.#inFlight > this.#peakInFlight) this.#peakInFlight = this.#inFlight;
    try {
      const bytes = await connection.fetch(i);
      this.#latency.record(performance.now() - since);
      if (this.#payloads.get(i).compare(bytes) !== 0) throw new Error(`response ${i} is not payload ${i}`);
      this.#requests++;
      this.#decodedBytes += bytes.length;
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#inFlight--;
    }
  }

  #fail(error: unknown): void {
    this.#error ??= error;
    this.#running = false;
  }
}
