/** Says on stderr what a bench is doing: a bar on a terminal, otherwise a line now and then. */
import { Presets, SingleBar } from 'cli-progress';

const QUIET_MS = 15_000;

export class Progress implements Disposable {
  readonly #bench: string;
  readonly #bar: SingleBar | undefined;
  #saidAt = 0;

  constructor(bench: string) {
    this.#bench = bench;
    if (!process.stderr.isTTY) return;
    const format = `${bench} {bar} {value}/{total} {what}`;
    this.#bar = new SingleBar(
      { format, barsize: 20, clearOnComplete: true, hideCursor: true },
      Presets.shades_classic,
    );
    this.#bar.start(1, 0, { what: '' });
  }

  step(done: number, total: number, what: string): void {
    if (this.#bar !== undefined) {
      this.#bar.setTotal(total);
      this.#bar.update(done, { what });
    } else if (performance.now() - this.#saidAt > QUIET_MS || this.#saidAt === 0) {
      this.#saidAt = performance.now();
      process.stderr.write(`${this.#bench} ${done}/${total}: ${what}\n`);
    }
  }

  [Symbol.dispose](): void {
    this.#bar?.stop();
  }
}
