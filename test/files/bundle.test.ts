import { Buffer } from 'node:buffer';
import { mkdirSync, readdirSync, readlinkSync, symlinkSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { BundleReader, encodePaths, errorLine, MAX_BUNDLE_FILES, sizeLine } from '../../src/files/bundle.ts';
import { bundlesOf } from '../../src/files/bundles.ts';
import { create } from '../../src/files/commands.ts';
import type { FileEntry } from '../../src/files/listing.ts';
import { type PullClient, pull } from '../../src/files/pull.ts';
import { CommandError, ConnectionError } from '../../src/wire/errors.ts';
import { character } from '../helpers/arbitrary.ts';
import { contents, fill, request, run, tempFolder } from './helper.ts';

/** A served folder and what files.bundle says about paths in it. */
function serve(t: ExecutionContext<unknown>, files: Record<string, string | Uint8Array>) {
  const folder = tempFolder(t);
  const root = join(folder, 'root');
  mkdirSync(root);
  fill(root, files);
  fill(folder, { 'outside/secret': 'secret' });
  const handler = create({ root })['files.bundle'];
  const ask = (paths: string) => run(handler, request('files.bundle', { paths }));
  return { folder, root, handler, ask };
}

function entry(path: string, size: number): FileEntry {
  return { path, size, mtimeMs: 1_600_000_000_000, mode: 0o644 };
}

/** What a reader makes of a response that comes in these chunks. */
function read(entries: readonly FileEntry[], chunks: Iterable<Uint8Array>) {
  const files: [string, string][] = [];
  const errors: [string, string][] = [];
  const reader = new BundleReader(entries, {
    onFile: ({ path }, parts) => files.push([path, Buffer.concat(parts).toString('latin1')]),
    onError: ({ path }, message) => errors.push([path, message]),
  });
  let good = true;
  for (const chunk of chunks) good &&= reader.push(chunk);
  return { files, errors, good };
}

// -------------------------------------------------------------------------------------- the server

test('a bundle has every file that was asked for, in that order, whatever their sizes', async (t) => {
  const sizes = [0, 1, 30_719, 30_720, 32_767, 32_768, 32_769, 100_000, 5, 0];
  const files = Object.fromEntries(
    sizes.map((size, i) => [
      `d${i % 3}/${i}`,
      Buffer.from(Uint8Array.from({ length: size }, (_, at) => (at * i) % 251)),
    ]),
  );
  const { ask } = serve(t, files);
  const paths = Object.keys(files).reverse();
  const { bytes, cacheKeys } = await ask(encodePaths(paths));
  const entries = paths.map((path) => entry(path, files[path].length));
  const expected = paths.map((path) => [path, files[path].toString('latin1')]);
  t.deepEqual(read(entries, [bytes]), { files: expected as [string, string][], errors: [], good: true });
  t.deepEqual(cacheKeys, []);
});

test('what cannot be had is a line in its place, and the rest of the bundle comes', async (t) => {
  const { root, folder, ask } = serve(t, { a: 'A', 'dir/b': 'B' });
  symlinkSync('../outside/secret', join(root, 'leak'));
  symlinkSync('a', join(root, 'link'));
  const paths = ['a', 'nope', 'dir', '../outside/secret', 'leak', '', '/etc/passwd', 'link', 'x\0', 'dir/b'];
  const { bytes } = await ask(encodePaths(paths));
  const text = bytes.toString();
  t.false(text.includes(folder), text);
  t.deepEqual(
    text.split('\n').map((line) => line.replace(/!.+/, '!')),
    ['1', 'A!', '!', '!', '!', '!', '!', '1', 'A!', '1', 'B'],
  );
});

test('a mistake in the argument is one line that says what is wrong', async (t) => {
  const { ask, handler } = serve(t, { a: 'A' });
  for (const wrong of ['', '[', '{}', '[]', '"a"', '[1]', '["a",null]', 'null'])
    await t.throwsAsync(ask(wrong), { instanceOf: CommandError, message: /paths, a JSON array of strings$/ });
  const many = Array.from({ length: MAX_BUNDLE_FILES + 1 }, () => 'a');
  await t.throwsAsync(ask(encodePaths(many)), { instanceOf: CommandError, message: /1024 paths/ });
  t.is((await ask(encodePaths(many.slice(1)))).bytes.length, MAX_BUNDLE_FILES * '1\nA'.length);
  const asked = request('files.bundle', { paths: '["a"]', path: 'a' });
  await t.throwsAsync(async () => run(handler, asked), { message: /takes no argument path/ });
});

test('a file that becomes shorter while it is read ends the bundle with an error', (t) => {
  const { root, handler } = serve(t, { file: Buffer.alloc(100_000), other: 'x' });
  const pieces = handler(request('files.bundle', { paths: '["file","other"]' })) as Iterable<Uint8Array>;
  let count = 0;
  t.throws(
    () => {
      for (const _ of pieces) if (++count === 1) truncateSync(join(root, 'file'), 50_000);
    },
    { instanceOf: CommandError, message: 'changed while it was read: file' },
  );
});

test('a bundle that is given up in the middle of a file lets go of the file', (t) => {
  const { root, handler } = serve(t, { file: Buffer.alloc(100_000) });
  const pieces = handler(request('files.bundle', { paths: '["file"]' })) as Iterable<Uint8Array>;
  const isOpen = () =>
    readdirSync('/proc/self/fd').some((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === join(root, 'file');
      } catch {
        return false; // it was the one that the folder was read by
      }
    });
  if (process.platform !== 'linux') return void t.pass();
  let seen = false;
  for (const _ of pieces) {
    seen = isOpen();
    break;
  }
  t.true(seen);
  t.false(isOpen());
});

// -------------------------------------------------------------------------------------- the reader

test('however a bundle is cut into pieces, the same files come out', (t) => {
  const file = fc.oneof(
    fc.record({ content: fc.string({ unit: character, maxLength: 60 }) }),
    fc.record({ error: fc.string({ unit: 'grapheme', maxLength: 30 }) }),
  );
  fc.assert(
    fc.property(fc.array(file, { minLength: 1, maxLength: 8 }), fc.array(fc.nat(12)), (files, cuts) => {
      const whole = Buffer.concat(
        files.map((each) => {
          if ('error' in each) return Buffer.from(errorLine(each.error));
          const content = Buffer.from(each.content);
          return Buffer.concat([Buffer.from(sizeLine(content.length)), content]);
        }),
      );
      const chunks: Buffer[] = [];
      let at = 0;
      for (const cut of cuts) {
        chunks.push(whole.subarray(at, at + cut));
        at += cut;
      }
      chunks.push(whole.subarray(at));
      const entries = files.map((each, i) =>
        entry(`${i}`, 'error' in each ? 7 : Buffer.byteLength(each.content)),
      );
      const got = read(entries, chunks);
      t.true(got.good);
      t.is(got.files.length + got.errors.length, files.length);
      for (const [path, content] of got.files)
        t.is(content, Buffer.from((files[+path] as { content: string }).content).toString('latin1'));
      for (const [path, message] of got.errors)
        t.is(message, (files[+path] as { error: string }).error.replaceAll('\n', ' ').toWellFormed());
    }),
  );
});

const NONSENSE: Record<string, string> = {
  'a line that is no number': 'x\n',
  'an empty line': '\n',
  'another size than was listed': '4\nfour',
  'a negative size': '-3\n',
  'a size and a blank': '3 \nabc',
  'a size with a sign': '+3\nabc',
  'a size in another notation': '3e0\nabc',
  'a petabyte': '1125899906842624\n',
  'a size without end': '3'.repeat(3000),
  'a size of many digits': `${'0'.repeat(100)}3\nabc`,
  'an error without end': `!${'x'.repeat(5000)}`,
  'more than was asked for': '3\nabc3\nabc',
  'a byte more than was asked for': '3\nabc\n',
};
for (const [what, says] of Object.entries(NONSENSE)) {
  test(`a bundle with ${what} is given up`, (t) => {
    for (const size of [1, 7, 100_000]) {
      const chunks: Buffer[] = [];
      for (let at = 0; at < says.length; at += size) chunks.push(Buffer.from(says.slice(at, at + size)));
      const { files, errors, good } = read([entry('a', 3)], chunks);
      t.false(good);
      t.deepEqual(errors, []);
      t.true(files.length <= 1 && files.every(([path, content]) => path === 'a' && content === 'abc'));
    }
  });
}

// -------------------------------------------------------------------------------------- pull

/** A client of a server with these files, whose bundles are what the test makes of them. */
class FakeClient implements PullClient {
  readonly bundles: string[][] = [];
  readonly singles: string[] = [];
  readonly #files: Readonly<Record<string, string>>;
  readonly #bundle: (paths: string[]) => AsyncGenerator<Uint8Array>;

  constructor(
    files: Readonly<Record<string, string>>,
    bundle?: (paths: string[]) => AsyncGenerator<Uint8Array>,
  ) {
    this.#files = files;
    this.#bundle = bundle ?? ((paths) => this.good(paths));
  }

  async *call(command: string, { args }: { args?: Record<string, string> }): AsyncGenerator<Uint8Array> {
    if (command === 'files.list') {
      for (const [path, { length }] of Object.entries(this.#files))
        yield Buffer.from(`${JSON.stringify(entry(path, length))}\n`);
    } else if (command === 'files.get') {
      this.singles.push(args!.path);
      yield Buffer.from(this.#files[args!.path]);
    } else {
      const paths = JSON.parse(args!.paths);
      this.bundles.push(paths);
      yield* this.#bundle(paths);
    }
  }

  async *good(paths: readonly string[]): AsyncGenerator<Uint8Array> {
    for (const path of paths) yield Buffer.from(`${sizeLine(this.#files[path].length)}${this.#files[path]}`);
  }
}

const SMALL = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`d${i % 3}/f${i}`, `content ${i}`]));

test('small files are pulled in bundles, large ones by themselves', async (t) => {
  const dest = join(tempFolder(t), 'dest');
  const files = { ...SMALL, large: 'x'.repeat(70_000) };
  const client = new FakeClient(files);
  t.like(await pull(client, dest), {
    files: 21,
    bytes: 70_000 + Object.values(SMALL).join('').length,
    failed: [],
  });
  t.is(client.bundles.length, 1);
  t.deepEqual(client.bundles[0].toSorted(), Object.keys(SMALL).toSorted());
  t.deepEqual(client.singles, ['large']);
  t.deepEqual(contents(dest), files);
});

test('a bundle has bounds: bytes, files and the length of its paths', async (t) => {
  const dest = join(tempFolder(t), 'dest');
  const files: Record<string, string> = {};
  for (let i = 0; i < 10; i++) files[`a${i}`] = 'x'.repeat(60_000);
  for (let i = 0; i < 600; i++) files[`b${i}`] = '';
  const folders = `${'y'.repeat(200)}/`.repeat(17);
  for (let i = 0; i < 30; i++) files[`c${i}/${folders}x`] = 'x';
  const client = new FakeClient(files);
  t.like(await pull(client, dest), { files: 640 });
  for (const bundle of client.bundles) {
    t.true(bundle.length > 1 && bundle.length <= 256);
    t.true(bundle.reduce((sum, path) => sum + files[path].length, 0) <= 128 << 10);
    t.true(bundle.join('').length <= 64 << 10);
  }
  t.deepEqual([...client.bundles.flat(), ...client.singles].sort(), Object.keys(files).sort());
});

test('several files of one name that come to much have bundles of their own, all others share full ones', (t) => {
  const entries = [
    ...Array.from({ length: 40 }, (_, i) => entry(`d/a${i}`, 5000)),
    ...Array.from({ length: 9 }, (_, i) => entry(`${i}/index.js`, 2000)),
    entry('d/long', 20_000),
    ...Array.from({ length: 3 }, (_, i) => entry(`${i}/short`, 1000)),
    entry('d/tall', 20_000),
    entry('d/too-large', 70_000),
    entry('d/x', 1),
  ];
  const names = bundlesOf(entries).map((bundle) => bundle.map(({ path }) => path.replace(/.*\//, '')));
  const singles = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `a${from + i}`);
  t.deepEqual(names, [
    singles(0, 26),
    singles(26, 40),
    Array.from({ length: 9 }, () => 'index.js'),
    ['long', 'short', 'short', 'short', 'tall', 'x'],
  ]);
});

test('a file that has a bundle for itself alone is not in one', (t) => {
  const entries = [entry('a', 60_000), entry('b', 60_000), entry('c', 60_000)];
  t.deepEqual(bundlesOf(entries), [entries.slice(0, 2)]);
  t.deepEqual(bundlesOf([]), []);
});

test('a file that is missing from the server fails for itself', async (t) => {
  const dest = join(tempFolder(t), 'dest');
  const client: FakeClient = new FakeClient(SMALL, async function* (paths) {
    for (const path of paths)
      if (path === 'd1/f4') yield Buffer.from(errorLine('no such file: d1/f4'));
      else yield* client.good([path]);
  });
  const { files, failed } = await pull(client, dest);
  t.is(files, 19);
  t.deepEqual(failed, [{ path: 'd1/f4', error: 'no such file: d1/f4' }]);
  t.deepEqual(client.singles, []);
});

const BROKEN: Record<string, (client: FakeClient, paths: string[]) => AsyncGenerator<Uint8Array>> = {
  async *'that is nothing'() {},
  async *'that is nonsense'() {
    yield Buffer.from('nonsense\n');
  },
  async *'that ends early'(client, paths) {
    yield* client.good(paths.slice(0, 5));
    yield Buffer.from(`${sizeLine(SMALL[paths[5]].length)}half`);
  },
  async *'that fails in the middle'(client, paths) {
    yield* client.good(paths.slice(0, 5));
    throw new CommandError('changed while it was read');
  },
  async *'in which a size is another'(client, paths) {
    yield* client.good(paths.slice(0, 5));
    yield Buffer.from('1000\n');
    yield Buffer.alloc(1000);
    yield* client.good(paths.slice(6));
  },
  async *'that the server does not know'() {
    yield* [];
    throw new CommandError("unknown command 'files.bundle'");
  },
};
for (const [what, bundle] of Object.entries(BROKEN)) {
  test(`what a bundle ${what} does not bring is asked for by itself`, async (t) => {
    const dest = join(tempFolder(t), 'dest');
    const client: FakeClient = new FakeClient(SMALL, (paths) => bundle(client, paths));
    const seen: number[] = [];
    const result = await pull(client, dest, { onProgress: ({ bytes }) => seen.push(bytes) });
    t.like(result, { files: 20, failed: [] });
    t.deepEqual(contents(dest), SMALL);
    t.is(seen.at(-1), Object.values(SMALL).join('').length);
    const brought = 20 - client.singles.length;
    t.true(brought === 0 || brought === 5, `${brought}`);
    t.deepEqual(client.singles, client.bundles[0].slice(brought), 'in the order of the bundle');
  });
}

test('a server that knows no bundles is asked for no more of them than are in flight', async (t) => {
  const dest = join(tempFolder(t), 'dest');
  const files = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`f${i}`, 'x'.repeat(50_000)]));
  const client = new FakeClient(files, BROKEN['that the server does not know'] as never);
  t.like(await pull(client, dest, { inFlight: 2 }), { files: 30 });
  t.true(client.bundles.length <= 2);
});

test('a connection that breaks within a bundle is one error, and no part of a file stays', async (t) => {
  const dest = join(tempFolder(t), 'dest');
  const broken = new ConnectionError('the connection was lost');
  const client: FakeClient = new FakeClient(SMALL, async function* (paths) {
    yield* client.good(paths.slice(0, 3));
    yield Buffer.from(`${sizeLine(SMALL[paths[3]].length)}half`);
    throw broken;
  });
  await t.throwsAsync(pull(client, dest), { is: broken });
  t.is(Object.values(contents(dest)).filter((content) => content !== null).length, 3);
  t.deepEqual(client.singles, []);
});

test('a pull that is aborted within a bundle asks for nothing more', async (t) => {
  const dest = join(tempFolder(t), 'dest');
  const controller = new AbortController();
  const reason = new Error('stopped');
  const client: FakeClient = new FakeClient(SMALL, async function* (paths) {
    yield* client.good(paths.slice(0, 3));
    controller.abort(reason);
    throw reason;
  });
  await t.throwsAsync(pull(client, dest, { signal: controller.signal }), { is: reason });
  t.deepEqual(client.singles, []);
});

test('nothing of a bundle is written through a link', async (t) => {
  const folder = tempFolder(t);
  const dest = join(folder, 'dest');
  mkdirSync(join(folder, 'outside'));
  mkdirSync(dest);
  symlinkSync('../outside', join(dest, 'd1'));
  const { files, failed } = await pull(new FakeClient(SMALL), dest);
  t.is(files, 13);
  t.deepEqual(
    [...new Set(failed.map(({ error }) => error))],
    ['a link is in the place of a folder above it'],
  );
  t.deepEqual(readdirSync(join(folder, 'outside')), []);
});
