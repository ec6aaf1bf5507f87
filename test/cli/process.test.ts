/** What only a process has: signals, an environment, another user, a pipe that nobody reads, a start of Node itself. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { serverEnvironment } from '../../src/ops/malloc.ts';
import { contents } from '../files/helper.ts';
import {
  bottleneck,
  HUGE,
  isOneLine,
  isStuck,
  millrace,
  partsIn,
  run,
  serve,
  serveAlone,
  start,
  TREE,
  until,
} from './helper.ts';

// One process after the other: many at once only wait for each other.

test.serial(
  'a command line that works ends with 0, one with a mistake with 2, one that fails with 1',
  async (t) => {
    t.regex((await start(t, ['--version']).ended).out, /^\d+\.\d+\.\d+\n$/);
    isOneLine(t, await start(t, ['serv']).ended, 2, /unknown command 'serv'.*serve/);
    isOneLine(t, await start(t, ['call', '127.0.0.1:1', 'x']).ended, 1, /nothing listens/);
  },
);

test.serial('a folder is served by one process and pulled by another', async (t) => {
  const { dir, dest, address } = await serveAlone(t, TREE);
  const { code, out, err } = await start(t, ['pull', address, dest]).ended;
  t.like({ code, err }, { code: 0, err: '' });
  t.regex(out, /^4 files, 700 kB /);
  t.deepEqual(contents(dest), contents(dir));
});

test.serial('what comes by a pipe is read as what is in a file', async (t) => {
  const hex = '0c000001000101116361706162696c6974696573';
  const text = '1 1 stream-begin command-name eos capabilities';
  t.is((await start(t, ['frame', 'decode'], { input: Buffer.from(hex, 'hex') }).ended).out, `${text}\n`);
});

test.serial('a connection that breaks is one line, and no part of a file stays', async (t) => {
  const { address, dest } = await serve(t, HUGE);
  let hasPart = false;
  const breaking = await bottleneck(t, address, async (client) => {
    await until(() => isStuck(dest));
    hasPart = true;
    client.resetAndDestroy();
  });
  isOneLine(t, await millrace('pull', breaking, dest), 1, /files came, the same command fetches the rest/);
  t.true(hasPart);
  t.deepEqual(partsIn(dest), []);
  t.false(existsSync(join(dest, 'huge')));
});

test.serial('a pull whose terminal is closed leaves nothing half-written', async (t) => {
  const { address, dest } = await serve(t, HUGE);
  const { signals, ended } = run(['pull', await bottleneck(t, address, () => {}), dest]);
  await until(() => isStuck(dest));
  signals.emit('SIGHUP', 'SIGHUP');
  isOneLine(t, await ended, 129, /stopped; \d of \d files came/);
  t.deepEqual(partsIn(dest), []);
});

test.serial('Ctrl-C ends a pull with nothing half-written', async (t) => {
  const { address, dest } = await serve(t, HUGE);
  const stopping = await bottleneck(t, address, () => {});
  const { child, ended } = start(t, ['pull', stopping, dest]);
  await until(() => isStuck(dest));
  child.kill('SIGINT');
  isOneLine(t, await ended, 130, /stopped; \d of \d files came/);
  t.deepEqual(partsIn(dest), []);
  t.false(existsSync(join(dest, 'huge')));
});

test('a server on Linux has malloc set up; who has set it up is left alone', (t) => {
  const set = serverEnvironment({ PATH: '/bin' });
  const isLinux = process.platform === 'linux';
  t.deepEqual(Object.keys(set), ['PATH', ...(isLinux ? ['MALLOC_ARENA_MAX', 'MALLOC_MMAP_THRESHOLD_'] : [])]);
  for (const own of [{ MALLOC_TRIM_THRESHOLD_: '9' }, { GLIBC_TUNABLES: 'glibc.malloc.tcache_count=0' }])
    t.deepEqual(serverEnvironment(own), own);
});
