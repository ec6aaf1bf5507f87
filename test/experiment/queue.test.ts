import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { freePort } from '../../bench/peers/listen.ts';
import { cellKey } from '../../src/experiment/grid/cell.ts';
import {
  failedResult,
  MAX_PACKED_BYTES,
  packTraffic,
  parseJob,
  parseResult,
  unpackTraffic,
} from '../../src/experiment/job.ts';
import type { CellResult } from '../../src/experiment/results/results.ts';
import { makePlan } from '../../src/experiment/simulate/frame-plan.ts';
import { makeWorkload, packWorkload, unpackWorkload } from '../../src/experiment/traffic/workload.ts';
import { isOneLine, millrace } from '../cli/helper.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { impostor } from '../helpers/serving.ts';
import { fakeMeasures } from './fake.ts';
import { generated } from './helper.ts';
import { DICTIONARY_JOB, JOB, WRONG_JOBS } from './jobs.ts';

test('a job is held against what the command line takes, and more is refused', (t) => {
  for (const job of [JOB, DICTIONARY_JOB]) t.deepEqual(parseJob(job), job);
  for (const [job, message] of WRONG_JOBS) t.throws(() => parseJob(job), { message });
});

test('traffic is bounded before it is unpacked, and its head before it is believed', async (t) => {
  const { workload } = await generated('mixed', 20_000);
  const { sha256 } = workload;
  t.deepEqual(unpackTraffic(packTraffic(workload), sha256), { ...workload });
  t.throws(() => unpackTraffic(packTraffic(workload), JOB.traffic), { message: /not what it says/ });
  t.throws(() => unpackTraffic(Buffer.alloc(100), sha256), { message: /cannot be unpacked/ });
  t.throws(() => unpackTraffic(Buffer.alloc(MAX_PACKED_BYTES + 1), sha256), {
    message: /more than a worker takes/,
  });
  const packed = packTraffic(workload);
  t.is(unpackTraffic(packed, sha256, 1 << 20).sha256, sha256);
  t.throws(() => unpackTraffic(packed, sha256, workload.bytes), { message: /cannot be unpacked/ });
  const pack = (head: unknown, bytes = 4) => {
    const text = Buffer.from(typeof head === 'string' ? head : JSON.stringify(head));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(text.length);
    return Buffer.concat([length, text, Buffer.alloc(bytes)]);
  };
  const good = { command: 'x', connection: 0, length: 4 };
  const head = (...responses: unknown[]) => ({ sources: [], responses });
  t.is(unpackWorkload(pack(head(good))).bytes, 4);
  const wrong: [Buffer, RegExp][] = [
    [Buffer.alloc(0), /head is too long/],
    [Buffer.from([255, 255, 255, 255, 1]), /head is too long/],
    [pack('{'), /not JSON/],
    [pack({}), /sources|responses/],
    [pack(head({ ...good, length: 5 })), /bytes that it says/],
    [pack(head({ ...good, length: 3 })), /bytes that it says/],
    [pack(head({ ...good, length: -4 })), /length/],
    [pack(head({ ...good, length: 2 ** 53 })), /length/],
    [pack(head({ ...good, connection: 'all' })), /connection/],
    [pack(head({ ...good, pieces: [{ afterMs: 0, length: 5 }] })), /pieces/],
    [pack(head({ ...good, pieces: [{ afterMs: -1, length: 4 }] })), /afterMs/],
    [pack(head({ ...good, endMs: 1e300 })), /endMs/],
    [pack(head({ ...good, bytes: 'x' })), /bytes/],
    [
      pack(
        head(...Array.from({ length: 10_001 }, (_, connection) => ({ ...good, length: 0, connection }))),
        0,
      ),
      /connections/,
    ],
  ];
  for (const [packed, message] of wrong) t.throws(() => unpackWorkload(packed), { message });
});

test('a result that comes back is held against what was asked', async (t) => {
  const { workload } = await generated('json900', 20_000);
  const { cell, options } = JOB;
  const fake = fakeMeasures(cell, { workload, ...options });
  const result: CellResult = { key: cellKey(cell), cell, measures: fake, seconds: 1 };
  t.deepEqual(parseResult(structuredClone(result), JOB), result);
  t.deepEqual(parseResult({ ...result, more: 1 }, JOB), result);
  const { measures } = result;
  const wrong: unknown[] = [
    undefined,
    'x',
    { ...result, key: 'another' },
    { ...result, host: 'x'.repeat(100_000) },
    { ...result, measures: { ...measures, ratio: -1 } },
    { ...result, measures: { ...measures, ratio: '<script>' } },
    { ...result, measures: { ...measures, links: [] } },
    { ...result, measures: { ...measures, links: [{ ...measures?.links[0], bitsPerSecond: 5 }] } },
    { ...result, measures: { ...measures, compress: { ...measures?.compress, rounds: [1, 2] } } },
  ];
  for (const value of wrong) t.throws(() => parseResult(value, JOB), { message: /^(not the|the) result / });
  t.is(parseResult({ ...result, cell: { ...JOB.cell, level: 22 } }, JOB).cell.level, 1, 'ours');
  t.is(failedResult(JOB.cell, new Error('x'.repeat(1e6))).error?.length, 1000);
});

test('more frames or contexts than a machine should hold fail one setting', async (t) => {
  const { workload } = await generated('json900', 20_000);
  const much = { ...workload, bytes: 5_000_000 };
  t.throws(() => makePlan(much, { ...JOB.cell, frameSize: 1 }, 1), { message: /more than 4000000 frames/ });
});

test('a workload survives the way to another machine', async (t) => {
  const { workload } = await generated('mixed', 20_000);
  const timed = makeWorkload(
    ['x'],
    workload.responses.map((response, i) => ({ ...response, connection: i % 2, atMs: i, endMs: i + 5 })),
  );
  t.deepEqual(unpackWorkload(packWorkload(timed)), { ...timed });
});

test('a queue that cannot be reached is one clear line', async (t) => {
  const { out, ...ended } = await millrace('experiment-worker', `redis://127.0.0.1:${await freePort()}`);
  isOneLine(t, { ...ended, out: '' }, 1, /cannot reach Redis: /);
});

test.serial('a Redis that says nothing is given up', async (t) => {
  const clock = stoppedClock(t);
  const { port } = await impostor(t, () => undefined);
  const ended = millrace('experiment-worker', `redis://127.0.0.1:${port}`);
  const { out, ...complaint } = await clock.advanceWhile(ended, 1000, () => turn());
  isOneLine(t, { ...complaint, out: '' }, 1, /cannot reach Redis: no answer within 60000 ms/);
});
