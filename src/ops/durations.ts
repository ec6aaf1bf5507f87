/** Durations in buckets, by command: counted at every request, and so counted without a label or an object being made. */

/** Upper bounds in seconds; what is longer is counted beside them. */
export const BOUNDS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];

const BOUNDS_MS = Float64Array.from(BOUNDS, (seconds) => seconds * 1000);

interface Row {
  readonly counts: Float64Array;
  sumMs: number;
}

interface Value {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** A metric as prom-client's registry takes it. */
export class Durations {
  readonly name: string;
  readonly help: string;
  readonly type = 'histogram';
  readonly aggregator = 'sum';
  readonly #rows = new Map<string, Row>();

  constructor(name: string, help: string) {
    this.name = name;
    this.help = help;
  }

  add(command: string, ms: number): void {
    let row = this.#rows.get(command);
    if (row === undefined) {
      row = { counts: new Float64Array(BOUNDS.length + 1), sumMs: 0 };
      this.#rows.set(command, row);
    }
    let bucket = 0;
    while (bucket < BOUNDS_MS.length && ms > BOUNDS_MS[bucket]) bucket++;
    row.counts[bucket]++;
    row.sumMs += ms;
  }

  async get() {
    const { name, help, type, aggregator } = this;
    return {
      name,
      help,
      type,
      aggregator,
      values: [...this.#rows].flatMap(([command, row]) => this.#values(command, row)),
    };
  }

  reset(): void {
    this.#rows.clear();
  }

  #values(command: string, { counts, sumMs }: Row): Value[] {
    let total = 0;
    const values = [...counts].map((count, index): Value => {
      total += count;
      return {
        metricName: `${this.name}_bucket`,
        labels: { le: BOUNDS[index] ?? '+Inf', command },
        value: total,
      };
    });
    values.push({ metricName: `${this.name}_sum`, labels: { command }, value: sumMs / 1000 });
    values.push({ metricName: `${this.name}_count`, labels: { command }, value: total });
    return values;
  }
}
