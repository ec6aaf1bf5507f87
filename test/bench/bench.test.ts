/** The harness itself: what a figure rests on. No test here asserts how fast anything is. */

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { zstdCompressSync } from 'node:zlib';
import test from 'ava';
import type { Result } from '../../bench/bench.ts';
import { main } from '../../bench/command.ts';
import { figure, GOALS } from '../../bench/figures.ts';
import { asHtml } from '../../bench/html.ts';
import { Load, MOST_IN_FLIGHT } from '../../bench/load.ts';
import { describeMachine } from '../../bench/machine.ts';
import { makePayloads } from '../../bench/payloads.ts';
import { connectHttp } from '../../bench/peers/http.ts';
import type { Connection } from '../../bench/peers/peer.ts';
import { asJson, asText, failedRun, makeReport } from '../../bench/report.ts';
import { Latency, pairedRatio, spread } from '../../bench/stats.ts';
import { reasonIn } from '../../src/experiment/process/run.ts';
import { median } from '../../src/experiment/results/statistics.ts';
import { isOneLine, run } from '../cli/helper.ts';
import { isCounted } from './helper.ts';

test('the seed decides the bytes of payloads', (t) => {
  const [one, other] = [7, 8].map((seed) => makePayloads({ name: 'random900', seed }));
  t.not(one.sha256, other.sha256);
});

test('a corpus that is smaller than the window is refused, with the reason', (t) => {
  const name = `corpus:${join(import.meta.dirname, '../..', 'package.json')}`;
  t.throws(() => makePayloads({ name, seed: 1 }), { message: /none repeats inside the window/ });
});

test('900-byte records compress as the ones that the design was measured with', async (t) => {
  const { nativeCodecs } = await import('../../src/encoding/native.ts');
  const payloads = makePayloads({ name: 'json900', seed: 1 });
  const encoder = nativeCodecs()[0]!.createEncoder!({ level: 3 });
  const target = new Uint8Array(1 << 16);
  let bytes = 0;
  for (let i = 0; i < payloads.count; i++) bytes += encoder.encode(payloads.get(i), target, 0);
  encoder.close();
  const ratio = payloads.bytes / bytes;
  t.true(ratio > 3.5 && ratio < 3.8, `ratio ${ratio}`);
});

test('medians, spreads and paired ratios', (t) => {
  t.is(median([3, 1, 2]), 2);
  t.is(median([4, 1, 2, 3]), 2.5);
  t.throws(() => median([]), { instanceOf: RangeError });
  t.deepEqual(spread([1, 2, 9]), { median: 2, min: 1, max: 9, mad: 1, n: 3 });
  // One slow round on both sides leaves the ratio as it is.
  t.is(pairedRatio([1, 10, 1], [2, 20, 2]).max, 0.5);
  t.throws(() => pairedRatio([1], [1, 2]), { instanceOf: RangeError });
});

test('a latency histogram keeps three digits', (t) => {
  const latency = new Latency();
  for (let i = 1; i <= 1000; i++) latency.record(i);
  const { p50, p99, max, count } = latency.summary();
  t.is(count, 1000);
  t.true(Math.abs(p50 - 500) < 2 && Math.abs(p99 - 990) < 2 && Math.abs(max - 1000) < 2);
});

const payloads = makePayloads({ name: 'random900', seed: 1 });

test('load stops at a response that is not the payload', async (t) => {
  const wrong: Connection = { fetch: async (i) => payloads.get(i + 1), close: () => {} };
  const load = new Load([wrong], payloads);
  load.start({ kind: 'closed', inFlight: 2 });
  await t.throwsAsync(load.stop(), { message: /is not payload/ });
});

test('an open loop charges a stall to every request that it held up', async (t) => {
  // Answers at once, but for half a second in which it answers nothing.
  const stall = delay(500);
  const stalling: Connection = { fetch: (i) => stall.then(() => payloads.get(i)), close: () => {} };
  const load = new Load([stalling], payloads);
  load.start({ kind: 'open', rate: 1000, seed: 1 });
  await delay(600);
  const { latency, requests } = load.mark();
  await load.stop();
  // A closed loop would have seen one slow request; here about 500 of 600 waited.
  t.true(requests > 300);
  t.true(latency.p50 > 100, `p50 ${latency.p50}`);
});

test('an open loop far behind its schedule has a bounded number of requests unanswered, and goes on', async (t) => {
  const gate = Promise.withResolvers<void>();
  let asked = 0;
  const stalling: Connection = {
    fetch: (i) => {
      asked++;
      return gate.promise.then(() => payloads.get(i));
    },
    close: () => {},
  };
  const load = new Load([stalling], payloads);
  load.start({ kind: 'open', rate: 1e8, seed: 1 });
  while (asked < MOST_IN_FLIGHT) await delay(1);
  for (let i = 0; i < 5; i++) await delay(1);
  t.is(asked, MOST_IN_FLIGHT);
  const stopped = load.stop();
  gate.resolve();
  await stopped;
  t.is(load.mark().requests, MOST_IN_FLIGHT);
});

test.serial('a peer answers with the payloads, and its bytes and CPU are counted', (t) =>
  isCounted(t, 'millrace', 'random900'),
);

test('figures say whether the goal is met, and null when there is no value', (t) => {
  t.like(figure('small.cpu_vs_h2', 0.12), { ok: true, goal: '≤ 1/8', unit: '×' });
  t.like(figure('small.rps_vs_ws', 24), { ok: false, goal: '≥ 32' });
  t.like(figure('latency.p99_half_load', null), { ok: null, value: null });
  t.throws(() => figure('no.such', 1), { instanceOf: RangeError });
});

const result: Result = {
  bench: 'sample',
  summary: 'A <sample> & more.',
  payloads: [],
  tables: [
    {
      title: 'T',
      columns: ['name', 'n'],
      rows: [
        ['a<b', 1234567],
        ['c', null],
      ],
    },
  ],
  charts: [
    { title: 'Bars', kind: 'bar', x: 'peer', y: 'µs', points: [{ peer: 'a', µs: 1 }] },
    {
      title: 'Lines',
      kind: 'line',
      x: 'n',
      y: 'v',
      series: 's',
      points: [
        { n: 1, v: 2, s: 'k' },
        { n: 2, v: 3, s: 'k' },
      ],
    },
  ],
  figures: [figure('cache.cpu_vs_encode', 0.05)],
  skipped: ['x: not installed'],
  raw: null,
};

test('a report carries every figure of the issue, measured or not', (t) => {
  const report = makeReport(describeMachine('npm run bench -- all'), [result], {
    quick: true,
    seed: 1,
    everything: true,
  });
  const { figures } = JSON.parse(asJson(report)) as { figures: { id: string }[] };
  t.deepEqual(new Set(figures.map(({ id }) => id)), new Set(GOALS.keys()));
  t.regex(asText(report), /cache\.cpu_vs_encode.*0\.05 ×.*met/);
});

test('a bench that failed is in every form of the report, with the reason', async (t) => {
  const report = makeReport(describeMachine('x'), [failedRun('limit', 'no <compiler>')], {
    quick: true,
    seed: 1,
    everything: true,
  });
  t.regex(asText(report), /# limit\nFailed: no <compiler>/);
  t.regex(asJson(report), /Failed: no <compiler>/);
  t.regex(asHtml(report), /Failed: no &#60;compiler&#62;/);
});

test('the HTML report stands alone: SVG inside, no script, nothing fetched, text escaped', async (t) => {
  const report = makeReport(describeMachine('x'), [result], { quick: false, seed: 1, everything: false });
  const html = asHtml(report);
  t.is(html.match(/<svg /g)?.length, 2);
  t.notRegex(html, /<script|<link|\bsrc=|url\(/);
  t.notRegex(html, /https?:/);
  t.regex(html, /A &#60;sample&#62; &#38; more/);
  t.regex(html, /prefers-color-scheme: dark/);
});

const bench = (...args: string[]) => run(args, '', main).ended;

for (const args of [
  ['nonsense'],
  [],
  ['limit', '--seed', 'x'],
  ['limit', '--corpus', '/no/such'],
  ['all', '--corpus', join(import.meta.dirname, '../../package.json')],
  ['limit', '--nonsense'],
]) {
  test(`wrong arguments, ${JSON.stringify(args)}: one line, exit code 2`, async (t) => {
    isOneLine(t, await bench(...args), 2, /./);
  });
}

test('a child that failed is quoted by its message, not its stack', (t) => {
  t.is(reasonIn('/x.ts:5\n  throw\n\nRangeError: too small\n    at f (x.ts:5:1)\n'), 'too small');
  t.is(reasonIn('no such option\n'), 'no such option');
});

test('its help names the command as it is called', async (t) => {
  const { out } = await bench('--help');
  t.regex(out, /^Usage: millrace bench \[options\] <name>\n/);
});

test('a request by HTTP that meets the end of its idle connection is asked again on a new one', async (t) => {
  const body = Buffer.from('payload');
  const asked = new Map<unknown, number>();
  const server = createServer((req, res) => {
    const before = asked.get(req.socket) ?? 0;
    asked.set(req.socket, before + 1);
    if (before === 0) res.writeHead(200, { 'content-encoding': 'zstd' }).end(zstdCompressSync(body));
    else req.socket.destroy();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const connection = connectHttp((server.address() as AddressInfo).port, '/get?i=');
  for (let i = 0; i < 3; i++) t.deepEqual(await connection.fetch(i), body);
  t.is(asked.size, 3);
  connection.close();
  server.close();
  await t.throwsAsync(connection.fetch(3), { code: 'ECONNREFUSED' });
});
