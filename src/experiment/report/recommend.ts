/**
 * Which setting to take, aim by aim. Only settings that any peer can decode are recommended, and only ones that
 * save at least half of what the densest saves: the least CPU and the least memory would be not to compress.
 */

import { DEFAULT_LEVEL } from '../../encoding/dictionary/train.ts';
import { IDENTITY, ZLIB, ZSTD } from '../../encoding/profiles.ts';
import { type Cell, cellName, dictionaryFile, serverFlags } from '../grid/cell.ts';
import type { TrainedDictionary } from '../results/dictionaries.ts';
import {
  AIMS,
  type Aim,
  type Budget,
  bytesSent,
  type Check,
  type DoneCell,
  doneCells,
  type Measures,
  memoryAt,
  type Prices,
  type Recommendation,
  type Results,
} from '../results/results.ts';
import { inBytes, percent, plural, short } from '../results/text.ts';
import { monthlyCost } from './cost.ts';

const STANDARD: readonly string[] = [ZSTD, ZLIB];
type SimpleAim = 'bytes' | 'cpu' | 'memory';
/** What an aim's figure may be above the least, for the sake of the other figures; CPU is not known better than that. */
const TOLERANCE: Readonly<Record<SimpleAim, number>> = { bytes: 1.005, cpu: 1.15, memory: 1.05 };
/** What to look at next where an aim leaves the choice. */
const THEN: Readonly<Record<SimpleAim, SimpleAim>> = { bytes: 'cpu', cpu: 'bytes', memory: 'bytes' };
/** What is better by less may be so by chance: then the setting that comes first in the grid is taken. */
const NOISE = 0.97;
/** Traffic that gets no smaller than by this is better left alone. */
const WORTHWHILE = 1.05;

const FIGURE: Readonly<Record<SimpleAim, (measures: Measures) => number>> = {
  bytes: bytesSent,
  cpu: ({ compress }) => compress.microsPerMB,
  memory: ({ connectionBytes }) => connectionBytes,
};

/** What the figure of an aim is that has more than one. */
const FIGURE_OF: Readonly<Record<Aim, SimpleAim>> = {
  balanced: 'bytes',
  bytes: 'bytes',
  cpu: 'cpu',
  memory: 'memory',
  connections: 'bytes',
  cost: 'bytes',
};

/** What the user has said of connections, memory and money. */
export interface Asked {
  readonly budget?: Budget;
  readonly prices?: Prices;
}

/** Key of the recommended cell by aim; an aim that was not asked for, or that no cell meets, has none. */
export type Choice = Readonly<Partial<Record<Aim, string>>>;

/** @returns undefined where no standard profile was measured. */
export function chooseCells(
  cells: Results['cells'],
  { bytes, responses }: { readonly bytes: number; readonly responses: number },
  { budget, prices }: Asked = {},
): Choice | undefined {
  const done = doneCells(cells);
  const standard = done.filter(({ cell }) => STANDARD.includes(cell.profile));
  const plain = plainOf(done);
  if (standard.length === 0) return undefined;
  const densest = Math.min(...standard.map(({ measures }) => bytesSent(measures)));
  const worthless = bytes / densest < WORTHWHILE && plain !== undefined;
  const saved = bytes - densest;
  // Where even the densest is larger than the responses, only it and its like are useful.
  const useful = standard.filter(({ measures }) => bytes - bytesSent(measures) >= Math.min(saved, saved / 2));
  const keyFor = (aim: SimpleAim) => (worthless ? plain : choose(aim, useful)).key;
  const withPlain = plain === undefined ? standard : [plain, ...standard];
  const within = withPlain.filter(
    ({ measures }) => budget !== undefined && memoryAt(measures, budget.connections) <= budget.memoryBytes,
  );
  return {
    balanced: (worthless ? plain : knee(useful)).key,
    bytes: keyFor('bytes'),
    cpu: keyFor('cpu'),
    memory: keyFor('memory'),
    ...(within.length > 0 && { connections: choose('bytes', within).key }),
    ...(prices !== undefined && { cost: cheapest(withPlain, responses, prices).key }),
  };
}

/**
 * Where the front of bytes against CPU bends: the setting that is farthest from the line between its ends, both counted in
 * times, not in amounts. Before it a few more bytes save much CPU, behind it much CPU saves a few bytes.
 */
function knee(cells: readonly DoneCell[]): DoneCell {
  const bytes = ({ measures }: DoneCell) => Math.log(bytesSent(measures));
  const cpu = ({ measures }: DoneCell) =>
    Math.log(measures.compress.microsPerResponse + measures.mainMicrosPerResponse);
  const isBeaten = (cell: DoneCell) =>
    cells.some(
      (other) =>
        bytes(other) <= bytes(cell) &&
        cpu(other) <= cpu(cell) &&
        (bytes(other) < bytes(cell) || cpu(other) < cpu(cell)),
    );
  const front = cells.filter((cell) => !isBeaten(cell)).sort((a, b) => cpu(a) - cpu(b));
  const [first, last] = [front[0], front[front.length - 1]];
  const [width, height] = [cpu(last) - cpu(first), bytes(first) - bytes(last)];
  // Of two ends neither is a bend: the better bargain is taken.
  const gain = (cell: DoneCell) =>
    front.length < 3
      ? -(bytes(cell) + cpu(cell))
      : (bytes(first) - bytes(cell)) / height - (cpu(cell) - cpu(first)) / width;
  return front.reduce((best, cell) => (gain(cell) > gain(best) ? cell : best));
}

function cheapest(cells: readonly DoneCell[], responses: number, prices: Prices): DoneCell {
  const total = (cell: DoneCell) => monthlyCost(cell, responses, prices).total;
  return cells.reduce((best, cell) => (total(cell) < total(best) ? cell : best));
}

/**
 * What there is to say of the chosen cells, with what the server said where it was asked. `fileOf`: where the dictionary of a
 * size is.
 */
export function describeChoice(
  choice: Choice | undefined,
  cells: Results['cells'],
  dictionaries: readonly TrainedDictionary[] = [],
  fileOf: (size: number) => string = dictionaryFile,
  checks: ReadonlyMap<string, Check> = new Map(),
): Recommendation[] {
  const done = doneCells(cells);
  return AIMS.flatMap((aim) => {
    const cell = done.find(({ key }) => key === choice?.[aim]);
    if (cell === undefined) return [];
    const check = checks.get(cell.key);
    const flags = serverFlags(cell.cell, fileOf);
    const notes = [
      ...notesOf(aim, cell, done),
      ...paymentOf(cell, dictionaries),
      ...(aim === 'bytes' ? longerOf(cell, done) : []),
    ];
    const described = { aim, key: cell.key, cell: cell.cell, flags, text: notes.join(' ') };
    return { ...described, ...(check !== undefined && { checked: check }) };
  });
}

function plainOf(done: readonly DoneCell[]): DoneCell | undefined {
  return done.find(({ cell }) => cell.profile === IDENTITY);
}

function choose(aim: SimpleAim, cells: readonly DoneCell[]): DoneCell {
  const figure = ({ measures }: DoneCell) => FIGURE[aim](measures);
  const least = Math.min(...cells.map(figure));
  const near = cells.filter((cell) => figure(cell) <= least * TOLERANCE[aim]);
  const then = ({ measures }: DoneCell) => FIGURE[THEN[aim]](measures);
  return near.reduce((best, cell) => (then(cell) < NOISE * then(best) ? cell : best));
}

/** Streams that cost more bytes than this are said. */
const SURPRISING_PERCENT = 1;

function notesOf(aim: Aim, { cell, measures }: DoneCell, done: readonly DoneCell[]): string[] {
  const { single, contexts } = measures;
  const notes: string[] = [];
  if (cell.profile === IDENTITY && aim !== 'connections' && aim !== 'cost') {
    notes.push('This traffic does not get smaller: compressing it is a waste.');
  }
  if (single.morePercent > SURPRISING_PERCENT) {
    notes.push(`Its ${contexts} streams cost ${percent(single.morePercent)} more bytes than one would.`);
  }
  const rival = betterElsewhere(FIGURE_OF[aim], measures, done);
  if (rival !== undefined) {
    notes.push(`Between peers that have it registered, ${cellName(rival.cell)} does better.`);
  }
  return notes;
}

/** What sending a setting's dictionary costs, and when that has come back. */
function paymentOf({ cell }: DoneCell, dictionaries: readonly TrainedDictionary[]): string[] {
  const dictionary = dictionaries.find(({ size }) => size === cell.dictionary);
  if (dictionary === undefined) return [];
  const after = dictionary.benefit.paidAfter[cell.contexts ?? 'kept'];
  const paid =
    after === undefined
      ? 'which these responses have not paid for'
      : `which it has saved after ${plural(after, 'response')}${atLevel(cell)}`;
  return [`Each connection is sent its dictionary once, ${inBytes(dictionary.bytes)}, ${paid}.`];
}

/** What takes fewer bytes still once connections are long enough for its dictionary: the traffic is only so long. */
function longerOf(chosen: DoneCell, done: readonly DoneCell[]): string[] {
  const { wireBytes, dictionaryBytes = 0 } = chosen.measures;
  const denser = done.filter(
    ({ cell, measures }) =>
      STANDARD.includes(cell.profile) &&
      measures.wireBytes * TOLERANCE.bytes < wireBytes &&
      (measures.dictionaryBytes ?? 0) > dictionaryBytes,
  );
  if (denser.length === 0) return [];
  const best = denser.reduce((a, b) => (b.measures.wireBytes < a.measures.wireBytes ? b : a));
  const fewer = 100 * (1 - best.measures.wireBytes / wireBytes);
  // As many times this traffic as it takes until what is saved has come to the dictionary.
  const times =
    ((best.measures.dictionaryBytes ?? 0) - dictionaryBytes) / (wireBytes - best.measures.wireBytes);
  return [
    `On connections ${short(times)} times as long, or longer, ${cellName(best.cell)} takes fewer, at last by ${percent(fewer)}.`,
  ];
}

/** A dictionary is tried at one level, whatever those of the settings. */
function atLevel({ level = DEFAULT_LEVEL }: Cell): string {
  return level === DEFAULT_LEVEL ? '' : ` at level ${DEFAULT_LEVEL}`;
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
function betterElsewhere(aim: SimpleAim, than: Measures, done: readonly DoneCell[]): DoneCell | undefined {
  return done.find((other) => {
    if (other.cell.profile === IDENTITY || STANDARD.includes(other.cell.profile)) return false;
    return FIGURE[aim](other.measures) < 0.9 * FIGURE[aim](than) && other.measures.ratio >= 0.98 * than.ratio;
  });
}
