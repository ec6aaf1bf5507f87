/** How long what is in flight may go on when a client, a pool or a server is closed. */

export interface CloseOptions {
  /** Milliseconds, up to 2^31 − 1. */
  graceMs?: number;
}

/** What `await using` gives what is in flight at the end of its block. */
export const DISPOSE_GRACE_MS = 5000;

/** Timers take no more. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The grace time that was asked for. @throws TypeError when it is none, or the options have something else. */
export function graceOf(options: CloseOptions): number | undefined {
  const unknown = Object.keys(options).find((name) => name !== 'graceMs');
  if (unknown !== undefined) throw new TypeError(`close has no option ${unknown}`);
  const { graceMs } = options;
  if (graceMs === undefined) return undefined;
  if (typeof graceMs !== 'number' || !(graceMs >= 0))
    throw new TypeError(`option graceMs: ${graceMs} is no time`);
  return Math.min(graceMs, MAX_TIMER_MS);
}
