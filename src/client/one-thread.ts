/**
 * What the connections of Node.js's clients on one thread have in common: its turns. Each had turns and an end of tick of its
 * own, so with many connections every response cost two immediates, and what they touch. Memory they share none: each is
 * held to its own limits alone.
 */

import type { Shared } from '../connection/connection.ts';
import { Turns } from '../connection/turns.ts';
import { Gate } from '../reactor/gate.ts';
import { InputBudget } from '../reactor/input-budget.ts';

export const oneThread: Shared = {
  turns: new Turns((run) => void setImmediate(run)),
  output: new Gate(Number.POSITIVE_INFINITY),
  input: new InputBudget(Number.POSITIVE_INFINITY),
};
