/** Folders for a while: gone when disposed of, and at the latest when the process exits, by Ctrl-C too. */
import { accessSync, chmodSync, constants, mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class Scratch implements Disposable {
  readonly path: string;
  readonly #remove = () => rmSync(this.path, { recursive: true, force: true });

  constructor(parent: string = tmpdir()) {
    this.path = mkdtempSync(join(parent, 'millrace-bench-'));
    // Servers that root starts, such as an rsync daemon, read as nobody.
    chmodSync(this.path, 0o755);
    process.once('exit', this.#remove);
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#remove);
    this.#remove();
  }
}

/** Where a file system in memory is on Linux, and what must be free of it. */
const MEMORY = '/dev/shm';
const MEMORY_FREE = 256 << 20;

/**
 * A folder in memory, or undefined where there is none with room, or TMPDIR says where to measure. On ext4 a new file
 * costs up to a millisecond for some minutes after others were deleted: their inodes are looked at and passed over.
 */
export function memoryFolder(): string | undefined {
  if (process.env.TMPDIR !== undefined) return undefined;
  try {
    accessSync(MEMORY, constants.W_OK | constants.X_OK);
    const { bavail, bsize } = statfsSync(MEMORY);
    return bavail * bsize >= MEMORY_FREE ? MEMORY : undefined;
  } catch {
    return undefined;
  }
}
