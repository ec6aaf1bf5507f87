import ava, { type ExecutionContext } from 'ava';
import type { Client, ConnectOptions, Policy, ServerOptions, StreamView } from '../../src/index.ts';
import { type Frame, FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { commands, on, THREADS } from '../helpers/commands.ts';
import {
  decodeThreeWays,
  livesOf,
  mostOpen,
  type RecordedConnection,
  recording,
} from '../helpers/recorder.ts';
import { digest, sample } from '../helpers/samples.ts';
import { dial, failure, type Serving, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

// One after the other: most have a server of their own, and so threads.
const test = ava.serial;

/** Streams that a client takes by default (protocol B-limits). */
const MAX_STREAMS = 16;

async function recorded(
  t: ExecutionContext,
  options: ServerOptions,
  clientOptions: ConnectOptions = {},
): Promise<{ client: Client; own: Serving; connection: RecordedConnection }> {
  const own = await serving(t, { workers: 2, commands: commands(), ...options });
  const recorder = await recording(t, own.address);
  const client = await dial(t, recorder.address, clientOptions);
  return { client, own, connection: recorder.connections[0] };
}

/** Which streams each request's encoded response frames came on. */
function streamsByRequest(frames: readonly Frame[]): Map<number, Set<number>> {
  const streams = new Map<number, Set<number>>();
  for (const { requestId, streamId, streamFlags } of frames) {
    if ((streamFlags & StreamFlag.encoded) === 0 || requestId === 0) continue;
    const known = streams.get(requestId);
    if (known === undefined) streams.set(requestId, new Set([streamId]));
    else known.add(streamId);
  }
  return streams;
}

/** Streams whose encoding contexts were used, of a response per request. */
function encodedStreams(frames: readonly Frame[]): Set<number> {
  return new Set([...streamsByRequest(frames).values()].flatMap((streams) => [...streams]));
}

/** Many multi-frame responses at once, on both threads. */
async function manyResponses(
  t: ExecutionContext,
  client: Client,
  count: number,
  least = 40_000,
): Promise<void> {
  const seeds = Array.from({ length: count }, (_, i) => i + 1);
  const sizeOf = (seed: number) => least + 1000 * seed;
  const answers = await Promise.all(
    seeds.map((seed) => {
      const args = { size: String(sizeOf(seed)), seed: String(seed), pace: 'slow' };
      return client.call(on(THREADS[seed % 2], 'sample'), { args }).bytes();
    }),
  );
  seeds.forEach((seed, i) => {
    t.is(digest(answers[i]), digest(sample(sizeOf(seed), seed)));
  });
}

test('single: all responses share one stream', async (t) => {
  const { client, connection } = await recorded(t, { policy: 'single' });
  await manyResponses(t, client, 12);
  t.is(encodedStreams(connection.toClient.frames).size, 1);
  t.true((await decodeThreeWays(t, connection.toClient)) >= 24);
});

test('shared: responses are spread over the streams that there are, on different lanes', async (t) => {
  const { client, own, connection } = await recorded(t, { policy: 'shared', streams: 3 });
  await manyResponses(t, client, 12);
  t.is(encodedStreams(connection.toClient.frames).size, 3);
  const lanes = new Set((await own.server.stats()).streams.map(({ lane }) => lane));
  t.is(lanes.size, 2);
  t.true((await decodeThreeWays(t, connection.toClient)) >= 24);
});

test('shared: a lone request is served by a stream that has a context already', async (t) => {
  const { client, connection } = await recorded(t, { policy: 'shared', streams: 4 });
  for (let i = 0; i < 10; i++) {
    await client.call('sample', { args: { size: '5000' } }).bytes();
  }
  t.is(encodedStreams(connection.toClient.frames).size, 1);
});

test('affinity: like goes with like, by command', async (t) => {
  const { client, connection } = await recorded(t, { policy: 'affinity', streams: 8 });
  const names = ['string', 'lane-string', 'promise', 'lane-list', 'bytes'];
  for (let round = 0; round < 4; round++) {
    await Promise.all(names.map((name) => client.call(name).bytes()));
  }
  const streams = streamsByRequest(connection.toClient.frames);
  const homes = names.map((_, i) => {
    const ids = [0, 1, 2, 3].flatMap((round) => [...(streams.get(2 * (round * names.length + i) + 1) ?? [])]);
    return [...new Set(ids)];
  });
  t.deepEqual(
    homes.map((ids) => ids.length),
    [1, 1, 1, 1, 1],
  );
  t.is(new Set(homes.flat()).size, names.length, 'five kinds on eight streams share none');
});

test('affinity: like goes with like, by the key that the command names', async (t) => {
  const affinityKey = (args: ReadonlyMap<string, Uint8Array>) =>
    args.has('seed') ? String(args.get('seed')) : undefined;
  const handler = commands().sample as never;
  const { client, connection } = await recorded(t, {
    policy: 'affinity',
    streams: 3,
    commands: { sample: { handler, affinityKey } },
  });
  const seeds = ['1', '2', '3', '1', '2', '3', '1', '3'];
  for (const seed of seeds) await client.call('sample', { args: { size: '2000', seed } }).bytes();
  const streams = streamsByRequest(connection.toClient.frames);
  const home = (i: number) => [...(streams.get(2 * i + 1) ?? [])][0];
  t.is(new Set([home(0), home(3), home(6)]).size, 1);
  t.is(new Set([home(1), home(4)]).size, 1);
  t.is(new Set([home(2), home(5), home(7)]).size, 1);
  t.is(new Set([home(0), home(1), home(2)]).size, 3);
});

test('affinity: 500 keys are served on no more streams than a client takes', async (t) => {
  const affinityKey = (args: ReadonlyMap<string, Uint8Array>) => String(args.get('n'));
  const handler = () => 'x';
  const { client, connection } = await recorded(t, {
    policy: 'affinity',
    commands: { x: { handler, affinityKey } },
  });
  for (let from = 0; from < 500; from += 100) {
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) => client.call('x', { args: { n: String(from + i) } }).text()),
    );
    t.true(answers.every((answer) => answer === 'x'));
  }
  t.true(mostOpen(connection.toClient.frames) <= MAX_STREAMS);
});

test('per-request: a stream for every response, begun and ended with it, never more than a client takes', async (t) => {
  const { client, connection } = await recorded(t, { policy: 'per-request' });
  for (let round = 0; round < 5; round++) await manyResponses(t, client, 26, 5000);
  const { frames } = connection.toClient;
  for (const [requestId, streams] of streamsByRequest(frames)) t.is(streams.size, 1, `request ${requestId}`);
  const lives = livesOf(frames).filter(({ payloads }) => payloads.length > 0);
  t.is(lives.length, 130);
  t.true(lives.every(({ ended }) => ended));
  t.true(new Set(lives.map(({ streamId }) => streamId)).size < 130, 'IDs are used again');
  t.true(mostOpen(frames) <= MAX_STREAMS);
  t.true((await decodeThreeWays(t, connection.toClient)) >= 260);
});

for (const thread of THREADS) {
  test(`per-request, ${thread} thread: failed, cancelled and expired requests free their streams`, async (t) => {
    const { connection, client } = await recorded(
      t,
      { policy: 'per-request', streams: 3 },
      { requestWindow: 50_000 },
    );
    const args = { note: 'x' };
    for (let round = 0; round < 4; round++) {
      const controller = new AbortController();
      const { signal } = controller;
      const doomed = [
        client.call(on(thread, 'failing'), { args: { when: 'before' } }),
        client.call(on(thread, 'failing'), { args: { when: 'during' } }),
        client.call(on(thread, 'waiting'), { args, deadlineMs: 5 }),
        client.call(on(thread, 'endless'), { args, signal }),
        client.call(on(thread, 'waiting'), { args, signal }),
        client.call(on(thread, 'endless'), { args, signal }),
        client.call(on(thread, 'waiting'), { args, signal }),
        client.call(on(thread, 'waiting'), { args, signal }),
        client.call(on(thread, 'waiting'), { args, signal }),
      ];
      // Some of them run, some wait for a stream.
      await client.ping();
      controller.abort(new Error('enough'));
      for (const response of doomed) t.true((await failure(response.bytes())) instanceof Error);
      await manyResponses(t, client, 6);
    }
    t.true(mostOpen(connection.toClient.frames) <= 4);
    await decodeThreeWays(t, connection.toClient);
  });
}

test('per-request: requests whose command was cut off do not keep others from their streams', async (t) => {
  const own = await serving(t, { policy: 'per-request', streams: 2, commands: commands() });
  const recorder = await recording(t, own.address);
  const { Client: RawClient, Type } = await import('../independent/client.ts');
  const client = await RawClient.connect(recorder.address.port, {
    settings: { contentEncodings: ['zstd-8mb'] },
  });
  t.teardown(() => client.close());
  for (let i = 0; i < 3; i++) {
    const id = client.nextId();
    client.expect(id);
    client.write(
      client.put(1, id, { type: Type.commandName, flags: 4, payload: on(THREADS[i % 2], 'count') }),
    );
  }
  const whole = Array.from({ length: 5 }, (_, i) => client.start(on(THREADS[i % 2], 'string')));
  await client.ping(Buffer.from('12345678'));
  client.socket.end();
  for (const exchange of whole) t.is(String(await client.body(exchange)), 'just a string: é');
  await client.untilEnded();
  t.deepEqual(client.violations, []);
});

test('no policy opens more streams than a client takes, with cached and sensitive responses beside', async (t) => {
  for (const policy of ['shared', 'affinity', 'per-request', 'single'] as const) {
    const streams = policy === 'single' ? 1 : 12;
    const { client, connection } = await recorded(t, { policy, streams });
    const args = { size: '50000' };
    const calls = Array.from({ length: 10 }, (_, i) => [
      client.call(on(THREADS[i % 2], 'sample'), { args }),
      client.call(on(THREADS[i % 2], 'sample'), { args, sensitive: true }),
      client.call(on(THREADS[i % 2], 'shared'), { args: { ...args, key: `${i % 5}` } }),
      client.call(`${on(THREADS[i % 2], 'generator')}`),
    ]);
    await Promise.all(calls.flat().map((response) => response.bytes()));
    const most = mostOpen(connection.toClient.frames);
    t.true(most <= MAX_STREAMS, `${policy}: ${most} streams`);
  }
});

test("the user's function chooses, and sees what it needs to know", async (t) => {
  const seen: { command: string; key: string | undefined; streams: StreamView[] }[] = [];
  let turn = 0;
  const policy: Policy = ({ command, key }, streams) => {
    seen.push({
      command,
      key,
      streams: streams.map((each) => ({ ...each, index: each.index, open: each.open })),
    });
    return turn++ % streams.length;
  };
  const { client, connection } = await recorded(t, { policy, streams: 3 });
  for (let i = 0; i < 6; i++) await client.call('string').text();
  t.is(encodedStreams(connection.toClient.frames).size, 3);
  t.is(seen.length, 6);
  t.deepEqual([seen[0].command, seen[0].key], ['string', undefined]);
  t.deepEqual(
    seen.map(({ streams }) => streams.map(({ open }) => open)),
    [
      [false, false, false],
      [true, false, false],
      [true, true, false],
      [true, true, true],
      [true, true, true],
      [true, true, true],
    ],
  );
  t.deepEqual(
    seen[0].streams.map(({ index }) => index),
    [0, 1, 2],
  );
});

const NONSENSE: [string, Policy][] = [
  ['an index past the end', () => 99],
  ['a negative index', () => -1],
  ['a fraction', () => 0.5],
  ['not a number', () => Number.NaN],
  ['nothing', (() => undefined) as never],
  ["the name of an array's property", (() => 'length') as never],
  [
    'an exception',
    () => {
      throw new Error('policy bug');
    },
  ],
];

for (const [what, nonsense] of NONSENSE) {
  test(`a user's function that returns ${what} fails that request, clearly, and no other`, async (t) => {
    const policy: Policy = (query, streams) => (query.command === 'number' ? nonsense(query, streams) : 0);
    const handler = () => 'fine';
    const { client, own } = await recorded(t, {
      policy,
      commands: { ...commands(), number: { handler }, fine: handler },
    });
    const beside = client.call('sample', { args: { size: '200000', pace: 'slow' } }).bytes();
    const error = await failure(client.call('number').bytes());
    t.is(error.message, 'internal error: no stream for the response');
    const report = await own.reported(({ about }) => about.command === 'number');
    t.regex(String(report.error), /policy/);
    t.is(await client.call('fine').text(), 'fine');
    t.is(digest(await beside), digest(sample(200_000, 1)));
  });
}

test('an affinity key that throws fails that request alone', async (t) => {
  const affinityKey = () => {
    throw new Error('key bug');
  };
  const handler = () => 'fine';
  const { client, own } = await recorded(t, {
    policy: 'affinity',
    commands: { bad: { handler, affinityKey }, fine: { handler } },
  });
  t.is((await failure(client.call('bad').bytes())).message, 'internal error: no stream for the response');
  t.regex(String((await own.reported(() => true)).error), /key bug/);
  t.is(await client.call('fine').text(), 'fine');
});

test('responses to a client without encodings go out as they are, on one stream', async (t) => {
  const own = await serving(t, { workers: 2, commands: commands() });
  const recorder = await recording(t, own.address);
  const client = await dial(t, recorder.address, { plain: true });
  await manyResponses(t, client, 16);
  const { frames } = recorder.connections[0].toClient;
  t.is(encodedStreams(frames).size, 0);
  t.true(mostOpen(frames) <= 2, 'the main thread has a stream, and the lane has one');
  t.false(frames.some(({ type }) => type === FrameType.streamSettings || type >= FrameType.senderSettings));
});
