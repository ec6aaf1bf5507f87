/** `millrace experiment-worker`: measures settings for experiments on other machines. */

import type { Command } from 'commander';
import { cellName } from '../experiment/grid/cell.ts';
import type { CellResult } from '../experiment/results/results.ts';
import { wholeNumber } from './arguments.ts';
import { collect, loadCodecs } from './experiment.ts';
import type { Io } from './io.ts';
import { Stopped, stopSignal } from './outcome.ts';
import { duration, oneLine } from './show.ts';

interface WorkerOptions {
  codecs?: string[];
  lockMs: number;
}

export function addExperimentWorker(program: Command, io: Io): void {
  program
    .command('experiment-worker')
    .description("measure settings for 'millrace experiment --queue' of any machine, until stopped")
    .argument('<url>', 'the Redis, such as redis://127.0.0.1:6379')
    .option('--codecs <module>', "a module whose export 'codecs' adds profiles; may be repeated", collect)
    .option(
      '--lock-ms <n>',
      'silence after which a worker counts as dead and its setting goes to another',
      wholeNumber(1000, 600_000),
      15_000,
    )
    .action((url: string, options: WorkerOptions) => experimentWorker(url, options, io));
}

async function experimentWorker(url: string, { codecs, lockMs }: WorkerOptions, io: Io): Promise<void> {
  const { workOnQueue } = await import('../experiment/queue.ts');
  const { signal, release } = stopSignal(undefined, io.signals);
  try {
    await workOnQueue(url, {
      codecs: await loadCodecs(codecs),
      lockMs,
      signal,
      onReady: () => io.print('waiting for settings'),
      onResult: (result) => tell(result, io),
      onError: (error) => io.complain(error.message),
    });
  } finally {
    release();
  }
  // A worker is ended by a signal: that is not a failure.
  if (signal.reason instanceof Stopped) io.exitCode = 0;
}

function tell({ cell, measures, error, seconds }: CellResult, io: Io): void {
  const found = measures === undefined ? (error ?? '') : `ratio ${measures.ratio.toFixed(3)}`;
  io.print(oneLine(`${cellName(cell)}: ${found} (${duration(seconds)})`));
}
