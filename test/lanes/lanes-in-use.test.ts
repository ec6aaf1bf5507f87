import test from 'ava';
import type { CommandRequest } from '../../src/index.ts';
import type { Lane } from '../../src/lanes/lane.ts';
import { type LaneLoad, LanesInUse } from '../../src/lanes/lanes-in-use.ts';
import { makePolicy, type StreamView } from '../../src/lanes/policy.ts';
import { LanePool } from '../../src/lanes/pool.ts';
import { makeServer } from '../../src/server/server.ts';
import { decodeThreeWays, recording } from '../helpers/recorder.ts';
import { digest, sample } from '../helpers/samples.ts';
import { dial } from '../helpers/serving.ts';

interface FakeLane extends LaneLoad {
  busyMs: number;
  owesSinceMs: number | undefined;
  openSlots: number;
}

/** Lanes under a load that is dealt out evenly among those in use, in steps of 20 ms. */
class Load {
  readonly lanes: FakeLane[];
  readonly inUse = new LanesInUse<FakeLane>((...look) => this.looks.push(look));
  /** What was told at each look. */
  readonly looks: number[][] = [];
  /** How many were in use after each step. */
  readonly counts: number[] = [];
  nowMs = 1000;
  #mainMs = 0;
  readonly #mayRest: boolean;

  constructor(lanes: number, mayRest = true) {
    this.#mayRest = mayRest;
    this.lanes = Array.from({ length: lanes }, () => ({ busyMs: 0, owesSinceMs: undefined, openSlots: 0 }));
    this.inUse.live = this.lanes;
    this.#ask();
  }

  /** `main`: of its time that the main thread is at work; `work`: that of all lanes together, in lanes. */
  go(steps: number, main: number, work: number, requests = 20): number {
    for (let step = 0; step < steps; step++) {
      const used = this.inUse.lanes;
      for (const lane of used) lane.busyMs += 20 * Math.min(1, work / used.length);
      this.#mainMs += 20 * main;
      for (let i = 1; i < requests; i++) this.#ask();
      this.nowMs += 20;
      this.#ask();
      this.counts.push(this.inUse.lanes.length);
    }
    return this.inUse.lanes.length;
  }

  #ask(): void {
    this.inUse.requested(this.nowMs, () => this.#mainMs, this.#mayRest);
  }
}

test('where the main thread has much to do, lanes rest that the others can do without', (t) => {
  const load = new Load(8);
  t.is(load.go(200, 0.95, 1.5), 3, 'the work of one and a half would be too much for two');
  t.deepEqual(load.inUse.lanes, load.lanes.slice(0, 3));
  t.true(load.inUse.has(load.lanes[2]));
  t.false(load.inUse.has(load.lanes[3]));
});

test('lanes that do not keep up have the others woken, one after the other, at once', (t) => {
  const load = new Load(8);
  t.is(load.go(200, 0.95, 0.1), 1);
  t.is(load.go(5, 0.95, 7.5), 5);
  t.is(load.go(10, 0.95, 7.5), 8);
});

test('a main thread that has time again has all lanes', (t) => {
  const load = new Load(4);
  t.is(load.go(100, 0.95, 0.1), 1);
  t.is(load.go(20, 0.1, 0.1), 4);
});

for (const [what, main, requests] of [
  ['the main thread has time', 0.4, 20],
  ['few requests come', 0.95, 10],
] as const) {
  test(`no lane rests where ${what}`, (t) => {
    t.is(new Load(4).go(300, main, 0.1, requests), 4);
  });
}

test('a pause is no sign of little work', (t) => {
  const load = new Load(4);
  for (let i = 0; i < 50; i++) {
    load.go(1, 0.95, 0.1);
    load.nowMs += 500;
  }
  t.is(load.inUse.lanes.length, 4);
});

for (const lanes of [1, 4])
  test(`each look tells how full the threads are, of ${lanes} lanes, also where no lane may rest`, (t) => {
    const load = new Load(lanes, false);
    t.is(load.go(100, 0.95, 0.2 * lanes), lanes, 'none rests');
    const [main, mean, spanMs, weight] = load.looks.at(-1) as number[];
    t.deepEqual([main.toFixed(2), mean.toFixed(2), spanMs, weight.toFixed(3)], ['0.95', '0.20', 20, '0.095']);
    load.nowMs += 500;
    load.go(1, 0.95, 0.2);
    t.deepEqual(load.looks.at(-2), [0, 0, 500, 1], 'of a pause nothing is known but that');
  });

test('a lane that rests in vain is left in use for longer and longer', (t) => {
  const load = new Load(4);
  // What three lanes do with ease is too much for two: their threads are held up by others as soon as they are full.
  for (let step = 0; step < 2000; step++) load.go(1, 0.95, load.inUse.lanes.length > 2 ? 1 : 2);
  const short = (counts: readonly number[]) => counts.filter((count) => count < 3).length;
  t.true(short(load.counts.slice(0, 100)) > 0, 'it is tried');
  t.true(short(load.counts.slice(-1000)) <= 10, `${short(load.counts.slice(-1000))} of 1000`);
});

test('a lane that owes an answer for long is full, whatever its thread says', (t) => {
  const load = new Load(2);
  t.is(load.go(100, 0.95, 0.2), 1);
  const [first, second] = load.lanes;
  first.openSlots = 10;
  first.owesSinceMs = load.nowMs;
  t.is(load.go(3, 0.95, 0.2), 2, 'the other is woken');
  load.go(20, 0.95, 0.2);
  t.is(load.inUse.moveFrom(first), second);
});

test('streams leave a full lane for one with time, so many at a time that it does not fill in its place', (t) => {
  const load = new Load(2);
  const [full, free] = load.lanes;
  full.openSlots = 1000;
  for (let step = 0; step < 20; step++) {
    full.busyMs += 20;
    free.busyMs += 4;
    load.go(1, 0.4, 0);
  }
  let moved = 0;
  while (load.inUse.moveFrom(full) === free) moved++;
  t.is(moved, 200);
  t.is(load.inUse.moveFrom(free), undefined);
});

test('idle streams of a lane that rests move to the one with fewest', (t) => {
  const load = new Load(8);
  t.is(load.go(200, 0.95, 1), 2);
  load.lanes.forEach((lane, i) => {
    lane.openSlots = [5, 2][i] ?? 0;
  });
  t.is(load.inUse.moveFrom(load.lanes[7]), load.lanes[1]);
  t.is(load.inUse.moveFrom(load.lanes[0]), undefined);
});

test('a lane that dies leaves one in use, and those that come back are in use', (t) => {
  const load = new Load(3);
  t.is(load.go(200, 0.95, 1), 2);
  load.inUse.live = load.lanes.slice(2);
  t.deepEqual(load.inUse.lanes, [load.lanes[2]]);
  load.inUse.live = [];
  t.deepEqual(load.inUse.lanes, []);
  t.is(load.inUse.placesOf(3), 3);
  load.inUse.live = load.lanes;
  t.is(load.inUse.lanes.length, 3, 'nothing is known of them yet');
});

function view(index: number, resting: boolean, requests = 0, open = true): StreamView {
  return { index, open, resting, requests, responses: 100 + requests, pendingBytes: 0, bytesIn: 50_000 };
}

test('shared passes over streams that rest, also over one that it has stayed with, while there is another', (t) => {
  const shared = makePolicy('shared');
  const query = { command: 'x', key: undefined };
  t.is(shared(query, [view(0, false, 20), view(1, false)]), 1);
  t.is(shared(query, [view(0, false, 5), view(1, true)]), 0);
  t.is(shared(query, [view(0, false, 90), view(1, true), view(2, true, 0, false)]), 0);
  t.is(shared(query, [view(0, true, 90), view(1, true)]), 1, 'where all rest, the least loaded');
});

test('streams move between responses to a lane in use, and what they carry is whole', async (t) => {
  const pool = new LanePool({
    workers: 2,
    handlers: [],
    cacheLevel: 3,
    onLost: (_, error) => t.fail(`${error}`),
  });
  t.teardown(() => pool.close());
  // Told instead of seen: which lane is in use.
  let used: readonly Lane[] = pool.lanes;
  const inUse: Partial<LanesInUse<Lane>> = {
    get lanes() {
      return used;
    },
    has: (lane) => used.includes(lane),
    placesOf: (places) => Math.ceil((places * used.length) / 2),
    moveFrom: (lane) => (used.includes(lane) ? undefined : used[0]),
    requested: () => undefined,
  };
  Object.defineProperty(pool, 'inUse', { value: inUse });
  const commands = { sample: (request: CommandRequest) => sample(3000, Number(request.text('seed'))) };
  const server = makeServer({ commands, streams: 1 }, () => pool);
  t.teardown(() => server.close(0));
  const recorder = await recording(t, (await server.listen()) as { host: string; port: number });
  const client = await dial(t, recorder.address);
  let seed = 0;
  for (const lanes of [pool.lanes.slice(0, 1), pool.lanes.slice(1), pool.lanes.slice(0, 1)]) {
    used = lanes;
    const before = lanes[0].totals.frames;
    const seeds = Array.from({ length: 5 }, () => ++seed);
    const answers = seeds.map((each) => client.call('sample', { args: { seed: `${each}` } }).bytes());
    for (const [i, bytes] of (await Promise.all(answers)).entries())
      t.is(digest(bytes), digest(sample(3000, seeds[i])));
    // Each time the stream says its settings first.
    t.is(lanes[0].totals.frames - before, 6);
  }
  const { lanes, streams } = await server.stats();
  t.deepEqual(
    lanes.map((lane) => [lane.inUse, lane.openStreams]),
    [
      [true, 1],
      [false, 0],
    ],
  );
  t.is(new Set(streams.map(({ streamId }) => streamId)).size, 1, 'all under one ID, begun afresh');
  t.true((await decodeThreeWays(t, recorder.connections[0].toClient)) >= 15);
});
