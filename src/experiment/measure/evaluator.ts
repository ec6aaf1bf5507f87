/** Measures cells, one after the other, on lanes of its own. */

import { nativeCodecs } from '../../encoding/native.ts';
import { CodecRegistry } from '../../encoding/registry.ts';
import { availableMemory } from '../../lanes/memory.ts';
import { type Cell, cellKey, cellProblem, encodingKey } from '../grid/cell.ts';
import type { Check, Cpu, Measures } from '../results/results.ts';
import { quantile } from '../results/statistics.ts';
import { inBytes } from '../results/text.ts';
import { makePlan, type Plan } from '../simulate/frame-plan.ts';
import { type LinkModel, simulateLink } from '../simulate/links.ts';
import type { Workload } from '../traffic/workload.ts';
import { checkInServer } from './check.ts';
import { decodeOnLanes } from './decode-pass.ts';
import { type EncodePass, encodeOnLanes, profileOf } from './encode-pass.ts';
import type { EncodingMeter } from './encodings.ts';
import {
  connectionsOf,
  cpuOf,
  LoadedServer,
  type LoadOptions,
  laneMicrosPerMB,
  mainMicrosPerResponse,
  TestBed,
} from './load.ts';
import type { TimeLimit } from './time-limit.ts';
import type { DictionariesBySize } from './train.ts';

export interface EvaluatorOptions extends LoadOptions {
  readonly meter: EncodingMeter;
  /** Rounds of load that each cell is to have. */
  readonly rounds: number;
  /** Bits per second. */
  readonly links: readonly number[];
}

/**
 * Bytes of traffic that a round's load has at most: as much fills every window up to level 9. More costs time that is
 * better spent on another round.
 */
const LOAD_BYTES = 4 << 20;

const NO_DICTIONARIES: DictionariesBySize = new Map();

/** A cell's frames, which are the same whenever they are made. */
interface Sizes {
  readonly wire: Uint32Array;
  /** Bytes of all frames. */
  readonly total: number;
}

/** What a load has told of a cell so far. */
type Loaded = Pick<Measures, 'compress' | 'mainMicrosPerResponse' | 'loadShare'>;

export class Evaluator {
  readonly #options: EvaluatorOptions;
  readonly #registry: CodecRegistry;
  readonly #bed: TestBed;
  /** By cell. */
  readonly #sizes = new Map<string, Sizes>();
  /** Wire bytes with one context per connection, by encoding and frame size. */
  readonly #single = new Map<string, number>();

  constructor(options: EvaluatorOptions) {
    this.#options = options;
    const { codecs } = options;
    this.#registry = new CodecRegistry([...nativeCodecs(), ...codecs.flatMap((module) => module.codecs)]);
    this.#bed = new TestBed(options);
  }

  /**
   * Everything about a cell, with `rounds` of load, each of `share` of what a load has at most.
   * @throws Error when the setting cannot be, or what was encoded does not come back.
   */
  async evaluate(cell: Cell, rounds = this.#options.rounds, share = 1): Promise<Measures> {
    this.#check(cell);
    const { workload, meter, inFlight, workers } = this.#options;
    const facts = await meter.facts(cell);
    const plan = makePlan(workload, cell, inFlight);
    checkMemory(plan, cell, facts.contextBytes);
    const pass = await this.#encode(cell, plan);
    const sizes = this.#keep(cell, pass);
    const decompress = await this.#decode(cell, plan, pass);
    const loaded = await this.#load(cell, rounds, share);
    const contexts = contextsOf(plan, cell);
    const { contextBytes } = facts;
    const single = await this.#singleBytes(cell, sizes.total);
    const { http } = facts;
    return {
      frames: plan.frames.length,
      contexts,
      wireBytes: sizes.total,
      ratio: workload.bytes / sizes.total,
      ...byResponse(workload, plan, sizes),
      ...loaded,
      decompress,
      contextBytes,
      connectionBytes: contextBytes * contexts,
      ...(cell.contexts === 'none' && { laneBytes: contextBytes * workers }),
      ...this.#dictionaryCost(cell),
      single: { wireBytes: single, morePercent: 100 * (sizes.total / single - 1) },
      http:
        cell.profile === 'identity'
          ? null
          : {
              ratio: http.bytes / http.wireBytes,
              compressMicrosPerMB: (1e6 * http.cpuSeconds) / (http.bytes / 1e6),
            },
      links: this.#links(this.#model(plan, sizes, loaded, decompress)),
    };
  }

  /** One more round of load for a cell that has measures. @throws Error when a request fails. */
  async again(cell: Cell, known: Measures): Promise<Measures> {
    const loaded = await this.#load(cell, 1, 1, known);
    const { workload, inFlight } = this.#options;
    const plan = makePlan(workload, cell, inFlight);
    const sizes = this.#sizes.get(cellKey(cell)) ?? this.#keep(cell, await this.#encode(cell, plan));
    return { ...known, ...loaded, links: this.#links(this.#model(plan, sizes, loaded, known.decompress)) };
  }

  /** What a server of its own makes of a cell, beside these lanes. */
  check(cell: Cell, limit: TimeLimit, signal?: AbortSignal): Promise<Check> {
    return checkInServer(this.#bed, cell, limit, signal);
  }

  /** What the simulation of links needs of a cell. */
  async linkModel(cell: Cell): Promise<LinkModel> {
    this.#check(cell);
    const { workload, inFlight, rounds } = this.#options;
    const plan = makePlan(workload, cell, inFlight);
    const pass = await this.#encode(cell, plan);
    const decompress = await this.#decode(cell, plan, pass);
    const loaded = await this.#load(cell, rounds, 1);
    return this.#model(plan, sizesOf(pass), loaded, decompress);
  }

  /** CPU of a load, in microseconds for each 10^6 bytes, for finding out whether cells disturb each other. */
  async probe(cell: Cell): Promise<number> {
    return (await this.#load(cell, 1, 1)).compress.microsPerMB;
  }

  close(): Promise<void> {
    return this.#bed.close();
  }

  /** A lane that is given an encoder that cannot be made dies of it: look first. */
  #check(cell: Cell): void {
    const problem = cellProblem(cell);
    if (problem !== undefined) throw new Error(problem);
    const { profile, level, windowLog, tuning, dictionary } = cell;
    if (dictionary !== undefined && !this.#dictionaries.has(dictionary))
      throw new Error(`there is no dictionary of ${dictionary} bytes`);
    const codec = this.#registry.get(profile);
    if (codec?.createEncoder === undefined) {
      throw new Error(`unknown profile '${profile}': there are ${this.#registry.encodable().join(', ')}`);
    }
    codec.createEncoder({ level, windowLog, tuning }).close();
  }

  #keep(cell: Cell, pass: EncodePass): Sizes {
    const sizes = sizesOf(pass);
    this.#sizes.set(cellKey(cell), sizes);
    return sizes;
  }

  async #load(cell: Cell, rounds: number, share: number, known?: Loaded): Promise<Loaded> {
    const { workload } = this.#options;
    const ofTraffic = share * Math.min(1, LOAD_BYTES / workload.bytes);
    const server = await LoadedServer.start(this.#bed, cell, { ownLanes: false });
    try {
      const lanes = [...(known?.compress.rounds ?? [])];
      let main = (known?.mainMicrosPerResponse ?? 0) * lanes.length;
      for (let round = 0; round < rounds; round++) {
        const cost = await server.round(ofTraffic);
        lanes.push(laneMicrosPerMB(cost));
        main += mainMicrosPerResponse(cost);
      }
      return {
        compress: cpuOf(lanes, workload),
        mainMicrosPerResponse: main / lanes.length,
        loadShare: Math.min(share, known?.loadShare ?? 1),
      };
    } finally {
      await server.close();
    }
  }

  get #dictionaries(): DictionariesBySize {
    return this.#options.dictionaries ?? NO_DICTIONARIES;
  }

  #dictionaryCost({ dictionary: size }: Cell): Pick<Measures, 'dictionaryBytes'> {
    const dictionary = size === undefined ? undefined : this.#dictionaries.get(size);
    if (dictionary === undefined) return {};
    return { dictionaryBytes: dictionary.bytes.length * connectionsOf(this.#options.workload) };
  }

  #encode(cell: Cell, plan: Plan): Promise<EncodePass> {
    return encodeOnLanes(this.#bed.pool, this.#options.workload, plan, cell, this.#dictionaries);
  }

  async #decode(cell: Cell, plan: Plan, pass: EncodePass): Promise<Cpu> {
    const { workload } = this.#options;
    const { profile } = profileOf(cell, this.#dictionaries);
    const seconds = await decodeOnLanes(this.#bed.pool, workload, plan, profile, pass);
    return cpuOf([(1e12 * seconds) / workload.bytes], workload);
  }

  async #singleBytes(cell: Cell, wireBytes: number): Promise<number> {
    const key = `${encodingKey(cell)} ${cell.frameSize} ${cell.coalesceMs}`;
    if (cell.policy === 'single') this.#single.set(key, wireBytes);
    const known = this.#single.get(key);
    if (known !== undefined) return known;
    const { workload, inFlight } = this.#options;
    const alone: Cell = { ...cell, policy: 'single', streams: 1 };
    const plan = makePlan(workload, alone, inFlight);
    const { total } = sizesOf(await this.#encode(alone, plan));
    this.#single.set(key, total);
    return total;
  }

  #model(plan: Plan, { wire }: Sizes, loaded: Loaded, decompress: Cpu): LinkModel {
    const { workload, workers, inFlight } = this.#options;
    const seconds = ({ microsPerMB }: Cpu) => (microsPerMB * workload.bytes) / 1e12;
    const times = {
      encodeSeconds: seconds(loaded.compress),
      decodeSeconds: seconds(decompress),
      mainSeconds: loaded.mainMicrosPerResponse / 1e6,
    };
    return { workload, plan, wire, workers, inFlight, ...times };
  }

  #links(model: LinkModel): Measures['links'] {
    return this.#options.links.map((bitsPerSecond) => simulateLink(model, bitsPerSecond));
  }
}

function sizesOf({ wire, settingsBytes }: EncodePass): Sizes {
  return { wire, total: wire.reduce((sum, bytes) => sum + bytes, settingsBytes) };
}

/** The share of memory that the contexts of a setting may have together. */
const CONTEXT_SHARE = 1 / 2;

/** @throws Error when all the contexts that the plan needs at a time are more than this machine should hold. */
function checkMemory(
  { streams }: Plan,
  { policy, streams: perConnection, contexts: kept }: Cell,
  contextBytes: number,
): void {
  if (kept === 'none') return;
  const contexts = policy === 'per-request' ? perConnection : streams.length;
  if (contexts * contextBytes <= CONTEXT_SHARE * availableMemory()) return;
  throw new Error(`its ${contexts} contexts of ${inBytes(contextBytes)} are more than half of the memory`);
}

/** Contexts that one connection has at a time, at most. */
function contextsOf(plan: Plan, { policy, streams, profile, contexts }: Cell): number {
  if (profile === 'identity' || contexts === 'none') return 0;
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
  { wire }: Sizes,
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
