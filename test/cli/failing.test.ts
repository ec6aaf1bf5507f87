/** Command lines whose output nobody takes: each in a process of its own. */

import { existsSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { contents } from '../files/helper.ts';
import { MILLRACE, serve, start, TREE } from './helper.ts';

/** `millrace` by way of a shell, which does `first`. */
const shell = (first: string) => ['/bin/sh', '-c', first, process.execPath, MILLRACE] as const;

test.serial('output that cannot be written is one line and exit code 1', async (t) => {
  if (!existsSync('/dev/full')) return t.pass('there is no such device here');
  const { address, dest } = await serve(t, TREE);
  const full = (...args: string[]) => start(t, args, { command: shell('exec "$0" "$@" > /dev/full') }).ended;
  const line = 'millrace: cannot write the output: the disk is full\n';
  for (const args of [
    ['call', address, 'capabilities'],
    ['pull', address, dest],
  ])
    t.like(await full(...args), { code: 1, err: line }, args[0]);
  t.deepEqual(Object.keys(contents(dest)).sort(), Object.keys(TREE).sort(), 'the pull has done its work');
});

test.serial('a pull whose output nobody reads ends as the pull did', async (t) => {
  const { address, dir, dest } = await serve(t, TREE);
  symlinkSync('nowhere', join(dir, 'broken'));
  for (const args of [['--json'], []]) {
    const { child, ended } = start(t, ['pull', address, dest, ...args]);
    child.stdout!.destroy();
    t.is((await ended).code, 1);
  }
});
