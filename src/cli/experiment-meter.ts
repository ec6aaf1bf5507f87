/** How far an experiment is, for the terminal: a bar, or lines. */

import { cellName } from '../experiment/grid/cell.ts';
import type { ExperimentEvents } from '../experiment/runner.ts';
import { makeBar } from './bar.ts';
import type { Io } from './io.ts';
import { duration, oneLine, plural } from './show.ts';

export interface Meter extends ExperimentEvents {
  stop(): void;
}

/** A bar on a terminal; without one, a line now and then. */
export async function makeMeter(io: Io): Promise<Meter> {
  const lines = lineMeter(io);
  if (io.stderr.isTTY !== true) return lines;
  const bar = await makeBar('{bar} {value} of {total} │ {left} left │ {name}', io);
  bar.start(1, 0, { left: '–', name: 'memory of contexts' });
  return {
    onProgress: ({ done, total, leftSeconds, cell, round }) => {
      bar.setTotal(total);
      bar.update(done, {
        left: leftSeconds === undefined ? '–' : duration(leftSeconds),
        name:
          cell === undefined
            ? 'memory of contexts'
            : oneLine(`${cellName(cell)}${round > 1 ? `, round ${round}` : ''}`),
      });
    },
    onFailed: lines.onFailed,
    onNote: (text) => bar.update({ left: '–', name: oneLine(text) }),
    onChecking: (cell) =>
      bar.update({ left: '–', name: oneLine(`in a server of its own: ${cellName(cell)}`) }),
    stop: () => bar.stop(),
  };
}

/** Between two lines. */
const QUIET_MS = 10_000;

/** The events are called without their object. */
function lineMeter({ stderr }: Io): Meter {
  let saidAtMs = Number.NEGATIVE_INFINITY;
  return {
    onProgress: ({ done, total, leftSeconds, round }) => {
      if (performance.now() - saidAtMs < QUIET_MS) return;
      saidAtMs = performance.now();
      const again = round > 1 ? `, round ${round}` : '';
      const more = leftSeconds === undefined ? '' : `, ${duration(leftSeconds)} left`;
      stderr.write(`${done} of ${plural(total, 'setting')}${again}${more}\n`);
    },
    onFailed: (cell, message) => void stderr.write(`${oneLine(`${cellName(cell)}: ${message}`)}\n`),
    onNote: (text) => void stderr.write(`${oneLine(text)}\n`),
    onChecking: (cell) => void stderr.write(`${oneLine(`in a server of its own: ${cellName(cell)}`)}\n`),
    stop: () => undefined,
  };
}
