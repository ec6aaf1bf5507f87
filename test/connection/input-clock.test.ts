import ava, { type ExecutionContext } from 'ava';
import { InputClock } from '../../src/connection/input-clock.ts';
import { stoppedClock } from '../helpers/clock.ts';

// One after the other: time is stopped.
const test = ava.serial;

/** A clock, the time that passes, and when it began. */
function clocks(t: ExecutionContext) {
  const time = stoppedClock(t);
  const clock = new InputClock();
  return { time, clock, beganMs: clock.nowMs };
}

test('a clock goes on while input is read, and knows when the newest came', (t) => {
  const { time, clock, beganMs } = clocks(t);
  t.is(clock.nowMs, beganMs);
  time.advance(5);
  clock.take();
  time.advance(7);
  t.deepEqual([clock.inputMs, clock.nowMs], [beganMs + 5, beganMs + 12]);
});

test('it stands still while we do not read, and goes on from there', (t) => {
  const { time, clock, beganMs } = clocks(t);
  clock.pause();
  time.advance(500);
  t.is(clock.nowMs, beganMs);
  clock.pause();
  clock.resume();
  t.is(clock.nowMs, beganMs, 'who pauses twice has paused since the first time');
  time.advance(3);
  clock.resume();
  t.is(clock.nowMs, beganMs + 3, 'who has not paused resumes nothing');
});

test('time that was ours is forgiven, but not a second time when the clock stood still', (t) => {
  const { time, clock, beganMs } = clocks(t);
  time.advance(100);
  clock.forgive(100);
  t.is(clock.nowMs, beganMs);
  clock.pause();
  time.advance(50);
  clock.forgive(50);
  clock.resume();
  t.is(clock.nowMs, beganMs);
});

test('a peer that waited for us has the time since its last input again', (t) => {
  const { time, clock } = clocks(t);
  clock.take();
  time.advance(300);
  clock.restart();
  t.is(clock.nowMs, clock.inputMs);
  clock.pause();
  time.advance(300);
  clock.restart();
  t.is(clock.nowMs, clock.inputMs);
});
