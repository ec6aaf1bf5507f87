/** What only a process has: signals, an environment, another user, a pipe that nobody reads, a start of Node itself. */

import { chmodSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { serverEnvironment } from '../../src/cli/malloc.ts';
import { connect } from '../../src/index.ts';
import { contents, fill, tempFolder } from '../files/helper.ts';
import {
  addressOf,
  bottleneck,
  demoOf300Files,
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

test.serial('a socket that a killed server has left behind is served on again', async (t) => {
  const socket = join(tempFolder(t), 'socket');
  const killed = await serveAlone(t, {}, '--socket', socket);
  killed.child.kill('SIGKILL');
  await killed.ended;
  t.true(existsSync(socket));
  t.is((await serve(t, TREE, '--socket', socket)).address, `unix:${socket}`);
});

test.serial('a file that the server cannot read is one line', async (t) => {
  const nobody = 65_534;
  const isRoot = process.getuid?.() === 0;
  const folder = tempFolder(t);
  chmodSync(folder, 0o755);
  fill(folder, { good: 'x', 'sub/secret': 'y', 'dark/file': 'y', secret: 'y' });
  chmodSync(join(folder, 'secret'), 0);
  chmodSync(join(folder, 'dark'), 0o444); // its names can be read, and nothing else
  chmodSync(join(folder, 'sub'), 0);
  // The super-user can read everything: the server must be somebody else.
  const server = start(t, ['serve', folder, '--port', '0'], { uid: isRoot ? nobody : undefined });
  const address = await addressOf(server);
  if (address.startsWith('none')) return t.pass(`not to be had here: ${address}`);
  const { code, out, err } = await millrace('pull', address, join(tempFolder(t), 'dest'));
  t.is(code, 1);
  t.deepEqual(err.trimEnd().split('\n').sort(), [
    'millrace: dark/file: left out: permission denied',
    'millrace: permission denied: secret',
    'millrace: sub: left out: permission denied',
  ]);
  t.regex(out, /^1 file, .* 3 failed\n$/);
});

test.serial('call ends quietly when nobody reads on', async (t) => {
  const { address } = await serve(t, { big: Buffer.alloc(30_000_000) });
  const { child, said, ended } = start(t, ['call', address, 'files.get', 'path=big']);
  await said('out', /./s);
  child.stdout!.destroy();
  const { code, err } = await ended;
  t.is(err, '');
  t.is(code, 0);
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

test.serial('a second signal ends the server at once', async (t) => {
  const { child, ended, address, said } = await serveAlone(t, { big: Buffer.alloc(50_000_000) });
  const [host, port] = address.split(':');
  const client = await connect({ host, port: Number(port) });
  t.teardown(() => client.destroy());
  // Its window is soon full, for nobody reads on.
  const pieces = client.call('files.get', { args: { path: 'big' } })[Symbol.asyncIterator]();
  await pieces.next();
  child.kill('SIGINT');
  await said('err', /finishing the requests in flight/);
  child.kill('SIGINT');
  t.is((await ended).code, 130);
});

test.serial('the demo compares every byte and shows what the streams saved', async (t) => {
  const { code, out, err } = await demoOf300Files(t)('--json');
  t.is(code, 0, err);
  const result = JSON.parse(out);
  t.like(result, { files: 300, identical: true, lanesUsed: 2 });
  t.deepEqual(Object.keys(result), [
    ...['files', 'bytes', 'wireBytes', 'perRequestBytes', 'perFrameBytes'],
    ...['identical', 'lanesUsed', 'seconds', 'streams', 'lanes'],
  ]);
  t.true(result.wireBytes < 0.7 * result.perRequestBytes, out);
  t.true(result.perRequestBytes <= result.perFrameBytes);
  const bytesOf = (rows: { bytesIn: number }[]) => rows.reduce((sum, { bytesIn }) => sum + bytesIn, 0);
  t.true(bytesOf(result.streams) >= result.bytes, out);
});
