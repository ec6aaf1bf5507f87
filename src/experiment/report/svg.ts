/** Charts as SVG text: points and lines over two axes. Colours are the page's CSS variables, so they follow its scheme. */

import { scaleLinear, scaleLog } from 'd3-scale';

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

export interface ChartAxis {
  /** What it shows, with the unit. */
  readonly label: string;
  readonly logarithmic?: boolean;
  readonly format: (value: number) => string;
  /** Values to mark; missing: round ones. */
  readonly ticks?: readonly number[];
}

export interface Chart {
  readonly title: string;
  readonly x: ChartAxis;
  readonly y: ChartAxis;
  readonly series: readonly ChartSeries[];
  /** Below the legend: what is not drawn. */
  readonly note?: string;
}

/** Units of the drawing. Letters of 12 are read as 10 pixels on a phone, as 15 beside another chart on a desk. */
const WIDTH = 440;
const HEIGHT = 300;
const LEFT = 72;
const RIGHT = 14;
const TOP = 10;
const BOTTOM = 46;
/** Colours that the page has. */
export const COLOURS = 8;
const TICKS = 5;
/** About the width of a letter. */
const LETTER = 6.4;

/** One figure with its legend; nothing at all when there is nothing to draw. */
export function drawChart(chart: Chart): string {
  const points = chart.series.flatMap((series) => series.points);
  if (points.length === 0) return '';
  const x = scaleOf(
    chart.x,
    points.map((point) => point.x),
    [LEFT, WIDTH - RIGHT],
  );
  const y = scaleOf(
    chart.y,
    points.map((point) => point.y),
    [HEIGHT - BOTTOM, TOP],
  );
  const colours = chart.series.map((_, i) => `var(--series-${1 + (i % COLOURS)})`);
  const lines = chart.series.map((series, i) => lineOf(series, x.at, y.at, colours[i]));
  const dots = chart.series.map((series, i) => dotsOf(series, x.at, y.at, colours[i]));
  return `<figure><figcaption>${escapeHtml(chart.title)}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(chart.title)}">
${horizontal(chart.y, y)}
${vertical(chart.x, x)}
${lines.join('\n')}
${dots.join('\n')}
</svg>
${legend(chart.series, colours)}${chart.note === undefined ? '' : `<p class="quiet">${escapeHtml(chart.note)}</p>`}</figure>`;
}

interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

function scaleOf(axis: ChartAxis, values: readonly number[], range: [number, number]): Scale {
  const least = Math.min(...values);
  const most = Math.max(...values);
  if (axis.logarithmic) {
    const scale = scaleLog([least * 0.9, most * 1.1], range);
    return { at: scale, ticks: axis.ticks ?? roundSteps(least * 0.9, most * 1.1) };
  }
  const margin = (most - least) * 0.06 || Math.abs(most) * 0.1 || 1;
  const scale = scaleLinear(
    [least >= 0 ? Math.max(0, least - margin) : least - margin, most + margin],
    range,
  );
  const [from, to] = scale.domain();
  const ticks = axis.ticks?.filter((tick) => tick >= from && tick <= to) ?? scale.ticks(TICKS);
  return { at: scale, ticks };
}

/** 1, 2, 5, 10 …, every decade alike, as few as can be read. */
function roundSteps(least: number, most: number): number[] {
  const decades = Math.log10(most / least);
  const steps = decades > 3 ? [1] : decades > 1.5 ? [1, 3] : [1, 2, 5];
  const found: number[] = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++) {
    for (const step of steps) {
      const value = step * 10 ** power;
      if (value >= least && value <= most) found.push(value);
    }
  }
  return found;
}

function horizontal({ label, format }: ChartAxis, { at, ticks }: Scale): string {
  const middle = (TOP + HEIGHT - BOTTOM) / 2;
  const marks = ticks.map((tick) => {
    const y = fixed(at(tick));
    return `<path class="grid" d="M${LEFT} ${y}H${WIDTH - RIGHT}"/><text x="${LEFT - 6}" y="${y}" dy=".32em" text-anchor="end">${escapeHtml(format(tick))}</text>`;
  });
  return `${marks.join('\n')}\n<text class="axis" transform="translate(12 ${middle}) rotate(-90)" text-anchor="middle">${escapeHtml(label)}</text>`;
}

function vertical({ label, format }: ChartAxis, { at, ticks }: Scale): string {
  const bottom = HEIGHT - BOTTOM;
  let taken = Number.NEGATIVE_INFINITY;
  const marks = ticks.map((tick) => {
    const x = at(tick);
    const text = format(tick);
    const half = (text.length * LETTER) / 2;
    const line = `<path class="grid" d="M${fixed(x)} ${TOP}V${bottom}"/>`;
    // A mark whose text would touch the one before goes without.
    if (x - half < taken + LETTER) return line;
    taken = x + half;
    return `${line}<text x="${fixed(Math.min(x, WIDTH - half))}" y="${bottom + 16}" text-anchor="middle">${escapeHtml(text)}</text>`;
  });
  const middle = (LEFT + WIDTH - RIGHT) / 2;
  return `${marks.join('\n')}\n<text class="axis" x="${middle}" y="${HEIGHT - 8}" text-anchor="middle">${escapeHtml(label)}</text>`;
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
    return `${ring}<circle class="dot" ${at} r="4" style="fill:${colour}"><title>${escapeHtml(point.tip)}</title></circle>`;
  });
  return dots.join('\n');
}

function legend(series: readonly ChartSeries[], colours: readonly string[]): string {
  const items = series.map(({ name, guide }, i) => {
    const sign = guide ? '<i class="dash"></i>' : `<i style="background:${colours[i]}"></i>`;
    return `<li>${sign}${escapeHtml(name)}</li>`;
  });
  return `<ul class="legend">${items.join('')}</ul>`;
}

function fixed(value: number): string {
  return value.toFixed(1);
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
