/**
 * What to do where the system has no descriptor left: wait for one. Others give theirs back, for most are held no
 * longer than it takes to read a file.
 */

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Milliseconds between two tries. */
export const RETRY_MS = 10;
/** Tries until it is said that there is none: 30 seconds, and half a second where the whole thread waits. */
const MAX_TRIES = 3000;
const MAX_BLOCKING_TRIES = 50;

/** Whether it failed because too many files are open, here or on the whole system. */
export function isOutOfDescriptors(error: unknown): boolean {
  const { code, fsCode } = error as { code?: unknown; fsCode?: unknown };
  return [code, fsCode].some((each) => each === 'EMFILE' || each === 'ENFILE');
}

/**
 * Runs `open` again until there is a descriptor for it. `mayHope` says that one will come, however long it takes.
 * @throws what `open` throws, the signal's reason when it fires.
 */
export async function patiently<T>(
  open: () => T,
  signal: AbortSignal | undefined,
  mayHope: () => boolean = () => false,
): Promise<Awaited<T>> {
  for (let tries = 0; ; ) {
    try {
      return await open();
    } catch (error) {
      if (!isOutOfDescriptors(error)) throw error;
      tries = mayHope() ? 0 : tries + 1;
      if (tries > MAX_TRIES) throw error;
    }
    await sleep(RETRY_MS, undefined, { signal }).catch(() => {});
    signal?.throwIfAborted();
  }
}

/** {@link patiently} where nothing can be awaited: the thread stands still meanwhile, and not for long. */
export function patientlyHere<T>(open: () => T): T {
  for (let tries = 1; ; tries++) {
    try {
      return open();
    } catch (error) {
      if (!isOutOfDescriptors(error) || tries > MAX_BLOCKING_TRIES) throw error;
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
  }
}

/** How many descriptors this process may have, as far as the system says. */
export function descriptorLimit(): number {
  try {
    const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
    return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
