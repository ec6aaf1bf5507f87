/** Threads that are ended while they make contexts; kill.slow.ts ends many more. */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';
import { Trace } from '../../workers/trace.ts';

test('a thread that makes contexts all the time can be ended, and the process goes on', (t) => {
  const program = join(import.meta.dirname, 'ended-making.ts');
  const { status, stderr } = spawnSync(process.execPath, [program, '5'], { encoding: 'utf8' });
  t.is(status, 0, stderr);
});

test('a thread is shut between two contexts, and makes none from then on', async (t) => {
  const trace = new Trace();
  const atWork = new Trace(trace.memory);
  let shut = Promise.resolve();
  let isShut = false;
  const made = atWork.making(() => {
    shut = trace.shut().then(() => {
      isShut = true;
    });
    return 'a context';
  });
  t.is(made, 'a context');
  t.false(isShut);
  await shut;
  t.true(isShut);
});

test('a thread that has failed to make a context can be shut', async (t) => {
  const trace = new Trace();
  t.throws(() =>
    new Trace(trace.memory).making(() => {
      throw new Error('no memory');
    }),
  );
  await t.notThrowsAsync(trace.shut());
  trace.shutNow();
});
