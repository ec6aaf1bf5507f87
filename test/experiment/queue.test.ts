/** Traffic on its way to workers, and one worker; queue.slow.ts has several, and one that dies. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { constants, zstdCompressSync } from 'node:zlib';
import test from 'ava';
import { cellKey } from '../../src/experiment/grid/cell.ts';
import { parseGrids } from '../../src/experiment/grid/grid.ts';
import {
  type CellJob,
  failedResult,
  MAX_PACKED_BYTES,
  MAX_TRAFFIC_BYTES,
  packTraffic,
  parseJob,
  parseResult,
  unpackTraffic,
} from '../../src/experiment/job.ts';
import { queueRunner } from '../../src/experiment/queue.ts';
import type { CellResult } from '../../src/experiment/results/results.ts';
import { runExperiment } from '../../src/experiment/run.ts';
import { makePlan } from '../../src/experiment/simulate/frame-plan.ts';
import { makeWorkload, packWorkload, unpackWorkload } from '../../src/experiment/traffic/workload.ts';
import { MAX_DICTIONARY_BYTES } from '../../src/wire/extensions.ts';
import { isOneLine, millrace, run } from '../cli/helper.ts';
import { tempFolder } from '../files/helper.ts';
import { fakeMeasures } from './fake.ts';
import { generated, listener, SETTINGS } from './helper.ts';
import { freePort, startRedis, withRedis } from './redis.ts';

const JOB: CellJob = {
  cell: { profile: 'zstd-8mb', level: 1, streams: 1, policy: 'single', frameSize: 32_768, coalesceMs: 0 },
  traffic: '0123456789abcdef',
  options: { rounds: 1, inFlight: 1, workers: 1, links: [1e6] },
};

/** Of a dictionary that is nowhere. */
const ID = '0123456789abcdef0123456789abcdef';

/** What a job must not say, at the place that the message names. */
const WRONG_JOBS: [unknown, RegExp][] = [
  [undefined, /not a job/],
  [[], /not a job/],
  [{ ...JOB, cell: { ...JOB.cell, streams: 1e9 } }, /cell\.streams/],
  [{ ...JOB, cell: { ...JOB.cell, streams: 1.5 } }, /cell\.streams/],
  [{ ...JOB, cell: { ...JOB.cell, frameSize: 0 } }, /cell\.frameSize/],
  [{ ...JOB, cell: { ...JOB.cell, windowLog: 31 } }, /cell\.windowLog/],
  [{ ...JOB, cell: { ...JOB.cell, coalesceMs: 1e9 } }, /cell\.coalesceMs/],
  [{ ...JOB, cell: { ...JOB.cell, profile: 'x'.repeat(256) } }, /cell\.profile/],
  [{ ...JOB, cell: { ...JOB.cell, module: 'file:///x.js' } }, /cell: .*module/],
  [{ ...JOB, cell: { ...JOB.cell, dictionary: 512 } }, /cell\.dictionary/],
  [{ ...JOB, cell: { ...JOB.cell, dictionary: 2 << 20 } }, /cell\.dictionary/],
  [{ ...JOB, cell: { ...JOB.cell, contexts: 'auto' } }, /cell\.contexts/],
  [
    { ...JOB, options: { ...JOB.options, dictionaries: [{ size: 16_384, id: '../x' }] } },
    /dictionaries\.0\.id/,
  ],
  [{ ...JOB, options: { ...JOB.options, dictionaries: [{ size: 1e9, id: ID }] } }, /dictionaries\.0\.size/],
  [
    { ...JOB, options: { ...JOB.options, dictionaries: Array(17).fill({ size: 16_384, id: ID }) } },
    /options\.dictionaries/,
  ],
  [{ ...JOB, traffic: '../../../etc/passwd' }, /traffic/],
  [{ ...JOB, options: { ...JOB.options, workers: 300 } }, /options\.workers/],
  [{ ...JOB, options: { ...JOB.options, workers: 256 } }, /wants 256 workers/],
  [{ ...JOB, options: { ...JOB.options, rounds: 1e6 } }, /options\.rounds/],
  [{ ...JOB, options: { ...JOB.options, inFlight: 0 } }, /options\.inFlight/],
  [{ ...JOB, options: { ...JOB.options, links: [0] } }, /options\.links/],
  [{ ...JOB, options: { ...JOB.options, links: Array(101).fill(1e6) } }, /options\.links/],
  [
    { ...JOB, options: { ...JOB.options, codecs: [{ url: 'file:///x.js', export: 'codecs' }] } },
    /options: .*codecs/,
  ],
  [{ ...JOB, codecs: [] }, /codecs/],
];

test('a job is held against what the command line takes, and more is refused', (t) => {
  t.deepEqual(parseJob(JOB), JOB);
  const cell = { ...JOB.cell, contexts: 'none', dictionary: 16_384 };
  const known = { ...JOB, cell, options: { ...JOB.options, dictionaries: [{ size: 16_384, id: ID }] } };
  t.deepEqual(parseJob(known), known as unknown as CellJob);
  for (const [job, message] of WRONG_JOBS) t.throws(() => parseJob(job), { message });
});

/** More than may be unpacked, in some kilobytes. */
let packedZeros: Buffer | undefined;
const zeros = () => {
  packedZeros ??= zstdCompressSync(Buffer.alloc(MAX_TRAFFIC_BYTES + 1), {
    params: { [constants.ZSTD_c_compressionLevel]: 1 },
  });
  return packedZeros;
};

test('traffic is bounded before it is unpacked, and its head before it is believed', async (t) => {
  const { workload } = await generated('mixed', 20_000);
  const { sha256 } = workload;
  t.deepEqual(unpackTraffic(packTraffic(workload), sha256), { ...workload });
  t.throws(() => unpackTraffic(packTraffic(workload), JOB.traffic), { message: /not what it says/ });
  t.throws(() => unpackTraffic(Buffer.alloc(100), sha256), { message: /cannot be unpacked/ });
  t.throws(() => unpackTraffic(Buffer.alloc(MAX_PACKED_BYTES + 1), sha256), {
    message: /more than a worker takes/,
  });
  t.throws(() => unpackTraffic(zeros(), sha256), { message: /cannot be unpacked/ });
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

withRedis('a worker measures what is in the queue until it is stopped', async (t) => {
  const url = await startRedis(t);
  const worker = run(['experiment-worker', url]);
  const read = await generated('json900', 50_000);
  const cells = parseGrids([{ level: [1, 99], policy: 'single' }]);
  const settings = { ...SETTINGS, cells, out: join(tempFolder(t), 'x') };
  const { seen, events } = listener();
  const results = await runExperiment(read, settings, events, (options) => queueRunner(url, options));
  t.is(results.cells.length, 2);
  t.is(seen.failed.length, 1);
  t.true(results.cells.every(({ host }) => host !== undefined));
  worker.signals.emit('SIGTERM', 'SIGTERM');
  t.like(await worker.ended, { code: 0, err: '' });
});

withRedis('a hostile queue loads no code, takes no memory, and the worker goes on', async (t) => {
  const url = await startRedis(t);
  const worker = run(['experiment-worker', url]);
  await worker.said('out', /waiting/);
  const folder = tempFolder(t);
  const trap = join(folder, 'trap.mjs');
  writeFileSync(
    trap,
    `import { writeFileSync } from 'node:fs'; writeFileSync(${JSON.stringify(join(folder, 'sprung'))}, '');`,
  );
  const code = { url: pathToFileURL(trap).href, export: 'codecs', codecs: [] };
  const { bullmq, Redis } = { bullmq: await import('bullmq'), ...(await import('ioredis')) };
  const connection = { url, maxRetriesPerRequest: null };
  const queue = new bullmq.Queue('millrace-experiment', { connection });
  const events = new bullmq.QueueEvents('millrace-experiment', { connection });
  const redis = new Redis(url);
  await redis.set('millrace-experiment:traffic:00000000000000aa', zeros());
  await redis.set('millrace-experiment:traffic:00000000000000bb', Buffer.alloc(MAX_PACKED_BYTES + 1000));
  await events.waitUntilReady();
  const hostile: [unknown, RegExp][] = [
    ...WRONG_JOBS.slice(1),
    [{ ...JOB, traffic: '00000000000000aa' }, /cannot be unpacked/],
    [{ ...JOB, traffic: '00000000000000bb' }, /more than a worker takes/],
    [{ ...JOB, traffic: '00000000000000cc' }, /not in Redis/],
    [{ ...JOB, options: { ...JOB.options, codecs: [code] } }, /codecs/],
    [{ ...JOB, codecs: [code] }, /codecs/],
    [{ ...JOB, cell: { ...JOB.cell, profile: code.url } }, /not in Redis/],
  ];
  const before = process.memoryUsage().rss;
  for (const [data, message] of hostile) {
    const job = await queue.add(trap, data, { attempts: 1 });
    await t.throwsAsync(job.waitUntilFinished(events), { message });
  }
  t.true(process.memoryUsage().rss - before < 2 * MAX_TRAFFIC_BYTES);
  t.false(existsSync(join(folder, 'sprung')));
  const { workload } = await generated('json900', 20_000);
  await redis.set(`millrace-experiment:traffic:${workload.sha256}`, packTraffic(workload));
  for (const [bytes, message] of [
    [undefined, /dictionary is not in Redis/],
    [Buffer.alloc(MAX_DICTIONARY_BYTES + 1000), /at most 1048576 bytes/],
    [readFileSync(new URL('../fixtures/mill.dict', import.meta.url)), /is not what it says/],
  ] as const) {
    if (bytes !== undefined) await redis.set(`millrace-experiment:dictionary:${ID}`, bytes);
    const options = { ...JOB.options, dictionaries: [{ size: 16_384, id: ID }] };
    const job = await queue.add('cell', { ...JOB, traffic: workload.sha256, options });
    await t.throwsAsync(job.waitUntilFinished(events), { message });
  }
  const unknown = { ...JOB, traffic: workload.sha256, cell: { ...JOB.cell, profile: code.url } };
  const refused = await (await queue.add('cell', unknown)).waitUntilFinished(events);
  t.regex(refused.error, /unknown profile/);
  t.false(existsSync(join(folder, 'sprung')));
  await Promise.all([events.close(), queue.close()]);
  redis.disconnect();
  worker.signals.emit('SIGTERM', 'SIGTERM');
  t.is((await worker.ended).code, 0);
});

test('a queue that cannot be reached is one clear line', async (t) => {
  const { out, ...ended } = await millrace('experiment-worker', `redis://127.0.0.1:${await freePort()}`);
  isOneLine(t, { ...ended, out: '' }, 1, /cannot reach Redis: /);
});
