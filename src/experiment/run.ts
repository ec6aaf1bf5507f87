/** A whole experiment: every cell of the grid measured, journalled, and the results put together. */

import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem, type } from 'node:os';
import { join } from 'node:path';
import type { CodecModule } from '../encoding/codec.ts';
import { adaptiveTable } from './adaptive.ts';
import { type Cell, cellKey } from './cell.ts';
import { type CheckOptions, checkInServer } from './check.ts';
import { EncodingMeter } from './encodings.ts';
import { Evaluator, type EvaluatorOptions, median } from './evaluator.ts';
import { Journal } from './journal.ts';
import { recommend } from './recommend.ts';
import { makeReport } from './report.ts';
import {
  type AdaptiveTable,
  type CellResult,
  type Check,
  RESULTS_VERSION,
  type Results,
  type Setup,
  toCsv,
} from './results.ts';
import type { ReadSources } from './sources.ts';

/** Everything about an experiment but its traffic. */
export interface ExperimentSettings {
  readonly cells: readonly Cell[];
  /** Folder for the results; made where it is missing. */
  readonly out: string;
  /** Go on with what the folder has. */
  readonly resume: boolean;
  readonly seed: number;
  readonly rounds: number;
  readonly inFlight: number;
  readonly workers: number;
  readonly links: readonly number[];
  /** Cells at a time; missing: as many as do not disturb each other. */
  readonly jobs?: number;
  readonly codecs: readonly CodecModule[];
  /** Find out what the policy `adaptive` makes of the traffic, too. */
  readonly adaptive: boolean;
  /** Run what is recommended in the server, too. */
  readonly check: boolean;
  /** Stops after the cells in hand. */
  readonly signal?: AbortSignal;
}

export interface ExperimentEvents {
  /** `done` of `total` cells have a result; `leftSeconds` is an estimate, undefined at first. */
  onProgress(done: number, total: number, leftSeconds: number | undefined, cell: Cell | undefined): void;
  onFailed(cell: Cell, message: string): void;
  onNote(text: string): void;
  /** A recommended setting is being run in the server. */
  onChecking(cell: Cell): void;
}

/** Takes cells and gives their results in any order; what spreads over machines is another one of these. */
export type CellRunner = (
  cells: readonly Cell[],
  onResult: (result: CellResult) => void,
  signal: AbortSignal | undefined,
) => Promise<void>;

/**
 * Runs what is not in the journal yet, and writes `results.json`, `results.csv` and `report.html`. When it is stopped
 * by the signal, the results so far are written and the signal's reason is thrown.
 */
export async function runExperiment(
  { workload, cut }: ReadSources,
  settings: ExperimentSettings,
  events: ExperimentEvents,
  makeRunner: (options: EvaluatorOptions) => CellRunner = (options) =>
    localRunner(options, settings.jobs, events),
): Promise<Results> {
  const { cells, out, resume, seed, rounds, inFlight, workers, links, codecs, signal } = settings;
  const { zstd, zlib, brotli } = process.versions as Record<string, string>;
  const setup: Setup = {
    sources: [...workload.sources],
    sha256: workload.sha256,
    responses: workload.responses.length,
    bytes: workload.bytes,
    connections: new Set(workload.responses.map(({ connection }) => connection)).size,
    cut,
    seed,
    inFlight,
    timed: workload.timed,
    workers,
    rounds,
    links: [...links],
    ...{ zstd, zlib, brotli },
  };
  mkdirSync(out, { recursive: true });
  const meter = new EncodingMeter(workload, codecs);
  const setting: EvaluatorOptions = { workload, meter, codecs, rounds, inFlight, workers, links };
  const journal = new Journal(join(out, 'journal.jsonl'), setup, resume);
  const results = new Map(journal.known);
  const left = cells.filter((cell) => !results.has(cellKey(cell)));
  const clock = new Clock(left.length);
  const progress = (cell?: Cell) =>
    events.onProgress(cells.length - left.length + clock.done, cells.length, clock.left, cell);
  progress();
  try {
    const run = makeRunner(setting);
    const onResult = (result: CellResult) => {
      journal.add(result);
      results.set(result.key, result);
      clock.tick();
      if (result.error !== undefined) events.onFailed(result.cell, result.error);
      progress(result.cell);
    };
    if (left.length > 0) await run(left, onResult, signal);
  } finally {
    journal.close();
  }
  const found = cells.flatMap((cell) => results.get(cellKey(cell)) ?? []);
  const adaptive =
    settings.adaptive && signal?.aborted !== true ? await tryAdaptive(setting, links) : undefined;
  const written: Results = {
    millraceExperiment: RESULTS_VERSION,
    date: new Date().toISOString(),
    setup,
    machine: machine(),
    cells: found,
    recommendations: recommend(found, workload.bytes),
    ...(adaptive !== undefined && { adaptive }),
  };
  writeResults(out, written);
  signal?.throwIfAborted();
  if (!settings.check) return written;
  const checked = await checkAll({ workload, codecs, workers, inFlight }, written, events);
  writeResults(out, checked);
  return checked;
}

async function tryAdaptive(options: EvaluatorOptions, links: readonly number[]): Promise<AdaptiveTable> {
  const evaluator = new Evaluator(options);
  try {
    return await adaptiveTable(evaluator, links);
  } finally {
    await evaluator.close();
  }
}

/** The recommended settings in the server itself. */
async function checkAll(
  options: CheckOptions,
  results: Results,
  { onChecking, onFailed }: ExperimentEvents,
): Promise<Results> {
  const checks = new Map<string, Check>();
  for (const { key, cell } of results.recommendations) {
    if (checks.has(key)) continue;
    onChecking(cell);
    try {
      checks.set(key, await checkInServer(options, cell));
    } catch (error) {
      onFailed(cell, `in the server: ${(error as Error).message}`);
    }
  }
  return {
    ...results,
    recommendations: results.recommendations.map((each) => ({ ...each, checked: checks.get(each.key) })),
  };
}

/** `results.json`, `results.csv` and `report.html`, each whole or not at all. */
export function writeResults(out: string, results: Results): void {
  replace(join(out, 'results.json'), `${JSON.stringify(results, null, 1)}\n`);
  replace(join(out, 'results.csv'), toCsv(results));
  replace(join(out, 'report.html'), makeReport(results));
}

function replace(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

/** One cell's result, its failure included. Never rejects. */
export async function resultOf(evaluator: Evaluator, cell: Cell): Promise<CellResult> {
  const started = performance.now();
  const key = cellKey(cell);
  const seconds = () => Number(((performance.now() - started) / 1000).toFixed(3));
  try {
    const measures = await evaluator.evaluate(cell);
    return { key, cell, measures, seconds: seconds() };
  } catch (error) {
    return { key, cell, error: (error as Error).message, seconds: seconds() };
  }
}

/** Runs cells on lanes of this process. */
function localRunner(
  options: EvaluatorOptions,
  jobs: number | undefined,
  events: ExperimentEvents,
): CellRunner {
  return async (cells, onResult, signal) => {
    const evaluators = Array.from({ length: jobs ?? beside(options) }, () => new Evaluator(options));
    try {
      const atOnce = jobs ?? (await undisturbed(evaluators, cells, events));
      const queue = [...cells];
      const work = async (evaluator: Evaluator) => {
        while (signal?.aborted !== true) {
          const cell = queue.shift();
          if (cell === undefined) return;
          onResult(await resultOf(evaluator, cell));
        }
      };
      await Promise.all(evaluators.slice(0, atOnce).map(work));
    } finally {
      await Promise.all(evaluators.map((evaluator) => evaluator.close()));
    }
  };
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

/** Time left, from how fast cells came so far. */
class Clock {
  readonly #started = performance.now();
  readonly #total: number;
  done = 0;

  constructor(total: number) {
    this.#total = total;
  }

  tick(): void {
    this.done++;
  }

  get left(): number | undefined {
    if (this.done === 0) return undefined;
    const each = (performance.now() - this.#started) / 1000 / this.done;
    return each * (this.#total - this.done);
  }
}

function machine(): Results['machine'] {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    node: process.version,
  };
}
