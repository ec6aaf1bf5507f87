/** Settings, the plan of frames that each makes of the traffic, and links that are simulated. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { cellKey, cellProblem, serverFlags } from '../../src/experiment/grid/cell.ts';
import { DEFAULT_GRIDS, parseGrids, readGridFile } from '../../src/experiment/grid/grid.ts';
import { makePlan } from '../../src/experiment/simulate/frame-plan.ts';
import { simulateLink } from '../../src/experiment/simulate/links.ts';
import { makeWorkload } from '../../src/experiment/traffic/workload.ts';
import { tempFolder } from '../files/helper.ts';
import { CELL, generated } from './helper.ts';

test('ranges and lists multiply, and a setting that is the same twice is run once', (t) => {
  const cells = parseGrids([
    { level: ['1..3', 9], policy: ['single', 'shared'], streams: '2..6/2' },
    { level: 1, policy: 'single', streams: 5 },
  ]);
  t.is(cells.length, 4 + 4 * 3);
  t.is(new Set(cells.map(cellKey)).size, cells.length);
  t.true(cells.filter(({ policy }) => policy === 'single').every(({ streams }) => streams === 1));
});

test('a grid file may be YAML or JSON, and what is wrong in it is named by its place', (t) => {
  const folder = tempFolder(t);
  const yaml = join(folder, 'grid.yaml');
  writeFileSync(yaml, 'grids:\n  - profile: [zlib, zstd-8mb]\n    level: 1..2\n');
  const json = join(folder, 'grid.json');
  writeFileSync(json, '{"grids":[{"profile":["zlib","zstd-8mb"],"level":[1,2]}]}');
  t.deepEqual(readGridFile(yaml), readGridFile(json));
  t.is(readGridFile(yaml).length, 4);
  writeFileSync(yaml, 'grids:\n  - level: 1\n    level: 2\n');
  t.throws(() => readGridFile(yaml), { message: /grid\.yaml: 3:5: Map keys must be unique/ });
  writeFileSync(yaml, 'grids:\n  - policy: sometimes\n');
  t.throws(() => readGridFile(yaml), { message: /grid\.yaml: grids\.0\.policy/ });
  t.throws(() => parseGrids([{ level: '9..1' }]), { message: /0\.level.*/ });
  t.throws(() => parseGrids([{ streams: 40 }]), { message: /streams/ });
});

test('the default grid is of settings that can be', (t) => {
  t.true(parseGrids(DEFAULT_GRIDS).length > 40);
});

test('a tuning is a dimension, none of it the setting that a grid without it has', (t) => {
  const [none, records] = parseGrids([{ tuning: ['none', 'records'] }]);
  t.deepEqual([none], parseGrids([{}]));
  t.like(records, { profile: 'zstd-8mb', tuning: 'records' });
  t.not(cellKey(none), cellKey(records));
  t.is(parseGrids([{ profile: 'identity', tuning: ['none', 'records'] }]).length, 1);
  t.throws(() => parseGrids([{ tuning: 'best' as never }]), { message: /^0\.tuning/ });
});

test('dictionaries and contexts are dimensions, whose lack is the setting that a grid without them has', (t) => {
  const cells = parseGrids([{ dictionaries: ['none', '4K', 16_384], contexts: ['kept', 'none'] }]);
  t.deepEqual(parseGrids([{}]), cells.slice(0, 1));
  t.deepEqual(
    cells.map(({ dictionary, contexts }) => [dictionary, contexts]),
    [
      [undefined, undefined],
      [undefined, 'none'],
      [4096, undefined],
      [4096, 'none'],
      [16_384, undefined],
      [16_384, 'none'],
    ],
  );
  t.is(new Set(cells.map(cellKey)).size, cells.length);
  t.is(parseGrids([{ profile: 'identity', dictionaries: '16K', contexts: 'none' }]).length, 1);
  for (const size of ['1', '2M', 'large', -1]) {
    t.throws(() => parseGrids([{ dictionaries: size }]), {
      message: /^0\.dictionaries\.0: must be from 1K to 1M, or none/,
    });
  }
  const many = Array.from({ length: 17 }, (_, i) => 1024 * (i + 1));
  t.throws(() => parseGrids([{ dictionaries: many }]), { message: /dictionaries of more than 16 sizes/ });
});

test('what zstd alone can is refused of other profiles', (t) => {
  const [plain, dictionary, none] = parseGrids([
    { profile: 'zlib' },
    { profile: 'zlib', dictionaries: '16K' },
    { profile: 'zlib', contexts: 'none' },
  ]);
  t.is(cellProblem(plain!), undefined);
  t.is(cellProblem(dictionary!), 'zlib has no dictionaries');
  t.is(cellProblem(none!), 'zlib cannot do without contexts');
});

test('the flags of a setting name its dictionary as a shell takes it, and say whether contexts are kept', (t) => {
  const flags = (cell: Partial<typeof CELL>, file: string) => serverFlags({ ...CELL, ...cell }, () => file);
  t.is(
    flags({ dictionary: 16_384 }, 'out/16K.dict'),
    '--profile zstd-8mb --level 3 --dictionary out/16K.dict --contexts kept --policy shared --streams 2',
  );
  t.regex(
    flags({ dictionary: 4096, contexts: 'none' }, "it's/4K.dict"),
    / --dictionary 'it'\\''s\/4K\.dict' --contexts none /,
  );
  t.regex(flags({ contexts: 'none' }, ''), /^--profile zstd-8mb --level 3 --contexts none --policy/);
  t.notRegex(flags({}, ''), /contexts|dictionary/);
});

test('a response is cut as the server cuts it, and pieces within the wait go out together', (t) => {
  const response = { command: 'a', connection: 0, bytes: new Uint8Array(2500) };
  const cuts = (workload: ReturnType<typeof makeWorkload>, cell: Partial<typeof CELL>) =>
    makePlan(workload, { ...CELL, ...cell }, 1).frames.map(({ start, end, last }) => [start, end, last]);
  t.deepEqual(cuts(makeWorkload(['x'], [response]), { frameSize: 1000 }), [
    [0, 1000, false],
    [1000, 2000, false],
    [2000, 2500, true],
  ]);
  const pieces = [0, 3, 5, 20].map((afterMs, i) => ({ afterMs, length: [500, 500, 500, 1000][i] }));
  const pieced = makeWorkload(['x'], [{ ...response, pieces }]);
  t.deepEqual(
    cuts(pieced, {}).map(([, end]) => end),
    [500, 1000, 1500, 2500],
  );
  t.deepEqual(
    cuts(pieced, { coalesceMs: 5 }).map(([, end]) => end),
    [1500, 2500],
  );
});

test('contexts are never shared by two connections', (t) => {
  const responses = [0, 1, 0, 1].map((connection) => ({
    command: 'a',
    connection,
    bytes: new Uint8Array(10),
  }));
  const plan = makePlan(makeWorkload(['x'], responses), { ...CELL, policy: 'single', streams: 1 }, 4);
  t.deepEqual(
    plan.frames.map(({ stream }) => plan.streams[stream].connection),
    [0, 1, 0, 1],
  );
});

test('affinity keeps commands apart, shared spreads what is in flight', async (t) => {
  const { workload } = await generated('mixed', 100_000);
  const streamsOf = (policy: 'affinity' | 'shared', inFlight: number) => {
    const plan = makePlan(workload, { ...CELL, policy, streams: 8 }, inFlight);
    const seen = new Map<string, Set<number>>();
    for (const { response, stream } of plan.frames) {
      const { command } = workload.responses[response];
      seen.set(command, (seen.get(command) ?? new Set()).add(stream));
    }
    return { streams: plan.streams.length, most: Math.max(...[...seen.values()].map((set) => set.size)) };
  };
  t.deepEqual(streamsOf('affinity', 16), { streams: 3, most: 1 });
  t.is(streamsOf('shared', 16).streams, 8);
  t.is(streamsOf('shared', 1).streams, 1);
});

test('a lane works for others while a handler takes its time', (t) => {
  const response = { command: 'x', connection: 0, bytes: new Uint8Array(1000), endMs: 200 };
  const slow = { ...response, pieces: [{ afterMs: 100, length: 1000 }], atMs: 0 };
  const quick = [1, 3, 5].map((atMs) => ({ ...response, atMs }));
  const workload = makeWorkload(['x'], [slow, ...quick]);
  const plan = makePlan(workload, { ...CELL, policy: 'single', streams: 1 }, 16);
  const wire = Uint32Array.from(plan.frames, () => 250);
  // A millisecond of the lane for each.
  const model = { workload, plan, wire, encodeSeconds: 0.004, decodeSeconds: 0, workers: 1, inFlight: 16 };
  const { p50, p99 } = simulateLink(model, 1e10).responseMs;
  t.true(Math.abs(p50 - 1) < 0.1 && Math.abs(p99 - 101) < 0.1, `${p50} ${p99}`);
});

test('a slow link is filled to the last bit, and a fast one waits for the encoder', async (t) => {
  const { workload } = await generated('json900', 200_000);
  const plan = makePlan(workload, { ...CELL, policy: 'single', streams: 1 }, 16);
  const wire = Uint32Array.from(plan.frames, () => 250);
  const model = { workload, plan, wire, encodeSeconds: 1, decodeSeconds: 0.1, workers: 1, inFlight: 16 };
  const slow = simulateLink(model, 8000);
  t.true(Math.abs(slow.responsesPerSecond - 4) < 0.1, `${slow.responsesPerSecond}`);
  t.true(slow.linkBusy > 0.99);
  const fast = simulateLink(model, 1e10);
  t.true(fast.threadBusy > 0.99);
  t.true(Math.abs(fast.responsesPerSecond - workload.responses.length) < 10);
  t.true(slow.responseMs.p50 > 3500 && slow.responseMs.p50 < 4100, `${slow.responseMs.p50}`);
});
