/**
 * Which setting to take, for three aims. Only settings that any peer can decode are recommended, and only ones that
 * save at least half of what the densest saves: the least CPU and the least memory would be not to compress.
 */

import { IDENTITY, ZLIB, ZSTD } from '../../encoding/profiles.ts';
import { cellName, serverFlags } from '../grid/cell.ts';
import {
  AIMS,
  type Aim,
  type Check,
  type DoneCell,
  doneCells,
  type Measures,
  type Recommendation,
  type Results,
} from '../results/results.ts';
import { inBytes, percent, short } from '../results/text.ts';

const STANDARD: readonly string[] = [ZSTD, ZLIB];
/** What an aim's figure may be above the least, for the sake of the other figures; CPU is not known better than that. */
const TOLERANCE: Readonly<Record<Aim, number>> = { bytes: 1.005, cpu: 1.15, memory: 1.05 };
/** What to look at next where an aim leaves the choice. */
const THEN: Readonly<Record<Aim, Aim>> = { bytes: 'cpu', cpu: 'bytes', memory: 'bytes' };
/** What is better by less may be so by chance: then the setting that comes first in the grid is taken. */
const NOISE = 0.97;
/** Traffic that gets no smaller than by this is better left alone. */
const WORTHWHILE = 1.05;

const FIGURE: Readonly<Record<Aim, (measures: Measures) => number>> = {
  bytes: ({ wireBytes }) => wireBytes,
  cpu: ({ compress }) => compress.microsPerMB,
  memory: ({ connectionBytes }) => connectionBytes,
};

const AIM_NAMES: Readonly<Record<Aim, string>> = {
  bytes: 'fewest bytes',
  cpu: 'least CPU',
  memory: 'least memory',
};

/** Key of the recommended cell by aim; none where no standard profile was measured. */
export type Choice = Readonly<Record<Aim, string>>;

export function chooseCells(cells: Results['cells'], bytes: number): Choice | undefined {
  const done = doneCells(cells);
  const standard = done.filter(({ cell }) => STANDARD.includes(cell.profile));
  const plain = plainOf(done);
  if (standard.length === 0) return undefined;
  const densest = Math.min(...standard.map(({ measures }) => measures.wireBytes));
  const worthless = bytes / densest < WORTHWHILE && plain !== undefined;
  const saved = bytes - densest;
  // Where even the densest is larger than the responses, only it and its like are useful.
  const useful = standard.filter(({ measures }) => bytes - measures.wireBytes >= Math.min(saved, saved / 2));
  const keyFor = (aim: Aim) => (worthless ? plain : choose(aim, useful)).key;
  return { bytes: keyFor('bytes'), cpu: keyFor('cpu'), memory: keyFor('memory') };
}

/** What there is to say of the chosen cells, with what the server said where it was asked. */
export function describeChoice(
  choice: Choice | undefined,
  cells: Results['cells'],
  checks: ReadonlyMap<string, Check> = new Map(),
): Recommendation[] {
  const done = doneCells(cells);
  return AIMS.flatMap((aim) => {
    const cell = done.find(({ key }) => key === choice?.[aim]);
    if (cell === undefined) return [];
    const check = checks.get(cell.key);
    return { ...describe(aim, cell, done, plainOf(done)), ...(check !== undefined && { checked: check }) };
  });
}

function plainOf(done: readonly DoneCell[]): DoneCell | undefined {
  return done.find(({ cell }) => cell.profile === IDENTITY);
}

function choose(aim: Aim, cells: readonly DoneCell[]): DoneCell {
  const figure = ({ measures }: DoneCell) => FIGURE[aim](measures);
  const least = Math.min(...cells.map(figure));
  const near = cells.filter((cell) => figure(cell) <= least * TOLERANCE[aim]);
  const then = ({ measures }: DoneCell) => FIGURE[THEN[aim]](measures);
  return near.reduce((best, cell) => (then(cell) < NOISE * then(best) ? cell : best));
}

function describe(
  aim: Aim,
  { key, cell, measures }: DoneCell,
  done: readonly DoneCell[],
  plain: DoneCell | undefined,
): Recommendation {
  const { ratio, compress, mainMicrosPerResponse, connectionBytes, http, single } = measures;
  const parts = [
    `For the ${AIM_NAMES[aim]}, ${cellName(cell)}: ${ratio.toFixed(2)} bytes of response for one on the wire`,
    `${short(compress.microsPerMB)} µs of CPU per MB in the lanes (${short(compress.microsPerResponse)} µs per response; ${short(mainMicrosPerResponse)} more on the main thread)`,
    `${inBytes(connectionBytes)} of contexts per connection.`,
  ];
  let text = parts.join(', ');
  if (cell.profile === IDENTITY) text += ' This traffic does not get smaller: compressing it is a waste.';
  if (http !== null) {
    text += ` HTTP, with a context for each response, would reach ${http.ratio.toFixed(2)} at ${short(http.compressMicrosPerMB)} µs per MB in a loop, which is less than in a server.`;
  }
  if (single.morePercent > 0.05) {
    text += ` Its ${measures.contexts} streams cost ${percent(single.morePercent)} more bytes than one would.`;
  }
  if (aim === 'cpu' && plain !== undefined && cell.profile !== IDENTITY) {
    const { mainMicrosPerResponse } = plain.measures;
    text += ` Not to compress at all takes ${short(mainMicrosPerResponse)} µs per response on the main thread alone.`;
  }
  const rival = betterElsewhere(aim, measures, done);
  if (rival !== undefined)
    text += ` Between peers that have it registered, ${cellName(rival.cell)} does better.`;
  return { aim, key, cell, flags: serverFlags(cell), text };
}

/** What a server of its own made of a setting. */
export function checkText({ ratio, compress, mainMicrosPerResponse, promised }: Check): string {
  const off = 100 * (compress.microsPerMB / promised.compress.microsPerMB - 1);
  return `Checked in a server of its own: ratio ${ratio.toFixed(2)}, ${short(compress.microsPerMB)} µs per MB in the lanes (${offText(off)} ${short(promised.compress.microsPerMB)} that the experiment's lanes took in turns with it), ${short(mainMicrosPerResponse)} µs per response on the main thread.`;
}

/** `percents` more or less; no more exact than such a comparison is. */
function offText(percents: number): string {
  const off = Math.round(Math.abs(percents));
  if (!(off > 0)) return 'as the';
  return `${off} % ${percents < 0 ? 'less' : 'more'} than the`;
}

/** A profile of an experiment's own that beats the recommended one by a tenth, without being less dense. */
function betterElsewhere(aim: Aim, than: Measures, done: readonly DoneCell[]): DoneCell | undefined {
  return done.find((other) => {
    if (other.cell.profile === IDENTITY || STANDARD.includes(other.cell.profile)) return false;
    return FIGURE[aim](other.measures) < 0.9 * FIGURE[aim](than) && other.measures.ratio >= 0.98 * than.ratio;
  });
}
