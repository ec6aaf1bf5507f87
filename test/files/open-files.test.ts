/** Files on the server's side: what is opened, and for how long. */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { create } from '../../src/files/commands.ts';
import { fill, request, tempFolder } from './helper.ts';

const SIZE = 200_000;
const content = (i: number) => Buffer.alloc(SIZE, `file ${i} `);
/** How many descriptors of this process are on files below a folder. */
const descriptors = (root: string) =>
  readdirSync('/proc/self/fd').filter((fd) => whereIs(fd)?.startsWith(root)).length;

function whereIs(fd: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined; // it was that of the folder itself, or another thread's
  }
}

function serve(t: ExecutionContext, count: number) {
  const root = tempFolder(t);
  for (let i = 0; i < count; i++) writeFileSync(join(root, `f${i}`), content(i));
  const handlers = create({ root });
  const ask = (command: string, args: Record<string, string>) =>
    (handlers[command](request(command, args)) as Iterable<Uint8Array>)[Symbol.iterator]();
  return { root, ask };
}

function rest(pieces: Iterator<Uint8Array>): Buffer {
  const all: Uint8Array[] = [];
  for (let next = pieces.next(); !next.done; next = pieces.next()) all.push(next.value);
  return Buffer.concat(all);
}

const ASKS: Record<string, { args: (i: number) => Record<string, string>; answer: (i: number) => Buffer }> = {
  'files.get': { args: (i) => ({ path: `f${i}` }), answer: content },
  'files.bundle': {
    args: (i) => ({ paths: JSON.stringify([`f${i}`]) }),
    answer: (i) => Buffer.concat([Buffer.from(`${SIZE}\n`), content(i)]),
  },
};
for (const [command, { args, answer }] of Object.entries(ASKS)) {
  test(`300 answers of ${command} that nobody reads on keep few files open, and come whole in the end`, (t) => {
    const { root, ask } = serve(t, 300);
    const answers = Array.from({ length: 300 }, (_, i) => ask(command, args(i)));
    const firsts = answers.map((each) => each.next().value as Uint8Array);
    t.true(descriptors(root) <= 32, `${descriptors(root)} are open`);
    answers.forEach((each, i) => {
      if (i % 3 === 0) each.return?.();
      else t.true(Buffer.concat([firsts[i], rest(each)]).equals(answer(i)), `file ${i}`);
    });
    t.is(descriptors(root), 0);
  });
}

const CHANGES: { what: string; change: (path: string) => void; error?: RegExp }[] = [
  { what: 'has become longer', change: (path) => appendFileSync(path, 'more') },
  {
    what: 'has been replaced',
    change: (path) => {
      writeFileSync(`${path}.new`, content(1));
      renameSync(`${path}.new`, path);
    },
    error: /^changed while it was read: f0$/,
  },
  { what: 'has gone', change: (path) => renameSync(path, `${path}.old`), error: /: f0$/ },
];
for (const { what, change, error } of CHANGES) {
  test(`a file that ${what} while it was closed ${error ? 'is an error' : 'ends where it did'}`, (t) => {
    const { root, ask } = serve(t, 100);
    const first = ask('files.get', { path: 'f0' });
    const begun = first.next().value as Uint8Array;
    const others = Array.from({ length: 99 }, (_, i) => ask('files.get', { path: `f${i + 1}` }));
    for (const other of others) other.next();
    change(join(root, 'f0'));
    if (error === undefined) t.true(Buffer.concat([begun, rest(first)]).equals(content(0)));
    else t.throws(() => rest(first), { message: error });
    for (const other of others) other.return?.();
    t.is(descriptors(root), 0);
  });
}

const FIFOS: { path: string; command: string; error: RegExp }[] = [
  { path: 'fifo', command: 'files.get', error: /^not a file: fifo$/ },
  { path: 'out/fifo', command: 'files.get', error: /^outside the served folder: out\/fifo$/ },
  { path: 'link', command: 'files.get', error: /^outside the served folder: link$/ },
  { path: 'out/fifo', command: 'files.stat', error: /outside|no such/ },
];
for (const { path, command, error } of FIFOS) {
  test(`${command} of ${path}, which is no file or outside, does not open it`, async (t) => {
    const folder = tempFolder(t);
    const root = join(folder, 'root');
    mkdirSync(root);
    fill(folder, { 'outside/file': '' });
    const fifo = path === 'fifo' ? join(root, 'fifo') : join(folder, 'outside/fifo');
    execFileSync('mkfifo', [fifo]);
    symlinkSync('../outside', join(root, 'out'));
    symlinkSync('../outside/fifo', join(root, 'link'));
    const handlers = create({ root });
    // A writer's open goes on as soon as somebody opens the FIFO for reading.
    const writer = spawn('sh', ['-c', 'echo ready; exec 3>"$0"', fifo]);
    t.teardown(() => writer.kill('SIGKILL'));
    await once(writer.stdout, 'data');
    await sleep(50);
    t.throws(() => handlers[command](request(command, { path })), { message: error });
    await sleep(100);
    t.is(writer.exitCode, null, 'it still waits for a reader');
  });
}
