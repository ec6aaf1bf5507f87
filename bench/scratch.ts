/** Folders for a while: gone when disposed of, and at the latest when the process exits, by Ctrl-C too. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class Scratch implements Disposable {
  readonly path: string = mkdtempSync(join(tmpdir(), 'millrace-bench-'));
  readonly #remove = () => rmSync(this.path, { recursive: true, force: true });

  constructor() {
    // Servers that root starts, such as an rsync daemon, read as nobody.
    chmodSync(this.path, 0o755);
    process.once('exit', this.#remove);
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#remove);
    this.#remove();
  }
}
