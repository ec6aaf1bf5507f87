/**
 * `npm run soak -- --minutes N [--seed N] [--budget MiB] [--pace SHARE] [--kills SECONDS]`: honest clients, clients
 * that come and go, hostile peers and, every 20 s or as often as `--kills` says (0: never), a dying worker, all at once
 * on one server; with `--pace 0.3` server and clients together take 30 % of one core, in bursts. Ends with an error
 * unless every byte was right, the server's memory stayed flat, and nothing is left of those who have gone.
 */

import { connect as connectSocket, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Client, type ConnectOptions, connect } from '../../src/index.ts';
import { pattern } from '../fixtures/pattern.ts';
import { Random } from '../fuzz/random.ts';
import { countFrames } from '../fuzz/targets.ts';
import { clientFrames, toBytes } from '../fuzz/traffic.ts';
import { Pace } from './pace.ts';
import { cpuSeconds, mebibytes, type ServerFigures, ServerProcess } from './process.ts';

const text = { type: 'string' } as const;
const { values } = parseArgs({
  options: { minutes: text, seed: text, budget: text, pace: text, kills: text },
});
const minutes = Number(values.minutes ?? 5);
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 32));
const budget = Number(values.budget ?? 256);
const pace = new Pace(Number(values.pace ?? Number.POSITIVE_INFINITY));
/** Milliseconds from one kill of a worker to the next. */
const killEvery = 1000 * Number(values.kills ?? 20);
/** Growth of the median RSS from the second quarter to the last one that still counts as flat. */
const FLAT_BYTES = 48 << 20;
const FLAT_SHARE = 0.1;

const figures = {
  responses: 0,
  bytes: 0,
  errors: 0,
  corrupt: 0,
  visitors: 0,
  hostile: 0,
  hostileFrames: 0,
  kills: 0,
};
const unexplained = new Map<string, number>();
const server = await ServerProcess.start(budget);
const { port } = server;
const end = performance.now() + minutes * 60_000;
const isOver = () => performance.now() >= end;
console.log(`soak of ${minutes} minutes, seed ${seed}, ${budget} MiB for contexts`);

/** One request whose answer is known; errors have to have a reason. */
async function ask(client: Client, random: Random): Promise<void> {
  const size = random.once(6) ? random.below(400_000) : random.below(4000);
  const number = random.below(30);
  const bytes = pattern(number, size);
  const options = random.once(20) ? { deadlineMs: random.below(20) } : {};
  const response = random.once(5)
    ? client.call('echo', { data: bytes, ...options })
    : client.call(random.pick(['fill', 'here']), {
        args: { seed: String(number), size: String(size) },
        ...options,
      });
  if (random.once(20)) setTimeout(() => response.cancel(), random.below(10));
  try {
    const got = await response.bytes();
    if (Buffer.compare(got, bytes) === 0) figures.responses++;
    else figures.corrupt++;
    figures.bytes += got.length;
  } catch (error) {
    figures.errors++;
    if (!/worker|cancelled|deadline|visitor/.test(String(error))) count(unexplained, String(error));
  }
}

function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}

const KINDS: ConnectOptions[] = [
  {},
  { profiles: ['zlib'], encodeData: 'zlib' },
  { profiles: [] },
  { encodeData: 'zstd-8mb', requestWindow: 20_000, connectionWindow: 60_000 },
];

/** A client that stays, with some requests in flight all the time; one that loses its connection has failed. */
async function resident(i: number): Promise<void> {
  while (!isOver()) {
    const client = await connect({ port }, KINDS[i % KINDS.length]);
    let isLost = false;
    client.closed.then(() => {
      isLost = true;
    });
    const loop = async (k: number) => {
      const random = new Random(seed + 1000 * i + k);
      for (; !isOver() && !isLost; await pace.turn()) await ask(client, random);
    };
    await Promise.all(Array.from({ length: 6 }, (_, k) => loop(k)));
    await client.close();
  }
}

/** Clients that come, ask a little, and go, sometimes in the middle. */
async function visitors(i: number): Promise<void> {
  const random = new Random(seed + 77 * i);
  for (; !isOver(); await pace.turn()) {
    const client = await connect({ port }, random.pick(KINDS));
    const asking = Array.from({ length: random.below(6) }, () => ask(client, random));
    if (random.once(3)) client.destroy(new Error('the visitor has gone'));
    await Promise.all(asking);
    await client.close();
    figures.visitors++;
  }
}

/** Peers that send what is nearly right, floods, or nothing to the end; some never read. */
async function hostile(i: number): Promise<void> {
  const random = new Random(seed + 7919 * i);
  for (; !isOver(); await pace.turn()) {
    const socket = await open();
    const reads = !random.once(3);
    if (reads) socket.resume();
    for (let left = random.below(4); left >= 0; left--) {
      const bytes = toBytes(random, clientFrames(random));
      figures.hostileFrames += countFrames(bytes);
      socket.write(bytes);
    }
    if (random.once(2)) socket.end();
    await Promise.race([new Promise((resolve) => socket.once('close', resolve)), delay(random.below(200))]);
    socket.resetAndDestroy();
    figures.hostile++;
  }
}

async function open(): Promise<Socket> {
  const socket = connectSocket({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => undefined).on('end', () => socket.end());
  await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
  return socket;
}

async function killer(): Promise<void> {
  for (let i = 0; killEvery > 0 && !isOver(); i++) {
    await delay(Math.min(killEvery, Math.max(0, end - performance.now())));
    if (isOver()) return;
    const client = await connect({ port });
    const said = await client
      .call('die', { args: { how: i % 2 === 0 ? 'exit' : 'throw' } })
      .text()
      .catch(String);
    if (/died/.test(said)) figures.kills++;
    else count(unexplained, `a killing call answered: ${said}`);
    await client.close();
  }
}

const samples: ServerFigures[] = [];
async function sampler(): Promise<void> {
  let said = performance.now();
  while (!isOver()) {
    await delay(500);
    const sample = await server.figures();
    samples.push(sample);
    pace.used(sample.cpuSeconds + cpuSeconds());
    if (performance.now() - said < 30_000) continue;
    said = performance.now();
    const { rss, heaps, connections, streams } = sample;
    console.log(
      `RSS ${mebibytes(rss)} MiB, heaps ${mebibytes(heaps)} MiB, ${connections} connections, ${streams} contexts,`,
      JSON.stringify(figures),
    );
  }
  pace.release();
}

/** The median of each quarter of the time, in bytes. */
function quarters(of: 'rss' | 'heaps'): number[] {
  return [0, 1, 2, 3].map((quarter) => {
    const [from, to] = [quarter, quarter + 1].map((n) => Math.floor((samples.length * n) / 4));
    const sorted = samples.slice(from, to).map((sample) => sample[of]);
    sorted.sort((a, b) => a - b);
    return sorted[sorted.length >> 1];
  });
}

await Promise.all([
  ...[0, 1, 2, 3].map(resident),
  ...[0, 1].map(visitors),
  ...[0, 1, 2].map(hostile),
  killer(),
  sampler(),
]);
let last = await server.figures();
for (let tries = 0; last.connections > 0 && tries < 100; tries++) {
  await delay(100);
  last = await server.figures();
}
const code = await server.stop();
const medians = quarters('rss');
const [, early, , late] = medians;
const peak = Math.max(...samples.map(({ rss }) => rss));
console.table(figures);
console.log(
  `RSS: medians of the quarters ${medians.map(mebibytes).join(', ')} MiB, peak ${mebibytes(peak)} MiB`,
);
console.log(
  `heaps of all threads, with what they hold outside: ${quarters('heaps').map(mebibytes).join(', ')} MiB`,
);
console.log(`CPU: server ${last.cpuSeconds.toFixed(0)} s, clients ${cpuSeconds().toFixed(0)} s`);
console.log(`left at the end: ${last.connections} connections, ${last.streams} contexts; exit code ${code}`);
const problems = [
  figures.corrupt > 0 && `${figures.corrupt} corrupt responses`,
  unexplained.size > 0 &&
    `errors without a reason: ${[...unexplained].map(([what, n]) => `${n} × ${what}`).join('; ')}`,
  late - early > Math.max(FLAT_BYTES, FLAT_SHARE * early) && 'RSS is not flat',
  last.connections + last.streams > 0 && 'something is left',
  code !== 0 && 'the server did not end well',
].filter((problem) => problem !== false);
for (const problem of problems) console.log(`FAILED: ${problem}`);
process.exit(problems.length === 0 ? 0 : 1);
