/** A worker on a queue, in this process. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseGrids } from '../../src/experiment/grid/grid.ts';
import { MAX_PACKED_BYTES, MAX_TRAFFIC_BYTES, packTraffic } from '../../src/experiment/job.ts';
import { queueRunner } from '../../src/experiment/queue.ts';
import { runExperiment } from '../../src/experiment/run.ts';
import { MAX_DICTIONARY_BYTES } from '../../src/wire/extensions.ts';
import { run } from '../cli/helper.ts';
import { tempFolder } from '../files/helper.ts';
import { generated, listener, SETTINGS } from './helper.ts';
import { DICTIONARY_JOB, JOB, WRONG_JOBS, zeros } from './jobs.ts';
import { startRedis, withRedis } from './redis.ts';

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

withRedis('events that are none, and jobs that are gone, keep nobody waiting', async (t) => {
  const url = await startRedis(t);
  const { Redis } = await import('ioredis');
  const redis = new Redis(url);
  t.teardown(() => redis.disconnect());
  const read = await generated('json900', 50_000);
  const cells = parseGrids([{ level: [1, 2, 3], policy: 'single' }]);
  const settings = { ...SETTINGS, cells, out: join(tempFolder(t), 'x') };
  const { seen, events } = listener();
  const running = runExperiment(read, settings, events, (options) => queueRunner(url, options));
  const key = (name: string) => `bull:millrace-experiment:${name}`;
  let jobs: string[] = [];
  while (jobs.length < cells.length) jobs = await redis.lrange(key('wait'), 0, -1);
  const tell = (...fields: string[]) => redis.xadd(key('events'), '*', 'jobId', jobs[0], ...fields);
  await tell('event', 'progress', 'data', '{no JSON');
  await tell('event', 'completed', 'returnvalue', '{no JSON');
  await tell('event', 'error', 'message', '\u001b[2J');
  await redis.del(key(jobs[1]));
  await redis.lrem(key('wait'), 0, jobs[1]);
  const worker = run(['experiment-worker', url]);
  const results = await running;
  t.is(results.cells.filter(({ measures }) => measures !== undefined).length, 2);
  t.regex(String(seen.failed), /the job is not in Redis any more/);
  worker.signals.emit('SIGTERM', 'SIGTERM');
  t.is((await worker.ended).code, 0);
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
  const { size, id } = DICTIONARY_JOB.options.dictionaries![0]!;
  const named = { ...DICTIONARY_JOB, traffic: workload.sha256 };
  for (const [bytes, message] of [
    [undefined, /dictionary is not in Redis/],
    [Buffer.alloc(size), /not a zstd dictionary/],
    [Buffer.alloc(MAX_DICTIONARY_BYTES + 1000), /at most 1048576 bytes/],
    [readFileSync(new URL('../fixtures/mill.dict', import.meta.url)), /is not what it says/],
  ] as const) {
    if (bytes !== undefined) await redis.set(`millrace-experiment:dictionary:${id}`, bytes);
    const job = await queue.add('cell', named);
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

withRedis('a job that is none is not tried again, whatever its options ask for', async (t) => {
  const url = await startRedis(t);
  const worker = run(['experiment-worker', url]);
  await worker.said('out', /waiting/);
  const { Queue, QueueEvents } = await import('bullmq');
  const connection = { url, maxRetriesPerRequest: null };
  const queue = new Queue('millrace-experiment', { connection });
  const events = new QueueEvents('millrace-experiment', { connection });
  await events.waitUntilReady();
  const asked: object[] = [
    { attempts: 1e9 },
    { attempts: '1e9' },
    { attempts: 1e9, backoff: { type: 'fixed', delay: 1 } },
    { attempts: 1e9, backoff: { type: 'nonesuch' } },
    { attempts: 1e9, backoff: { type: '__proto__' } },
    { attempts: 1e9, repeat: { every: 1, limit: 3 } },
  ];
  for (const options of asked) {
    const job = await queue.add('cell', { no: 'job' }, options);
    await t.throwsAsync(job.waitUntilFinished(events), { message: /not a job/ });
    t.is((await queue.getJob(String(job.id)))?.attemptsMade, 1);
  }
  await Promise.all([events.close(), queue.close()]);
  worker.signals.emit('SIGTERM', 'SIGTERM');
  t.like(await worker.ended, { code: 0, err: '' });
});
