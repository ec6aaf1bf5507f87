/** The metrics of a server, but for its histograms: name, kind, what it says, and where in the figures it is. */

import type { ServerStats } from '../index.ts';

export type Sample = readonly [value: number, labels?: Readonly<Record<string, string>>];

export interface Definition {
  readonly name: string;
  readonly kind: 'counter' | 'gauge';
  readonly help: string;
  readonly labels?: readonly string[];
  /** `process`: which one it is of those that share a port. */
  readonly samples: (stats: ServerStats, process: string) => readonly Sample[];
}

type Read = (stats: ServerStats) => number;

const counter = (name: string, help: string, read: Read): Definition => ({
  name: `millrace_${name}_total`,
  kind: 'counter',
  help,
  samples: (stats) => [[read(stats)]],
});

const gauge = (name: string, help: string, read: Read): Definition => ({
  name: `millrace_${name}`,
  kind: 'gauge',
  help,
  samples: (stats) => [[read(stats)]],
});

type Lane = ServerStats['lanes'][number];

const ofLanes = (
  kind: Definition['kind'],
  name: string,
  help: string,
  read: (lane: Lane) => number,
): Definition => ({
  name: `millrace_lane_${name}${kind === 'counter' ? '_total' : ''}`,
  kind,
  help,
  labels: ['process', 'lane'],
  samples: ({ lanes }, process) => lanes.map((lane) => [read(lane), { process, lane: String(lane.lane) }]),
});

type Command = ServerStats['commands'][number];

const ofCommands = (
  kind: Definition['kind'],
  name: string,
  help: string,
  read: (command: Command) => number,
): Definition => ({
  name: `millrace_${name}${kind === 'counter' ? '_total' : ''}`,
  kind,
  help,
  labels: ['command'],
  samples: ({ commands }) => commands.map((row) => [read(row), { command: row.command }]),
});

type Profile = ServerStats['profiles'][number];

const ofProfiles = (name: string, help: string, read: (profile: Profile) => number): Definition => ({
  name: `millrace_${name}_total`,
  kind: 'counter',
  help,
  labels: ['profile'],
  samples: ({ profiles }) => profiles.map((row) => [read(row), { profile: row.profile }]),
});

const byName = (
  name: string,
  help: string,
  label: string,
  read: (stats: ServerStats) => Record<string, number>,
): Definition => ({
  name: `millrace_${name}_total`,
  kind: 'counter',
  help,
  labels: [label],
  samples: (stats) => Object.entries(read(stats)).map(([key, value]) => [value, { [label]: key }]),
});

const sum = <Name extends string>(rows: readonly Readonly<Record<Name, number>>[], name: Name) =>
  rows.reduce((total, row) => total + row[name], 0);

export const DEFINITIONS: readonly Definition[] = [
  gauge('draining', '1 once the server has begun to stop', ({ state }) => (state === 'draining' ? 1 : 0)),
  gauge('connections', 'Open connections', ({ connections }) => connections),
  counter(
    'connections_opened',
    'Connections that have come',
    ({ connectionTotals }) => connectionTotals.opened,
  ),
  byName(
    'connections_closed',
    'Connections that have ended, by how',
    'code',
    ({ connectionTotals }) => connectionTotals.closed,
  ),
  counter('received_bytes', 'Bytes from peers', ({ connectionTotals }) => connectionTotals.bytesRead),
  counter('sent_bytes', 'Bytes to peers', ({ connectionTotals }) => connectionTotals.bytesWritten),
  byName(
    'limits_hit',
    'Connections that have ended because of a limit, or were one too many, by its name',
    'limit',
    ({ limitsHit }) => limitsHit,
  ),
  {
    name: 'millrace_requests_total',
    kind: 'counter',
    help: 'Requests that are over, by command and code: ok, or that of the error',
    labels: ['command', 'code'],
    samples: ({ commands }) =>
      commands.flatMap(({ command, codes }) =>
        Object.entries(codes).map(([code, count]): Sample => [count, { command, code }]),
      ),
  },
  ofCommands('gauge', 'requests_running', 'Requests under way', ({ running }) => running),
  ofCommands('counter', 'response_bytes', 'Response bytes before encoding', ({ bytes }) => bytes),
  ofCommands(
    'counter',
    'response_wire_bytes',
    'Response bytes on the wire, with frame headers',
    ({ wireBytes }) => wireBytes,
  ),
  ofProfiles('profile_frames', 'Response frames by profile', ({ frames }) => frames),
  ofProfiles('profile_input_bytes', 'Response bytes before encoding, by profile', ({ bytesIn }) => bytesIn),
  ofProfiles('profile_output_bytes', 'Response bytes on the wire, by profile', ({ bytesOut }) => bytesOut),
  gauge('lanes', 'Worker threads that serve', ({ lanes }) => lanes.length),
  counter(
    'lane_restarts',
    'Workers that have died, or were ended, and were replaced',
    ({ laneRestarts }) => laneRestarts,
  ),
  ofLanes('counter', 'cpu_seconds', 'CPU of a worker since it started', ({ cpuSeconds }) => cpuSeconds),
  ofLanes(
    'counter',
    'busy_seconds',
    'Time that the event loop of a worker was at work',
    ({ busySeconds }) => busySeconds,
  ),
  ofLanes('gauge', 'queued_bytes', 'Bytes that a worker has not done with', ({ queuedBytes }) => queuedBytes),
  ofLanes('gauge', 'memory_bytes', 'Heap and external memory of a worker', ({ memoryBytes }) => memoryBytes),
  ofLanes('gauge', 'streams', 'Open streams of a worker', ({ openStreams }) => openStreams),
  ofLanes('gauge', 'in_use', '1 while the load needs the worker, 0 while it rests', ({ inUse }) =>
    Number(inUse),
  ),
  gauge(
    'contexts_bytes',
    'Memory that encoding contexts are accounted with',
    ({ contexts }) => contexts.bytes,
  ),
  gauge('contexts_limit_bytes', 'Memory that they may take', ({ contexts }) => contexts.limit),
  counter(
    'contexts_given_up',
    'Idle contexts that were given up for want of room',
    ({ contexts }) => contexts.givenUp,
  ),
  counter(
    'contexts_shrunk',
    'Contexts that were made smaller for want of room',
    ({ contexts }) => contexts.shrunk,
  ),
  counter(
    'contexts_refused',
    'Contexts that were not made for want of room',
    ({ contexts }) => contexts.refused,
  ),
  gauge('output_bytes', 'Output that waits for peers', ({ output }) => output.bytes),
  gauge('output_limit_bytes', 'Output that may, before handlers wait', ({ output }) => output.limit),
  gauge('input_bytes', 'What peers have sent and is held', ({ input }) => input.bytes),
  gauge('input_limit_bytes', 'How much of that may be held', ({ input }) => input.limit),
  counter(
    'input_refused',
    'Requests that were refused for want of room for what they send',
    ({ input }) => input.refused,
  ),
  counter('input_cancelled', 'Requests that were cancelled for want of room', ({ input }) => input.cancelled),
  gauge(
    'quarantined',
    'Commands and profiles that are held because they have ended workers',
    ({ quarantine }) => quarantine.filter(({ state }) => state !== 'free').length,
  ),
  gauge('topics', 'Topics', ({ topics }) => topics.length),
  gauge('topic_subscribers', 'Subscribers of all topics', ({ topics }) => sum(topics, 'subscribers')),
  gauge('topic_subscribers_behind', 'Those that have not taken all', ({ topics }) => sum(topics, 'behind')),
  gauge('topic_bytes', 'Messages of topics that are kept', ({ topics }) => sum(topics, 'bytes')),
  gauge('cache_bytes', 'Compressed outputs in the cache', ({ cache }) => cache.bytes),
  gauge('cache_entries', 'Entries of the cache', ({ cache }) => cache.entries),
  counter('cache_hits', 'Outputs that came from the cache', ({ cache }) => cache.hits),
  counter('cache_misses', 'Outputs that had to be made for the cache', ({ cache }) => cache.misses),
];
