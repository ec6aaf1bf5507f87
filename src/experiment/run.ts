/** A whole experiment: every cell of the grid measured, journalled, and the results put together. */

import { renameSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem, type } from 'node:os';
import { join } from 'node:path';
import type { CodecModule } from '../encoding/codec.ts';
import { makeFolder } from '../files/folder.ts';
import { adaptiveTable } from './adaptive.ts';
import { type Cell, cellKey } from './cell.ts';
import { EncodingMeter } from './encodings.ts';
import { Evaluator, type EvaluatorOptions } from './evaluator.ts';
import { Journal } from './journal.ts';
import { localRunner } from './local.ts';
import { chooseCells, describeChoice } from './recommend.ts';
import { makeReport } from './report.ts';
import {
  type AdaptiveTable,
  type CellResult,
  type Check,
  doneCells,
  RESULTS_VERSION,
  type Results,
  type Setup,
  toCsv,
} from './results.ts';
import type { CellRunner, ExperimentEvents } from './runner.ts';
import type { ReadSources } from './sources.ts';
import { plural } from './text.ts';
import { TimeLimit } from './time-limit.ts';

/** Everything about an experiment but its traffic. */
export interface ExperimentSettings {
  readonly cells: readonly Cell[];
  /** Folder for the results; made where it is missing. */
  readonly out: string;
  /** Go on with what the folder has. */
  readonly resume: boolean;
  readonly seed: number;
  readonly rounds: number;
  /** Seconds that all should take at most: what does not fit is measured less often, and said. Missing: no limit. */
  readonly within?: number;
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

/** The share of the time that is for the check. */
const CHECK_SHARE = 0.25;

/**
 * Runs what is not in the journal yet, and writes `results.json`, `results.csv` and `report.html`. When it is stopped
 * by the signal, the results so far are written and the signal's reason is thrown.
 */
export async function runExperiment(
  { workload, cut, skipped }: ReadSources,
  settings: ExperimentSettings,
  events: ExperimentEvents,
  makeRunner: (options: EvaluatorOptions, limit: TimeLimit) => CellRunner = (options, limit) =>
    localRunner(options, settings.jobs, limit, events),
): Promise<Results> {
  const { cells, out, resume, seed, rounds, within, inFlight, workers, links, codecs, signal } = settings;
  const limit = new TimeLimit(within);
  const cellLimit = new TimeLimit(within && within * (settings.check ? 1 - CHECK_SHARE : 1));
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
  makeFolder(out);
  const meter = new EncodingMeter(workload, codecs);
  const setting: EvaluatorOptions = { workload, meter, codecs, rounds, inFlight, workers, links };
  const journal = new Journal(join(out, 'journal.jsonl'), setup, resume);
  const results = new Map(journal.known);
  const roundsOf = (key: string) => results.get(key)?.measures?.compress.rounds.length ?? 0;
  const unfinished = cells.filter((cell) => roundsOf(cellKey(cell)) < rounds);
  const roundsLeft = () =>
    unfinished.reduce((sum, cell) => {
      const key = cellKey(cell);
      return sum + (results.get(key)?.error === undefined ? rounds - roundsOf(key) : 0);
    }, 0);
  const clock = new Clock(cellLimit);
  const progress = (cell?: Cell, round = 0) => {
    const done = cells.filter((each) => results.has(cellKey(each))).length;
    const leftSeconds = clock.left({ first: cells.length - done, all: roundsLeft() });
    events.onProgress({ done, total: cells.length, leftSeconds, cell, round });
  };
  const keep = (result: CellResult) => {
    journal.add(result);
    results.set(result.key, result);
  };
  const found = () => cells.flatMap((cell) => results.get(cellKey(cell)) ?? []);
  const resultsNow = (more: Partial<Results>): Results => ({
    millraceExperiment: RESULTS_VERSION,
    date: new Date().toISOString(),
    setup,
    machine: machine(),
    cells: found(),
    recommendations: [],
    ...shortened(found(), rounds),
    ...skippedParts(skipped),
    ...more,
  });
  try {
    progress();
    if (unfinished.length > 0) {
      const run = makeRunner(setting, cellLimit);
      const onResult = (result: CellResult) => {
        const before = roundsOf(result.key);
        keep(result);
        clock.tick((result.error === undefined ? roundsOf(result.key) : rounds) - before, result.seconds);
        if (result.error !== undefined) events.onFailed(result.cell, result.error);
        progress(result.cell, result.measures?.compress.rounds.length);
      };
      await run(unfinished, journal.known, onResult, signal);
    }
    const choice = chooseCells(found(), workload.bytes);
    const written = resultsNow({ recommendations: describeChoice(choice, found()) });
    writeResults(out, written);
    signal?.throwIfAborted();
    const adaptive = settings.adaptive ? { adaptive: await tryAdaptive(setting, links) } : {};
    const checks = settings.check
      ? await checkAll(setting, written, limit, events, signal)
      : new Map<string, Check>();
    const final = resultsNow({ recommendations: describeChoice(choice, found(), checks), ...adaptive });
    writeResults(out, final);
    return final;
  } finally {
    journal.close();
  }
}

/** Files of the sources that results name; further ones they count. */
const MAX_SKIPPED = 1000;

function skippedParts(skipped: ReadSources['skipped']): Pick<Results, 'skipped' | 'skippedCount'> {
  return skipped.length === 0 ? {} : { skipped: skipped.slice(0, MAX_SKIPPED), skippedCount: skipped.length };
}

/** What of the settings was measured less than it should have been. */
function shortened(cells: readonly CellResult[], rounds: number): Pick<Results, 'shortened'> {
  const done = doneCells(cells);
  const few = done.filter(({ measures }) => measures.compress.rounds.length < rounds);
  const parts = done.filter(({ measures }) => measures.loadShare < 1);
  if (few.length === 0 && parts.length === 0) return {};
  const texts: string[] = [];
  if (few.length > 0) {
    const least = Math.min(...few.map(({ measures }) => measures.compress.rounds.length));
    texts.push(
      `${few.length} of ${plural(done.length, 'setting')} had fewer rounds of load than ${rounds}, ${least} at the least`,
    );
  }
  if (parts.length > 0) {
    const least = Math.min(...parts.map(({ measures }) => measures.loadShare));
    texts.push(
      `${plural(parts.length, 'setting')} had smaller loads, ${Math.round(100 * least)} % at the least`,
    );
  }
  return { shortened: `Time was short: ${texts.join('; ')}. Sizes are exact all the same.` };
}

async function tryAdaptive(options: EvaluatorOptions, links: readonly number[]): Promise<AdaptiveTable> {
  const evaluator = new Evaluator(options);
  try {
    return await adaptiveTable(evaluator, links);
  } finally {
    await evaluator.close();
  }
}

/** The recommended settings in servers of their own. */
async function checkAll(
  options: EvaluatorOptions,
  { recommendations, cells }: Results,
  limit: TimeLimit,
  { onChecking, onFailed }: ExperimentEvents,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, Check>> {
  const checks = new Map<string, Check>();
  const keys = new Set(recommendations.map(({ key }) => key));
  const chosen = doneCells(cells).filter(({ key }) => keys.has(key));
  const evaluator = new Evaluator(options);
  try {
    for (const [index, { key, cell }] of chosen.entries()) {
      signal?.throwIfAborted();
      onChecking(cell);
      const own = new TimeLimit(limit.left / (chosen.length - index));
      try {
        checks.set(key, await evaluator.check(cell, own, signal));
      } catch (error) {
        signal?.throwIfAborted();
        onFailed(cell, `in the server: ${(error as Error).message}`);
      }
    }
  } finally {
    await evaluator.close();
  }
  return checks;
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

/**
 * Time left, from how fast steps were done so far and when they have to end. What comes before the first of them, above
 * all measuring the memory of contexts, says nothing about the others.
 */
class Clock {
  #started: number | undefined;
  readonly #limit: TimeLimit;
  #done = 0;

  constructor(limit: TimeLimit) {
    this.#limit = limit;
  }

  /** Steps are done that took so many seconds. */
  tick(steps: number, seconds: number): void {
    this.#started ??= performance.now() - 1000 * seconds;
    this.#done += steps;
  }

  /** For `all` steps that are left; the `first` of them are done whether there is time for them or not. */
  left({ first, all }: { first: number; all: number }): number | undefined {
    if (this.#started === undefined || this.#done === 0) return undefined;
    const each = (performance.now() - this.#started) / 1000 / this.#done;
    return Math.max(each * first, Math.min(this.#limit.left, each * all));
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
