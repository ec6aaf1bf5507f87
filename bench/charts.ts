/** The charts of a report as SVG: lines as the experiment's report draws them, and bars on the same axes. */

import { escapeHtml } from '../src/experiment/report/html.ts';
import { drawChart as drawPlot } from '../src/experiment/report/plot.ts';
import {
  type Area,
  BELOW,
  bottomAxis,
  colourOf,
  figure,
  fixed,
  LETTER,
  type Scale,
  scaleOf,
  WIDTH,
} from '../src/experiment/report/svg.ts';
import { short } from '../src/experiment/results/text.ts';
import type { Chart } from './bench.ts';

/** Height of a bar with the room around it. */
const ROW = 24;
const BAR = 16;
/** Room behind the longest bar for its value. */
const VALUE = 48;

export function drawChart(chart: Chart): string {
  return chart.kind === 'bar' ? drawBars(chart) : drawLines(chart);
}

function drawLines({ title, x, y, series, points, logarithmic = false }: Chart): string {
  const nameOf = (point: Chart['points'][number]) => (series === undefined ? y : String(point[series]));
  const names = [...new Set(points.map(nameOf))];
  const places = [...new Set(points.map((point) => Number(point[x])))].sort((a, b) => a - b);
  return drawPlot({
    title,
    x: { label: x, format: short, ticks: places },
    y: { label: y, format: short, logarithmic, fromZero: true },
    series: names.map((name) => ({
      name,
      line: true,
      points: points
        .filter((point) => nameOf(point) === name)
        .map((point) => ({
          ...at(point, x, y),
          tip: `${name}, ${x} ${point[x]}: ${short(Number(point[y]))}`,
        })),
    })),
  });
}

function at(point: Chart['points'][number], x: string, y: string): { x: number; y: number } {
  return { x: Number(point[x]), y: Number(point[y]) };
}

/** Lying down: names of peers are long. */
function drawBars({ title, x, y, points, logarithmic = false }: Chart): string {
  const bars = points.map((point) => ({ name: String(point[x]), value: Number(point[y]) }));
  const left = 12 + LETTER * Math.max(...bars.map(({ name }) => name.length));
  const area: Area = { left, right: WIDTH - 8, top: 4, bottom: 4 + ROW * bars.length };
  const axis = { label: y, format: short, logarithmic, fromZero: true };
  const values = bars.map(({ value }) => value);
  // A logarithmic axis has no zero: bars begin at the power of ten below the shortest.
  const begin = logarithmic ? [10 ** Math.floor(Math.log10(Math.min(...values) * 0.9))] : [];
  const scale = scaleOf(axis, [...values, ...begin], [left, area.right - VALUE]);
  const rows = bars.map((bar, i) => drawBar(bar, area.top + ROW * i, area, scale));
  return figure(title, area.bottom + BELOW, [bottomAxis(axis, scale, area), ...rows]);
}

function drawBar(
  { name, value }: { name: string; value: number },
  top: number,
  area: Area,
  scale: Scale,
): string {
  const end = scale.at(value);
  const middle = fixed(top + ROW / 2);
  return `<text x="${fixed(area.left - 6)}" y="${middle}" dy=".32em" text-anchor="end">${escapeHtml(name)}</text>
<rect x="${fixed(area.left)}" y="${fixed(top + (ROW - BAR) / 2)}" width="${fixed(end - area.left)}" height="${BAR}" style="fill:${colourOf(0)}"/>
<text class="axis" x="${fixed(end + 4)}" y="${middle}" dy=".32em">${escapeHtml(short(value))}</text>`;
}
