/** A server's metrics for Prometheus: its figures when they are asked for, durations as requests end, and the process's own. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Counter, Gauge, Metric, MetricObjectWithValues, MetricValue, Registry } from 'prom-client';
import type { RequestEnded, Server, ServerStats } from '../index.ts';
import { within } from '../lanes/within.ts';
import { Durations } from './durations.ts';
import { DEFINITIONS, type Definition } from './metric-table.ts';

/** Metrics of one process as they travel to the one that shows them. */
export type MetricsJson = MetricObjectWithValues<MetricValue<string>>[];

/** How long a lane may take for its figures: one that is at work for longer shows those that it had. */
const STATS_MS = 1000;

const REQUEST = 'millrace:request:end';

export const HISTOGRAMS = [
  ['millrace_request_queue_seconds', 'From the last byte of a command until its handler began'],
  [
    'millrace_request_seconds',
    'From the last byte of a command until the last frame of its response was ready',
  ],
] as const;

export class Metrics {
  readonly #server: Server;
  readonly #registry: Registry;
  readonly #process: string;
  readonly #metrics: (readonly [Definition, Counter | Gauge])[] = [];
  readonly #queued = new Durations(...HISTOGRAMS[0]);
  readonly #total = new Durations(...HISTOGRAMS[1]);
  #newest: ServerStats | undefined;
  #asked: Promise<void> | undefined;

  private constructor(server: Server, registry: Registry, process: string) {
    this.#server = server;
    this.#registry = registry;
    this.#process = process;
    subscribe(REQUEST, this.#onRequest);
  }

  /** `process`: which one it is of those that share a port. */
  static async of(server: Server, process = '1'): Promise<Metrics> {
    const { default: client } = await import('prom-client');
    const registry = new client.Registry();
    const metrics = new Metrics(server, registry, process);
    for (const definition of DEFINITIONS) {
      const { name, help, labels = [], kind } = definition;
      const options = { name, help, labelNames: labels as string[], registers: [registry] };
      metrics.#metrics.push([
        definition,
        kind === 'counter' ? new client.Counter(options) : new client.Gauge(options),
      ]);
    }
    // Histograms of ours have what a registry asks of a metric.
    for (const durations of [metrics.#queued, metrics.#total])
      registry.registerMetric(durations as unknown as Metric);
    client.collectDefaultMetrics({ register: registry });
    // Gauges with the name of a counter, which checkers refuse: sums of nodejs_active_resources and its like.
    for (const what of ['handles', 'requests', 'resources'])
      registry.removeSingleMetric(`nodejs_active_${what}_total`);
    return metrics;
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  async text(): Promise<string> {
    await this.#refresh();
    return this.#registry.metrics();
  }

  async json(): Promise<MetricsJson> {
    await this.#refresh();
    return (await this.#registry.getMetricsAsJSON()) as unknown as MetricsJson;
  }

  close(): void {
    unsubscribe(REQUEST, this.#onRequest);
    this.#registry.clear();
  }

  /** Two who ask at a time are told the same. */
  async #refresh(): Promise<void> {
    this.#asked ??= this.#look();
    await within(this.#asked, STATS_MS);
    if (this.#newest === undefined) return;
    for (const [definition, metric] of this.#metrics) this.#set(definition, metric, this.#newest);
  }

  async #look(): Promise<void> {
    try {
      this.#newest = await this.#server.stats();
    } finally {
      this.#asked = undefined;
    }
  }

  #set({ samples }: Definition, metric: Counter | Gauge, stats: ServerStats): void {
    metric.reset();
    for (const [value, labels = {}] of samples(stats, this.#process)) metric.inc(labels, value);
  }

  readonly #onRequest = (message: unknown): void => {
    const { server, command, queuedMs, workMs } = message as RequestEnded;
    if (server !== this.#server) return;
    this.#queued.add(command, queuedMs);
    this.#total.add(command, queuedMs + workMs);
  };
}
