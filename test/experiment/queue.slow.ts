/** Several workers on a queue, each in a process of its own. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { parseGrids } from '../../src/experiment/grid/grid.ts';
import { unpackTraffic } from '../../src/experiment/job.ts';
import { queueRunner } from '../../src/experiment/queue.ts';
import { runExperiment } from '../../src/experiment/run.ts';
import { tempFolder } from '../files/helper.ts';
import { generated, listener, run, SETTINGS } from './helper.ts';
import { JOB, zeros } from './jobs.ts';
import { startRedis, withRedis } from './redis.ts';

const MILLRACE = fileURLToPath(new URL('../../src/cli/millrace.ts', import.meta.url));
interface RunningWorker {
  readonly child: ChildProcess;
  readonly said: () => string;
}

function startWorker(t: ExecutionContext<unknown>, url: string): RunningWorker {
  const child = spawn(process.execPath, [MILLRACE, 'experiment-worker', url, '--lock-ms', '5000']);
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout.on('data', (text) => {
    said += text;
  });
  child.stderr.on('data', (text) => {
    said += text;
  });
  return { child, said: () => said };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

test('traffic that would unpack to more than 256 MiB is refused', (t) => {
  t.throws(() => unpackTraffic(zeros(), JOB.traffic), { message: /cannot be unpacked/ });
});

withRedis('workers on a queue find what one machine finds, and one that dies loses nothing', async (t) => {
  const url = await startRedis(t);
  const folder = tempFolder(t);
  const read = await generated('mixed', 1 << 20);
  const cells = parseGrids([{ level: '1..6', policy: ['single', 'affinity'] }, { level: 99 }]);
  const first = startWorker(t, url);
  const { seen, events } = listener();
  const running = runExperiment(
    read,
    { ...SETTINGS, rounds: 2, cells, out: join(folder, 'queue') },
    events,
    (options) => queueRunner(url, options),
  );
  await until(() => first.said().includes('ratio'));
  first.child.kill('SIGKILL');
  const second = startWorker(t, url);
  const results = await running;
  t.is(results.cells.length, cells.length);
  t.is(seen.failed.length, 1);
  t.true(results.cells.every(({ host }) => host !== undefined));
  t.regex(readFileSync(join(folder, 'queue', 'report.html'), 'utf8'), /settings measured by workers on /);
  const here = await run(read, { cells, out: join(folder, 'here') });
  const sizes = (of: typeof results) => of.cells.map(({ key, measures }) => [key, measures?.wireBytes]);
  t.deepEqual(sizes(results), sizes(here.results));
  second.child.kill('SIGTERM');
  const [code] = await once(second.child, 'close');
  t.is(code, 0, second.said());
});
