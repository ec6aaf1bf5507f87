// Settings and limits that are legal and make no sense, from a peer or an option, and peers that never end: each side goes on,
// or ends with an error that says why. A case that hangs is one that fails.
import test, { type ExecutionContext } from 'ava';
import {
  type Client,
  connectOver,
  DEFAULT_LIMITS,
  type Limits,
  memoryPair,
  type ServerOptions,
} from '../../src/index.ts';
import { LanePool } from '../../src/lanes/pool.ts';
import { makeServer } from '../../src/server/server.ts';
import { FrameType } from '../../src/wire/frame.ts';
import { Splitter } from '../../src/wire/splitter.ts';
import { after, MAX_TIMER_MS } from '../../src/wire/timers.ts';
import { frame, frames, HELLO, onCommand, RawPeer, times } from '../helpers/raw-peer.ts';
import { dial, impostor, PATIENT, serving } from '../helpers/serving.ts';

type T = ExecutionContext<unknown>;

/** Lanes are the dear part of a server: all of these share one. */
const lanes = new LanePool({ workers: 1, handlers: [], cacheLevel: 1, onLost: () => undefined });
test.after.always(() => lanes.close());

async function paired(t: T, server: ServerOptions, client: object): Promise<Client> {
  const made = makeServer({ onError: () => undefined, ...server }, () => lanes);
  t.teardown(() => made.close(0));
  const [here, there] = memoryPair();
  made.accept(there);
  return connectOver(here, { ...PATIENT, ...client });
}

/** What becomes of a client's calls: `fine`, or the first error. */
async function outcome(make: () => Promise<Client>, length = 40_000): Promise<string> {
  let client: Client | undefined;
  try {
    client = await make();
    for (const value of ['x', 'y'.repeat(length)]) {
      if ((await client.call('echo', { args: { value } }).text()) !== value) return 'other bytes';
      if ((await client.call('echo', { data: value }).text()) !== value) return 'other bytes';
    }
    await client.ping();
    return 'fine';
  } catch (error) {
    return (error as Error).message;
  } finally {
    client?.destroy();
    await client?.closed;
  }
}

const HUGE = [2 ** 31, Number.MAX_SAFE_INTEGER];
const NAMES = Object.keys(DEFAULT_LIMITS) as (keyof Limits)[];

for (const name of NAMES) {
  test(`limits.${name}: as large as it gets, on both sides, it is as good as none`, async (t) => {
    for (const value of HUGE) {
      const limits = { [name]: value };
      // Frames smaller than what is asked for are refused: that is what this one is for.
      const wanted = name === 'minFrameSize' ? /minFrameSize/ : /^fine$/;
      t.regex(await outcome(() => paired(t, { limits }, {})), wanted, `server ${value}`);
      t.regex(await outcome(() => paired(t, {}, { limits })), wanted, `client ${value}`);
    }
  });

  test(`limits.${name}: 1 ends in an answer or in an error that says what is wrong`, async (t) => {
    const limits = { [name]: 1 };
    const says = new RegExp(`^fine$|${name}|minFrameSize|does not fit a frame|does not speak`);
    t.regex(await outcome(() => paired(t, { limits }, {}), 2000), says, 'server');
    t.regex(await outcome(() => paired(t, {}, { limits }), 2000), says, 'client');
  });
}

const OPTIONS: Record<string, [ServerOptions, object]> = {
  'no memory for input': [{ inputMemory: 1 }, {}],
  'no memory for output': [{ outputMemory: 1 }, {}],
  'endless memory': [
    {
      inputMemory: Number.MAX_SAFE_INTEGER,
      outputMemory: Number.MAX_SAFE_INTEGER,
      cacheBytes: Number.MAX_SAFE_INTEGER,
    },
    { maxUnread: Number.MAX_SAFE_INTEGER },
  ],
  'windows of a byte': [{ frameSize: 1 }, { requestWindow: 1, connectionWindow: 1 }],
  'windows beyond what credit can say': [
    {},
    { requestWindow: Number.MAX_SAFE_INTEGER, connectionWindow: Number.MAX_SAFE_INTEGER },
  ],
  'times that no timer can wait': [
    { keepAliveInterval: MAX_TIMER_MS, streamLifetime: MAX_TIMER_MS },
    { keepAliveInterval: MAX_TIMER_MS },
  ],
};
for (const [what, [server, client]] of Object.entries(OPTIONS)) {
  test(`options: ${what}`, async (t) => {
    if (what === 'windows of a byte') {
      const one = await paired(t, server, client);
      t.is(await one.call('echo', { args: { value: 'a'.repeat(100) } }).text(), 'a'.repeat(100));
      one.destroy();
    } else t.is(await outcome(() => paired(t, server, client)), 'fine');
  });
}

test('a timer that is longer than timers can wait does not run out at once', async (t) => {
  let ran = false;
  for (const ms of [2 ** 31, Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY]) {
    const timer = after(ms, () => {
      ran = true;
    });
    t.teardown(() => clearTimeout(timer));
  }
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.false(ran);
});

// ------------------------------------------------------------------------------------- what peers announce

const VALUES = [
  '0',
  '-1',
  '1',
  '2',
  '1e3',
  '1e308',
  '1e400',
  '-1e308',
  '1e-300',
  '0.5',
  '4294967296',
  '9007199254740991',
  '9007199254740993',
  '"1"',
  '"NaN"',
  '""',
  'null',
  'true',
  '[]',
  '{}',
  '[[]]',
  '[1]',
  '["x"]',
  '[null]',
  `[${'"",'.repeat(1000)}""]`,
  `${'['.repeat(1500)}${']'.repeat(1500)}`,
  `${'{"a":'.repeat(500)}1${'}'.repeat(500)}`,
  '{"__proto__":{"length":9}}',
  '{"length":1000000000}',
]; // prettier-ignore
const KEYS = [
  'contentEncodings',
  'maxFrameSize',
  'maxConcurrentRequests',
  'requestWindow',
  'connectionWindow',
  'extensions',
  'maxPings',
  'maxCancels',
  'maxCredits',
  'maxStreamBegins',
  '__proto__',
  'constructor',
  'toString',
]; // prettier-ignore
const MORE = [
  '{}',
  '{"extensions":["credit"],"extensions":["ping"]}',
  '{"__proto__":null,"maxFrameSize":300}',
];
const ANNOUNCED = [...KEYS.flatMap((key) => VALUES.map((value) => `{"${key}":${value}}`)), ...MORE].filter(
  (text) => text.length <= 4096,
);
const settingsFrame = (id: number, text: string) =>
  frame(`0 ${id} stream-begin sender-settings 0 `, new TextEncoder().encode(text));

test(`a server goes on, or says what is wrong, whatever a client announces`, async (t) => {
  const server = makeServer({ onError: () => undefined }, () => lanes);
  t.teardown(() => server.close(0));
  for (const text of ANNOUNCED) {
    const [here, there] = memoryPair();
    server.accept(there);
    const said = await new Promise<string>((resolve) => {
      const splitter = new Splitter({
        maxPayload: 0xff_ffff,
        onFrame: ({ type, requestId, payload }) => {
          if (type !== FrameType.errorResponse) return;
          resolve(requestId === 1 ? 'answered' : new TextDecoder().decode(payload));
        },
      });
      here.onData = (chunk) => splitter.push(chunk);
      here.onClose = () => resolve('closed without a word');
      here.resume();
      here.write([settingsFrame(1, text), frame('1 1 0 command-name eos nobody')], () => undefined);
    });
    t.regex(said, /^answered$|^protocol error \((bad-payload|limit)\): /, text);
    here.destroy();
  }
});

/** A server that announces `text` and answers whatever is whole. */
function announcing(text: string) {
  const [here, there] = memoryPair();
  const answer = (id: number) => there.write([frame(`${id} 2 0 bytes-response eos fine`)], () => undefined);
  const splitter = new Splitter({
    maxPayload: 0xff_ffff,
    onFrame: ({ type, flags, requestId }) => {
      if (type === FrameType.commandName && flags === 1) answer(requestId);
      if (type === FrameType.commandArgument && (flags & 2) !== 0) answer(requestId);
    },
  });
  there.onData = (chunk) => splitter.push(chunk);
  there.onEnd = () => there.end();
  there.resume();
  there.write([settingsFrame(2, text)], () => undefined);
  return here;
}

test('a client goes on, or says what is wrong, whatever a server announces', async (t) => {
  const may =
    /^fine$|^sender-settings|^minFrameSize|bad-payload|protocol|limit|maxConcurrentRequests|does not fit a frame/;
  for (const text of ANNOUNCED) {
    let said = 'fine';
    let client: Client | undefined;
    try {
      client = await connectOver(announcing(text), PATIENT);
      await client.call('echo').text();
      said = await client.call('echo', { args: { value: 'x'.repeat(1000) } }).text();
    } catch (error) {
      said = (error as Error).message;
    }
    client?.destroy();
    t.regex(said, may, text);
  }
});

test('calls to a server that takes no requests fail at once, and say that nothing has run', async (t) => {
  const client = await connectOver(announcing('{"maxConcurrentRequests":0}'), PATIENT);
  const error = await t.throwsAsync(client.call('echo').text(), { message: /maxConcurrentRequests/ });
  t.like(error, { code: 'overloaded', notStarted: true });
  client.destroy();
});

// --------------------------------------------------------------------------------------------- without end

test('empty frames of a response without end are a protocol error that names the limit; some are none', async (t) => {
  const empty = frame('1 2 0 bytes-response continuation ');
  const where = await impostor(t, (socket) => {
    socket.write(frame('0 2 stream-begin sender-settings 0 {}'));
    const pour = () => {
      const timer = setInterval(
        () => socket.write(times(1000, () => frame('3 2 0 bytes-response continuation '))),
        1,
      );
      socket.once('close', () => clearInterval(timer));
    };
    onCommand(socket, (requestId) => {
      if (requestId === 3) return pour();
      socket.write(
        frames(
          times(DEFAULT_LIMITS.maxEmptyDataFrames, () => empty),
          '1 2 0 bytes-response eos whole',
        ),
      );
    });
  });
  const client = await dial(t, where);
  t.is(await client.call('x').text(), 'whole');
  await t.throwsAsync(client.call('x').text(), { message: /maxEmptyDataFrames/ });
});

test('a goaway that comes again and again is told once', async (t) => {
  const [here, there] = memoryPair();
  there.onEnd = () => there.end();
  there.resume();
  const goaway = frame('0 2 0 goaway 0 \\x00\\x00bye');
  there.write([frame('0 2 stream-begin sender-settings 0 {}')], () => undefined);
  const client = await connectOver(here, PATIENT);
  let told = 0;
  client.on('goaway', () => told++);
  there.write(
    [...Array.from({ length: 100 }, () => goaway), frame('0 2 0 ping 0 12345678')],
    () => undefined,
  );
  await new Promise<void>((resolve) => {
    there.onData = (bytes) => {
      if (Buffer.from(bytes).includes('12345678')) resolve();
    };
  });
  t.is(told, 1);
  client.destroy();
});

// ---------------------------------------------------------- our client against a server with small limits: it paces (senseless.slow.ts has more)

test('a client that takes few credit frames and pings is sent few', async (t) => {
  const { port } = await serving(t, { limits: { maxRequestData: 4096 } });
  const client = await dial(t, { port }, { limits: { maxCredits: 16, maxPings: 16 } });
  t.is((await client.call('echo', { data: 'd'.repeat(60_000) }).text()).length, 60_000);
  await Promise.all(Array.from({ length: 20 }, () => client.ping()));
  t.is(client.state, 'open');
});

test('a raw peer is told of rates only where they are smaller than by default', async (t) => {
  for (const [limits, has] of [
    [{}, false],
    [{ maxCancels: 3 }, true],
    [{ maxCancels: 5000 }, false],
  ] as const) {
    const { port } = await serving(t, { limits });
    const peer = await RawPeer.connect(t, port);
    peer.send(HELLO);
    await peer.seen();
    const settings = peer.frames.find(({ type }) => type === FrameType.senderSettings);
    t.is(JSON.parse(new TextDecoder().decode(settings?.payload)).maxCancels !== undefined, has);
  }
});
