/** What the machine, or the container, lets this process have. */

import { totalmem } from 'node:os';

/** Bytes of memory that the process may use: the container's limit where there is one, else the machine's memory. */
export function availableMemory(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}
