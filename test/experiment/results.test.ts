/** From figures to results, report and recommendations; the figures are made up (fake.ts). */

import { appendFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { type Cell, cellKey, serverFlags } from '../../src/experiment/grid/cell.ts';
import { parseGrids } from '../../src/experiment/grid/grid.ts';
import { aimLines, unmetBudget } from '../../src/experiment/report/aims.ts';
import { paretoCharts } from '../../src/experiment/report/charts.ts';
import { monthlyCost } from '../../src/experiment/report/cost.ts';
import { drawChart } from '../../src/experiment/report/plot.ts';
import { checkText } from '../../src/experiment/report/recommend.ts';
import { scaleOf } from '../../src/experiment/report/svg.ts';
import { recommendedOptions } from '../../src/experiment/results/recommended.ts';
import type { Measures } from '../../src/experiment/results/results.ts';
import { doneCells, readResults } from '../../src/experiment/results/results.ts';
import { runExperiment } from '../../src/experiment/run.ts';
import type { Progress } from '../../src/experiment/runner.ts';
import { tempFolder } from '../files/helper.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { fakeRunner, imagine } from './fake.ts';
import { generated, listener, SETTINGS } from './helper.ts';

test('a stopped experiment goes on where it was, and a line cut off by a crash is forgotten', async (t) => {
  const read = await generated('json900', 100_000);
  const out = join(tempFolder(t), 'x');
  const cells = parseGrids([{ level: '1..4' }]);
  await imagine(read, { cells: cells.slice(0, 2), out });
  appendFileSync(join(out, 'journal.jsonl'), '{"key":"half a li');
  await t.throwsAsync(imagine(read, { cells, out }), { message: /go on with --resume/ });
  const { results, seen } = await imagine(read, { cells, out, resume: true });
  t.is(results.cells.length, 4);
  t.deepEqual(seen.progress[0], [2, 4]);
  t.is(readFileSync(join(out, 'journal.jsonl'), 'utf8').trim().split('\n').length, 5);
  await t.throwsAsync(imagine(await generated('json200', 100_000), { cells, out, resume: true }), {
    message: /another experiment: it differs in sources/,
  });
});

test('an experiment that found out nothing is not in the way of the next', async (t) => {
  const read = await generated('json900', 10_000);
  const out = join(tempFolder(t), 'x');
  const impossible = await imagine(read, { cells: parseGrids([{ level: 99, policy: 'single' }]), out });
  t.is(impossible.seen.failed.length, 1);
  const { results } = await imagine(read, { cells: parseGrids([{ level: 1, policy: 'single' }]), out });
  t.deepEqual(
    results.cells.map(({ cell }) => cell.level),
    [1],
  );
  t.is(readFileSync(join(out, 'journal.jsonl'), 'utf8').trim().split('\n').length, 2);
});

test('a result that cannot be written is named, and nothing unfinished stays', async (t) => {
  const read = await generated('json900', 10_000);
  const out = join(tempFolder(t), 'x');
  mkdirSync(join(out, 'results.json', 'in the way'), { recursive: true });
  const cells = parseGrids([{ level: 1, policy: 'single' }]);
  const { message } = await t.throwsAsync(imagine(read, { cells, out }));
  t.is(message, `cannot write ${join(out, 'results.json')}: not a file`);
  t.deepEqual(readdirSync(out).sort(), ['journal.jsonl', 'results.json']);
});

test('a stop ends after the cell in hand and leaves results', async (t) => {
  const read = await generated('json900', 100_000);
  const out = join(tempFolder(t), 'x');
  const cells = parseGrids([{ level: '1..9' }]);
  const controller = new AbortController();
  const events = {
    onProgress: ({ done }: Progress) => done === 2 && controller.abort(new Error('stopped')),
    onFailed: () => undefined,
    onNote: () => undefined,
    onChecking: () => undefined,
  };
  const settings = { ...SETTINGS, cells, out, signal: controller.signal };
  await t.throwsAsync(
    runExperiment(read, settings, events, (options) => fakeRunner(options)),
    { message: 'stopped' },
  );
  t.is(readResults(join(out, 'results.json')).cells.length, 2);
});

test.serial('the time left counts from the first result on, not from what came before', async (t) => {
  const clock = stoppedClock(t);
  const out = join(tempFolder(t), 'x');
  const read = await generated('json900', 10_000);
  const cells = parseGrids([{ level: '1..10', policy: 'single' }]);
  const { seen, events } = listener();
  // Contexts take their second to be measured, then a setting takes 10 ms.
  await runExperiment(read, { ...SETTINGS, cells, out }, events, () => async (cells, _known, onResult) => {
    clock.advance(1000);
    for (const cell of cells) {
      clock.advance(10);
      onResult({ key: cellKey(cell), cell, error: 'not measured', seconds: 0.01 });
    }
  });
  const lefts = seen.left.filter((left) => left !== undefined);
  t.deepEqual(
    lefts.map((left) => Math.round(100 * left)),
    [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
  );
});

test.serial('the time left is that of all settings once, even when the time is over', async (t) => {
  const clock = stoppedClock(t);
  const out = join(tempFolder(t), 'x');
  const read = await generated('json900', 10_000);
  const cells = parseGrids([{ level: '1..10', policy: 'single' }]);
  const { seen, events } = listener();
  await runExperiment(
    read,
    { ...SETTINGS, cells, out, within: 0.001 },
    events,
    () => async (cells, _known, onResult) => {
      for (const cell of cells) {
        clock.advance(20);
        onResult({ key: cellKey(cell), cell, error: 'not measured', seconds: 0.02 });
      }
    },
  );
  t.is(seen.left.at(-1), 0);
  for (const left of seen.left.slice(1, -1)) t.true(left! > 0, `${seen.left}`);
});

test('results are a checked file, a table, and a page that fetches nothing', async (t) => {
  const read = await generated('mixed', 300_000);
  const out = join(tempFolder(t), 'x');
  const cells = parseGrids([{ profile: 'identity' }, { level: [1, 9], streams: [1, 2, 4] }]);
  const { results } = await imagine(read, { cells, out });
  t.deepEqual(readResults(join(out, 'results.json')), JSON.parse(JSON.stringify(results)));
  const csv = readFileSync(join(out, 'results.csv'), 'utf8').trim().split('\n');
  t.is(csv.length, 1 + cells.length);
  t.true(csv[0].startsWith('name,profile,'));
  const html = readFileSync(join(out, 'report.html'), 'utf8');
  t.notRegex(html, /(src|href)=|@import|url\(|NaN|undefined|Infinity/);
  for (const { flags } of results.recommendations) {
    t.true(html.replace(/<\/?span>/g, '').includes(flags));
    // On a narrow screen a line may end between two flags, and nowhere else.
    for (const flag of flags.split(/ (?=--)/)) t.true(html.includes(`<span>${flag}</span>`), flag);
  }
  // The details of a point are lines, each with what nobody would see in it shown.
  t.regex(html, /<title>zstd-8mb, level 1, [^<]*\nratio /);
  t.notRegex(html, /\\u000a/);
  for (const title of ['Ratio against CPU', 'number of streams', 'against memory', 'behind a link']) {
    t.true(html.includes(title), title);
  }
});

test('each aim gets the setting that is best at it', async (t) => {
  const read = await generated('json900', 500_000);
  const out = join(tempFolder(t), 'x');
  const cells = parseGrids([
    { profile: 'identity' },
    { level: [1, 9], streams: [1, 8] },
    { level: 1, windowLog: 12, policy: 'single' },
  ]);
  const { results } = await imagine(read, { cells, out });
  const [, bytes, cpu, memory] = results.recommendations.map(({ cell }) => cell);
  t.deepEqual(
    results.recommendations.map(({ aim }) => aim),
    ['balanced', 'bytes', 'cpu', 'memory'],
  );
  t.deepEqual([bytes.level, bytes.streams], [9, 1]);
  t.is(cpu.level, 1);
  t.is(memory.windowLog, 12);
  t.is(serverFlags(memory), '--profile zstd-8mb --level 1 --window-log 12 --policy single');
  t.like(recommendedOptions(join(out, 'results.json'), 'memory'), { windowLog: 12, policy: 'single' });
  writeFileSync(join(out, 'other.json'), '{"cells":[]}');
  t.throws(() => recommendedOptions(join(out, 'other.json'), 'cpu'), {
    message: /other\.json: not the results/,
  });
});

test('balanced is where the front of bytes against CPU bends, and a better bargain where it does not', async (t) => {
  const read = await generated('json900', 200_000);
  const folder = tempFolder(t);
  let runs = 0;
  const out = () => join(folder, `${++runs}`);
  /** Ratio and CPU by level: level 3 has nearly all that level 9 has, for a little more than level 1 takes. */
  const figures: Record<number, readonly [number, number]> = {
    1: [3, 10],
    3: [4, 14],
    6: [3.5, 40],
    9: [4.2, 200],
  };
  const bent = (measures: Measures, { level = 1 }: Cell) => {
    const [ratio, micros] = figures[level] as readonly [number, number];
    const compress = { ...measures.compress, microsPerResponse: micros };
    return { ratio, wireBytes: Math.round(read.workload.bytes / ratio), compress };
  };
  const balanced = async (level: number[]) => {
    const { results } = await imagine(
      read,
      { cells: parseGrids([{ level, policy: 'single' }]), out: out() },
      bent,
    );
    return results.recommendations[0]!.cell.level;
  };
  t.is(await balanced([1, 3, 6, 9]), 3);
  t.is(await balanced([1, 9]), 1);
  t.is(await balanced([9]), 9);
});

test('the fewest bytes at many connections are those within the memory that there is', async (t) => {
  const read = await generated('json900', 200_000);
  const folder = tempFolder(t);
  let runs = 0;
  const out = () => join(folder, `${++runs}`);
  const cells = parseGrids([
    { profile: 'identity' },
    { level: [1, 9], policy: 'single', windowLog: [12, 20] },
    { level: 9, policy: 'single' },
  ]);
  const chosen = async (memoryBytes: number) => {
    const { results } = await imagine(read, {
      cells,
      out: out(),
      budget: { connections: 1000, memoryBytes },
    });
    return results.recommendations.find(({ aim }) => aim === 'connections')?.cell;
  };
  t.like(await chosen(1000 * (2 << 20)), { level: 9, windowLog: undefined });
  t.like(await chosen(1000 * (2 << 20) - 1), { level: 9, windowLog: 12 });
  t.like(await chosen(1000), { profile: 'identity' });
  t.true(
    readFileSync(join(folder, `${runs}`, 'report.html'), 'utf8').includes(
      'Fewest bytes at 1\u202f000 connections within 0.977 KiB',
    ),
  );
  const tight = parseGrids([{ level: 1, policy: 'single' }]);
  const { results } = await imagine(read, {
    cells: tight,
    out: out(),
    budget: { connections: 9, memoryBytes: 9 },
  });
  t.regex(unmetBudget(results) ?? '', /no setting that was tried keeps within it; the smallest takes 2 MiB/);
  t.true(readFileSync(join(folder, `${runs}`, 'report.html'), 'utf8').includes('no setting that was tried'));
});

test('the least money a month weighs bytes, CPU and memory by their prices, beside HTTP and the default', async (t) => {
  const read = await generated('json900', 200_000);
  const folder = tempFolder(t);
  let runs = 0;
  const out = () => join(folder, `${++runs}`);
  const cells = parseGrids([{ profile: 'identity' }, { level: [1, 3, 9], streams: [1, 2] }]);
  const free = { gb: 0, cpuHour: 0, gbMemoryMonth: 0, responsesPerSecond: 1000, connections: 100 };
  const cheapest = async (prices: typeof free) => {
    const { results } = await imagine(read, { cells, out: out(), prices });
    return { results, ...results.recommendations.find(({ aim }) => aim === 'cost')! };
  };
  t.like((await cheapest({ ...free, gb: 1 })).cell, { level: 9, streams: 1 });
  t.like((await cheapest({ ...free, cpuHour: 1 })).cell, { profile: 'identity' });
  t.like((await cheapest({ ...free, gbMemoryMonth: 1 })).cell, { profile: 'identity' });
  const { results, key } = await cheapest({ ...free, gb: 0.05, cpuHour: 0.04 });
  const { responses } = results.setup;
  const own = doneCells(results.cells).find((each) => each.key === key)!;
  const { traffic, cpu, memory, total } = monthlyCost(own, responses, results.prices!);
  const perMonth = 1000 * 2_629_800;
  t.is(Math.round(traffic), Math.round(((own.measures.wireBytes / responses) * perMonth * 0.05) / 1e9));
  t.is(
    Math.round(cpu),
    Math.round(((own.measures.compress.microsPerResponse + 5) / 3.6e9) * perMonth * 0.04),
  );
  t.deepEqual([memory, total], [0, traffic + cpu]);
  const lines = aimLines(key, 'cost', results);
  t.deepEqual(
    lines.map((line) => line.split(/ {2,}/)[0]!.replace(/,? level.*/, '')),
    ['money a month', 'zstd-8mb', 'as by default: zstd-8mb', 'HTTP'],
  );
});

test('a check says how far it is from what was promised, in whole percents', (t) => {
  const cost = (microsPerMB: number) => ({
    compress: { microsPerMB, microsPerResponse: 1, rounds: [microsPerMB] },
    mainMicrosPerResponse: 2,
  });
  const said = (own: number, promised: number) =>
    checkText({ ratio: 3, ...cost(own), promised: cost(promised) });
  t.regex(said(100.4, 100), /100 µs per MB in the lanes \(as the 100 that/);
  t.regex(said(108.9, 100), /\(9 % more than the 100 that/);
  t.regex(said(50, 100), /\(50 % less than the 100 that/);
  t.regex(said(0, 0), /\(as the 0 that/);
});

test('one stream is one setting under every policy, where all lines over streams begin', async (t) => {
  const cells = parseGrids([{ level: 1, streams: [1, 2, 3], policy: ['single', 'shared', 'affinity'] }]);
  t.deepEqual(
    cells.map(({ policy, streams }) => `${policy} ${streams}`),
    ['single 1', 'shared 2', 'shared 3', 'affinity 2', 'affinity 3'],
  );
  const read = await generated('mixed', 100_000);
  const { results } = await imagine(read, { cells, out: join(tempFolder(t), 'x') });
  const chart = paretoCharts(results, doneCells(results.cells)).find(({ title }) => /streams/.test(title))!;
  t.deepEqual(
    chart.series.map(({ name, points }) => [name, points.map(({ x }) => x)]),
    [
      ['zstd-8mb, level 1, shared', [1, 2, 3]],
      ['zstd-8mb, level 1, affinity', [1, 2, 3]],
    ],
  );
});

test('a chart that has more lines than colours says how many it leaves out', async (t) => {
  const read = await generated('json900', 20_000);
  const cells = parseGrids([{ level: '1..10', streams: [2, 3] }]);
  const { results } = await imagine(read, { cells, out: join(tempFolder(t), 'x') });
  const chart = paretoCharts(results, doneCells(results.cells)).find(({ title }) => /streams/.test(title))!;
  t.is(chart.series.length, 8);
  t.regex(drawChart(chart), /and 2 lines more, see the table/);
});

test('of more lines than colours those with what is recommended are drawn', async (t) => {
  const read = await generated('json900', 20_000);
  const cells = parseGrids([{ level: '1..10', streams: [2, 3] }]);
  const { results } = await imagine(read, { cells, out: join(tempFolder(t), 'x') });
  const chart = paretoCharts(results, doneCells(results.cells)).find(({ title }) => /streams/.test(title))!;
  const ringed = chart.series.flatMap(({ points }) => points).filter((point) => point.ringed);
  t.is(ringed.length, new Set(results.recommendations.map(({ key }) => key)).size);
});

test('results of another version say what to do', (t) => {
  const path = join(tempFolder(t), 'results.json');
  writeFileSync(path, '{"millraceExperiment":2}');
  t.throws(() => readResults(path), { message: /results of version 2; .*--resume/ });
});

test('traffic that does not compress is best left alone', async (t) => {
  const read = await generated('json900', 100_000);
  const cells = parseGrids([{ profile: ['identity', 'zstd-8mb'], policy: 'single' }]);
  const larger = ({ wireBytes }: Measures, { profile }: Cell) =>
    profile === 'identity' ? {} : { ratio: 0.98, wireBytes: 3.1 * wireBytes };
  const { results } = await imagine(read, { cells, out: join(tempFolder(t), 'x') }, larger);
  t.deepEqual(
    results.recommendations.map(({ cell }) => cell.profile),
    ['identity', 'identity', 'identity', 'identity'],
  );
});

test('what was measured less than asked for is said, and measured when the experiment is resumed', async (t) => {
  const read = await generated('json900', 10_000);
  const out = join(tempFolder(t), 'x');
  const cells = parseGrids([{ level: [1, 3] }]);
  const less = ({ compress }: Measures) => ({
    compress: { ...compress, rounds: compress.rounds.slice(1) },
    loadShare: 0.25,
  });
  const short = await imagine(read, { cells, out, rounds: 2 }, less);
  t.is(
    short.results.shortened,
    'Time was short: 2 of 2 settings had fewer rounds of load than 2, 1 at the least; ' +
      '2 settings had smaller loads, 25 % at the least. Sizes are exact all the same.',
  );
  t.true(readFileSync(join(out, 'report.html'), 'utf8').includes('Time was short'));
  const long = await imagine(read, { cells, out, rounds: 2, resume: true });
  t.deepEqual(
    long.results.cells.map(({ measures }) => measures!.compress.rounds.length),
    [2, 2],
  );
  t.is(long.results.shortened, undefined);
});

test('figures of nothing, and far apart, are drawn and do not go on for ever', (t) => {
  for (const far of [
    [0, 1],
    [0, 0],
    [1e-12, 1e15],
    [5, 5],
  ]) {
    const points = far.map((x) => ({ x, y: 1, tip: '' }));
    const axis = { label: 'x', format: String, logarithmic: true };
    const chart = drawChart({ title: 'x', x: axis, y: axis, series: [{ name: 's', points }] });
    t.notRegex(chart, /NaN|Infinity/);
    t.true(chart.length < 20_000);
  }
});

test('a logarithmic axis has numbers enough to be read, however little it spans', (t) => {
  for (const least of [3, 5300, 7.1e5]) {
    for (const span of [1, 1.01, 1.2, 2, 3.3, 9, 40, 5000]) {
      const { ticks } = scaleOf(
        { label: '', logarithmic: true, format: String },
        [least, least * span],
        [0, 1],
      );
      t.true(ticks.length >= 2 && ticks.length <= 9, `${least} × ${span}: ${ticks}`);
    }
  }
});
