/**
 * What every chart is made of: axes, a frame and a legend, as SVG text. Colours are the page's CSS variables, so they
 * follow its scheme.
 */

import { scaleLinear, scaleLog } from 'd3-scale';
import { escapeHtml } from './html.ts';

export interface ChartAxis {
  /** What it shows, with the unit. */
  readonly label: string;
  readonly logarithmic?: boolean;
  /** An axis that is not logarithmic begins at 0, whatever the values. */
  readonly fromZero?: boolean;
  readonly format: (value: number) => string;
  /** Values to mark; missing: round ones. */
  readonly ticks?: readonly number[];
}

/** Where the axes enclose a chart, in units of the drawing. */
export interface Area {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

export interface Scale {
  /** From a value to its place in the drawing. */
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

export interface LegendItem {
  readonly name: string;
  readonly colour: string;
  /** A line that stands for no series. */
  readonly dashed?: boolean;
}

/** Units of the drawing. Letters of 12 are read as 10 pixels on a phone, as 15 beside another chart on a desk. */
export const WIDTH = 440;
/** Room for the marks and the label of the axis below the area. */
export const BELOW = 46;
/** About the width of a letter. */
export const LETTER = 6.4;
/** Colours that the page has. */
export const COLOURS = 8;
const TICKS = 5;

export function colourOf(series: number): string {
  return `var(--series-${1 + (series % COLOURS)})`;
}

/** `height`: of the drawing; `body`: SVG; `note`: below the legend. */
export function figure(
  title: string,
  height: number,
  body: readonly string[],
  items: readonly LegendItem[] = [],
  note?: string,
): string {
  return `<figure><figcaption>${escapeHtml(title)}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeHtml(title)}">
${body.join('\n')}
</svg>
${legend(items)}${note === undefined ? '' : `<p class="quiet">${escapeHtml(note)}</p>`}</figure>`;
}

function legend(items: readonly LegendItem[]): string {
  if (items.length === 0) return '';
  const lines = items.map(({ name, colour, dashed }) => {
    const sign = dashed ? '<i class="dash"></i>' : `<i style="background:${colour}"></i>`;
    return `<li>${sign}${escapeHtml(name)}</li>`;
  });
  return `<ul class="legend">${lines.join('')}</ul>`;
}

/** How many times the least the most of a logarithmic axis may be. */
const MOST_SPAN = 1e9;

export function scaleOf(axis: ChartAxis, values: readonly number[], range: [number, number]): Scale {
  const least = Math.min(...values);
  const most = Math.max(...values);
  if (axis.logarithmic) {
    // Nothing is at 0 there: what should be stands at the edge.
    const begin = 0.9 * Math.max(least, most / MOST_SPAN, Number.MIN_VALUE);
    const end = 1.1 * Math.max(most, begin);
    const scale = scaleLog([begin, end], range).clamp(true);
    return { at: scale, ticks: axis.ticks ?? roundSteps(begin, end) };
  }
  const margin = (most - least) * 0.06 || Math.abs(most) * 0.1 || 1;
  const begin = least < 0 ? least - margin : axis.fromZero ? 0 : Math.max(0, least - margin);
  const scale = scaleLinear([begin, most + margin], range);
  const [from, to] = scale.domain();
  const ticks = axis.ticks?.filter((tick) => tick >= from && tick <= to) ?? scale.ticks(TICKS);
  return { at: scale, ticks };
}

/** 1, 2, 5, 10 …, every decade alike, as few as can be read; within one there may be none of these. */
function roundSteps(least: number, most: number): number[] {
  const decades = Math.log10(most / least);
  if (decades < 1) return scaleLinear([least, most], [0, 1]).ticks(TICKS);
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

/** The axis at the left, with its lines across the area. */
export function leftAxis({ label, format }: ChartAxis, { at, ticks }: Scale, area: Area): string {
  const { left, right, top, bottom } = area;
  const marks = ticks.map((tick) => {
    const y = fixed(at(tick));
    return `<path class="grid" d="M${left} ${y}H${right}"/><text x="${left - 6}" y="${y}" dy=".32em" text-anchor="end">${escapeHtml(format(tick))}</text>`;
  });
  return `${marks.join('\n')}\n<text class="axis" transform="translate(12 ${(top + bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeHtml(label)}</text>`;
}

/** The axis at the bottom, with its lines up the area. */
export function bottomAxis({ label, format }: ChartAxis, { at, ticks }: Scale, area: Area): string {
  const { left, right, top, bottom } = area;
  let taken = Number.NEGATIVE_INFINITY;
  const marks = ticks.map((tick) => {
    const x = at(tick);
    const text = format(tick);
    const half = (text.length * LETTER) / 2;
    const line = `<path class="grid" d="M${fixed(x)} ${top}V${bottom}"/>`;
    // A mark whose text would touch the one before goes without.
    if (x - half < taken + LETTER) return line;
    taken = x + half;
    return `${line}<text x="${fixed(Math.min(x, WIDTH - half))}" y="${bottom + 16}" text-anchor="middle">${escapeHtml(text)}</text>`;
  });
  return `${marks.join('\n')}\n<text class="axis" x="${(left + right) / 2}" y="${bottom + BELOW - 8}" text-anchor="middle">${escapeHtml(label)}</text>`;
}

/** A length or a place as SVG text has it. */
export function fixed(value: number): string {
  return value.toFixed(1);
}
