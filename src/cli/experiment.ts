/** `millrace experiment`: which setting for this traffic? */

import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { CodecModule } from '../encoding/codec.ts';
import type { Cell } from '../experiment/grid/cell.ts';
import type { SubGridInput } from '../experiment/grid/grid.ts';
import type { EvaluatorOptions } from '../experiment/measure/evaluator.ts';
import { aimLines, aimTitle, unmetBudget } from '../experiment/report/aims.ts';
import { checkText } from '../experiment/report/recommend.ts';
import type { Results } from '../experiment/results/results.ts';
import type { ExperimentSettings } from '../experiment/run.ts';
import type { ReadSources } from '../experiment/traffic/sources.ts';
import { checkRegularFile } from '../options/regular-file.ts';
import { visible, visibleJson, visibleLines } from '../wire/visible.ts';
import { parseBytes, wholeNumber } from './arguments.ts';
import { makeMeter } from './experiment-meter.ts';
import { EXIT_FAILED, type Io } from './io.ts';
import { messageOf, stopSignal, UsageError } from './outcome.ts';
import { plural } from './show.ts';

const EXAMPLES = `
A SOURCE is a folder (each file a response), a file of JSON lines (each line a response), a capture that
'millrace serve --record FILE' has written, or generate:json200, json900, json4k or mixed.

Lists and ranges: --level 1,3,6..12/3 means 1, 3, 6, 9 and 12. Without a grid of yours there is one of 57
settings that takes up to two minutes. Dictionaries are trained on half of the responses, and all settings tried on the
others; they are written to --out, and every client of a server that uses one can read what is in it.

Examples:
  millrace experiment ./public
  millrace experiment responses.jsonl --command-field type --level 1..9 --policy single,shared
  millrace experiment responses.jsonl --dictionaries none,4K,16K --contexts kept,none --policy single
  millrace experiment traffic.capture --grid grid.yaml --out night && millrace serve . --profile-from night/results.json`;

/** Seconds for the default grid: some stay for what comes before and after. */
const DEFAULT_WITHIN_SECONDS = 115;

const DEFAULT_LINKS = '1M,10M,100M,1G,10G';

const GRID_FLAGS = [
  'profile',
  'level',
  'windowLog',
  'tuning',
  'dictionaries',
  'contexts',
  'streams',
  'policy',
  'frameSize',
  'coalesceMs',
] as const;

interface ExperimentOptions extends Partial<Record<(typeof GRID_FLAGS)[number], string[]>> {
  grid?: string;
  out: string;
  resume?: boolean;
  seed: number;
  sampleBytes: number;
  rounds: number;
  within?: number;
  inFlight: number;
  workers: number;
  links: number[];
  jobs?: number;
  commandField?: string;
  codecs?: string[];
  queue?: string;
  check: boolean;
  adaptive?: boolean;
  connections?: number;
  contextBudget?: number;
  priceGb?: number;
  priceCpuHour?: number;
  priceGbMemoryMonth?: number;
  responsesPerSecond?: number;
  json?: boolean;
}

export function addExperiment(program: Command, io: Io): void {
  program
    .command('experiment')
    .description('find the compression settings that suit your traffic')
    .argument('<source...>', 'where the responses come from')
    .addOption(
      new Option('--grid <file>', 'settings to try, as YAML or JSON').conflicts([...GRID_FLAGS] as string[]),
    )
    .option('--profile <names>', 'profiles to try', list)
    .option('--level <ranges>', 'levels', list)
    .option('--window-log <ranges>', 'base-2 logarithms of windows', list)
    .option('--tuning <names>', 'none, records', list)
    .option('--dictionaries <sizes>', 'none, or bytes such as 16K: trained on half of the responses', list)
    .option('--contexts <names>', 'kept, none', list)
    .option('--streams <ranges>', 'streams per connection', list)
    .option('--policy <names>', 'shared, affinity, single, per-request', list)
    .option('--frame-size <ranges>', 'most bytes of a frame before encoding', list)
    .option('--coalesce-ms <ranges>', 'waits for more of a response', list)
    .option('--out <dir>', 'folder for the results', 'experiment')
    .option('--resume', 'go on with what the folder has')
    .addOption(
      new Option('--sample-bytes <bytes>', 'responses to take from the sources, in all')
        .argParser(parseBytes)
        .default(8 << 20, '8M'),
    )
    .option('--command-field <name>', 'field of a JSON line that names its command')
    .option('--seed <n>', "of generators and of a folder's order", wholeNumber(0, 2 ** 32 - 1), 1)
    .option('--rounds <n>', 'loads that each setting is measured under', wholeNumber(1, 1000), 2)
    .option(
      '--within <seconds>',
      `time for all: fewer and smaller loads where it is short (default: ${DEFAULT_WITHIN_SECONDS} with the grid of ours, else no limit)`,
      wholeNumber(1, 10_000_000),
    )
    .option('--in-flight <n>', 'requests in flight, for traffic without times', wholeNumber(1, 128), 16)
    .option('--workers <n>', 'lanes of the server', wholeNumber(1, 256), availableParallelism())
    .addOption(
      new Option('--links <speeds>', 'links to simulate, in bit/s')
        .argParser(parseLinks)
        .default(parseLinks(DEFAULT_LINKS), DEFAULT_LINKS),
    )
    .option('--jobs <n>', 'settings at a time (default: as many as do not disturb)', wholeNumber(1, 256))
    .option('--codecs <module>', "a module whose export 'codecs' adds profiles; may be repeated", collect)
    .option('--queue <url>', "spread the settings over 'millrace experiment-worker's by this Redis")
    .option('--adaptive', "simulate the policy 'adaptive' over the links, too")
    .option('--no-check', 'do not run what is recommended in a server, under load')
    .option('--connections <n>', 'aim at so many connections, too', wholeNumber(1, 1e9))
    .option('--context-budget <bytes>', 'memory of their contexts: the fewest bytes within it', parseBytes)
    .option(
      '--price-gb <money>',
      'price of 10^9 bytes sent; with the next four: the least money a month',
      price,
    )
    .option('--price-cpu-hour <money>', 'price of a core for an hour', price)
    .option('--price-gb-memory-month <money>', 'price of 10^9 bytes of memory for a month', price)
    .option('--responses-per-second <n>', 'responses on the average of a month', price)
    .option('--json', 'print the recommendations as JSON')
    .addHelpText('after', EXAMPLES)
    .action((sources: string[], options: ExperimentOptions) => experiment(sources, options, io));
}

async function experiment(sources: string[], options: ExperimentOptions, io: Io): Promise<void> {
  const asked = askedOf(options);
  const cells = await cellsFor(options);
  const { readSources } = await import('../experiment/traffic/sources.ts');
  const { runExperiment } = await import('../experiment/run.ts');
  const { sampleBytes: maxBytes, seed, commandField, queue } = options;
  const read = await readSources(sources, { maxBytes, seed, commandField });
  tellSkipped(read.skipped, io);
  const { signal, release } = stopSignal('stopped; the same command with --resume goes on', io.signals);
  const meter = await makeMeter(io);
  const settings: ExperimentSettings = {
    ...options,
    ...asked,
    cells,
    within: options.within ?? (hasGrid(options) ? undefined : DEFAULT_WITHIN_SECONDS),
    resume: options.resume ?? false,
    adaptive: options.adaptive ?? false,
    codecs: await loadCodecs(options.codecs),
    signal,
  };
  try {
    const results = await runExperiment(read, settings, meter, await runnerFor(queue));
    meter.stop();
    print(results, options, io);
    if (results.cells.every(({ measures }) => measures === undefined)) io.exitCode = EXIT_FAILED;
  } finally {
    meter.stop();
    release();
  }
}

/** @throws UsageError where an aim is asked for by halves. */
function askedOf(options: ExperimentOptions): Pick<ExperimentSettings, 'budget' | 'prices'> {
  const { connections, contextBudget, priceGb, priceCpuHour, priceGbMemoryMonth, responsesPerSecond } =
    options;
  const money = [priceGb, priceCpuHour, priceGbMemoryMonth, responsesPerSecond];
  const wantsMoney = money.some((each) => each !== undefined);
  if (contextBudget !== undefined && connections === undefined) {
    throw new UsageError('--context-budget needs --connections');
  }
  if (connections !== undefined && contextBudget === undefined && !wantsMoney) {
    throw new UsageError('--connections needs --context-budget, or prices');
  }
  if (wantsMoney && responsesPerSecond === undefined)
    throw new UsageError('prices need --responses-per-second');
  if (wantsMoney && connections === undefined) throw new UsageError('prices need --connections');
  return {
    ...(connections !== undefined &&
      contextBudget !== undefined && { budget: { connections, memoryBytes: contextBudget } }),
    ...(connections !== undefined &&
      responsesPerSecond !== undefined && {
        prices: {
          gb: priceGb ?? 0,
          cpuHour: priceCpuHour ?? 0,
          gbMemoryMonth: priceGbMemoryMonth ?? 0,
          responsesPerSecond,
          connections,
        },
      }),
  };
}

/** @throws InvalidArgumentError */
function price(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isFinite(value)) return value;
  throw new InvalidArgumentError('It has to be a number, such as 0.05.');
}

/** Files of the sources that are named on the terminal; results.json names them all. */
const MAX_SKIPPED_LINES = 20;

export function tellSkipped(skipped: ReadSources['skipped'], io: Io): void {
  for (const { path, error } of skipped.slice(0, MAX_SKIPPED_LINES))
    io.complain(`left out: ${path}: ${error}`);
  const unsaid = skipped.length - MAX_SKIPPED_LINES;
  if (unsaid > 0) io.complain(`left out: ${unsaid} more`);
}

/** Where settings are run: on workers behind a queue, or (undefined) here. */
async function runnerFor(queue: string | undefined) {
  if (queue === undefined) return undefined;
  const { queueRunner } = await import('../experiment/queue.ts');
  return (options: EvaluatorOptions) => queueRunner(queue, options);
}

async function cellsFor(options: ExperimentOptions): Promise<Cell[]> {
  const { DEFAULT_GRIDS, parseFlags, parseGrids, readGridFile } = await import('../experiment/grid/grid.ts');
  try {
    if (options.grid !== undefined) return readGridFile(options.grid);
    if (!hasGrid(options)) return parseGrids(DEFAULT_GRIDS);
    const flags = GRID_FLAGS.filter((name) => options[name] !== undefined);
    const grid = Object.fromEntries(flags.map((name) => [name, options[name]])) as SubGridInput;
    return parseFlags(grid);
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}

/** Whether there is a grid of the user's own. */
function hasGrid(options: ExperimentOptions): boolean {
  return options.grid !== undefined || GRID_FLAGS.some((name) => options[name] !== undefined);
}

/** Each module's export `codecs` is a {@link CodecModule} of codecs. */
export async function loadCodecs(modules: readonly string[] = []): Promise<CodecModule[]> {
  const { extraCodecs } = await import('../encoding/extra.ts');
  const loaded = modules.map(async (path): Promise<CodecModule> => {
    const { codecs } = await loadModule(path).catch((error) => {
      throw new UsageError(`cannot load ${path}: ${messageOf(error)}`);
    });
    if (Array.isArray(codecs?.codecs)) return codecs;
    throw new UsageError(`${path} has no export 'codecs' with codecs in it`);
  });
  return [extraCodecs, ...(await Promise.all(loaded))];
}

async function loadModule(path: string): Promise<{ codecs?: CodecModule }> {
  checkRegularFile(path);
  return import(pathToFileURL(path).href);
}

function print(results: Results, { out, json }: ExperimentOptions, io: Io): void {
  const { recommendations, cells, setup, adaptive, untrained, shortened } = results;
  const unmet = unmetBudget(results);
  if (json) {
    for (const note of [untrained, shortened, unmet]) if (note !== undefined) io.complain(note);
    io.print(visibleJson(recommendations));
    return;
  }
  const failed = cells.filter(({ error }) => error !== undefined).length;
  io.print(
    `${plural(cells.length, 'setting')} on ${plural(setup.responses, 'response')}${failed > 0 ? `, ${failed} failed` : ''}`,
  );
  for (const note of [untrained, shortened]) if (note !== undefined) io.print(visibleLines(note));
  for (const { aim, key, text, flags, checked } of recommendations) {
    const prose = [text, checked === undefined ? '' : checkText(checked)].filter(Boolean).join(' ');
    const lines = [...aimLines(key, aim, results), prose, `millrace serve DIR ${flags}`].filter(Boolean);
    io.print(visibleLines(`\n${aimTitle(aim, results)}\n${lines.map((line) => `  ${line}`).join('\n')}`));
  }
  if (unmet !== undefined) io.print(`\n${unmet}`);
  if (adaptive !== undefined) {
    const least = Math.round(100 * Math.min(...adaptive.rows.map(({ share }) => share)));
    io.print(
      `\nThe policy adaptive, simulated, reaches at least ${least} % of the best fixed level on every link.`,
    );
  }
  io.print(
    `\n${visible(join(out, 'report.html'))} has the charts and the tables, results.json and results.csv the numbers.`,
  );
}

function list(text: string): string[] {
  return text.split(',');
}

/** A parser of an option that may be repeated. */
export function collect(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}

const PREFIXES: Readonly<Record<string, number>> = { '': 1, k: 1e3, M: 1e6, G: 1e9 };

/** @throws InvalidArgumentError */
function parseLinks(text: string): number[] {
  return text.split(',').map((each) => {
    const [, digits, prefix] = /^(\d+(?:\.\d+)?)([kMG]?)$/.exec(each) ?? [];
    const value = Number(digits) * PREFIXES[prefix];
    if (value > 0) return value;
    throw new InvalidArgumentError('It has to be speeds in bit/s, such as 1M,100M,10G.');
  });
}
