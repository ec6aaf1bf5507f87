/** Traffic in two parts that share nothing: one to train dictionaries on, one to find out what they bring. */

import { Random } from './random.ts';
import { makeWorkload, type Workload, type WorkloadResponse } from './workload.ts';

export interface SplitWorkload {
  readonly training: readonly WorkloadResponse[];
  /** In the order of the whole. */
  readonly heldOut: Workload;
}

/**
 * Each response is in one part, by the seed: that to train on with a probability of `trained`. Responses with the same bytes are in the same part: what the test has seen
 * before would be no test.
 * @throws Error where a part would be empty.
 */
export function splitWorkload(workload: Workload, seed: number, trained: number): SplitWorkload {
  const random = new Random(seed);
  const isTraining = new Map<string, boolean>();
  const training: WorkloadResponse[] = [];
  const heldOut: WorkloadResponse[] = [];
  for (const response of workload.responses) {
    const content = Buffer.from(response.bytes).toString('latin1');
    const known = isTraining.get(content) ?? random.unit() < trained;
    isTraining.set(content, known);
    (known ? training : heldOut).push(response);
  }
  if (training.length === 0 || heldOut.every(({ bytes }) => bytes.length === 0)) {
    throw new Error(
      `${workload.sources.join(', ')}: too few different responses to train on some and to try others`,
    );
  }
  return { training, heldOut: makeWorkload(workload.sources, heldOut) };
}
