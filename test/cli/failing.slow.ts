/** More of failing.test.ts: servers in processes of their own, and a pull that is killed. */

import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { takesConnections } from '../../bench/peers/listen.ts';
import { contents, fill, tempFolder } from '../files/helper.ts';
import {
  addressOf,
  bottleneck,
  HUGE,
  isStuck,
  MILLRACE,
  millrace,
  partsIn,
  serve,
  start,
  until,
} from './helper.ts';

/** `millrace` by way of a shell, which does `first`. */
const shell = (first: string) => ['/bin/sh', '-c', first, process.execPath, MILLRACE] as const;

test.serial('with few descriptors both sides wait for one', async (t) => {
  const files = Object.fromEntries(
    Array.from({ length: 60 }, (_, i) => [`f${i}`, Buffer.alloc(i % 2 ? 300_000 : 30_000, `${i} `)]),
  );
  const folder = tempFolder(t);
  fill(join(folder, 'served'), files);
  const few = (...args: string[]) => start(t, args, { command: shell('ulimit -n 40; exec "$0" "$@"') });
  const server = few('serve', join(folder, 'served'), '--port', '0', '--workers', '2');
  const { code, err } = await few('pull', await addressOf(server), join(folder, 'dest')).ended;
  t.deepEqual({ code, err }, { code: 0, err: '' });
  t.deepEqual(contents(join(folder, 'dest')), contents(join(folder, 'served')));
});

test.serial('a server whose output nobody reads serves on', async (t) => {
  const folder = tempFolder(t);
  fill(folder, { 'served/file': 'x' });
  const socket = join(folder, 's');
  const server = start(t, ['serve', join(folder, 'served'), '--socket', socket, '--workers', '1']);
  server.child.stdout!.destroy();
  server.child.stderr!.destroy();
  while (!(await takesConnections(socket)) && server.child.exitCode === null) await delay(5);
  const { out } = await millrace('call', `unix:${socket}`, 'files.get', 'path=file');
  t.is(out, 'x');
  server.child.kill('SIGTERM');
  t.like(await server.ended, { code: 0, signal: null });
});

test.serial('a pull that was killed leaves nothing for the next one to keep, nor to be served', async (t) => {
  const { address, dest, dir } = await serve(t, HUGE);
  const stopping = await bottleneck(t, address, () => {});
  const { child, ended } = start(t, ['pull', stopping, dest]);
  // Until then smaller files may be on their way, too.
  await until(() => isStuck(dest) && partsIn(dest).length === 1);
  child.kill('SIGKILL');
  await ended;
  const second = start(t, ['serve', dest, '--port', '0', '--workers', '1']);
  const { out } = await millrace('call', await addressOf(second), 'files.list');
  t.false(out.includes('.part'), out);
  t.like(await millrace('pull', address, dest), { code: 0, err: '' });
  t.deepEqual(partsIn(dest), []);
  t.deepEqual(contents(dest), contents(dir));
});
