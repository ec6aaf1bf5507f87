/** What a server has done between two looks at its figures, those who look left out. */

import type { LiveFigures } from '../server/live-figures.ts';

/** Rates are per second. */
export interface Moment {
  readonly figures: LiveFigures;
  /** Response bytes before encoding, and on the wire. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly received: number;
  readonly sent: number;
  /** Of the bytes before encoding to those on the wire; undefined: there were none. */
  readonly ratio: number | undefined;
  readonly requests: number;
  readonly inFlight: number;
  /** Open connections. */
  readonly connections: number;
  /** Seconds of CPU in a second, of the whole process; of the main thread, how much of the time it was at work. */
  readonly cpu: number;
  readonly mainBusy: number;
  readonly lanes: ReadonlyMap<number, LaneMoment>;
  /** Bytes a second that each connection was sent, by its ID. */
  readonly peers: ReadonlyMap<number, number>;
  /** Requests a second by command. */
  readonly commands: ReadonlyMap<string, number>;
  /** What those who look were sent. */
  readonly watching: number;
}

export interface LaneMoment {
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly ratio: number | undefined;
  /** Of a core. */
  readonly cpu: number;
  readonly busy: number;
  readonly queuedBytes: number;
}

export const LIVE_COMMAND = 'server.stats';

type Sums = Pick<LiveFigures['watching'], 'bytesIn' | 'bytesOut'>;

/** What has come to pass from `before` to `now`; undefined: they are of two servers, or of one time. */
export function momentOf(before: LiveFigures, now: LiveFigures): Moment | undefined {
  const seconds = (now.atMs - before.atMs) / 1000;
  const isOther =
    now.process.id !== before.process.id || now.process.uptimeSeconds < before.process.uptimeSeconds;
  if (isOther || seconds <= 0) return undefined;
  // Figures of what has ended in between may be gone: nothing is done less than not at all.
  const rate = (of: (figures: LiveFigures) => number) => Math.max(0, of(now) - of(before)) / seconds;
  const bytesIn = rate((figures) => encoded(figures).bytesIn);
  const bytesOut = rate((figures) => encoded(figures).bytesOut);
  return {
    figures: now,
    bytesIn,
    bytesOut,
    received: rate(({ connectionTotals, watching }) => connectionTotals.bytesRead - watching.bytesRead),
    sent: rate(({ connectionTotals, watching }) => connectionTotals.bytesWritten - watching.bytesWritten),
    ratio: ratioOf({ bytesIn, bytesOut }),
    requests: rate((figures) => othersOf(figures).reduce((sum, row) => sum + over(row), 0)),
    inFlight: othersOf(now).reduce((sum, { running }) => sum + running, 0),
    connections: now.connections - now.watching.connections,
    cpu: rate((figures) => figures.process.cpuSeconds),
    mainBusy: rate((figures) => figures.process.busySeconds),
    lanes: new Map(now.lanes.map((row) => [row.lane, laneMoment(before, row, seconds)])),
    peers: new Map(now.peers.map((row) => [row.connectionId, sentTo(before, row, seconds)])),
    commands: new Map(othersOf(now).map((row) => [row.command, doneOf(before, row, seconds)])),
    watching: rate(({ watching }) => watching.bytesWritten),
  };
}

export function ratioOf({ bytesIn, bytesOut }: Sums): number | undefined {
  return bytesOut > 0 ? bytesIn / bytesOut : undefined;
}

/** All commands but that of who looks. */
export function othersOf({ commands }: LiveFigures): LiveFigures['commands'] {
  return commands.filter(({ command }) => command !== LIVE_COMMAND);
}

/** Requests of a command that are over. */
export function over({ codes }: LiveFigures['commands'][number]): number {
  return Object.values(codes).reduce((sum, count) => sum + count, 0);
}

function encoded({ profiles, watching }: LiveFigures): Sums {
  const sum = (name: keyof Sums) => profiles.reduce((total, row) => total + row[name], -watching[name]);
  return { bytesIn: sum('bytesIn'), bytesOut: sum('bytesOut') };
}

function laneMoment(before: LiveFigures, now: LiveFigures['lanes'][number], seconds: number): LaneMoment {
  const then = before.lanes.find(({ lane }) => lane === now.lane);
  // One that was opened again counts from 0.
  const rate = (name: 'bytesIn' | 'bytesOut' | 'cpuSeconds' | 'busySeconds') =>
    Math.max(0, now[name] - (then === undefined || then[name] > now[name] ? 0 : then[name])) / seconds;
  const sums = { bytesIn: rate('bytesIn'), bytesOut: rate('bytesOut') };
  const { queuedBytes } = now;
  return { ...sums, ratio: ratioOf(sums), cpu: rate('cpuSeconds'), busy: rate('busySeconds'), queuedBytes };
}

function sentTo(before: LiveFigures, now: LiveFigures['peers'][number], seconds: number): number {
  const then = before.peers.find(({ connectionId }) => connectionId === now.connectionId);
  return then === undefined ? 0 : (now.bytesWritten - then.bytesWritten) / seconds;
}

function doneOf(before: LiveFigures, now: LiveFigures['commands'][number], seconds: number): number {
  const then = before.commands.find(({ command }) => command === now.command);
  return (over(now) - (then === undefined ? 0 : over(then))) / seconds;
}
