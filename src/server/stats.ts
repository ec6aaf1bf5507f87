/** The figures of a server: its lanes, its streams, its cache, its contexts, its input. */

import type { ResponseCache } from '../lanes/cache.ts';
import type { StreamFigures } from '../lanes/figures.ts';
import type { LanePool } from '../lanes/pool.ts';
import type { QuarantineRow } from '../lanes/quarantine.ts';
import type { InputBudget } from '../reactor/input-budget.ts';
import type { TopicRow } from '../topics/topic.ts';
import type { Topics } from '../topics/topics.ts';
import type { Sessions } from './sessions.ts';

export interface ServerStats {
  lanes: LaneRow[];
  streams: StreamRow[];
  cache: { entries: number; bytes: number; hits: number; misses: number };
  connections: number;
  /** The server's topics. */
  topics: TopicRow[];
  /** Encoding contexts: bytes they are accounted with, their budget, and how often it ran out. */
  contexts: { bytes: number; limit: number; givenUp: number; shrunk: number; refused: number };
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
  lane: number;
  cpuSeconds: number;
  memoryBytes: number;
  openStreams: number;
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

export async function statsOf(
  pool: LanePool,
  cache: ResponseCache,
  sessions: Sessions,
  topics: Topics,
  input: InputBudget,
): Promise<ServerStats> {
  const { lanes, cpuOf } = await laneFigures(pool);
  const { entries, bytes, hits, misses } = cache;
  const { budget } = pool;
  return {
    lanes,
    streams: sessions.streams(cpuOf),
    cache: { entries, bytes, hits, misses },
    connections: sessions.count,
    topics: topics.rows,
    contexts: { bytes: budget.used, limit: budget.limit, ...budget.counts },
    input: { bytes: input.used, limit: input.limit, ...input.counts },
    quarantine: pool.quarantine.rows,
  };
}

/** A lane that dies before it answers has no row. */
async function laneFigures({ lanes }: LanePool): Promise<{ lanes: LaneRow[]; cpuOf: CpuOf }> {
  const figures = await Promise.all(lanes.map((lane) => lane.stats()));
  const rows: LaneRow[] = [];
  const bySlot = new Map<string, number>();
  lanes.forEach((lane, i) => {
    const stats = figures[i];
    if (stats === undefined) return;
    const { cpuSeconds, memoryBytes, slots } = stats;
    rows.push({ lane: lane.index, cpuSeconds, memoryBytes, openStreams: lane.openSlots, ...lane.totals });
    const total = slots.reduce((sum, { seconds }) => sum + seconds, 0) || 1;
    for (const { slot, seconds } of slots)
      bySlot.set(`${lane.index}/${slot}`, (cpuSeconds * seconds) / total);
  });
  return { lanes: rows, cpuOf: (lane, slot) => bySlot.get(`${lane}/${slot}`) ?? 0 };
}
