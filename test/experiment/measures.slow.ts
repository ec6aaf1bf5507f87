/** Experiments as they are run, with lanes, clients and servers of their own. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { extraCodecs } from '../../src/encoding/extra.ts';
import { type Cell, cellKey } from '../../src/experiment/grid/cell.ts';
import { parseGrids } from '../../src/experiment/grid/grid.ts';
import { checkInServer } from '../../src/experiment/measure/check.ts';
import { LoadedServer, TestBed } from '../../src/experiment/measure/load.ts';
import { TimeLimit } from '../../src/experiment/measure/time-limit.ts';
import { escapeHtml } from '../../src/experiment/report/html.ts';
import { checkText } from '../../src/experiment/report/recommend.ts';
import { recommendedOptions } from '../../src/experiment/results/recommended.ts';
import { short } from '../../src/experiment/results/text.ts';
import { makePlan } from '../../src/experiment/simulate/frame-plan.ts';
import { readSources } from '../../src/experiment/traffic/sources.ts';
import { makeWorkload } from '../../src/experiment/traffic/workload.ts';
import { tempFolder } from '../files/helper.ts';
import { CELL, generated, run, SETTINGS } from './helper.ts';

const OPTIONS = { maxBytes: 1 << 20, seed: 1 };

test('two runs of an experiment give the same sizes for every profile and policy', async (t) => {
  const read = await generated('mixed', 300_000);
  const cells = parseGrids([
    { profile: ['identity', 'zstd-8mb', 'zlib', 'brotli', 'deflate'], policy: ['shared', 'affinity'] },
    { policy: ['single', 'per-request'] },
    { profile: 'zlib', frameSize: 512, coalesceMs: 2 },
  ]);
  const folder = tempFolder(t);
  const sizes = async (out: string) => {
    const { results, seen } = await run(read, { cells, out: join(folder, out) });
    t.deepEqual(seen.failed, []);
    return results.cells.map(({ measures }) => [measures?.wireBytes, measures?.commands, measures?.frames]);
  };
  t.deepEqual(await sizes('one'), await sizes('two'));
});

test('a tuned setting has sizes, memory and HTTP of its own, and is recommended by its flag', async (t) => {
  const read = await generated('json900', 1_000_000);
  const out = join(tempFolder(t), 'x');
  // Level 19 has larger tables and the smaller output: what is tuned as well can only be told by the tuning.
  const cells = parseGrids([{ level: 19, policy: 'single', tuning: ['none', 'records'] }]);
  const untuned = await run(read, { cells: cells.slice(0, 1), out: join(out, 'untuned') });
  const { results } = await run(read, { cells: cells.slice(1), out, check: true });
  const [none, records] = [untuned.results, results].map(({ cells: [{ measures }] }) => measures!);
  t.true(records.wireBytes > 1.05 * none.wireBytes, `${records.wireBytes} of ${none.wireBytes}`);
  t.true(records.contextBytes < 0.5 * none.contextBytes, `${records.contextBytes} of ${none.contextBytes}`);
  t.true(records.http!.ratio < none.http!.ratio);
  const [{ flags, checked }] = results.recommendations;
  t.is(flags, '--profile zstd-8mb --level 19 --tuning records --policy single');
  t.true(Math.abs(checked!.ratio / records.ratio - 1) < 0.02, 'its server is tuned, too');
  t.like(recommendedOptions(join(out, 'results.json'), 'bytes'), { tuning: 'records', policy: 'single' });
  t.regex(readFileSync(join(out, 'report.html'), 'utf8'), /zstd-8mb, level 19, tuning records, single/);
});

test('what cannot be is reported, and the rest goes on', async (t) => {
  const read = await generated('json900', 100_000);
  const out = tempFolder(t);
  const cells = parseGrids([
    { level: [3, 99] },
    { profile: ['lzma', 'zlib'], windowLog: 12 },
    { profile: 'zlib', tuning: 'records' },
  ]);
  const { results, seen } = await run(read, { cells, out: join(out, 'x') });
  t.deepEqual(
    results.cells.map(({ error }) => error?.slice(0, 22)),
    [undefined, 'zstd level must be a w', "unknown profile 'lzma'", undefined, "zlib has no tuning 're"],
  );
  t.is(seen.failed.length, 3);
  t.regex(readFileSync(join(out, 'x/report.html'), 'utf8'), /<h3>Failed<\/h3>/);
});

test('the figures of a cell agree with each other', async (t) => {
  const read = await generated('json900', 500_000);
  const cells = parseGrids([{ profile: 'identity', policy: 'single' }, { policy: ['single', 'shared'] }]);
  const { results } = await run(read, { cells, out: join(tempFolder(t), 'x') });
  const [plain, single, shared] = results.cells.map(({ measures }) => measures!);
  t.is(plain.wireBytes, read.workload.bytes + 8 * read.workload.responses.length);
  t.is(plain.contextBytes, 0);
  t.is(single.single.morePercent, 0);
  t.is(shared.single.wireBytes, single.wireBytes);
  t.true(shared.wireBytes > single.wireBytes && shared.single.morePercent > 0);
  t.true(single.ratio > 1.5 * single.http!.ratio);
  t.true(single.contextBytes > 200_000 && single.contextBytes < 4_000_000);
  t.is(shared.connectionBytes, 2 * shared.contextBytes);
  t.is(
    single.commands.reduce((sum, row) => sum + row.wireBytes, 0) < single.wireBytes,
    true,
    'settings frames belong to no command',
  );
});

test('traffic that does not compress is best left alone', async (t) => {
  const folder = tempFolder(t);
  mkdirSync(join(folder, 'noise'));
  for (let i = 0; i < 20; i++) {
    const noise = Uint8Array.from({ length: 5000 }, () => Math.random() * 256);
    writeFileSync(join(folder, 'noise', `${i}.bin`), noise);
  }
  const read = await readSources([join(folder, 'noise')], OPTIONS);
  const cells = parseGrids([{ profile: ['identity', 'zstd-8mb'], policy: 'single' }]);
  const { results } = await run(read, { cells, out: join(folder, 'out') });
  t.deepEqual(
    results.recommendations.map(({ cell }) => cell.profile),
    ['identity', 'identity', 'identity', 'identity'],
  );
});

test('traffic that only gets larger has a recommendation even if nothing plain was measured', async (t) => {
  const file = join(tempFolder(t), 'tiny.jsonl');
  writeFileSync(file, '{"a":1}\n');
  const read = await readSources([file], OPTIONS);
  const cells = parseGrids([{ level: [1, 3], policy: 'single' }]);
  const { results } = await run(read, { cells, out: join(tempFolder(t), 'out') });
  t.is(results.recommendations.length, 4);
});

test('where time is short all settings have one small round of load, and it is said; resumed, they get the rest', async (t) => {
  const read = await generated('json900', 800_000);
  const out = join(tempFolder(t), 'x');
  const cells = parseGrids([{ level: [1, 3] }]);
  const short = await run(read, { cells, out, rounds: 2, within: 0.001 });
  const loads = ({ cells }: typeof short.results) =>
    cells.map(({ measures }) => [measures!.compress.rounds.length, measures!.loadShare < 1]);
  // Nothing is known of the pace when the first one begins.
  t.deepEqual(loads(short.results), [
    [1, false],
    [1, true],
  ]);
  t.regex(
    short.results.shortened!,
    /^Time was short: 2 of 2 settings had fewer rounds of load than 2, 1 at the/,
  );
  t.true(readFileSync(join(out, 'report.html'), 'utf8').includes('Time was short'));
  const long = await run(read, { cells, out, rounds: 2, resume: true });
  t.deepEqual(
    loads(long.results).map(([rounds]) => rounds),
    [2, 2],
  );
  t.deepEqual(
    long.results.cells.map(({ measures }) => measures!.wireBytes),
    short.results.cells.map(({ measures }) => measures!.wireBytes),
  );
});

test('a little traffic is a whole load however short the time is', async (t) => {
  const read = await generated('json900', 100_000);
  const cells = parseGrids([{ level: [1, 3] }]);
  const { results } = await run(read, { cells, out: join(tempFolder(t), 'x'), within: 0.001 });
  t.deepEqual(
    results.cells.map(({ measures }) => measures!.loadShare),
    [1, 1],
  );
});

test('the check leaves the figures of its setting as all others are, and compares with its own', async (t) => {
  const read = await generated('json900', 500_000);
  const out = join(tempFolder(t), 'x');
  const cells = parseGrids([{ level: [1, 9], policy: 'single' }]);
  const { results } = await run(read, { cells, out, check: true });
  const html = readFileSync(join(out, 'report.html'), 'utf8');
  for (const { key, checked } of results.recommendations) {
    const { compress } = results.cells.find((each) => each.key === key)!.measures!;
    t.is(compress.rounds.length, SETTINGS.rounds);
    t.true(html.includes(`>${short(compress.microsPerMB)}<`), key);
    t.true(checked!.promised.compress.rounds.length >= 2);
    t.true(html.includes(escapeHtml(checkText(checked!))), checkText(checked!));
  }
});

test.serial(
  'the recommended setting gives in the server the ratio that was promised, within 2 %',
  async (t) => {
    const read = await generated('mixed', 2 << 20);
    const cells = parseGrids([
      { level: [1, 3, 9], policy: ['single', 'shared', 'affinity'] },
      { level: 3, windowLog: 15, streams: 4 },
      { profile: 'zlib', level: 6, frameSize: 1024 },
    ]);
    const out = join(tempFolder(t), 'x');
    const inFlight = 64;
    const { results } = await run(read, { cells, out, rounds: 3, inFlight });
    const chosen = [...results.recommendations.map(({ key }) => key), ...cells.slice(-2).map(cellKey)];
    const bed = new TestBed({ workload: read.workload, codecs: [extraCodecs], workers: 2, inFlight });
    t.teardown(() => bed.close());
    for (const key of new Set(chosen)) {
      const { cell, measures } = results.cells.find((each) => each.key === key)!;
      const { ratio, compress, promised } = await checkInServer(bed, cell, new TimeLimit(0));
      const off = ratio / measures!.ratio - 1;
      const cpu = compress.microsPerMB / promised.compress.microsPerMB - 1;
      t.log(`${key}: ratio ${(100 * off).toFixed(2)} %, CPU ${(100 * cpu).toFixed(0)} % from the promise`);
      t.true(Math.abs(off) < 0.02, `${key}: promised ${measures!.ratio}, got ${ratio}`);
    }
  },
);

test('responses of a capture go through the server in the pieces that were planned', async (t) => {
  const { workload } = await generated('json4k', 400_000);
  const pieces = [0, 3, 20].map((afterMs) => ({ afterMs, length: 1000 }));
  const responses = workload.responses.map((response, i) => ({
    ...response,
    connection: i % 2,
    pieces: [...pieces, { afterMs: 40, length: response.bytes.length - 3000 }],
  }));
  const pieced = makeWorkload(['x'], responses);
  const cell: Cell = { ...CELL, policy: 'single', streams: 1, coalesceMs: 5 };
  // So few at a time that room is never short, for which a piece would be cut in two.
  const inFlight = 4;
  const plan = makePlan(pieced, cell, inFlight);
  const bed = new TestBed({ workload: pieced, codecs: [extraCodecs], workers: 2, inFlight });
  t.teardown(() => bed.close());
  const server = await LoadedServer.start(bed, cell, { ownLanes: true });
  t.teardown(() => server.close());
  const whole = await server.round();
  // A turn may end between a response's last piece and its end, which is a frame by itself then.
  const { frames, streams } = plan;
  const [least, most] = [frames.length + streams.length, frames.length + streams.length + responses.length];
  t.true(whole.frames >= least && whole.frames <= most, `${least} ≤ ${whole.frames} ≤ ${most}`);
  t.true(frames.length >= 3 * responses.length, 'without pieces of their own, a frame each');
  t.is(whole.bytesIn, pieced.bytes);
  const part = await server.round(0.5);
  t.is(part.responses, responses.length / 2);
  t.is(part.bytesIn, part.bytes);
});
