/** What the experiments' tests share: small traffic, quick settings, and a load on a real server. */

import { extraCodecs } from '../../src/encoding/extra.ts';
import type { Cell } from '../../src/experiment/grid/cell.ts';
import { type ExperimentSettings, runExperiment } from '../../src/experiment/run.ts';
import type { ExperimentEvents } from '../../src/experiment/runner.ts';
import { readSources } from '../../src/experiment/traffic/sources.ts';

export const CELL: Cell = {
  profile: 'zstd-8mb',
  level: 3,
  streams: 2,
  policy: 'shared',
  frameSize: 32_768,
  coalesceMs: 0,
};

export const SETTINGS: Omit<ExperimentSettings, 'out' | 'cells'> = {
  resume: false,
  seed: 1,
  rounds: 1,
  inFlight: 16,
  workers: 2,
  links: [1e6, 1e9],
  jobs: 1,
  codecs: [extraCodecs],
  check: false,
  adaptive: false,
};

export function generated(kind: string, maxBytes: number) {
  return readSources([`generate:${kind}`], { maxBytes, seed: 7 });
}

/** Events that are kept. */
export function listener() {
  const seen = {
    failed: [] as string[],
    progress: [] as [number, number][],
    left: [] as (number | undefined)[],
    notes: [] as string[],
  };
  const events: ExperimentEvents = {
    onProgress: ({ done, total, leftSeconds }) => {
      seen.progress.push([done, total]);
      seen.left.push(leftSeconds);
    },
    onFailed: (_cell, message) => void seen.failed.push(message),
    onNote: (text) => void seen.notes.push(text),
    onChecking: () => undefined,
  };
  return { seen, events };
}

export async function run(
  read: Awaited<ReturnType<typeof readSources>>,
  settings: Pick<ExperimentSettings, 'out' | 'cells'> & Partial<ExperimentSettings>,
) {
  const { seen, events } = listener();
  const results = await runExperiment(read, { ...SETTINGS, ...settings }, events);
  return { results, seen };
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
