// Every limit of protocol B-limits, just below, at and above it; and what holds a peer to time and to memory.
import zlib from 'node:zlib';
import ava, { type ExecutionContext } from 'ava';
import { nativeCodecs } from '../../src/encoding/native.ts';
import {
  type CommandRequest,
  createServer,
  DEFAULT_LIMITS,
  type Limits,
  type ServerOptions,
} from '../../src/index.ts';
import { encodeFrame, FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { encodeArgumentHead, encodeStreamSettings } from '../../src/wire/payloads.ts';
import { arrived, type Latch, makeLatch, release, stand } from '../fixtures/latch.ts';
import stubborn, { producer } from '../fixtures/stubborn.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { frame, HELLO, RawPeer, times } from '../helpers/raw-peer.ts';
import { halted, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

// One after the other: time is stopped for some.
const test = ava.serial;

/** A peer of a server with these options. */
async function served(t: ExecutionContext, options: ServerOptions): Promise<RawPeer> {
  return RawPeer.connect(t, (await serving(t, options)).port);
}

/** Another peer of the server, whose settings are sent: for round trips. */
async function witness(t: ExecutionContext, port: number): Promise<RawPeer> {
  const peer = await RawPeer.connect(t, port);
  peer.send(HELLO);
  await peer.seen();
  return peer;
}

type Frames = (string | Uint8Array)[];

interface Case {
  limit: keyof Limits;
  value: number;
  /** Frames that use `n` of what is limited. */
  make: (n: number) => Frames;
  /** More than `n` is right, less is wrong. */
  floor?: true;
  /** How far from the limit the neighbours are; default 1. */
  step?: number;
}

const BEGIN = '1 1 stream-begin command-name';
const many = (n: number, make: (i: number) => string | Uint8Array): Frames =>
  Array.from({ length: n }, (_, i) => make(i));
const argument = (request: number, flags: number, name: string, size: number): Uint8Array =>
  encodeFrame({
    requestId: request,
    streamId: 1,
    streamFlags: 0,
    type: FrameType.commandArgument,
    flags,
    payload: encodeArgumentHead(name, size, new Uint8Array(size).fill(120)),
  });

/** `echo` with `data` encoded as one frame on stream 3. */
function encodedEcho(profile: string, settings: Uint8Array, payload: Uint8Array): Frames {
  const frame = {
    requestId: 0,
    streamId: 3,
    streamFlags: StreamFlag.begin,
    type: FrameType.streamSettings,
    flags: 0,
  };
  return [
    HELLO,
    '1 1 0 command-name have-data echo',
    encodeFrame({ ...frame, payload: encodeStreamSettings(profile, settings) }),
    encodeFrame({
      ...frame,
      requestId: 1,
      streamFlags: StreamFlag.encoded,
      type: FrameType.commandData,
      flags: 2,
      payload,
    }),
  ];
}

function deflated(size: number): Uint8Array {
  return zlib.deflateSync(new Uint8Array(size), { finishFlush: zlib.constants.Z_SYNC_FLUSH });
}

function zstd(windowLog: number): Frames {
  const codec = nativeCodecs().find(({ profile }) => profile === 'zstd-8mb')!;
  const encoder = codec.createEncoder!({ windowLog });
  const target = new Uint8Array(1000);
  const length = encoder.encode(new Uint8Array(100), target, 0);
  encoder.close();
  return encodedEcho('zstd-8mb', new Uint8Array(0), target.subarray(0, length));
}

const WITH_CREDIT = HELLO.replace('"goaway"', '"data-credit"');
const data = (request: number, size: number) =>
  `${request} 1 0 command-data continuation ${'x'.repeat(size)}`;

const CASES: Case[] = [
  {
    limit: 'maxPayload',
    value: 100,
    make: (n) => [`${BEGIN} have-data echo`, `1 1 0 command-data eos ${'x'.repeat(n)}`],
  },
  { limit: 'maxCommandName', value: 8, make: (n) => [`${BEGIN} eos ${'n'.repeat(n)}`] },
  {
    limit: 'maxArguments',
    value: 4,
    make: (n) => [`${BEGIN} have-args echo`, ...many(n, (i) => argument(1, i === n - 1 ? 2 : 0, `a${i}`, 1))],
  },
  {
    limit: 'maxArgumentBytes',
    value: 50,
    make: (n) => [`${BEGIN} have-args echo`, argument(1, 0, 'a', 9), argument(1, 2, 'b', n - 11)],
  },
  {
    limit: 'maxConcurrentRequests',
    value: 128,
    make: (n) => [
      HELLO,
      ...many(n, (i) => `${2 * i + 1} 1 0 command-name ${i % 2 ? 'have-args' : 'eos'} hang`),
    ],
  },
  {
    limit: 'maxIncomingStreams',
    value: 3,
    make: (n) => many(n, (i) => `${2 * i + 1} ${2 * i + 1} stream-begin command-name eos echo`),
  },
  { limit: 'maxDecodedSize', value: 2000, make: (n) => encodedEcho('zlib', new Uint8Array(0), deflated(n)) },
  {
    limit: 'maxWindowSize',
    value: 2 ** 15,
    make: (n) => zstd(Math.log2(n)),
    step: 2 ** 14,
  },
  {
    limit: 'maxEmptyDataFrames',
    value: 5,
    make: (n) => [`${BEGIN} have-data echo`, ...many(n, () => '1 1 0 command-data continuation ')],
  },
  {
    limit: 'maxStreamBegins',
    value: 5,
    make: (n) => many(n, (i) => `${2 * i + 1} 1 stream-begin command-name eos echo`),
  },
  { limit: 'maxPings', value: 5, make: (n) => [HELLO, ...many(n, () => '0 1 0 ping 0 12345678')] },
  {
    limit: 'maxCredits',
    value: 5,
    make: (n) => [HELLO, ...many(n, () => '0 1 0 credit 0 \\x00\\x00\\x00\\x00')],
  },
  { limit: 'maxCancels', value: 5, make: (n) => [HELLO, ...many(n, () => '1 1 0 cancel 0 ')] },
  {
    limit: 'maxRequestData',
    value: 5,
    make: (n) => [WITH_CREDIT, '1 1 0 command-name have-data hang', data(1, n)],
  },
  {
    limit: 'maxConnectionData',
    value: 8,
    make: (n) => [
      WITH_CREDIT,
      '1 1 0 command-name have-data hang',
      '3 1 0 command-name have-data hang',
      data(1, 4),
      data(3, n - 4),
    ],
  },
  {
    limit: 'minFrameSize',
    value: 512,
    floor: true,
    make: (n) => [`0 1 stream-begin sender-settings 0 {"maxFrameSize":${n}}`],
  },
];

const hang = async (request: CommandRequest) =>
  new Promise<undefined>((resolve) => request.signal.addEventListener('abort', () => resolve(undefined)));

for (const { limit, value, make, floor, step = 1 } of CASES) {
  const [inside, outside] = floor
    ? [value + step, value - step]
    : [value - step, limit === 'maxWindowSize' ? 2 * value : value + step];
  test(`${limit} of ${value}: ${inside} and ${value} are taken, ${outside} is a protocol error that names it`, async (t) => {
    const { port } = await serving(t, { limits: { [limit]: value }, commands: { hang } });
    for (const n of [inside, value]) {
      const peer = await RawPeer.connect(t, port);
      peer.send(...make(n));
      // A witness that the server has seen it all and goes on: another request, where there may be one.
      if (limit === 'maxConcurrentRequests') await peer.seen();
      else {
        peer.send('65533 1 0 command-name eos x');
        if (limit === 'maxPayload' || limit.startsWith('maxDecoded') || limit === 'maxWindowSize')
          t.truthy(await peer.answer(1));
        t.is(await peer.answer(65_533), "error: unknown command 'x'");
      }
      t.true(peer.unharmed);
    }
    const peer = await RawPeer.connect(t, port);
    peer.send(...make(outside));
    t.regex((await peer.protocolError()) ?? '', new RegExp(`^protocol error \\(limit\\): .*\\b${limit}\\b`));
    await peer.until(() => peer.ended);
  });
}

// What a peer may reach by being fast alone fails the request, and the connection goes on.
const REQUESTS: Case[] = [
  {
    limit: 'maxHeldArgumentBytes',
    value: 100,
    make: (n) => [
      HELLO,
      '1 1 0 command-name have-args hang',
      argument(1, 2, 'a', 49),
      '3 1 0 command-name have-args hang',
      argument(3, 2, 'a', n - 51),
    ],
  },
  {
    limit: 'maxConcurrentRequests',
    value: 2,
    make: (n) => [HELLO, ...many(n, (i) => `${2 * i + 1} 1 0 command-name eos hang`)],
  },
];

for (const { limit, value, make } of REQUESTS) {
  test(`${limit} of ${value}: the request that passes it is refused, nothing of it runs, and the connection goes on`, async (t) => {
    let ran = 0;
    const count = (request: CommandRequest) => {
      ran++;
      return hang(request);
    };
    const { port } = await serving(t, { limits: { [limit]: value }, commands: { hang: count } });
    for (const n of [value - 1, value, value + 1]) {
      ran = 0;
      const peer = await RawPeer.connect(t, port);
      peer.send(...make(n));
      await peer.seen();
      const refused = peer.frames.filter(({ type }) => type === FrameType.errorResponse);
      t.deepEqual([refused.length, peer.unharmed], [n > value ? 1 : 0, true]);
      t.is(ran, Math.min(n, limit === 'maxConcurrentRequests' ? value : n > value ? 1 : 2));
      for (const { payload } of refused) t.regex(Buffer.from(payload).toString(), new RegExp(`^${limit}: `));
      // Once there is room, it may be made again.
      peer.send('1 1 0 cancel 0 ');
      t.is(await peer.answer(1), 'error: cancelled');
      peer.send('65533 1 0 command-name eos x');
      t.is(await peer.answer(65_533), "error: unknown command 'x'");
    }
  });
}

test('maxDecodedRatio: above 64 KiB a frame may decode to so many times its size, not more', async (t) => {
  const payload = deflated(100_000);
  const ratio = 100_000 / payload.length;
  const good = await served(t, { limits: { maxDecodedRatio: Math.ceil(ratio) } });
  good.send(...encodedEcho('zlib', new Uint8Array(0), payload));
  t.is((await good.answer(1))?.length, 100_000);
  const bad = await served(t, { limits: { maxDecodedRatio: Math.ceil(ratio) - 1 } });
  bad.send(...encodedEcho('zlib', new Uint8Array(0), payload));
  t.regex((await bad.protocolError()) ?? '', /\(limit\): .*maxDecodedRatio/);
});

const PAUSES: Record<string, [Frames, string]> = {
  'a header': [[new Uint8Array([4, 0, 0])], 'frame'],
  'a payload': [['3 1 0 command-name eos echo'].map((line) => frame(line).slice(0, 10)), 'frame'],
  'the arguments': [['3 1 0 command-name have-args echo'], 'command'],
  'the data': [['3 1 0 command-name have-data echo', '3 1 0 command-data continuation x'], 'command'],
};
for (const [where, [begun, what]] of Object.entries(PAUSES)) {
  test(`idleTimeout: a pause in ${where} is ended when it has lasted that long, not before`, async (t) => {
    const clock = stoppedClock(t);
    const { port } = await serving(t, { limits: { idleTimeout: 2000 } });
    const [peer, other] = [await RawPeer.connect(t, port), await witness(t, port)];
    // What comes in one piece is read in one piece: with the answer, the server has seen the beginning behind it.
    peer.send(HELLO, '1 1 0 command-name eos echo', ...begun);
    await peer.answer(1);
    clock.advance(1999);
    await other.seen();
    t.true(peer.unharmed);
    // It looks four times in that time.
    clock.advance(501);
    const error = (await peer.protocolError()) ?? '';
    t.regex(error, new RegExp(`timeout\\): idleTimeout: .*middle of a ${what}`));
  });
}

test('idleTimeout: a pause between commands is not ended', async (t) => {
  const clock = stoppedClock(t);
  const peer = await served(t, { limits: { idleTimeout: 200 } });
  peer.send(`${BEGIN} eos echo`);
  await peer.answer(1);
  clock.advance(60_000);
  peer.send('3 1 0 command-name eos echo');
  t.is(await peer.answer(3), '');
});

test('idleTimeout: other traffic of the connection does not keep a half-open command alive', async (t) => {
  const clock = stoppedClock(t);
  const peer = await served(t, { limits: { idleTimeout: 300 } });
  peer.send(HELLO, '1 1 0 command-name have-args echo');
  await peer.seen();
  for (let i = 0; i < 5; i++) {
    clock.advance(50);
    await peer.seen();
  }
  t.true(peer.unharmed);
  clock.advance(150);
  t.regex((await peer.protocolError()) ?? '', /timeout\): idleTimeout: request 1 /);
});

/** Sends piece after piece, 20 ms apart, until the server has had enough; returns for how long. */
async function trickle(t: ExecutionContext, limits: Partial<Limits>, piece: (i: number) => Uint8Array) {
  const clock = stoppedClock(t);
  const { port } = await serving(t, { limits });
  const [peer, other] = [await RawPeer.connect(t, port), await witness(t, port)];
  let passed = 0;
  for (let i = 0; peer.unharmed && passed < 60_000; i++, passed += 20) {
    peer.send(piece(i));
    await other.seen();
    clock.advance(20);
  }
  return { passed, error: (await peer.protocolError()) ?? '' };
}

test('frameTimeout: a frame that trickles byte by byte is ended all the same', async (t) => {
  const long = frame('1 1 stream-begin command-name eos ', new Uint8Array(5000));
  const { passed, error } = await trickle(t, { frameTimeout: 2000, idleTimeout: 1000 }, (i) =>
    long.slice(i, i + 1),
  );
  t.regex(error, /timeout\): frameTimeout: /);
  t.true(passed >= 2000 && passed < 4000, `after ${passed} ms`);
});

test('commandTimeout: arguments that trickle frame by frame are ended all the same', async (t) => {
  const { passed, error } = await trickle(t, { commandTimeout: 2000, idleTimeout: 1000 }, (i) =>
    i === 0 ? frame(`${BEGIN} have-args echo`) : argument(1, 0, `a${i}`, 1),
  );
  t.regex(error, /timeout\): commandTimeout: .*request 1 /);
  t.true(passed >= 2000 && passed < 4000, `after ${passed} ms`);
});

test('time limits stand still while it is we who do not read', async (t) => {
  const clock = stoppedClock(t);
  const latch = makeLatch();
  const slow = async function* (request: CommandRequest) {
    await stand(latch);
    for await (const piece of request.data) yield piece;
  };
  const limits = { maxBufferedInput: 1000, idleTimeout: 150, frameTimeout: 150 };
  const { port } = await serving(t, { limits, commands: { slow } });
  const [peer, other] = [await RawPeer.connect(t, port), await witness(t, port)];
  peer.send(
    `${BEGIN} have-data slow`,
    ...many(200, () => `1 1 0 command-data continuation ${'x'.repeat(1000)}`),
  );
  await arrived(latch, 1);
  // By then it reads nothing more.
  await halted(
    () => peer.socket.writableLength,
    () => other.seen(),
  );
  clock.advance(10_000);
  await other.seen();
  t.true(peer.unharmed);
  release(latch);
  peer.send('1 1 0 command-data eos ');
  t.is((await peer.answer(1))?.length, 200_000);
});

test('maxBufferedOutput: a handler waits when a peer does not read, and its bytes are bounded', async (t) => {
  let made = 0;
  const pour = async function* () {
    for (; made < 200 << 20; made += 16_384) yield new Uint8Array(16_384);
  };
  const { port } = await serving(t, { limits: { maxBufferedOutput: 256 * 1024 }, commands: { pour } });
  const [peer, other] = [await RawPeer.connect(t, port), await witness(t, port)];
  peer.socket.pause();
  peer.send(`${BEGIN} eos pour`);
  const stopped = await halted(
    () => made,
    () => other.seen(),
  );
  // Beside ours, what the kernel's buffers take.
  t.true(stopped > 0 && stopped < 16 << 20, `${stopped} bytes`);
});

test('maxBufferedInput: a peer is not read while its handler is slow, and tiny pieces count with what they cost', async (t) => {
  const { port } = await serving(t, { commands: { hang } });
  const [peer, other] = [await RawPeer.connect(t, port), await witness(t, port)];
  peer.send(`${BEGIN} have-data hang`);
  const tiny = times(20_000, () => '1 1 0 command-data continuation x');
  for (let i = 0; i < 200; i++) peer.socket.write(tiny);
  const left = await halted(
    () => peer.socket.writableLength,
    () => other.seen(),
  );
  t.true(left > 10 << 20, `the peer still has ${left} bytes to send`);
});

test('a peer that pings and never reads is not read any more', async (t) => {
  const { port } = await serving(t, { limits: { maxBufferedOutput: 64 * 1024, maxPings: 1e9 } });
  const [peer, other] = [await RawPeer.connect(t, port), await witness(t, port)];
  peer.socket.pause();
  peer.send(HELLO);
  const pings = times(10_000, () => '0 1 0 ping 0 12345678');
  for (let i = 0; i < 300; i++) peer.socket.write(pings);
  const left = await halted(
    () => peer.socket.writableLength,
    () => other.seen(),
  );
  t.true(left > 1 << 20, `the peer still has ${left} bytes to send`);
});

const STUBBORN = new URL('../fixtures/stubborn.ts', import.meta.url);

const STUBBORN_WORK: Record<string, (latch: Latch) => ServerOptions> = {
  'a handler on the main thread': (latch) => ({ commands: { stubborn: stubborn(latch) } }),
  'a handler in a lane': (latch) => ({ commands: { stubborn: { module: STUBBORN, options: latch } } }),
  'cached output made on the main thread': (latch) => ({ commands: { stubborn: producer(latch) } }),
  'cached output made in a lane': (latch) => ({
    commands: { stubborn: { module: STUBBORN, export: 'producer', options: latch } },
  }),
  'the authorize hook': (latch) => ({
    commands: { stubborn: () => 'never runs' },
    authorize: async ({ command }) => {
      if (command === 'stubborn') await stand(latch);
      return true;
    },
  }),
};

for (const [what, options] of Object.entries(STUBBORN_WORK)) {
  test(`rapid reset: a cancelled request counts until its code has ended: ${what}`, async (t) => {
    const latch = makeLatch();
    t.teardown(() => release(latch));
    const peer = await served(t, { limits: { maxConcurrentRequests: 4 }, ...options(latch) });
    let id = -1;
    let asked = 0;
    /** Asks for `count`, and cancels each when its code runs. */
    const resets = async (count: number) => {
      const ids = Array.from({ length: count }, (_, i) => id + 2 * (i + 1));
      id += 2 * count;
      asked += count;
      peer.send(...ids.map((each) => `${each} 1 0 command-name eos stubborn`));
      await arrived(latch, asked);
      peer.send(...ids.map((each) => `${each} 1 0 cancel 0 `));
      for (const each of ids) t.is(await peer.answer(each), 'error: cancelled');
    };
    const another = async () => {
      id += 2;
      peer.send(`${id} 1 0 command-name have-data echo`, `${id} 1 0 command-data eos more`);
      return peer.answer(id);
    };
    const TOO_MANY = 'error: maxConcurrentRequests: 4 cancelled requests are still at work';
    peer.send(HELLO.replace('{', '{"contentEncodings":["zstd-8mb"],'));
    for (let round = 0; round < 2; round++) {
      await resets(4);
      // What a peer cannot know does not end its connection, whatever else it sends of the command.
      for (let i = 0; i < 3; i++) t.is(await another(), TOO_MANY);
      release(latch);
      // Once their code has ended, four more may run.
      let answer = await another();
      while (answer === TOO_MANY) answer = await another();
      t.notRegex(answer ?? 'the end', /^error|^the end/);
    }
    await resets(1);
  });
}

test('every limit is a documented option with a test here', async (t) => {
  const apart = [
    'maxDecodedRatio',
    'idleTimeout',
    'frameTimeout',
    'commandTimeout',
    'maxBufferedOutput',
    'maxBufferedInput',
    // test/doors
    'openingTimeout',
    'maxMessage',
    'maxRequestHead',
    'maxBody',
    // test/topics
    'maxMessageBytes',
    'maxTopicBacklog',
  ];
  t.deepEqual(
    [...new Set([...CASES, ...REQUESTS].map(({ limit }) => limit as string)), ...apart].sort(),
    Object.keys(DEFAULT_LIMITS).sort(),
  );
  t.throws(() => createServer({ limits: { maxPayload: 0 } }), { message: /maxPayload/ });
  t.throws(() => createServer({ limits: { maxNonsense: 1 } as Partial<Limits> }), { message: /maxNonsense/ });
});
