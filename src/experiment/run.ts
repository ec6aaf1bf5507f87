/** A whole experiment: every cell of the grid measured, journalled, and the results put together. */

import { cpus, release, totalmem, type } from 'node:os';
import { join } from 'node:path';
import type { CodecModule } from '../encoding/codec.ts';
import { makeFolder } from '../files/folder.ts';
import { writeWhole } from '../files/write-whole.ts';
import { type Prepared, prepare } from './dictionaries.ts';
import { type Cell, dictionaryFile } from './grid/cell.ts';
import { Ledger } from './ledger.ts';
import { localRunner } from './local.ts';
import { EncodingMeter } from './measure/encodings.ts';
import { Evaluator, type EvaluatorOptions } from './measure/evaluator.ts';
import { connectionsOf } from './measure/load.ts';
import { TimeLimit } from './measure/time-limit.ts';
import type { Trained } from './measure/train.ts';
import { chooseCells, describeChoice } from './report/recommend.ts';
import { makeReport } from './report/report.ts';
import { checkJournal, Journal } from './results/journal.ts';
import {
  type AdaptiveTable,
  type Budget,
  type CellResult,
  type Check,
  doneCells,
  type Prices,
  RESULTS_VERSION,
  type Results,
  type Setup,
  toCsv,
} from './results/results.ts';
import { plural } from './results/text.ts';
import type { CellRunner, ExperimentEvents } from './runner.ts';
import { adaptiveTable } from './simulate/adaptive.ts';
import type { ReadSources } from './traffic/sources.ts';

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
  /** Aims that need to know more: fewest bytes within a budget of memory, least money. Missing: not recommended for. */
  readonly budget?: Budget;
  readonly prices?: Prices;
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
  { workload: whole, cut, skipped }: ReadSources,
  settings: ExperimentSettings,
  events: ExperimentEvents,
  makeRunner: (options: EvaluatorOptions, limit: TimeLimit) => CellRunner = (options, limit) =>
    localRunner(options, settings.jobs, limit, events),
): Promise<Results> {
  const { out, resume, rounds, within, inFlight, workers, links, codecs, signal } = settings;
  const limit = new TimeLimit(within);
  const cellLimit = new TimeLimit(within && within * (settings.check ? 1 - CHECK_SHARE : 1));
  const journalPath = join(out, 'journal.jsonl');
  checkJournal(journalPath, resume);
  // A place that cannot be written to is told before anything is measured.
  makeFolder(out);
  const prepared = await prepare(whole, settings, events);
  const { workload, cells } = prepared;
  const setup = setupOf(prepared, cut, settings);
  const dictionaries = new Map(prepared.dictionaries.map((each) => [each.facts.size, each.dictionary]));
  const meter = new EncodingMeter(workload, codecs, dictionaries);
  const options = { workload, meter, codecs, rounds, inFlight, workers, links, dictionaries };
  const journal = new Journal(journalPath, setup, resume);
  writeDictionaries(out, prepared.dictionaries);
  const ledger = new Ledger({ journal, cells, rounds, limit: cellLimit, events });
  try {
    ledger.tell();
    if (ledger.unfinished.length > 0) {
      const run = makeRunner(options, cellLimit);
      await run(ledger.unfinished, journal.known, (result) => ledger.add(result), signal);
    }
    const found = ledger.found();
    const choice = chooseCells(found, setup, settings);
    const { budget, prices } = settings;
    const parts = {
      ...skippedParts(skipped),
      ...dictionaryParts(prepared),
      ...(budget && { budget }),
      ...(prices && { prices }),
    };
    const fileOf = (size: number) => join(out, dictionaryFile(size));
    const recommend = (checks?: ReadonlyMap<string, Check>) =>
      describeChoice(
        choice,
        found,
        prepared.dictionaries.map(({ facts }) => facts),
        fileOf,
        checks,
      );
    const measured = resultsOf(setup, found, { ...parts, recommendations: recommend() });
    writeResults(out, measured);
    signal?.throwIfAborted();
    const adaptive = settings.adaptive ? { adaptive: await tryAdaptive(options, links) } : {};
    const checks = settings.check
      ? await checkAll(options, measured, limit, events, signal)
      : new Map<string, Check>();
    const final = resultsOf(setup, found, { ...parts, recommendations: recommend(checks), ...adaptive });
    writeResults(out, final);
    return final;
  } finally {
    journal.close();
  }
}

function setupOf(
  { workload, training }: Pick<Prepared, 'workload' | 'training'>,
  cut: boolean,
  settings: ExperimentSettings,
): Setup {
  const { seed, inFlight, workers, rounds, links } = settings;
  const { zstd, zlib, brotli } = process.versions as Record<string, string>;
  return {
    sources: [...workload.sources],
    ...(training && { training }),
    sha256: workload.sha256,
    responses: workload.responses.length,
    bytes: workload.bytes,
    connections: connectionsOf(workload),
    cut,
    seed,
    inFlight,
    timed: workload.timed,
    workers,
    rounds,
    links: [...links],
    ...{ zstd, zlib, brotli },
  };
}

function resultsOf(
  setup: Setup,
  cells: CellResult[],
  more: Pick<Results, 'recommendations'> & Partial<Results>,
): Results {
  return {
    millraceExperiment: RESULTS_VERSION,
    date: new Date().toISOString(),
    setup,
    machine: machine(),
    cells,
    ...shortened(cells, setup.rounds),
    ...more,
  };
}

/** Files of the sources that results name; further ones they count. */
const MAX_SKIPPED = 1000;

function skippedParts(skipped: ReadSources['skipped']): Pick<Results, 'skipped' | 'skippedCount'> {
  return skipped.length === 0 ? {} : { skipped: skipped.slice(0, MAX_SKIPPED), skippedCount: skipped.length };
}

function dictionaryParts({ dictionaries, untrained }: Prepared): Pick<Results, 'dictionaries' | 'untrained'> {
  return {
    ...(dictionaries.length > 0 && { dictionaries: dictionaries.map(({ facts }) => facts) }),
    ...(untrained !== undefined && { untrained }),
  };
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
    return await adaptiveTable((cell) => evaluator.linkModel(cell), links);
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
      const own = new TimeLimit(limit.secondsLeft / (chosen.length - index));
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
function writeResults(out: string, results: Results): void {
  writeWhole(join(out, 'results.json'), `${JSON.stringify(results, null, 1)}\n`);
  writeWhole(join(out, 'results.csv'), toCsv(results));
  writeWhole(join(out, 'report.html'), makeReport(results));
}

/** Pieces of the traffic are in a dictionary: who else may read it is for the user to decide. */
const PRIVATE = 0o600;

function writeDictionaries(out: string, dictionaries: readonly Trained[]): void {
  for (const { facts, dictionary } of dictionaries)
    writeWhole(join(out, dictionaryFile(facts.size)), dictionary.bytes, PRIVATE);
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
