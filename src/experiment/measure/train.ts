/** The dictionaries of an experiment: trained on one part of its traffic, for the settings that are tried on the other. */

import type { Dictionary } from '../../encoding/dictionary.ts';
import { readDictionary } from '../../encoding/read-dictionary.ts';
import { packInput } from '../process/input.ts';
import { moduleBeside, runModule } from '../process/run.ts';
import type { TrainedDictionary } from '../results/dictionaries.ts';
import type { SplitWorkload } from '../traffic/split.ts';
import type { Training, TrainingTask } from './dictionary-child.ts';

const CHILD = moduleBeside(import.meta.url, 'dictionary-child');

/** By the sizes that cells name them by. */
export type DictionariesBySize = ReadonlyMap<number, Dictionary>;

export interface Trained {
  readonly dictionary: Dictionary;
  readonly facts: TrainedDictionary;
}

/**
 * One dictionary after the other for each of `atOnce` processes, the largest first: it takes longest.
 * @returns in the order of `sizes` what was trained, or why it could not be.
 */
export async function trainAll(
  { training, heldOut }: SplitWorkload,
  sizes: readonly number[],
  atOnce: number,
  signal?: AbortSignal,
): Promise<(Trained | Error)[]> {
  const input = packInput([...training, ...heldOut.responses].map(({ bytes }) => bytes));
  const queue = [...sizes].sort((a, b) => b - a);
  const done = new Map<number, Trained | Error>();
  const work = async () => {
    for (let size = queue.shift(); size !== undefined; size = queue.shift()) {
      if (signal?.aborted) return;
      const task: TrainingTask = { size, training: training.length };
      done.set(size, await train(task, input).catch((error: Error) => error));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  signal?.throwIfAborted();
  return sizes.map((size) => done.get(size) as Trained | Error);
}

async function train(task: TrainingTask, input: Buffer): Promise<Trained> {
  const { size } = task;
  const output: Training = JSON.parse(await runModule(CHILD, [JSON.stringify(task)], { input }));
  const dictionary = readDictionary(Buffer.from(output.dictionary, 'base64'));
  const { id, bytes } = dictionary;
  return { dictionary, facts: { size, bytes: bytes.length, id, benefit: output.benefit } };
}
