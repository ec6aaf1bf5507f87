import { lstatSync, renameSync, symlinkSync, unlinkSync } from 'node:fs';

/** Puts a link in the place of a folder, and the folder back. */
export class Hand {
  readonly #folder: string;
  readonly #target: string;
  #isBent = false;

  constructor(folder: string, target: string) {
    this.#folder = folder;
    this.#target = target;
  }

  bend(): void {
    if (this.#isBent || lstatSync(this.#folder, { throwIfNoEntry: false }) === undefined) return;
    renameSync(this.#folder, `${this.#folder}.moved`);
    symlinkSync(this.#target, this.#folder);
    this.#isBent = true;
  }

  straighten(): void {
    if (!this.#isBent) return;
    unlinkSync(this.#folder);
    renameSync(`${this.#folder}.moved`, this.#folder);
    this.#isBent = false;
  }
}
