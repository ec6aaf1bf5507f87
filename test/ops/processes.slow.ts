/**
 * Several processes on one port: replaced when they die, and rolled without a failed call; and one that reads its settings again
 * and again. Heavy: each is a process. TEST_SECONDS: how long they are killed, and told to reload (default 15 each).
 */

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { freePort } from '../../bench/peers/listen.ts';
import {
  type Client,
  type ConnectAddress,
  type ConnectionError,
  connect,
  connectPool,
  type Pool,
} from '../../src/index.ts';
import { FINISHING, MILLRACE, serve, serveAlone, start, TREE, until } from '../cli/helper.ts';
import { tempFolder } from '../files/helper.ts';
import { heldBytes } from '../helpers/gc.ts';
import { linux } from '../helpers/linux.ts';
import { LONG } from '../helpers/serving.ts';

const SECONDS = Number(process.env.TEST_SECONDS ?? 15);
const RELOADS = 200;

const tls = (name: string) => fileURLToPath(new URL(`../fixtures/tls/${name}`, import.meta.url));

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

function childrenOf(pid: number | undefined): number[] {
  const all = execFileSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' });
  return all.trim().split('\n').map(Number);
}

/** Connections of clients that the process has, on Linux. */
function connectionsOf(pid: number, port: number): number {
  const sockets = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      // It has been closed meanwhile.
      return '';
    }
  });
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const ESTABLISHED = '01';
  const rows = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  return rows.filter(
    ([, from, , state, , , , , , inode]) =>
      from?.endsWith(local) && state === ESTABLISHED && sockets.includes(`socket:[${inode}]`),
  ).length;
}

/** Calls on one connection after another: the next one when the last is lost. */
class Caller {
  readonly #to: ConnectAddress;
  readonly #failed: { readonly error: Error; readonly client: Client }[] = [];
  #client: Client | undefined;
  /** Answers since {@link forget}, and connections that were lost since then. */
  answers = 0;
  lost = 0;
  #isOver = false;
  readonly #done: Promise<void>;

  constructor(to: ConnectAddress) {
    this.#to = to;
    this.#done = this.#run();
  }

  /** What has failed since this was last asked. */
  takeFailed() {
    return this.#failed.splice(0);
  }

  forget(): void {
    this.answers = 0;
    this.lost = 0;
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#done;
    this.#client?.destroy();
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      this.#client = await connect(this.#to).catch(() => undefined);
      if (this.#client !== undefined) await this.#callOn(this.#client);
    }
  }

  async #callOn(client: Client): Promise<void> {
    while (!this.#isOver && client.state === 'open') {
      try {
        await client.call('files.get', { args: { path: 'a.txt' } }).bytes();
        this.answers++;
      } catch (error) {
        this.#failed.push({ error: error as Error, client });
      }
      await delay(5);
    }
    if (!this.#isOver) this.lost++;
  }
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
  const pool = connectPool([to], { size: 4, maxWaitMs: LONG, connect: { timeoutMs: LONG } });
  t.teardown(() => pool.destroy());
  const load = callOn(pool);
  await until(() => load.count() > 100);
  // It is not where none of them answers soon.
  while ((await ask('/readyz')).status !== 200) await delay(50);
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
    const clients = await Promise.all(Array.from({ length: 8 }, () => connect(to, { timeoutMs: LONG })));
    t.teardown(() => {
      for (const client of clients) client.destroy();
    });
    const [victim] = childrenOf(child.pid);
    process.kill(victim, 'SIGKILL');
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
      await connect(to, { timeoutMs: LONG }).then(async (client) => {
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

linux('Ctrl-C while they start, which all of them get, is no failure, and nothing stays', async (t) => {
  await interruptAsTheyStart(t, ({ child }) => process.kill(-Number(child.pid), 'SIGINT'));
});

linux('nor is it one where the first of them hears of the others before it is told itself', async (t) => {
  await interruptAsTheyStart(t, async ({ child, seen }, [pid]) => {
    process.kill(pid, 'SIGINT');
    await until(() => child.exitCode !== null || seen.out !== '');
    // It had as good as started by then, and another one takes its place.
    if (child.exitCode === null) process.kill(-Number(child.pid), 'SIGINT');
  });
});

async function interruptAsTheyStart(
  t: ExecutionContext,
  interrupt: (first: ReturnType<typeof start>, others: readonly number[]) => unknown,
): Promise<void> {
  // A group of their own, as a terminal makes it.
  const command = ['setsid', process.execPath, MILLRACE] as const;
  const first = start(t, ['serve', '.', '--processes', '2', '--port', '0'], { command });
  const { child, ended } = first;
  const kids = (pid: number | undefined) => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  await until(() => kids(child.pid).split(' ').length === 2);
  const children = childrenOf(child.pid);
  await interrupt(first, children);
  const { code, out, err } = await ended;
  t.is(code, 0, err);
  // By then they may have started after all.
  t.regex(out, /^(millrace serves [^\n]*\n)?$/);
  t.regex(err.replace(/^millrace: process \d+ has died .*\n/, ''), FINISHING);
  for (const pid of children) t.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
}

linux(
  'one of four processes is killed every other second: its own calls fail, with a code, and no others',
  async (t) => {
    const { child, to, value, seen } = await serveMany(t, 4);
    const callers = Array.from({ length: 32 }, () => new Caller(to));
    t.teardown(() => Promise.all(callers.map((caller) => caller.stop())));
    const endMs = performance.now() + SECONDS * 1000;
    let [kills, lost] = [0, 0];
    while (performance.now() < endMs) {
      while ((await value('millrace_processes')) < 4) await delay(50);
      for (const caller of callers) caller.forget();
      // All have a connection that answers: nothing is on its way from one process to another.
      await until(() => callers.every(({ answers }) => answers > 2));
      t.deepEqual(
        callers.flatMap((caller) => caller.takeFailed()),
        [],
      );
      const all = childrenOf(child.pid).map((pid) => ({ pid, has: connectionsOf(pid, to.port) }));
      const [victim] = all.sort((a, b) => b.has - a.has);
      process.kill(victim.pid, 'SIGKILL');
      kills++;
      await delay(2000);
      const lostNow = () => callers.reduce((sum, caller) => sum + caller.lost, 0);
      await until(() => lostNow() >= victim.has);
      // All are answered once more: whoever has lost a connection knows it by then.
      const before = callers.map(({ answers }) => answers);
      await until(() => callers.every(({ answers }, i) => answers > before[i]));
      const failed = callers.flatMap((caller) => caller.takeFailed());
      lost += failed.length;
      t.is(lostNow(), victim.has);
      t.true(failed.length <= victim.has, 'each of its connections has one call at a time');
      for (const { error, client } of failed) {
        t.is((error as ConnectionError).code, 'lost');
        t.is(client.state, 'closed');
      }
    }
    while ((await value('millrace_processes')) < 4) await delay(50);
    t.is(await value('millrace_process_restarts_total'), kills, seen.err);
    t.log(`${kills} kills, ${lost} calls lost with them`);
    child.kill('SIGTERM');
  },
);

linux('SIGHUP every second under load: no call fails', async (t) => {
  const config = join(tempFolder(t), 'millrace.yaml');
  const write = (level: number) =>
    writeFileSync(config, `level: ${level}\nlimits:\n  maxPings: ${100 + level}\n`);
  write(1);
  const certificate = ['--tls-cert', tls('server.pem'), '--tls-key', tls('server.key')];
  const { child, address, seen, ended } = await serveAlone(t, TREE, '--config', config, ...certificate);
  const to = { host: '127.0.0.1', port: Number(address.split(':')[1]) };
  const secure = { tls: { ca: readFileSync(tls('ca.pem')), servername: 'localhost' }, timeoutMs: LONG };
  const pool = connectPool(to, { size: 4, maxWaitMs: LONG, connect: secure });
  t.teardown(() => pool.destroy());
  const load = callOn(pool);
  for (let second = 1; second <= SECONDS; second++) {
    write(1 + (second % 9));
    child.kill('SIGHUP');
    await until(() => seen.err.split('reloaded: ').length > second);
    // What was read holds for who comes now.
    const client = await connect(to, secure);
    const { limits } = await client.call('capabilities').json<{ limits: { maxPings: number } }>();
    t.is(limits.maxPings, 101 + (second % 9));
    await client.close();
    await delay(1000);
  }
  await load.stop();
  t.deepEqual(load.failed, []);
  t.notRegex(seen.err, /not reloaded/);
  t.log(`${load.count()} calls`);
  await pool.close();
  child.kill('SIGTERM');
  t.is((await ended).code, 0);
});

test.serial('what is read again and again is let go of each time', async (t) => {
  const config = join(tempFolder(t), 'millrace.yaml');
  const certificate = ['--tls-cert', tls('server.pem'), '--tls-key', tls('server.key')];
  writeFileSync(config, 'level: 1\n');
  const { signals, seen, said, ended } = await serve(t, TREE, '--config', config, ...certificate);
  let reloads = 0;
  const reload = async (times: number) => {
    for (const last = reloads + times; reloads < last; ) {
      writeFileSync(config, `level: ${1 + (++reloads % 9)}\n`);
      signals.emit('SIGHUP', 'SIGHUP');
      await said('err', /reloaded: /);
      seen.err = '';
    }
    return heldBytes();
  };
  const before = await reload(50);
  const each = ((await reload(RELOADS)) - before) / RELOADS;
  t.log(`${Math.round(each)} bytes stay of each`);
  // Compiled code is some of it; what has been read and is in force is more than this.
  t.true(each < 4096, `${each} bytes stay of each`);
  signals.emit('SIGTERM', 'SIGTERM');
  t.is((await ended).code, 0);
});
