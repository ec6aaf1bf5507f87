/** The program `millrace` before it has commands. */

import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { Io } from './io.ts';
import { newProgram } from './program.ts';

const EXAMPLES = `
Examples:
  millrace serve ./public --port 7711
  millrace pull 127.0.0.1:7711 ./copy
  millrace call 127.0.0.1:7711 files.get path=index.html

'millrace COMMAND --help' says more about each.`;

export const VERSION_FLAGS: readonly string[] = ['-V', '--version'];

export function baseProgram(io: Io): Command {
  return newProgram('millrace')
    .configureOutput({ writeOut: (text) => void io.stdout.write(text) })
    .description('Serves and fetches files and commands over one compressed connection.')
    .version(version(), VERSION_FLAGS.join(', '), 'print the version')
    .addHelpText('after', EXAMPLES);
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
