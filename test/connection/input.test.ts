/** How long a peer takes in the middle of something: the clock of its input, and who looks at it. */

import ava, { type ExecutionContext } from 'ava';
import { InputClock } from '../../src/connection/input-clock.ts';
import { InputWatch } from '../../src/connection/input-watch.ts';
import { ProtocolError } from '../../src/wire/errors.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
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

// ----------------------------------------------------------------------------------- who looks at the clock

const LIMITS = { ...DEFAULT_LIMITS, idleTimeout: 400, frameTimeout: 1000, commandTimeout: 2000 };
/** How often is looked: a quarter of the shortest limit. */
const PERIOD = 100;

/** A watch, and what it watches, which the test decides. */
function watching(t: ExecutionContext) {
  const time = stoppedClock(t);
  const clock = new InputClock();
  const peer = {
    midway: true,
    inputWaits: false,
    errors: [] as string[],
    ends: [] as (() => void)[],
    late: undefined as ProtocolError | undefined,
    overdue: () => peer.late,
    endOfTick: (run: () => void) => void peer.ends.push(run),
    fail: ({ message }: ProtocolError) => void peer.errors.push(message),
    endTick() {
      for (const run of peer.ends.splice(0)) run();
    },
  };
  const watch = new InputWatch(LIMITS, clock, peer);
  t.teardown(() => watch.stop());
  /** A chunk comes. */
  const take = (midFrame: boolean, ended = false) => {
    clock.take();
    watch.took(midFrame, ended);
  };
  /** Time passes, and with it the ends of ticks. */
  const pass = (ms: number) => {
    for (let left = ms; left > 0; left--) {
      time.advance(1);
      peer.endTick();
    }
  };
  return { time, clock, peer, watch, take, pass };
}

test('who stops in the middle of a frame has idleTimeout to go on', (t) => {
  const { peer, take, pass } = watching(t);
  take(true);
  pass(LIMITS.idleTimeout - 1);
  t.deepEqual(peer.errors, []);
  pass(PERIOD);
  t.is(peer.errors[0], 'idleTimeout: idle for 400 ms in the middle of a frame');
});

test('who trickles has frameTimeout for one frame, counted from where the one before it ended', (t) => {
  const { peer, take, pass } = watching(t);
  for (let ms = 0; ms < LIMITS.frameTimeout; ms += 200) {
    take(true, ms === 200);
    pass(200);
  }
  t.deepEqual(peer.errors, []);
  take(true);
  pass(200 + PERIOD);
  t.is(peer.errors[0], 'frameTimeout: one frame took over 1000 ms');
});

test('between frames a peer may be silent, unless a command is overdue', (t) => {
  const { peer, take, pass } = watching(t);
  take(false, true);
  pass(10 * LIMITS.frameTimeout);
  t.deepEqual(peer.errors, []);
  peer.late = new ProtocolError('timeout', 'the command');
  pass(PERIOD);
  t.deepEqual(peer.errors, ['the command']);
});

test('nothing looks while nothing is awaited, and the next input begins it again', (t) => {
  const { peer, take, pass } = watching(t);
  peer.midway = false;
  take(false, true);
  peer.late = new ProtocolError('timeout', 'the command');
  pass(10 * PERIOD);
  t.deepEqual(peer.errors, []);
  peer.midway = true;
  take(false, true);
  pass(PERIOD);
  t.deepEqual(peer.errors, ['the command']);
});

test('what has come in a long tick of ours is read before anybody is late', (t) => {
  const { time, peer, take } = watching(t);
  take(true);
  time.advance(LIMITS.idleTimeout + PERIOD);
  t.is(peer.ends.length > 0, true);
  take(false, true);
  peer.endTick();
  t.deepEqual(peer.errors, []);
});

test('what waits for its turn is late through us', (t) => {
  const { peer, take, pass } = watching(t);
  take(true);
  peer.inputWaits = true;
  pass(10 * LIMITS.frameTimeout);
  t.deepEqual(peer.errors, []);
  peer.inputWaits = false;
  pass(PERIOD);
  t.is(peer.errors.length, 1);
});

test('a look that comes late was held up by us, and so was the peer', (t) => {
  const { clock, peer, take, pass } = watching(t);
  take(true);
  pass(PERIOD);
  const { now } = performance;
  const heldUp = 60_000;
  performance.now = () => now() + heldUp;
  pass(PERIOD);
  t.deepEqual(peer.errors, []);
  t.true(clock.nowMs < clock.inputMs + LIMITS.idleTimeout);
});

test('a watch that was stopped tells nobody anything, not even what it had found', (t) => {
  const { time, peer, watch, take, pass } = watching(t);
  take(true);
  time.advance(LIMITS.idleTimeout);
  t.is(peer.ends.length > 0, true);
  watch.stop();
  pass(10 * LIMITS.frameTimeout);
  take(true);
  pass(10 * LIMITS.frameTimeout);
  t.deepEqual(peer.errors, []);
});
