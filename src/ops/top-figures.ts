/** What a server does just now: the difference of two pages of its metrics. */

import type { MetricPage, MetricSample } from './metric-page.ts';

/** One page, and when it was read. */
export interface Reading {
  readonly page: MetricPage;
  readonly atMs: number;
}

export interface TopFigures {
  readonly state: 'serving' | 'draining';
  /** Seconds between the two readings, over which all that is per second was counted. */
  readonly seconds: number;
  readonly processes: number;
  readonly connections: number;
  readonly connectionsPerSecond: number;
  readonly requestsPerSecond: number;
  readonly running: number;
  readonly receivedPerSecond: number;
  readonly sentPerSecond: number;
  /** Response bytes before encoding for each on the wire; undefined: there were none. */
  readonly ratio: number | undefined;
  /** Of outputs that could be cached, the share that was; undefined: there were none. */
  readonly cacheHits: number | undefined;
  /** Longest of a hundred waits for the main thread. */
  readonly loopDelayMs: number;
  readonly contexts: { readonly bytes: number; readonly limit: number };
  readonly output: { readonly bytes: number; readonly limit: number };
  readonly topics: { readonly topics: number; readonly subscribers: number; readonly behind: number };
  readonly lanes: readonly TopLane[];
  /** Slowest first, by the mean of their time. */
  readonly commands: readonly TopCommand[];
  /** Most frequent first; those that have come since the server was made. */
  readonly errors: readonly TopError[];
}

export interface TopLane {
  readonly process: string;
  readonly lane: string;
  /** Of one core, 0 … 1. */
  readonly cpu: number;
  readonly queuedBytes: number;
  readonly streams: number;
  readonly memoryBytes: number;
}

export interface TopCommand {
  readonly command: string;
  readonly perSecond: number;
  readonly running: number;
  /** From the command's last byte to its response's; undefined: none has ended. */
  readonly meanMs: number | undefined;
  /** As far as the buckets of its histogram tell. */
  readonly p99Ms: number | undefined;
  readonly bytesPerSecond: number;
  readonly ratio: number | undefined;
}

export interface TopError {
  readonly command: string;
  readonly code: string;
  readonly perSecond: number;
  readonly total: number;
}

/** `before` may be the same server with fewer processes, or before it was started anew: counters then begin at 0. */
export function topFigures(before: Reading, after: Reading): TopFigures {
  const change = new Change(before, after);
  const { page } = after;
  const [hits, misses] = ['hits', 'misses'].map((what) => change.of(`millrace_cache_${what}_total`));
  return {
    state: page.sum('millrace_draining') > 0 ? 'draining' : 'serving',
    seconds: change.seconds,
    processes: page.sum('millrace_processes') || 1,
    connections: page.sum('millrace_connections'),
    connectionsPerSecond: change.perSecond('millrace_connections_opened_total'),
    requestsPerSecond: change.perSecond('millrace_requests_total'),
    running: page.sum('millrace_requests_running'),
    receivedPerSecond: change.perSecond('millrace_received_bytes_total'),
    sentPerSecond: change.perSecond('millrace_sent_bytes_total'),
    ratio: change.ratio(),
    cacheHits: hits + misses === 0 ? undefined : hits / (hits + misses),
    loopDelayMs: page.sum('nodejs_eventloop_lag_p99_seconds') * 1000,
    contexts: budgetOf(page, 'contexts'),
    output: budgetOf(page, 'output'),
    topics: {
      topics: page.sum('millrace_topics'),
      subscribers: page.sum('millrace_topic_subscribers'),
      behind: page.sum('millrace_topic_subscribers_behind'),
    },
    lanes: lanesOf(change),
    commands: commandsOf(change),
    errors: errorsOf(change),
  };
}

class Change {
  readonly before: MetricPage;
  readonly after: MetricPage;
  readonly seconds: number;

  constructor(before: Reading, after: Reading) {
    this.before = before.page;
    this.after = after.page;
    this.seconds = Math.max(0.001, (after.atMs - before.atMs) / 1000);
  }

  /** What a counter has gained. */
  of(name: string, labels: MetricSample['labels'] = {}): number {
    const [then, now] = [this.before.sum(name, labels), this.after.sum(name, labels)];
    return now < then ? now : now - then;
  }

  perSecond(name: string, labels?: MetricSample['labels']): number {
    return this.of(name, labels) / this.seconds;
  }

  ratio(labels?: MetricSample['labels']): number | undefined {
    const wire = this.of('millrace_response_wire_bytes_total', labels);
    return wire === 0 ? undefined : this.of('millrace_response_bytes_total', labels) / wire;
  }
}

function budgetOf(page: MetricPage, name: string): { bytes: number; limit: number } {
  return { bytes: page.sum(`millrace_${name}_bytes`), limit: page.sum(`millrace_${name}_limit_bytes`) };
}

function lanesOf(change: Change): TopLane[] {
  const { after } = change;
  return after.all('millrace_lane_streams').map(({ labels, value: streams }) => ({
    process: labels.process ?? '',
    lane: labels.lane ?? '',
    cpu: change.perSecond('millrace_lane_cpu_seconds_total', labels),
    queuedBytes: after.sum('millrace_lane_queued_bytes', labels),
    streams,
    memoryBytes: after.sum('millrace_lane_memory_bytes', labels),
  }));
}

function commandsOf(change: Change): TopCommand[] {
  return change.after
    .commands('millrace_requests_running')
    .map((command) => {
      const labels = { command };
      const count = change.of('millrace_request_seconds_count', labels);
      return {
        command,
        perSecond: change.perSecond('millrace_requests_total', labels),
        running: change.after.sum('millrace_requests_running', labels),
        meanMs: count === 0 ? undefined : (change.of('millrace_request_seconds_sum', labels) / count) * 1000,
        p99Ms: quantileMs(change, command, 0.99),
        bytesPerSecond: change.perSecond('millrace_response_bytes_total', labels),
        ratio: change.ratio(labels),
      };
    })
    .sort((a, b) => (b.meanMs ?? -1) - (a.meanMs ?? -1) || b.running - a.running);
}

function errorsOf(change: Change): TopError[] {
  return change.after
    .all('millrace_requests_total')
    .filter(({ labels, value }) => labels.code !== 'ok' && value > 0)
    .map(({ labels, value: total }) => ({
      command: labels.command ?? '',
      code: labels.code ?? '',
      perSecond: change.perSecond('millrace_requests_total', labels),
      total,
    }))
    .sort((a, b) => b.perSecond - a.perSecond || b.total - a.total);
}

/** Evenly spread in its bucket; past the last bound, that bound. */
function quantileMs(change: Change, command: string, quantile: number): number | undefined {
  const name = 'millrace_request_seconds_bucket';
  const buckets = change.after
    .all(name, command)
    .map((sample) => ({
      bound: sample.labels.le === '+Inf' ? Number.POSITIVE_INFINITY : Number(sample.labels.le),
      count: change.of(name, sample.labels),
    }))
    .sort((a, b) => a.bound - b.bound);
  const rank = quantile * (buckets.at(-1)?.count ?? 0);
  if (rank === 0) return undefined;
  let low = { bound: 0, count: 0 };
  for (const bucket of buckets) {
    if (bucket.bound === Number.POSITIVE_INFINITY) break;
    if (bucket.count >= rank) {
      const share = (rank - low.count) / (bucket.count - low.count);
      return 1000 * (low.bound + share * (bucket.bound - low.bound));
    }
    low = bucket;
  }
  return 1000 * low.bound;
}
