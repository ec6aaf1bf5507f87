/** The results of an experiment so far, in memory and in the journal, and how far that is. */

import { type Cell, cellKey } from './grid/cell.ts';
import type { TimeLimit } from './measure/time-limit.ts';
import type { Journal } from './results/journal.ts';
import type { CellResult } from './results/results.ts';
import type { ExperimentEvents } from './runner.ts';

export interface LedgerOptions {
  readonly journal: Journal;
  /** All that the experiment is to measure. */
  readonly cells: readonly Cell[];
  /** Rounds of load that each is to have. */
  readonly rounds: number;
  /** For all cells. */
  readonly limit: TimeLimit;
  readonly events: ExperimentEvents;
}

export class Ledger {
  /** Those that had fewer rounds than they should when the experiment began. */
  readonly unfinished: readonly Cell[];
  readonly #options: LedgerOptions;
  readonly #results: Map<string, CellResult>;
  readonly #clock: Clock;

  constructor(options: LedgerOptions) {
    this.#options = options;
    this.#results = new Map(options.journal.known);
    this.#clock = new Clock(options.limit);
    this.unfinished = options.cells.filter((cell) => this.#roundsOf(cellKey(cell)) < options.rounds);
  }

  /** Keeps a result, in place of an earlier one of the same cell, and tells of it. */
  add(result: CellResult): void {
    const { journal, rounds, events } = this.#options;
    const before = this.#roundsOf(result.key);
    journal.add(result);
    this.#results.set(result.key, result);
    const { cell, measures, error, seconds } = result;
    this.#clock.tick((error === undefined ? this.#roundsOf(result.key) : rounds) - before, seconds);
    if (error !== undefined) events.onFailed(cell, error);
    this.tell(cell, measures?.compress.rounds.length);
  }

  /** Results in the order of the grid. */
  found(): CellResult[] {
    return this.#options.cells.flatMap((cell) => this.#results.get(cellKey(cell)) ?? []);
  }

  /** Says how far all is; `cell` was measured last, for its `round`th time. */
  tell(cell?: Cell, round = 0): void {
    const { cells, events } = this.#options;
    const done = this.found().length;
    const leftSeconds = this.#clock.secondsLeft({ first: cells.length - done, all: this.#roundsLeft() });
    events.onProgress({ done, total: cells.length, leftSeconds, cell, round });
  }

  #roundsOf(key: string): number {
    return this.#results.get(key)?.measures?.compress.rounds.length ?? 0;
  }

  /** What has failed is not tried again. */
  #roundsLeft(): number {
    return this.unfinished
      .map(cellKey)
      .filter((key) => this.#results.get(key)?.error === undefined)
      .reduce((sum, key) => sum + this.#options.rounds - this.#roundsOf(key), 0);
  }
}

/**
 * Time left, from how fast steps were done so far and when they have to end. What comes before the first of them, above
 * all measuring the memory of contexts, says nothing about the others.
 */
class Clock {
  #startedMs: number | undefined;
  readonly #limit: TimeLimit;
  #done = 0;

  constructor(limit: TimeLimit) {
    this.#limit = limit;
  }

  /** `steps` are done, which took `seconds`. */
  tick(steps: number, seconds: number): void {
    this.#startedMs ??= performance.now() - 1000 * seconds;
    this.#done += steps;
  }

  /** For `all` steps that are left; the `first` of them are done whether there is time for them or not. */
  secondsLeft({ first, all }: { first: number; all: number }): number | undefined {
    if (this.#startedMs === undefined || this.#done === 0) return undefined;
    const eachSeconds = (performance.now() - this.#startedMs) / 1000 / this.#done;
    return Math.max(eachSeconds * first, Math.min(this.#limit.secondsLeft, eachSeconds * all));
  }
}
