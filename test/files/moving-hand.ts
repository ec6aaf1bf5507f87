import { lstatSync, renameSync, rmSync, symlinkSync, unlinkSync } from 'node:fs';

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
    renameSync(this.#folder, this.#aside);
    this.#isBent = this.#unlessMadeAnew(() => symlinkSync(this.#target, this.#folder));
  }

  straighten(): void {
    if (!this.#isBent) return;
    unlinkSync(this.#folder);
    this.#unlessMadeAnew(() => renameSync(this.#aside, this.#folder));
    this.#isBent = false;
  }

  get #aside(): string {
    return `${this.#folder}.moved`;
  }

  /** Who pulls into the place may have made the folder anew meanwhile: then that one stays, and the old one goes. */
  #unlessMadeAnew(put: () => void): boolean {
    try {
      put();
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EEXIST' && code !== 'ENOTEMPTY') throw error;
      rmSync(this.#aside, { recursive: true });
      return false;
    }
  }
}
