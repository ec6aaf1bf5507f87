/** The turns of a thread that a crowd shares, into which more come all the time. */

import { type TurnSize, Turns, type TurnTaker, USUAL_TURN } from './turns.ts';

/**
 * Where somebody has come, see {@link CrowdTurns.hurry}: no less than letting one in takes, so that a crowd, however long it goes
 * on coming, leaves others half of the time.
 */
const BRIEF_TURN: TurnSize = { ms: 0.3, sliceMs: 0.05, bytes: 64 << 10, isBrief: true };

/** Turns of waiting that are long: where all are served in each turn, or nearly so, nobody waits for as many. */
const LONG_WAIT_TURNS = 8;

export class CrowdTurns extends Turns {
  /** The next turn is to be brief. */
  #hurries = false;
  #oldestIsNext = false;

  /**
   * Somebody has come, and others may wait behind him: Node.js (libuv) accepts one connection in each turn of the event loop,
   * so that the last of a crowd waits for as many turns as there are before him. The next turn is brief.
   */
  hurry(): void {
    this.#hurries = true;
    // There is one, whether there is work or not.
    this.take(0);
  }

  protected override begin(): void {
    this.size = this.#hurries ? BRIEF_TURN : USUAL_TURN;
    this.#hurries = false;
  }

  /**
   * New connections come before all others. So that they keep nobody waiting for ever, should they come without end, every
   * second one is the one who has waited longest, where that is long. A turn that is not brief has time for all, or nearly so.
   */
  protected override next(due: TurnTaker[], at: number): void {
    if (this.size !== BRIEF_TURN || due[at].urgent) return;
    this.#oldestIsNext = !this.#oldestIsNext;
    if (this.#oldestIsNext) return;
    let oldest = at;
    for (let i = at + 1; i < due.length; i++) if (due[i].since < due[oldest].since) oldest = i;
    if (this.number - due[oldest].since >= LONG_WAIT_TURNS) due.splice(at, 0, ...due.splice(oldest, 1));
  }
}
