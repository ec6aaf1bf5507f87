/** The figures of a server: its lanes, its streams, its cache, its contexts, its input. */

import type { ResponseCache } from '../lanes/cache.ts';
import type { StreamFigures } from '../lanes/figures.ts';
import type { LanePool } from '../lanes/pool.ts';
import type { QuarantineRow } from '../lanes/quarantine.ts';
import type { Gate } from '../reactor/gate.ts';
import type { InputBudget } from '../reactor/input-budget.ts';
import type { TopicRow } from '../topics/topic.ts';
import type { Topics } from '../topics/topics.ts';
import type { CommandRow } from './command-figures.ts';
import type { CommandTable } from './commands.ts';
import type { Sessions } from './sessions.ts';
import type { ConnectionTotals, ProfileRow, Totals } from './totals.ts';

/** What a server does, and has done: sums are since it was made, where nothing else is said. */
export interface ServerStats {
  /** `draining` from the first {@link Server.close} on. */
  state: 'serving' | 'draining';
  lanes: LaneRow[];
  /** How often a lane was opened again, of all lanes. */
  laneRestarts: number;
  streams: StreamRow[];
  cache: { entries: number; bytes: number; hits: number; misses: number };
  connections: number;
  /** Connections since the server was made, those that are open among them. */
  connectionTotals: ConnectionTotals;
  commands: CommandRow[];
  profiles: ProfileRow[];
  /** How often peers have reached a limit, by its name. */
  limitsHit: Record<string, number>;
  /** Output that waits on any connection, and how much may before handlers wait. */
  output: { bytes: number; limit: number };
  /** The server's topics. */
  topics: TopicRow[];
  /** Encoding contexts: bytes they are accounted with, their budget, how many of them are not made as yet, and how often it ran out. */
  contexts: {
    bytes: number;
    limit: number;
    early: number;
    givenUp: number;
    shrunk: number;
    refused: number;
  };
  /**
   * What peers have sent and we hold: bytes, their budget, and for how many requests it had no room: refused before anything
   * of them ran, or cancelled with their command data unread.
   */
  input: { bytes: number; limit: number; refused: number; cancelled: number };
  /** What has ended workers: commands, or encoders and decoders of a profile. */
  quarantine: QuarantineRow[];
}

/** Figures of one lane since it opened. */
export interface LaneRow {
  /** Its index. */
  lane: number;
  /** CPU of its thread. */
  cpuSeconds: number;
  /** Of its JavaScript heap, and of what that has outside of it. */
  memoryBytes: number;
  /** Seconds that its event loop was at work. */
  busySeconds: number;
  /** Bytes that its thread has been sent, or is about to be, and is not done with. */
  queuedBytes: number;
  openStreams: number;
  /** Whether it is one of those that the load needs; the others rest: what is new goes elsewhere. */
  inUse: boolean;
  /** Response frames, their payload bytes before encoding, and what they were on the wire, headers included. */
  frames: number;
  bytesIn: number;
  bytesOut: number;
}

/** Figures of one response stream. */
export interface StreamRow extends StreamFigures {
  remote: string;
  /** The lane's CPU, shared out by time spent in the stream's encoder. */
  cpuSeconds: number;
}

/** CPU seconds of a stream that has this slot in this lane. */
export type CpuOf = (lane: number, slot: number) => number;

/** Whose figures they are. */
export interface Measured {
  readonly pool: LanePool;
  readonly cache: ResponseCache;
  readonly sessions: Sessions;
  readonly topics: Topics;
  readonly commands: CommandTable;
  readonly totals: Totals;
  readonly output: Gate;
  readonly input: InputBudget;
  readonly isDraining: () => boolean;
}

/** All but the figures of single streams, which may be many. */
export type Summary = Omit<ServerStats, 'streams'>;

export async function statsOf(of: Measured): Promise<ServerStats> {
  const { summary, cpuOf } = await summaryOf(of);
  return { ...summary, streams: of.sessions.streams(cpuOf) };
}

export async function summaryOf(of: Measured): Promise<{ summary: Summary; cpuOf: CpuOf }> {
  const { pool, cache, sessions, topics, commands, totals, output, input, isDraining } = of;
  const { lanes, early, cpuOf } = await laneFigures(pool);
  const { entries, bytes, hits, misses } = cache;
  const { budget } = pool;
  const summary: Summary = {
    state: isDraining() ? 'draining' : 'serving',
    lanes,
    laneRestarts: pool.restarts.reduce((sum, times) => sum + (times ?? 0), 0),
    cache: { entries, bytes, hits, misses },
    connections: sessions.count,
    connectionTotals: sessions.connections(),
    commands: commands.rows,
    profiles: sessions.profiles(),
    limitsHit: totals.limits,
    output: { bytes: output.used, limit: output.limit },
    topics: topics.rows,
    contexts: { bytes: budget.used, limit: budget.limit, early, ...budget.counts },
    input: { bytes: input.used, limit: input.limit, ...input.counts },
    quarantine: pool.quarantine.rows,
  };
  return { summary, cpuOf };
}

/** A lane that dies before it answers has no row. */
async function laneFigures({
  lanes,
  inUse,
}: LanePool): Promise<{ lanes: LaneRow[]; early: number; cpuOf: CpuOf }> {
  const figures = await Promise.all(lanes.map((lane) => lane.stats()));
  const rows: LaneRow[] = [];
  const bySlot = new Map<string, number>();
  let early = 0;
  lanes.forEach((lane, i) => {
    const stats = figures[i];
    if (stats === undefined) return;
    const { cpuSeconds, busySeconds, memoryBytes, slots } = stats;
    early += stats.early;
    const { index, queuedBytes, openSlots: openStreams, totals } = lane;
    rows.push({
      lane: index,
      cpuSeconds,
      busySeconds,
      memoryBytes,
      queuedBytes,
      openStreams,
      inUse: inUse.has(lane),
      ...totals,
    });
    const total = slots.reduce((sum, { seconds }) => sum + seconds, 0) || 1;
    for (const { slot, seconds } of slots)
      bySlot.set(`${lane.index}/${slot}`, (cpuSeconds * seconds) / total);
  });
  return { lanes: rows, early, cpuOf: (lane, slot) => bySlot.get(`${lane}/${slot}`) ?? 0 };
}
