import test from 'ava';
import { makePlan } from '../../src/experiment/simulate/frame-plan.ts';
import { type LinkModel, simulateAdaptive, simulateLink } from '../../src/experiment/simulate/links.ts';
import { createServer } from '../../src/index.ts';
import { Ladder, LinkProbe, ladderOf, WaitProbe } from '../../src/lanes/adaptive.ts';
import { CELL, generated } from '../experiment/helper.ts';
import { dial, serving } from '../helpers/serving.ts';

const LINK = { linkMs: 2, laneMs: 1.2 };
const LANES = { linkMs: 1, laneMs: 2 };
const CALM = { linkMs: 0.9, laneMs: 0.8 };

/** A ladder of five rungs and its clock. */
class Climb {
  readonly #ladder = new Ladder(5);
  #atMs = 1000;

  /** The rungs of requests that come every so many milliseconds while this waits. */
  during(milliseconds: number, waits: typeof LINK, everyMs = 1): number[] {
    return Array.from({ length: milliseconds / everyMs }, () => {
      this.#atMs += everyMs;
      return this.#ladder.next({ ...waits, atMs: this.#atMs });
    });
  }
}

test('while the link waits we climb to the densest rung, while the lanes wait to the plain one', (t) => {
  const climb = new Climb();
  t.is(climb.during(300, LINK).at(-1), 4);
  t.is(climb.during(600, LANES).at(-1), 0);
});

test('where nothing waits we stay, and after a long wait we climb by longer steps', (t) => {
  const climb = new Climb();
  t.deepEqual(new Set(climb.during(100, CALM)), new Set([2]));
  t.is(climb.during(60, { ...LINK, linkMs: 21 }).at(-1), 4);
});

test('how far we climb in some time does not depend on the number of requests', (t) => {
  for (const everyMs of [0.05, 1, 20]) {
    const climb = new Climb();
    climb.during(1, CALM);
    climb.during(120, LINK, everyMs);
    t.deepEqual(new Set(climb.during(20, CALM)), new Set([3]), `${everyMs}`);
  }
});

test('a pause between requests does not count as a wait', (t) => {
  const climb = new Climb();
  climb.during(1, CALM);
  t.true(climb.during(10_000, LINK, 10_000)[0]! < 4);
});

test('a short wait changes nothing, and between two rungs responses take turns', (t) => {
  const climb = new Climb();
  climb.during(1, CALM);
  climb.during(4, LINK);
  t.deepEqual(new Set(climb.during(50, CALM)), new Set([2]));
  climb.during(54, LINK);
  const mixed = climb.during(100, CALM);
  t.deepEqual([...new Set(mixed)].sort(), [2, 3]);
  const upper = mixed.filter((rung) => rung === 3).length;
  t.true(upper > 40 && upper < 60, `${upper}`);
});

test('a probe follows one thing at a time through its queue, and forgets what is lost', (t) => {
  let now = 1000;
  const probe = new WaitProbe(() => now);
  const [a, b] = [{}, {}];
  t.is(probe.ms, 0);
  probe.entered(a, 300);
  now += 5;
  probe.entered(b, 1);
  probe.left(b, 1);
  t.is(probe.ms, 5);
  probe.left(a, 200);
  now += 2;
  t.is(probe.ms, 7);
  probe.left(a, 100);
  now += 50;
  t.is(probe.ms, 7);
  probe.entered(b, 1);
  probe.gone(a);
  now += 9;
  t.is(probe.ms, 9);
  probe.gone(b);
  t.is(probe.ms, 7);
  now += 50;
  t.is(probe.ms, 0);
});

test('a link is behind when all pings are late, not when one is', (t) => {
  let now = 0;
  const probe = new LinkProbe(() => now);
  const round = (ms: number) => {
    now += 20;
    t.true(probe.ask());
    t.false(probe.ask());
    now += ms;
    probe.pong();
  };
  probe.pong();
  t.is(probe.ms, 0);
  round(2);
  round(1);
  t.is(probe.ms, 0);
  round(25);
  t.is(probe.ms, 0);
  round(15);
  t.is(probe.ms, 14);
  round(3);
  t.is(probe.ms, 2);
  round(301);
  t.is(probe.ms, 300);
});

test('a ping that is not answered counts as soon as it is all that is known', (t) => {
  let now = 0;
  const probe = new LinkProbe(() => now);
  t.true(probe.ask());
  now += 5;
  probe.pong();
  now += 20;
  t.true(probe.ask());
  now += 30;
  t.is(probe.ms, 0);
  now += 40;
  t.is(probe.ms, 65);
  probe.pong();
  now += 70;
  t.is(probe.ms, 0);
});

/** Rungs as JSON records of 900 bytes have them: wire bytes and microseconds of CPU per response. */
const RUNGS = [
  [908, 0.4],
  [277, 5],
  [260, 7],
  [230, 14],
  [215, 22],
] as const;

async function models(requests: number): Promise<LinkModel[]> {
  const { workload } = await generated('json900', 200_000);
  const plan = makePlan(workload, CELL, 64);
  const count = workload.responses.length;
  return RUNGS.map(([bytes, micros]) => ({
    workload,
    plan,
    wire: new Uint32Array(count).fill(bytes),
    encodeSeconds: (micros * count) / 1e6,
    decodeSeconds: count / 1e6,
    workers: 2,
    inFlight: 64,
    requests,
  }));
}

test('simulated, adaptive is within 10 % of the best rung at every speed', async (t) => {
  const rungs = await models(20_000);
  for (const speed of [1e6, 1e7, 1e8, 3e8, 1e9, 3e9, 1e10]) {
    const fixed = rungs.map((model) => simulateLink(model, speed).responsesPerSecond);
    const { responsesPerSecond } = simulateAdaptive(rungs, speed);
    const share = responsesPerSecond / Math.max(...fixed);
    t.log(`${speed / 1e6} Mbit/s: ${(100 * share).toFixed(0)} % of the best`);
    t.true(share > 0.9, `${speed}: ${share}`);
  }
});

test('simulated, adaptive is better than any rung alone where the link changes', async (t) => {
  const rungs = await models(300_000);
  const speed = (seconds: number) => (Math.floor(2 * seconds) % 2 === 0 ? 1e9 : 1e8);
  const fixed = rungs.map((model) => simulateLink(model, speed).responsesPerSecond);
  const { responsesPerSecond } = simulateAdaptive(rungs, speed);
  t.log(`${((100 * responsesPerSecond) / Math.max(...fixed)).toFixed(0)} % of the best`);
  t.true(responsesPerSecond > Math.max(...fixed));
});

test('the policy adaptive has its own levels, and answers as any other', async (t) => {
  t.throws(() => createServer({ policy: 'adaptive', level: 3 }), { message: /levels of its own/ });
  t.deepEqual(ladderOf('zlib')[0], 'plain');
  for (const profile of ['zstd-8mb', 'zlib', 'identity']) {
    const { port } = await serving(t, {
      policy: 'adaptive',
      profile,
      workers: 2,
      commands: { get: () => 'x'.repeat(5000) },
    });
    const client = await dial(t, { port });
    const all = await Promise.all(Array.from({ length: 100 }, () => client.call('get').text()));
    t.true(all.every((text) => text === 'x'.repeat(5000)));
  }
});
