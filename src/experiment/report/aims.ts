/** An aim's setting in a few figures, beside HTTP's, for pages and for terminals. */

import { cellName } from '../grid/cell.ts';
import { type Aim, type DoneCell, doneCells, memoryAt, type Results } from '../results/results.ts';
import { inBytes, plural, short } from '../results/text.ts';
import { httpCost, type MonthlyCost, monthlyCost, todaysCell } from './cost.ts';
import { htmlTable } from './html.ts';

const TITLES: Readonly<Record<Aim, string>> = {
  balanced: 'Balanced',
  bytes: 'Fewest bytes',
  cpu: 'Least CPU',
  memory: 'Least memory',
  connections: 'Fewest bytes at many connections',
  cost: 'Least money',
};

export function aimTitle(aim: Aim, { budget, prices }: Results): string {
  if (aim === 'connections' && budget !== undefined) {
    return `Fewest bytes at ${plural(budget.connections, 'connection')} within ${inBytes(budget.memoryBytes)} of contexts`;
  }
  if (aim === 'cost' && prices !== undefined) {
    return `Least money at ${short(prices.responsesPerSecond)} responses/s on ${plural(prices.connections, 'connection')}`;
  }
  return TITLES[aim];
}

/** What there is to say where no setting keeps within the budget. */
export function unmetBudget(results: Results): string | undefined {
  const { budget, recommendations, cells } = results;
  if (budget === undefined || recommendations.some(({ aim }) => aim === 'connections')) return undefined;
  const least = Math.min(...doneCells(cells).map(({ measures }) => memoryAt(measures, budget.connections)));
  if (!Number.isFinite(least)) return undefined;
  return `${aimTitle('connections', results)}: no setting that was tried keeps within it; the smallest takes ${inBytes(least / budget.connections)} for each connection.`;
}

interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** As HTML, a row for each figure: two or three settings side by side fit a narrow screen, six figures do not. */
export function aimTable(key: string, aim: Aim, results: Results): string {
  const { columns, rows } = tableOf(key, aim, results);
  const [corner, ...figures] = columns;
  const turned = figures.map((name, i) => [name, ...rows.map((row) => row[i + 1])]);
  return htmlTable([corner, ...rows.map(([name]) => name)], turned);
}

/** As lines of text, columns below each other. */
export function aimLines(key: string, aim: Aim, results: Results): string[] {
  const { columns, rows } = tableOf(key, aim, results);
  const all = [columns, ...rows];
  const widths = columns.map((_, i) => Math.max(...all.map((row) => row[i].length)));
  const padded = (cell: string, i: number) =>
    i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i] + 2);
  return all.map((row) => row.map(padded).join('').trimEnd());
}

function tableOf(key: string, aim: Aim, results: Results): Table {
  const cell = doneCells(results.cells).find((each) => each.key === key);
  if (cell === undefined) return { columns: ['setting'], rows: [] };
  return aim === 'cost' ? moneyTable(cell, results) : figuresTable(cell, results);
}

function figuresTable({ cell, measures }: DoneCell, { setup }: Results): Table {
  const { ratio, wireBytes, compress, mainMicrosPerResponse, connectionBytes, http } = measures;
  const { bytes, responses } = setup;
  const rows = [
    [
      cellName(cell),
      ratio.toFixed(2),
      short(wireBytes / responses),
      short(compress.microsPerResponse),
      short(mainMicrosPerResponse),
      inBytes(connectionBytes),
    ],
  ];
  if (http !== null) {
    const each = bytes / responses;
    const micros = (http.compressMicrosPerMB * each) / 1e6;
    rows.push([
      'HTTP, the same encoding',
      http.ratio.toFixed(2),
      short(each / http.ratio),
      short(micros),
      '–',
      '–',
    ]);
  }
  return {
    columns: ['setting', 'ratio', 'bytes/response', 'lanes, µs', 'main thread, µs', 'memory/connection'],
    rows,
  };
}

function moneyTable(cell: DoneCell, results: Results): Table {
  const { prices, setup } = results;
  const columns = ['money a month', 'all', 'bytes', 'CPU', 'memory'];
  if (prices === undefined) return { columns, rows: [] };
  const row = (name: string, cost: MonthlyCost | undefined) =>
    cost === undefined ? [] : [[name, ...[cost.total, cost.traffic, cost.cpu, cost.memory].map(money)]];
  const today = todaysCell(results.cells);
  return {
    columns,
    rows: [
      ...row(cellName(cell.cell), monthlyCost(cell, setup.responses, prices)),
      ...(today === undefined || today.key === cell.key
        ? []
        : row(`as by default: ${cellName(today.cell)}`, monthlyCost(today, setup.responses, prices))),
      ...row('HTTP', httpCost(today ?? cell, setup, prices)),
    ],
  };
}

function money(amount: number): string {
  return amount < 100 ? amount.toFixed(2) : short(amount);
}
