/** `millrace doctor`: whether this machine suits a server, and what to mend. */

import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { getHeapStatistics } from 'node:v8';
import zlib from 'node:zlib';
import type { Command } from 'commander';
import { descriptorLimit } from '../files/descriptors.ts';
import { availableMemory } from '../lanes/memory.ts';
import { nodeProblem } from '../node-version.ts';
import { isMallocSet } from '../ops/malloc.ts';
import { visibleJson } from '../wire/visible.ts';
import { EXIT_FAILED, type Io } from './io.ts';
import { bytes, oneLine, plural } from './show.ts';

const EXAMPLES = `
One line for each thing that was looked at. The exit code is 1 when one of them is a failure.

Examples:
  millrace doctor
  millrace doctor --json`;

export type Verdict = 'ok' | 'warn' | 'fail';

/** One thing that was looked at. */
export interface Finding {
  readonly check: string;
  readonly verdict: Verdict;
  /** What there is. */
  readonly found: string;
  /** What to do about it; missing: nothing. */
  readonly mend?: string;
}

/** What the findings are made of. */
export interface Facts {
  /** Why we cannot run on this Node.js. */
  readonly nodeProblem: string | undefined;
  readonly nodeVersion: string;
  /** Why zstd does not do what it should; `undefined`: it does. */
  readonly zstdProblem: string | undefined;
  readonly zstdVersion: string | undefined;
  /** Cores that this process may use, and those of the machine. */
  readonly cores: number;
  readonly machineCores: number;
  /** Version of glibc; `undefined` with another C library, or on another system. */
  readonly glibc: string | undefined;
  readonly isMallocSet: boolean;
  /** Whether `millrace serve` can begin again with malloc set up. */
  readonly canRestart: boolean;
  /** Infinite where the system does not say. */
  readonly descriptors: number;
  readonly nowMs: number;
  /** What the kernel takes the time from; `undefined`: it does not say. */
  readonly clockSource: string | undefined;
  /** Bytes that the process may use, and those of the machine. */
  readonly memory: number;
  readonly machineMemory: number;
  /** Bytes that the heap of a thread may have. */
  readonly heap: number;
}

export function addDoctor(program: Command, io: Io): void {
  program
    .command('doctor')
    .description('look whether this machine suits a server, and say what to mend')
    .option('--json', 'print one JSON array instead')
    .addHelpText('after', EXAMPLES)
    .action(({ json }: { json?: boolean }) => {
      const findings = diagnose(facts());
      if (json) io.print(visibleJson(findings));
      else for (const finding of findings) io.print(line(finding));
      if (findings.some(({ verdict }) => verdict === 'fail')) io.exitCode = EXIT_FAILED;
    });
}

function line({ check, verdict, found, mend }: Finding): string {
  return oneLine(
    `${verdict.padEnd(4)}  ${check.padEnd(6)}  ${found}${mend === undefined ? '' : `: ${mend}`}`,
  );
}

export function diagnose(facts: Facts): Finding[] {
  return [node(facts), zstd(facts), cores(facts), malloc(facts), files(facts), clock(facts), memory(facts)];
}

function node({ nodeProblem, nodeVersion }: Facts): Finding {
  const found = `Node.js ${nodeVersion}`;
  if (nodeProblem === undefined) return { check: 'node', verdict: 'ok', found };
  return { check: 'node', verdict: 'fail', found, mend: nodeProblem };
}

function zstd({ zstdProblem, zstdVersion }: Facts): Finding {
  const found = zstdVersion === undefined ? 'no zstd' : `zstd ${zstdVersion}, round trip with a dictionary`;
  if (zstdProblem === undefined) return { check: 'zstd', verdict: 'ok', found };
  return {
    check: 'zstd',
    verdict: 'fail',
    found,
    mend: `${zstdProblem}; another build of Node.js may do it`,
  };
}

function cores({ cores, machineCores }: Facts): Finding {
  const found = cores < machineCores ? `${cores} of ${plural(machineCores, 'core')}` : plural(cores, 'core');
  if (cores > 1) return { check: 'cores', verdict: 'ok', found };
  const mend = 'lanes take turns with the main thread; two cores or more let them work beside it';
  return { check: 'cores', verdict: 'warn', found, mend };
}

function malloc({ glibc, isMallocSet, canRestart }: Facts): Finding {
  const check = 'malloc';
  if (glibc === undefined) return { check, verdict: 'ok', found: 'not of glibc, nothing to set' };
  const found = `glibc ${glibc}, ${isMallocSet ? 'set up in the environment' : 'as by default'}`;
  if (isMallocSet) return { check, verdict: 'ok', found };
  const own = 'servers of your own start with MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=32768';
  if (canRestart) return { check, verdict: 'ok', found, mend: `millrace serve sets it up by itself, ${own}` };
  return { check, verdict: 'warn', found, mend: `this Node.js cannot begin again with it set up; ${own}` };
}

/** What a process needs besides its connections. */
const OWN_DESCRIPTORS = 64;
const LANE_DESCRIPTORS = 32;
/** Connections that a server takes by default. */
const MAX_CONNECTIONS = 10_000;

function files({ descriptors, cores }: Facts): Finding {
  const check = 'files';
  if (descriptors === Number.POSITIVE_INFINITY)
    return { check, verdict: 'ok', found: 'the system names no limit of descriptors' };
  const found = plural(descriptors, 'descriptor');
  const connections = descriptors - OWN_DESCRIPTORS - LANE_DESCRIPTORS * cores;
  if (connections >= MAX_CONNECTIONS) return { check, verdict: 'ok', found };
  const mend = `enough for ${plural(Math.max(0, connections), 'connection')} of ${MAX_CONNECTIONS}; ulimit -n 65536, or LimitNOFILE= of a service`;
  return { check, verdict: connections < 1 ? 'fail' : 'warn', found, mend };
}

/** Before this the clock has not been set: there was no version of this program. */
const EARLIEST_MS = Date.UTC(2025, 0);
const LATEST_MS = Date.UTC(2100, 0);
/** Clocks that cost a system call, or more, each time they are asked. */
const SLOW_CLOCKS = ['hpet', 'acpi_pm', 'jiffies', 'refined-jiffies', 'pit'];

function clock({ nowMs, clockSource }: Facts): Finding {
  const check = 'clock';
  const source = clockSource === undefined ? '' : `, from ${clockSource}`;
  const found = `${new Date(nowMs).toISOString().slice(0, 19)}Z${source}`;
  if (nowMs < EARLIEST_MS || nowMs > LATEST_MS)
    return {
      check,
      verdict: 'fail',
      found,
      mend: 'it is not set: certificates and the times of files depend on it',
    };
  if (clockSource === undefined || !SLOW_CLOCKS.includes(clockSource)) return { check, verdict: 'ok', found };
  return { check, verdict: 'warn', found, mend: 'it is slow to ask, and a server asks often: tsc is better' };
}

const MIB = 1 << 20;
const LEAST_MEMORY = 128 * MIB;
const GOOD_MEMORY = 512 * MIB;

function memory({ memory, machineMemory, heap }: Facts): Finding {
  const check = 'memory';
  const limit = memory < machineMemory ? ` of ${bytes(machineMemory)}, the rest is not this container's` : '';
  const found = `${bytes(memory)}${limit}`;
  if (memory < LEAST_MEMORY)
    return { check, verdict: 'fail', found, mend: `a server needs ${bytes(LEAST_MEMORY)}` };
  if (memory < GOOD_MEMORY) {
    const mend = `contexts may have ${bytes(memory / 4)}; fewer workers, smaller windows or --context-memory`;
    return { check, verdict: 'warn', found, mend };
  }
  if (heap <= memory) return { check, verdict: 'ok', found };
  const mend = `the heap may become ${bytes(heap)}, more than there is: NODE_OPTIONS=--max-old-space-size=${Math.floor(memory / MIB / 2)}`;
  return { check, verdict: 'warn', found, mend };
}

function facts(): Facts {
  return {
    nodeProblem: nodeProblem(),
    nodeVersion: process.versions.node,
    zstdProblem: zstdProblem(),
    zstdVersion: process.versions.zstd,
    cores: availableParallelism(),
    machineCores: Math.max(cpus().length, availableParallelism()),
    glibc: glibcVersion(),
    isMallocSet: isMallocSet(process.env),
    canRestart: typeof process.execve === 'function',
    descriptors: descriptorLimit(),
    nowMs: Date.now(),
    clockSource: textOf('/sys/devices/system/clocksource/clocksource0/current_clocksource'),
    memory: availableMemory(),
    machineMemory: totalmem(),
    heap: getHeapStatistics().heap_size_limit,
  };
}

/** Whether what is compressed with a dictionary comes back. */
function zstdProblem(): string | undefined {
  const dictionary = Buffer.from('what both ends hold before the first byte');
  const text = Buffer.from(`${dictionary} and what comes behind it`);
  try {
    const packed = zlib.zstdCompressSync(text, { dictionary });
    if (zlib.zstdDecompressSync(packed, { dictionary }).equals(text)) return undefined;
    return 'zstd does not give back what it was given';
  } catch (error) {
    return `zstd does not work: ${(error as Error).message}`;
  }
}

function glibcVersion(): string | undefined {
  if (process.report === undefined) return undefined;
  // It would look names up otherwise.
  Object.assign(process.report, { excludeNetwork: true });
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return report.header?.glibcVersionRuntime;
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}
