/** Charts of points and lines over two axes. */

import { escapeLines } from './html.ts';
import {
  type Area,
  BELOW,
  bottomAxis,
  type ChartAxis,
  colourOf,
  figure,
  fixed,
  leftAxis,
  scaleOf,
  WIDTH,
} from './svg.ts';

export interface ChartPoint {
  readonly x: number;
  readonly y: number;
  /** Shown when the pointer is on it; lines are separated by line ends. */
  readonly tip: string;
  /** Drawn with a ring around it. */
  readonly ringed?: boolean;
}

export interface ChartSeries {
  readonly name: string;
  readonly points: readonly ChartPoint[];
  /** Points joined in their order. */
  readonly line?: boolean;
  /** A line without dots, in a neutral colour. */
  readonly guide?: boolean;
}

export interface Chart {
  readonly title: string;
  readonly x: ChartAxis;
  readonly y: ChartAxis;
  readonly series: readonly ChartSeries[];
  /** Below the legend: what is not drawn. */
  readonly note?: string;
}

const HEIGHT = 300;
const AREA: Area = { left: 72, right: WIDTH - 14, top: 10, bottom: HEIGHT - BELOW };

/** One figure with its legend; nothing at all when there is nothing to draw. */
export function drawChart({ title, x, y, series, note }: Chart): string {
  const points = series.flatMap((each) => each.points);
  if (points.length === 0) return '';
  const { left, right, top, bottom } = AREA;
  const across = scaleOf(
    x,
    points.map((point) => point.x),
    [left, right],
  );
  const up = scaleOf(
    y,
    points.map((point) => point.y),
    [bottom, top],
  );
  const lines = series.map((each, i) => lineOf(each, across.at, up.at, colourOf(i)));
  const dots = series.map((each, i) => dotsOf(each, across.at, up.at, colourOf(i)));
  const items = series.map(({ name, guide }, i) => ({ name, dashed: guide, colour: colourOf(i) }));
  const axes = [leftAxis(y, up, AREA), bottomAxis(x, across, AREA)];
  return figure(title, HEIGHT, [...axes, ...lines, ...dots], items, note);
}

type At = (value: number) => number;

function lineOf({ points, line, guide }: ChartSeries, x: At, y: At, colour: string): string {
  if (!line && !guide) return '';
  const path = points.map((point, i) => `${i === 0 ? 'M' : 'L'}${fixed(x(point.x))} ${fixed(y(point.y))}`);
  return `<path class="${guide ? 'guide' : 'line'}" d="${path.join('')}" style="stroke:${guide ? 'var(--quiet)' : colour}"/>`;
}

function dotsOf({ points, guide }: ChartSeries, x: At, y: At, colour: string): string {
  if (guide) return '';
  const dots = points.map((point) => {
    const at = `cx="${fixed(x(point.x))}" cy="${fixed(y(point.y))}"`;
    const ring = point.ringed ? `<circle class="ring" ${at} r="8"/>` : '';
    return `${ring}<circle class="dot" ${at} r="4" style="fill:${colour}"><title>${escapeLines(point.tip)}</title></circle>`;
  });
  return dots.join('\n');
}
