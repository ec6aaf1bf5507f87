import ava, { type ExecutionContext } from 'ava';
import { type Client, CommandError, type LaneCommand } from '../../src/index.ts';
import { CommandTable } from '../../src/server/commands.ts';
import { commands, on, THREADS } from '../helpers/commands.ts';
import { decodeThreeWays, recording } from '../helpers/recorder.ts';
import { digest, sample } from '../helpers/samples.ts';
import { dial, failure, lanesOpen, type Serving, serving } from '../helpers/serving.ts';

// One after the other: most have a server of their own, and so threads.
const test = ava.serial;

async function twoLanes(t: ExecutionContext): Promise<{ own: Serving; client: Client }> {
  const own = await serving(t, { workers: 2, streams: 2, policy: byLane, commands: commands() });
  return { own, client: await dial(t, own.address) };
}

/** Stream 1, and so the lane that is opened second, for what is about to kill its lane. */
function byLane({ command }: { command: string }): number {
  return /exit|timer|doomed/i.test(command) ? 1 : 0;
}

const KILLERS: [string, string][] = [
  ['calls process.exit()', 'lane-exit'],
  ['ends its process in the middle of a response', 'lane-exitLater'],
  ['throws from a timer', 'lane-timer'],
];

for (const [what, command] of KILLERS) {
  test(`a handler that ${what} costs the requests on its lane, and no others`, async (t) => {
    const { own, client } = await twoLanes(t);
    t.is(await client.call('lane-string').text(), 'just a string: é');
    const size = '2000000';
    const beside = client.call('lane-sample', { args: { size, pace: 'slow' } });
    const reader = beside[Symbol.asyncIterator]();
    await reader.next();
    const error = await failure(client.call(command).bytes());
    t.true(error instanceof CommandError);
    t.regex(error.message, /^worker of lane \d died$/);
    t.false(error.message.includes('\n'));
    let rest = 0;
    for await (const piece of { [Symbol.asyncIterator]: () => reader }) rest += piece.length;
    t.true(rest > 1_900_000, 'the other lane has finished its response');
    const report = await own.reported(({ about }) => about.lane !== undefined);
    t.true(report.error instanceof Error);
    await lanesOpen(own, 2);
    t.is(await client.call('lane-string').text(), 'just a string: é');
    t.is(own.reports.filter(({ about }) => about.lane !== undefined).length, 1);
  });
}

for (const thread of THREADS) {
  const end = thread === 'main' ? 'goes on without it' : 'fails with a clear error';
  test(`${thread} thread: what was on the way on a lost lane ${end}, and so does the connection`, async (t) => {
    const own = await serving(t, { workers: 1, commands: commands() });
    const recorder = await recording(t, own.address);
    const client = await dial(t, recorder.address);
    // What the journal says of them is lost with the lane; that they run is seen by their first bytes.
    const doomed = Array.from({ length: 5 }, () =>
      client.call(on(thread, 'waiting'), { args: { note: 'x' } }),
    );
    const readers = doomed.map((response) => response[Symbol.asyncIterator]());
    for (const reader of readers) await reader.next();
    t.true((await failure(client.call('lane-exit').bytes())) instanceof CommandError);
    for (const [i, reader] of readers.entries()) {
      if (thread === 'main') {
        doomed[i].cancel();
        t.is(((await failure(reader.next())) as CommandError).code, 'cancelled');
        continue;
      }
      const error = await failure(reader.next());
      t.true(error instanceof CommandError);
      t.regex(error.message, /^worker of lane 0 died$/);
    }
    await lanesOpen(own, 1);
    for (let i = 0; i < 3; i++) {
      const bytes = await client.call(on(thread, 'sample'), { args: { size: '100000' } }).bytes();
      t.is(digest(bytes), digest(sample(100_000, 1)));
    }
    await decodeThreeWays(t, recorder.connections[0].toClient);
  });
}

test('lanes that die again and again use up neither stream IDs nor the patience of the client', async (t) => {
  const own = await serving(t, { workers: 1, streams: 1, commands: commands() });
  const client = await dial(t, own.address);
  for (let death = 1; death <= 3; death++) {
    t.true((await failure(client.call('lane-exit').bytes())) instanceof CommandError);
    await own.reported(() => own.reports.filter(({ about }) => about.lane === 0).length >= death);
    await lanesOpen(own, 1);
    const bytes = await client.call('lane-sample', { args: { size: '50000' } }).bytes();
    t.is(digest(bytes), digest(sample(50_000, 1)));
  }
  t.true(client.stats().streams.length <= 3);
});

test('without a living lane, main-thread handlers answer unencoded and lane commands say what is missing', async (t) => {
  const own = await serving(t, { workers: 1, commands: commands() });
  const client = await dial(t, own.address);
  t.true((await failure(client.call('lane-exit').bytes())) instanceof CommandError);
  // These are on the server before its timer can have opened a lane again.
  const [main, lane] = [client.call('string'), client.call('lane-string')];
  t.is(await main.text(), 'just a string: é');
  const outcome = await lane.text().catch((error: Error) => error.message);
  t.true(['no worker to run the command on', 'just a string: é'].includes(outcome), outcome);
  await lanesOpen(own, 1);
  t.is(await client.call('lane-string').text(), 'just a string: é');
});

test('a lost decoder fails the uploads that it was decoding, and the connection goes on', async (t) => {
  const own = await serving(t, { workers: 1, commands: commands() });
  const client = await dial(t, own.address, { encodeData: 'zstd-8mb' });
  const goOn = Promise.withResolvers<void>();
  const data = async function* () {
    yield sample(5000, 1);
    await goOn.promise;
    yield sample(5000, 2);
  };
  const upload = client.call('count', { data: data() }).bytes();
  const echo = client.call('echo', { data: data() });
  const reader = echo[Symbol.asyncIterator]();
  t.is((await reader.next()).value?.length, 5000, 'the decoder is at work');
  t.true((await failure(client.call('lane-exit').bytes())) instanceof CommandError);
  await own.reported(({ about }) => about.lane === 0);
  goOn.resolve();
  for (const answer of [upload, reader.next()]) {
    const error = await failure(answer);
    t.true(error instanceof CommandError);
    t.regex(error.message, /worker of lane 0 died/);
  }
  await lanesOpen(own, 1);
  t.is(await client.call('lane-string').text(), 'just a string: é');
  const again = sample(100_000, 3);
  t.is(digest(await client.call('echo', { data: again }).bytes()), digest(again));
});

test('a lane that dies while output is compressed for the cache fails nothing', async (t) => {
  const own = await serving(t, { workers: 1, cacheLevel: 19, commands: commands() });
  const client = await dial(t, own.address);
  const other = await dial(t, own.address, { profiles: [] });
  const size = 500_000;
  const shared = client.call('shared', { args: { key: 'k', size: String(size) } });
  const answer = shared.bytes().catch((error: Error) => error);
  await other.ping();
  t.true((await failure(other.call('lane-exit').bytes())) instanceof CommandError);
  const outcome = await answer;
  // The response stream was on that lane as well: it may only have failed with it, or have been finished.
  if (outcome instanceof Error) t.regex(outcome.message, /^worker of lane 0 died/);
  else t.is(digest(outcome), digest(sample(size, 1)));
  await lanesOpen(own, 1);
  const again = await client.call('shared', { args: { key: 'k', size: '1000' } }).bytes();
  t.true(again.length === 1000 || again.length === size);
});

test('streams live on different lanes, and figures say which', async (t) => {
  const own = await serving(t, { workers: 2, streams: 4, commands: commands() });
  const client = await dial(t, own.address);
  const answers = Array.from({ length: 16 }, (_, i) =>
    client.call(on(THREADS[i % 2], 'sample'), { args: { size: '60000', pace: 'slow' } }).bytes(),
  );
  await Promise.all(answers);
  const { lanes, streams } = await own.server.stats();
  const perLane = lanes.map(({ lane }) => streams.filter((stream) => stream.lane === lane).length);
  t.deepEqual(perLane, [2, 2]);
  for (const lane of lanes) {
    const mine = streams.filter((stream) => stream.lane === lane.lane);
    t.is(
      lane.bytesIn,
      mine.reduce((sum, stream) => sum + stream.bytesIn, 0),
    );
  }
});

test('a connection that closes frees its contexts', async (t) => {
  const own = await serving(t, { workers: 1, commands: commands() });
  const client = await dial(t, own.address, { encodeData: 'zlib' });
  await client.call('lane-upper', { data: sample(1000, 1) }).bytes();
  t.true((await own.server.stats()).lanes[0].openStreams >= 2);
  await client.close();
  while ((await own.server.stats()).lanes[0].openStreams > 0);
  t.is((await own.server.stats()).connections, 0);
  t.true((await own.server.stats()).streams.length > 0, 'the figures of what has closed stay for a while');
});

/** One command for each number, each from a handler of its own. */
function numbered(count: number): Record<string, LaneCommand> {
  const module = new URL('../fixtures/numbered.ts', import.meta.url);
  return Object.fromEntries(Array.from({ length: count }, (_, n) => [`c${n}`, { module, options: { n } }]));
}

test('300 commands in lanes run their own code each, and give and take data and progress', async (t) => {
  const { address } = await serving(t, { workers: 1, commands: numbered(300) });
  const client = await dial(t, address);
  const seen: string[] = [];
  const answers = Array.from({ length: 300 }, (_, n) => {
    const onProgress = ({ position }: { position: number }) => seen.push(`${n}: ${position}`);
    return client.call(`c${n}`, { data: `data ${n}`, onProgress }).text();
  });
  t.deepEqual(
    await Promise.all(answers),
    answers.map((_, n) => `${n}, data ${n}`),
  );
  t.deepEqual(seen.sort(), answers.map((_, n) => `${n}: ${n}`).sort());
});

test('more handlers in lanes than a call can name are refused, those that are known are not', (t) => {
  const table = new CommandTable();
  const most = numbered(65_536);
  for (const [name, definition] of Object.entries(most)) table.add(name, definition);
  table.add('again', most.c0);
  const more = { module: most.c0.module, options: { n: 65_536 } };
  t.throws(() => table.add('more', more), { instanceOf: RangeError, message: /at most 65536 .*lanes/ });
});
