/** The grid: which settings an experiment tries, from a checked file, from flags, or by default. */

import { z } from 'zod';
import { TUNINGS } from '../../encoding/codec.ts';
import { IDENTITY } from '../../encoding/profiles.ts';
import { MAX_STREAMS } from '../../lanes/policy.ts';
import { readRegularFile } from '../../options/regular-file.ts';
import { sizeOf } from '../../options/sizes.ts';
import { readYaml } from '../../options/yaml.ts';
import { MAX_DICTIONARIES } from '../../wire/extensions.ts';
import { DEFAULT_FRAME_SIZE } from '../../wire/frame.ts';
import {
  type Cell,
  cellKey,
  DICTIONARY_SIZE,
  dictionarySizes,
  type Encoding,
  EXPERIMENT_POLICIES,
  normalise,
} from './cell.ts';
import { firstIssue } from './issue.ts';

/** More cells than anybody waits for are a slip of the pen. */
const MAX_CELLS = 20_000;
/** Of these many are made equal. */
const MAX_PRODUCT = 20 * MAX_CELLS;
const MAX_VALUES = 1000;

const whole = z.int();

/** `3`, `1..9`, `1..9/2` (every second), or a list of these. */
const RANGE = z
  .string()
  .regex(/^-?\d+(\.\.-?\d+(\/[1-9]\d*)?)?$/, 'must be a number or a range such as 1..9/2')
  .refine(ascends, 'must be a range that goes up, of at most 1000 values');
const values = z
  .union([
    whole,
    RANGE,
    z
      .array(z.union([whole, RANGE]))
      .min(1)
      .max(MAX_VALUES),
  ])
  .transform((value) => [...new Set(expand(value))])
  .refine((list) => list.length <= MAX_VALUES, `must have at most ${MAX_VALUES} values`);
const names = <T extends z.ZodType<string, string>>(name: T) =>
  z
    .union([z.string(), z.array(z.string()).min(1).max(MAX_VALUES)])
    .transform((value) => [...new Set([value].flat())])
    .pipe(z.array(name));

/** What a grid calls the lack of a tuning, of contexts and of a dictionary. */
const NONE = 'none';
const CONTEXTS = ['kept', NONE] as const;
/** Each `none`, or the bytes of a dictionary: 16384, or 16K. */
const sizes = z
  .union([
    whole,
    z.string(),
    z
      .array(z.union([whole, z.string()]))
      .min(1)
      .max(MAX_VALUES),
  ])
  .transform((value) => [...new Set([value].flat().map(sizeIn))])
  .pipe(z.array(z.union([z.literal(NONE), DICTIONARY_SIZE])));

/** A product of lists; what is missing is as the server has it by default. */
const SUB_GRID = z.strictObject({
  profile: names(z.string().min(1)).default(['zstd-8mb']),
  level: values.optional(),
  windowLog: values.pipe(z.array(whole.min(9).max(23))).optional(),
  tuning: names(z.enum([NONE, ...TUNINGS])).default([NONE]),
  contexts: names(z.enum(CONTEXTS)).default(['kept']),
  dictionaries: sizes.default([NONE]),
  streams: values.pipe(z.array(whole.min(1).max(MAX_STREAMS))).default([2]),
  policy: names(z.enum(EXPERIMENT_POLICIES)).default(['shared']),
  frameSize: values.pipe(z.array(whole.min(1).max(DEFAULT_FRAME_SIZE))).default([DEFAULT_FRAME_SIZE]),
  coalesceMs: values.pipe(z.array(whole.min(0).max(1000))).default([0]),
});

/** What a grid file says. */
const GRID_FILE = z.strictObject({ grids: z.array(SUB_GRID).min(1).max(MAX_VALUES) });

export type SubGrid = z.infer<typeof SUB_GRID>;
export type SubGridInput = z.input<typeof SUB_GRID>;

/** For two minutes on two cores with the default sample, see docs/experiments.md. */
export const DEFAULT_GRIDS: readonly SubGridInput[] = [
  // What there is to choose from, next to what compression is measured against.
  { profile: 'identity', policy: 'single' },
  { profile: 'zstd-8mb', level: [1, 3, 6, 9, 12], policy: ['single', 'shared'] },
  { profile: 'zlib', level: [1, 6, 9], policy: ['single', 'shared'] },
  { profile: 'brotli', level: [1, 5], policy: 'single' },
  { profile: 'deflate', level: 6, policy: 'single' },
  // The price of parallelism.
  { profile: 'zstd-8mb', level: 3, streams: [2, 4, 12], policy: ['shared', 'affinity'] },
  { profile: 'zstd-8mb', level: 3, policy: 'per-request' },
  { profile: 'zlib', level: 6, streams: [4, 8], policy: 'shared' },
  // What memory buys.
  { profile: 'zstd-8mb', level: 3, windowLog: [13, 15, 17, 19, 22], policy: 'single' },
  { profile: 'zstd-8mb', level: 1, windowLog: [13, 15, 17], policy: 'single' },
  { profile: 'zstd-8mb', level: 9, windowLog: [17, 20], policy: 'single' },
  { profile: 'zlib', level: 6, windowLog: [10, 12], policy: 'single' },
  // What many small responses that are alike can have.
  { profile: 'zstd-8mb', level: 3, tuning: 'records', policy: ['single', 'shared'] },
  // What both ends can know before, and what need not be kept then.
  {
    profile: 'zstd-8mb',
    level: 3,
    contexts: 'none',
    dictionaries: ['none', '4K', '16K', '64K', '110K'],
    policy: 'single',
  },
  { profile: 'zstd-8mb', level: 3, dictionaries: ['4K', '16K', '64K', '110K'], policy: 'single' },
  { profile: 'zstd-8mb', level: [1, 9], contexts: ['kept', 'none'], dictionaries: '16K', policy: 'single' },
  // How output is cut.
  { profile: 'zstd-8mb', level: 3, frameSize: [2048, 8192] },
];

/** @throws Error that names the file and the place in it. */
export function readGridFile(path: string): Cell[] {
  const text = readRegularFile(path).toString();
  let content: unknown;
  try {
    const { document, problem, at } = readYaml(text);
    if (problem !== undefined) throw new Error(`${at(problem.offset)}: ${problem.message}`);
    content = document.toJS();
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  }
  const result = GRID_FILE.safeParse(content);
  if (!result.success) throw new Error(`${path}: ${firstIssue(result.error)}`);
  return cellsOf(result.data.grids);
}

/** The cells of a grid given as flags. @throws Error that begins with the flag which is wrong. */
export function parseFlags(flags: SubGridInput): Cell[] {
  const result = SUB_GRID.safeParse(flags);
  if (result.success) return cellsOf([result.data]);
  const { path, message } = result.error.issues[0];
  const flag = String(path[0]).replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  throw new Error(`--${flag}: ${message}`);
}

/** The cells of grids given in code. @throws Error that names the option which is wrong. */
export function parseGrids(grids: readonly SubGridInput[]): Cell[] {
  const result = z.array(SUB_GRID).safeParse(grids);
  if (!result.success) throw new Error(firstIssue(result.error));
  return cellsOf(result.data);
}

/** Every setting once, in the order of the grids. @throws Error when there are too many. */
function cellsOf(grids: readonly SubGrid[]): Cell[] {
  const cells = new Map<string, Cell>();
  // Counted before anything is multiplied.
  if (grids.reduce((sum, grid) => sum + cellsIn(grid), 0) > MAX_PRODUCT)
    throw new Error(`the grid has more than ${MAX_CELLS} cells`);
  for (const grid of grids) {
    for (const cell of product(grid)) {
      const key = cellKey(cell);
      if (!cells.has(key)) cells.set(key, cell);
      if (cells.size > MAX_CELLS) throw new Error(`the grid has more than ${MAX_CELLS} cells`);
    }
  }
  const found = [...cells.values()];
  // Each is trained, and every lane has them all.
  if (dictionarySizes(found).length > MAX_DICTIONARIES)
    throw new Error(`the grid has dictionaries of more than ${MAX_DICTIONARIES} sizes`);
  return found;
}

/** How many cells the lists of a grid make, those that are the same among them. */
function cellsIn(grid: SubGrid): number {
  return Object.values(grid).reduce((product, list) => product * (list?.length ?? 1), 1);
}

function* product(grid: SubGrid): Generator<Cell> {
  for (const encoding of encodings(grid)) {
    for (const policy of grid.policy) {
      for (const streams of grid.streams) {
        for (const frameSize of grid.frameSize) {
          for (const coalesceMs of grid.coalesceMs) {
            yield normalise({ ...encoding, streams, policy, frameSize, coalesceMs });
          }
        }
      }
    }
  }
}

function* encodings(grid: SubGrid): Generator<Encoding> {
  for (const profile of grid.profile) {
    if (profile === IDENTITY) yield { profile };
    else for (const parameters of parametersOf(grid)) yield { profile, ...parameters };
  }
}

function* parametersOf(grid: SubGrid): Generator<Omit<Encoding, 'profile'>> {
  for (const level of grid.level ?? [undefined]) {
    for (const windowLog of grid.windowLog ?? [undefined]) {
      for (const tuning of grid.tuning) {
        for (const dictionary of grid.dictionaries) {
          for (const contexts of grid.contexts) {
            yield {
              level,
              windowLog,
              tuning: tuning === NONE ? undefined : tuning,
              dictionary: dictionary === NONE ? undefined : dictionary,
              contexts: contexts === NONE ? NONE : undefined,
            };
          }
        }
      }
    }
  }
}

function sizeIn(value: number | string): number | string {
  // What is no size at all is too small.
  return typeof value === 'number' || value === NONE ? value : sizeOf(value) || 0;
}

function expand(value: number | string | (number | string)[]): number[] {
  if (Array.isArray(value)) return value.flatMap(expand);
  if (typeof value === 'number') return [value];
  const { first, last, step } = rangeOf(value);
  return Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, i) => first + i * step);
}

function ascends(text: string): boolean {
  const { first, last, step } = rangeOf(text);
  return last >= first && (last - first) / step < MAX_VALUES;
}

function rangeOf(text: string): { first: number; last: number; step: number } {
  const [, from, to, step] = /^(-?\d+)(?:\.\.(-?\d+))?(?:\/(\d+))?$/.exec(text) ?? [];
  return { first: Number(from), last: Number(to ?? from), step: Number(step ?? 1) };
}
