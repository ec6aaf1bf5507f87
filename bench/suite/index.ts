/** The benches, in the order in which `all` runs them. */
import type { Bench } from '../bench.ts';
import { cache } from './cache.ts';
import { contexts } from './contexts.ts';
import { dictionary } from './dictionary.ts';
import { dictionaryTrainer } from './dictionary-trainer.ts';
import { doors } from './doors.ts';
import { latency } from './latency.ts';
import { limit } from './limit.ts';
import { links } from './links.ts';
import { memory } from './memory.ts';
import { ops } from './ops.ts';
import { peers } from './peers.ts';
import { scaling } from './scaling.ts';
import { topics } from './topics.ts';
import { tree } from './tree.ts';

export const BENCHES: readonly Bench[] = [
  peers,
  limit,
  scaling,
  contexts,
  dictionary,
  cache,
  memory,
  latency,
  topics,
  tree,
  links,
  ops,
  dictionaryTrainer,
  doors,
];
