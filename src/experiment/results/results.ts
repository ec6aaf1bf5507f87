/**
 * What an experiment found out: the schema of `results.json`. Bytes are bytes, CPU is seconds or microseconds of one
 * thread, MB are 10^6 bytes. `version` changes when a reader has to.
 */

import { z } from 'zod';
import { problemOf } from '../../files/paths.ts';
import { readRegularFile } from '../../options/regular-file.ts';
import { MAX_DICTIONARIES } from '../../wire/extensions.ts';
import { CELL, cellName } from '../grid/cell.ts';
import { DICTIONARY } from './dictionaries.ts';

export const RESULTS_VERSION = 3;

/** What can be measured, simulated or reckoned: results may come from elsewhere, and are drawn and summed up. */
const figure = z.number().min(0).max(1e15);
const name = z.string().max(65_535);
const count = z.int().min(0);
const bytes = count;

/** Of the lanes' threads. */
const CPU = z.object({
  /** The mean of the rounds, in microseconds for each 10^6 bytes of responses. */
  microsPerMB: figure,
  microsPerResponse: figure,
  /** Of each round, in microseconds for each 10^6 bytes. */
  rounds: z.array(figure).min(1).max(1000),
});

export type Cpu = z.infer<typeof CPU>;

/** Responses of one command under one setting. */
const COMMAND_ROW = z.object({
  command: name,
  responses: count,
  bytes,
  /** Frames with their headers. */
  wireBytes: bytes,
});

const percentiles = z.object({ p50: figure, p99: figure });

/** What a setting means for a client behind a link, as simulated. */
const LINK_FIGURES = z.object({
  bitsPerSecond: figure,
  /** Milliseconds from request to the first decoded frame. */
  firstByteMs: percentiles,
  /** Milliseconds from request to the last. */
  responseMs: percentiles,
  /** Without the first tenth: the start of an idle server. */
  responsesPerSecond: figure,
  /** Shares of the time in which the link, and the server's busiest thread, were busy: which of them is the bottleneck. */
  linkBusy: figure,
  threadBusy: figure,
});

export type LinkFigures = z.infer<typeof LINK_FIGURES>;

const MEASURES = z.object({
  frames: count,
  /** Contexts that one connection opened, at most. */
  contexts: count,
  /** All frames with their headers, those of stream settings too. */
  wireBytes: bytes,
  /** Bytes of responses for one byte on the wire. */
  ratio: figure,
  /** Ratios of single responses: the worst twentieth is below p5. */
  ratioSpread: z.object({ p5: figure, p50: figure, p95: figure }),
  /** In the server under load (load.ts). */
  compress: CPU,
  /** Of decoders that are kept busy. */
  decompress: CPU,
  /** Of the main thread in the same load: protocol, sockets and a handler that has its bytes at hand. */
  mainMicrosPerResponse: figure,
  /** The smallest load of a round, as a share of what one should have (evaluator.ts); less than 1 where time was short. */
  loadShare: figure,
  /** Resident bytes of one encoder, and of all that a connection opens. */
  contextBytes: bytes,
  connectionBytes: bytes,
  /** Resident bytes of encoders that all connections have in common, one for each lane; missing: contexts are kept. */
  laneBytes: bytes.optional(),
  /** What it takes to send each connection of the traffic its dictionary, once; not in `wireBytes`. Missing: there is none. */
  dictionaryBytes: bytes.optional(),
  /** Against one context for each connection with the same encoding: how many percent more bytes go out. */
  single: z.object({ wireBytes: bytes, morePercent: z.number().min(-100).max(1e15) }),
  /** Every response compressed by itself; `null` for `identity`. */
  http: z.object({ ratio: figure, compressMicrosPerMB: figure }).nullable(),
  links: z.array(LINK_FIGURES).max(100),
  commands: z.array(COMMAND_ROW).max(100_000),
});

export type Measures = z.infer<typeof MEASURES>;

/** One line of the journal: a cell that is done, or that failed. */
export const CELL_RESULT = z.object({
  key: name,
  cell: CELL,
  measures: MEASURES.optional(),
  /** Why there are no measures. */
  error: name.optional(),
  /** The worker's machine, where it was not this one. */
  host: name.optional(),
  /** Seconds that it took. */
  seconds: figure,
});

export type CellResult = z.infer<typeof CELL_RESULT>;

/** What decides about the sizes and, with the machine, about the times; two runs with the same one can be joined. */
export const SETUP = z.object({
  sources: z.array(z.string()),
  /** Responses of the sources that dictionaries were trained on, which are not among those below; missing: none. */
  training: z.object({ responses: z.int(), bytes }).optional(),
  /** Digest of the traffic. */
  sha256: z.string(),
  responses: z.int(),
  bytes,
  connections: z.int(),
  /** The sources had more than was taken. */
  cut: z.boolean(),
  seed: z.int(),
  inFlight: z.int(),
  /** The traffic has times of its own; `inFlight` does not count. */
  timed: z.boolean(),
  /** Lanes of the server. */
  workers: z.int(),
  /** Rounds of load that each setting was to have. */
  rounds: z.int(),
  links: z.array(z.number()),
  zstd: z.string(),
  zlib: z.string(),
  brotli: z.string(),
});

export type Setup = z.infer<typeof SETUP>;

export const MACHINE = z.object({
  cpu: z.string(),
  cores: z.int(),
  memoryGiB: z.number(),
  system: z.string(),
  node: z.string(),
});

/** In the order in which they are shown; the last two where they were asked for. */
export const AIMS = ['balanced', 'bytes', 'cpu', 'memory', 'connections', 'cost'] as const;
export type Aim = (typeof AIMS)[number];

/** Memory that the contexts of so many connections may have together. */
const BUDGET = z.object({ connections: z.int().min(1), memoryBytes: z.int().min(1) });

export type Budget = z.infer<typeof BUDGET>;

/** What things cost, in any money. */
const PRICES = z.object({
  /** Of 10^9 bytes that leave. */
  gb: z.number().min(0),
  /** Of one core for an hour. */
  cpuHour: z.number().min(0),
  /** Of 10^9 bytes of memory for a month. */
  gbMemoryMonth: z.number().min(0),
  responsesPerSecond: z.number().min(0),
  connections: z.int().min(0),
});

export type Prices = z.infer<typeof PRICES>;

/**
 * A recommended setting in a server of its own, under loads with all responses. Beside it, in turns, the same loads as
 * its cell had: a machine's pace changes from one minute to the next, so the cell's own figures are no measure for it.
 */
const CHECK = z.object({
  /** Bytes of responses for one byte on the wire. */
  ratio: z.number(),
  compress: CPU,
  mainMicrosPerResponse: z.number(),
  /** On the experiment's lanes, in turns with it. */
  promised: z.object({ compress: CPU, mainMicrosPerResponse: z.number() }),
});

export type Check = z.infer<typeof CHECK>;

const RECOMMENDATION = z.object({
  aim: z.enum(AIMS),
  /** Key of the recommended cell. */
  key: z.string(),
  cell: CELL,
  /** For `millrace serve`. */
  flags: z.string(),
  /** What there is to say beside the figures; often nothing. */
  text: z.string(),
  /** What the server itself made of the traffic with this setting, under load; missing: it was not asked. */
  checked: CHECK.optional(),
});

export type Recommendation = z.infer<typeof RECOMMENDATION>;

/** Responses per second over one link, with the policy `adaptive` and with each rung of its ladder alone. */
const ADAPTIVE_ROW = z.object({
  link: z.string(),
  /** By rung, from plain to the densest. */
  fixed: z.array(z.number()),
  adaptive: z.number(),
  /** Adaptive against the best fixed rung. */
  share: z.number(),
});

export type AdaptiveRow = z.infer<typeof ADAPTIVE_ROW>;

const ADAPTIVE_TABLE = z.object({
  /** `plain` or a level of `zstd-8mb`. */
  rungs: z.array(z.union([z.literal('plain'), z.int()])),
  rows: z.array(ADAPTIVE_ROW),
});

export type AdaptiveTable = z.infer<typeof ADAPTIVE_TABLE>;

const RESULTS = z.object({
  millraceExperiment: z.literal(RESULTS_VERSION),
  date: z.string(),
  setup: SETUP,
  machine: MACHINE,
  cells: z.array(CELL_RESULT),
  recommendations: z.array(RECOMMENDATION),
  /** Those that cells name; missing: none. */
  dictionaries: z.array(DICTIONARY).max(MAX_DICTIONARIES).optional(),
  /** Why settings with dictionaries were left out, in words; missing: none were. */
  untrained: z.string().optional(),
  /** What the aims `connections` and `cost` go by; missing: they were not asked for. */
  budget: BUDGET.optional(),
  prices: PRICES.optional(),
  /** What was measured less than asked for because time was short, in words; missing: nothing. */
  shortened: z.string().optional(),
  /** What of the sources could not be taken, the first of it; missing: nothing. */
  skipped: z.array(z.object({ path: z.string(), error: z.string() })).optional(),
  /** How many there were in all. */
  skippedCount: z.int().optional(),
  /** Simulated; missing: it was not asked for. */
  adaptive: ADAPTIVE_TABLE.optional(),
});

export type Results = z.infer<typeof RESULTS>;

/** What all that a setting has sent comes to, its dictionaries too. */
export function bytesSent({ wireBytes, dictionaryBytes = 0 }: Measures): number {
  return wireBytes + dictionaryBytes;
}

/** Memory of a setting's contexts on so many connections. */
export function memoryAt({ connectionBytes, laneBytes = 0 }: Measures, connections: number): number {
  return connectionBytes * connections + laneBytes;
}

/** A cell that has measures. */
export type DoneCell = CellResult & { measures: Measures };

export function doneCells(cells: readonly CellResult[]): DoneCell[] {
  return cells.filter((each): each is DoneCell => each.measures !== undefined);
}

/** @throws Error that says what is wrong with the file. */
export function readResults(path: string): Results {
  let content: unknown;
  try {
    content = JSON.parse(readRegularFile(path).toString());
  } catch (error) {
    throw new Error(`${path}: ${problemOf(error)}`, { cause: error });
  }
  const result = RESULTS.safeParse(content);
  if (result.success) return result.data;
  const { millraceExperiment: version } = (content ?? {}) as { millraceExperiment?: unknown };
  if (typeof version === 'number' && version !== RESULTS_VERSION)
    throw new Error(
      `${path}: results of version ${version}; this millrace reads ${RESULTS_VERSION}: run the experiment again with --resume`,
    );
  const [{ path: at, message }] = result.error.issues;
  throw new Error(`${path}: not the results of an experiment: ${at.join('.')}: ${message}`);
}

/** `results.csv`: one row per cell, one column per figure. */
export function toCsv({ cells }: Results): string {
  const rows = cells.map(({ cell: { contexts, ...cell }, measures, error }) => ({
    name: cellName({ ...cell, contexts }),
    ...cell,
    level: cell.level ?? '',
    windowLog: cell.windowLog ?? '',
    tuning: cell.tuning ?? '',
    dictionary: cell.dictionary ?? '',
    // Beside how many there are.
    contextUse: contexts ?? 'kept',
    ratio: measures?.ratio,
    wireBytes: measures?.wireBytes,
    ratioP5: measures?.ratioSpread.p5,
    ratioP50: measures?.ratioSpread.p50,
    ratioP95: measures?.ratioSpread.p95,
    compressMicrosPerMB: measures?.compress.microsPerMB,
    compressMicrosPerResponse: measures?.compress.microsPerResponse,
    mainMicrosPerResponse: measures?.mainMicrosPerResponse,
    rounds: measures?.compress.rounds.length,
    loadShare: measures?.loadShare,
    decompressMicrosPerMB: measures?.decompress.microsPerMB,
    decompressMicrosPerResponse: measures?.decompress.microsPerResponse,
    contexts: measures?.contexts,
    contextBytes: measures?.contextBytes,
    connectionBytes: measures?.connectionBytes,
    laneBytes: measures?.laneBytes,
    dictionaryBytes: measures?.dictionaryBytes,
    morePercentThanSingle: measures?.single.morePercent,
    httpRatio: measures?.http?.ratio,
    httpCompressMicrosPerMB: measures?.http?.compressMicrosPerMB,
    ...Object.fromEntries(
      (measures?.links ?? []).flatMap(({ bitsPerSecond, firstByteMs, responseMs, responsesPerSecond }) => [
        [`firstByteP50Ms@${bitsPerSecond}`, firstByteMs.p50],
        [`responseP50Ms@${bitsPerSecond}`, responseMs.p50],
        [`responseP99Ms@${bitsPerSecond}`, responseMs.p99],
        [`responsesPerSecond@${bitsPerSecond}`, responsesPerSecond],
      ]),
    ),
    error,
  }));
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const lines = rows.map((row) =>
    columns.map((column) => csvField((row as Record<string, unknown>)[column])).join(','),
  );
  return `${[columns.join(','), ...lines].join('\n')}\n`;
}

function csvField(value: unknown): string {
  const text = typeof value === 'number' ? `${Number(value.toPrecision(6))}` : String(value ?? '');
  // A spreadsheet would run what begins like a formula.
  const safe = typeof value === 'string' && /^[=+\-@]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
