/**
 * Several servers behind HAProxy, as deploy/haproxy.cfg puts it: what drains gets nothing new and loses nothing, and servers are
 * replaced under load. TEST_ROUNDS: how often all are (default 1); TEST_CALLS: calls a second (500);
 * TEST_SUBSCRIBERS: those of a topic (1000).
 */

import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { connect, connectPool, type Pool } from '../../src/index.ts';
import { start } from '../cli/helper.ts';
import { startRedis } from '../experiment/redis.ts';
import { contents, fill, tempFolder } from '../files/helper.ts';
import { numbers } from '../helpers/random.ts';
import { sample } from '../helpers/samples.ts';
import { LONG } from '../helpers/serving.ts';
import { Haproxy, type Machine, withHaproxy } from './haproxy.ts';

const ROUNDS = Number(process.env.TEST_ROUNDS ?? 1);
const CALLS_A_SECOND = Number(process.env.TEST_CALLS ?? 500);
const SUBSCRIBERS = Number(process.env.TEST_SUBSCRIBERS ?? 1000);

/** Whoever comes back is waited for, however many do at once. */
const PATIENT = { maxWaitMs: LONG, connect: { timeoutMs: LONG } };

const CONNECTIONS = 300;
const MOST_IN_FLIGHT = 300;

/** Small files, and some that take a while. */
function treeOf(t: ExecutionContext): { dir: string; files: Record<string, Uint8Array> } {
  const files: Record<string, Uint8Array> = {};
  for (let i = 0; i < 400; i++) files[`small/${i}.txt`] = sample(200 + i * 5, i);
  for (let i = 0; i < 40; i++) files[`large/${i}`] = sample(1_000_000, i);
  const dir = join(tempFolder(t), 'served');
  mkdirSync(dir);
  fill(dir, files);
  return { dir, files };
}

/** Replaces each server in its turn; the next one when the proxy has the one before back. */
async function roll(haproxy: Haproxy): Promise<void> {
  const { machines } = haproxy;
  for (const machine of machines) {
    await stopQuietly(machine);
    await machine.start();
    await haproxy.until(machines.map(({ site }) => `${site.name} UP`).join());
  }
}

async function stopQuietly(machine: Machine): Promise<void> {
  const code = await machine.stop();
  const { err } = machine.running.seen;
  if (code !== 0 || /error|lost/i.test(err)) throw new Error(`it ended with ${code}: ${err}`);
}

/** So many calls a second, as long as it is not behind; what has failed, and what had other bytes. */
function callOn(pool: Pool, files: Record<string, Uint8Array>) {
  const names = Object.keys(files).filter((name) => name.startsWith('small/'));
  const next = numbers(17);
  const failed: Error[] = [];
  const wrong: string[] = [];
  let [done, inFlight] = [0, 0];
  const call = async (path: string) => {
    inFlight++;
    try {
      const bytes = await pool.call('files.get', { args: { path } }).bytes();
      if (Buffer.compare(bytes, files[path]) !== 0) wrong.push(path);
    } catch (error) {
      failed.push(error as Error);
    }
    inFlight--;
    done++;
  };
  const began = performance.now();
  let due = 0;
  const timer = setInterval(() => {
    const until = ((performance.now() - began) / 1000) * CALLS_A_SECOND;
    for (; due < until; due++) if (inFlight < MOST_IN_FLIGHT) void call(names[next() % names.length]);
  }, 10);
  return {
    failed,
    wrong,
    count: () => done,
    stop: async () => {
      clearInterval(timer);
      while (inFlight > 0) await delay(10);
      return Math.round(done / ((performance.now() - began) / 1000));
    },
  };
}

withHaproxy(
  'what drains gets nothing new and loses nothing, and the server knows who is behind the proxy',
  async (t) => {
    const { dir } = treeOf(t);
    const haproxy = await Haproxy.start(t, 2, [dir, '--workers', '1', '--access-log', '--grace', '60000']);
    const [a] = haproxy.machines;
    const ask = async (localAddress: string) => {
      const where = { ...haproxy.address, localAddress, method: 'POST', path: '/rpc/ping', agent: false };
      const [response] = await once(request(where).end(), 'response');
      t.is(response.resume().statusCode, 200);
    };
    const logged = ({ running }: Machine, from: string) => running.seen.err.split(`"${from}:`).length - 1;
    await ask('127.0.0.9');
    while (!haproxy.machines.some((machine) => logged(machine, '127.0.0.9') > 0)) await delay(20);

    await haproxy.untilIdle();
    // One connection on each server, with a call that does not end by itself.
    const held = Promise.withResolvers<void>();
    const clients = await Promise.all([
      connect(haproxy.address, PATIENT.connect),
      connect(haproxy.address, PATIENT.connect),
    ]);
    t.teardown(() => clients.forEach((client) => void client.destroy()));
    const echoes = clients.map((client) =>
      client
        .call('echo', {
          data: (async function* () {
            yield 'before, ';
            await held.promise;
            yield 'after';
          })(),
        })
        .text(),
    );
    for (const client of clients) t.is(await client.call('ping').text(), 'pong');
    const stopped = a.stop();
    await haproxy.until('a DOWN,b UP');
    for (let i = 0; i < 10; i++) {
      const client = await connect(haproxy.address, PATIENT.connect);
      t.is(await client.call('ping').text(), 'pong');
      await client.close();
    }
    t.is(clients.filter(({ state }) => state === 'open').length, 1, 'one of them was told to go');
    held.resolve();
    t.deepEqual(await Promise.all(echoes), ['before, after', 'before, after']);
    t.is(await stopped, 0);
    await a.start();
    await haproxy.until('a UP,b UP');
    await haproxy.say('set server millrace/b state drain');
    await haproxy.until('a UP,b DRAIN');
    for (let i = 0; i < 4; i++) await ask('127.0.0.8');
    while (logged(a, '127.0.0.8') < 4) await delay(20);
    t.is(logged(haproxy.machines[1], '127.0.0.8'), 0, 'it is asked nothing');
  },
);

withHaproxy(
  'three servers are replaced under load: no call fails, no byte is wrong, and a pull comes through',
  async (t) => {
    const { dir, files } = treeOf(t);
    const haproxy = await Haproxy.start(t, 3, [dir, '--workers', '1', '--grace', '60000']);
    const pool = connectPool(haproxy.address, { size: CONNECTIONS, ...PATIENT });
    t.teardown(() => pool.destroy());
    const load = callOn(pool, files);
    while (load.count() < 1000) await delay(20);
    let pulls = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const dest = join(tempFolder(t), 'dest');
      const { host, port } = haproxy.address;
      const pulled = start(t, ['pull', `${host}:${port}`, dest, '--retry', '10', '--in-flight', '2']).ended;
      await roll(haproxy);
      const { code, err } = await pulled;
      t.is(code, 0, err);
      const got = contents(dest);
      t.is(Object.keys(got).length, Object.keys(contents(dir)).length);
      t.deepEqual(got, contents(dir));
      pulls++;
    }
    const reached = await load.stop();
    t.log(`${load.count()} calls, ${reached} a second, on ${CONNECTIONS} connections; ${pulls} pulls`);
    t.deepEqual(load.failed, []);
    t.deepEqual(load.wrong, []);
    t.is(pool.stats().calls.waiting, 0);
    await pool.close();
  },
);

withHaproxy('subscribers of two servers miss nothing while both are replaced', async (t) => {
  const { dir } = treeOf(t);
  const redis = await startRedis(t);
  const topic = ['--topic', 'news=100000', '--relay', redis];
  const haproxy = await Haproxy.start(t, 2, [dir, '--workers', '1', '--grace', '60000', ...topic]);
  const publisher = connectPool(haproxy.address, { size: 2, ...PATIENT });
  const pools = Array.from({ length: SUBSCRIBERS }, () => connectPool(haproxy.address, PATIENT));
  t.teardown(() => [publisher, ...pools].forEach((pool) => void pool.destroy()));
  const wrong: string[] = [];
  let taken = 0;
  const read = async (pool: Pool, id: number, last: Promise<number>) => {
    let next = 1;
    let end = Number.POSITIVE_INFINITY;
    void last.then((sequence) => {
      end = sequence;
    });
    for await (const { sequence, data, lost } of pool.subscribe('news', { after: 0 })) {
      if (sequence !== next || lost !== undefined || Buffer.from(data).toString() !== `message ${sequence}`)
        wrong.push(`subscriber ${id}: ${sequence} after ${next - 1}, lost ${lost}`);
      next = sequence + 1;
      taken++;
      if (sequence >= end) return;
    }
  };
  const last = Promise.withResolvers<number>();
  const readers = pools.map((pool, id) => read(pool, id, last.promise));
  let sequence = 0;
  let isOver = false;
  const publishing = (async () => {
    while (!isOver) {
      sequence = await publisher.publish('news', `message ${sequence + 1}`);
      await delay(300);
    }
  })();
  while (taken < SUBSCRIBERS) await delay(20);
  await roll(haproxy);
  isOver = true;
  await publishing;
  last.resolve(sequence + 1);
  t.is(await publisher.publish('news', `message ${sequence + 1}`), sequence + 1);
  await Promise.all(readers);
  t.log(`${SUBSCRIBERS} subscribers, ${sequence + 1} messages, ${taken} deliveries`);
  t.deepEqual(wrong.slice(0, 10), []);
  t.is(taken, SUBSCRIBERS * (sequence + 1));
});
