import { readFileSync } from 'node:fs';
import ava, { type ExecutionContext } from 'ava';
import {
  type ConnectOptions,
  createServer,
  extraCodecs,
  type Progress,
  type ServerOptions,
} from '../../src/index.ts';
import { BytesResponseFlag, type Frame, FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { commands, on, THREADS } from '../helpers/commands.ts';
import { decodeThreeWays, livesOf, recording } from '../helpers/recorder.ts';
import { concat, digest, sample } from '../helpers/samples.ts';
import { dial, failure, type Serving, serve, servingOnSharedLanes } from '../helpers/serving.ts';
import {
  Client as RawClient,
  StreamFlag as RawFlag,
  rawFrame,
  streamSettingsPayload,
  Type,
} from '../independent/client.ts';

const serving = servingOnSharedLanes(ava);

// One after the other: most have a server of their own, and so threads.
const test = ava.serial;

let running: Serving;

test.before(async () => {
  running = await serve({ workers: 2, commands: commands() });
});

test.after.always(() => running?.server.close(0));

async function raw(
  t: ExecutionContext,
  port: number,
  options?: Parameters<typeof RawClient.connect>[1],
): Promise<RawClient> {
  const client = await RawClient.connect(port, options);
  t.teardown(() => client.close());
  return client;
}

const isEncoded = ({ streamFlags }: Frame) => (streamFlags & StreamFlag.encoded) !== 0;

// ------------------------------------------------------------------------------------- encoded command data

const ENCODED_DATA: [string, ConnectOptions][] = [
  ['native zlib', { encodeData: 'zlib' }],
  ['native zstd', { encodeData: 'zstd-8mb' }],
  ['native zstd at level 9', { encodeData: 'zstd-8mb', level: 9 }],
  ['portable zlib', { encodeData: 'zlib', codecs: 'portable' }],
];

for (const [name, options] of ENCODED_DATA) {
  test(`command data encoded by ${name} is decoded in a lane, and every stream decodes three ways`, async (t) => {
    const recorder = await recording(t, running.address);
    const c = await dial(t, recorder.address, options);
    const inputs = [0, 1, 40_000, 200_000, 90_000].map((size, i) => sample(size, i + 1));
    const answers = await Promise.all(
      inputs.flatMap((data) => [c.call('echo', { data }).bytes(), c.call('lane-count', { data }).text()]),
    );
    inputs.forEach((data, i) => {
      t.is(digest(answers[2 * i] as Uint8Array), digest(data));
      t.is(answers[2 * i + 1], String(data.length));
    });
    const [{ toServer, toClient }] = recorder.connections;
    const sent = toServer.frames.filter(({ type }) => type === FrameType.commandData);
    t.true(sent.filter(isEncoded).length >= 20);
    const wire = sent.reduce((sum, { payload }) => sum + payload.length, 0);
    t.true(wire < 2 * 331_001 * 0.75, `${wire} bytes on the wire`);
    t.true((await decodeThreeWays(t, toServer, toClient)) >= 40);
  });
}

test('a client that talks part A only encodes nothing', async (t) => {
  const recorder = await recording(t, running.address);
  const c = await dial(t, recorder.address, { encodeData: 'zlib', plain: true });
  const data = sample(100_000, 1);
  t.is(digest(await c.call('echo', { data }).bytes()), digest(data));
  t.false(recorder.connections[0].toServer.frames.some(isEncoded));
});

for (const halfDuplex of [false, true]) {
  for (const profile of ['zlib', 'zstd-8mb']) {
    const how = halfDuplex ? 'half duplex' : 'full duplex';
    test(`${how}: encoded ${profile} data and the end of input right behind it are a whole command`, async (t) => {
      const own = halfDuplex ? await serving(t, { halfDuplex, commands: commands() }) : running;
      const settings = { contentEncodings: [profile] };
      const client = await raw(t, own.address.port, { settings, manual: true });
      const bytes = [
        client.put(1, 0, { type: Type.senderSettings, flags: 0, payload: JSON.stringify(settings) }),
      ];
      const data = sample(150_000, 4);
      bytes.push(client.beginStream(3, profile));
      const exchanges = [];
      for (const command of ['echo', 'lane-count']) {
        const id = client.nextId();
        exchanges.push(client.expect(id));
        // The command-name frame is encoded, too: until it is decoded nobody knows of the command.
        bytes.push(await client.putEncoded(3, id, { type: Type.commandName, flags: 4, payload: command }));
        for (let at = 0; at < data.length; at += 30_000) {
          const payload = data.subarray(at, at + 30_000);
          const flags = at + 30_000 >= data.length ? 2 : 1;
          bytes.push(await client.putEncoded(3, id, { type: Type.commandData, flags, payload }));
        }
      }
      client.write(...bytes);
      client.socket.end();
      t.is(digest(await client.body(exchanges[0])), digest(data));
      t.is(String(await client.body(exchanges[1])), String(data.length));
      await client.untilEnded();
      t.deepEqual(client.violations, []);
    });
  }
}

test('a command that is cut off by the end of input is not run, while whole ones are answered', async (t) => {
  const client = await raw(t, running.address.port, { settings: { contentEncodings: [] } });
  const whole = client.start('lane-generator');
  const id = client.nextId();
  const cut = client.expect(id);
  client.write(client.put(1, id, { type: Type.commandName, flags: 4, payload: 'echo' }));
  client.write(client.put(1, id, { type: Type.commandData, flags: 1, payload: 'part' }));
  client.socket.end();
  t.is(String(await client.body(whole)), 'one two three');
  await client.untilEnded();
  t.false(cut.finished);
  t.deepEqual(client.violations, []);
});

// ---------------------------------------------------------------------------------- what a client cannot do

const BAD_STREAMS: [string, string, number[], Uint8Array, RegExp][] = [
  ['a window over the limit', 'zstd-8mb', [30], Uint8Array.of(1), /limit.*maxWindowSize/],
  ['too many settings', 'zstd-8mb', [20, 20], Uint8Array.of(1), /settings/],
  ['settings that its profile has not', 'zlib', [1], Uint8Array.of(1), /settings/],
  ['bytes that are no zstd', 'zstd-8mb', [], sample(300, 7), /corrupt/],
  ['bytes that are no zlib', 'zlib', [], Uint8Array.of(0x78, 0x9c, 1, 2, 3, 4, 5, 6), /corrupt/],
];

for (const [what, profile, settings, payload, message] of BAD_STREAMS) {
  test(`a client's stream with ${what} ends that connection with a protocol error, and nothing else`, async (t) => {
    const own = await serving(t, { commands: commands() });
    const beside = await dial(t, own.address, { encodeData: 'zstd-8mb' });
    const data = sample(300_000, 8);
    const before = await own.server.stats();
    const client = await raw(t, own.address.port, { settings: { contentEncodings: ['zlib'] } });
    const echo = beside.call('echo', { data }).bytes();
    client.write(
      rawFrame({
        request: 0,
        stream: 5,
        streamFlags: RawFlag.begin,
        type: Type.streamSettings,
        flags: 0,
        payload: streamSettingsPayload(profile, Uint8Array.from(settings)),
      }),
      rawFrame({
        request: 1,
        stream: 5,
        streamFlags: RawFlag.encoded,
        type: Type.commandName,
        flags: 1,
        payload,
      }),
    );
    await client.untilEnded();
    t.is(client.protocolErrors.length, 1);
    t.regex(client.protocolErrors[0].payload.toString(), message);
    t.regex(client.protocolErrors[0].payload.toString(), /^protocol error \([a-z-]+\): stream 5: /);
    t.is(digest(await echo), digest(data));
    t.is(await beside.call('lane-string').text(), 'just a string: é');
    t.is(before.lanes.length, (await own.server.stats()).lanes.length);
    t.deepEqual(
      own.reports.filter(({ about }) => about.lane !== undefined),
      [],
      'no lane was lost',
    );
  });
}

test('a stream that wants an unknown profile is a protocol error that names it', async (t) => {
  const client = await raw(t, running.address.port, { settings: {} });
  const payload = streamSettingsPayload('brotli');
  client.write(
    rawFrame({
      request: 0,
      stream: 3,
      streamFlags: RawFlag.begin,
      type: Type.streamSettings,
      flags: 0,
      payload,
    }),
  );
  await client.untilEnded();
  t.regex(client.protocolErrors[0].payload.toString(), /unknown-profile.*'brotli'/);
});

// ------------------------------------------------------------------------------------------------ options

/** The profiles, and their settings, of the response streams that one response of 100 000 bytes used. */
async function responseStreams(
  t: ExecutionContext,
  server: ServerOptions,
  client: ConnectOptions,
  thread: (typeof THREADS)[number],
): Promise<{ profile: string; settings: number[]; wire: number }[]> {
  const own = await serving(t, { ...server, commands: commands() });
  const recorder = await recording(t, own.address);
  const c = await dial(t, recorder.address, client);
  const bytes = await c.call(on(thread, 'sample'), { args: { size: '100000' } }).bytes();
  t.is(digest(bytes), digest(sample(100_000, 1)));
  const [{ toClient }] = recorder.connections;
  await decodeThreeWays(t, toClient);
  return livesOf(toClient.frames)
    .filter(({ profile }) => profile !== 'identity')
    .map(({ profile, settings, payloads }) => ({
      profile,
      settings: [...settings],
      wire: concat(payloads).length,
    }));
}

for (const thread of THREADS) {
  test(`${thread} thread: the server's profile is used where the client has it, else the client's first`, async (t) => {
    const profiles = async (server: ServerOptions, client: ConnectOptions) =>
      (await responseStreams(t, server, client, thread)).map(({ profile }) => profile);
    t.deepEqual(await profiles({}, {}), ['zstd-8mb']);
    t.deepEqual(await profiles({}, { profiles: ['zlib', 'zstd-8mb'] }), ['zlib']);
    t.deepEqual(await profiles({ profile: 'zlib' }, { profiles: ['zstd-8mb', 'zlib'] }), ['zlib']);
    t.deepEqual(await profiles({ profile: 'zlib' }, { profiles: ['zstd-8mb'] }), ['zstd-8mb']);
    t.deepEqual(await profiles({ profile: 'identity' }, { profiles: ['zstd-8mb', 'identity'] }), []);
    t.deepEqual(await profiles({}, { profiles: ['brotli', 'zlib'], extraCodecs: [extraCodecs] }), ['zlib']);
  });

  test(`${thread} thread: level and window reach the encoder, and the window is announced`, async (t) => {
    const [low] = await responseStreams(t, { level: 1 }, {}, thread);
    const [high] = await responseStreams(t, { level: 19 }, {}, thread);
    t.true(high.wire < low.wire, `${high.wire} < ${low.wire}`);
    const [small] = await responseStreams(t, { windowLog: 12 }, {}, thread);
    t.deepEqual(small.settings, [12]);
    const [tuned] = await responseStreams(t, { tuning: 'records' }, {}, thread);
    t.deepEqual(tuned.settings, [22]);
    const [zlib] = await responseStreams(t, { profile: 'zlib', level: 9, windowLog: 10 }, {}, thread);
    const [larger] = await responseStreams(t, { profile: 'zlib', level: 9 }, {}, thread);
    t.true(larger.wire < zlib.wire, `${larger.wire} < ${zlib.wire}`);
  });

  test(`${thread} thread: a level that the client's profile has not got costs no lane`, async (t) => {
    const [stream] = await responseStreams(
      t,
      { profile: 'zstd-8mb', level: 19, windowLog: 22 },
      { profiles: ['zlib'] },
      thread,
    );
    t.is(stream.profile, 'zlib');
  });

  test(`${thread} thread: frames are no larger than the option says, nor than the client takes`, async (t) => {
    const own = await serving(t, { frameSize: 5000, commands: commands() });
    for (const [maxPayload, most] of [
      [65_535, 5000],
      [2000, 2000 - 15 - 128],
    ]) {
      const client = await raw(t, own.address.port, {
        settings: { contentEncodings: ['zstd-8mb'], maxFrameSize: maxPayload },
      });
      const exchange = client.start(on(thread, 'sample'), { args: [['size', '60000']] });
      t.is(digest(await client.body(exchange)), digest(sample(60_000, 1)));
      const sizes = exchange.frames.map(({ payload }) => payload.length);
      t.is(Math.max(...sizes), most);
      t.deepEqual(client.violations, []);
    }
  });

  test(`${thread} thread: who takes small frames alone gets text, progress and settings, however long`, async (t) => {
    const line = 'é%s '.repeat(2000);
    const dictionaries = [{ bytes: readFileSync(new URL('../fixtures/mill.dict', import.meta.url)) }];
    const limits = { maxPayload: 256 };
    const { address } = await serving(t, { limits, dictionaries, commands: commands() });
    for (const door of [address, `ws://127.0.0.1:${address.port}/`]) {
      const client = await dial(t, door, { limits });
      let text = '';
      let topic = '';
      const onProgress = (progress: Progress) => {
        topic = progress.topic;
      };
      const onText = (more: string) => {
        text += more;
      };
      await client.call(on(thread, 'lines'), { args: { line }, onText, onProgress }).bytes();
      t.is(text, `${line}${line}\n`);
      t.true(topic.length > 10 && line.startsWith(topic), topic);
    }
  });
}

const BAD_OPTIONS: [ServerOptions, RegExp][] = [
  [{ workers: 0 }, /^option workers: /],
  [{ workers: 1.5 }, /^option workers: /],
  [{ policy: 'random' as never }, /^option policy: /],
  [{ streams: 0 }, /^option streams: /],
  [{ streams: 13 }, /^option streams: /],
  [{ profile: 'brotli' }, /^unknown profile 'brotli': this runtime encodes zstd-8mb, zlib, identity$/],
  [{ profile: 'zstd-8mb', level: 99 }, /level/],
  [{ profile: 'zlib', level: 10 }, /level/],
  [{ level: 99 }, /level/],
  [{ windowLog: 30 }, /^option windowLog: /],
  [{ profile: 'zlib', windowLog: 20 }, /window/],
  [{ tuning: 'best' as never }, /^option tuning: /],
  [{ profile: 'zlib', tuning: 'records' }, /^zlib has no tuning 'records'$/],
  [{ policy: 'adaptive', tuning: 'records' }, /^option tuning: the policy 'adaptive'/],
  [{ cacheBytes: -1 }, /^option cacheBytes: /],
  [{ cacheLevel: 0 }, /^option cacheLevel: /],
  [{ frameSize: 0 }, /^option frameSize: /],
  [{ frameSize: 40_000 }, /^option frameSize: /],
  [{ limits: { maxPayload: -5 } }, /^option limits\.maxPayload: /],
  [{ limits: { nonsense: 5 } as never }, /nonsense/],
  [{ colour: 'red' } as never, /colour/],
  [{ commands: { broken: {} as never } }, /command 'broken'/],
  [{ commands: { broken: { handler: 'x' } as never } }, /commands\.broken/],
];

for (const [options, message] of BAD_OPTIONS) {
  test(`createServer(${JSON.stringify(options)}) says in one line what is wrong`, (t) => {
    const error = t.throws(() => createServer(options));
    t.regex(error.message, message);
    t.false(error.message.includes('\n'));
  });
}

// --------------------------------------------------------------------------------------------- sensitive

for (const thread of THREADS) {
  test(`${thread} thread: a sensitive response shares no context with another`, async (t) => {
    const own = await serving(t, { commands: commands() });
    const recorder = await recording(t, own.address);
    const c = await dial(t, recorder.address);
    const args = { size: '100000' };
    const shared = { key: `sensitive ${thread}`, size: '100000' };
    const answers = await Promise.all([
      c.call(on(thread, 'sample'), { args }).bytes(),
      c.call(on(thread, 'sample'), { args, sensitive: true }).bytes(),
      c.call(on(thread, 'shared'), { args: shared, sensitive: true }).bytes(),
      c.call(on(thread, 'text'), { sensitive: true }).bytes(),
      c.call(on(thread, 'sample'), { args }).bytes(),
    ]);
    for (const i of [0, 1, 2, 4]) t.is(digest(answers[i]), digest(sample(100_000, 1)));
    const { frames } = recorder.connections[0].toClient;
    const sensitive = frames.filter(({ requestId }) => [3, 5, 7].includes(requestId));
    t.true(sensitive.length >= 9);
    t.deepEqual(sensitive.filter(isEncoded), []);
    t.true(frames.some(isEncoded));
    t.is((await own.server.stats()).cache.entries, 0);
  });

  test(`${thread} thread: a command marked sensitive is, whatever the client says`, async (t) => {
    const handler = commands()[on(thread, 'sample')];
    const definition = typeof handler === 'function' ? { handler } : handler;
    const own = await serving(t, {
      commands: { [on(thread, 'sample')]: { ...definition, sensitive: true } },
    });
    const recorder = await recording(t, own.address);
    const c = await dial(t, recorder.address);
    const bytes = await c.call(on(thread, 'sample'), { args: { size: '100000' } }).bytes();
    t.is(digest(bytes), digest(sample(100_000, 1)));
    t.false(recorder.connections[0].toClient.frames.some(isEncoded));
  });
}

// ------------------------------------------------------------------------------------------- half duplex

/** Another connection's answer gives a server every chance to answer too early on ours. */
async function roundTrip(t: ExecutionContext, { address, server }: Serving): Promise<void> {
  const client = await raw(t, address.port);
  const exchange = client.start('lane-string');
  client.socket.end();
  t.is(String(await client.body(exchange)), 'just a string: é');
  await client.untilEnded();
  await server.stats();
}

test('half duplex: nothing comes before the end of input, then everything does', async (t) => {
  const own = await serving(t, { halfDuplex: true, commands: commands() });
  const client = await raw(t, own.address.port, {
    settings: { contentEncodings: ['zstd-8mb'] },
    manual: true,
  });
  client.write(
    client.put(1, 0, {
      type: Type.senderSettings,
      flags: 0,
      payload: JSON.stringify({ contentEncodings: ['zstd-8mb'] }),
    }),
  );
  const data = sample(700_000, 3);
  const exchanges = [
    client.start('string'),
    client.start('lane-string'),
    client.start('sample', { args: [['size', '200000']] }),
    client.start('lane-sample', { args: [['size', '200000']] }),
    client.start('echo', { data: [data.subarray(0, 30_000), data.subarray(30_000, 60_000)] }),
    client.start('no.such'),
  ];
  await roundTrip(t, own);
  t.is(client.frames.length, 0);
  client.socket.end();
  t.is(String(await client.body(exchanges[0])), 'just a string: é');
  t.is(String(await client.body(exchanges[1])), 'just a string: é');
  for (const i of [2, 3]) t.is(digest(await client.body(exchanges[i])), digest(sample(200_000, 1)));
  t.is(digest(await client.body(exchanges[4])), digest(data.subarray(0, 60_000)));
  t.is((await client.answer(exchanges[5])).kind, 'error');
  await client.untilEnded();
  t.deepEqual(client.violations, []);
});

test('half duplex: a protocol error waits for the end of input, behind what was finished before it', async (t) => {
  const own = await serving(t, { halfDuplex: true, commands: commands() });
  const client = await raw(t, own.address.port);
  const exchange = client.start('string');
  client.write(
    rawFrame({ request: 2, stream: 1, streamFlags: 0, type: Type.commandName, flags: 1, payload: 'x' }),
  );
  await roundTrip(t, own);
  t.is(client.frames.length, 0);
  client.socket.end();
  await client.untilEnded();
  t.is(client.protocolErrors.length, 1);
  t.regex(client.protocolErrors[0].payload.toString(), /even-request-id/);
  t.true(exchange.finished);
});

test('credit cannot come after the end of input: who needs it is told so', async (t) => {
  for (const thread of THREADS) {
    const client = await raw(t, running.address.port, {
      settings: { contentEncodings: ['zstd-8mb'], requestWindow: 50_000 },
    });
    const exchange = client.start(on(thread, 'sample'), { args: [['size', '200000']] });
    const small = client.start(on(thread, 'string'));
    client.socket.end();
    const outcome = await client.answer(exchange);
    t.is(outcome.kind, 'error');
    t.is((outcome as { message: string }).message, 'the response waits for credit, and the input has ended');
    t.is(String(await client.body(small)), 'just a string: é');
    await client.untilEnded();
    t.deepEqual(client.violations, []);
  }
});

test('frames that are not encoded share a stream with frames that are', async (t) => {
  const recorder = await recording(t, running.address);
  const c = await dial(t, recorder.address);
  for (const thread of THREADS) {
    await Promise.all(Array.from({ length: 5 }, () => c.call(on(thread, 'text')).text()));
    await Promise.all(Array.from({ length: 5 }, () => c.call(on(thread, 'progress')).text()));
    const error = await failure(c.call(on(thread, 'failing'), { args: { when: 'during' } }).bytes());
    t.regex(error.message, /internal error/);
  }
  const { toClient } = recorder.connections[0];
  const mixed = livesOf(toClient.frames).filter(
    ({ payloads, frames }) => payloads.length > 0 && frames > payloads.length + 1,
  );
  t.true(mixed.length > 0);
  t.true((await decodeThreeWays(t, toClient)) >= 40);
  const lastFrames = toClient.frames.filter(
    ({ type, flags }) => type === FrameType.bytesResponse && flags === BytesResponseFlag.eos,
  );
  t.is(lastFrames.length, 20);
});
