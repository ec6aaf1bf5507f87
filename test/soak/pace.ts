/** Keeps a load to a share of one core: who asks for a turn waits while more CPU time has been used than was due. */
export class Pace {
  readonly #share: number;
  readonly #began = performance.now();
  #held: (() => void)[] = [];
  #ahead = false;

  /** `share`: CPU seconds per second; Infinity holds nobody back. */
  constructor(share: number) {
    this.#share = share;
  }

  /** All CPU seconds that were used since the beginning. */
  used(seconds: number): void {
    this.#ahead = seconds > (this.#share * (performance.now() - this.#began)) / 1000;
    if (!this.#ahead) this.release();
  }

  /** Resolves when there is CPU time to be used. */
  async turn(): Promise<void> {
    if (this.#ahead) await new Promise<void>((resolve) => this.#held.push(resolve));
  }

  /** Lets everybody go on, for the last time. */
  release(): void {
    this.#ahead = false;
    for (const resume of this.#held.splice(0)) resume();
  }
}
