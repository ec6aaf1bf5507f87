/** Limits on a thread's time: what a busy machine withholds does not count. */

import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { ThreadTime } from '../../src/lanes/thread-time.ts';

/** Looks once a second of a clock's until the limit of 10 s is reached, or 1 000 times; how often that was. */
async function looksUntilOver(cpuPerLook: () => number): Promise<number> {
  let [cpuMs, isOver] = [0, false];
  const time = new ThreadTime({
    limitMs: 10_000,
    readCpuMs: async () => cpuMs,
    onOver: () => {
      isOver = true;
    },
  });
  let looks = 0;
  for (; !isOver && looks < 1000; looks++) {
    await turn();
    cpuMs += cpuPerLook();
    time.look(1000);
    await turn();
  }
  return looks;
}

test('a thread that has a core for itself has had its time when so much has passed', async (t) => {
  t.is(await looksUntilOver(() => 1000), 10);
});

test('one that gets a seventh of a core has had its time when it has used so much of it', async (t) => {
  t.is(await looksUntilOver(() => 143), 70);
});

test('one that stands still has had it when so much has passed', async (t) => {
  t.is(await looksUntilOver(() => 0), 10);
  let looks = 0;
  t.is(await looksUntilOver(() => (++looks <= 5 ? 100 : 1)), 15, 'five times half a second, then nothing');
});

/** A limit of 2 s of a thread whose CPU time nobody can tell; whether it is reached. */
function untold(readCpuMs: () => Promise<number>): { time: ThreadTime; isOver: () => boolean } {
  let isOver = false;
  const onOver = () => {
    isOver = true;
  };
  return { time: new ThreadTime({ limitMs: 2000, readCpuMs, onOver }), isOver: () => isOver };
}

const gone = () => Promise.reject(new Error('gone'));
const never = () => new Promise<number>(() => undefined);

test('where nobody can tell, what has passed counts', async (t) => {
  for (const readCpuMs of [gone, never]) {
    const { time, isOver } = untold(readCpuMs);
    time.look(1000);
    await turn();
    t.false(isOver());
    time.look(1000);
    await turn();
    time.look(1000);
    t.true(isOver());
  }
});

test('what has passed before a new beginning does not count', async (t) => {
  const { time, isOver } = untold(gone);
  for (let i = 0; i < 5; i++) {
    time.look(1000);
    await turn();
    time.restart();
    await turn();
    t.false(isOver());
  }
});
