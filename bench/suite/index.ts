/** The benches, in the order in which `all` runs them. */
import type { Bench } from '../bench.ts';
import { contexts } from './contexts.ts';
import { limit } from './limit.ts';
import { peers } from './peers.ts';
import { tree } from './tree.ts';

export const BENCHES: readonly Bench[] = [contexts, limit, peers, tree];
