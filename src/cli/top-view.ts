/** What a server does just now, as lines for a terminal of any width. */

import { styleText } from 'node:util';
import type { TopCommand, TopError, TopFigures, TopLane } from '../ops/top-figures.ts';
import { bytes, oneLine, plural } from './show.ts';

export interface Look {
  readonly columns: number;
  /** Lines at most. */
  readonly rows: number;
  readonly isColored: boolean;
  /** What the first line ends with. */
  readonly hint?: string;
}

type Style = Parameters<typeof styleText>[0];
type Paint = (style: Style, text: string) => string;

/** A column: its head, what a row has there, and how wide it is; negative: to the left. */
interface Column<Row> {
  readonly head: string;
  readonly width: number;
  readonly text: (row: Row) => string;
}

const GAP = 2;
/** Lines of the head, and of each table that has a row: its head, and an empty line before it. */
const TABLE_HEAD = 2;
/** Rows that each table has, where there is no room for all. */
const LEAST_ROWS = 3;

/** At most `rows` lines. `problem`: why the figures are old. */
export function topLines(figures: TopFigures, name: string, look: Look, problem?: string): string[] {
  const paint: Paint = look.isColored
    ? (style, text) => styleText(style, text, { validateStream: false })
    : (_, text) => text;
  const head = headLines(figures, name, look.hint, problem).map((line) => cut(line, look.columns));
  const tables = [
    new Table(LANES, figures.lanes),
    new Table(
      COMMANDS,
      figures.commands.filter(({ perSecond, running }) => perSecond > 0 || running > 0),
    ),
    new Table(ERRORS, figures.errors),
  ].filter(({ length }) => length > 0);
  const rows = shareRows(
    tables.map(({ length }) => length),
    look.rows - head.length - tables.length * TABLE_HEAD,
  );
  const [first, ...others] = head;
  return [
    paint(problem === undefined && figures.state === 'serving' ? 'bold' : ['bold', 'red'], first),
    ...others,
    ...tables.flatMap((table, index) => table.lines(rows[index], look.columns, paint)),
  ].slice(0, look.rows);
}

function headLines(figures: TopFigures, name: string, hint = '', problem?: string): string[] {
  const { contexts, output, topics, cacheHits, processes } = figures;
  const many = processes > 1 ? `, ${processes} processes` : '';
  const lines = [
    parts(
      `millrace ${oneLine(name)}: ${problem === undefined ? figures.state + many : oneLine(problem)}`,
      hint,
    ),
    parts(
      `${number(figures.requestsPerSecond)} requests/s`,
      `${number(figures.running)} running`,
      `${plural(figures.connections, 'connection')} (+${number(figures.connectionsPerSecond)}/s)`,
    ),
    parts(
      `in ${bytes(figures.receivedPerSecond)}/s`,
      `out ${bytes(figures.sentPerSecond)}/s`,
      `ratio ${ratio(figures.ratio)}`,
      cacheHits === undefined ? '' : `cache ${percent(cacheHits)}`,
      `loop delay ${ms(figures.loopDelayMs)}`,
    ),
    parts(
      `contexts ${bytes(contexts.bytes)} of ${bytes(contexts.limit)}`,
      `output ${bytes(output.bytes)} of ${bytes(output.limit)}`,
    ),
  ];
  if (topics.topics === 0) return lines;
  const { subscribers, behind } = topics;
  return [
    ...lines,
    parts(plural(topics.topics, 'topic'), plural(subscribers, 'subscriber'), `${behind} behind`),
  ];
}

const LANES: readonly Column<TopLane>[] = [
  { head: 'WORKER', width: -10, text: ({ process, lane }) => `${process}/${lane}` },
  { head: 'CPU', width: -26, text: ({ cpu }) => `${bar(cpu, 18)} ${percent(cpu).padStart(5)}` },
  { head: 'QUEUE', width: 10, text: ({ queuedBytes }) => bytes(queuedBytes) },
  { head: 'STREAMS', width: 9, text: ({ streams }) => number(streams) },
  { head: 'MEMORY', width: 9, text: ({ memoryBytes }) => bytes(memoryBytes) },
];

const COMMANDS: readonly Column<TopCommand>[] = [
  { head: 'COMMAND', width: -20, text: ({ command }) => command },
  { head: 'CALLS/S', width: 8, text: ({ perSecond }) => number(perSecond) },
  { head: 'RUNNING', width: 8, text: ({ running }) => number(running) },
  { head: 'MEAN', width: 8, text: ({ meanMs }) => ms(meanMs) },
  { head: 'P99', width: 8, text: ({ p99Ms }) => ms(p99Ms) },
  { head: 'OUT/S', width: 10, text: ({ bytesPerSecond }) => bytes(bytesPerSecond) },
  { head: 'RATIO', width: 6, text: (row) => ratio(row.ratio) },
];

const ERRORS: readonly Column<TopError>[] = [
  { head: 'ERROR', width: -24, text: ({ code }) => code },
  { head: 'COMMAND', width: -26, text: ({ command }) => command },
  { head: 'CALLS/S', width: 12, text: ({ perSecond }) => number(perSecond) },
  { head: 'IN ALL', width: 12, text: ({ total }) => number(total) },
];

class Table<Row> {
  readonly #columns: readonly Column<Row>[];
  readonly #rows: readonly Row[];

  constructor(columns: readonly Column<Row>[], rows: readonly Row[]) {
    this.#columns = columns;
    this.#rows = rows;
  }

  get length(): number {
    return this.#rows.length;
  }

  /** The first `most` rows; the last one says how many there are besides. */
  lines(most: number, columns: number, paint: Paint): string[] {
    const shown = this.#rows.length <= most ? this.#rows : this.#rows.slice(0, Math.max(0, most - 1));
    const more = this.#rows.length - shown.length;
    return [
      '',
      paint(
        'dim',
        cut(
          this.#line(({ head }) => head),
          columns,
        ),
      ),
      ...shown.map((row) =>
        cut(
          this.#line(({ text }) => text(row)),
          columns,
        ),
      ),
      ...(more > 0 ? [cut(`… and ${more} more`, columns)] : []),
    ];
  }

  #line(text: (column: Column<Row>) => string): string {
    return this.#columns
      .map((column) => {
        const width = Math.abs(column.width);
        const fitting = cut(oneLine(text(column)), width);
        return column.width < 0 ? fitting.padEnd(width) : fitting.padStart(width);
      })
      .join(' '.repeat(GAP))
      .trimEnd();
  }
}

/** So many rows to each table that all fit into `room`: what a small one leaves goes to the others. */
function shareRows(lengths: readonly number[], room: number): number[] {
  const rows = lengths.map((length) => Math.min(length, LEAST_ROWS));
  let left = room - rows.reduce((sum, count) => sum + count, 0);
  while (left > 0 && rows.some((count, index) => count < lengths[index])) {
    for (const [index, length] of lengths.entries()) {
      if (left <= 0 || rows[index] >= length) continue;
      rows[index]++;
      left--;
    }
  }
  return rows;
}

function bar(share: number, width: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width);
  return '█'.repeat(filled) + '░'.repeat(width - filled);
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}

const parts = (...all: string[]) => all.filter(Boolean).join(' · ');
const percent = (share: number) => `${Math.round(share * 100)} %`;
const ratio = (value: number | undefined) => (value === undefined ? '–' : value.toFixed(2));

function ms(value: number | undefined): string {
  if (value === undefined) return '–';
  return value < 1000
    ? `${value.toPrecision(value < 1 ? 1 : 2).replace(/e.*/, '')} ms`
    : `${(value / 1000).toFixed(1)} s`;
}

/** Few digits for what is little, none after the point for what is much. */
function number(value: number): string {
  if (Number.isInteger(value) || value >= 100) return String(Math.round(value));
  return value.toFixed(value < 10 ? 1 : 0);
}
