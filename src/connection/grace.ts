/** How long what is in flight may go on when a client, a pool or a server is closed. */

import { checkOptions, numeric, type Rules } from '../options/rules.ts';
import { MAX_TIMER_MS } from '../wire/timers.ts';

export interface CloseOptions {
  /** Milliseconds, up to 2^31 − 1. */
  graceMs?: number;
}

/** What `await using` gives what is in flight at the end of its block. */
export const DISPOSE_GRACE_MS = 5000;

const RULES: Rules<CloseOptions> = { graceMs: numeric(0, Number.POSITIVE_INFINITY) };

/** The grace time that was asked for. @throws TypeError when it is none, or the options have something else. */
export function graceOf(options: CloseOptions): number | undefined {
  checkOptions(options, RULES, 'close');
  const { graceMs } = options;
  return graceMs === undefined ? undefined : Math.min(graceMs, MAX_TIMER_MS);
}
