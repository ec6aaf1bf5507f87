import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { create } from '../../src/files/commands.ts';
import { affinityKey, bundleKey, fileCommands } from '../../src/files/index.ts';
import { Omissions } from '../../src/files/omissions.ts';
import { pathProblem, shownPath, stemOf } from '../../src/files/paths.ts';
import { FileError, Root } from '../../src/files/root.ts';
import { unfinishedPrefix } from '../../src/files/unfinished.ts';
import { CommandError } from '../../src/wire/errors.ts';
import { fill, request, run, tempFolder } from './helper.ts';

/** A served folder and, beside it, one that is not. */
function serve(t: ExecutionContext<unknown>, files: Record<string, string | Uint8Array>) {
  const folder = tempFolder(t);
  const root = join(folder, 'root');
  mkdirSync(root);
  fill(root, files);
  fill(folder, { 'outside/secret': 'secret' });
  const handlers = create({ root });
  const ask = (command: string, args: Record<string, string> = {}) =>
    run(handlers[command], request(command, args));
  return {
    folder,
    root,
    ask,
    get: async (path: string, args: Record<string, string> = {}) =>
      (await ask('files.get', { path, ...args })).bytes.toString('latin1'),
    list: async (args: Record<string, string> = {}) => linesOf((await ask('files.list', args)).bytes),
    refused: async (command: string, args: Record<string, string>) => {
      const error = (await t.throwsAsync(ask(command, args), { instanceOf: CommandError }))!;
      t.false(
        error.message.includes(folder) && !args.path.includes(folder),
        `leaks a path of the server: ${error.message}`,
      );
      t.false(/[\n\0]/.test(error.message), 'is one line');
      return error.message;
    },
  };
}

function linesOf(bytes: Buffer): { path: string; size: number; mtimeMs: number; mode: number }[] {
  const lines = bytes.toString().split('\n');
  return lines.slice(0, -1).map((line) => JSON.parse(line));
}

const pathsOf = (entries: { path: string }[]) => entries.map(({ path }) => path);

test('a path on the wire names something strictly below its folder', (t) => {
  for (const path of ['a', 'a/b', '...', 'a..b', '.hidden', 'ä/ö', 'a\\b', 'con', 'a b', ' ', '\n']) {
    t.is(pathProblem(path, 'linux'), undefined, JSON.stringify(path));
  }
  const refused = [
    '',
    '.',
    '../..',
    '/',
    '/a',
    'a/',
    'a//b',
    './a',
    'a/.',
    'a/..',
    '../a',
    'a/../b',
    'a\0',
    '\ud800',
  ];
  for (const path of refused) t.is(typeof pathProblem(path, 'linux'), 'string', JSON.stringify(path));
  t.is(pathProblem('x'.repeat(4096), 'linux'), undefined);
  t.regex(pathProblem('x'.repeat(4097), 'linux')!, /longer/);
  t.is(pathProblem(`${'x/'.repeat(255)}x`, 'linux'), undefined);
  t.regex(pathProblem(`${'x/'.repeat(256)}x`, 'linux')!, /parts/);
});

test('what Windows makes of names is refused there', (t) => {
  for (const path of [
    'a\\..\\b',
    'C:',
    'C:x',
    'a:stream',
    'nul',
    'a/CON.txt',
    'a.',
    'a ',
    'a*',
    'lpt1',
    '\\\\h\\s',
  ]) {
    t.is(typeof pathProblem(path, 'win32'), 'string', path);
  }
  t.is(pathProblem('console/a.b/null', 'win32'), undefined);
});

test('a path in a message is one short line', (t) => {
  t.is(shownPath('a\nb\x1b[31m\u2028'), 'a\\u000ab\\u001b[31m\\u2028');
  t.true(shownPath('x'.repeat(5000)).length < 210);
});

test('files of one name have one key, whatever their folder, extension and case', (t) => {
  t.is(stemOf('a.b/index.d.ts'), 'index');
  t.is(stemOf('x/INDEX.js'), 'index');
  t.is(stemOf('a.b/Makefile'), 'makefile');
  t.is(stemOf('.gitignore'), '.gitignore');
  t.is(stemOf('.eslintrc.json'), '.eslintrc');
  t.is(affinityKey(new Map([['path', Buffer.from('x/y.ts')]])), 'y');
  t.is(affinityKey(new Map()), undefined);
  t.deepEqual(Object.keys(fileCommands('.')), ['files.list', 'files.get', 'files.bundle', 'files.stat']);
});

test('a bundle has the key of its first file', (t) => {
  const key = (paths: unknown) => bundleKey(new Map([['paths', Buffer.from(JSON.stringify(paths))]]));
  t.is(key(['x/INDEX.d.ts', 'b']), 'index');
  t.is(key(['a "quoted"/ü.js']), 'ü');
  for (const wrong of [[], [5], 'text', { paths: ['a'] }, null]) t.is(key(wrong), undefined);
  t.is(bundleKey(new Map()), undefined);
  t.is(bundleKey(new Map([['paths', Buffer.from('["without end')]])), undefined);
});

test('files.list has one line for every file, sorted by path', async (t) => {
  const { root, list } = serve(t, { 'b.txt': 'bb', 'a/z': '1', 'a.txt': '', 'a/b/c': '22', 'ü\n"': 'x' });
  utimesSync(join(root, 'b.txt'), 1, 1_600_000_000.5);
  chmodSync(join(root, 'b.txt'), 0o4751);
  mkdirSync(join(root, 'empty'));
  const entries = await list();
  t.deepEqual(pathsOf(entries), ['a.txt', 'a/b/c', 'a/z', 'b.txt', 'ü\n"']);
  t.deepEqual(entries[3], { path: 'b.txt', size: 2, mtimeMs: 1_600_000_000_500, mode: 0o751 });
});

test('files.list of a part gives paths that files.get takes', async (t) => {
  const { list, get, refused } = serve(t, { 'a/b/c': 'content', 'a/d': '', 'ab/x': '' });
  t.deepEqual(pathsOf(await list({ path: 'a' })), ['a/b/c', 'a/d']);
  t.deepEqual(pathsOf(await list({ path: 'a/d' })), ['a/d']);
  t.is((await list({ path: '.' })).length, 3);
  t.is(await get('a/b/c'), 'content');
  t.is(await refused('files.list', { path: 'nowhere' }), 'no such file: nowhere');
});

test('files.list follows links that stay inside, and no other', async (t) => {
  const { root, folder, list, get } = serve(t, { 'real/file': 'x', 'real/sub/deep': 'y' });
  symlinkSync('real/file', join(root, 'link'));
  symlinkSync('real', join(root, 'linked'));
  symlinkSync('link', join(root, 'twice'));
  symlinkSync('../..', join(root, 'real/sub/loop'));
  symlinkSync('.', join(root, 'self'));
  symlinkSync('circle', join(root, 'circle'));
  symlinkSync('nowhere', join(root, 'dangling'));
  symlinkSync(join(folder, 'outside/secret'), join(root, 'leaving'));
  symlinkSync('../../outside', join(root, 'real/leaving'));
  const inside = ['link', 'linked/file', 'linked/sub/deep', 'real/file', 'real/sub/deep', 'twice'];
  t.deepEqual(pathsOf(await list()), inside);
  for (const path of inside) t.is(await get(path), path.endsWith('deep') ? 'y' : 'x');
});

test('folders that all link to each other are listed in no more steps than there are links', async (t) => {
  const names = Array.from({ length: 11 }, (_, i) => `d${i}`);
  const { root, ask } = serve(t, Object.fromEntries(names.map((name) => [`${name}/file`, name])));
  for (const from of names)
    for (const to of names) if (from !== to) symlinkSync(`../${to}`, join(root, from, `to-${to}`));
  const { bytes, lines } = await ask('files.list');
  const paths = pathsOf(linesOf(bytes));
  for (const name of names) {
    t.true(paths.includes(`${name}/file`), 'each folder is listed as itself');
    t.true(paths.filter((path) => path.endsWith(`to-${name}/file`)).length <= 8);
  }
  t.true(paths.length < 11 * 9 + 1 && lines.length < 11 * 9 * 11, `${paths.length}, ${lines.length}`);
  t.true(lines.includes('left out: the link leads to a folder that is listed often enough: d9/to-d8\n'));
});

test.serial('a listing without descriptors waits for them', async (t) => {
  const { list } = serve(t, { 'a/1': '', 'b/2': '' });
  const { openFolder } = Root.prototype;
  let refusals = 0;
  Root.prototype.openFolder = function (path) {
    if (path === 'b' && refusals++ < 3)
      throw new FileError('too many files are open', path, { fsCode: 'EMFILE' });
    return openFolder.call(this, path);
  };
  t.teardown(() => {
    Root.prototype.openFolder = openFolder;
  });
  t.deepEqual(pathsOf(await list()), ['a/1', 'b/2']);
  t.is(refusals, 4);
});

test.serial('a listing that makes no output ends when nobody waits for it', async (t) => {
  const { root } = serve(t, {});
  for (let i = 0; i < 2000; i++) mkdirSync(join(root, `d${i}`));
  const controller = new AbortController();
  const asked = { ...request('files.list'), signal: controller.signal };
  const pieces = create({ root })['files.list'](asked) as AsyncIterable<string>;
  const turns = setInterval(() => controller.abort(), 0);
  t.teardown(() => clearInterval(turns));
  const { openFolder } = Root.prototype;
  let opened = 0;
  Root.prototype.openFolder = function (path) {
    opened++;
    return openFolder.call(this, path);
  };
  t.teardown(() => {
    Root.prototype.openFolder = openFolder;
  });
  for await (const _ of pieces) t.fail('there is nothing to list');
  t.true(opened < 1500, `${opened} folders were opened`);
});

test('whatever a listing leaves out it names, and says why', async (t) => {
  const { root, folder, ask } = serve(t, { good: 'x', 'sub/good': 'x' });
  symlinkSync('nowhere', join(root, 'broken'));
  symlinkSync('circle', join(root, 'circle'));
  symlinkSync(join(folder, 'outside'), join(root, 'leaving'));
  symlinkSync('..', join(root, 'sub/up'));
  execFileSync('mkfifo', [join(root, 'sub/fifo')]);
  mkdirSync(Buffer.concat([Buffer.from(`${root}/f\u00fc-`), Buffer.from([0xfc])]));
  const deep = Array(255).fill('d').join('/');
  mkdirSync(join(root, deep, 'e'), { recursive: true });
  writeFileSync(join(root, deep, 'file'), '');
  writeFileSync(join(root, deep, 'e/file'), '');
  const expected: Record<string, string> = {
    broken: 'the link leads nowhere',
    circle: 'too many links on the way',
    leaving: 'outside the served folder',
    'sub/up': 'the link leads to a folder that it is in',
    'sub/fifo': 'neither a file nor a folder',
    'f\\xc3\\xbc-\\xfc': 'the name is not UTF-8',
    [`${deep}/e`]: 'paths below it have more than 256 parts',
  };
  const lines = linesOf((await ask('files.list', { omitted: 'lines' })).bytes) as unknown as {
    path: string;
    omitted?: string;
  }[];
  const omitted = lines.filter((line) => line.omitted !== undefined);
  t.deepEqual(Object.fromEntries(omitted.map((line) => [line.path, line.omitted])), expected as never);
  t.deepEqual(
    lines.slice(0, -omitted.length).map(({ path }) => path),
    [`${deep}/file`, 'good', 'sub/good'],
    'the files come first, and are no others than before',
  );
  const answer = await ask('files.list');
  t.is(answer.lines.length, omitted.length);
  t.true(answer.lines.includes('left out: the link leads nowhere: broken\n'));
  t.deepEqual((await ask('files.list', { path: 'sub', omitted: 'lines' })).lines, []);
});

test('the argument omitted has one value', async (t) => {
  const { ask } = serve(t, {});
  await t.throwsAsync(ask('files.list', { omitted: 'yes' }), { message: 'omitted can only be lines: yes' });
});

test('what names more than are named is counted', (t) => {
  const omissions = new Omissions('lines');
  for (let i = 0; i < 10_007; i++) omissions.add(`${i}`, 'why');
  const lines = linesOf(Buffer.from([...omissions.output(1000)].join(''))) as unknown as object[];
  t.is(lines.length, 10_001);
  t.deepEqual(lines.at(-1), { path: '', omitted: '7 more were left out' });
});

test('the unfinished files of a pull are not served', async (t) => {
  const unfinished = `sub/${unfinishedPrefix()}0.part`;
  const { ask, list, refused } = serve(t, {
    [unfinished]: 'half',
    'sub/.millrace-0123456789ab-3.part': 'half',
    'sub/.millrace-note.part': 'mine',
  });
  t.deepEqual(pathsOf(await list()), ['sub/.millrace-note.part']);
  t.deepEqual((await ask('files.list')).lines, []);
  t.is(await refused('files.get', { path: unfinished }), `a pull has not finished it: ${unfinished}`);
});

test('a path may be spelled as people spell it, as long as it does not leave', async (t) => {
  const { ask, get, list, refused } = serve(t, { 'a/b': 'x' });
  for (const path of ['a', './a', 'a/', 'a//', './a/.', 'a/./', './/a']) {
    t.deepEqual(pathsOf(await list({ path })), ['a/b'], path);
    t.like(JSON.parse((await ask('files.stat', { path })).bytes.toString()), { path: 'a' }, path);
    t.is(await get(`${path}/b`), 'x');
  }
  for (const path of ['', '.', './', './/.']) t.deepEqual(pathsOf(await list({ path })), ['a/b'], path);
  for (const path of ['..', 'a/..', './..', '/', '/a', 'a/../a', '//a', 'a/../../outside']) {
    t.regex(await refused('files.list', { path }), /^the path (leaves|is absolute)/, path);
  }
});

test('a file that has no size before it is read comes to its end', async (t) => {
  if (!existsSync('/proc/self/status')) return t.pass('there are none here');
  const handlers = create({ root: '/proc/self' });
  const get = async (args: Record<string, string>) =>
    (await run(handlers['files.get'], request('files.get', args))).bytes;
  const whole = readFileSync('/proc/self/limits');
  t.true(whole.length > 100);
  t.deepEqual(await get({ path: 'limits' }), whole);
  t.deepEqual(await get({ path: 'limits', offset: '10', length: '7' }), whole.subarray(10, 17));
  t.deepEqual(await get({ path: 'limits', length: '99999999999999999999' }), whole);
  await t.throwsAsync(get({ path: 'limits', offset: '99999999999999999999' }), {
    message: 'offset 99999999999999999999 is past the end: limits',
  });
  const bundle = run(handlers['files.bundle'], request('files.bundle', { paths: '["limits"]' }));
  await t.throwsAsync(bundle, { message: 'it has no size before it is read: limits' });
});

test('a file that the system says is longer than it is comes to its end', async (t) => {
  const folder = '/sys/kernel';
  const name = ['fscaps', 'profiling', 'uevent_seqnum'].find((each) => existsSync(`${folder}/${each}`));
  if (name === undefined || statSync(join(folder, name)).size < 100) return t.pass('there are none here');
  const { bytes } = await run(create({ root: folder })['files.get'], request('files.get', { path: name }));
  t.is(bytes.toString(), readFileSync(join(folder, name), 'utf8'));
});

test('links between folders do not make a listing endless', async (t) => {
  const { root, list } = serve(t, { 'a/1': '', 'b/2': '' });
  symlinkSync('../b', join(root, 'a/to-b'));
  symlinkSync('../a', join(root, 'b/to-a'));
  t.deepEqual(pathsOf(await list()), ['a/1', 'a/to-b/2', 'b/2', 'b/to-a/1']);
});

test('what is not a regular file is neither listed nor waited for', async (t) => {
  const { root, list, refused } = serve(t, { file: 'x' });
  execFileSync('mkfifo', [join(root, 'fifo')]);
  symlinkSync('/dev/zero', join(root, 'zero'));
  const server = createServer().listen(join(root, 'socket'));
  t.teardown(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  t.deepEqual(pathsOf(await list()), ['file']);
  t.is(await refused('files.get', { path: 'fifo' }), 'not a file: fifo');
  t.is(await refused('files.get', { path: 'zero' }), 'outside the served folder: zero');
  t.regex(await refused('files.get', { path: 'socket' }), /: socket$/);
  t.is(await refused('files.stat', { path: 'fifo' }), 'neither a file nor a folder: fifo');
});

test('names that are not UTF-8 are left out, and said so', async (t) => {
  const { root, ask } = serve(t, { good: 'x' });
  writeFileSync(Buffer.concat([Buffer.from(`${root}/bad-`), Buffer.from([0xff])]), '');
  const answer = await ask('files.list');
  t.deepEqual(pathsOf(linesOf(answer.bytes)), ['good']);
  t.deepEqual(answer.lines, ['left out: the name is not UTF-8: bad-\\xff\n']);
});

test('nothing outside the root can be reached', async (t) => {
  const { root, folder, refused } = serve(t, { 'a/b': 'x' });
  symlinkSync('../outside', join(root, 'out'));
  symlinkSync('../outside/secret', join(root, 'secret'));
  symlinkSync('../../root-2', join(root, 'a/beside'));
  fill(folder, { 'root-2/secret': 'x' }); // its name begins as the root's does
  for (const path of [
    '../outside/secret',
    'a/../../outside/secret',
    `${folder}/outside/secret`,
    'a/./../a/b',
    'a\0',
  ]) {
    for (const command of ['files.get', 'files.list', 'files.stat']) {
      t.regex(await refused(command, { path }), /^the path /, `${command} ${path}`);
    }
  }
  for (const path of ['out/secret', 'secret', 'a/beside/secret']) {
    t.is(await refused('files.get', { path }), `outside the served folder: ${path}`);
    await refused('files.stat', { path });
  }
  t.regex(await refused('files.list', { path: 'out' }), /^no such file|^outside/);
});

test('a folder that becomes a link after the server has begun leads nowhere', async (t) => {
  const { root, get, refused } = serve(t, { 'a/secret': 'mine' });
  t.is(await get('a/secret'), 'mine');
  renameSync(join(root, 'a'), join(root, 'old'));
  symlinkSync('../outside', join(root, 'a'));
  t.is(await refused('files.get', { path: 'a/secret' }), 'outside the served folder: a/secret');
});

test('the served folder may itself be reached by a link', async (t) => {
  const folder = tempFolder(t);
  fill(folder, { 'real/file': 'x' });
  symlinkSync('real', join(folder, 'link'));
  const handlers = create({ root: join(folder, 'link') });
  t.is((await run(handlers['files.get'], request('files.get', { path: 'file' }))).bytes.toString(), 'x');
});

test('files.get gives every byte of files of any size', async (t) => {
  const sizes = [0, 1, 32_767, 32_768, 32_769, 100_000];
  const files = Object.fromEntries(sizes.map((size) => [`f${size}`, Buffer.alloc(size, 'abcdefg')]));
  const { get } = serve(t, files);
  for (const size of sizes) t.is(await get(`f${size}`), files[`f${size}`].toString(), String(size));
});

test('files.get gives a part of a file', async (t) => {
  const { get, refused } = serve(t, { file: '0123456789' });
  t.is(await get('file', { offset: '3' }), '3456789');
  t.is(await get('file', { offset: '3', length: '2' }), '34');
  t.is(await get('file', { length: '100' }), '0123456789');
  t.is(await get('file', { offset: '10' }), '');
  t.is(await get('file', { length: '0' }), '');
  t.is(
    await refused('files.get', { path: 'file', offset: '11' }),
    'offset 11 is past the end: file has 10 bytes',
  );
  t.is(await get('file', { offset: '8', length: '9007199254740993' }), '89');
  t.is(
    await refused('files.get', { path: 'file', offset: '9007199254740993' }),
    'offset 9007199254740993 is past the end: file has 10 bytes',
  );
  for (const wrong of ['-1', '1.5', '0x1', '', 'one', '1e3']) {
    t.regex(await refused('files.get', { path: 'file', offset: wrong }), /^offset is not a decimal number/);
  }
});

test('mistakes in a request are answered with one line that says what is wrong', async (t) => {
  const { refused } = serve(t, { 'dir/file': 'x' });
  t.is(await refused('files.get', {}), 'files.get needs the argument path');
  t.is(await refused('files.get', { path: 'missing' }), 'no such file: missing');
  t.is(await refused('files.get', { path: 'dir/file/x' }), 'no such file: dir/file/x');
  t.is(await refused('files.get', { path: 'dir' }), 'not a file: dir');
  t.is(await refused('files.get', { path: 'x'.repeat(300) }), `the path is too long: ${'x'.repeat(200)}…`);
  t.is(
    await refused('files.get', { path: 'dir/file', lenght: '1' }),
    'files.get takes no argument lenght, only path, offset, length',
  );
});

test('files.stat says what stands at a path', async (t) => {
  const { root, ask } = serve(t, { 'dir/file': 'content' });
  symlinkSync('dir/file', join(root, 'link'));
  const stat = async (path: string) => linesOf((await ask('files.stat', { path })).bytes)[0];
  t.like(await stat('dir/file'), { path: 'dir/file', size: 7, type: 'file' });
  t.like(await stat('link'), { path: 'link', size: 7, type: 'file' });
  t.like(await stat('dir'), { path: 'dir', type: 'folder' });
  t.like(linesOf((await ask('files.stat')).bytes)[0], { path: '', type: 'folder' });
});

test('a file that is asked for repeatedly is offered to the cache, under a key that changes with it', async (t) => {
  const root = tempFolder(t);
  fill(root, { file: 'first' });
  let now = statSync(join(root, 'file')).ctimeMs;
  const handlers = create({ root }, () => now);
  const get = (args: Record<string, string> = {}) =>
    run(handlers['files.get'], request('files.get', { path: 'file', ...args }));
  // Were it changed again at once, its times might not tell.
  now += 2000;
  for (let i = 0; i < 3; i++) t.deepEqual((await get()).cacheKeys, []);
  now += 1;
  const offered = await get();
  t.is(offered.cacheKeys.length, 1);
  t.is(offered.bytes.toString(), 'first');
  t.deepEqual((await get()).cacheKeys, offered.cacheKeys);
  t.deepEqual((await get({ offset: '1' })).cacheKeys, [], 'another range is another thing');
  writeFileSync(join(root, 'file'), 'other');
  const changed = await get();
  t.deepEqual(changed.cacheKeys, []);
  t.is(changed.bytes.toString(), 'other');
});

test('a file that becomes shorter while it is read is an error and not a shorter file', async (t) => {
  const { root } = serve(t, { file: Buffer.alloc(100_000) });
  const pieces = create({ root })['files.get'](
    request('files.get', { path: 'file' }),
  ) as Iterable<Uint8Array>;
  let count = 0;
  t.throws(
    () => {
      for (const _ of pieces) if (++count === 1) truncateSync(join(root, 'file'), 50_000);
    },
    { instanceOf: CommandError, message: 'changed while it was read: file' },
  );
});

test('a file that becomes longer while it is read ends where it did', async (t) => {
  const { root } = serve(t, { file: Buffer.alloc(100_000) });
  const pieces = create({ root })['files.get'](
    request('files.get', { path: 'file' }),
  ) as Iterable<Uint8Array>;
  let size = 0;
  for (const piece of pieces) {
    size += piece.length;
    appendFileSync(join(root, 'file'), 'more');
  }
  t.is(size, 100_000);
});

test('a folder that goes away while it is listed costs no more than itself', async (t) => {
  const files = Object.fromEntries(
    Array.from({ length: 2000 }, (_, i) => [`a/${String(i).padStart(30, '0')}`, '']),
  );
  const { root } = serve(t, { ...files, 'b/gone': '', c: '' });
  const listing = create({ root })['files.list'](request('files.list')) as AsyncIterable<string>;
  let text = '';
  for await (const piece of listing) {
    rmSync(join(root, 'b'), { recursive: true, force: true });
    if (typeof piece === 'string') text += piece;
  }
  t.deepEqual(text.trim().split('\n').length, 2001);
});

test('a folder of many names does not keep its lane from other work', async (t) => {
  const files = Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`${i}`, '']));
  const { root } = serve(t, files);
  let turns = 0;
  const other = setInterval(() => turns++, 0);
  t.teardown(() => clearInterval(other));
  const { bytes } = await run(create({ root })['files.list'], request('files.list'));
  t.is(bytes.toString().trim().split('\n').length, 3000);
  t.true(turns > 3, `${turns} turns for others`);
});

test('a root that is missing is an error when the server is made', (t) => {
  t.throws(() => create({ root: join(tempFolder(t), 'missing') }), { code: 'ENOENT' });
});
