/** A hand that moves folders and puts links in their place while files are pulled and served. */

import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { encodePaths } from '../../src/files/bundle.ts';
import { create } from '../../src/files/commands.ts';
import { type PullClient, pull } from '../../src/files/pull.ts';
import { unfinishedPrefix } from '../../src/files/unfinished.ts';
import { fill, request, run, tempFolder } from './helper.ts';
import { Hand } from './moving-hand.ts';

const { symlinkSync, readdirSync, lstatSync, readFileSync, readlinkSync } = fs;

/** All that src/files asks of the file system by a path, or by what it has opened. */
const CALLS = (Object.keys(fs) as (keyof typeof fs)[]).filter(
  (name) => name.endsWith('Sync') && name !== 'existsSync' && typeof fs[name] === 'function',
);

/** Calls `before` ahead of every call of the file system while `work` is done. Returns how many there were. */
export async function watching(before: (call: number) => void, work: () => unknown): Promise<number> {
  const originals = CALLS.map((name) => [name, fs[name]] as const);
  let calls = 0;
  const table = fs as unknown as Record<string, unknown>;
  for (const [name, original] of originals) {
    table[name] = (...args: unknown[]) => {
      before(calls++);
      return (original as (...args: unknown[]) => unknown)(...args);
    };
  }
  syncBuiltinESMExports();
  try {
    await work();
  } finally {
    for (const [name, original] of originals) table[name] = original;
    syncBuiltinESMExports();
  }
  return calls;
}

/** When the hand is at work: once and for all from a moment on, for one call, or for every second one. */
export const HABITS: Record<string, (hand: Hand, moment: number) => (call: number) => void> = {
  'from then on': (hand, moment) => (call) => call === moment && hand.bend(),
  'for one call': (hand, moment) => (call) => {
    if (call === moment) hand.bend();
    if (call === moment + 1) hand.straighten();
  },
  'for two calls': (hand, moment) => (call) => {
    if (call === moment) hand.bend();
    if (call === moment + 2) hand.straighten();
  },
};

/** Everything below a folder that could have been touched. */
export function state(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const path = join(folder, name);
      const stats = lstatSync(path);
      const content = stats.isFile() ? readFileSync(path, 'latin1').slice(0, 20) : '';
      return `${name} ${stats.mode} ${stats.mtimeMs} ${content}`;
    });
}

/** Descriptors that are on something below these folders: other tests of this process have theirs elsewhere. */
export function openDescriptors(...folders: string[]): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      const where = readlinkSync(`/proc/self/fd/${fd}`);
      return folders.some((folder) => where.startsWith(folder));
    } catch {
      return false;
    }
  }).length;
}

export const TIME = 1_500_000_000_000;
/** Left by a process that is no more. */
const ABANDONED = `${unfinishedPrefix().replace(/-\d+-\d+-/, '-4194305-1-')}0.part`;

/** What the hostile listing has: a file that is there, new ones, one in a new folder and a long one. */
export const SERVED: Record<string, Buffer> = {
  'a/b/there': Buffer.from('same'),
  'a/b/small': Buffer.from('pulled'),
  'a/b/new/other': Buffer.from('pulled, too'),
  'a/b/long': Buffer.alloc(300_000, 'pulled at length'),
};

export const CLIENT: PullClient = {
  async *call(command, { args = {} }) {
    const entry = (path: string) =>
      Buffer.from(`${JSON.stringify({ path, size: SERVED[path].length, mtimeMs: TIME, mode: 0o640 })}\n`);
    if (command === 'files.list') for (const path of Object.keys(SERVED)) yield entry(path);
    if (command === 'files.stat') yield entry(args.path);
    if (command === 'files.get') yield SERVED[args.path];
    if (command !== 'files.bundle') return;
    for (const path of JSON.parse(args.paths)) {
      yield Buffer.from(`${SERVED[path].length}\n`);
      yield SERVED[path];
    }
  },
};

/** A destination with something in it, and a folder beside it that has all that may tempt a pull. */
export function prepare(t: ExecutionContext<unknown>) {
  const folder = tempFolder(t);
  const [dest, victim] = [join(folder, 'dest'), join(folder, 'victim')];
  for (const below of [join(dest, 'a/b'), victim, join(victim, 'b'), join(victim, 'a/b')]) {
    fill(below, { there: 'same', [ABANDONED]: 'half' });
    for (const name of ['there', ABANDONED]) fs.utimesSync(join(below, name), TIME / 1000, TIME / 1000);
    fs.chmodSync(join(below, 'there'), 0o600);
  }
  return { dest, victim };
}

/** A command and its arguments. */
type Ask = readonly [command: string, args: Record<string, string>];

export const ASKS: readonly Ask[] = [
  ['files.list', {}],
  ['files.get', { path: 'link' }],
  ['files.stat', { path: 'link' }],
  ['files.bundle', { paths: encodePaths(['a/b/file', 'link', 'a/b/up']) }],
  ['files.list', { path: 'a' }],
  ['files.list', { path: 'link' }],
  ['files.list', { path: 'a/b' }],
  ['files.get', { path: 'a/b/file' }],
  ['files.get', { path: 'a/b/up' }],
  ['files.stat', { path: 'a/b/file' }],
  ['files.stat', { path: 'a/b/up' }],
  ['files.stat', { path: 'a' }],
  ['files.stat', {}],
];

/** What only the folder outside has: contents, a name, and sizes. */
const SECRET = /SECRET|(?:"size":|has )99\d\d\d/;

export function served(t: ExecutionContext<unknown>) {
  const folder = tempFolder(t);
  const [root, outside] = [join(folder, 'root'), join(folder, 'outside')];
  const secret = `SECRET${' '.repeat(99_000)}`;
  fill(root, { 'a/b/file': 'public', 'x/file': 'public' });
  fill(outside, { file: secret, 'SECRET-name': secret, 'b/file': secret, 'b/SECRET-name': secret });
  fill(outside, { 'a/b/file': secret, 'x/file': secret });
  symlinkSync('a/b/file', join(root, 'link'));
  symlinkSync('../../x/file', join(root, 'a/b/up'));
  return { root, outside };
}

type Habit = keyof typeof HABITS;

/** Pulls as often as there are moments at which the hand could begin, and looks whether anything outside was touched. */
export async function pullUnderHand(
  t: ExecutionContext<unknown>,
  moved: string,
  habit: Habit,
): Promise<void> {
  const used: string[] = [];
  for (let moment = 0, calls = 1; moment < calls; moment++) {
    const { dest, victim } = prepare(t);
    used.push(join(dest, '..'));
    const untouched = state(victim);
    const act = HABITS[habit](new Hand(join(dest, moved), victim), moment);
    // DEST is the user's word until it has been opened.
    let isOpen = false;
    calls = 0;
    const client: PullClient = {
      call: (command, options) => {
        isOpen = true;
        return CLIENT.call(command, options);
      },
    };
    await watching(
      () => isOpen && act(calls++),
      () => pull(client, dest).catch(() => undefined),
    );
    t.deepEqual(state(victim), untouched, `at call ${moment}`);
    const left = readdirSync(join(dest, '..'), { recursive: true, encoding: 'utf8' });
    t.deepEqual(
      left.filter((name) => name.endsWith('.part') && !name.endsWith(ABANDONED)),
      [],
    );
  }
  t.is(openDescriptors(...used), 0);
}

/** Asks as often as there are such moments, and looks whether anything from outside was told. */
export async function askUnderHand(
  t: ExecutionContext<unknown>,
  moved: string,
  habit: Habit,
  [command, args]: Ask,
): Promise<void> {
  for (let moment = 0, calls = 1; moment < calls; moment++) {
    const { root, outside } = served(t);
    const handlers = create({ root });
    const act = HABITS[habit](new Hand(join(root, moved), outside), moment);
    let told = '';
    calls = await watching(act, async () => {
      const failed = (error: unknown) => ({ bytes: Buffer.from(String(error)), lines: [] });
      const { bytes, lines } = await run(handlers[command], request(command, args)).catch(failed);
      told = `${bytes} ${lines}`;
    });
    t.notRegex(told, SECRET, `${command} ${JSON.stringify(args)} at call ${moment}`);
  }
}
