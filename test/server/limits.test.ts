// Every limit of protocol B-limits, just below, at and above it; and what holds a peer to time and to memory.
import { setTimeout as sleep } from 'node:timers/promises';
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
import stubborn, { producer } from '../fixtures-limits/stubborn.ts';
import { HELLO, RawPeer } from '../helpers/raw-peer.ts';

// One after the other: time limits want a machine that is not busy with starting thirty servers.
const test = ava.serial;

async function serve(t: ExecutionContext, options: ServerOptions): Promise<RawPeer> {
  const server = createServer({ workers: 1, ...options });
  const { port } = (await server.listen()) as { port: number };
  const peer = await RawPeer.connect(port);
  t.teardown(async () => {
    peer.close();
    await server.close(100);
  });
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
    limit: 'maxHeldArgumentBytes',
    value: 100,
    make: (n) => [
      `${BEGIN} have-args hang`,
      argument(1, 2, 'a', 49),
      '3 1 0 command-name have-args hang',
      argument(3, 0, 'a', n - 51),
    ],
  },
  {
    limit: 'maxConcurrentRequests',
    value: 4,
    make: (n) =>
      many(n, (i) => `${2 * i + 1} 1 ${i === 0 ? 1 : 0} command-name ${i % 2 ? 'have-args' : 'eos'} hang`),
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
  for (const n of [inside, value]) {
    test(`${limit} of ${value}: ${n} is taken`, async (t) => {
      const peer = await serve(t, { limits: { [limit]: value }, commands: { hang } });
      peer.send(...make(n));
      // A witness that the server has seen it all and goes on: as the first ID is taken, another one.
      if (limit !== 'maxConcurrentRequests') {
        peer.send('65533 1 0 command-name eos x');
        if (limit === 'maxPayload' || limit.startsWith('maxDecoded') || limit === 'maxWindowSize')
          t.truthy(await peer.answer(1));
        t.is(await peer.answer(65_533), "error: unknown command 'x'");
      }
      t.is(await peer.protocolError(50), undefined);
    });
  }

  test(`${limit} of ${value}: ${outside} is a protocol error that names it`, async (t) => {
    const peer = await serve(t, { limits: { [limit]: value }, commands: { hang } });
    peer.send(...make(outside));
    const error = await peer.protocolError();
    t.regex(error ?? '', new RegExp(`^protocol error \\(limit\\): .*\\b${limit}\\b`));
    t.true(await peer.until(() => peer.ended));
  });
}

test('maxDecodedRatio: above 64 KiB a frame may decode to so many times its size, not more', async (t) => {
  const payload = deflated(100_000);
  const ratio = 100_000 / payload.length;
  const good = await serve(t, { limits: { maxDecodedRatio: Math.ceil(ratio) } });
  good.send(...encodedEcho('zlib', new Uint8Array(0), payload));
  t.is((await good.answer(1))?.length, 100_000);
  const bad = await serve(t, { limits: { maxDecodedRatio: Math.ceil(ratio) - 1 } });
  bad.send(...encodedEcho('zlib', new Uint8Array(0), payload));
  t.regex((await bad.protocolError()) ?? '', /\(limit\): .*maxDecodedRatio/);
});

test('idleTimeout: a pause in a header, in a payload and in a command is ended, one between commands is not', async (t) => {
  const limits = { idleTimeout: 200 };
  const pauses: [string, Frames, string][] = [
    ['header', [new Uint8Array([4, 0, 0])], 'frame'],
    [
      'payload',
      [
        encodeFrame({
          requestId: 1,
          streamId: 1,
          streamFlags: 1,
          type: 1,
          flags: 1,
          payload: new Uint8Array(9),
        }).slice(0, 12),
      ],
      'frame',
    ],
    ['arguments', [`${BEGIN} have-args echo`], 'command'],
    ['data', [`${BEGIN} have-data echo`, '1 1 0 command-data continuation x'], 'command'],
  ];
  await Promise.all(
    pauses.map(async ([where, frames, what]) => {
      const peer = await serve(t, { limits });
      const from = performance.now();
      peer.send(...frames);
      t.regex(
        (await peer.protocolError()) ?? '',
        new RegExp(`timeout\\): idleTimeout: .*middle of a ${what}`),
        where,
      );
      const took = performance.now() - from;
      t.true(took >= 190 && took < 1500, `${where}: ${took} ms`);
    }),
  );
  const silent = await serve(t, { limits });
  silent.send(`${BEGIN} eos echo`);
  t.is(await silent.protocolError(600), undefined);
  t.false(silent.ended);
});

test('idleTimeout: other traffic of the connection does not keep a half-open command alive', async (t) => {
  const peer = await serve(t, { limits: { idleTimeout: 300 } });
  peer.send(HELLO, '1 1 0 command-name have-args echo');
  const pings = setInterval(() => peer.send('0 1 0 ping 0 12345678'), 50);
  t.regex((await peer.protocolError(2000)) ?? '', /timeout\): idleTimeout: request 1 /);
  clearInterval(pings);
});

test('frameTimeout: a frame that trickles byte by byte is ended all the same', async (t) => {
  const peer = await serve(t, { limits: { frameTimeout: 400, idleTimeout: 200 } });
  const frame = encodeFrame({
    requestId: 1,
    streamId: 1,
    streamFlags: 1,
    type: 1,
    flags: 1,
    payload: new Uint8Array(200),
  });
  let at = 0;
  const drip = setInterval(() => peer.send(frame.slice(at, ++at)), 20);
  t.regex((await peer.protocolError()) ?? '', /timeout\): frameTimeout: /);
  t.true(at > 3 && at < 100, `after ${at} bytes`);
  clearInterval(drip);
});

test('commandTimeout: arguments that trickle frame by frame are ended all the same', async (t) => {
  const peer = await serve(t, { limits: { commandTimeout: 400, idleTimeout: 200 } });
  peer.send(`${BEGIN} have-args echo`);
  let sent = 0;
  const drip = setInterval(() => peer.send(argument(1, 0, `a${sent++}`, 1)), 20);
  t.regex((await peer.protocolError()) ?? '', /timeout\): commandTimeout: .*request 1 /);
  clearInterval(drip);
});

test('time limits stand still while it is we who do not read', async (t) => {
  let release: () => void = () => undefined;
  const slow = async function* (request: CommandRequest) {
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    for await (const piece of request.data) yield piece;
  };
  const limits = { maxBufferedInput: 1000, idleTimeout: 150, frameTimeout: 150 };
  const peer = await serve(t, { limits, commands: { slow } });
  peer.send(
    `${BEGIN} have-data slow`,
    ...many(200, () => `1 1 0 command-data continuation ${'x'.repeat(1000)}`),
  );
  await sleep(700);
  t.is(await peer.protocolError(1), undefined);
  release();
  peer.send('1 1 0 command-data eos ');
  t.is((await peer.answer(1))?.length, 200_000);
});

test('maxBufferedOutput: a handler waits when a peer does not read, and its bytes are bounded', async (t) => {
  let made = 0;
  const pour = async function* () {
    for (; made < 200 << 20; made += 16_384) yield new Uint8Array(16_384);
  };
  const peer = await serve(t, { limits: { maxBufferedOutput: 256 * 1024 }, commands: { pour } });
  peer.socket.pause();
  peer.send(`${BEGIN} eos pour`);
  await sleep(500);
  const stopped = made;
  await sleep(300);
  t.is(made, stopped, 'it waits');
  // Beside ours, what the kernel's buffers take.
  t.true(stopped < 16 << 20, `${stopped} bytes`);
});

test('maxBufferedInput: a peer is not read while its handler is slow, and tiny pieces count with what they cost', async (t) => {
  const wait = async (request: CommandRequest) => void (await hang(request));
  const peer = await serve(t, { commands: { wait } });
  peer.send(`${BEGIN} have-data wait`);
  const tiny = Buffer.concat(
    many(20_000, () =>
      encodeFrame({
        requestId: 1,
        streamId: 1,
        streamFlags: 0,
        type: 3,
        flags: 1,
        payload: new Uint8Array(1),
      }),
    ) as Uint8Array[],
  );
  for (let i = 0; i < 200; i++) peer.socket.write(tiny);
  await sleep(500);
  t.true(
    peer.socket.writableLength > 10 << 20,
    `the peer still has ${peer.socket.writableLength} bytes to send`,
  );
});

test('a peer that pings and never reads is not read any more', async (t) => {
  const peer = await serve(t, { limits: { maxBufferedOutput: 64 * 1024, maxPings: 1e9 } });
  peer.socket.pause();
  peer.send(HELLO);
  const pings = Buffer.concat(
    many(10_000, () =>
      encodeFrame({
        requestId: 0,
        streamId: 1,
        streamFlags: 0,
        type: 12,
        flags: 0,
        payload: new Uint8Array(8),
      }),
    ) as Uint8Array[],
  );
  for (let i = 0; i < 300; i++) peer.socket.write(pings);
  await sleep(1500);
  t.true(
    peer.socket.writableLength > 1 << 20,
    `the peer still has ${peer.socket.writableLength} bytes to send`,
  );
});

const STUBBORN = new URL('../fixtures-limits/stubborn.ts', import.meta.url);

const STUBBORN_WORK: Record<string, ServerOptions> = {
  'a handler on the main thread': { commands: { stubborn } },
  'a handler in a lane': { commands: { stubborn: { module: STUBBORN } } },
  'cached output made on the main thread': { commands: { stubborn: producer } },
  'cached output made in a lane': { commands: { stubborn: { module: STUBBORN, export: 'producer' } } },
  'the authorize hook': {
    commands: { stubborn: () => 'never runs' },
    authorize: async ({ command }) => command === undefined || sleep(1500, true),
  },
};

for (const [what, options] of Object.entries(STUBBORN_WORK)) {
  test(`rapid reset: a cancelled request counts until its code has ended: ${what}`, async (t) => {
    const peer = await serve(t, { limits: { maxConcurrentRequests: 4 }, ...options });
    const ask = (ids: number[]) => peer.send(...ids.map((id) => `${id} 1 0 command-name eos stubborn`));
    const cancel = async (ids: number[]) => {
      // By then their code runs.
      await sleep(200);
      peer.send(...ids.map((id) => `${id} 1 0 cancel 0 `));
      for (const id of ids) t.is(await peer.answer(id), 'error: cancelled');
    };
    peer.send(HELLO.replace('{', '{"contentEncodings":["zstd-8mb"],'));
    ask([1, 3, 5, 7]);
    await cancel([1, 3, 5, 7]);
    await sleep(2000);
    // Their code has ended: four more may run.
    ask([9, 11, 13, 15]);
    await cancel([9, 11, 13, 15]);
    // What a peer cannot know does not end its connection, whatever else it sends of the command.
    peer.send('17 1 0 command-name have-data stubborn', '17 1 0 command-data eos more');
    t.is(await peer.answer(17), 'error: maxConcurrentRequests: 4 cancelled requests are still at work');
    await sleep(2000);
    ask([19]);
    await cancel([19]);
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
  ];
  t.deepEqual(
    [...CASES.map(({ limit }) => limit as string), ...apart].sort(),
    Object.keys(DEFAULT_LIMITS).sort(),
  );
  t.throws(() => createServer({ limits: { maxPayload: 0 } }), { message: /maxPayload/ });
  t.throws(() => createServer({ limits: { maxNonsense: 1 } as Partial<Limits> }), { message: /maxNonsense/ });
});
