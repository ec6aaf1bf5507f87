/** Runs cells on lanes of this process: all of them once, then again in turns, as far as the time goes. */

import { cpus } from 'node:os';
import { type Cell, cellKey } from './grid/cell.ts';
import { Evaluator, type EvaluatorOptions } from './measure/evaluator.ts';
import type { TimeLimit } from './measure/time-limit.ts';
import type { CellResult, DoneCell } from './results/results.ts';
import { median } from './results/statistics.ts';
import type { CellRunner, ExperimentEvents } from './runner.ts';

/**
 * `jobs`: cells at a time; missing: as many as do not disturb each other. `limit`: when the time is short, the loads of
 * the first round get a smaller share of the traffic, and later rounds end with it.
 */
export function localRunner(
  options: EvaluatorOptions,
  jobs: number | undefined,
  limit: TimeLimit,
  events: ExperimentEvents,
): CellRunner {
  return async (cells, known, onResult, signal) => {
    const { meter, rounds } = options;
    await meter.prepare(cells, cpus().length, signal);
    const evaluators = Array.from({ length: jobs ?? beside(options) }, () => new Evaluator(options));
    const results = new Map(known);
    const keep = (result: CellResult) => {
      results.set(result.key, result);
      onResult(result);
    };
    try {
      // What comes first would pay for the compilation of code that all use.
      for (const evaluator of evaluators) await evaluator.probe(PROBE);
      const atOnce = jobs ?? (await undisturbed(evaluators, cells, events));
      const inTurns = async <T>(list: readonly T[], work: (on: Evaluator, each: T) => Promise<void>) => {
        const queue = [...list];
        const each = async (evaluator: Evaluator) => {
          for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
            if (signal?.aborted) return;
            await work(evaluator, next);
          }
        };
        await Promise.all(evaluators.slice(0, atOnce).map(each));
      };
      const unknown = cells.filter((cell) => !known.has(cellKey(cell)));
      const pace = new Pace(limit, unknown.length / atOnce, options.workload.bytes);
      await inTurns(unknown, async (evaluator, cell) => {
        const share = pace.share;
        const result = await resultOf(cell, () => evaluator.evaluate(cell, 1, share));
        pace.took(result.seconds, share);
        keep(result);
      });
      for (let round = 2; round <= rounds; round++) {
        const done = [...results.values()].filter((each): each is DoneCell => each.measures !== undefined);
        const few = done.filter(({ measures }) => measures.compress.rounds.length < round);
        await inTurns(few, async (evaluator, before) => {
          if (limit.secondsLeft <= 0) return;
          const { cell, measures, seconds } = before;
          const more = await resultOf(cell, () => evaluator.again(cell, measures));
          if (more.error === undefined) keep({ ...more, seconds: seconds + more.seconds });
          else events.onFailed(cell, more.error);
        });
      }
    } finally {
      await Promise.all(evaluators.map((evaluator) => evaluator.close()));
    }
  };
}

/** One cell's result, its failure included. Never rejects. */
export async function resultOf(
  cell: Cell,
  measure: () => Promise<CellResult['measures']>,
): Promise<CellResult> {
  const startedAtMs = performance.now();
  const key = cellKey(cell);
  const seconds = () => Number(((performance.now() - startedAtMs) / 1000).toFixed(3));
  try {
    const measures = await measure();
    return { key, cell, measures, seconds: seconds() };
  } catch (error) {
    return { key, cell, error: (error as Error).message, seconds: seconds() };
  }
}

/**
 * The least that a round's load has, of the most; but of traffic no less than this many bytes: contexts and connections
 * that open for less would be most of what is measured.
 */
const LEAST_SHARE = 0.1;
const LEAST_BYTES = 400_000;
/** What of a cell's time does not get less with its load, about. */
const FIXED = 0.5;

/** How much of the traffic a round can have, so that all cells get one in time. */
class Pace {
  readonly #limit: TimeLimit;
  readonly #least: number;
  #cellsLeft: number;
  #cells = 0;
  /** Of all cells so far, had they had all of the traffic. */
  #seconds = 0;

  /** `bytes`: of the traffic. */
  constructor(limit: TimeLimit, cells: number, bytes: number) {
    this.#limit = limit;
    this.#least = Math.min(1, Math.max(LEAST_SHARE, LEAST_BYTES / bytes));
    this.#cellsLeft = cells;
  }

  took(seconds: number, share: number): void {
    this.#cellsLeft--;
    this.#cells++;
    this.#seconds += seconds / (FIXED + (1 - FIXED) * share);
  }

  get share(): number {
    if (this.#cells === 0) return 1;
    const eachSeconds = this.#seconds / this.#cells;
    const allowedSeconds = this.#limit.secondsLeft / Math.max(1, this.#cellsLeft);
    const share = (allowedSeconds / eachSeconds - FIXED) / (1 - FIXED);
    return Math.min(1, Math.max(this.#least, share));
  }
}

/** Evaluators that have a core for each of their lanes. */
function beside({ workers }: EvaluatorOptions): number {
  return Math.max(1, Math.floor(cpus().length / workers));
}

/** How much longer than alone an encoder may take, in CPU time, beside others. */
const DISTURBED = 1.03;
const PROBES = 5;
const PROBE: Cell = {
  profile: 'zstd-8mb',
  level: 3,
  streams: 1,
  policy: 'single',
  frameSize: 32_768,
  coalesceMs: 0,
};

/** The most cells that can run at a time without costing each other CPU; found out by trying. */
async function undisturbed(
  evaluators: readonly Evaluator[],
  cells: readonly Cell[],
  { onNote }: ExperimentEvents,
): Promise<number> {
  const several = Math.min(evaluators.length, cells.length);
  if (several < 2) return 1;
  const fastest = async (probing: readonly Evaluator[]) => {
    const rounds: number[] = [];
    for (let i = 0; i < PROBES; i++) {
      rounds.push(Math.max(...(await Promise.all(probing.map((evaluator) => evaluator.probe(PROBE))))));
    }
    return median(rounds);
  };
  await fastest(evaluators.slice(0, several)); // Compiled and warm, all of them.
  const alone = await fastest(evaluators.slice(0, 1));
  for (let atOnce = several; atOnce > 1; atOnce >>= 1) {
    const cost = (await fastest(evaluators.slice(0, atOnce))) / alone;
    if (cost <= DISTURBED) return atOnce;
    onNote(`${atOnce} cells at a time would cost each other ${Math.round(100 * (cost - 1))} % of CPU`);
  }
  return 1;
}
