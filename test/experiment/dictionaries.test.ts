/** Settings with dictionaries and without contexts: what they are tried on, what is said of them, and which are recommended. */

import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { prepare } from '../../src/experiment/dictionaries.ts';
import { type Cell, cellKey } from '../../src/experiment/grid/cell.ts';
import { parseGrids } from '../../src/experiment/grid/grid.ts';
import { paretoCharts } from '../../src/experiment/report/charts.ts';
import { dictionarySection } from '../../src/experiment/report/dictionaries.ts';
import { chooseCells, describeChoice } from '../../src/experiment/report/recommend.ts';
import type { Benefit, Cost, TrainedDictionary } from '../../src/experiment/results/dictionaries.ts';
import { recommendedOptions } from '../../src/experiment/results/recommended.ts';
import {
  type DoneCell,
  doneCells,
  type Measures,
  type Results,
  readResults,
} from '../../src/experiment/results/results.ts';
import { splitWorkload } from '../../src/experiment/traffic/split.ts';
import { makeWorkload, type Workload } from '../../src/experiment/traffic/workload.ts';
import { tempFolder } from '../files/helper.ts';
import { fakeMeasures } from './fake.ts';
import { generated, run } from './helper.ts';

const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');
const quiet = { onNote: () => undefined };

/** Settings with made-up figures. */
function imagined(
  cells: readonly Cell[],
  workload: Workload,
  change: (cell: Cell) => Partial<Measures> = () => ({}),
) {
  return cells.map((cell): DoneCell => {
    const measures = { ...fakeMeasures(cell, { workload, links: [], rounds: 1 }), ...change(cell) };
    return { key: cellKey(cell), cell, measures, seconds: 1 };
  });
}

function trained(size: number, paidAfter: Benefit['paidAfter']): TrainedDictionary {
  const cost = (bytes: number): Cost => ({ bytes, ratio: 900 / bytes, micros: 5 });
  const without = { none: cost(549), cold: cost(390), kept: cost(231) };
  const known = { none: cost(236), cold: cost(234), kept: cost(222) };
  return { size, bytes: size, id: 'ab'.repeat(16), benefit: { without, with: known, paidAfter } };
}

test('what settings are tried on was not trained on, and what is the same is in the same part', async (t) => {
  const { workload } = await generated('json200', 40_000);
  // Each of them comes up again at the end.
  const twice = makeWorkload(['x'], [...workload.responses, ...workload.responses]);
  for (const seed of [1, 2, 3]) {
    const { training, heldOut } = splitWorkload(twice, seed, 0.5);
    const seen = new Set(training.map(({ bytes }) => textOf(bytes)));
    t.false(heldOut.responses.some(({ bytes }) => seen.has(textOf(bytes))));
    t.is(training.length + heldOut.responses.length, twice.responses.length);
    t.true(Math.abs(training.length / twice.responses.length - 0.5) < 0.15, `${training.length}`);
  }
});

test('a grid without dictionaries has all of the traffic, and so has one for which none can be trained', async (t) => {
  const { workload } = await generated('json900', 4000);
  const cells = parseGrids([{ dictionaries: ['none', '4K', '16K'], contexts: ['kept', 'none'] }]);
  const plain = cells.filter(({ dictionary }) => dictionary === undefined);
  t.deepEqual(await prepare(workload, { cells: plain, seed: 1 }, quiet), {
    workload,
    cells: plain,
    dictionaries: [],
  });
  // One response: nothing to train on and to try.
  const one = makeWorkload(['x'], workload.responses.slice(0, 1));
  const { untrained, ...left } = await prepare(one, { cells, seed: 1 }, quiet);
  t.deepEqual(left, { workload: one, cells: plain, dictionaries: [] });
  t.regex(untrained!, /^Settings with these dictionaries were left out: of 4K, 16K: x: too few different/);
  const alone = cells.filter(({ dictionary }) => dictionary !== undefined);
  await t.throwsAsync(prepare(one, { cells: alone, seed: 1 }, quiet), { message: untrained });
});

test('where connections are many no contexts are kept, and a dictionary is recommended once it has paid for itself', async (t) => {
  const { workload } = await generated('json900', 1_000_000);
  const cells = parseGrids([
    { profile: 'identity' },
    { policy: 'single', contexts: ['kept', 'none'], dictionaries: ['none', '16K'] },
  ]);
  const { bytes, responses } = workload;
  const asked = { budget: { connections: 1000, memoryBytes: 8 << 20 } };
  const chosen = (dictionaryBytes: number) => {
    const done = imagined(cells, workload, ({ dictionary }) => (dictionary ? { dictionaryBytes } : {}));
    const choice = chooseCells(done, { bytes, responses: responses.length }, asked);
    const dictionaries = [trained(16_384, { none: 53 })];
    const fileOf = () => 'out/16K.dict';
    const all = describeChoice(choice, done, dictionaries, fileOf);
    return new Map(all.map((each) => [each.aim, each]));
  };
  const cheap = chosen(16_384);
  t.like(cheap.get('bytes')!.cell, { contexts: undefined, dictionary: 16_384 });
  t.like(cheap.get('memory')!.cell, { contexts: 'none', dictionary: 16_384 });
  const { cell, flags, text } = cheap.get('connections')!;
  t.like(cell, { contexts: 'none', dictionary: 16_384 });
  t.is(flags, '--profile zstd-8mb --dictionary out/16K.dict --contexts none --policy single');
  t.is(text, 'Each connection is sent its dictionary once, 16 KiB, which it has saved after 53 responses.');
  t.regex(cheap.get('bytes')!.text, /16 KiB, which these responses have not paid for\.$/);
  // Dictionaries are tried at one level.
  const [fast] = imagined(parseGrids([{ level: 1, dictionaries: '16K', contexts: 'none' }]), workload);
  const [said] = describeChoice({ cpu: fast!.key }, [fast!], [trained(16_384, { none: 53 })]);
  t.regex(said!.text, /after 53 responses at level 3\.$/);
  // A thousand connections of which each is sent it for few responses.
  const dear = chosen(16_384_000);
  t.like(dear.get('bytes')!.cell, { contexts: undefined, dictionary: undefined });
  // By the made-up ratios, 3.25 and 3.466384.
  const times = (16_384_000 / (bytes / 3.25 - bytes / 3.466_384)).toFixed(0);
  t.is(
    dear.get('bytes')!.text,
    `On connections ${times} times as long, or longer, zstd-8mb, dictionary 16K, single takes fewer, at last by 6.2 %.`,
  );
  t.is(cheap.get('bytes')!.text.includes('On connections'), false);
});

test('encoders of the lanes count towards a budget of memory, once for all connections', async (t) => {
  const { workload } = await generated('json900', 100_000);
  const cells = parseGrids([{ profile: 'identity' }, { policy: 'single', contexts: 'none' }]);
  const done = imagined(cells, workload);
  const { laneBytes } = done[1]!.measures;
  const setup = { bytes: workload.bytes, responses: workload.responses.length };
  const within = (memoryBytes: number) =>
    chooseCells(done, setup, { budget: { connections: 1e6, memoryBytes } })?.connections;
  t.is(within(laneBytes!), done[1]!.key);
  t.is(within(laneBytes! - 1), done[0]!.key);
});

test('the report says what dictionaries cost to send and when they have paid, and draws them', async (t) => {
  const { workload } = await generated('json900', 100_000);
  const cells = parseGrids([
    { policy: 'single', contexts: ['kept', 'none'], dictionaries: ['none', '4K', '16K'] },
  ]);
  const results = {
    cells: imagined(cells, workload),
    dictionaries: [trained(4096, { none: 14, kept: 131 }), trained(16_384, { none: 53 })],
    setup: { responses: 4600, training: { responses: 4500, bytes: 4 << 20 } },
    recommendations: [],
  } as unknown as Results;
  const html = dictionarySection(results);
  const rows = [...html.matchAll(/<tr>(.*?)<\/tr>/g)].map(([, row]) =>
    row!
      .replace(/<[^>]+>/g, '|')
      .split(/\|+/)
      .slice(1, -1),
  );
  t.deepEqual(rows.slice(1), [
    ['none', '–', '549', '–', '390', '231', '–'],
    ['4K', '4\u202f096', '236', '14 responses', '234', '222', '131 responses'],
    ['16K', '16\u202f384', '236', '53 responses', '234', '222', 'not within 4\u202f600'],
  ]);
  t.regex(html, /4K\.dict, 16K\.dict/);
  t.is(dictionarySection({ ...results, dictionaries: undefined }), '');
  const charts = paretoCharts(results, doneCells(results.cells));
  const { series, x } = charts.find(({ title }) => title === 'Ratio against the dictionary')!;
  t.deepEqual(series.map(({ name }) => name).sort(), ['zstd-8mb, no contexts, single', 'zstd-8mb, single']);
  for (const { points } of series)
    t.deepEqual(
      points.map((point) => x.format(point.x)),
      ['none', '4 KiB', '16 KiB'],
    );
  const memory = charts.find(({ title }) => /memory/.test(title))!;
  t.true(memory.series.some(({ name, guide }) => guide && name === 'no contexts, at best'));
});

/** One small experiment as it is run; more in dictionaries.slow.ts. */
test('an experiment trains, measures, and leaves the dictionary beside its results to serve from', async (t) => {
  const read = await generated('json900', 100_000);
  const out = join(tempFolder(t), 'x');
  const cells = parseGrids([{ policy: 'single', contexts: 'none', dictionaries: ['none', '4K'] }]);
  const { results, seen } = await run(read, { cells, out });
  t.deepEqual(seen.failed, []);
  const { setup, dictionaries } = results;
  t.is(setup.responses + setup.training!.responses, read.workload.responses.length);
  const [plain, known] = results.cells.map(({ measures }) => measures!);
  t.true(known!.wireBytes < 0.7 * plain!.wireBytes, `${known!.wireBytes} of ${plain!.wireBytes}`);
  t.deepEqual([known!.contexts, known!.connectionBytes], [0, 0]);
  t.is(known!.laneBytes, 2 * known!.contextBytes);
  t.is(known!.dictionaryBytes, dictionaries![0]!.bytes);
  t.is(known!.http!.ratio, plain!.http!.ratio);
  const file = join(out, '4K.dict');
  t.is(readFileSync(file).length, dictionaries![0]!.bytes);
  t.is(statSync(file).mode & 0o777, 0o600, 'pieces of the traffic are in it');
  t.deepEqual(readResults(join(out, 'results.json')), JSON.parse(JSON.stringify(results)));
  const { flags, cell } = results.recommendations.find(({ aim }) => aim === 'bytes')!;
  t.is(cell.dictionary, 4096);
  t.true(flags.includes(`--dictionary ${file} --contexts none`), flags);
  const options = recommendedOptions(join(out, 'results.json'), 'bytes');
  t.deepEqual(options.dictionaries, [{ bytes: readFileSync(file) }]);
  t.is(options.contexts, 'none');
  writeFileSync(file, 'another');
  t.throws(() => recommendedOptions(join(out, 'results.json'), 'bytes'), {
    message: /4K\.dict is not the dictionary that/,
  });
  t.true(existsSync(join(out, 'report.html')));
});
