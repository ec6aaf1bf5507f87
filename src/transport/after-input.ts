/** Time limits of peers: what they have sent in time is in time, also where this thread was held up and has not read it. */

import { after } from '../wire/timers.ts';

/** Calls `run` once so many milliseconds have passed and what has come by then was read. Returns how to give it up. */
export function afterInput(delayMs: number, run: () => void): () => void {
  let reading: NodeJS.Immediate | undefined;
  const timer = after(delayMs, () => {
    reading = setImmediate(run);
  }).unref();
  return () => {
    clearTimeout(timer);
    clearImmediate(reading);
  };
}
