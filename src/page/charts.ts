/** Charts that move: lines over the last five minutes. */

import uPlot from 'uplot';
import { NONE } from './show.ts';

const MOST_SECONDS = 300;
const LEAST_SECONDS = 60;
const MAX_POINTS = 600;
/** Lines that one chart can tell apart. */
export const MAX_LINES = 8;
/** For who wants less motion a chart moves this often, in milliseconds. */
const CALM_MS = 10_000;
const DASH = [6, 4];

export interface Line {
  readonly label: string;
  /** Undefined: there is none now. */
  readonly value: number | undefined;
}

export type Show = (value: number) => string;

export class Chart {
  readonly #caption: string;
  readonly #show: Show;
  readonly #least: number;
  readonly #place: HTMLElement;
  readonly #legend: HTMLElement;
  readonly #root: HTMLElement;
  #labels: string[] = [];
  #times: number[] = [];
  #values: (number | null)[][] = [];
  #plot: uPlot | undefined;
  #drawnAtMs = Number.NEGATIVE_INFINITY;
  /** Whether any line has been drawn: it takes two values. */
  #hasLine = false;

  /** `least`: where the scale ends at least, so that next to nothing looks like it. */
  constructor(parent: HTMLElement, caption: string, show: Show, least: number) {
    this.#least = least;
    this.#caption = caption;
    this.#show = show;
    this.#root = document.createElement('figure');
    const title = document.createElement('figcaption');
    title.textContent = caption;
    this.#place = document.createElement('div');
    this.#place.className = 'plot';
    this.#place.role = 'img';
    this.#place.ariaLabel = caption;
    this.#legend = document.createElement('ul');
    this.#legend.className = 'legend';
    this.#root.append(title, this.#place, this.#legend);
    parent.append(this.#root);
    new ResizeObserver(() => this.#fit()).observe(this.#place);
  }

  /** The lines' values at this time, in seconds since 1970; other lines than before begin a new chart. */
  add(atSeconds: number, lines: readonly Line[]): void {
    const labels = lines.map(({ label }) => label);
    if (labels.join('\n') !== this.#labels.join('\n')) this.#begin(labels);
    this.#times.push(atSeconds);
    for (const [i, { value }] of lines.entries()) this.#values[i]?.push(value ?? null);
    if (this.#times.length > MAX_POINTS) for (const row of [this.#times, ...this.#values]) row.shift();
    this.#tell(lines);
    if (!isCalm() || this.#isDue) this.#draw();
  }

  /** Nothing is known of the time until the next values. */
  gap(): void {
    const last = this.#times.at(-1);
    if (last === undefined) return;
    this.#times.push(last + 0.001);
    for (const row of this.#values) row.push(null);
  }

  /** Makes the chart again, in the colours that hold now. */
  recolour(): void {
    this.#plot?.destroy();
    this.#plot = undefined;
    this.#draw();
  }

  /** For who wants less motion; but a chart that has nothing to show yet is no calmer for it. */
  get #isDue(): boolean {
    const isFirst = this.#plot === undefined || (!this.#hasLine && this.#values.some(hasLine));
    return isFirst || performance.now() - this.#drawnAtMs >= CALM_MS;
  }

  #begin(labels: string[]): void {
    this.#labels = labels;
    this.#times = [];
    this.#values = labels.map(() => []);
    this.#plot?.destroy();
    this.#plot = undefined;
    this.#hasLine = false;
    this.#legend.replaceChildren(
      ...labels.map((_, i) => {
        const item = document.createElement('li');
        item.className = `series-${i}`;
        return item;
      }),
    );
  }

  #tell(lines: readonly Line[]): void {
    const told = lines.map(
      ({ label, value }) => `${label} ${value === undefined ? NONE : this.#show(value)}`,
    );
    for (const [i, text] of told.entries()) {
      const item = this.#legend.children[i];
      if (item !== undefined && item.textContent !== text) item.textContent = text;
    }
    this.#place.ariaLabel = `${this.#caption}: ${told.join(', ')}`;
  }

  #draw(): void {
    if (this.#times.length === 0 || this.#place.clientWidth === 0) return;
    this.#drawnAtMs = performance.now();
    this.#hasLine = this.#values.some(hasLine);
    const data = [this.#times, ...this.#values] as uPlot.AlignedData;
    if (this.#plot === undefined) this.#plot = new uPlot(this.#options(), data, this.#place);
    else this.#plot.setData(data);
  }

  #fit(): void {
    const { clientWidth: width, clientHeight: height } = this.#place;
    if (width === 0) return;
    if (this.#plot === undefined) this.#draw();
    else if (this.#plot.width !== width) this.#plot.setSize({ width, height });
  }

  #options(): uPlot.Options {
    const style = getComputedStyle(this.#root);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour('--soft'),
      grid: { stroke: colour('--grid'), width: 1 },
      ticks: { show: false },
    };
    return {
      width: this.#place.clientWidth,
      height: this.#place.clientHeight,
      cursor: { show: false },
      legend: { show: false },
      scales: {
        x: { range: (_, min, max) => [max - within(max - min), max] },
        y: { range: (_, __, max) => [0, Math.max(this.#least, 1.1 * max)] },
      },
      axes: [
        { ...axis, space: 90, size: 28, values: (_, ticks) => ticks.map(timeOf) },
        { ...axis, size: 76, values: (_, ticks) => ticks.map((tick) => this.#show(tick)) },
      ],
      series: [
        {},
        ...this.#labels.map((label, i) => ({
          label,
          stroke: colour(`--series-${i}`),
          width: 2,
          dash: i % 2 === 1 ? DASH : [],
          points: { show: false },
        })),
      ],
    };
  }
}

function hasLine(values: readonly (number | null)[]): boolean {
  return values.some((value, i) => value !== null && typeof values[i + 1] === 'number');
}

function within(seconds: number): number {
  return Math.min(MOST_SECONDS, Math.max(LEAST_SECONDS, seconds));
}

function timeOf(seconds: number): string {
  return new Date(1000 * seconds).toLocaleTimeString('en-GB');
}

function isCalm(): boolean {
  return matchMedia('(prefers-reduced-motion: reduce)').matches;
}
