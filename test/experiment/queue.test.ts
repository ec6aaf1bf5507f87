/** Traffic on its way to workers, and one worker; queue.slow.ts has several, and one that dies. */

import { join } from 'node:path';
import test from 'ava';
import { parseGrids } from '../../src/experiment/grid/grid.ts';
import { queueRunner } from '../../src/experiment/queue.ts';
import { runExperiment } from '../../src/experiment/run.ts';
import { makeWorkload, packWorkload, unpackWorkload } from '../../src/experiment/traffic/workload.ts';
import { isOneLine, millrace, run } from '../cli/helper.ts';
import { tempFolder } from '../files/helper.ts';
import { generated, listener, SETTINGS } from './helper.ts';
import { freePort, startRedis, withRedis } from './redis.ts';

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

test('a queue that cannot be reached is one clear line', async (t) => {
  const { out, ...ended } = await millrace('experiment-worker', `redis://127.0.0.1:${await freePort()}`);
  isOneLine(t, { ...ended, out: '' }, 1, /cannot reach Redis: /);
});
