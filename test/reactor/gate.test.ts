/** Levels that fill and empty, by themselves. */

import test from 'ava';
import { Backlog, Gate } from '../../src/reactor/gate.ts';

test('who waits at a gate goes on when a quarter of it is free, the oldest first', (t) => {
  const gate = new Gate(100);
  const went: string[] = [];
  gate.take(100);
  gate.wait(() => went.push('first'));
  gate.wait(() => went.push('second'));
  gate.give(24);
  t.deepEqual(went, []);
  gate.give(1);
  t.deepEqual(went, ['first', 'second']);
});

test('who fills the gate again leaves the others waiting', (t) => {
  const gate = new Gate(100);
  let second = false;
  gate.take(100);
  gate.wait(() => gate.take(100));
  gate.wait(() => {
    second = true;
  });
  gate.give(50);
  t.false(second);
  gate.give(100);
  t.true(second);
});

test('a full level that gates share leaves each of them a share of its own', (t) => {
  const all = new Gate(256 * 1024);
  const [greedy, modest] = [new Gate(1 << 20, all), new Gate(1 << 20, all)];
  greedy.take(256 * 1024);
  t.is(greedy.room, 0);
  t.is(modest.room, 128 * 1024);
  greedy.close();
  t.is(modest.room, 256 * 1024, 'what a closed connection held is there for others');
});

test('what is promised takes room, but leaves a piece to whoever really has something', (t) => {
  const gate = new Gate(64 * 1024);
  gate.promise(64 * 1024);
  t.is(gate.room, 4096);
  gate.keepPromise(64 * 1024);
  t.is(gate.room, 0, 'what has come is there');
});

test('what is in a backlog is output too, and stays it when it has left', (t) => {
  const output = new Gate(100);
  const backlog = new Backlog(50, output);
  backlog.enter(30, true);
  backlog.enter(10, false);
  t.deepEqual([backlog.used, backlog.creditedBytes, output.used], [40, 30, 40]);
  backlog.leave(30, true);
  t.deepEqual([backlog.used, backlog.creditedBytes, output.used], [10, 0, 40]);
});
