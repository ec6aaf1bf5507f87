/** A page of metrics as Prometheus reads it: the samples in its text. */

export interface MetricSample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: -?\d+)?$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const NONE: readonly MetricSample[] = [];
/** Some hundred commands have half as many. */
const MAX_SAMPLES = 30_000;

export class MetricPage {
  /** By name, and again by name and command. */
  readonly #samples = new Map<string, MetricSample[]>();

  /** @throws Error for a line that is neither a sample nor a comment, and for more lines than a server has. */
  constructor(text: string) {
    let count = 0;
    for (const line of text.split('\n')) {
      if (line === '' || line.startsWith('#')) continue;
      const [, name, labels = '', value] = SAMPLE.exec(line) ?? [];
      if (name === undefined) throw new Error('it is no page of metrics');
      if (++count > MAX_SAMPLES) throw new Error(`the page has more than ${MAX_SAMPLES} metrics`);
      this.#add(name, { labels: labelsIn(labels), value: numberOf(value) });
    }
  }

  #add(name: string, sample: MetricSample): void {
    const { command } = sample.labels;
    for (const key of command === undefined ? [name] : [name, keyOf(name, command)]) {
      const samples = this.#samples.get(key);
      if (samples === undefined) this.#samples.set(key, [sample]);
      else samples.push(sample);
    }
  }

  all(name: string, command?: string): readonly MetricSample[] {
    return this.#samples.get(command === undefined ? name : keyOf(name, command)) ?? NONE;
  }

  /** Of the samples whose labels have these values; 0 without any. */
  sum(name: string, labels: MetricSample['labels'] = {}): number {
    const wanted = Object.entries(labels);
    return this.all(name, labels.command)
      .filter((sample) => wanted.every(([label, value]) => sample.labels[label] === value))
      .reduce((sum, { value }) => sum + value, 0);
  }
}

const keyOf = (name: string, command: string) => `${name} ${command}`;

function labelsIn(text: string): MetricSample['labels'] {
  return Object.fromEntries([...text.matchAll(LABEL)].map(([, label, value]) => [label, unescaped(value)]));
}

function unescaped(value: string): string {
  return value.replace(/\\(.)/g, (_, character: string) => (character === 'n' ? '\n' : character));
}

/** Prometheus writes +Inf for what JavaScript calls Infinity. */
function numberOf(text: string): number {
  const infinite = /^([+-])Inf$/.exec(text);
  if (infinite === null) return Number(text);
  return infinite[1] === '+' ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
}
