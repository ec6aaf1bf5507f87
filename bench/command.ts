/** The benches' command line: `millrace bench NAME [--quick] [--json FILE] [--html FILE]`, and what compares runs. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { Argument, type Command, InvalidArgumentError } from 'commander';
import { EXIT_FAILED, type Io, processIo } from '../src/cli/io.ts';
import { messageOf, UsageError } from '../src/cli/outcome.ts';
import { newProgram, runProgram } from '../src/cli/program.ts';
import { problemOf } from '../src/files/paths.ts';
import { benchOf, WorkTree } from './ab.ts';
import type { Bench, Result } from './bench.ts';
import { compare, comparisonTable, parseReport } from './compare.ts';
import { describeConditions, measureConditions } from './conditions.ts';
import { asHtml } from './html.ts';
import { describeMachine } from './machine.ts';
import { makePayloads } from './payloads.ts';
import { Progress } from './progress.ts';
import { asJson, asText, failedRun, makeReport, type Report } from './report.ts';
import { BENCHES } from './suite/index.ts';

interface Flags {
  readonly quick: boolean;
  readonly json?: string;
  readonly html?: string;
  readonly corpus?: string;
  readonly seed: number;
}

/** Runs the command line `argv` (as process.argv). Never rejects. @returns the exit code. */
export function main(argv: readonly string[], io = processIo()): Promise<number> {
  return runProgram(makeCommand(io), argv, io);
}

/** The program with its commands; what they print goes to `io`. */
export function makeCommand(io: Io): Command {
  const names = [...BENCHES.map(({ name }) => name), 'all'];
  const program = newProgram('millrace bench')
    .configureOutput({ writeOut: (text) => void io.stdout.write(text) })
    .description('Measures millrace against what else there is, on this machine.')
    // As it is called; the two others are named below.
    .usage('[options] <name>')
    .addArgument(new Argument('<name>', 'which bench').choices(names))
    .option(
      '--quick',
      'shorter and fewer rounds: shows that it works, and roughly where the figures are',
      false,
    )
    .option('--json <file>', 'write everything that was measured, for machines', writable)
    .option('--html <file>', 'write a report with charts, self-contained', writable)
    .option('--corpus <path>', 'measure your own payloads too: a directory or a file', existing)
    .option('--seed <number>', 'seed of the generated payloads and arrivals', wholeNumber, 1)
    .addHelpText(
      'after',
      `\nBenches:\n${BENCHES.map(({ name, describe }) => `  ${name.padEnd(20)}${describe}`).join('\n')}`,
    )
    .action((name: string, flags: Flags) => run(name, flags, io));
  addCompare(program, io);
  addAb(program, names, io);
  return program;
}

function addCompare(program: Command, io: Io): void {
  program
    .command('compare')
    .description('figures of two files that --json wrote, side by side')
    .argument('<a>', 'the first')
    .argument('<b>', 'what is compared with it')
    .action((a: string, b: string) => {
      const [first, second] = [readReport(a), readReport(b)];
      io.stdout.write(comparisonTable(compare([first], [second]), basename(a), basename(b)));
    });
}

/** @throws UsageError */
function readReport(path: string): Report {
  try {
    return parseReport(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new UsageError(`${path}: ${problemOf(error)}`);
  }
}

interface AbFlags {
  readonly quick: boolean;
  readonly turns: number;
}

function addAb(program: Command, names: readonly string[], io: Io): void {
  const name = new Argument('[names...]', 'which benches').choices(names).default(['all']);
  program
    .command('ab')
    .description('another revision of this repository, A, against this checkout, B: benches in turns')
    .argument('<revision>', 'as git names it')
    .addArgument(name)
    .option('--quick', 'shorter and fewer rounds', false)
    .option('--turns <number>', 'how often each is measured', turnCount, 3)
    .action((revision: string, benches: string[], flags: AbFlags) => ab(revision, benches, flags, io));
}

async function ab(revision: string, benches: string[], { quick, turns }: AbFlags, io: Io): Promise<void> {
  using progress = new Progress('ab');
  const steps = 1 + 2 * turns * benches.length;
  let done = 0;
  progress.step(done++, steps, `building ${revision}`);
  using tree = await WorkTree.of(revision);
  const reports: [Report[], Report[]] = [[], []];
  const sides: [string, Report[]][] = [
    [tree.path, reports[0]],
    [join(import.meta.dirname, '..'), reports[1]],
  ];
  for (let turn = 1; turn <= turns; turn++) {
    for (const bench of benches) {
      for (const [i, [root, into]] of sides.entries()) {
        progress.step(done++, steps, `${bench}, turn ${turn} of ${turns}, ${'AB'[i]}`);
        into.push(await benchOf(root, { bench, quick, seed: 1 }));
      }
    }
  }
  io.stdout.write(comparisonTable(compare(...reports), tree.commit.slice(0, 10), 'this checkout'));
}

function turnCount(text: string): number {
  const value = wholeNumber(text);
  if (value < 1 || value > 100) throw new InvalidArgumentError('from 1 to 100');
  return value;
}

function writable(path: string): string {
  if (!existsSync(dirname(path))) throw new InvalidArgumentError(`there is no directory ${dirname(path)}`);
  return path;
}

function existing(path: string): string {
  if (!existsSync(path)) throw new InvalidArgumentError('there is no such file or directory');
  return path;
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** 32)
    throw new InvalidArgumentError('not a whole number');
  return value;
}

async function run(name: string, flags: Flags, io: Io): Promise<void> {
  const { quick, seed, corpus } = flags;
  const chosen = BENCHES.filter((bench) => name === 'all' || name === bench.name);
  if (corpus) checkCorpus(corpus, seed);
  const conditions = await measureConditions();
  io.stderr.write(`${describeConditions(conditions.begin)}\n`);
  const runs: Result[] = [];
  for (const bench of chosen) {
    try {
      runs.push(await runOne(bench, { quick, seed, ...(corpus && { corpus }) }));
    } catch (error) {
      // What the others measured is worth keeping.
      io.exitCode = EXIT_FAILED;
      io.stderr.write(`${bench.name} failed: ${messageOf(error)}\n`);
      runs.push(failedRun(bench.name, messageOf(error)));
    }
  }
  const report = makeReport(describeMachine(commandLine(name, flags)), runs, {
    quick,
    seed,
    everything: name === 'all',
    conditions: conditions.end(),
  });
  io.stdout.write(asText(report));
  if (flags.json) writeFileSync(flags.json, asJson(report));
  if (flags.html) writeFileSync(flags.html, asHtml(report));
}

/** Before anything is measured, for a bench that uses it may come after minutes of others. @throws UsageError */
function checkCorpus(path: string, seed: number): void {
  try {
    makePayloads({ name: `corpus:${path}`, seed });
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}

async function runOne(
  bench: Bench,
  options: { quick: boolean; seed: number; corpus?: string },
): Promise<Result> {
  using progress = new Progress(bench.name);
  return await bench.run({ ...options, progress: (done, total, what) => progress.step(done, total, what) });
}

/** As it can be repeated elsewhere: without where the results went. */
function commandLine(name: string, { quick, corpus, seed }: Flags): string {
  const flags = [
    quick && '--quick',
    corpus && `--corpus ${basename(corpus)}`,
    seed !== 1 && `--seed ${seed}`,
  ];
  return ['npm run bench --', name, ...flags.filter((flag) => flag)].join(' ');
}
