/** The command line: all commands, each of which is beside this file. */

import { readFileSync } from 'node:fs';
import { addBench } from './bench.ts';
import { addCall } from './call.ts';
import { addExperiment } from './experiment.ts';
import { addExperimentWorker } from './experiment-worker.ts';
import { addFrame } from './frame.ts';
import { newProgram, runProgram } from './program.ts';
import { addPull } from './pull.ts';
import { addServe } from './serve.ts';

const EXAMPLES = `
Examples:
  millrace serve ./public --port 7711
  millrace pull 127.0.0.1:7711 ./copy
  millrace call 127.0.0.1:7711 files.get path=index.html

'millrace COMMAND --help' says more about each.`;

/** Runs the command line `argv` (as process.argv); where it fails, sets the exit code. Never rejects. */
export function main(argv: readonly string[]): Promise<void> {
  const program = newProgram('millrace')
    .enablePositionalOptions()
    .description('Serves and fetches files and commands over one compressed connection.')
    .version(version(), '-V, --version', 'print the version')
    .addHelpText('after', EXAMPLES);
  addServe(program);
  addPull(program);
  addCall(program);
  addFrame(program);
  addExperiment(program);
  addExperimentWorker(program);
  addBench(program);
  return runProgram(program, argv);
}

/** The package's version; package.json is three folders above this file when it is compiled, two in the source. */
function version(): string {
  for (const path of ['../../package.json', '../../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));
      if (name === 'millrace') return version;
    } catch {
      // It is the other one.
    }
  }
  return 'unknown';
}
