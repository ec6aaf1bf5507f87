/** Repeatable chance: everything that a fuzz run does follows from one seed. */

import { randomNumbers } from '../helpers/random.ts';

export class Random {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = randomNumbers(seed);
  }

  /** A whole number from 0 up to, not including, `below`. */
  below(below: number): number {
    return Math.floor(this.#next() * below);
  }

  /** True in one of `of` cases. */
  once(of: number): boolean {
    return this.below(of) === 0;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }

  /** A length: mostly short, now and then at an edge, at most `most`. */
  length(most: number): number {
    const edges = [0, 1, 2, 7, 8, 255, 256, 1024, 4095, 4096, 32_768, 65_535, 65_536];
    const length = this.once(8) ? this.pick(edges) : this.below(this.once(4) ? most : 64);
    return Math.min(most, length);
  }

  /** Bytes: noise, a run, or text. */
  bytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    const kind = this.below(4);
    if (kind === 0) return bytes.fill(this.below(256));
    for (let i = 0; i < length; i++) bytes[i] = kind === 1 ? this.below(256) : 97 + this.below(8);
    return bytes;
  }
}
