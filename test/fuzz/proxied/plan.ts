/** What happens in a round, by its seed alone: both the client's process and the proxy's read it off the seed. */

import type { ConnectOptions } from '../../../src/index.ts';
import { pattern } from '../../fixtures/pattern.ts';
import { millRecord } from '../../helpers/mill.ts';
import { digest } from '../../helpers/samples.ts';
import { Random } from '../random.ts';

/** Topics of the server, one for each client at a time: names that no flipped bit makes another's. */
export const TOPICS = ['alder', 'hornbeam', 'rowan'] as const;

/** What a proxy does to the connections of a client: nothing that shows, end them, or change their bytes. */
export type Harm = 'none' | 'ends' | 'damage';

/** One call and what is known of it. */
export interface Task {
  /** Named by the call, so that the server can say how often it has begun. */
  readonly id: string;
  readonly command: 'echo' | 'fill' | 'lane-fill' | 'cached' | 'record' | 'back' | 'sink' | 'hold' | 'topic';
  readonly args: Readonly<Record<string, string>>;
  /** Command data: pattern by this seed and size. */
  readonly data: readonly [seed: number, size: number] | undefined;
  /** Milliseconds after which the client gives it up itself, in one of two ways. */
  readonly cancelMs: number | undefined;
  readonly deadlineMs: number | undefined;
  readonly sensitive: boolean;
  readonly idempotent: boolean;
  /** Reads piece by piece, with turns of the event loop between. */
  readonly slowly: boolean;
  /** Turns of the event loop before it is begun. */
  readonly turns: number;
}

export interface ClientPlan {
  readonly slot: number;
  readonly harm: Harm;
  readonly pooled: boolean;
  readonly options: ConnectOptions;
  readonly tasks: readonly Task[];
}

const OPTIONS: readonly ConnectOptions[] = [
  {},
  {},
  { encodeData: 'zstd-8mb' },
  { codecs: 'portable' },
  { profiles: ['zlib'], encodeData: 'zlib' },
  { profiles: [] },
  { plain: true },
  { requestWindow: 3000 },
  { connectionWindow: 5000, requestWindow: 20_000 },
  { limits: { maxPayload: 2000 } },
];

/** The clients of a round and their tasks. */
export function planOf(seed: number): ClientPlan[] {
  const random = new Random(seed);
  return Array.from({ length: 1 + random.below(TOPICS.length) }, (_, slot) => ({
    slot,
    harm: random.pick<Harm>(['none', 'ends', 'ends', 'damage', 'damage']),
    pooled: random.once(3),
    options: random.pick(OPTIONS),
    tasks: Array.from({ length: 1 + random.below(10) }, (_, i) => taskOf(random, `${seed}-${slot}-${i}`)),
  }));
}

function taskOf(random: Random, id: string): Task {
  const command = random.pick([
    ...(['echo', 'fill', 'lane-fill', 'lane-fill', 'cached', 'record'] as const),
    ...(['back', 'sink', 'hold', 'topic'] as const),
  ]);
  const leaves = command === 'hold' || random.once(6);
  const cancels = leaves && random.once(2);
  return {
    id,
    command,
    args: { id, seed: String(random.below(8)), size: String(sizeOf(random)) },
    data: command === 'back' || command === 'sink' ? [random.below(8), sizeOf(random)] : undefined,
    cancelMs: cancels ? random.below(40) : undefined,
    deadlineMs: leaves && !cancels ? 1 + random.below(40) : undefined,
    sensitive: random.once(6),
    idempotent: random.once(2),
    slowly: random.once(4),
    turns: random.below(6),
  };
}

function sizeOf(random: Random): number {
  return random.once(4) ? random.below(200_000) : random.length(5000);
}

/** The one right answer; undefined for a task that has none. */
export function answerOf({ command, args, data, id }: Task): Uint8Array | undefined {
  const seed = Number(args.seed);
  switch (command) {
    case 'hold':
    case 'topic':
      return undefined;
    case 'echo':
      return Buffer.from(id);
    case 'record':
      return Buffer.from(millRecord(seed));
    case 'sink':
      return Buffer.from(digest(dataOf(data)));
    case 'back':
      return dataOf(data);
    default:
      return pattern(seed, Number(args.size));
  }
}

export function dataOf(data: Task['data']): Uint8Array {
  return data === undefined ? new Uint8Array() : pattern(...data);
}

// ----------------------------------------------------------------------------------------- faults

/** What happens to one direction of a connection at a byte of it. `count`: bytes it concerns. */
export interface Fault {
  readonly kind:
    | 'delay'
    | 'split'
    | 'reset'
    | 'end'
    | 'half-close'
    | 'flip'
    | 'duplicate'
    | 'drop'
    | 'swap'
    | 'stall';
  readonly at: number;
  readonly count: number;
}

export interface Faults {
  readonly up: Fault[];
  readonly down: Fault[];
}

const MILD = ['delay', 'split'] as const;
const ENDS = ['reset', 'end', 'half-close', 'stall'] as const;
const DAMAGE = ['flip', 'flip', 'flip', 'duplicate', 'drop', 'swap'] as const;

/** Kinds after which bytes are not what the other end has sent. */
export function isDamage({ kind }: Fault): boolean {
  return (DAMAGE as readonly string[]).includes(kind);
}

/** Kinds after which a connection may end, or wait for ever. */
export function isHarm(fault: Fault): boolean {
  return isDamage(fault) || (ENDS as readonly string[]).includes(fault.kind);
}

/** The faults of a client's connection: its first is `index` 0. */
export function faultsOf(seed: number, { slot, harm }: ClientPlan, index: number): Faults {
  const random = new Random((seed ^ Math.imul(1 + slot + 16 * index, 0x9e37_79b9)) >>> 0);
  const faults: Faults = { up: [], down: [] };
  const put = (kind: Fault['kind']) =>
    random.pick([faults.up, faults.down]).push({ kind, at: placeOf(random), count: 1 + random.length(3000) });
  for (let left = random.below(4); left > 0; left--) put(random.pick(MILD));
  if (harm === 'ends' && !random.once(5)) put(random.pick(ENDS));
  if (harm === 'damage') {
    for (let left = 1 + random.below(2); left > 0; left--) put(random.pick(DAMAGE));
    if (random.once(3)) put(random.pick(ENDS));
  }
  for (const list of [faults.up, faults.down]) list.sort((one, other) => one.at - other.at);
  return faults;
}

/** A byte of a direction: those of settings and of the first frames most often. */
function placeOf(random: Random): number {
  return random.below(random.pick([9, 100, 600, 3000, 20_000, 200_000]));
}
