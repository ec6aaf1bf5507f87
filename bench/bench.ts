/** What a bench is, what it is given and what it hands back. */
import type { Figure } from './figures.ts';
import type { PayloadNote } from './payloads.ts';

export interface BenchContext {
  /** Shorter windows and fewer rounds: shows that it works, and roughly where the figures are. */
  readonly quick: boolean;
  readonly seed: number;
  /** The user's own payloads, next to the generated ones. */
  readonly corpus?: string;
  /** Says what is being done now; `done` and `total` count the steps of this bench. */
  progress(done: number, total: number, what: string): void;
}

export type TableCell = string | number | null;

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly TableCell[])[];
  readonly note?: string;
}

export interface Chart {
  readonly title: string;
  readonly kind: 'bar' | 'line';
  /** Names of the fields of `points`, as they are written on the axes. */
  readonly x: string;
  readonly y: string;
  readonly series?: string;
  readonly points: readonly Readonly<Record<string, string | number>>[];
  readonly logarithmic?: boolean;
}

export interface Result {
  readonly bench: string;
  readonly summary: string;
  readonly payloads: readonly PayloadNote[];
  readonly tables: readonly Table[];
  readonly charts: readonly Chart[];
  readonly figures: readonly Figure[];
  /** What was left out, and why. */
  readonly skipped: readonly string[];
  /** Every single measurement, for machines. */
  readonly raw: unknown;
}

export interface Bench {
  readonly name: string;
  readonly describe: string;
  run(context: BenchContext): Promise<Result>;
}
