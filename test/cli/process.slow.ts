/** More of process.test.ts: each signal, and what starts many processes. */

import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { fill, tempFolder } from '../files/helper.ts';
import { dial } from '../helpers/serving.ts';
import {
  addressOf,
  demoOf300Files,
  FINISHING,
  MILLRACE,
  millrace,
  serve,
  serveAlone,
  start,
  TREE,
} from './helper.ts';

test.serial('a bench that is ended by a signal leaves no process behind', async (t) => {
  for (const [signal, code] of [
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    const { child, ended, said } = start(t, ['bench', 'limit', '--quick']);
    await said('err', /limit/);
    child.kill(signal);
    // Whoever is left would hold the pipes open.
    t.is((await ended).code, code);
  }
});

test.serial('the server ends well on SIGINT and on SIGTERM, and goes on at SIGHUP', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const { child, ended, address, said } = await serveAlone(t, TREE);
    child.kill('SIGHUP');
    await said('err', /reloaded/);
    t.is((await millrace('call', address, 'files.get', 'path=a.txt')).out, 'text');
    child.kill(signal);
    const { err, ...how } = await ended;
    t.like(how, { code: 0, signal: null });
    t.regex(err.replace(/^.*reloaded: .*\n/, ''), FINISHING);
  }
});

test.serial(
  'a server on Linux has malloc set up, as the process that was started; who has set it up is left alone',
  async (t) => {
    if (process.platform !== 'linux') return t.pass('nothing is set elsewhere');
    const isSetting = (text: string) => /^(MALLOC_|GLIBC_TUNABLES)/.test(text);
    const nothingSet = Object.fromEntries(Object.entries(process.env).filter(([name]) => !isSetting(name)));
    const settingsOf = async (env: NodeJS.ProcessEnv) => {
      const server = start(t, ['serve', tempFolder(t), '--port', '0'], { env });
      await server.said('out', /\n/);
      const found = readFileSync(`/proc/${server.child.pid}/environ`, 'latin1').split('\0');
      server.child.kill('SIGTERM');
      const { code, err } = await server.ended;
      t.is(code, 0);
      t.regex(err, FINISHING);
      return found.filter(isSetting);
    };
    t.deepEqual(await settingsOf(nothingSet), ['MALLOC_ARENA_MAX=2', 'MALLOC_MMAP_THRESHOLD_=32768']);
    t.deepEqual(await settingsOf({ ...nothingSet, MALLOC_TRIM_THRESHOLD_: '9' }), [
      'MALLOC_TRIM_THRESHOLD_=9',
    ]);
  },
);

test.serial(
  'a recording that the disk has no room for is told when it stops, and the server goes on',
  async (t) => {
    const folder = tempFolder(t);
    const capture = join(folder, 'capture');
    mkdirSync(join(folder, 'served'));
    fill(join(folder, 'served'), { big: randomBytes(1_000_000) });
    // A process that may write no file of more than some KiB meets the same error as one on a full disk.
    const limited = ['/bin/sh', '-c', 'ulimit -f 64; exec "$0" "$@"', process.execPath, MILLRACE] as const;
    const args = ['serve', join(folder, 'served'), '--port', '0', '--record', capture];
    const server = start(t, args, { command: limited });
    const address = await addressOf(server);
    t.is((await millrace('call', address, 'files.get', 'path=big')).out.length, 1_000_000);
    await server.said('err', /\n/);
    t.is(server.seen.err, `millrace: recording stopped: ${capture}: the file may not be so large\n`);
    t.is((await millrace('call', address, 'files.get', 'path=big')).out.length, 1_000_000);
    server.child.kill('SIGTERM');
    const { code, out } = await server.ended;
    t.is(code, 1);
    t.regex(
      out,
      /recorded \d responses?, \d+(\.\d+)? (bytes|kB), in \S+ \(incomplete: the file may not be so large\)\n$/,
    );
  },
);

test.serial('an experiment whose results the disk has no room for names the file', async (t) => {
  const folder = tempFolder(t);
  const source = join(folder, 'lines.jsonl');
  writeFileSync(source, '{"a":1}\n'.repeat(40));
  const limited = ['/bin/sh', '-c', 'ulimit -f 1; exec "$0" "$@"', process.execPath, MILLRACE] as const;
  const { ended } = start(t, ['experiment', source, '--level', '1', '--out', folder], { command: limited });
  const { code, err } = await ended;
  t.is(code, 1);
  t.true(
    err.includes(`millrace: cannot write ${join(folder, 'journal.jsonl')}: the file may not be so large\n`),
    err,
  );
});

test.serial('the demo shows what there is to try next, and knows its arguments', async (t) => {
  const demo = demoOf300Files(t);
  const shown = await demo();
  t.is(shown.code, 0, shown.err);
  t.regex(shown.out, /300 files, .* every byte is the same/);
  t.regex(shown.out, /npx millrace serve DIR\n.*npx millrace pull HOST:PORT DEST\n$/);
  t.is((await demo('--nope')).code, 2);
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

test.serial('a second signal ends the server at once', async (t) => {
  const { child, ended, address, said } = await serveAlone(t, { big: Buffer.alloc(50_000_000) });
  const [host, port] = address.split(':');
  const client = await dial(t, { host, port: Number(port) });
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
  // How many lanes such a load needs is up to the machine.
  const isUsed = ({ frames }: { frames: number }) => frames > 0;
  t.like(result, { files: 300, identical: true, lanesUsed: result.lanes.filter(isUsed).length });
  t.true(result.lanesUsed > 0);
  t.deepEqual(Object.keys(result), [
    ...['files', 'bytes', 'wireBytes', 'perRequestBytes', 'perFrameBytes', 'dictionaryBytes'],
    ...['identical', 'lanesUsed', 'seconds', 'streams', 'lanes'],
  ]);
  t.true(result.wireBytes < 0.7 * result.perRequestBytes, out);
  t.true(result.perRequestBytes <= result.perFrameBytes);
  t.true(result.dictionaryBytes < result.perRequestBytes, out);
  const bytesOf = (rows: { bytesIn: number }[]) => rows.reduce((sum, { bytesIn }) => sum + bytesIn, 0);
  t.true(bytesOf(result.streams) >= result.bytes, out);
});
