/**
 * What a figure of this run is worth: how fast this machine's memory and its wake-ups are, what else ran on it before
 * we began, and what a virtual machine's host took from it meanwhile.
 */
import { readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { short } from '../src/experiment/results/text.ts';
import { Random } from '../src/experiment/traffic/random.ts';
import { measureWakeUp } from './waker.ts';

export interface Conditions {
  /** Nanoseconds from one read to the next, where each needs the one before; by the bytes that are read all over. */
  readonly memoryNs: readonly { readonly bytes: number; readonly ns: number }[];
  /** Microseconds until a thread that is woken runs. */
  readonly wakeUpUs: { readonly median: number; readonly p99: number };
  /** Before the run. Load over a minute; missing where the system does not say: CPU in use by others, PSI. */
  readonly before: {
    readonly load: number;
    readonly busyPercent?: number;
    /** Time over ten seconds in which some thread had to wait for a CPU. */
    readonly waitingPercent?: number;
  };
  /** Of the run's time and all CPUs, what the host of a virtual machine gave to others. */
  readonly stolenPercent?: number;
}

const SIZES = [256 << 10, 1 << 20, 4 << 20, 16 << 20];
/** One read each, so that none brings the next with it. */
const LINE_BYTES = 64;
const READS = 50_000;
const WALKS = 5;
const SAMPLE_MS = 250;

/** Takes a second. */
export async function measureConditions(): Promise<{ begin: Conditions; end(): Conditions }> {
  const before = readCpu();
  await delay(SAMPLE_MS);
  const start = readCpu();
  const busyPercent = before && start && share(before, start, 'busy');
  const waitingPercent = waitingIn(readText('/proc/pressure/cpu'));
  const begin: Conditions = {
    memoryNs: SIZES.map((bytes) => ({ bytes, ns: readLatency(bytes) })),
    wakeUpUs: await measureWakeUp(),
    before: {
      load: loadavg()[0]!,
      ...(busyPercent !== undefined && { busyPercent }),
      ...(waitingPercent !== undefined && { waitingPercent }),
    },
  };
  return {
    begin,
    end() {
      const now = readCpu();
      return start && now ? { ...begin, stolenPercent: share(start, now, 'stolen') } : begin;
    },
  };
}

/** Along a chain through all lines in an order that no hardware foresees: the walk that was disturbed least. */
function readLatency(bytes: number): number {
  const chain = makeChain(bytes / LINE_BYTES);
  walk(chain, bytes / LINE_BYTES);
  let best = Infinity;
  for (let i = 0; i < WALKS; i++) {
    const start = performance.now();
    walk(chain, READS);
    best = Math.min(best, ((performance.now() - start) * 1e6) / READS);
  }
  return best;
}

/** One cycle through all lines (Sattolo's shuffle); each holds the index of the next. */
function makeChain(lines: number): Int32Array {
  const random = new Random(1);
  const order = Int32Array.from({ length: lines }, (_, i) => i);
  for (let i = lines - 1; i > 0; i--) {
    const j = random.u32() % i;
    const other = order[j]!;
    order[j] = order[i]!;
    order[i] = other;
  }
  const step = LINE_BYTES / 4;
  const chain = new Int32Array(lines * step);
  for (let i = 0; i < lines; i++) chain[i * step] = order[i]! * step;
  return chain;
}

function walk(chain: Int32Array, reads: number): number {
  let at = 0;
  for (let i = 0; i < reads; i++) at = chain[at]!;
  // Used, or the compiler could leave the walk out.
  if (at < 0) throw new RangeError('a chain has no end');
  return at;
}

/** Ticks of all CPUs since the system began. */
export interface CpuTicks {
  readonly busy: number;
  readonly stolen: number;
  readonly all: number;
}

/** @param text of /proc/stat. Undefined where it is none. */
export function cpuTicks(text: string): CpuTicks | undefined {
  const line = /^cpu +([\d ]+)$/m.exec(text)?.[1];
  if (line === undefined) return undefined;
  // Guests' time, the last two, is in the user's already.
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, stolen = 0] = line
    .split(' ')
    .map(Number);
  const busy = user + nice + system + irq + softirq;
  return { busy, stolen, all: busy + idle + iowait + stolen };
}

function readCpu(): CpuTicks | undefined {
  return cpuTicks(readText('/proc/stat'));
}

function share(from: CpuTicks, to: CpuTicks, what: 'busy' | 'stolen'): number {
  return to.all > from.all ? (100 * (to[what] - from[what])) / (to.all - from.all) : 0;
}

/** @param text of /proc/pressure/cpu. Undefined where it is none. */
export function waitingIn(text: string): number | undefined {
  const percent = /^some avg10=([\d.]+)/m.exec(text)?.[1];
  return percent === undefined ? undefined : Number(percent);
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

export function describeConditions({ memoryNs, wakeUpUs, before, stolenPercent }: Conditions): string {
  const size = (bytes: number) => (bytes < 1 << 20 ? `${bytes >> 10} KiB` : `${bytes >> 20} MiB`);
  const reads = memoryNs.map(({ bytes, ns }) => `${short(ns)} ns in ${size(bytes)}`).join(', ');
  const { load, busyPercent, waitingPercent } = before;
  const others = [
    `load ${short(load)}`,
    busyPercent !== undefined && `${short(busyPercent)} % busy`,
    waitingPercent !== undefined && `${short(waitingPercent)} % waiting`,
  ];
  const stolen = stolenPercent === undefined ? '' : ` · stolen ${short(stolenPercent)} %`;
  return `a read ${reads} · a wake-up ${short(wakeUpUs.median)} µs, p99 ${short(wakeUpUs.p99)} · before: ${others
    .filter((each) => each)
    .join(', ')}${stolen}`;
}
