/** CPU and memory of the process this runs in, thread by thread. */
import { readFileSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';

/** CPU in microseconds since the process began. */
export interface Usage {
  readonly atMs: number;
  /** All threads, and what the server runs outside this process. */
  readonly total: number;
  readonly main: number;
  /** One per worker thread, in the order in which they were made. */
  readonly workers: readonly number[];
  /** What is left: the thread pool, the garbage collector's and compiler's threads. */
  readonly other: number;
  readonly rss: number;
  readonly peakRss: number;
  /** Of the server's encoders so far, where it counts them. */
  readonly encodedFrames?: number | undefined;
}

const workers: Worker[] = [];

/** Call before the first worker is made: a thread's CPU can be asked for only by who holds the Worker. */
export function watchWorkers(): void {
  process.on('worker', (worker) => workers.push(worker));
}

const sum = (cpu: NodeJS.CpuUsage) => cpu.user + cpu.system;

export async function usage(outside: Record<string, number> = {}): Promise<Usage> {
  const perWorker = await Promise.all(workers.map((worker) => worker.cpuUsage().then(sum, () => 0)));
  const atMs = performance.now();
  const main = sum(process.threadCpuUsage());
  const here = sum(process.cpuUsage());
  const inWorkers = perWorker.reduce((a, b) => a + b, 0);
  return {
    atMs,
    total: here + Object.values(outside).reduce((a, b) => a + b, 0),
    main,
    workers: perWorker,
    other: Math.max(0, here - main - inWorkers),
    rss: process.memoryUsage.rss(),
    peakRss: peakRssOf('self') ?? process.resourceUsage().maxRSS * 1024,
  };
}

/**
 * Linux's own peak, in bytes: getrusage's would include the parent's from before the exec. Undefined elsewhere.
 */
export function peakRssOf(pid: number | 'self'): number | undefined {
  const kib = /VmHWM:\s*(\d+)/.exec(readText(`/proc/${pid}/status`))?.[1];
  return kib === undefined ? undefined : Number(kib) * 1024;
}

/** CPU of another process's first thread in microseconds, on Linux; 0 elsewhere. */
export function cpuOf(pid: number): number {
  return Number(readText(`/proc/${pid}/schedstat`).split(' ')[0] ?? 0) / 1000;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
