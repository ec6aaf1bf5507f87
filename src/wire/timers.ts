/**
 * All our timers. The language's own take no more than 31 bits of milliseconds, and wait a single one for anything longer:
 * a time limit that somebody set to "never" would run out at once.
 */

/** The longest time that a timer can be set to, in milliseconds. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

export type Timer = ReturnType<typeof setTimeout>;

/** Calls `run` once when so many milliseconds have passed, or {@link MAX_TIMER_MS} where they are more; see clearTimeout. */
export function after(delayMs: number, run: () => void): Timer {
  return setTimeout(run, Math.min(delayMs, MAX_TIMER_MS));
}

/** Calls `run` each time that so many milliseconds have passed, or {@link MAX_TIMER_MS}; see clearInterval. */
export function every(periodMs: number, run: () => void): ReturnType<typeof setInterval> {
  return setInterval(run, Math.min(periodMs, MAX_TIMER_MS));
}

/** The same timer, which keeps no process alive: a browser's have no say in that. */
export function unref<T extends Timer>(timer: T): T {
  (timer as { unref?: () => void }).unref?.();
  return timer;
}
