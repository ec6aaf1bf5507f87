import test from 'ava';
import { InputClock } from '../../src/connection/input-clock.ts';

function clocks() {
  const real = { ms: 1000 };
  return { real, clock: new InputClock(() => real.ms) };
}

test('a clock goes on while input is read, and knows when the newest came', (t) => {
  const { real, clock } = clocks();
  t.is(clock.nowMs, 1000);
  real.ms += 5;
  clock.take();
  real.ms += 7;
  t.deepEqual([clock.inputMs, clock.nowMs], [1005, 1012]);
});

test('it stands still while we do not read, and goes on from there', (t) => {
  const { real, clock } = clocks();
  clock.pause();
  real.ms += 500;
  t.is(clock.nowMs, 1000);
  clock.pause();
  clock.resume();
  t.is(clock.nowMs, 1000, 'who pauses twice has paused since the first time');
  real.ms += 3;
  clock.resume();
  t.is(clock.nowMs, 1003, 'who has not paused resumes nothing');
});

test('time that was ours is forgiven, but not a second time when the clock stood still', (t) => {
  const { real, clock } = clocks();
  real.ms += 100;
  clock.forgive(100);
  t.is(clock.nowMs, 1000);
  clock.pause();
  real.ms += 50;
  clock.forgive(50);
  clock.resume();
  t.is(clock.nowMs, 1000);
});

test('a peer that waited for us has the time since its last input again', (t) => {
  const { real, clock } = clocks();
  clock.take();
  real.ms += 300;
  clock.restart();
  t.is(clock.nowMs, clock.inputMs);
  clock.pause();
  real.ms += 300;
  clock.restart();
  t.is(clock.nowMs, clock.inputMs);
});
