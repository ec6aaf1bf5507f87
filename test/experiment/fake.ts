/** An experiment whose figures are made up, each from its setting alone, so that none has to be measured. */

import { setImmediate as turn } from 'node:timers/promises';
import { type Cell, cellKey } from '../../src/experiment/grid/cell.ts';
import type { EvaluatorOptions } from '../../src/experiment/measure/evaluator.ts';
import type { Measures } from '../../src/experiment/results/results.ts';
import { type ExperimentSettings, runExperiment } from '../../src/experiment/run.ts';
import type { CellRunner } from '../../src/experiment/runner.ts';
import type { ReadSources } from '../../src/experiment/traffic/sources.ts';
import { listener, SETTINGS } from './helper.ts';

type Options = Pick<EvaluatorOptions, 'workload' | 'links' | 'rounds'>;
type Change = (measures: Measures, cell: Cell) => Partial<Measures>;

/**
 * A higher level is smaller and dearer, more streams are larger, a window costs its size; a dictionary gains a little, and most of
 * what is lost without contexts.
 */
function ratioOf({ profile, level = 3, streams, windowLog, contexts, dictionary }: Cell): number {
  if (profile === 'identity') return 0.99;
  const known = dictionary === undefined ? 0 : 0.2 + dictionary / 1e6;
  if (contexts === 'none') return dictionary === undefined ? 1.6 : 2.8 + level / 10 + known;
  return 3 + known + level / 10 - streams / 20 - (windowLog === undefined ? 0 : 0.5);
}

/** Made-up figures of a cell, as far as they have to agree with each other. */
export function fakeMeasures(cell: Cell, { workload, links, rounds }: Options): Measures {
  const { profile, level = 3, streams, windowLog = 20 } = cell;
  const { bytes, responses } = workload;
  const [ratio, single] = [ratioOf(cell), ratioOf({ ...cell, streams: 1 })];
  const plain = profile === 'identity';
  const cpu = (microsPerMB: number) => ({
    microsPerMB,
    microsPerResponse: (microsPerMB * bytes) / 1e6 / responses.length,
    rounds: new Array<number>(rounds).fill(microsPerMB),
  });
  const spread = { p50: 1, p99: 3 };
  const contextBytes = plain ? 0 : 2 << windowLog;
  const contexts = plain || cell.contexts === 'none' ? 0 : streams;
  return {
    frames: responses.length,
    contexts,
    wireBytes: Math.round(bytes / ratio),
    ratio,
    ratioSpread: { p5: ratio - 0.1, p50: ratio, p95: ratio + 0.1 },
    compress: cpu(plain ? 10 : 1000 * (level + 1)),
    decompress: cpu(plain ? 10 : 500),
    mainMicrosPerResponse: 5,
    loadShare: 1,
    contextBytes,
    connectionBytes: contexts * contextBytes,
    ...(cell.contexts === 'none' && { laneBytes: 2 * contextBytes }),
    ...(cell.dictionary !== undefined && { dictionaryBytes: cell.dictionary }),
    single: { wireBytes: Math.round(bytes / single), morePercent: 100 * (single / ratio - 1) },
    http: plain ? null : { ratio: 1.5, compressMicrosPerMB: 9000 },
    links: links.map((bitsPerSecond) => ({
      bitsPerSecond,
      firstByteMs: spread,
      responseMs: spread,
      responsesPerSecond: bitsPerSecond / 8 / (bytes / ratio / responses.length),
      linkBusy: 0.9,
      threadBusy: 0.1,
    })),
    commands: [
      { command: '.json', responses: responses.length, bytes, wireBytes: Math.round(bytes / ratio) },
    ],
  };
}

/** Gives every cell its made-up figures, one after the other, until the signal; level 99 cannot be. */
export function fakeRunner(options: Options, change: Change = () => ({})): CellRunner {
  return async (cells, _known, onResult, signal) => {
    for (const cell of cells) {
      await turn();
      if (signal?.aborted) return;
      const measures = fakeMeasures(cell, options);
      const found =
        cell.level === 99
          ? { error: 'no such level' }
          : { measures: { ...measures, ...change(measures, cell) } };
      onResult({ key: cellKey(cell), cell, seconds: 0.01, ...found });
    }
  };
}

/** An experiment on made-up figures. */
export async function imagine(
  read: ReadSources,
  settings: Pick<ExperimentSettings, 'out' | 'cells'> & Partial<ExperimentSettings>,
  change?: Change,
) {
  const { seen, events } = listener();
  const all = { ...SETTINGS, ...settings };
  const results = await runExperiment(read, all, events, (options) => fakeRunner(options, change));
  return { results, seen };
}
