/**
 * What the benches must show: one row per promise, in one place. The bench that measures a row hands its value to
 * {@link figure}; `all` reports every row, also those that no bench could measure here.
 */

export interface Goal {
  readonly id: string;
  readonly bench: string;
  readonly what: string;
  /** The bound and on which side of it the value must be. */
  readonly bound: number;
  readonly side: 'at most' | 'at least';
  readonly unit: string;
}

export interface Figure {
  readonly id: string;
  readonly what: string;
  /** Null: not measured in this run; the bench's notes say why. */
  readonly value: number | null;
  /** Of the rounds; missing where there was one measurement. */
  readonly spread?: readonly [number, number];
  readonly goal: string;
  readonly unit: string;
  readonly ok: boolean | null;
}

const goal = (
  id: string,
  bench: string,
  side: Goal['side'],
  bound: number,
  unit: string,
  what: string,
): readonly [string, Goal] => [id, { id, bench, what, bound, side, unit }];

export const GOALS: ReadonlyMap<string, Goal> = new Map([
  goal(
    'small.cpu_vs_ws',
    'peers',
    'at most',
    1 / 28,
    '×',
    '900 B, contexts none with a dictionary: server CPU per response against ws + deflate',
  ),
  goal('small.cpu_vs_h2', 'peers', 'at most', 1 / 8, '×', '… server CPU against http2 + sync zstd'),
  goal('small.wire_vs_ws', 'peers', 'at most', 0.85, '×', '… bytes on the wire against ws + deflate'),
  goal('small.wire_vs_h2', 'peers', 'at most', 0.36, '×', '… bytes on the wire against http2 + zstd'),
  goal('small.rps_vs_ws', 'peers', 'at least', 32, '×', '… requests per second against ws + deflate'),
  goal('small.rps_vs_h2', 'peers', 'at least', 10, '×', '… requests per second against http2 + sync zstd'),
  goal(
    'small.cpu_vs_ws_plain',
    'dictionary',
    'at most',
    0.9,
    '×',
    '900 B: server CPU per response, contexts none with a dictionary, against ws without compression',
  ),
  goal(
    'many.cpu_1000_vs_ws_deflate',
    'dictionary',
    'at most',
    1 / 7,
    '×',
    '1 000 connections taking turns, 900 B: server CPU, contexts auto with a dictionary, against ws + deflate',
  ),
  goal('many.cpu_1000_vs_ws_plain', 'dictionary', 'at most', 1.5, '×', '… against ws without compression'),
  goal('many.plain_1000_vs_ws_plain', 'dictionary', 'at most', 1, '×', '… and both without compression'),
  goal(
    'small.main_vs_c',
    'limit',
    'at most',
    0.3,
    '×',
    '900 B: main thread CPU per response over C libzstd for the record, handler in the worker',
  ),
  goal(
    'frame32k.worker_vs_c',
    'limit',
    'at most',
    1.12,
    '×',
    '32 KiB: worker CPU per frame against C libzstd',
  ),
  goal('frame32k.main_share', 'limit', 'at most', 1 / 10, '×', '32 KiB: main thread CPU over worker CPU'),
  goal(
    'frame32k.main_share_worker_handler',
    'limit',
    'at most',
    1 / 20,
    '×',
    '32 KiB: main thread CPU over worker CPU, handler in the worker',
  ),
  goal('scaling.cpu_2_vs_1', 'scaling', 'at most', 1.08, '×', 'worker CPU per MB with 2 lanes against 1'),
  goal(
    'scaling.small_monotone',
    'scaling',
    'at least',
    0.97,
    '×',
    '900 B, 8 connections, emulated cores: worst throughput over the best of fewer lanes',
  ),
  goal('scaling.small_4', 'scaling', 'at least', 3.5, '×', '900 B: throughput of 4 emulated lanes over one'),
  goal('scaling.small_8', 'scaling', 'at least', 5, '×', '900 B: throughput of 8 emulated lanes over one'),
  goal('scaling.frame32k_8', 'scaling', 'at least', 0.85, '×', '32 KiB: efficiency of 8 emulated lanes'),
  goal('scaling.frame32k_12', 'scaling', 'at least', 0.75, '×', '32 KiB: efficiency of 12 emulated lanes'),
  goal(
    'tree.bytes_vs_tar_zstd',
    'tree',
    'at most',
    0.95,
    '×',
    'tree of small files: bytes against tar | zstd -3',
  ),
  goal('tree.wall_vs_rsync', 'tree', 'at most', 1.1, '×', 'tree of small files: wall time against rsync -z'),
  goal(
    'tree.again_vs_rsync',
    'tree',
    'at most',
    1.1,
    '×',
    'the same tree again: wall time against rsync -z, the worse of nothing and one file in a hundred changed',
  ),
  goal(
    'cache.cpu_vs_encode',
    'cache',
    'at most',
    1 / 15,
    '×',
    'cached 32 KiB: server CPU against compressing it',
  ),
  goal(
    'cache.cpu_vs_nginx_static',
    'cache',
    'at most',
    1.5,
    '×',
    'cached 32 KiB: server CPU against nginx with gzip_static',
  ),
  goal(
    'memory.idle_connection',
    'memory',
    'at most',
    64,
    'KiB',
    'RSS of an idle connection with no open stream',
  ),
  goal(
    'links.adaptive_vs_best',
    'links',
    'at least',
    0.95,
    '×',
    'policy adaptive against the best fixed level, on the link where it does worst',
  ),
  goal(
    'links.adaptive_changing',
    'links',
    'at least',
    1,
    '×',
    'policy adaptive against the best fixed level, on a link that changes',
  ),
  goal(
    'topics.cpu_vs_ws_deflate',
    'topics',
    'at most',
    1 / 4,
    '×',
    '268 B to 500 subscribers: server CPU per delivered message against ws + deflate',
  ),
  goal(
    'topics.cpu_vs_ws_plain',
    'topics',
    'at most',
    1.05,
    '×',
    '268 B to 500 subscribers: server CPU per delivered message against ws without compression',
  ),
  goal(
    'topics.wire_ticks_vs_ws_deflate',
    'topics',
    'at most',
    1,
    '×',
    'price ticks: bytes on the wire per delivered message against ws + deflate',
  ),
  goal(
    'topics.wire_dashboard_vs_ws_deflate',
    'topics',
    'at most',
    1 / 4,
    '×',
    'a dashboard, rendered again: bytes on the wire per delivered message against ws + deflate',
  ),
  goal(
    'topics.memory',
    'topics',
    'at most',
    4,
    'KiB',
    'memory of an idle subscriber (heap and buffers, no garbage), beyond an idle connection',
  ),
  goal(
    'topics.encodes',
    'topics',
    'at most',
    2.5,
    '',
    'encoder calls per published message, 5 % of 500 subscribers joining every second',
  ),
  goal(
    'topics.slow',
    'topics',
    'at most',
    1.2,
    '×',
    '50 of 500 subscribers read nothing: p99 of the others against without them',
  ),
  goal('topics.p99', 'topics', 'at most', 25, 'ms', 'publish to received: p99, 500 subscribers, 40 a second'),
  goal(
    'dict.small_wire_vs_ws',
    'dictionary',
    'at most',
    0.85,
    '×',
    '900 B: bytes on the wire against ws + deflate, at no more CPU than level 3 kept',
  ),
  goal(
    'dict.first_response',
    'dictionary',
    'at most',
    0.65,
    '×',
    'first ten responses: bytes with a dictionary that is held, against none',
  ),
  goal(
    'dict.none_memory',
    'dictionary',
    'at most',
    24,
    'KiB',
    'RSS of a connection that has had responses, contexts none',
  ),
  goal(
    'dict.none_wire_vs_kept',
    'dictionary',
    'at most',
    1.1,
    '×',
    'contexts none with a dictionary: bytes against kept without one',
  ),
  goal(
    'dict.cpu_many_connections',
    'dictionary',
    'at most',
    0.3,
    '×',
    '1 000 connections taking turns: server CPU, contexts none against kept',
  ),
  goal(
    'dict.scaling_cpu_2_vs_1',
    'dictionary',
    'at most',
    1.05,
    '×',
    'contexts none: server CPU per response with 2 lanes against 1',
  ),
  goal(
    'dict.trainer_vs_zstd',
    'dictionary-trainer',
    'at least',
    0.97,
    '×',
    "our trainer's ratio over zstd's, worst of six corpora, kept and without a context",
  ),
  goal(
    'dict.browser_us',
    'dictionary-trainer',
    'at most',
    15,
    'µs',
    '900 B with a dictionary: CPU of the portable decoder',
  ),
  goal('latency.p99_half_load', 'latency', 'at most', 5, 'ms', '900 B: p99 at half of saturation'),
  goal(
    'latency.p99_vs_ws',
    'latency',
    'at most',
    0.5,
    '×',
    '900 B: p99 against ws + deflate, both at half of its saturation',
  ),
  goal(
    'latency.p99_vs_h2',
    'latency',
    'at most',
    0.5,
    '×',
    '900 B: p99 against http2 + sync zstd, both at half of its saturation',
  ),
  goal(
    'ops.metrics_cpu',
    'ops',
    'at most',
    1.03,
    '×',
    'server CPU per response with metrics against without',
  ),
  goal(
    'ops.requests_log_cpu',
    'ops',
    'at most',
    1.1,
    '×',
    'server CPU per response with metrics and a log of requests against neither',
  ),
  goal(
    'doors.ws_cpu_vs_tcp',
    'doors',
    'at most',
    1.25,
    '×',
    '900 B: server CPU per response over a WebSocket against TCP',
  ),
  goal(
    'doors.ws_cpu_vs_ws_deflate',
    'doors',
    'at most',
    1 / 12,
    '×',
    '900 B: server CPU per response over a WebSocket against ws + deflate',
  ),
  goal(
    'doors.http_vs_fastify_zstd',
    'doors',
    'at most',
    0.6,
    '×',
    '900 B: server CPU per response by HTTP against Fastify with @fastify/compress, zstd',
  ),
  goal('doors.bundle', 'doors', 'at most', 32, 'KiB', 'the browser client, gzipped'),
  goal(
    'doors.page_long_tasks',
    'doors',
    'at most',
    0,
    'tasks',
    'the live page open for a minute, its server under full load: tasks of over 50 ms',
  ),
]);

/** @throws RangeError for an id that is in no row. */
export function figure(id: string, value: number | null, spread?: { min: number; max: number }): Figure {
  const row = GOALS.get(id);
  if (row === undefined) throw new RangeError(`no figure '${id}'`);
  const { what, side, bound, unit } = row;
  return {
    id,
    what,
    value,
    ...(spread && { spread: [spread.min, spread.max] as const }),
    goal: `${side === 'at most' ? '≤' : '≥'} ${fraction(bound)}`,
    unit,
    ok: value === null ? null : side === 'at most' ? value <= bound : value >= bound,
  };
}

/** 1/18 reads better than 0.0556. */
function fraction(bound: number): string {
  const inverse = 1 / bound;
  return bound < 0.9 && Math.abs(inverse - Math.round(inverse)) < 0.01
    ? `1/${Math.round(inverse)}`
    : `${bound}`;
}
