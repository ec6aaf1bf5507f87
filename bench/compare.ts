/** Figures of two states of the code, or of two machines or days, side by side. */

import { median } from '../src/experiment/results/statistics.ts';
import type { Figure } from './figures.ts';
import { asTable, type Report, short } from './report.ts';

/** What one side measured of one figure, in one run or more. */
export interface Measured {
  /** Of the runs' values. */
  readonly value: number;
  /** From the least to the most of all runs and their rounds; missing where all there is is one measurement. */
  readonly spread?: readonly [number, number];
}

export type Verdict = 'better' | 'worse' | 'within the rounds' | 'one measurement' | 'not compared';

export interface Comparison {
  readonly id: string;
  readonly unit: string;
  readonly goal: string;
  readonly a?: Measured;
  readonly b?: Measured;
  /** B over A. */
  readonly ratio?: number;
  readonly verdict: Verdict;
}

/** Each side's reports are of the same thing, measured once or several times. */
export function compare(a: readonly Report[], b: readonly Report[]): Comparison[] {
  const figures = [...a, ...b].flatMap((report) => report.figures);
  const ids = [...new Set(figures.filter(({ value }) => value !== null).map(({ id }) => id))];
  return ids.map((id) => {
    const [ours, theirs] = [a, b].map((reports) => figuresOf(reports, id));
    const { unit, goal } = [...ours!, ...theirs!].at(0)!;
    return { id, unit, goal, ...sideBySide(measured(ours!), measured(theirs!), goal.startsWith('≥')) };
  });
}

function figuresOf(reports: readonly Report[], id: string): Figure[] {
  return reports.flatMap(({ figures }) => figures.filter((each) => each.id === id && each.value !== null));
}

function measured(figures: readonly Figure[]): Measured | undefined {
  if (figures.length === 0) return undefined;
  const values = figures.map(({ value }) => value as number);
  const all = [...values, ...figures.flatMap(({ spread = [] }) => spread)];
  const value = median(values);
  return all.length === 1 ? { value } : { value, spread: [Math.min(...all), Math.max(...all)] };
}

function sideBySide(a: Measured | undefined, b: Measured | undefined, more: boolean) {
  if (a === undefined || b === undefined) {
    return { ...(a && { a }), ...(b && { b }), verdict: 'not compared' as const };
  }
  return { a, b, ratio: b.value / a.value, verdict: verdict(a, b, more) };
}

/** A difference counts where no round of one side was as any round of the other. @param more is better. */
function verdict({ spread: a }: Measured, { spread: b }: Measured, more: boolean): Verdict {
  if (a === undefined || b === undefined) return 'one measurement';
  if (b[0] <= a[1] && a[0] <= b[1]) return 'within the rounds';
  return b[0] > a[1] === more ? 'better' : 'worse';
}

export function comparisonTable(comparisons: readonly Comparison[], a: string, b: string): string {
  const rows = comparisons.map(({ id, unit, goal, a: ours, b: theirs, ratio, verdict: says }) => [
    `${id}${unit && `, ${unit}`}`,
    ...[ours, theirs].flatMap((side) => [middleOf(side), spreadOf(side)]),
    ratio === undefined ? '–' : short(ratio),
    goal,
    says,
  ]);
  const columns = ['figure', `A: ${a}`, 'rounds', `B: ${b}`, 'rounds', 'B ÷ A', 'goal', 'B is'];
  return `${asTable(columns, rows)}\n`;
}

const middleOf = (side?: Measured) => short(side?.value ?? null);
const spreadOf = (side?: Measured) => (side?.spread ? side.spread.map(short).join(' … ') : '');

/** @throws RangeError for a text that is not of `--json`. */
export function parseReport(text: string): Report {
  const report = parse(text) as Partial<Report> | null;
  const figures: unknown = report?.figures;
  if (!Array.isArray(figures) || !figures.every(isFigure)) throw new RangeError('not what --json writes');
  return report as Report;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function isFigure(each: Partial<Figure> | null): boolean {
  const { id, value, spread, goal, unit } = each ?? {};
  return (
    [id, goal, unit].every((text) => typeof text === 'string') &&
    (value === null || typeof value === 'number') &&
    (spread === undefined || (Array.isArray(spread) && spread.length === 2))
  );
}
