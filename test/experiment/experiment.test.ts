import { appendFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { readCapture } from '../../src/capture/format.ts';
import { extraCodecs } from '../../src/encoding/extra.ts';
import { isSound } from '../../src/encoding/self-check.ts';
import { type Cell, cellKey, serverFlags } from '../../src/experiment/grid/cell.ts';
import { DEFAULT_GRIDS, parseGrids, readGridFile } from '../../src/experiment/grid/grid.ts';
import { checkInServer } from '../../src/experiment/measure/check.ts';
import { LoadedServer, TestBed } from '../../src/experiment/measure/load.ts';
import { TimeLimit } from '../../src/experiment/measure/time-limit.ts';
import { paretoCharts } from '../../src/experiment/report/charts.ts';
import { checkText } from '../../src/experiment/report/recommend.ts';
import { drawChart, escapeHtml } from '../../src/experiment/report/svg.ts';
import { recommendedOptions } from '../../src/experiment/results/recommended.ts';
import { doneCells, readResults } from '../../src/experiment/results/results.ts';
import { short } from '../../src/experiment/results/text.ts';
import { runExperiment } from '../../src/experiment/run.ts';
import type { Progress } from '../../src/experiment/runner.ts';
import { makePlan } from '../../src/experiment/simulate/frame-plan.ts';
import { simulateLink } from '../../src/experiment/simulate/links.ts';
import { readSources } from '../../src/experiment/traffic/sources.ts';
import { makeWorkload } from '../../src/experiment/traffic/workload.ts';
import { connect, createServer } from '../../src/index.ts';
import { fill, tempFolder } from '../files/helper.ts';
import { CELL, collect, generated, listener, run, SETTINGS } from './helper.ts';

const OPTIONS = { maxBytes: 1 << 20, seed: 1 };

// ------------------------------------------------------------------------------------------------ sources

test('a folder is one response per file, by extension, in the same order for the same seed', async (t) => {
  const folder = tempFolder(t);
  fill(folder, { 'a.json': '{}', 'b/c.json': '[1]', 'b/d.txt': 'text', README: 'me' });
  const { workload, cut } = await readSources([folder], OPTIONS);
  t.deepEqual(workload.responses.map(({ command }) => command).sort(), ['.json', '.json', '.txt', 'README']);
  t.false(cut);
  t.is((await readSources([folder], OPTIONS)).workload.sha256, workload.sha256);
  t.not((await readSources([folder], { ...OPTIONS, seed: 2 })).workload.sha256, workload.sha256);
});

test('JSON lines are one response each, and a field may name the command', async (t) => {
  const path = join(tempFolder(t), 'lines.jsonl');
  writeFileSync(path, '{"type":"a","x":1}\n\n{"type":"b"}\n{"type":"a"}');
  const plain = await readSources([path], OPTIONS);
  t.deepEqual(
    plain.workload.responses.map(({ bytes }) => Buffer.from(bytes).toString()),
    ['{"type":"a","x":1}', '{"type":"b"}', '{"type":"a"}'],
  );
  const named = await readSources([path], { ...OPTIONS, commandField: 'type' });
  t.deepEqual(
    named.workload.responses.map(({ command }) => command),
    ['a', 'b', 'a'],
  );
  await t.throwsAsync(readSources([path], { ...OPTIONS, commandField: 'kind' }), {
    message: `source ${path}: line 1 has no text in its field 'kind'`,
  });
});

test('a line of JSON ends at its line feed, whatever separators its texts have', async (t) => {
  const path = join(tempFolder(t), 'lines.jsonl');
  const lines = ['{"a":"one\u2028two"}', '{"b":"ünï\u0085"}'];
  writeFileSync(path, `${lines[0]}\n${lines[1]}\r\n`);
  const { workload } = await readSources([path], OPTIONS);
  t.deepEqual(
    workload.responses.map(({ bytes }) => Buffer.from(bytes).toString()),
    lines,
  );
});

test('a file that is not text is no file of lines', async (t) => {
  const path = join(tempFolder(t), 'image.png');
  writeFileSync(path, Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0a, 0xff, 0x0a]));
  await t.throwsAsync(readSources([path], OPTIONS), {
    message: `source ${path}: line 1 is not text in UTF-8`,
  });
});

test('a generator makes the same traffic for the same seed and stops at the sample size', async (t) => {
  const { workload, cut } = await readSources(['generate:mixed'], OPTIONS);
  t.is((await readSources(['generate:mixed'], OPTIONS)).workload.sha256, workload.sha256);
  t.true(workload.bytes <= 1 << 20 && workload.bytes > 1_000_000);
  t.true(cut);
  t.deepEqual([...new Set(workload.responses.map(({ command }) => command))].sort(), [
    'json200',
    'json4k',
    'json900',
  ]);
});

test('sources that do not exist, are empty or have no such generator are named', async (t) => {
  const folder = tempFolder(t);
  await t.throwsAsync(readSources([join(folder, 'none')], OPTIONS), {
    message: /^source .*none: no such file$/,
  });
  await t.throwsAsync(readSources([folder], OPTIONS), { message: /no response with any bytes/ });
  await t.throwsAsync(readSources(['generate:x'], OPTIONS), {
    message: /^source generate:x: no such generator/,
  });
});

// ------------------------------------------------------------------------------------------------ the grid

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

// ------------------------------------------------------------------------------------------------ the plan

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

// ------------------------------------------------------------------------------------------------ measures

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

// ---------------------------------------------------------------------------------- journal, results, report

test('a stopped experiment goes on where it was, and a line cut off by a crash is forgotten', async (t) => {
  const read = await generated('json900', 100_000);
  const out = join(tempFolder(t), 'x');
  const cells = parseGrids([{ level: '1..4' }]);
  const controller = new AbortController();
  const stopped = run(read, { cells: cells.slice(0, 2), out });
  await stopped;
  appendFileSync(join(out, 'journal.jsonl'), '{"key":"half a li');
  await t.throwsAsync(run(read, { cells, out }), { message: /go on with --resume/ });
  const { results, seen } = await run(read, { cells, out, resume: true, signal: controller.signal });
  t.is(results.cells.length, 4);
  t.deepEqual(seen.progress[0], [2, 4]);
  t.is(readFileSync(join(out, 'journal.jsonl'), 'utf8').trim().split('\n').length, 5);
  await t.throwsAsync(run(await generated('json200', 100_000), { cells, out, resume: true }), {
    message: /another experiment: it differs in sources/,
  });
});

test('an experiment that found out nothing is not in the way of the next', async (t) => {
  const read = await generated('json900', 10_000);
  const out = join(tempFolder(t), 'x');
  const impossible = await run(read, { cells: parseGrids([{ level: 99, policy: 'single' }]), out });
  t.is(impossible.seen.failed.length, 1);
  const { results } = await run(read, { cells: parseGrids([{ level: 1, policy: 'single' }]), out });
  t.deepEqual(
    results.cells.map(({ cell }) => cell.level),
    [1],
  );
  t.is(readFileSync(join(out, 'journal.jsonl'), 'utf8').trim().split('\n').length, 2);
});

test('a stop ends after the cell in hand and leaves results', async (t) => {
  const read = await generated('json900', 100_000);
  const out = join(tempFolder(t), 'x');
  const cells = parseGrids([{ level: '1..9' }]);
  const controller = new AbortController();
  const { runExperiment } = await import('../../src/experiment/run.ts');
  const { SETTINGS } = await import('./helper.ts');
  const events = {
    onProgress: ({ done }: Progress) => done === 2 && controller.abort(new Error('stopped')),
    onFailed: () => undefined,
    onNote: () => undefined,
    onChecking: () => undefined,
  };
  await t.throwsAsync(runExperiment(read, { ...SETTINGS, cells, out, signal: controller.signal }, events), {
    message: 'stopped',
  });
  t.is(readResults(join(out, 'results.json')).cells.length, 2);
});

test('the time left counts from the first result on, not from what came before', async (t) => {
  const out = join(tempFolder(t), 'x');
  const read = await generated('json900', 10_000);
  const cells = parseGrids([{ level: '1..10', policy: 'single' }]);
  const { seen, events } = listener();
  // Contexts take their second to be measured, then a setting takes 10 ms.
  await runExperiment(read, { ...SETTINGS, cells, out }, events, () => async (cells, _known, onResult) => {
    await delay(1000);
    for (const cell of cells) {
      await delay(10);
      onResult({ key: cellKey(cell), cell, error: 'not measured', seconds: 0.01 });
    }
  });
  const lefts = seen.left.filter((left) => left !== undefined);
  t.is(lefts.length, 10);
  // Only the first: the others depend on how busy the machine is.
  t.true(lefts[0] < 0.5, `${lefts}`);
});

test('results are a checked file, a table, and a page that fetches nothing', async (t) => {
  const read = await generated('mixed', 300_000);
  const out = join(tempFolder(t), 'x');
  const cells = parseGrids([{ profile: 'identity' }, { level: [1, 9], streams: [1, 2, 4] }]);
  const { results } = await run(read, { cells, out });
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
  const { results } = await run(read, { cells, out });
  const [bytes, cpu, memory] = results.recommendations.map(({ cell }) => cell);
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
    ['identity', 'identity', 'identity'],
  );
});

test('traffic that only gets larger has a recommendation even if nothing plain was measured', async (t) => {
  const file = join(tempFolder(t), 'tiny.jsonl');
  writeFileSync(file, '{"a":1}\n');
  const read = await readSources([file], OPTIONS);
  const cells = parseGrids([{ level: [1, 3], policy: 'single' }]);
  const { results } = await run(read, { cells, out: join(file, '../..', 'out') });
  t.is(results.recommendations.length, 3);
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

test('the time left is that of all settings once, even when the time is over', async (t) => {
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
        await delay(20);
        onResult({ key: cellKey(cell), cell, error: 'not measured', seconds: 0.02 });
      }
    },
  );
  t.is(seen.left.at(-1), 0);
  for (const left of seen.left.slice(1, -1)) t.true(left! > 0, `${seen.left}`);
});

test('the check leaves the figures of its setting as all others are, and compares with its own', async (t) => {
  const read = await generated('json900', 500_000);
  const out = join(tempFolder(t), 'x');
  const cells = parseGrids([{ level: [1, 9], policy: 'single' }]);
  const { results } = await run(read, { cells, out, check: true });
  const html = readFileSync(join(out, 'report.html'), 'utf8');
  for (const { key, text, checked } of results.recommendations) {
    const { compress } = results.cells.find((each) => each.key === key)!.measures!;
    t.is(compress.rounds.length, SETTINGS.rounds);
    t.true(text.includes(`${short(compress.microsPerMB)} µs of CPU per MB`), text);
    t.true(checked!.promised.compress.rounds.length >= 2);
    t.true(html.includes(escapeHtml(checkText(checked!))), checkText(checked!));
  }
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
  const { results } = await run(read, { cells, out: join(tempFolder(t), 'x') });
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
  const { results } = await run(read, { cells, out: join(tempFolder(t), 'x') });
  const chart = paretoCharts(results, doneCells(results.cells)).find(({ title }) => /streams/.test(title))!;
  t.is(chart.series.length, 8);
  t.regex(drawChart(chart), /and 2 lines more, see the table/);
});

test('results of another version say what to do', (t) => {
  const path = join(tempFolder(t), 'results.json');
  writeFileSync(path, '{"millraceExperiment":2}');
  t.throws(() => readResults(path), { message: /results of version 2; .*--resume/ });
});

// ----------------------------------------------------------------------------------------- the real server

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
  const plan = makePlan(pieced, cell, 16);
  const bed = new TestBed({ workload: pieced, codecs: [extraCodecs], workers: 2, inFlight: 16 });
  t.teardown(() => bed.close());
  const server = await LoadedServer.start(bed, cell, { ownLanes: true });
  t.teardown(() => server.close());
  const whole = await server.round();
  t.is(whole.frames, plan.frames.length + plan.streams.length);
  t.is(whole.bytesIn, pieced.bytes);
  const part = await server.round(0.5);
  t.is(part.responses, responses.length / 2);
  t.is(part.bytesIn, part.bytes);
});

test('a load whose requests fail says so, and so does one whose clients have gone', async (t) => {
  const { workload } = await generated('json900', 50_000);
  const bed = new TestBed({ workload, codecs: [extraCodecs], workers: 1, inFlight: 4 });
  const task = { port: 1, command: 'x', inFlight: 1, connections: [[0]], profile: 'zlib', codecs: [] };
  await t.throwsAsync(bed.ask(task), { message: /nothing listens there/ });
  await bed.close();
  await t.throwsAsync(bed.ask(task), { message: 'the clients have died' });
});

test('brotli and deflate serve a client that has them, and not one that has not', async (t) => {
  for (const { profile } of extraCodecs.codecs) {
    const text = 'all work and no play makes jack a dull boy\n'.repeat(2000);
    const server = createServer({ codecs: [extraCodecs], profile, commands: { get: () => text } });
    t.teardown(() => server.close(0));
    const address = (await server.listen()) as { host: string; port: number };
    const able = await connect(address, { extraCodecs: [extraCodecs] });
    t.is(await able.call('get').text(), text);
    t.true(able.stats().streams.some((stream) => stream.profile === profile));
    t.true(able.stats().bytesRead < 5000);
    const unable = await connect(address);
    t.is(await unable.call('get').text(), text);
    t.false(unable.stats().streams.some((stream) => stream.profile === profile));
    await Promise.all([able.close(), unable.close()]);
  }
});

test('raw deflate passes the check that every codec has to', (t) => {
  t.true(isSound(extraCodecs.codecs.find(({ profile }) => profile === 'deflate')!));
});

test('a brotli window over the limit is refused', (t) => {
  const brotli = extraCodecs.codecs.find(({ profile }) => profile === 'brotli')!;
  const encoder = brotli.createEncoder!({ windowLog: 22 });
  const target = new Uint8Array(1000);
  const length = encoder.encode(new Uint8Array(100), target, 0);
  encoder.close();
  const limits = { maxDecodedSize: 1 << 20, maxDecodedRatio: 1000, maxWindowSize: 1 << 20 };
  const error = t.throws(() => brotli.createDecoder(limits).decode(target.subarray(0, length)));
  t.regex(error.message, /maxWindowSize/);
});

// ----------------------------------------------------------------------------------------------- captures

test('a recording has what was answered, and nothing that is sensitive', async (t) => {
  const path = join(tempFolder(t), 'capture');
  const server = createServer({
    record: { path },
    commands: {
      get: { handler: (request) => `answer ${request.text('n')}`.repeat(100), affinityKey: () => 'k' },
      slow: async function* () {
        yield 'one';
        await new Promise((resolve) => setTimeout(resolve, 20));
        yield 'two';
      },
      secret: { handler: () => 'hush', sensitive: true },
      fails: () => {
        throw new Error('no');
      },
    },
  });
  const address = (await server.listen()) as { host: string; port: number };
  const clients = [await connect(address), await connect(address)];
  await clients[0].call('get', { args: { n: '1', password: 'swordfish' } }).bytes();
  await clients[1].call('get', { args: { n: '2' } }).bytes();
  await clients[1].call('slow').bytes();
  await clients[0].call('secret').bytes();
  await clients[0].call('get', { args: { n: '3' }, sensitive: true }).bytes();
  await t.throwsAsync(clients[0].call('fails').bytes());
  await Promise.all(clients.map((client) => client.close()));
  await server.close();
  t.is(server.recorded?.responses, 3);
  const text = readFileSync(path, 'utf8');
  t.false(text.includes('swordfish') || text.includes(Buffer.from('hush').toString('base64')));
  t.is(statSync(path).mode & 0o777, 0o600);
  const responses = await collect(readCapture(path));
  t.deepEqual(
    responses.map(({ command, connection, key, bytes }) => [command, connection, key, bytes.length]),
    [
      ['get', 0, 'k', 800],
      ['get', 1, 'k', 800],
      ['slow', 1, undefined, 6],
    ],
  );
  t.is(responses[2].pieces.length, 2);
  t.true(responses[2].pieces[1].afterMs >= 15);
  const { workload } = await readSources([path], OPTIONS);
  t.true(workload.timed);
  t.throws(() => createServer({ record: { path } }), { code: 'EEXIST' });
});

test('a recording keeps no more than 64 MiB of responses that are not whole: others are left out', async (t) => {
  const path = join(tempFolder(t), 'capture');
  const ends = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
  const server = createServer({
    workers: 1,
    // What has been kept need not be written.
    record: { path, maxBytes: 1000 },
    commands: {
      large: async function* (request) {
        for (let i = 0; i < 15; i++) yield new Uint8Array(1 << 20);
        await ends[Number(request.text('n'))].promise;
        yield 'end';
      },
    },
  });
  t.teardown(() => server.close(0));
  const client = await connect((await server.listen()) as { port: number }, { requestWindow: 16 << 20 });
  t.teardown(() => client.destroy());
  const answers: Promise<Uint8Array>[] = [];
  for (let n = 0; n < 5; n++) {
    const response = client.call('large', { args: { n: String(n) } });
    const pieces = response[Symbol.asyncIterator]();
    // One after the other: the last one finds no room.
    for (let got = 0; got < 15 << 20; ) got += (await pieces.next()).value!.length;
    answers.push(pieces.next().then(({ value }) => value!));
  }
  ends[4].resolve();
  t.is(String(Buffer.from(await answers[4])), 'end');
  t.is(server.recorded?.leftOut, 1);
  for (const { resolve } of ends) resolve();
  for (const answer of answers) t.is(String(Buffer.from(await answer)), 'end');
  t.is(server.recorded?.leftOut, 1);
});

test('a recording has 128 MiB of decoders for uploads: connections past that are served, and not recorded', async (t) => {
  const path = join(tempFolder(t), 'capture');
  const server = createServer({ workers: 1, record: { path } });
  t.teardown(() => server.close(0));
  const address = (await server.listen()) as { port: number };
  const upload = async () => {
    const client = await connect(address, { encodeData: 'zstd-8mb' });
    t.is(await client.call('echo', { data: 'x'.repeat(1000) }).text(), 'x'.repeat(1000));
    return client;
  };
  const clients = [];
  for (let i = 0; i < 20; i++) clients.push(await upload());
  const fit = server.recorded?.responses ?? 0;
  t.true(fit >= 10 && fit < 16, `${fit} recorded`);
  for (const client of clients) await client.close();
  await (await upload()).close();
  t.is(server.recorded?.responses, fit + 1);
});

test('a recording stops at its size, and the server goes on', async (t) => {
  const path = join(tempFolder(t), 'capture');
  const server = createServer({
    record: { path, maxBytes: 5000 },
    commands: { get: () => 'x'.repeat(1000) },
  });
  const address = (await server.listen()) as { host: string; port: number };
  const client = await connect(address);
  for (let i = 0; i < 20; i++) t.is((await client.call('get').bytes()).length, 1000);
  await client.close();
  await server.close();
  t.true(server.recorded?.full);
  t.true(statSync(path).size <= 5000);
  t.is((await collect(readCapture(path))).length, server.recorded!.responses);
});

test('a capture whose last line was cut off is read up to there; another break is named', async (t) => {
  const path = join(tempFolder(t), 'capture');
  const line = JSON.stringify({
    at: 1,
    connection: 0,
    command: 'a',
    args: {},
    pieces: [[0, 2]],
    wire: 9,
    body: 'aGk=',
  });
  const header = '{"millraceCapture":1,"startedAt":"2026-01-31T12:00:00.000Z"}';
  writeFileSync(path, `${header}\n${line}\n${line.slice(0, 40)}`);
  t.is((await collect(readCapture(path))).length, 1);
  writeFileSync(path, `${header}\n${line.slice(0, 40)}\n${line}\n`);
  await t.throwsAsync(collect(readCapture(path)), { message: /line 2 is not of a capture/ });
});

test('pieces that a handler makes within coalesceMs go out as one frame', async (t) => {
  const frames = async (coalesceMs: number) => {
    const server = createServer({
      coalesceMs,
      commands: {
        drip: async function* () {
          for (let i = 0; i < 5; i++) {
            yield `piece ${i}`;
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        },
      },
    });
    t.teardown(() => server.close(0));
    const client = await connect((await server.listen()) as { host: string; port: number });
    t.is(await client.call('drip').text(), 'piece 0piece 1piece 2piece 3piece 4');
    const { streams } = await server.stats();
    await client.close();
    return streams.reduce((sum, stream) => sum + stream.frames, 0);
  };
  const prompt = await frames(0);
  t.true((await frames(200)) < prompt);
});
