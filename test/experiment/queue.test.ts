import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { parseGrids } from '../../src/experiment/grid/grid.ts';
import { queueRunner } from '../../src/experiment/queue.ts';
import { runExperiment } from '../../src/experiment/run.ts';
import { makeWorkload, packWorkload, unpackWorkload } from '../../src/experiment/traffic/workload.ts';
import { tempFolder } from '../files/helper.ts';
import { generated, listener, run, SETTINGS } from './helper.ts';

const MILLRACE = fileURLToPath(new URL('../../src/cli/millrace.ts', import.meta.url));
const hasRedis = spawnSync('redis-server', ['--version']).status === 0;
const withRedis = hasRedis ? test.serial : test.serial.skip;
if (!hasRedis) console.warn('there is no redis-server here: what needs one is skipped');

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

/** A Redis of the test's own, on loopback, that keeps nothing. */
async function startRedis(t: ExecutionContext<unknown>): Promise<string> {
  const port = await freePort();
  const options = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  const redis = spawn('redis-server', [...options, '--dir', tempFolder(t)]);
  t.teardown(() => redis.kill('SIGKILL'));
  let said = '';
  for await (const text of redis.stdout) {
    said += text;
    if (said.includes('Ready to accept connections')) break;
  }
  return `redis://127.0.0.1:${port}`;
}

interface RunningWorker {
  readonly child: ChildProcess;
  readonly said: () => string;
}

function startWorker(t: ExecutionContext<unknown>, url: string): RunningWorker {
  const child = spawn(process.execPath, [MILLRACE, 'experiment-worker', url, '--lock-ms', '1000']);
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

test('a workload survives the way to another machine', async (t) => {
  const { workload } = await generated('mixed', 20_000);
  const timed = makeWorkload(
    ['x'],
    workload.responses.map((response, i) => ({ ...response, connection: i % 2, atMs: i, endMs: i + 5 })),
  );
  t.deepEqual(unpackWorkload(packWorkload(timed)), { ...timed });
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

test('a queue that cannot be reached is one clear line', async (t) => {
  const url = `redis://127.0.0.1:${await freePort()}`;
  const worker = startWorker(t, url);
  const [code] = await once(worker.child, 'close');
  t.is(code, 1);
  t.regex(worker.said(), /^millrace: cannot reach Redis: [^\n]+\n$/);
});
