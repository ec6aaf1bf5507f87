/** How long a thread takes to wake another: the thread that is woken is this module too. */
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { median } from '../src/experiment/results/statistics.ts';

/** Cells of the memory that both see: whose turn it is. */
const ASKED = 0;
const ANSWERED = 1;
const END = -1;

/** Turns that are not counted, and those that are. */
const WARM = 50;
const TURNS = 400;

/** Microseconds from a thread's call to wake another until that one runs: half of a turn there and back. */
export async function measureWakeUp(): Promise<{ readonly median: number; readonly p99: number }> {
  const cells = new Int32Array(new SharedArrayBuffer(8));
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { wake: cells },
    execArgv: ['--no-warnings'],
  });
  await new Promise((resolve, reject) => worker.once('online', resolve).once('error', reject));
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  const took: number[] = [];
  for (let turn = 1; turn <= WARM + TURNS; turn++) {
    const start = performance.now();
    Atomics.store(cells, ASKED, turn);
    Atomics.notify(cells, ASKED);
    Atomics.wait(cells, ANSWERED, turn - 1);
    if (turn > WARM) took.push(((performance.now() - start) * 1000) / 2);
  }
  Atomics.store(cells, ASKED, END);
  Atomics.notify(cells, ASKED);
  await ended;
  took.sort((a, b) => a - b);
  return { median: median(took), p99: took[Math.floor(0.99 * took.length)]! };
}

function answer(cells: Int32Array<SharedArrayBuffer>): void {
  for (let turn = 1; ; turn++) {
    Atomics.wait(cells, ASKED, turn - 1);
    if (Atomics.load(cells, ASKED) === END) return;
    Atomics.store(cells, ANSWERED, turn);
    Atomics.notify(cells, ANSWERED);
  }
}

if (!isMainThread && workerData?.wake) answer(workerData.wake as Int32Array<SharedArrayBuffer>);
