/** Measures cells, one after the other, on lanes of its own. */

import type { CodecModule } from '../encoding/codec.ts';
import { nativeCodecs } from '../encoding/native.ts';
import { CodecRegistry } from '../encoding/registry.ts';
import { LanePool } from '../lanes/pool.ts';
import { type Cell, encodingKey } from './cell.ts';
import type { EncodingMeter } from './encodings.ts';
import { type LinkModel, quantile, simulateLink } from './links.ts';
import { decodeOnLanes, type EncodePass, encodeOnLanes } from './passes.ts';
import { makePlan, type Plan } from './plan.ts';
import type { Measures } from './results.ts';
import type { Workload } from './workload.ts';

export interface EvaluatorOptions {
  readonly workload: Workload;
  readonly meter: EncodingMeter;
  readonly codecs: readonly CodecModule[];
  /** Times that each cell is encoded and decoded. */
  readonly rounds: number;
  readonly inFlight: number;
  /** Lanes to encode on, and in the model of links. */
  readonly workers: number;
  /** Bits per second. */
  readonly links: readonly number[];
}

export class Evaluator {
  readonly #options: EvaluatorOptions;
  readonly #registry: CodecRegistry;
  readonly #pool: LanePool;
  /** Wire bytes with one context per connection, by encoding and frame size. */
  readonly #single = new Map<string, number>();

  constructor(options: EvaluatorOptions) {
    this.#options = options;
    const { codecs, workers } = options;
    this.#registry = new CodecRegistry([...nativeCodecs(), ...codecs.flatMap((module) => module.codecs)]);
    this.#pool = new LanePool({ workers, handlers: [], cacheLevel: 9, codecs, onLost: () => undefined });
  }

  /** @throws Error when the setting cannot be, or what was encoded does not come back. */
  async evaluate(cell: Cell): Promise<Measures> {
    this.#check(cell);
    const { workload, meter, inFlight } = this.#options;
    const facts = await meter.facts(cell);
    const plan = makePlan(workload, cell, inFlight);
    const { pass, encode, decode } = await this.#rounds(cell, plan);
    const wireBytes = total(pass);
    const contexts = contextsOf(plan, cell);
    const single = await this.#singleBytes(cell, wireBytes);
    const { http } = facts;
    return {
      frames: plan.frames.length,
      contexts,
      wireBytes,
      ratio: workload.bytes / wireBytes,
      ...byResponse(workload, plan, pass),
      compress: cpuFigures(encode, workload),
      decompress: cpuFigures(decode, workload),
      contextBytes: facts.contextBytes,
      connectionBytes: facts.contextBytes * contexts,
      single: { wireBytes: single, morePercent: 100 * (wireBytes / single - 1) },
      http:
        cell.profile === 'identity'
          ? null
          : {
              ratio: http.bytes / http.wireBytes,
              compressMicrosPerMB: (1e6 * http.cpuSeconds) / (http.bytes / 1e6),
            },
      links: this.#links({ plan, wire: pass.wire, encode, decode }),
    };
  }

  /** What the simulation of links needs of a cell. */
  async linkModel(cell: Cell): Promise<LinkModel> {
    this.#check(cell);
    const { workload, inFlight, workers } = this.#options;
    const plan = makePlan(workload, cell, inFlight);
    const { pass, encode, decode } = await this.#rounds(cell, plan);
    return {
      workload,
      plan,
      wire: pass.wire,
      encodeSeconds: median(encode),
      decodeSeconds: median(decode),
      workers,
      inFlight,
    };
  }

  /** CPU seconds of encoding alone, for finding out whether cells disturb each other. */
  async probe(cell: Cell): Promise<number> {
    const { workload, inFlight } = this.#options;
    const plan = makePlan(workload, cell, inFlight);
    return (await encodeOnLanes(this.#pool, workload, plan, cell, inFlight)).cpuSeconds;
  }

  close(): Promise<void> {
    return this.#pool.close();
  }

  /** A lane that is given an encoder that cannot be made dies of it: look first. */
  #check({ profile, level, windowLog }: Cell): void {
    const codec = this.#registry.get(profile);
    if (codec?.createEncoder === undefined) {
      throw new Error(`unknown profile '${profile}': there are ${this.#registry.encodable().join(', ')}`);
    }
    codec.createEncoder({ level, windowLog }).close();
  }

  async #rounds(cell: Cell, plan: Plan): Promise<{ pass: EncodePass; encode: number[]; decode: number[] }> {
    const { workload, rounds, inFlight } = this.#options;
    const encode: number[] = [];
    const decode: number[] = [];
    let first: EncodePass | undefined;
    while (encode.length < rounds) {
      const pass = await encodeOnLanes(this.#pool, workload, plan, cell, inFlight);
      encode.push(pass.cpuSeconds);
      decode.push(await decodeOnLanes(this.#pool, workload, plan, cell, pass));
      first ??= pass;
      if (total(pass) !== total(first)) throw new Error('two rounds made different sizes');
    }
    return { pass: first as EncodePass, encode, decode };
  }

  async #singleBytes(cell: Cell, wireBytes: number): Promise<number> {
    const key = `${encodingKey(cell)} ${cell.frameSize} ${cell.coalesceMs}`;
    if (cell.policy === 'single') this.#single.set(key, wireBytes);
    const known = this.#single.get(key);
    if (known !== undefined) return known;
    const { workload, inFlight } = this.#options;
    const alone: Cell = { ...cell, policy: 'single', streams: 1 };
    const plan = makePlan(workload, alone, inFlight);
    const bytes = total(await encodeOnLanes(this.#pool, workload, plan, alone, inFlight));
    this.#single.set(key, bytes);
    return bytes;
  }

  #links({
    plan,
    wire,
    encode,
    decode,
  }: Pick<LinkModel, 'plan' | 'wire'> & { encode: number[]; decode: number[] }) {
    const { workload, workers, inFlight, links } = this.#options;
    const model = {
      workload,
      plan,
      wire,
      encodeSeconds: median(encode),
      decodeSeconds: median(decode),
      workers,
      inFlight,
    };
    return links.map((bitsPerSecond) => simulateLink(model, bitsPerSecond));
  }
}

function total({ wire, settingsBytes }: EncodePass): number {
  return wire.reduce((sum, bytes) => sum + bytes, settingsBytes);
}

/** Streams that one connection has at a time, at most. */
function contextsOf(plan: Plan, { policy, streams, profile }: Cell): number {
  if (profile === 'identity') return 0;
  if (policy === 'per-request') return streams;
  const perConnection = new Map<number, number>();
  for (const { connection } of plan.streams) {
    perConnection.set(connection, (perConnection.get(connection) ?? 0) + 1);
  }
  return Math.max(...perConnection.values());
}

function byResponse(
  { responses }: Workload,
  plan: Plan,
  { wire }: EncodePass,
): Pick<Measures, 'ratioSpread' | 'commands'> {
  const wireBytes = new Float64Array(responses.length);
  for (const [index, { response }] of plan.frames.entries()) wireBytes[response] += wire[index];
  const ratios = Float64Array.from(responses, ({ bytes }, i) => bytes.length / wireBytes[i]).sort();
  const commands = new Map<string, Measures['commands'][number]>();
  for (const [index, { command, bytes }] of responses.entries()) {
    const row = commands.get(command) ?? { command, responses: 0, bytes: 0, wireBytes: 0 };
    commands.set(command, row);
    row.responses++;
    row.bytes += bytes.length;
    row.wireBytes += wireBytes[index];
  }
  return {
    ratioSpread: {
      p5: quantile(ratios, 0.05),
      p50: quantile(ratios, 0.5),
      p95: quantile(ratios, 0.95),
    },
    commands: [...commands.values()].sort((a, b) => b.bytes - a.bytes),
  };
}

function cpuFigures(seconds: readonly number[], { bytes, responses }: Workload): Measures['compress'] {
  const middle = median(seconds);
  const share = (value: number) => (middle === 0 ? 1 : value / middle);
  return {
    microsPerMB: (1e6 * middle) / (bytes / 1e6),
    microsPerResponse: (1e6 * middle) / responses.length,
    spread: [share(Math.min(...seconds)), share(Math.max(...seconds))],
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
