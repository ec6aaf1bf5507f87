/** Waiting with an end to it. */

import { after } from '../wire/timers.ts';

/** Whether `promise` has settled after at most `ms` milliseconds. */
export function within(promise: Promise<unknown>, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = after(ms, () => resolve(false));
    const settled = () => {
      clearTimeout(timer);
      resolve(true);
    };
    promise.then(settled, settled);
  });
}
