/** Charts as SVG text, drawn by Vega-Lite. Colours are the page's own CSS variables, so that they follow its scheme. */
import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import type { Chart } from './bench.ts';

/** Wide enough to read, narrow enough for a phone of 390 CSS pixels without shrinking the letters. */
const WIDTH = 330;
const SERIES_COLOURS = ['var(--series-1)', 'var(--series-2)', 'var(--series-3)', 'var(--series-4)'];

export async function drawChart(chart: Chart): Promise<string> {
  const view = new View(parse(compile(specificationOf(chart)).spec), { renderer: 'none' });
  const svg = await view.toSVG();
  view.finalize();
  return svg.replace('<svg ', `<svg role="img" aria-label="${chart.title.replace(/[<>&"]/g, '')}" `);
}

function specificationOf(chart: Chart): TopLevelSpec {
  const axis = {
    labelColor: 'var(--text)',
    titleColor: 'var(--text)',
    gridColor: 'var(--line)',
    domainColor: 'var(--line)',
    tickColor: 'var(--line)',
  };
  return {
    background: 'transparent',
    padding: 4,
    width: WIDTH,
    autosize: { type: 'fit', contains: 'padding' },
    data: { values: chart.points.map((point) => ({ ...point })) },
    config: {
      font: 'system-ui, sans-serif',
      axis: { ...axis, labelFontSize: 11, titleFontSize: 11, titleFontWeight: 'normal' },
      legend: { labelColor: 'var(--text)', titleColor: 'var(--text)', orient: 'bottom', columns: 2 },
      view: { stroke: 'transparent' },
    },
    ...(chart.kind === 'bar' ? bars(chart) : lines(chart)),
  } as TopLevelSpec;
}

const field = (name: string) => ({ field: name.replace(/[.[\]]/g, '\\$&'), title: name });

/** Lying down: names of peers are long. */
function bars({ x, y, points, logarithmic }: Chart): Partial<TopLevelSpec> {
  // Room for the value that is written behind the longest bar.
  const largest = Math.max(...points.map((point) => Number(point[y])));
  const byName = { ...field(x), type: 'nominal', sort: null, title: null };
  const byValue = { ...field(y), type: 'quantitative' };
  return {
    height: 24 * points.length,
    encoding: { y: byName },
    layer: [
      {
        mark: { type: 'bar', color: SERIES_COLOURS[0] },
        encoding: {
          x: { ...byValue, scale: { type: logarithmic ? 'log' : 'linear', domainMax: 1.15 * largest } },
        },
      },
      {
        mark: { type: 'text', align: 'left', dx: 3, color: 'var(--text)', fontSize: 10 },
        encoding: {
          x: byValue,
          text: { ...byValue, format: largest >= 1000 ? '.3~s' : '.3~r' },
        },
      },
    ],
  } as Partial<TopLevelSpec>;
}

function lines({ x, y, series, logarithmic }: Chart): Partial<TopLevelSpec> {
  return {
    height: 200,
    mark: { type: 'line', point: true, color: SERIES_COLOURS[0] },
    encoding: {
      x: { ...field(x), type: 'quantitative', axis: { tickMinStep: 1 } },
      y: { ...field(y), type: 'quantitative', scale: { type: logarithmic ? 'log' : 'linear' } },
      ...(series && {
        color: {
          ...field(series),
          type: 'nominal',
          sort: null,
          title: null,
          scale: { range: SERIES_COLOURS },
        },
      }),
    },
  } as Partial<TopLevelSpec>;
}
