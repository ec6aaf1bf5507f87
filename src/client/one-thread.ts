/**
 * What the connections of Node.js's clients on one thread have in common: its turns. Each had turns and an end of tick of its
 * own, so with many connections every response cost two immediates, and what they touch. Memory they share none: each is
 * held to its own limits alone.
 */

import type { Shared } from '../connection/connection.ts';
import { Turns, USUAL_TURN } from '../connection/turns.ts';
import { Gate } from '../reactor/gate.ts';
import { InputBudget } from '../reactor/input-budget.ts';

/** As it is now: who replaces it for a while, as tests do, would keep every client of the thread from its turn for good. */
const later = setImmediate;

/**
 * All connections are of one owner, whose own work may make turns long: what one of them sends in a turn is no less for
 * what others send. Each has its share of a connection, as on its own.
 */
class ClientTurns extends Turns {
  protected override size = { ...USUAL_TURN, bytes: Number.POSITIVE_INFINITY };
}

export const oneThread: Shared = {
  turns: new ClientTurns((run) => void later(run)),
  output: new Gate(Number.POSITIVE_INFINITY),
  input: new InputBudget(Number.POSITIVE_INFINITY),
};
