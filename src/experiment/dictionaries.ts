/** What settings with dictionaries need before any can be tried: traffic in two parts, and dictionaries of one of them. */

import { availableParallelism } from 'node:os';
import { type Cell, dictionaryName, dictionarySizes } from './grid/cell.ts';
import { type Trained, trainAll } from './measure/train.ts';
import type { Results, Setup } from './results/results.ts';
import type { ExperimentEvents } from './runner.ts';
import { type SplitWorkload, splitWorkload } from './traffic/split.ts';
import type { Workload } from './traffic/workload.ts';

/** The share of responses that dictionaries are trained on. */
const TRAINED = 0.5;

export interface Prepared extends Pick<Results, 'untrained'>, Pick<Setup, 'training'> {
  /** What settings are tried on: nothing of it was trained on. */
  readonly workload: Workload;
  /** Without those whose dictionary could not be trained. */
  readonly cells: readonly Cell[];
  readonly dictionaries: readonly Trained[];
}

/**
 * Where no setting has a dictionary, or none could be trained, they have all of the traffic; else all of them, those without a
 * dictionary too, the part that was held out: only so they can be compared.
 * @throws Error when no setting is left, or the reason of `signal`.
 */
export async function prepare(
  whole: Workload,
  { cells, seed, signal }: { cells: readonly Cell[]; seed: number; signal?: AbortSignal },
  { onNote }: Pick<ExperimentEvents, 'onNote'>,
): Promise<Prepared> {
  const sizes = dictionarySizes(cells);
  if (sizes.length === 0) return { workload: whole, cells, dictionaries: [] };
  onNote(`training dictionaries: ${sizes.map(dictionaryName).join(', ')}`);
  const split = splitOf(whole, seed);
  const found =
    split instanceof Error
      ? sizes.map(() => split)
      : await trainAll(split, sizes, availableParallelism(), signal);
  const dictionaries = found.filter((each): each is Trained => !(each instanceof Error));
  const untrained = untrainedText(sizes, found);
  const wanted = new Set<number | undefined>(dictionaries.map(({ facts }) => facts.size)).add(undefined);
  const left = cells.filter(({ dictionary }) => wanted.has(dictionary));
  if (left.length === 0) throw new Error(untrained);
  const parts = { cells: left, dictionaries, ...(untrained !== undefined && { untrained }) };
  if (split instanceof Error || dictionaries.length === 0) return { workload: whole, ...parts };
  const { training, heldOut } = split;
  const bytes = training.reduce((sum, response) => sum + response.bytes.length, 0);
  return { workload: heldOut, training: { responses: training.length, bytes }, ...parts };
}

function splitOf(workload: Workload, seed: number): SplitWorkload | Error {
  try {
    return splitWorkload(workload, seed, TRAINED);
  } catch (error) {
    return error as Error;
  }
}

/** Which could not be trained, and why. */
function untrainedText(sizes: readonly number[], found: readonly (Trained | Error)[]): string | undefined {
  const byReason = new Map<string, string[]>();
  for (const [i, each] of found.entries()) {
    if (!(each instanceof Error)) continue;
    byReason.set(each.message, [...(byReason.get(each.message) ?? []), dictionaryName(sizes[i])]);
  }
  if (byReason.size === 0) return undefined;
  const reasons = [...byReason].map(([reason, names]) => `of ${names.join(', ')}: ${reason}`);
  return `Settings with these dictionaries were left out: ${reasons.join('; ')}.`;
}
