/** The lanes of one server: a Piscina pool in which every worker runs one task for as long as it lives. */

import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import { Piscina } from 'piscina';
import type { HandlerModule } from '../../workers/calls.ts';
import type { LaneTask } from '../../workers/lane.ts';
import type { CodecModule } from '../encoding/codec.ts';
import { Lane } from './lane.ts';

export interface LanePoolOptions {
  /** Worker threads, one lane each. */
  readonly workers: number;
  /** Commands that run in lanes. */
  readonly handlers: readonly HandlerModule[];
  /** Codecs beside the built-in ones. */
  readonly codecs?: readonly CodecModule[];
  /** As in {@link LaneTask}; default 0. */
  readonly coalesceMs?: number;
  /** zstd level for cached output. */
  readonly cacheLevel: number;
  /** A lane died and was replaced, or could not be. */
  readonly onLost: (lane: number, error: Error) => void;
}

/** A lane that dies sooner than this after it opened is reopened with a growing delay, in milliseconds. */
const YOUNG = 1000;
const MAX_DELAY = 5000;
/** How long close() waits for a lane that is busy, in milliseconds. */
const MAX_CLOSE = 1000;

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const LANE_FILE = fileURLToPath(new URL(`../../workers/lane.${EXTENSION}`, import.meta.url));

export class LanePool {
  readonly #options: LanePoolOptions;
  readonly #piscina: Piscina<LaneTask, void>;
  readonly #lanes: (Lane | undefined)[] = [];
  readonly #tasks = new Set<Promise<void>>();
  #closing = false;

  constructor(options: LanePoolOptions) {
    this.#options = options;
    this.#piscina = new Piscina<LaneTask, void>({
      filename: LANE_FILE,
      minThreads: options.workers,
      maxThreads: options.workers,
      idleTimeout: Number.POSITIVE_INFINITY,
      // The default parks the worker's event loop, and the lane lives on events.
      atomics: 'disabled',
      concurrentTasksPerWorker: 1,
      execArgv: [],
    });
    for (let index = 0; index < options.workers; index++) this.#open(index, 0);
  }

  /** The live lanes. */
  get lanes(): Lane[] {
    return this.#lanes.filter((lane) => lane !== undefined);
  }

  /** The live lane with the fewest open streams, or undefined when none lives. */
  leastUsed(): Lane | undefined {
    let best: Lane | undefined;
    for (const lane of this.#lanes) {
      if (lane !== undefined && (best === undefined || lane.openSlots < best.openSlots)) best = lane;
    }
    return best;
  }

  /** Ends all lanes and their threads; a lane that does not end by itself is stopped. */
  async close(): Promise<void> {
    this.#closing = true;
    for (const lane of this.lanes) lane.end();
    const patience = new AbortController();
    const tired = pause(MAX_CLOSE, undefined, { signal: patience.signal }).catch(() => undefined);
    await Promise.race([Promise.allSettled(this.#tasks), tired]);
    patience.abort();
    await this.#piscina.destroy();
  }

  #open(index: number, deaths: number): void {
    const { port1, port2 } = new MessageChannel();
    const { handlers, cacheLevel, codecs = [], coalesceMs = 0 } = this.#options;
    const lane = new Lane(index, port1);
    const opened = Date.now();
    this.#lanes[index] = lane;
    // Piscina's types read the transfer list off the browser's MessagePort.
    const transfer = { transferList: [port2] } as object;
    const places = codecs.map(({ url, export: name }) => ({ url, export: name }));
    const task = this.#piscina.run(
      { port: port2, handlers: [...handlers], cacheLevel, codecs: places, coalesceMs },
      transfer,
    );
    const ended = task.then(
      () => this.#ended(lane, 'ended', deaths, opened),
      (error) => this.#ended(lane, error, deaths, opened),
    );
    this.#tasks.add(ended);
    ended.finally(() => this.#tasks.delete(ended));
  }

  /** Resets exactly the streams pinned to the lane, and opens another on Piscina's new worker. */
  #ended(lane: Lane, cause: unknown, deaths: number, opened: number): void {
    const error = cause instanceof Error ? cause : new Error(String(cause));
    this.#lanes[lane.index] = undefined;
    lane.lose(`worker of lane ${lane.index} died: ${error.message}`);
    if (this.#closing) return;
    this.#options.onLost(lane.index, error);
    const young = Date.now() - opened < YOUNG;
    const delay = young ? Math.min(50 * 2 ** deaths, MAX_DELAY) : 0;
    setTimeout(() => {
      if (!this.#closing) this.#open(lane.index, young ? deaths + 1 : 0);
    }, delay);
  }
}
