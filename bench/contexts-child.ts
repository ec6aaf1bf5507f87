/**
 * One process that compresses one workload under one policy and prints ratio, CPU and memory. A process each, so that
 * the resident memory is that policy's alone.
 */
import type { Encoder } from '../src/encoding/codec.ts';
import { FINISH_BOUND } from '../src/encoding/codec.ts';
import { nativeCodecs } from '../src/encoding/native.ts';
import { Random } from '../src/experiment/traffic/random.ts';
import { makePayloads } from './payloads.ts';

export type ContextPolicy =
  | { readonly kind: 'per-frame' | 'per-request' | 'single' | 'affinity' }
  /** Requests go round over so many contexts: what least-loaded routing does under an even load. */
  | { readonly kind: 'shared'; readonly streams: number };

export interface ContextsTask {
  /** Kinds in random turn, each as often as gives it an equal share of the bytes; affinity keeps them apart. */
  readonly payloads: readonly string[];
  readonly seed: number;
  readonly framesPerRequest: number;
  readonly policy: ContextPolicy;
  readonly level: number;
  readonly rounds: number;
}

export interface ContextsOutcome {
  readonly frames: number;
  readonly inBytes: number;
  readonly outBytes: number;
  /** Microseconds per MiB of input, one value per round. */
  readonly cpuPerMiB: number[];
  /** Contexts that were open at the end. */
  readonly contexts: number;
  /** Resident bytes that they hold. */
  readonly memory: number;
}

/** Every payload once: with nothing sent twice, no pool needs to be larger than the window. */
const TOTAL_BYTES = 16 * 1024 * 1024;

const task = JSON.parse(process.argv[2]!) as ContextsTask;
const codec = nativeCodecs()[0]!;
const options = { level: task.level };

interface Request {
  readonly kind: number;
  readonly frames: readonly Buffer[];
}

function makeRequests(): Request[] {
  const pools = task.payloads.map((name) => makePayloads({ name, seed: task.seed }));
  const requests: Request[] = [];
  const used = pools.map(() => 0);
  const random = new Random(task.seed);
  const weights = pools.map(({ bytes, count }) => count / bytes);
  let bytes = 0;
  while (bytes < TOTAL_BYTES) {
    const kind = weighted(weights, random);
    const pool = pools[kind]!;
    const frames: Buffer[] = [];
    for (let i = 0; i < task.framesPerRequest && used[kind]! < pool.count; i++)
      frames.push(pool.get(used[kind]!++));
    if (frames.length === 0) break;
    requests.push({ kind, frames });
    for (const { length } of frames) bytes += length;
  }
  return requests;
}

function weighted(weights: readonly number[], random: Random): number {
  let left = random.unit() * weights.reduce((a, b) => a + b);
  for (const [i, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return i;
  }
  return 0;
}

/** Which context a request's frames use; a fresh one where the policy says so. */
class Contexts {
  readonly #open = new Map<number, Encoder>();
  readonly #policy: ContextPolicy;
  #turn = 0;

  constructor(policy: ContextPolicy) {
    this.#policy = policy;
  }

  forRequest(kind: number): Encoder {
    switch (this.#policy.kind) {
      case 'per-frame':
      case 'per-request':
        return this.fresh();
      case 'single':
        return this.#at(0);
      case 'shared':
        return this.#at(this.#turn++ % this.#policy.streams);
      case 'affinity':
        return this.#at(kind);
    }
  }

  fresh(): Encoder {
    this.#open.get(0)?.close();
    const encoder = codec.createEncoder!(options);
    this.#open.set(0, encoder);
    return encoder;
  }

  #at(stream: number): Encoder {
    let encoder = this.#open.get(stream);
    if (encoder === undefined) {
      encoder = codec.createEncoder!(options);
      this.#open.set(stream, encoder);
    }
    return encoder;
  }

  get count(): number {
    return this.#open.size;
  }

  close(): void {
    for (const encoder of this.#open.values()) encoder.close();
  }
}

const requests = makeRequests();
const frameCount = requests.reduce((sum, { frames }) => sum + frames.length, 0);
const inBytes = requests.reduce(
  (sum, { frames }) => frames.reduce((inner, { length }) => inner + length, sum),
  0,
);
const target = new Uint8Array(1 << 20).fill(1);

function run(): Omit<ContextsOutcome, 'cpuPerMiB' | 'frames' | 'inBytes'> & { cpu: number } {
  const { kind: policy } = task.policy;
  const contexts = new Contexts(task.policy);
  const rssBefore = process.memoryUsage.rss();
  const before = process.threadCpuUsage();
  let outBytes = 0;
  for (const { kind, frames } of requests) {
    let encoder = contexts.forRequest(kind);
    for (const [i, frame] of frames.entries()) {
      if (policy === 'per-frame' && i > 0) encoder = contexts.fresh();
      const length = encoder.encode(frame, target, 0);
      outBytes += length;
      // A context that ends here ends its format too, as a stream's last frame does.
      const ends = policy === 'per-frame' || (policy === 'per-request' && i === frames.length - 1);
      if (ends) outBytes += encoder.finish(target, Math.min(length, target.length - FINISH_BOUND));
    }
  }
  const { user, system } = process.threadCpuUsage(before);
  const memory = process.memoryUsage.rss() - rssBefore;
  const outcome = { outBytes, contexts: contexts.count, memory, cpu: user + system };
  contexts.close();
  return outcome;
}

const first = run();
const cpuPerMiB = Array.from({ length: task.rounds }, () => run().cpu / (inBytes / 2 ** 20));
console.log(
  JSON.stringify({
    frames: frameCount,
    inBytes,
    outBytes: first.outBytes,
    cpuPerMiB,
    contexts: first.contexts,
    memory: first.memory,
  } satisfies ContextsOutcome),
);
