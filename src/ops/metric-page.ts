/** A page of metrics as Prometheus reads it: the samples in its text. */

export interface MetricSample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: -?\d+)?$/;
/** One at a place, and not the next one that there is: who has no label at all is not searched for one from each letter on. */
const LABEL = /([a-zA-Z_]\w*)="([^"\\]*(?:\\.[^"\\]*)*)"(?:,|$)/y;
const NO_SAMPLES: readonly MetricSample[] = [];
/** Some hundred commands have half as many. */
const MAX_SAMPLES = 30_000;

/** A page is a stranger's, who may give a million samples one command: whatever is asked of it is found at once. */
export class MetricPage {
  /** By name, and again by name and command. */
  readonly #samples = new Map<string, MetricSample[]>();
  /** By name, by name and command, and by name and all labels. */
  readonly #sums = new Map<string, number>();

  /** @throws Error for a line that is neither a sample nor a comment, and for more lines than a server has. */
  constructor(text: string) {
    let count = 0;
    for (const line of text.split('\n')) {
      if (line === '' || line.startsWith('#')) continue;
      const [, name, labels = '', value] = SAMPLE.exec(line) ?? [];
      if (name === undefined) throw noPage();
      if (++count > MAX_SAMPLES) throw new Error(`the page has more than ${MAX_SAMPLES} metrics`);
      this.#add(name, { labels: labelsIn(labels), value: numberOf(value) });
    }
  }

  #add(name: string, sample: MetricSample): void {
    const { labels, value } = sample;
    const ofCommand: MetricSample['labels'] = labels.command === undefined ? {} : { command: labels.command };
    for (const key of new Set([keyOf(name, {}), keyOf(name, ofCommand)])) {
      const samples = this.#samples.get(key);
      if (samples === undefined) this.#samples.set(key, [sample]);
      else samples.push(sample);
    }
    for (const key of new Set([keyOf(name, {}), keyOf(name, ofCommand), keyOf(name, labels)]))
      this.#sums.set(key, (this.#sums.get(key) ?? 0) + value);
  }

  all(name: string, command?: string): readonly MetricSample[] {
    return this.#samples.get(keyOf(name, command === undefined ? {} : { command })) ?? NO_SAMPLES;
  }

  /** The commands of which there are samples, each once. */
  commands(name: string): string[] {
    return [...new Set(this.all(name).map(({ labels }) => labels.command ?? ''))];
  }

  /** Of all samples, those of a command, or those with exactly these labels; 0 without any. */
  sum(name: string, labels: MetricSample['labels'] = {}): number {
    return this.#sums.get(keyOf(name, labels)) ?? 0;
  }
}

function keyOf(name: string, labels: MetricSample['labels']): string {
  return JSON.stringify([name, ...Object.entries(labels).sort(byName)]);
}

function byName([a]: readonly [string, string], [b]: readonly [string, string]): number {
  return a < b ? -1 : 1;
}

/** @throws Error where something else is between two of them. */
function labelsIn(text: string): MetricSample['labels'] {
  const labels: [string, string][] = [];
  LABEL.lastIndex = 0;
  for (let at = 0; at < text.length; at = LABEL.lastIndex) {
    const [, label, value] = LABEL.exec(text) ?? [];
    if (label === undefined) throw noPage();
    labels.push([label, unescaped(value)]);
  }
  return Object.fromEntries(labels);
}

const noPage = () => new Error('it is no page of metrics');

function unescaped(value: string): string {
  return value.replace(/\\(.)/g, (_, character: string) => (character === 'n' ? '\n' : character));
}

/** Prometheus writes +Inf for what JavaScript calls Infinity. */
function numberOf(text: string): number {
  const infinite = /^([+-])Inf$/.exec(text);
  if (infinite === null) return Number(text);
  return infinite[1] === '+' ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
}
