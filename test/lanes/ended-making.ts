/**
 * A program of the tests: threads that make contexts all the time are ended, as many times as its argument says. Node.js ends
 * the process with them where they are ended in the midst of it.
 */

import { once } from 'node:events';
import { parentPort, Worker, workerData } from 'node:worker_threads';
import { makeWithin } from '../../src/encoding/making.ts';
import { nativeZstd } from '../../src/encoding/native.ts';
import { Trace } from '../../workers/trace.ts';

if (parentPort === null) {
  for (let i = 0; i < Number(process.argv[2]); i++) {
    const trace = new Trace();
    const worker = new Worker(import.meta.filename, { workerData: trace.memory, execArgv: [] });
    await once(worker, 'message');
    await trace.shut();
    await worker.terminate();
  }
} else {
  makeWithin(new Trace(workerData as SharedArrayBuffer).making);
  parentPort.postMessage('at work');
  for (;;) nativeZstd.createEncoder?.({ level: 1, windowLog: 10 }).close();
}
