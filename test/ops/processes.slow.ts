/** Several processes on one port: replaced when they die, and rolled without a failed call. Heavy: each is a process. */

import { once } from 'node:events';
import { request } from 'node:http';
import test, { type ExecutionContext } from 'ava';
import { type ConnectionError, connect, connectPool, type Pool } from '../../src/index.ts';
import { serveAlone, TREE, until } from '../cli/helper.ts';

async function freePort(): Promise<number> {
  const { createServer } = await import('node:net');
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

async function serveMany(t: ExecutionContext, count: number, ...more: string[]) {
  const admin = await freePort();
  const served = await serveAlone(
    t,
    TREE,
    '--processes',
    String(count),
    '--admin',
    `127.0.0.1:${admin}`,
    ...more,
  );
  const [host, port] = served.address.split(':');
  const ask = async (path: string) => {
    const [response] = await once(request({ port: admin, path, agent: false }).end(), 'response');
    let text = '';
    for await (const piece of response) text += piece;
    return { status: response.statusCode as number, text };
  };
  const value = async (name: string) =>
    Number(new RegExp(`^${name} (.*)$`, 'm').exec((await ask('/metrics')).text)?.[1]);
  return { ...served, to: { host, port: Number(port) }, ask, value };
}

/** Calls without a pause until it is told to stop; what has failed, and how many there were. */
function callOn(pool: Pool) {
  const failed: Error[] = [];
  let [calls, isOver] = [0, false];
  const worker = async () => {
    while (!isOver) {
      calls++;
      await pool
        .call('files.get', { args: { path: 'a.txt' } })
        .text()
        .catch((error) => failed.push(error));
    }
  };
  const done = Promise.all(Array.from({ length: 8 }, worker));
  return {
    failed,
    count: () => calls,
    stop: () => {
      isOver = true;
      return done;
    },
  };
}

test.serial('SIGUSR2 replaces all processes, and a pool notices nothing', async (t) => {
  const { child, to, said, ended, value, ask } = await serveMany(t, 2);
  const pool = connectPool([to], { size: 4 });
  t.teardown(() => pool.destroy());
  const load = callOn(pool);
  await until(() => load.count() > 100);
  t.is((await ask('/readyz')).status, 200);
  child.kill('SIGUSR2');
  await said('err', /all processes are new/);
  const before = load.count();
  await until(() => load.count() > before + 100);
  await load.stop();
  t.deepEqual(load.failed, []);
  t.is(await value('millrace_processes'), 2);
  t.is(await value('millrace_process_restarts_total'), 0);
  await pool.close();
  child.kill('SIGTERM');
  t.is((await ended).code, 0);
});

test.serial(
  'a process that is killed is replaced; only its own calls fail, as calls of a lost connection',
  async (t) => {
    const { child, to, said, value, seen } = await serveMany(t, 2);
    const clients = await Promise.all(Array.from({ length: 8 }, () => connect(to)));
    t.teardown(() => {
      for (const client of clients) client.destroy();
    });
    const { execFileSync } = await import('node:child_process');
    const [victim] = execFileSync('pgrep', ['-P', String(child.pid)], { encoding: 'utf8' })
      .trim()
      .split('\n');
    process.kill(Number(victim), 'SIGKILL');
    await said('err', new RegExp(`process ${victim} has died`));
    const ends = await Promise.all(
      clients.map((client) =>
        client
          .call('files.get', { args: { path: 'a.txt' } })
          .text()
          .catch((error) => error),
      ),
    );
    const lost = ends.filter((end) => end instanceof Error);
    t.true(lost.length > 0 && lost.length < clients.length, 'connections are given out in turn');
    for (const error of lost) t.is((error as ConnectionError).code, 'lost');
    t.is(ends.filter((end) => end === 'text').length, clients.length - lost.length);
    let alive = 0;
    while (alive < 2) alive = await value('millrace_processes');
    t.is(await value('millrace_process_restarts_total'), 1);
    t.is(
      await connect(to).then(async (client) => {
        const text = await client.call('ping').text();
        client.destroy();
        return text;
      }),
      'pong',
    );
    t.notRegex(seen.err, /not replaced|has not started/);
    child.kill('SIGTERM');
  },
);

test.serial('what is wrong is one line, however many processes there are', async (t) => {
  const { ended } = await serveMany(t, 2, '--profile', 'nope').then((served) => served);
  const { code, err } = await ended;
  t.is(code, 2);
  t.regex(err, /^millrace: unknown profile 'nope'[^\n]*\n$/);
});
