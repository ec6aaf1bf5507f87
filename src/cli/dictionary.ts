/** `millrace dictionary`: train one on traffic, and say what is in one. */

import { readFileSync, statSync } from 'node:fs';
import { dirname, extname } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Benefit, Cost, Costs } from '../experiment/results/dictionaries.ts';
import type { WorkloadResponse } from '../experiment/traffic/workload.ts';
import { writeWhole } from '../files/write-whole.ts';
import { checkRegularFile } from '../options/regular-file.ts';
import { MAX_DICTIONARY_BYTES } from '../wire/extensions.ts';
import { visible, visibleJson } from '../wire/visible.ts';
import { notEmpty, parseBytes, wholeNumber } from './arguments.ts';
import { tellSkipped } from './experiment.ts';
import { EXIT_FAILED, type Io } from './io.ts';
import { messageOf, UsageError } from './outcome.ts';
import { plural } from './show.ts';

const EXAMPLES = `
A SOURCE is what 'millrace experiment' takes: a folder, a file of JSON lines, a capture, or generate:KIND. Three quarters
of its responses are trained on; what is printed was measured on the others. A dictionary is public: every client
of the server that uses it can read pieces of the traffic that it was trained on.

Examples:
  millrace dictionary train today.capture --out today.dict && millrace serve DIR --dictionary today.dict
  millrace dictionary train replies.jsonl --command-field type --per-command --out replies.dict
  millrace dictionary show today.dict`;

interface TrainOptions {
  out: string;
  size: number;
  level: number;
  seed: number;
  sampleBytes: number;
  commandField?: string;
  perCommand?: boolean;
  json?: boolean;
}

export function addDictionary(program: Command, io: Io): void {
  const dictionary = program
    .command('dictionary')
    .description('train dictionaries on your traffic, and look into them')
    .helpCommand(false);
  dictionary
    .command('train')
    .description('make a dictionary of what responses have in common')
    .argument('<source...>', 'where the responses come from')
    .requiredOption('--out <file>', 'where the dictionary goes', notEmpty)
    .addOption(
      new Option('--size <bytes>', 'bytes of the dictionary, at most')
        .argParser(parseSize)
        .default(16 << 10, '16K'),
    )
    .option('--per-command', 'one for each command, its name in the name of the file')
    .option('--level <n>', 'zstd level that it is made for', wholeNumber(-7, 22), 3)
    .option('--seed <n>', 'of generators, and of what is held out', wholeNumber(0, 2 ** 32 - 1), 1)
    .addOption(
      new Option('--sample-bytes <bytes>', 'responses to take from the sources, in all')
        .argParser(parseBytes)
        .default(16 << 20, '16M'),
    )
    .option('--command-field <name>', 'field of a JSON line that names its command')
    .option('--json', 'print the figures as JSON')
    .addHelpText('after', EXAMPLES)
    .action((sources: string[], options: TrainOptions) => train(sources, options, io));
  dictionary
    .command('show')
    .description('print what is in a dictionary')
    .argument('<file>', 'the dictionary')
    .option('--json', 'print it as JSON')
    .action((file: string, options: { json?: boolean }) => show(file, options, io));
}

/** @throws InvalidArgumentError */
function parseSize(text: string): number {
  const size = parseBytes(text);
  if (size >= 1024 && size <= 1 << 20) return size;
  throw new InvalidArgumentError('It has to be from 1K to 1M.');
}

/** The share of responses that are trained on. */
const TRAINED = 0.75;

/** What is trained on one set of responses, and tried on another. */
interface Group {
  /** Missing: all commands. */
  readonly command?: string;
  readonly file: string;
  readonly training: readonly WorkloadResponse[];
  readonly heldOut: readonly WorkloadResponse[];
}

interface Trained {
  readonly file: string;
  readonly command?: string;
  readonly id: string;
  readonly bytes: number;
  readonly trainedOn: number;
  readonly heldOut: number;
  readonly benefit: Benefit;
}

async function train(sources: string[], options: TrainOptions, io: Io): Promise<void> {
  const { out, sampleBytes: maxBytes, seed, commandField, perCommand, json } = options;
  checkPlace(out);
  const { readSources } = await import('../experiment/traffic/sources.ts');
  const { splitWorkload } = await import('../experiment/traffic/split.ts');
  const read = await readSources(sources, { maxBytes, seed, commandField });
  tellSkipped(read.skipped, io);
  const { training, heldOut } = splitWorkload(read.workload, seed, TRAINED);
  const all: Group = { file: out, training, heldOut: heldOut.responses };
  const done: Trained[] = [];
  for (const group of perCommand ? byCommand(all) : [all]) {
    try {
      done.push(await trainGroup(group, options));
    } catch (error) {
      if (group.command === undefined) throw error;
      // Other commands may have more to go on.
      io.complain(`no dictionary for '${group.command}': ${messageOf(error)}`);
    }
  }
  if (json) io.print(visibleJson(done));
  else for (const each of done) printTrained(each, options, io);
  if (done.length === 0) io.exitCode = EXIT_FAILED;
  else if (!json) io.print(`\n${await useOf(done)}`);
}

/** How a server is given them: by flags, or where it has commands that `serve` has not, by the library's option. */
async function useOf(trained: readonly Trained[]): Promise<string> {
  const { shellWord } = await import('../experiment/grid/cell.ts');
  const { MAX_KINDS } = await import('../lanes/stream-kind.ts');
  // One kind is that of all other commands.
  const done = savingMost(trained, MAX_KINDS - 1);
  const left =
    done.length === trained.length
      ? ''
      : `A server has dictionaries for ${done.length} commands of their own at most. With those that save most:\n`;
  return `${left}${visible(useOfAll(done, shellWord))}`;
}

/** `count` of them at most, in their order: those that save most bytes of the traffic, each response by itself. */
function savingMost(trained: readonly Trained[], count: number): Trained[] {
  const saved = ({ heldOut, benefit }: Trained) =>
    heldOut * (benefit.without.none.bytes - benefit.with.none.bytes);
  const most = new Set([...trained].sort((a, b) => saved(b) - saved(a)).slice(0, count));
  return trained.filter((each) => most.has(each));
}

function useOfAll(done: readonly Trained[], shellWord: (word: string) => string): string {
  if (done.every(({ command }) => command === undefined || command.startsWith('files.'))) {
    const words = done.map(({ file, command }) => (command === undefined ? file : `${file}=${command}`));
    return `millrace serve DIR ${words.map((word) => `--dictionary ${shellWord(word)}`).join(' ')}`;
  }
  const options = done.map(({ file, command }) => ({ file, commands: [command] }));
  return `createServer({ dictionaries: ${JSON.stringify(options)} })`;
}

async function trainGroup(
  { command, file, training, heldOut }: Group,
  options: TrainOptions,
): Promise<Trained> {
  const { trainDictionary } = await import('../encoding/dictionary/train.ts');
  const { dictionaryIdNow } = await import('../encoding/read-dictionary.ts');
  const { measureBenefit } = await import('../experiment/measure/dictionary.ts');
  const { size, level } = options;
  const dictionary = trainDictionary(
    training.map(({ bytes }) => bytes),
    { size, level },
  );
  if (heldOut.length === 0) throw new Error('no response is left to try it on');
  const benefit = measureBenefit(
    dictionary,
    heldOut.map(({ bytes }) => bytes),
    level,
  );
  writeWhole(file, dictionary);
  return {
    file,
    ...(command !== undefined && { command }),
    id: dictionaryIdNow(dictionary),
    bytes: dictionary.length,
    trainedOn: training.length,
    heldOut: heldOut.length,
    benefit,
  };
}

/** The groups of each command, in the order in which commands come up. @throws UsageError where two would share a file. */
function byCommand({ file, training, heldOut }: Group): Group[] {
  const groups = new Map<string, Group>();
  for (const command of new Set(training.map(({ command }) => command))) {
    const of = (responses: readonly WorkloadResponse[]) =>
      responses.filter((each) => each.command === command);
    const own = fileFor(file, command);
    const taken = groups.get(own);
    if (taken !== undefined) {
      throw new UsageError(
        `'${taken.command}' and '${command}' would share the file ${own}: train one at a time`,
      );
    }
    groups.set(own, { command, file: own, training: of(training), heldOut: of(heldOut) });
  }
  return [...groups.values()];
}

/**
 * `replies.dict` for `orders.list`: `replies.orders.list.dict`; for `.html`: `replies.html.dict`. What file systems might not
 * like becomes `_`.
 */
function fileFor(file: string, command: string): string {
  const ext = extname(file);
  const stem = ext === '' ? file : file.slice(0, -ext.length);
  return `${stem}.${command
    .replace(/^\.+/, '')
    .replace(/[^\w.-]/g, '_')
    .slice(0, 100)}${ext}`;
}

/** Before anything is trained: training takes a while. @throws UsageError */
function checkPlace(out: string): void {
  try {
    checkRegularFile(out);
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
  const folder = dirname(out);
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw new UsageError(`${out}: there is no folder ${folder}`);
  }
}

function printTrained(
  { file, id, bytes, trainedOn, heldOut, benefit }: Trained,
  { level }: TrainOptions,
  io: Io,
): void {
  io.print(`${visible(file)}: ${bytes} bytes, id ${id}, trained on ${plural(trainedOn, 'response')}`);
  io.print(`What it brings on ${plural(heldOut, 'response')} that it has not seen, zstd level ${level}:`);
  const rows = [
    ['', 'without', '', '', 'with', '', ''],
    ['', 'bytes', 'ratio', 'µs', 'bytes', 'ratio', 'µs'],
    ...(['none', 'cold', 'kept'] as const).map((use) => [
      USES[use],
      ...costCells(benefit.without[use]),
      ...costCells(benefit.with[use]),
    ]),
  ];
  for (const line of aligned(rows)) io.print(line);
  const paid = (contexts: 'none' | 'kept') => {
    const after = benefit.paidAfter[contexts];
    return after === undefined ? `not within ${heldOut}` : `after ${after}`;
  };
  io.print(
    `Sending it has paid for itself, in responses of one connection: ${paid('none')} without contexts, ${paid('kept')} with kept ones.`,
  );
}

const USES: Readonly<Record<keyof Costs, string>> = {
  none: 'no context',
  cold: 'first ten responses',
  kept: 'kept context',
};

function costCells({ bytes, ratio, micros }: Cost): string[] {
  return [bytes.toFixed(bytes < 100 ? 1 : 0), ratio.toFixed(2), micros.toFixed(1)];
}

/** Columns: the first to the left, the others to the right. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const padded = (cell: string, column: number) =>
    column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column] + 3);
  return rows.map((row) => row.map(padded).join('').trimEnd());
}

async function show(file: string, { json }: { json?: boolean }, io: Io): Promise<void> {
  const { parseDictionary } = await import('../encoding/dictionary/format.ts');
  const { dictionaryIdNow } = await import('../encoding/read-dictionary.ts');
  const { dictionaryFacts } = await import('../encoding/dictionary/describe.ts');
  const stats = statSync(file);
  if (!stats.isFile()) throw new Error(`${file}: not a file`);
  // What is not even nearly one is not read.
  if (stats.size > MAX_DICTIONARY_BYTES) {
    throw new Error(`${file}: a dictionary has at most ${MAX_DICTIONARY_BYTES} bytes`);
  }
  const bytes = readFileSync(file);
  const facts = within(file, () => dictionaryFacts(parseDictionary(bytes)));
  const id = dictionaryIdNow(bytes);
  if (json) {
    io.print(JSON.stringify({ id, ...facts }));
    return;
  }
  io.print(`id              ${id}`);
  io.print(`zstd id         ${facts.zstdId}`);
  io.print(
    `size            ${facts.bytes} bytes: ${facts.tableBytes} of tables, ${facts.contentBytes} of content`,
  );
  io.print(`repeat offsets  ${facts.repeatOffsets.join(', ')}`);
  io.print('');
  const tables = {
    literals: 'literals',
    offsets: 'offsets',
    matchLengths: 'match lengths',
    literalLengths: 'literal lengths',
  } as const;
  const rows = Object.entries(tables).map(([key, name]) => {
    const { symbols, entropyBits, leastBits, mostBits } = facts[key as keyof typeof tables];
    return [name, `${symbols}`, entropyBits.toFixed(2), leastBits.toFixed(1), mostBits.toFixed(1)];
  });
  for (const line of aligned([['table', 'symbols', 'bits each', 'least', 'most'], ...rows])) io.print(line);
}

/** Errors of `work` with the file's name. */
function within<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`, { cause: error });
  }
}
