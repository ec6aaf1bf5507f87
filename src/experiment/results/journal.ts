/**
 * The journal of an experiment: what has been found out so far, one JSON line after the other, so that an end at any
 * moment loses the cell in hand and no more. The first line is the setup; results only go on under the same.
 */

import { appendFileSync, closeSync, existsSync, fstatSync, fsyncSync, openSync, truncateSync } from 'node:fs';
import { cannotWrite } from '../../files/write-whole.ts';
import { checkRegularFile, readRegularFile } from '../../options/regular-file.ts';
import { CELL_RESULT, type CellResult, SETUP, type Setup } from './results.ts';

export class Journal {
  readonly #path: string;
  readonly #file: number;
  /** What was there before, by the cells' keys. */
  readonly known: ReadonlyMap<string, CellResult>;

  /**
   * Opens the journal at `path`, a new one or, with `resume`, the one that is there.
   * @throws Error when there is one with results and `resume` is false, or when it is of another setup.
   */
  constructor(path: string, setup: Setup, resume: boolean) {
    checkJournal(path, resume);
    this.#path = path;
    const isThere = existsSync(path);
    this.known = isThere && resume ? readJournal(path, setup) : new Map();
    this.#file = openSync(path, resume ? 'a' : 'w');
    if (fstatSync(this.#file).size === 0) this.#write(JSON.stringify(setup));
  }

  add(result: CellResult): void {
    this.#write(JSON.stringify(result));
  }

  close(): void {
    closeSync(this.#file);
  }

  #write(line: string): void {
    try {
      appendFileSync(this.#file, `${line}\n`);
      fsyncSync(this.#file);
    } catch (error) {
      throw cannotWrite(this.#path, error);
    }
  }
}

/** Before anything is done for its results. @throws Error when there is one with results that is not gone on with. */
export function checkJournal(path: string, resume: boolean): void {
  checkRegularFile(path);
  if (existsSync(path) && !resume && hasResults(path)) {
    throw new Error(`${path} is there already: go on with --resume, or take another --out`);
  }
}

/** Whether there is anything to lose: the setup and failed cells are not. */
function hasResults(path: string): boolean {
  return readRegularFile(path).toString().includes('"measures":');
}

/** Failed cells are left out: they are tried again. A last line that was cut off is removed from the file. */
function readJournal(path: string, setup: Setup): Map<string, CellResult> {
  const content = readRegularFile(path).toString();
  const whole = content.lastIndexOf('\n') + 1;
  if (whole < content.length) truncateSync(path, Buffer.byteLength(content.slice(0, whole)));
  if (whole === 0) return new Map();
  const [first, ...lines] = content.slice(0, whole - 1).split('\n');
  const differs = difference(SETUP.parse(JSON.parse(first)), setup);
  if (differs !== undefined) throw new Error(`${path} is of another experiment: it differs in ${differs}`);
  const known = new Map<string, CellResult>();
  for (const line of lines) {
    const result = CELL_RESULT.parse(JSON.parse(line));
    if (result.measures !== undefined) known.set(result.key, result);
  }
  return known;
}

function difference(a: Setup, b: Setup): string | undefined {
  for (const name of Object.keys(SETUP.shape) as (keyof Setup)[]) {
    if (JSON.stringify(a[name]) !== JSON.stringify(b[name])) return name;
  }
  return undefined;
}
