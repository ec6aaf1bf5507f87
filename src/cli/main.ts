/** The command line: all commands, each of which is beside this file. */

import type { Command } from 'commander';
import { baseProgram, VERSION_FLAGS } from './base.ts';
import { type Io, processIo } from './io.ts';
import { runProgram } from './program.ts';

/** Adds a command to a program. */
type Add = (program: Command, io: Io) => void;

/** The commands in the order of the help. One is loaded when it is asked for, for some load much. */
const COMMANDS: Readonly<Record<string, () => Promise<Add>>> = {
  serve: async () => (await import('./serve.ts')).addServe,
  config: async () => (await import('./config.ts')).addConfig,
  pull: async () => (await import('./pull.ts')).addPull,
  call: async () => (await import('./call.ts')).addCall,
  subscribe: async () => (await import('./topics.ts')).addSubscribe,
  publish: async () => (await import('./topics.ts')).addPublish,
  top: async () => (await import('./top.ts')).addTop,
  frame: async () => (await import('./frame.ts')).addFrame,
  experiment: async () => (await import('./experiment.ts')).addExperiment,
  dictionary: async () => (await import('./dictionary.ts')).addDictionary,
  'experiment-worker': async () => (await import('./experiment-worker.ts')).addExperimentWorker,
  doctor: async () => (await import('./doctor.ts')).addDoctor,
  completion: async () => {
    const { addCompletion } = await import('./completion.ts');
    return (program, io) => addCompletion(program, io, () => programWith(Object.keys(COMMANDS), io));
  },
  bench: async () => (await import('./bench.ts')).addBench,
};

/** Runs the command line `args` (as process.argv). Never rejects. @returns the exit code. */
export async function main(args: readonly string[], io = processIo()): Promise<number> {
  const argv = helpAsFlag(args);
  return runProgram(await programWith(neededFor(argv[2] ?? ''), io), argv, io);
}

/** `help COMMAND` is `COMMAND --help`, as people know it from other programs. */
function helpAsFlag(argv: readonly string[]): readonly string[] {
  const [node, program, first, ...rest] = argv;
  return first === 'help' ? [node, program, ...rest, '--help'] : argv;
}

/** What is asked first, a command or the version, needs no others; help and mistakes name all. */
function neededFor(asked: string): string[] {
  if (VERSION_FLAGS.includes(asked)) return [];
  return Object.hasOwn(COMMANDS, asked) ? [asked] : Object.keys(COMMANDS);
}

async function programWith(names: readonly string[], io: Io): Promise<Command> {
  const program = baseProgram(io);
  for (const add of await Promise.all(names.map((name) => COMMANDS[name]()))) add(program, io);
  return program;
}
