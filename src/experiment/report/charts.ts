/** Which charts a report has, and what is in them. */

import { type Cell, cellKey, cellName, dictionarySizes } from '../grid/cell.ts';
import type { DoneCell, Results } from '../results/results.ts';
import { inBits, inBytes, inTime, percent, plural, short } from '../results/text.ts';
import type { Chart, ChartPoint, ChartSeries } from './plot.ts';
import { COLOURS } from './svg.ts';

const ratioOf = ({ measures }: DoneCell) => measures.ratio;
const RATIO = { label: 'ratio (response bytes per wire byte)', format: short };

export function paretoCharts({ recommendations }: Results, done: readonly DoneCell[]): Chart[] {
  const ringed = new Set(recommendations.map(({ key }) => key));
  const point = (cell: DoneCell, x: number, y = cell.measures.ratio): ChartPoint => ({
    x,
    y,
    tip: tipOf(cell),
    ringed: ringed.has(cell.key),
  });
  return [
    pareto(done, point),
    memory(done, point),
    streams(done, point),
    windows(done, point),
    dictionaries(done, point),
    links(done, recommendations),
  ];
}

type MakePoint = (cell: DoneCell, x: number, y?: number) => ChartPoint;

function tipOf({ cell, measures }: DoneCell): string {
  const { ratio, compress, mainMicrosPerResponse, decompress, contextBytes, contexts, single, http } =
    measures;
  const encoders = cell.contexts === 'none' ? 'for each lane' : 'per connection';
  return [
    cellName(cell),
    `ratio ${ratio.toFixed(3)}${http === null ? '' : `, by HTTP ${http.ratio.toFixed(2)}`}`,
    `compress ${short(compress.microsPerMB)} µs/MB, ${short(compress.microsPerResponse)} µs/response`,
    `main thread ${short(mainMicrosPerResponse)} µs/response`,
    `decompress ${short(decompress.microsPerMB)} µs/MB`,
    `${contexts || 1} × ${inBytes(contextBytes)} ${encoders}`,
    `${percent(single.morePercent)} more bytes than one context`,
  ].join('\n');
}

const cpuOf = ({ measures }: DoneCell) => measures.compress.microsPerMB;

/** All settings, and the front: those that nothing beats in both. */
function pareto(done: readonly DoneCell[], point: MakePoint): Chart {
  // What is not encoded takes next to nothing of the lanes, and would press all others into a corner.
  const some = done.filter(({ cell }) => cell.profile !== 'identity');
  const front = [...some]
    .sort((a, b) => cpuOf(a) - cpuOf(b) || ratioOf(b) - ratioOf(a))
    .filter((cell, i, sorted) => sorted.slice(0, i).every((cheaper) => ratioOf(cheaper) < ratioOf(cell)));
  return {
    title: 'Ratio against CPU (ringed: recommended)',
    x: { label: 'CPU to compress, µs per MB of responses', logarithmic: true, format: short },
    y: RATIO,
    series: [
      ...byFamily(some, (cell) => point(cell, cpuOf(cell))),
      {
        name: 'Pareto front',
        points: front.map((cell) => ({ x: cpuOf(cell), y: ratioOf(cell), tip: '' })),
        guide: true,
      },
    ],
  };
}

function memory(done: readonly DoneCell[], point: MakePoint): Chart {
  const some = done.filter(({ measures }) => measures.connectionBytes > 0);
  return {
    title: 'Ratio against memory (ringed: recommended)',
    x: { label: 'contexts of one connection', logarithmic: true, format: inBytes, ticks: roundSizes(some) },
    y: RATIO,
    series: [
      ...byFamily(some, (cell) => point(cell, cell.measures.connectionBytes)),
      ...withoutMemory(done, some),
    ],
  };
}

/** What can be had for no memory per connection: that has no place on such an axis. */
function withoutMemory(done: readonly DoneCell[], some: readonly DoneCell[]): ChartSeries[] {
  const ratios = done.filter(({ cell }) => cell.contexts === 'none').map(ratioOf);
  if (ratios.length === 0 || some.length === 0) return [];
  const sizes = some.map(({ measures }) => measures.connectionBytes);
  const y = Math.max(...ratios);
  const points = [Math.min(...sizes), Math.max(...sizes)].map((x) => ({ x, y, tip: '' }));
  return [{ name: 'no contexts, at best', points, guide: true }];
}

/** Powers of 4; where not two of them are there, powers of 2 and what is halfway between. */
function roundSizes(cells: readonly DoneCell[]): number[] {
  const sizes = cells.map(({ measures }) => measures.connectionBytes);
  const least = Math.min(...sizes) * 0.9;
  const most = Math.max(...sizes) * 1.1;
  const between = (all: number[]) => all.filter((size) => size >= least && size <= most);
  const powers = between(Array.from({ length: 16 }, (_, i) => 4 ** (i + 5)));
  return powers.length > 1
    ? powers
    : between(Array.from({ length: 64 }, (_, i) => (2 + (i % 2)) * 2 ** (9 + (i >> 1))));
}

/** Those with dictionaries and without contexts apart. The families always have the same order, and so their colours. */
function byFamily(cells: readonly DoneCell[], point: (cell: DoneCell) => ChartPoint): ChartSeries[] {
  const names = [...new Set(cells.map(({ cell }) => familyOf(cell)))];
  return names.sort(byRank).map((name) => ({
    name,
    points: cells.filter(({ cell }) => familyOf(cell) === name).map(point),
  }));
}

function familyOf({ profile, dictionary, contexts }: Cell): string {
  const parts = [profile];
  if (dictionary !== undefined) parts.push('dictionary');
  if (contexts !== undefined) parts.push('no contexts');
  return parts.join(', ');
}

const RANKS = [
  'zstd-8mb',
  'zlib',
  'brotli',
  'deflate',
  'zstd-8mb, dictionary',
  'zstd-8mb, no contexts',
  'zstd-8mb, dictionary, no contexts',
];

function byRank(a: string, b: string): number {
  const rank = (name: string) => (RANKS.includes(name) ? RANKS.indexOf(name) : RANKS.length);
  return rank(a) - rank(b) || (a < b ? -1 : 1);
}

function streams(done: readonly DoneCell[], point: MakePoint): Chart {
  const several = done.filter(({ cell }) => cell.policy === 'shared' || cell.policy === 'affinity');
  // One stream is where the lines of all policies begin.
  const policies = [...new Set(several.map(({ cell }) => cell.policy))];
  const one = done
    .filter(({ cell }) => cell.policy === 'single')
    .flatMap((each) => policies.map((policy) => ({ ...each, cell: { ...each.cell, policy } })));
  const some = [...one, ...several];
  const counts = [...new Set(some.map(({ cell }) => cell.streams))].sort((a, b) => a - b);
  return {
    title: 'Ratio against the number of streams',
    x: { label: 'response streams per connection', format: String, ticks: counts },
    y: RATIO,
    ...varying(some, 'streams', (cell) => point(cell, cell.cell.streams)),
  };
}

function windows(done: readonly DoneCell[], point: MakePoint): Chart {
  const some = done.filter(({ cell }) => cell.windowLog !== undefined);
  const logs = [...new Set(some.map(({ cell }) => cell.windowLog as number))].sort((a, b) => a - b);
  return {
    title: 'Ratio against the window',
    x: { label: 'window', format: (log) => inBytes(2 ** log), ticks: logs },
    y: RATIO,
    ...varying(some, 'windowLog', (cell) => point(cell, cell.cell.windowLog as number)),
  };
}

/** Sizes side by side, none before them: it has no place on an axis of bytes, and the larger ones would be on top of each other. */
function dictionaries(done: readonly DoneCell[], point: MakePoint): Chart {
  const sizes = [0, ...dictionarySizes(done.map(({ cell }) => cell))];
  // Where there are none there is nothing to draw.
  const some = sizes.length === 1 ? [] : done.filter(({ cell }) => cell.profile === 'zstd-8mb');
  const format = (place: number) => (place === 0 ? 'none' : inBytes(sizes[place]));
  return {
    title: 'Ratio against the dictionary',
    x: { label: 'dictionary', format, ticks: sizes.map((_, place) => place) },
    y: RATIO,
    ...varying(some, 'dictionary', (cell) => point(cell, sizes.indexOf(cell.cell.dictionary ?? 0))),
  };
}

type Dimension = 'streams' | 'windowLog' | 'dictionary';

/**
 * Cells that differ in one dimension alone, as lines; those with what is recommended first, then the longest, and those of two
 * only where none is longer.
 */
function varying(
  cells: readonly DoneCell[],
  dimension: Dimension,
  point: (cell: DoneCell) => ChartPoint,
): Pick<Chart, 'series' | 'note'> {
  const groups = new Map<string, DoneCell[]>();
  for (const each of cells) {
    const rest = cellKey({ ...each.cell, [dimension]: 0 });
    groups.set(rest, [...(groups.get(rest) ?? []), each]);
  }
  const longest = Math.max(...[...groups.values()].map((group) => group.length));
  const lines = [...groups.values()]
    .filter((group) => group.length >= Math.min(3, Math.max(2, longest)))
    .map((group) => ({
      name: nameWithout(group[0].cell, dimension),
      line: true,
      points: group.map(point).sort((a, b) => a.x - b.x),
    }))
    .sort((a, b) => ringsOf(b) - ringsOf(a) || b.points.length - a.points.length);
  const series = lines.slice(0, COLOURS);
  const left = lines.length - series.length;
  return { series, ...(left > 0 && { note: `and ${plural(left, 'line')} more, see the table` }) };
}

function ringsOf({ points }: ChartSeries): number {
  return points.filter(({ ringed }) => ringed).length;
}

function nameWithout(cell: Cell, dimension: Dimension): string {
  if (dimension !== 'streams') return cellName({ ...cell, [dimension]: undefined });
  return cellName(cell).replace(/(shared|affinity) \d+/, '$1');
}

function links(done: readonly DoneCell[], recommendations: Results['recommendations']): Chart {
  const keys = new Set(recommendations.map(({ key }) => key));
  const plain = done.find(({ cell }) => cell.profile === 'identity');
  const shown = done.filter((cell) => keys.has(cell.key) || cell === plain);
  const speeds = [
    ...new Set(shown.flatMap(({ measures }) => measures.links.map((link) => link.bitsPerSecond))),
  ].sort((a, b) => a - b);
  return {
    title: 'Simulated response time behind a link',
    x: { label: 'speed of the link', logarithmic: true, format: inBits, ticks: speeds },
    y: { label: 'response, p50', logarithmic: true, format: inTime },
    series: shown.map(({ cell, measures }) => ({
      name: cellName(cell),
      line: true,
      points: measures.links.map(({ bitsPerSecond, responseMs, responsesPerSecond }) => ({
        x: bitsPerSecond,
        y: responseMs.p50,
        tip: `${cellName(cell)}\n${inBits(bitsPerSecond)}: p50 ${inTime(responseMs.p50)}, p99 ${inTime(responseMs.p99)}\n${short(responsesPerSecond)} responses/s`,
      })),
    })),
  };
}
