/** How far an experiment is, for the terminal: a bar, or lines. */

import { type Cell, cellName } from '../experiment/grid/cell.ts';
import type { ExperimentEvents, Progress } from '../experiment/runner.ts';
import { duration, oneLine, plural } from './show.ts';

export interface Meter extends ExperimentEvents {
  stop(): void;
}

/** A bar on a terminal; without one, a line now and then. */
export async function makeMeter(): Promise<Meter> {
  const lines = new LineMeter();
  if (process.stderr.isTTY !== true) return lines;
  const { SingleBar } = (await import('cli-progress')).default;
  const bar = new SingleBar({
    format: '{bar} {value} of {total} │ {left} left │ {name}',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 24,
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stderr,
  });
  bar.start(1, 0, { left: '–', name: 'memory of contexts' });
  return {
    onProgress: ({ done, total, leftSeconds, cell, round }) => {
      bar.setTotal(total);
      bar.update(done, {
        left: leftSeconds === undefined ? '–' : duration(leftSeconds),
        name:
          cell === undefined
            ? 'memory of contexts'
            : `${cellName(cell)}${round > 1 ? `, round ${round}` : ''}`,
      });
    },
    onFailed: lines.onFailed,
    onNote: () => undefined,
    onChecking: (cell) => bar.update({ left: '–', name: `in a server of its own: ${cellName(cell)}` }),
    stop: () => bar.stop(),
  };
}

/** Between two lines. */
const QUIET_MS = 10_000;

class LineMeter implements Meter {
  #saidAtMs = Number.NEGATIVE_INFINITY;

  onProgress({ done, total, leftSeconds, round }: Progress): void {
    if (performance.now() - this.#saidAtMs < QUIET_MS) return;
    this.#saidAtMs = performance.now();
    const again = round > 1 ? `, round ${round}` : '';
    const more = leftSeconds === undefined ? '' : `, ${duration(leftSeconds)} left`;
    process.stderr.write(`${done} of ${plural(total, 'setting')}${again}${more}\n`);
  }

  onFailed(cell: Cell, message: string): void {
    process.stderr.write(`${oneLine(`${cellName(cell)}: ${message}`)}\n`);
  }

  onNote(text: string): void {
    process.stderr.write(`${oneLine(text)}\n`);
  }

  onChecking(cell: Cell): void {
    process.stderr.write(`in a server of its own: ${cellName(cell)}\n`);
  }

  stop(): void {}
}
