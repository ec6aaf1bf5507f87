/**
 * Part of `scaling`: more lanes than the machine has cores. Each lane, and the main thread, is held to 1 ms of every
 * 10 ms, which is a core a tenth as fast; the client is not held. Two real cores carry a dozen of those.
 */

import { median } from '../../src/experiment/results/statistics.ts';
import type { BenchContext, Chart, Table } from '../bench.ts';
import { EmulatedCores, PERIOD_US, QUOTA_US } from '../cgroup.ts';
import { type Figure, figure } from '../figures.ts';
import { makePayloads, noteOf, type PayloadNote, type PayloadSpec } from '../payloads.ts';
import type { Measurement, Rig } from '../proc.ts';
import { pairedRatio } from '../stats.ts';
import { COMPILED_AFTER, type Contender, takeTurns } from '../turns.ts';

const LANES = [1, 2, 3, 4, 6, 8, 10, 12];
const QUICK_LANES = [1, 2, 4, 8];

interface Load {
  readonly what: string;
  readonly payloads: string;
  readonly connections: number;
  /** In all. */
  readonly inFlight: number;
}

const SMALL: Load = { what: '900 B', payloads: 'json900', connections: 8, inFlight: 800 };
/** As many in flight as one connection may have. */
const LARGE: Load = { what: '32 KiB', payloads: 'text32k', connections: 1, inFlight: 128 };

/** Enough that a lane of twelve sees none of them twice within the 2 MiB that level 3 remembers. */
const STREAMS = 2;

export interface Emulated {
  readonly tables: readonly Table[];
  readonly charts: readonly Chart[];
  readonly figures: readonly Figure[];
  readonly payloads: readonly PayloadNote[];
  readonly skipped: readonly string[];
  readonly raw: unknown;
}

/** Rounds of each number of lanes; those of two numbers were measured in turns. */
type ByLanes = ReadonlyMap<number, readonly Measurement[]>;

export async function measureEmulated(context: BenchContext): Promise<Emulated> {
  const prepared = EmulatedCores.prepare();
  if (typeof prepared === 'string') return nothing(prepared);
  prepared[Symbol.dispose]();
  const small = await measure(SMALL, context);
  const large = await measure(LARGE, context);
  const both: [Load, ByLanes][] = [
    [SMALL, small],
    [LARGE, large],
  ];
  return {
    tables: [
      {
        title: `Emulated cores: ${QUOTA_US / 1000} ms of every ${PERIOD_US / 1000} ms for each lane and the main thread`,
        columns: [
          'payload',
          'lanes',
          'requests/s',
          'over one',
          'efficiency',
          'main % of its core',
          'main µs',
        ],
        rows: both.flatMap(([load, results]) => rows(load, results)),
      },
    ],
    charts: both.map(([load, results]) => chart(load, results)),
    figures: emulatedFigures(small, large),
    payloads: both.map(([{ payloads }]) => noteOf(makePayloads(specOf(payloads, context.seed)))),
    skipped: [],
    raw: both.map(([{ what }, results]) => ({ what, lanes: Object.fromEntries(results) })),
  };
}

function nothing(why: string): Emulated {
  const skipped = [`lanes on emulated cores: ${why}`];
  return { tables: [], charts: [], figures: emulatedFigures(), payloads: [], skipped, raw: null };
}

const specOf = (name: string, seed: number): PayloadSpec => ({ name, seed, streams: STREAMS });

async function measure(load: Load, context: BenchContext): Promise<ByLanes> {
  const counts = context.quick ? QUICK_LANES : LANES;
  const contenders = counts.map((lanes): Contender => {
    const { what, payloads, connections, inFlight } = load;
    return {
      label: `${what}, ${lanes} emulated lanes`,
      rig: {
        peer: 'millrace',
        payloads: specOf(payloads, context.seed),
        options: { workers: lanes, streams: lanes, policy: 'shared', handler: 'worker' },
        connections,
      },
      shape: { kind: 'closed', inFlight: Math.ceil(inFlight / connections) },
      // On whole cores: on a tenth of one the just-in-time compiler would take the whole measurement to be done.
      warmResponses: COMPILED_AFTER,
      prepare: (rig) => emulate(rig, lanes),
    };
  });
  const results = await takeTurns({ contenders, rounds: [5, 3], seconds: [2, 1] }, context);
  return new Map(counts.map((lanes, i) => [lanes, results.get(contenders[i]!.label)!]));
}

async function emulate(rig: Rig, lanes: number): Promise<Disposable> {
  const { pid, main, workers } = await rig.serverThreads();
  if (workers.length !== lanes)
    throw new Error(`${workers.length} threads are named as workers, not ${lanes}`);
  const cores = EmulatedCores.prepare();
  if (typeof cores === 'string') throw new Error(cores);
  try {
    cores.hold(pid, [main, ...workers]);
    return cores;
  } catch (error) {
    cores[Symbol.dispose]();
    throw error;
  }
}

const speed = ({ requestsPerSecond }: Measurement) => requestsPerSecond;

function rows({ what }: Load, results: ByLanes): (string | number)[][] {
  const one = results.get(1)!.map(speed);
  return [...results].map(([lanes, rounds]) => {
    const over = pairedRatio(rounds.map(speed), one).median;
    const busy = (cpuOf: (m: Measurement) => number) =>
      Math.round((median(rounds.map((m) => cpuOf(m) * m.requestsPerSecond)) / 1e4) * (PERIOD_US / QUOTA_US));
    return [
      what,
      lanes,
      Math.round(median(rounds.map(speed))),
      Number(over.toFixed(2)),
      Number((over / lanes).toFixed(2)),
      busy(({ cpu }) => cpu.workers.reduce((a, b) => a + b, 0) / lanes),
      busy(({ cpu }) => cpu.main),
      Number(median(rounds.map(({ cpu }) => cpu.main)).toFixed(1)),
    ];
  });
}

function chart({ what }: Load, results: ByLanes): Chart {
  const one = median(results.get(1)!.map(speed));
  return {
    title: `Lanes on emulated cores, ${what}`,
    kind: 'line',
    x: 'lanes',
    y: 'throughput over one lane',
    series: 'what',
    points: [...results].flatMap(([lanes, rounds]) => [
      { lanes, 'throughput over one lane': median(rounds.map(speed)) / one, what: 'measured' },
      { lanes, 'throughput over one lane': lanes, what: 'a core’s worth each' },
    ]),
  };
}

/** Null where it was not measured. */
export function emulatedFigures(small?: ByLanes, large?: ByLanes): Figure[] {
  return [
    monotone(small),
    overOne('scaling.small_4', 4, small),
    overOne('scaling.small_8', 8, small),
    overOne('scaling.frame32k_8', 8, large, 8),
    overOne('scaling.frame32k_12', 12, large, 12),
  ];
}

function overOne(id: string, lanes: number, results?: ByLanes, share = 1): Figure {
  const many = results?.get(lanes);
  if (results === undefined || many === undefined) return figure(id, null);
  const ratio = pairedRatio(
    many.map((round) => speed(round) / share),
    results.get(1)!.map(speed),
  );
  return figure(id, ratio.median, ratio);
}

/** The worst that more lanes did to the best of fewer; the rounds' spread is that of each round by itself. */
function monotone(results?: ByLanes): Figure {
  const id = 'scaling.small_monotone';
  if (results === undefined) return figure(id, null);
  const counts = [...results.keys()].sort((a, b) => a - b);
  const worst = (of: (lanes: number) => number) => {
    const speeds = counts.map(of);
    return Math.min(...speeds.slice(1).map((value, i) => value / Math.max(...speeds.slice(0, i + 1))));
  };
  const rounds = results.get(1)!.map((_, round) => worst((lanes) => speed(results.get(lanes)![round]!)));
  return figure(
    id,
    worst((lanes) => median(results.get(lanes)!.map(speed))),
    { min: Math.min(...rounds), max: Math.max(...rounds) },
  );
}
