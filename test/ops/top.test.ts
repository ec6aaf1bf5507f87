/** `millrace top`: figures of two pages of metrics, their lines at any width, and the command on a terminal and off it. */

import { EventEmitter } from 'node:events';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { Io } from '../../src/cli/io.ts';
import { main } from '../../src/cli/main.ts';
import { topLines } from '../../src/cli/top-view.ts';
import { Watch } from '../../src/cli/top-watch.ts';
import { MetricPage } from '../../src/ops/metric-page.ts';
import { topFigures } from '../../src/ops/top-figures.ts';
import { visible } from '../../src/wire/visible.ts';
import { isOneLine, millrace, serve, TREE } from '../cli/helper.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { dial, impostor, listening } from '../helpers/serving.ts';

/** A server of two processes after `seconds`: 100 calls of one command a second, 1 in 10 fails, half of them take over 5 ms. */
function pageAfter(seconds: number, more = ''): MetricPage {
  const count = 100 * seconds;
  const bucket = (le: string, share: number) =>
    `millrace_request_seconds_bucket{le="${le}",command="a\\"b"} ${share * count}`;
  return new MetricPage(`# HELP millrace_connections Open connections
# TYPE millrace_connections gauge
millrace_connections 300
millrace_processes 2
millrace_requests_total{command="a\\"b",code="ok"} ${count * 0.9}
millrace_requests_total{command="a\\"b",code="no-water"} ${count * 0.1}
millrace_requests_running{command="a\\"b"} 7
millrace_response_bytes_total{command="a\\"b"} ${count * 4000}
millrace_response_wire_bytes_total{command="a\\"b"} ${count * 1000}
${bucket('0.005', 0.5)}
${bucket('0.01', 1)}
${bucket('+Inf', 1)}
millrace_request_seconds_sum{command="a\\"b"} ${count * 0.004}
millrace_request_seconds_count{command="a\\"b"} ${count}
millrace_lane_streams{process="2",lane="0"} 12
millrace_lane_cpu_seconds_total{process="1",lane="0"} ${seconds}
millrace_lane_cpu_seconds_total{process="2",lane="0"} ${seconds / 2}
millrace_lane_queued_bytes{process="2",lane="0"} 5000
${more}`);
}

test('what is shown is the change between two pages, per second', (t) => {
  const figures = topFigures({ page: pageAfter(10), atMs: 0 }, { page: pageAfter(12), atMs: 2000 });
  t.like(figures, {
    state: 'serving',
    processes: 2,
    connections: 300,
    requestsPerSecond: 100,
    running: 7,
    ratio: 4,
  });
  t.like(figures.lanes[0], { process: '2', lane: '0', cpu: 0.5, queuedBytes: 5000, streams: 12 });
  const [command] = figures.commands;
  t.like(command, { command: 'a"b', perSecond: 100, running: 7, bytesPerSecond: 400_000, ratio: 4 });
  t.is(Math.round(command.meanMs ?? 0), 4);
  t.is(command.p99Ms?.toFixed(2), '9.90');
  t.deepEqual(figures.errors, [{ command: 'a"b', code: 'no-water', perSecond: 10, total: 120 }]);
  const afresh = topFigures({ page: pageAfter(12), atMs: 0 }, { page: pageAfter(1), atMs: 1000 });
  t.is(afresh.requestsPerSecond, 100, 'counters that began at 0 again');
});

test('lines fit the terminal, whatever the names, and tables share the room', (t) => {
  const many = Array.from(
    { length: 40 },
    (_, i) =>
      `millrace_lane_streams{process="1",lane="${i}"} 1\nmillrace_requests_total{command="x\u202e${'y'.repeat(90)}${i}",code="c"} 1`,
  );
  const page = pageAfter(2, many.join('\n'));
  const figures = topFigures({ page: pageAfter(1), atMs: 0 }, { page, atMs: 1000 });
  for (const [columns, rows] of [
    [80, 23],
    [40, 10],
    [200, 60],
    [10, 3],
  ]) {
    const lines = topLines(figures, 'host:1', { columns, rows, isColored: false });
    t.true(lines.length <= rows);
    for (const line of lines) t.true(line.length <= columns && visible(line) === line, line);
  }
  const lines = topLines(figures, 'host:1', { columns: 80, rows: 23, isColored: false });
  t.true(lines.some((line) => line.startsWith('a"b ')) && lines.some((line) => line.startsWith('no-water ')));
  t.is(lines.filter((line) => line.startsWith('… and ')).length, 2, 'workers and errors are too many');
  const [first] = topLines(figures, 'host:1', { columns: 80, rows: 23, isColored: true }, 'it is gone');
  t.true(first.startsWith('\u001b[') && first.includes('it is gone'));
});

/** Pages of a stranger's, which a server of ours has none like. */
const STRANGE: Record<string, string> = {
  'one letter, and no label': `x{${'a'.repeat(2_000_000)}} 1`,
  'labels that do not end': `x{${'a="'.repeat(500_000)}} 1`,
  'one command a thousand times': lines(
    7000,
    (i) =>
      `millrace_requests_running{command="x",i="${i}"} 1\nmillrace_request_seconds_bucket{command="x",le="${i}"} ${i}`,
  ),
  'one code after the other': lines(14_000, (i) => `millrace_requests_total{command="x",code="${i}"} 1`),
  'a crowd of workers': lines(
    7000,
    (i) =>
      `millrace_lane_streams{process="1",lane="${i}"} 1\nmillrace_lane_queued_bytes{process="1",lane="${i}"} 1`,
  ),
  'no labels at all': 'millrace_requests_running 1\nmillrace_lane_streams 1\nmillrace_requests_total 1',
  'labels that steer a terminal': ['lane_streams', 'requests_running', 'requests_total']
    .map((name) => `millrace_${name}{process="\u001b[2J",lane="\u202e\\n",command="\u0007",code="\u001b"} 1`)
    .join('\n'),
};

function lines(count: number, make: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => make(i)).join('\n');
}

for (const [what, text] of Object.entries(STRANGE))
  test(`a page of a stranger's is read at once, or refused: ${what}`, (t) => {
    const look = { columns: 80, rows: Number.POSITIVE_INFINITY, isColored: false };
    let shown: string[] = [];
    try {
      const reading = { page: new MetricPage(text), atMs: 0 };
      shown = topLines(topFigures(reading, reading), 'host:1', look);
    } catch (error) {
      t.is((error as Error).message, 'it is no page of metrics');
    }
    t.true(shown.every((line) => visible(line) === line));
  });

/** What a server begins an answer with, and what it goes on with for ever. */
const ENDLESS: Record<string, readonly [string, string]> = {
  'its head': ['HTTP/1.1 200 OK\r\n', 'x: y\r\n'],
  'its page': ['HTTP/1.1 200 OK\r\n\r\nmillrace_connections 1\n', '#\n'],
  'promises of an answer': ['', 'HTTP/1.1 100 Continue\r\n\r\n'],
};

for (const [what, [first, next]] of Object.entries(ENDLESS))
  test.serial(`a server that never ends ${what} is given up`, async (t) => {
    const clock = stoppedClock(t);
    let asked: Socket | undefined;
    const where = await impostor(t, (socket) => {
      asked = socket;
      socket.write(first);
    });
    const watch = new Watch(where, {}, 1000, new AbortController().signal);
    const drip = async () => {
      asked?.write(next);
      await turn();
    };
    await t.throwsAsync(clock.advanceWhile(watch.begin(), 100, drip), {
      message: /^cannot read the metrics of 127\.0\.0\.1:\d+: no whole page after 10000 ms$/,
    });
  });

test.serial(
  'once, as text and as JSON; on a terminal until q, and the terminal is left as it was',
  async (t) => {
    const { address } = await serve(t, TREE, '--metrics', '--workers', '2');
    const [host, port] = address.split(':');
    const client = await dial(t, { host, port: Number(port) });
    const json = millrace('top', address, '--interval', '100', '--once', '--json');
    await client.call('ping').text();
    const { out, code, err } = await json;
    t.like({ code, err }, { code: 0, err: '' });
    t.like(JSON.parse(out), { state: 'serving', connections: 1, processes: 1 });
    t.is(JSON.parse(out).lanes.length, 2);
    t.regex((await millrace('top', address, '--interval', '100')).out, /^millrace [\d.:]+: serving\n/);

    const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
    const raw: boolean[] = [];
    const setRawMode = (isRaw: boolean) => {
      raw.push(isRaw);
      return stdin;
    };
    Object.assign(stdin, { isTTY: true, setRawMode });
    Object.assign(stdout, { isTTY: true, columns: 80, rows: 24 });
    let seen = '';
    const shown = new Promise<void>((resolve) => {
      stdout.on('data', (text) => {
        seen += text;
        if (seen.includes('WORKER')) resolve();
      });
    });
    const io = new Io({ stdin, stdout, stderr }, new EventEmitter(), { NO_COLOR: '1' });
    const ended = main(['node', 'millrace', 'top', address, '--interval', '100'], io);
    await shown;
    stdin.write('q');
    t.is(await ended, 0);
    t.deepEqual(raw, [true, false]);
    t.true(seen.startsWith('\u001b[?1049h') && seen.endsWith('\u001b[?1049l'));
    t.false(seen.includes('\u001b[1m'), 'without colours');
    t.true(seen.includes('q quits'));
  },
);

test.serial('what has no metrics of ours is one line', async (t) => {
  const pages = new Map([
    ['nothing', [404, 'nothing']],
    ['wants a token', [401, '']],
    ['no metrics of millrace', [200, 'up 1\n']],
    ['with no metrics', [200, '<html>']],
  ] as const);
  const server = createServer((_, response) => {
    const [status, text] = next;
    response.writeHead(status).end(text);
  });
  t.teardown(() => server.close());
  const port = await listening(server);
  let next: readonly [number, string] = [500, ''];
  for (const [said, page] of pages) {
    next = page;
    const message = said === 'nothing' ? /has no metrics \(status 404\): .*--admin/ : new RegExp(said);
    isOneLine(t, await millrace('top', `127.0.0.1:${port}`), 1, message);
  }
  isOneLine(
    t,
    await millrace('top', '127.0.0.1:1'),
    1,
    /cannot read the metrics of 127\.0\.0\.1:1: nothing listens there/,
  );
  isOneLine(t, await millrace('top', 'nowhere'), 2, /HOST:PORT/);
});
