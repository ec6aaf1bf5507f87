/** `millrace bench`: the benches of a checkout. Their peers are development dependencies, so no package has them. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { CommandError } from '../wire/errors.ts';
import type { Io } from './io.ts';

export function addBench(program: Command, io: Io): void {
  program
    .command('bench')
    .description('measure millrace against its peers on this machine (in a checkout)')
    .argument('[arguments...]', 'what `npm run bench --` takes: a bench and its options')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action((args: string[]) => benchCommand(args, io));
}

/** The benches run from source, three folders above this file when it is compiled, two in the source. */
function benchFile(): string | undefined {
  const places = ['../../bench/main.ts', '../../../bench/main.ts'];
  return places.map((place) => fileURLToPath(new URL(place, import.meta.url))).find(existsSync);
}

async function benchCommand(args: string[], io: Io): Promise<void> {
  const file = benchFile();
  if (file === undefined) throw new CommandError('the benches are in the repository, not in the package');
  const child = spawn(process.execPath, [file, ...args], { stdio: 'inherit' });
  // Ctrl-C reaches the child by itself, other signals come to us alone; its end is ours.
  const ignore = () => undefined;
  const pass = (signal: NodeJS.Signals) => child.kill(signal);
  process.on('SIGINT', ignore).on('SIGTERM', pass).on('SIGHUP', pass);
  const [code, signal] = await once(child, 'exit');
  process.off('SIGINT', ignore).off('SIGTERM', pass).off('SIGHUP', pass);
  io.exitCode = code ?? (signal === 'SIGINT' ? 130 : 1);
}
