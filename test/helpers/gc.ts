/** What is still held: asked of the garbage collector. */

import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** How many of `refs` somebody still holds. */
export async function stillHeld(refs: readonly WeakRef<object>[]): Promise<number> {
  // A WeakRef is kept until the end of the turn in which it was made or looked at.
  await turn();
  collect();
  return refs.filter((ref) => ref.deref() !== undefined).length;
}

/** Bytes of this thread's heap and of the buffers that it holds. */
export function heldBytes(): number {
  collect();
  // Buffers are given back by another thread, after the collection; the next one waits for it.
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
