/** Pulls of what is not as it was listed, or not as it can be kept, and beside other pulls. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { create } from '../../src/files/commands.ts';
import { Destination } from '../../src/files/destination.ts';
import { type PullClient, pull } from '../../src/files/pull.ts';
import { isUnfinished, unfinishedPrefix } from '../../src/files/unfinished.ts';
import { TextOutput } from '../../src/reactor/command.ts';
import { CommandError } from '../../src/wire/errors.ts';
import { renderTextOutput } from '../../src/wire/text-output.ts';
import { contents, fill, lookedAt, request, tempFolder } from './helper.ts';

/** A client of the real handlers, without a connection between them; `before` is told of each call. */
class DirectClient implements PullClient {
  readonly asked: string[] = [];
  readonly #handlers;
  readonly #before: (command: string, args: Record<string, string>) => void;

  constructor(root: string, before: (command: string, args: Record<string, string>) => void = () => {}) {
    this.#handlers = create({ root });
    this.#before = before;
  }

  async *call(
    command: string,
    { args = {}, onText }: { args?: Record<string, string>; onText?(line: string): void },
  ): AsyncGenerator<Uint8Array> {
    this.asked.push(command);
    this.#before(command, args);
    const result = await this.#handlers[command](request(command, args));
    const isMany = typeof result === 'object' && !(result instanceof Uint8Array) && !('key' in result);
    for await (const piece of isMany ? (result as Iterable<unknown>) : [result]) {
      if (piece instanceof TextOutput) onText?.(renderTextOutput(piece.atoms));
      else if (typeof piece === 'string') yield Buffer.from(piece);
      else if (piece instanceof Uint8Array) yield piece;
    }
  }
}

function folders(t: ExecutionContext<unknown>, files: Record<string, string | Uint8Array> = {}) {
  const folder = tempFolder(t);
  const [root, dest] = [join(folder, 'root'), join(folder, 'dest')];
  mkdirSync(root);
  fill(root, files);
  return { folder, root, dest };
}

const TIMES: Record<string, number | string> = {
  'long ago': '-152391233.25',
  'just before 1970': '-0.25',
  'at the very beginning': 0,
  'with nanoseconds': 1_600_000_000.123_456_7,
  'in the year 2200': 7_258_118_400,
};
for (const [what, seconds] of Object.entries(TIMES)) {
  test(`a file that was changed ${what} keeps its time and is pulled once`, async (t) => {
    const { root, dest } = folders(t, { file: 'content' });
    utimesSync(join(root, 'file'), seconds, seconds);
    t.like(await pull(new DirectClient(root), dest), { files: 1, failed: [] });
    t.true(Math.abs(statSync(join(dest, 'file')).mtimeMs - Number(seconds) * 1000) < 0.01);
    t.like(await pull(new DirectClient(root), dest), { files: 0, skipped: 1, failed: [] });
  });
}

test('a file of the same size, changed a moment after it was pulled, is fetched again', async (t) => {
  const { dest } = folders(t);
  await pull(listed(1_795_745_630_058.123), dest);
  t.like(await pull(listed(1_795_745_630_058.223, 'changed'), dest), { files: 1 });
  t.deepEqual(contents(dest), { file: 'changed' });
});

/** A client whose server lists one file with a time of its own. */
function listed(mtimeMs: number, content = 'content'): PullClient {
  return {
    async *call(command) {
      if (command === 'files.list')
        yield Buffer.from(JSON.stringify({ path: 'file', size: content.length, mtimeMs, mode: 0o644 }));
      else if (command === 'files.get') yield Buffer.from(content);
      else throw new CommandError('unknown command');
    },
  };
}

test('a time that the file system cannot keep does not make a pull fetch for ever', async (t) => {
  for (const mtimeMs of [-5.4e12, 9e14, -8e15, 8e15, 9.2e21, -9.2e21]) {
    const { dest } = folders(t);
    t.like(await pull(listed(mtimeMs), dest), { files: 1, failed: [] }, String(mtimeMs));
    t.like(await pull(listed(mtimeMs), dest), { files: 0, skipped: 1, failed: [] }, String(mtimeMs));
    t.like(await pull(listed(1e12), dest), { files: 1, skipped: 0 }, 'another time is another file');
  }
});

const LONG = Buffer.alloc(1_000_000, 'a line of a log\n');
for (const [what, size] of [
  ['short', 100],
  ['long', 1_000_000],
] as const) {
  const content = LONG.subarray(0, size);
  const calls: Record<string, (path: string) => void> = {
    'that grows': (path) => appendFileSync(path, 'more\n'),
    'that was replaced by a longer one': (path) => {
      writeFileSync(`${path}.new`, Buffer.alloc(size + 50, 'new'));
      renameSync(`${path}.new`, path);
    },
    'that was replaced by a shorter one': (path) => {
      writeFileSync(`${path}.new`, Buffer.alloc(size - 50, 'new'));
      renameSync(`${path}.new`, path);
    },
    'that has become shorter': (path) => truncateSync(path, size - 50),
  };
  for (const [how, change] of Object.entries(calls)) {
    test(`a ${what} file ${how} after it was listed comes as it is by then`, async (t) => {
      const { root, dest } = folders(t, { log: content, other: 'x' });
      let changes = 0;
      const client = new DirectClient(root, (command, { path }) => {
        if (command !== 'files.list' && path !== 'other' && changes++ === 0) change(join(root, 'log'));
      });
      t.like(await pull(client, dest), { files: 2, failed: [] });
      t.deepEqual(contents(dest), contents(root));
      t.like(await pull(new DirectClient(root), dest), { files: 0, skipped: 2 });
    });
  }

  test(`a ${what} file that never stops growing comes with what was there`, async (t) => {
    const { root, dest } = folders(t, { log: content });
    const client = new DirectClient(root, (command) => {
      if (command !== 'files.list') appendFileSync(join(root, 'log'), 'more\n');
    });
    const result = await pull(client, dest);
    t.like(result, { files: 1, failed: [] });
    const [have, is] = [contents(dest).log!, contents(root).log!];
    t.true(have.length >= size && is.startsWith(have));
    t.is(result.bytes, have.length);
  });
}

test('a file that shrinks whenever it is looked at fails by name, and the others come', async (t) => {
  const { root, dest } = folders(t, { log: LONG, other: 'x' });
  let size = LONG.length;
  const client = new DirectClient(root, (command, { path }) => {
    size -= 1000;
    if (command === 'files.get' && path === 'log') truncateSync(join(root, 'log'), size);
  });
  const { files, failed } = await pull(client, dest);
  t.is(files, 1);
  t.is(failed[0].path, 'log');
  t.regex(failed[0].error, /bytes came instead of the \d+ that were listed/);
  t.deepEqual(contents(dest), { other: 'x' });
});

test('a file may not grow past what all may have together', async (t) => {
  const { root, dest } = folders(t, { log: 'x'.repeat(100) });
  const client = new DirectClient(root, (command) => {
    if (command !== 'files.list') appendFileSync(join(root, 'log'), 'x'.repeat(100));
  });
  const { failed } = await pull(client, dest, { maxBytes: 150 });
  t.deepEqual(failed, [{ path: 'log', error: 'it has become larger than all files together may be' }]);
  t.deepEqual(contents(dest), {});
});

test('what is listed as empty and is not comes whole', async (t) => {
  if (!existsSync('/proc/sys/kernel/ostype')) return t.pass('there is no such file here');
  const { dest } = folders(t);
  const { files, bytes, failed } = await pull(new DirectClient('/proc/sys/kernel'), dest, { path: 'ostype' });
  t.deepEqual({ files, bytes, failed }, { files: 1, bytes: 6, failed: [] });
  t.deepEqual(contents(dest), { ostype: 'Linux\n' });
});

test('a file that was empty when it was listed comes as it is by then', async (t) => {
  const { root, dest } = folders(t, { log: '' });
  const client = new DirectClient(root, (command) => {
    if (command !== 'files.list') appendFileSync(join(root, 'log'), 'more');
  });
  t.like(await pull(client, dest), { files: 1, failed: [] });
  t.regex(contents(dest).log!, /^(more)+$/);
});

test('what the server leaves out is among what failed', async (t) => {
  const { root, dest } = folders(t, { good: 'x' });
  symlinkSync('nowhere', join(root, 'broken'));
  writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff])]), '');
  const { files, failed, notes } = await pull(new DirectClient(root), dest);
  t.is(files, 1);
  t.deepEqual(notes, []);
  t.deepEqual(
    [...failed].sort((a, b) => (a.path < b.path ? -1 : 1)),
    [
      { path: '\\xff', error: 'left out: the name is not UTF-8' },
      { path: 'broken', error: 'left out: the link leads nowhere' },
    ],
  );
});

test('an older server, which says so for people only, is understood as well', async (t) => {
  const { dest } = folders(t);
  const asked: unknown[] = [];
  const client: PullClient = {
    async *call(command, { args, onText }) {
      asked.push([command, args]);
      if (args?.omitted !== undefined)
        throw new CommandError('files.list takes no argument omitted, only path');
      onText?.('left out: permission denied: sub\n');
      onText?.('something else\n');
      yield* [];
    },
  };
  const { failed, notes } = await pull(client, dest, { path: './sub//' });
  t.deepEqual(failed, [{ path: '', error: 'left out: permission denied: sub' }]);
  t.deepEqual(notes, ['something else']);
  t.deepEqual(asked.at(-1), ['files.list', { path: 'sub' }]);
});

// ------------------------------------------------------------------------------- unfinished files

test('a pull removes what pulls that are no more have left, and nothing else', async (t) => {
  const { root, dest } = folders(t, { 'a/file': 'x' });
  const child = spawn(process.execPath, ['-e', '']);
  const { pid } = child;
  await once(child, 'exit');
  const ours = unfinishedPrefix();
  const ofTheDead = ours.replace(`-${process.pid}-`, `-${pid}-`);
  const anothersNumber = ours.replace(/-(\d+)-([0-9a-f]{12})-$/, '-1-$2-');
  const elsewhere = ours.replace(/^\.millrace-[0-9a-f]{8}/, '.millrace-00000000');
  const keep = [`${ours}7.part`, `${elsewhere}1.part`, '.millrace-mine.part', `${ofTheDead}x.part`, 'b.part'];
  const gone = [`${ofTheDead}3.part`, `${anothersNumber}4.part`];
  const old = [`${elsewhere}2.part`, '.millrace-0123456789ab-5.part'];
  for (const folder of ['', 'a/'])
    fill(dest, Object.fromEntries([...keep, ...gone, ...old].map((name) => [folder + name, 'half'])));
  mkdirSync(join(dest, `a/${ofTheDead}9.part`));
  t.true(gone.every(isUnfinished) && old.every(isUnfinished));
  const longAgo = Date.now() / 1000 - 48 * 3600;
  for (const name of old) utimesSync(join(dest, name), longAgo, longAgo);
  t.like(await pull(new DirectClient(root), dest), { files: 1, failed: [] });
  const left = Object.keys(contents(dest)).sort();
  // How old a file is the system says by its last change of any kind, which a test cannot bring forward.
  const stay = [...keep, ...old].flatMap((name) => [name, `a/${name}`]);
  t.deepEqual(left, [...stay, 'a/file', `a/${ofTheDead}9.part`].sort());
});

test('an unfinished file is not pulled, whoever lists it', async (t) => {
  const { dest } = folders(t);
  const path = `a/${unfinishedPrefix()}1.part`;
  const client: PullClient = {
    async *call(command) {
      if (command === 'files.list')
        yield Buffer.from(JSON.stringify({ path, size: 1, mtimeMs: 1, mode: 0o644 }));
      else yield Buffer.from('x');
    },
  };
  const { failed } = await pull(client, dest);
  t.deepEqual(failed, [{ path, error: 'the name is kept for files that a pull has not finished' }]);
});

test('pulls into one folder at once do not disturb each other', async (t) => {
  const files = Object.fromEntries(
    Array.from({ length: 30 }, (_, i) => [`d${i % 3}/f${i}`, Buffer.alloc(i * 20_000, `${i}`)]),
  );
  const { root, dest } = folders(t, files);
  const results = await Promise.all([1, 2, 3].map(() => pull(new DirectClient(root), dest)));
  for (const { failed } of results) t.deepEqual(failed, []);
  t.deepEqual(contents(dest), contents(root));
});

test('a folder that another pull made, and removed because it had no use for it, is made again', async (t) => {
  const { dest } = folders(t);
  const entry = { path: 'new/sub/file', size: 1, mtimeMs: 1e12, mode: 0o644 };
  const destination = new Destination(dest);
  mkdirSync(join(dest, 'new/sub'), { recursive: true });
  t.is(lookedAt(destination, entry), 'missing');
  rmSync(join(dest, 'new'), { recursive: true });
  destination.writeWhole(entry, [Buffer.from('x')]);
  destination.close();
  t.deepEqual(contents(dest), { 'new/sub/file': 'x' });
  t.deepEqual(readdirSync(dest), ['new']);
});
