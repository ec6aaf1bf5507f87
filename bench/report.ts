/** One run's results in three forms: JSON for machines, tables for people, and (html.ts) a page with charts. */
import Table from 'cli-table3';
import { short as shortNumber } from '../src/experiment/results/text.ts';
import type { Result, TableCell } from './bench.ts';
import { type Conditions, describeConditions } from './conditions.ts';
import { type Figure, figure, GOALS } from './figures.ts';
import type { Machine } from './machine.ts';

export interface Report {
  readonly machine: Machine;
  readonly conditions?: Conditions;
  readonly quick: boolean;
  readonly seed: number;
  readonly figures: readonly Figure[];
  readonly runs: readonly Result[];
}

export interface ReportOptions {
  readonly quick: boolean;
  readonly seed: number;
  readonly everything: boolean;
  readonly conditions?: Conditions;
}

/** With `everything`, rows that no bench measured are in the figures too, as null. */
export function makeReport(
  machine: Machine,
  runs: readonly Result[],
  { quick, seed, everything, conditions }: ReportOptions,
): Report {
  const measured = runs.flatMap(({ figures }) => figures);
  const figures = everything
    ? [...GOALS.keys()].map((id) => measured.find((each) => each.id === id) ?? figure(id, null))
    : measured;
  return { machine, ...(conditions && { conditions }), quick, seed, figures, runs };
}

/** What a bench that broke leaves in the report: a section that is missing would not be missed. */
export function failedRun(bench: string, message: string): Result {
  const summary = `Failed: ${message}`;
  return { bench, summary, payloads: [], tables: [], charts: [], figures: [], skipped: [], raw: null };
}

export function asJson(report: Report): string {
  return `${JSON.stringify(report, null, 1)}\n`;
}

export function asText({ machine, conditions, figures, runs, quick, seed }: Report): string {
  const lines = [
    `${machine.command} · ${machine.date}`,
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB · ${machine.system}`,
    `Node ${machine.node}, zstd ${machine.zstd}, zlib ${machine.zlib} · seed ${seed}${quick ? ' · quick' : ''}`,
  ];
  if (conditions) lines.push(describeConditions(conditions));
  for (const run of runs) {
    lines.push('', `# ${run.bench}`, run.summary);
    for (const { name, description, count, seed, sha256 } of run.payloads) {
      lines.push(`payloads ${name}: ${description}, ${count} distinct, seed ${seed}, sha256 ${sha256}…`);
    }
    for (const { title, columns, rows, note } of run.tables) {
      lines.push('', title, asTable(columns, rows));
      if (note) lines.push(note);
    }
    for (const skipped of run.skipped) lines.push(`left out: ${skipped}`);
  }
  if (figures.length > 0) {
    const rows = figures.map(({ id, what, value, spread, goal, unit, ok }) => [
      id,
      value === null ? 'not measured' : `${short(value)} ${unit}`,
      spread ? `${short(spread[0])} … ${short(spread[1])}` : '',
      goal,
      verdict(ok),
      what,
    ]);
    lines.push('', '# figures', asTable(['id', 'value', 'rounds', 'goal', '', 'what'], rows));
  }
  return `${lines.join('\n')}\n`;
}

export function verdict(ok: boolean | null): string {
  return ok === null ? '–' : ok ? 'met' : 'missed';
}

export function short(value: TableCell): string {
  if (value === null) return '–';
  return typeof value === 'string' ? value : shortNumber(value);
}

export function asTable(columns: readonly string[], rows: readonly (readonly TableCell[])[]): string {
  const numeric = columns.map((_, i) => rows.every((row) => typeof row[i] !== 'string'));
  const table = new Table({
    head: [...columns],
    colAligns: numeric.map((isNumeric) => (isNumeric ? 'right' : 'left')),
    style: { head: [], border: [], compact: true },
  });
  for (const row of rows) table.push(row.map(short));
  return table.toString();
}
