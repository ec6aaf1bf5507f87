/**
 * What the command line's tests share. Most run it in their own process, by `main`; a process of its own is for what
 * only a process has: signals, pipes, an environment.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { createConnection, createServer as createNetServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { Io } from '../../src/cli/io.ts';
import { main } from '../../src/cli/main.ts';
import { fill, tempFolder } from '../files/helper.ts';
import { killed, LONG } from '../helpers/serving.ts';

type T = ExecutionContext<unknown>;

export const MILLRACE = fileURLToPath(new URL('../../src/cli/millrace.ts', import.meta.url));

export interface Ended {
  code: number | null;
  out: string;
  err: string;
}

/** A command line that runs, and what it has printed so far: bytes on `out`, text on `err`. */
export interface Running {
  seen: { out: string; err: string };
  ended: Promise<Ended & { signal?: NodeJS.Signals | null }>;
  /** Resolves when `out` or `err` has matched, or all is over. */
  said(stream: 'out' | 'err', pattern: RegExp): Promise<void>;
}

/** Keeps what comes, and tells who waits for it. */
function listen(out: Readable, err: Readable, ended: Running['ended']): Omit<Running, 'ended'> {
  const seen = { out: '', err: '' };
  const more = new EventEmitter().setMaxListeners(0);
  const keep = (name: 'out' | 'err') => (text: string) => {
    seen[name] += text;
    more.emit('more');
  };
  out.setEncoding('latin1').on('data', keep('out'));
  err.setEncoding('utf8').on('data', keep('err'));
  let isOver = false;
  ended.then(() => {
    isOver = true;
    more.emit('more');
  });
  const said = async (name: 'out' | 'err', pattern: RegExp) => {
    while (!pattern.test(seen[name]) && !isOver) await once(more, 'more');
  };
  return { seen, said };
}

/** Input that does not end. */
export const STAYS_OPEN = Symbol('stays open');

/** Runs `main` in this process. */
export function run(
  args: readonly string[],
  input: string | Uint8Array | typeof STAYS_OPEN = '',
  call: typeof main = main,
  env: NodeJS.ProcessEnv = process.env,
): Running & { signals: EventEmitter } {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const signals = new EventEmitter();
  const code = call(['node', 'millrace', ...args], new Io({ stdin, stdout, stderr }, signals, env));
  if (input !== STAYS_OPEN) stdin.end(input);
  const over = code.then(async (code) => {
    const read = [once(stdout, 'end'), once(stderr, 'end')];
    stdout.end();
    stderr.end();
    await Promise.all(read);
    return { code, ...heard.seen };
  });
  const heard = listen(stdout, stderr, over);
  return { ...heard, ended: over, signals };
}

/** Runs `main` in this process to its end. */
export function millrace(...args: string[]): Promise<Ended> {
  return run(args).ended;
}

export interface StartOptions {
  input?: string | Uint8Array;
  uid?: number;
  env?: NodeJS.ProcessEnv;
  /** The program and what comes before the arguments; missing: `millrace` on this Node. */
  command?: readonly [file: string, ...first: string[]];
}

/** Starts `millrace` in a process of its own, which does not outlive the test. */
export function start(
  t: T,
  args: readonly string[],
  { input, uid, env, command = [process.execPath, MILLRACE] }: StartOptions = {},
): Running & { child: ChildProcess } {
  const [file, ...first] = command;
  const child = spawn(file, [...first, ...args], { stdio: 'pipe', uid, env });
  t.teardown(() => killed(child));
  child.stdin.on('error', () => {});
  if (input !== undefined) child.stdin.end(input);
  const closed = once(child, 'close').then(([code, signal]) => ({ code, signal, ...heard.seen }));
  const heard = listen(child.stdout, child.stderr, closed);
  return { child, ...heard, ended: closed };
}

/** A new folder with these files, and arguments to serve it with. */
function toServe(t: T, files: Readonly<Record<string, string | Uint8Array>>, options: readonly string[]) {
  const folder = tempFolder(t);
  const dir = join(folder, 'served');
  mkdirSync(dir);
  fill(dir, files);
  const where = options.includes('--socket') ? [] : ['--port', '0'];
  const args = ['serve', dir, '--workers', '1', '--limit', `laneTimeout=${LONG}`, ...where, ...options];
  return { folder, dir, dest: join(folder, 'dest'), args };
}

/** Where a server has said that it listens. */
export async function addressOf(server: Running): Promise<string> {
  await server.said('out', /\n/);
  return / on (\S+) \(/.exec(server.seen.out)?.[1] ?? `none: ${server.seen.err}`;
}

/** `millrace serve` in this process, for a new folder with these files. */
export async function serve(
  t: T,
  files: Readonly<Record<string, string | Uint8Array>>,
  ...options: string[]
) {
  const { args, ...places } = toServe(t, files, options);
  const server = run(args);
  t.teardown(() => {
    server.signals.emit('SIGTERM', 'SIGTERM');
    return server.ended;
  });
  return { ...server, ...places, address: await addressOf(server) };
}

/** `millrace serve` in a process of its own, for a new folder with these files. */
export async function serveAlone(
  t: T,
  files: Readonly<Record<string, string | Uint8Array>>,
  ...options: string[]
) {
  const { args, ...places } = toServe(t, files, options);
  const server = start(t, args);
  return { ...server, ...places, address: await addressOf(server) };
}

/** Waits for what nothing tells us of, such as a file of another process. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(5);
}

/** A server on a free port that does something else than speak our protocol. */
export async function rogue(t: T, onSocket: (socket: Socket) => void): Promise<string> {
  const server: Server = createNetServer((socket) => {
    socket.on('error', () => {});
    onSocket(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return `127.0.0.1:${(server.address() as { port: number }).port}`;
}

export function isOneLine(t: T, ended: Ended, code: number, message: RegExp): void {
  t.is(ended.code, code, ended.err);
  t.regex(ended.err, /^millrace: [^\n]+\n$/);
  t.regex(ended.err, message);
  t.is(ended.out, '');
}

export const TREE = {
  'a.txt': 'text',
  'b/c.js': 'code',
  'b/large': Buffer.alloc(700_000, 'abcdefgh'),
  empty: '',
};

/** What a server that takes its time says as it ends; whether it does is up to the machine. */
export const FINISHING = /^(millrace: finishing the requests in flight[^\n]*\n)?$/;

/** A way to the server at `address` that breaks off, or just stops, after some megabytes of its answers. */
export function bottleneck(t: T, address: string, onFull: (client: Socket) => void) {
  const port = Number(address.split(':')[1]);
  return rogue(t, (client) => {
    const server = createConnection(port, '127.0.0.1');
    t.teardown(() => server.destroy());
    server.on('error', () => {});
    client.pipe(server);
    let passed = 0;
    server.on('data', (chunk) => {
      client.write(chunk);
      passed += chunk.length;
      if (passed < 5_000_000) return;
      server.pause();
      onFull(client);
    });
  });
}

/** A file that does not get through the bottleneck. */
export const HUGE = { ...TREE, huge: randomBytes(10_000_000) };

export function partsIn(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((name) => name.startsWith('.millrace-') && name.endsWith('.part'));
}

/**
 * Whether a pull into `folder` has come to the file of {@link HUGE} that does not get through the bottleneck: only a part of
 * that one is as large. (Before anything is listed there is a part for a moment, too: how the file system takes names.)
 */
export function isStuck(folder: string): boolean {
  const sizeOf = (name: string) => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0;
  return partsIn(folder).some((name) => sizeOf(name) > 1_000_000);
}

const DEMO = fileURLToPath(new URL('../../demo/main.ts', import.meta.url));

/** Runs the demo over a new folder of 300 files that are alike. */
export function demoOf300Files(t: T): (...args: string[]) => Running['ended'] {
  const folder = tempFolder(t);
  const record = (i: number) =>
    `export const value${i} = { name: 'value ${i}', list: [${i}, ${i * 7}] };\n`.repeat(20);
  fill(folder, Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`d${i % 9}/f${i}.js`, record(i)])));
  return (...args) => start(t, [folder, ...args], { command: [process.execPath, DEMO] }).ended;
}
