/** Bars on a terminal, which all look alike. */

import type { SingleBar } from 'cli-progress';
import type { Io } from './io.ts';

/** A bar on standard error that shows what `format` names; it begins with its `start()`. */
export async function makeBar(format: string, io: Io): Promise<SingleBar> {
  // Loaded for who sees it alone.
  const { SingleBar } = (await import('cli-progress')).default;
  return new SingleBar({
    format,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 24,
    hideCursor: true,
    clearOnComplete: true,
    stream: io.stderr as NodeJS.WritableStream,
  });
}
