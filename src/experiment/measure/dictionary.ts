/** What a dictionary brings on responses that it has not seen: bytes and an encoder's CPU, by how contexts are kept. */

import { compressSamples } from '../../encoding/dictionary/samples.ts';
import type { Benefit, Cost, Costs } from '../results/dictionaries.ts';

/** Responses of a connection that count as cold. */
const COLD_RESPONSES = 10;
/** Contexts that are opened to find that out: each takes memory anew. */
const COLD_CONNECTIONS = 40;
/** CPU time is that of passes which take this long together, after a first one in which code is compiled. */
const MEASURED_MICROS = 50_000;
const MAX_PASSES = 20;

export function measureBenefit(
  dictionary: Uint8Array,
  responses: readonly Uint8Array[],
  level: number,
): Benefit {
  const paid = (contexts: 'none' | 'kept') => paidAfter(dictionary, responses, level, contexts);
  const [none, kept] = [paid('none'), paid('kept')];
  return {
    without: costs(undefined, responses, level),
    with: costs(dictionary, responses, level),
    paidAfter: { ...(none !== undefined && { none }), ...(kept !== undefined && { kept }) },
  };
}

function costs(dictionary: Uint8Array | undefined, responses: readonly Uint8Array[], level: number): Costs {
  const connections = Array.from({ length: COLD_CONNECTIONS }, (_, i) =>
    responses.slice(i * COLD_RESPONSES, (i + 1) * COLD_RESPONSES),
  ).filter(({ length }) => length > 0);
  const each = (contexts: 'none' | 'kept', groups: readonly (readonly Uint8Array[])[]) =>
    cost(groups, () =>
      groups.reduce((sum, group) => sum + compressSamples(dictionary, group, level, contexts), 0),
    );
  return {
    none: each('none', [responses]),
    cold: each('kept', connections),
    kept: each('kept', [responses]),
  };
}

function cost(groups: readonly (readonly Uint8Array[])[], compress: () => number): Cost {
  const responses = groups.flat();
  const bytes = compress();
  let micros = 0;
  let passes = 0;
  for (; passes < MAX_PASSES && micros < MEASURED_MICROS; passes++) {
    const before = process.cpuUsage();
    compress();
    const { user, system } = process.cpuUsage(before);
    micros += user + system;
  }
  const plain = responses.reduce((sum, { length }) => sum + length, 0);
  return {
    bytes: bytes / responses.length,
    ratio: plain / bytes,
    micros: micros / passes / responses.length,
  };
}

function paidAfter(
  dictionary: Uint8Array,
  responses: readonly Uint8Array[],
  level: number,
  contexts: 'none' | 'kept',
): number | undefined {
  const sizes = (used: Uint8Array | undefined) => {
    const each = responses.map(() => 0);
    compressSamples(used, responses, level, contexts, ({ length }, response) => {
      each[response] += length;
    });
    return each;
  };
  const [without, with_] = [sizes(undefined), sizes(dictionary)];
  let saved = -dictionary.length;
  for (let i = 0; i < responses.length; i++) {
    saved += without[i] - with_[i];
    if (saved >= 0) return i + 1;
  }
  return undefined;
}
