import { Buffer } from 'node:buffer';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { type PullClient, pull } from '../../src/files/pull.ts';
import { CommandError, ConnectionError } from '../../src/wire/errors.ts';
import { contents, fill, tempFolder } from './helper.ts';

interface Listed {
  path: string;
  size?: number;
  mtimeMs?: number;
  mode?: number;
  /** What files.get gives; an error is thrown after what stands before it. */
  content?: string | (string | Error | Promise<string>)[];
}

/** A client of a server that says what the test wants it to say. */
class FakeClient implements PullClient {
  readonly asked: string[] = [];
  inFlight = 0;
  mostInFlight = 0;
  readonly #files: readonly Listed[];
  readonly #listing: string;

  constructor(files: readonly Listed[], listing = listingOf(files)) {
    this.#files = files;
    this.#listing = listing;
  }

  call(command: string, { args, signal }: { args?: Record<string, string>; signal?: AbortSignal }) {
    if (command === 'files.list') return chunked(this.#listing);
    if (command === 'files.get') return this.#get(args!.path, signal);
    return failing(new CommandError(`unknown command '${command}'`));
  }

  async *#get(path: string, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    this.asked.push(path);
    this.mostInFlight = Math.max(this.mostInFlight, ++this.inFlight);
    try {
      const content = this.#files.find((file) => file.path === path)?.content ?? '';
      for (const piece of typeof content === 'string' ? [content] : content) {
        await turn();
        signal?.throwIfAborted();
        if (piece instanceof Error) throw piece;
        yield Buffer.from(await piece);
      }
    } finally {
      this.inFlight--;
    }
  }
}

async function* failing(error: Error): AsyncGenerator<Uint8Array> {
  yield* [];
  throw error;
}

/** A listing in chunks that end anywhere. */
async function* chunked(text: string): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += 7) yield bytes.subarray(at, at + 7);
}

function listingOf(files: readonly Listed[]): string {
  return files
    .map(({ path, size, mtimeMs = 1_600_000_000_123.5, mode = 0o644, content }) => {
      const pieces = typeof content === 'string' ? content : (content?.join('') ?? '');
      return `${JSON.stringify({ path, size: size ?? Buffer.byteLength(pieces), mtimeMs, mode })}\n`;
    })
    .join('');
}

/** A destination, not yet made, and a folder beside it that nobody may touch. */
function destination(t: ExecutionContext<unknown>): { dest: string; outside: string } {
  const folder = tempFolder(t);
  fill(folder, { 'outside/file': 'untouched' });
  return { dest: join(folder, 'dest'), outside: join(folder, 'outside') };
}

const failuresOf = ({ failed }: { failed: readonly { path: string; error: string }[] }) =>
  Object.fromEntries(failed.map(({ path, error }) => [path, error]));

test('a pulled tree is the served one, with times and modes', async (t) => {
  const { dest } = destination(t);
  const client = new FakeClient([
    { path: 'a.txt', content: 'A', mode: 0o6755 },
    { path: 'b/c/ü.txt', content: ['one ', 'two'], mtimeMs: 86_400_000.25, mode: 0o666 },
    { path: 'b/empty', content: '', mode: 0o400 },
  ]);
  const result = await pull(client, dest);
  t.like(result, { files: 3, bytes: 8, skipped: 0, failed: [], wireBytes: undefined });
  t.deepEqual(contents(dest), { 'a.txt': 'A', 'b/c/ü.txt': 'one two', 'b/empty': '' });
  t.is(statSync(join(dest, 'a.txt')).mode & 0o7777, 0o755);
  t.is(statSync(join(dest, 'b/c/ü.txt')).mode & 0o7777, 0o666, 'whatever the umask');
  t.is(statSync(join(dest, 'b/empty')).mode & 0o7777, 0o400);
  t.true(Math.abs(statSync(join(dest, 'b/c/ü.txt')).mtimeMs - 86_400_000.25) < 0.01);
});

test('what is there and equal is left alone; what differs in size or time is fetched again', async (t) => {
  const { dest } = destination(t);
  const files = ['same', 'size', 'time', 'mode', 'gone'].map((path) => ({ path, content: 'content' }));
  await pull(new FakeClient(files), dest);
  writeFileSync(join(dest, 'size'), 'longer content');
  const again = new FakeClient([
    ...files.slice(0, 2),
    { ...files[2], mtimeMs: 1_600_000_000_125 },
    { ...files[3], mode: 0o755 },
  ]);
  t.like(await pull(again, dest), { files: 2, bytes: 14, skipped: 2, failed: [] });
  t.deepEqual(again.asked.sort(), ['size', 'time']);
  t.is(statSync(join(dest, 'mode')).mode & 0o777, 0o755);
  t.true(existsSync(join(dest, 'gone')), 'what is not listed is not our business');
});

test('large files go to the disk in pieces and appear only when they are whole', async (t) => {
  const { dest } = destination(t);
  const piece = 'x'.repeat(100_000);
  let release!: (text: string) => void;
  const last = new Promise<string>((resolve) => {
    release = resolve;
  });
  const content = [...Array(20).fill(piece), last];
  const pulling = pull(new FakeClient([{ path: 'big', size: 2_000_003, content }]), dest);
  while (!existsSync(dest) || Object.keys(contents(dest)).length === 0) await turn();
  t.false(existsSync(join(dest, 'big')));
  t.regex(Object.keys(contents(dest))[0], /^\.millrace-.*\.part$/);
  release('end');
  t.like(await pulling, { files: 1, bytes: 2_000_003 });
  t.deepEqual(contents(dest), { big: `${piece.repeat(20)}end` });
});

test('64 requests are in flight unless told otherwise, those for files of one name one after the other', async (t) => {
  const { dest } = destination(t);
  const files = Array.from({ length: 200 }, (_, i) => ({
    path: `d${i}/${'abc'[i % 3]}.txt`,
    content: `${i}`,
  }));
  const client = new FakeClient(files);
  await pull(client, dest);
  t.is(client.mostInFlight, 64);
  const names = client.asked.map((path) => path.split('/')[1][0]).join('');
  t.regex(names, /^a+b+c+$/);
  const few = new FakeClient(files.map((file) => ({ ...file, path: `again/${file.path}` })));
  await pull(few, dest, { inFlight: 3 });
  t.is(few.mostInFlight, 3);
});

test('progress is told before a byte is there: who stops a pull at once hears how far it came', async (t) => {
  const { dest } = destination(t);
  const seen: object[] = [];
  const onProgress = ({ ...progress }) => void (existsSync(join(dest, 'a')) || seen.push(progress));
  await pull(new FakeClient([{ path: 'a', content: 'aaa' }]), dest, { onProgress });
  t.deepEqual(seen, [{ files: 0, bytes: 0, totalFiles: 1, totalBytes: 3 }]);
});

test('progress goes up to the totals', async (t) => {
  const { dest } = destination(t);
  const seen: { files: number; bytes: number }[] = [];
  const client = new FakeClient([
    { path: 'a', content: 'aaa' },
    { path: 'b', content: 'b'.repeat(300_000) },
  ]);
  await pull(client, dest, { onProgress: ({ ...progress }) => seen.push(progress) });
  t.deepEqual(seen.at(-1), { files: 2, bytes: 300_003, totalFiles: 2, totalBytes: 300_003 } as object);
});

test('an error on one file does not stop the others', async (t) => {
  const { dest } = destination(t);
  const result = await pull(
    new FakeClient([
      { path: 'bad', size: 5, content: [new CommandError('permission denied: bad')] },
      { path: 'late', size: 500_000, content: ['x'.repeat(400_000), new CommandError('the disk failed')] },
      {
        path: 'new/late',
        size: 500_000,
        content: ['x'.repeat(400_000), new CommandError('the disk failed')],
      },
      { path: 'good', content: 'good' },
    ]),
    dest,
  );
  t.like(result, { files: 1, bytes: 4 });
  t.deepEqual(failuresOf(result), {
    bad: 'permission denied: bad',
    late: 'the disk failed',
    'new/late': 'the disk failed',
  });
  t.deepEqual(contents(dest), { good: 'good' }, 'nor does a folder stay that was made for a failure');
});

test('a server that lies about a size fails for that file', async (t) => {
  const { dest } = destination(t);
  const big = 'x'.repeat(300_000);
  const files = [
    { path: 'short', size: 5, content: 'four' },
    { path: 'long', size: 3, content: 'four' },
    { path: 'none', size: 3 },
    { path: 'big-short', size: 400_000, content: [big] },
    { path: 'big-long', size: 400_000, content: [big, big, big] },
    { path: 'big-none', size: 400_000 },
    { path: 'right', size: 4, content: 'four' },
  ];
  const result = await pull(new FakeClient(files), dest);
  t.deepEqual(failuresOf(result), {
    short: '4 bytes came instead of the 5 that were listed',
    long: 'more came than the 3 bytes that were listed',
    none: '0 bytes came instead of the 3 that were listed',
    'big-short': '300000 bytes came instead of the 400000 that were listed',
    'big-long': 'more came than the 400000 bytes that were listed',
    'big-none': '0 bytes came instead of the 400000 that were listed',
  });
  t.deepEqual(contents(dest), { right: 'four' });
});

test('a hostile listing cannot name anything outside the destination', async (t) => {
  const { dest, outside } = destination(t);
  const paths = [
    '../outside/file',
    `${outside}/file`,
    '/etc/x',
    'a/../../outside/file',
    '../..',
    '.',
    '',
    'a//b',
    'n\0',
    'x/',
  ];
  const client = new FakeClient([...paths, 'good'].map((path) => ({ path, content: 'evil' })));
  const result = await pull(client, dest);
  t.deepEqual(client.asked, ['good']);
  t.deepEqual(Object.keys(failuresOf(result)).sort(), [...paths].sort());
  t.deepEqual(contents(dest), { good: 'evil' });
  t.deepEqual(contents(outside), { file: 'untouched' });
});

test('nothing is written through a link in the destination', async (t) => {
  const { dest, outside } = destination(t);
  mkdirSync(dest);
  symlinkSync('../outside', join(dest, 'linked'));
  symlinkSync('../outside/file', join(dest, 'file'));
  symlinkSync('../outside/new', join(dest, 'dangling'));
  fill(dest, { plain: 'a file', 'folder/x': 'x' });
  const paths = ['linked/file', 'linked/deep/er', 'file', 'dangling', 'plain/below', 'folder'];
  const result = await pull(new FakeClient(paths.map((path) => ({ path, content: 'pulled' }))), dest);
  t.deepEqual(failuresOf(result), {
    'linked/file': 'a link is in the place of a folder above it',
    'linked/deep/er': 'a link is in the place of a folder above it',
    'plain/below': 'a file is in the place of a folder above it',
    folder: 'a folder is in its place',
  });
  t.false(lstatSync(join(dest, 'file')).isSymbolicLink(), 'the link itself is replaced');
  t.is(readFileSync(join(dest, 'dangling'), 'utf8'), 'pulled');
  t.deepEqual(contents(outside), { file: 'untouched' });
});

test('a destination that is reached by a link is where the link leads', async (t) => {
  const folder = tempFolder(t);
  mkdirSync(join(folder, 'real'));
  symlinkSync('real', join(folder, 'link'));
  t.is((await pull(new FakeClient([{ path: 'a', content: 'x' }]), join(folder, 'link'))).files, 1);
  t.deepEqual(contents(join(folder, 'real')), { a: 'x' });
});

test('paths that exclude each other: the first one listed counts', async (t) => {
  const { dest } = destination(t);
  const paths = ['a', 'a', 'a/b', 'a/b/c', 'd/e/f', 'd/e', 'd'];
  const result = await pull(new FakeClient(paths.map((path) => ({ path, content: 'x' }))), dest);
  t.deepEqual(
    result.failed.map(({ path }) => path),
    ['a', 'a/b', 'a/b/c', 'd/e', 'd'],
  );
  t.deepEqual(contents(dest), { a: 'x', 'd/e/f': 'x' });
});

test('lines that are no entries fail each for itself', async (t) => {
  const { dest } = destination(t);
  const wrong = ['', 'null', '[]', '{', '1', '{"path":"x"}', '{"path":1,"size":1,"mtimeMs":1,"mode":1}'];
  for (const bad of ['"size":-1', '"size":1.5', '"size":1e99', '"mtimeMs":1e300', '"mode":"x"']) {
    wrong.push(`{"path":"x","size":1,"mtimeMs":1,"mode":1,${bad}}`);
  }
  const good = listingOf([{ path: 'good', content: 'x' }]);
  const client = new FakeClient([{ path: 'good', content: 'x' }], `${wrong.join('\n')}\n${good}`);
  const result = await pull(client, dest);
  t.is(result.failed.length, wrong.length);
  for (const { path, error } of result.failed) t.regex(`${path}|${error}`, /^\|not an entry of a listing: /);
  t.is(result.files, 1);
});

test('a listing has bounds: entries, bytes, lengths, depth', async (t) => {
  const { dest } = destination(t);
  const files = ['a', 'b', 'c', 'd'].map((path) => ({ path, content: 'xxx' }));
  const few = await pull(new FakeClient(files), dest, { maxEntries: 2 });
  t.is(few.files, 2);
  t.deepEqual(failuresOf(few), { '': 'the listing has more than 2 entries; the rest is left out' });
  const small = await pull(new FakeClient(files.slice(2)), dest, { maxBytes: 5 });
  t.deepEqual(failuresOf(small), { d: 'the files together are larger than 5 bytes' });
  const deep = await pull(
    new FakeClient([{ path: `${'x/'.repeat(256)}x` }, { path: 'x'.repeat(5000) }]),
    dest,
  );
  t.is(deep.failed.length, 2);
  const folders = Array.from({ length: 6 }, (_, i) => ({
    path: Array.from({ length: 3 }, (_, k) => `${i}.${k}`).join('/'),
    content: 'x',
  }));
  const deepMany = await pull(new FakeClient(folders), dest, { maxEntries: 7 });
  t.deepEqual(failuresOf(deepMany), { '': 'the listing has more than 7 folders; the rest is left out' });
  t.is(deepMany.files, 4);
  const long = Array.from({ length: 20 }, (_, i) => ({
    path: `${i}${'/x'.repeat(40)}/${'y'.repeat(200)}`,
    content: '',
  }));
  const longMany = await pull(
    new FakeClient([], long.map(({ path }) => `${JSON.stringify({ path: path.repeat(10) })}\n`).join('')),
    dest,
    { maxEntries: 20 },
  );
  t.is(longMany.failed.at(-1)?.error, 'the listing has more than 37888 characters; the rest is left out');
  await t.throwsAsync(pull(new FakeClient([], 'x'.repeat(40_000)), dest), { message: /line without end/ });
});

test('a name that the file system refuses fails for itself', async (t) => {
  const { dest } = destination(t);
  const long = 'x'.repeat(300);
  const paths = [long, `${long}y/x`, 'good'];
  const result = await pull(new FakeClient(paths.map((path) => ({ path, content: 'x' }))), dest);
  const error = 'cannot be written: the path is too long';
  t.deepEqual(failuresOf(result), { [long]: error, [`${long}y/x`]: error });
  t.deepEqual(contents(dest), { good: 'x' });
});

test('a broken connection is one error, and no part of a file stays', async (t) => {
  const { dest } = destination(t);
  const broken = new ConnectionError('the connection was lost');
  const files: Listed[] = [
    { path: 'a', content: 'whole' },
    { path: 'b/big', size: 900_000, content: ['x'.repeat(300_000), 'x'.repeat(300_000), broken] },
    ...Array.from({ length: 100 }, (_, i) => ({ path: `z${i}`, size: 1, content: ['', '', '', broken] })),
  ];
  await t.throwsAsync(pull(new FakeClient(files), dest), { is: broken });
  t.deepEqual(contents(dest), { a: 'whole' });
});

test('an aborted pull leaves whole files and no part of any', async (t) => {
  const { dest } = destination(t);
  const controller = new AbortController();
  const files: Listed[] = [
    { path: 'a', content: 'whole' },
    { path: 'big', size: 5_000_000, content: Array(50).fill('x'.repeat(100_000)) },
  ];
  const client = new FakeClient(files);
  const reason = new Error('stopped');
  const onProgress = ({ bytes }: { bytes: number }) => void (bytes > 2_500_000 && controller.abort(reason));
  await t.throwsAsync(pull(client, dest, { signal: controller.signal, onProgress }), { is: reason });
  t.deepEqual(contents(dest), { a: 'whole' });
  t.is(client.inFlight, 0);
  const asked = client.asked.length;
  await t.throwsAsync(pull(client, dest, { signal: controller.signal }), { is: reason });
  t.is(client.asked.length, asked);
});
