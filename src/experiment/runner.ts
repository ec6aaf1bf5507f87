/** What measures the cells of an experiment, and what is told of how far it is. */

import type { Cell } from './grid/cell.ts';
import type { CellResult } from './results/results.ts';

/** How far an experiment is. */
export interface Progress {
  /** Settings that have a result, of all. */
  readonly done: number;
  readonly total: number;
  /** An estimate; undefined at first. */
  readonly leftSeconds: number | undefined;
  /** The setting that was measured last. */
  readonly cell: Cell | undefined;
  /** How often it has been. */
  readonly round: number;
}

export interface ExperimentEvents {
  onProgress(progress: Progress): void;
  onFailed(cell: Cell, message: string): void;
  onNote(text: string): void;
  /** A recommended setting is being run in a server of its own. */
  onChecking(cell: Cell): void;
}

/**
 * Takes cells and gives their results in any order, and better ones of those that are `known` or given already; what
 * spreads over machines is another one of these.
 */
export type CellRunner = (
  cells: readonly Cell[],
  known: ReadonlyMap<string, CellResult>,
  onResult: (result: CellResult) => void,
  signal: AbortSignal | undefined,
) => Promise<void>;
