import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { makeClient } from '../../src/client/client.ts';
import { CodecRegistry } from '../../src/encoding/registry.ts';
import { type Client, CommandError, ConnectionError, ProtocolError } from '../../src/index.ts';
import { SocketTransport } from '../../src/transport/socket.ts';
import { encodeFrame, FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { encodeGoaway, encodeSenderSettings, encodeStreamSettings } from '../../src/wire/payloads.ts';
import { commands } from '../helpers/commands.ts';
import { digest, sample } from '../helpers/samples.ts';
import {
  dial,
  failure,
  halted,
  impostor,
  listening,
  rawSocket,
  reach,
  servingOnSharedLanes,
} from '../helpers/serving.ts';
import { Client as RawClient, rawFrame, Type } from '../independent/client.ts';

const serving = servingOnSharedLanes(test);

const NOTHING = new Uint8Array(0);

function frame(
  type: number,
  flags: number,
  payload: Uint8Array = NOTHING,
  { requestId = 0, streamId = 2, streamFlags = 0 } = {},
): Uint8Array {
  return encodeFrame({ type, flags, payload, requestId, streamId, streamFlags });
}

const begin = { streamFlags: StreamFlag.begin };
const SETTINGS = frame(
  FrameType.senderSettings,
  0,
  encodeSenderSettings({ contentEncodings: ['zstd-8mb', 'zlib'], extensions: ['cancel', 'ping', 'goaway'] }),
  begin,
);

/** A millrace server as far as its settings; what follows is up to the test. */
async function hostile(t: ExecutionContext, reply: (request: number) => Uint8Array[]): Promise<Client> {
  const where = await impostor(t, (socket) => {
    socket.write(SETTINGS);
    // The first chunk that has a command in it is answered.
    socket.on('data', (chunk: Buffer) => {
      if (chunk.includes('command')) for (const bytes of reply(1)) socket.write(bytes);
    });
    socket.on('end', () => socket.end());
  });
  return dial(t, where);
}

test('a server that ends its side and reads nothing more: the calls in flight fail', async (t) => {
  const reader = Promise.withResolvers<void>();
  const settings = encodeSenderSettings({ extensions: [] });
  const where = await impostor(t, (socket) => {
    socket.pause();
    socket.write(frame(FrameType.senderSettings, 0, settings, begin));
    reader.promise.then(() => socket.end());
  });
  const client = await dial(t, where);
  let sent = 0;
  const data = async function* () {
    for (; ; sent++) yield new Uint8Array(1 << 20);
  };
  const error = failure(client.call('upload', { data: data() }).text());
  // Until neither the system nor we take more of it.
  await halted(() => sent, turn);
  reader.resolve();
  t.is((await error).message, `127.0.0.1:${where.port} closed the connection`);
  await client.closed;
});

test('a server that takes more requests than there are IDs gets as many as there are, and the others wait', async (t) => {
  const settings = encodeSenderSettings({ maxConcurrentRequests: 1_000_000, extensions: [] });
  const where = await impostor(t, (socket) => {
    socket.resume().write(frame(FrameType.senderSettings, 0, settings, begin));
  });
  const client = await dial(t, where);
  const calls = Array.from({ length: 33_000 }, () => client.call('c'));
  const waiting = calls.filter(({ requestId }) => requestId === 0);
  t.is(waiting.length, 33_000 - 32_768);
  t.true(calls.every(({ over }) => !over));
});

test('a server that never closes its side does not keep a client from closing', async (t) => {
  const where = await impostor(t, (socket) => {
    socket.resume().write(SETTINGS);
  });
  const client = await dial(t, where, { keepAliveInterval: 0, limits: { idleTimeout: 50 } });
  await client.close();
  t.is((await failure(client.call('late').text())).message, 'the client is closed');
});

// ----------------------------------------------------------------------------- no connection, or a wrong one

test('nobody listens: one line that says so', async (t) => {
  const { server, address } = await serving(t);
  await server.close();
  const error = await failure(reach(address));
  t.true(error instanceof ConnectionError);
  t.is(error.message, `cannot connect to 127.0.0.1:${address.port}: nothing listens there`);
});

test('no such Unix socket, no such host: one line that says so', async (t) => {
  const path = join(tmpdir(), 'millrace-no-such.sock');
  t.is((await failure(reach({ path }))).message, `cannot connect to ${path}: there is no such socket`);
  const host = 'no-such-host.invalid';
  const { message } = await failure(reach({ host, port: 1 }));
  t.regex(message, /^cannot connect to no-such-host\.invalid:1: /);
});

const NOT_MILLRACE = 'does not speak the millrace protocol';

test('an HTTP server is not a millrace server: one line that says so', async (t) => {
  const server = createHttpServer((_request, response) => response.end('hello'));
  const port = await listening(server);
  t.teardown(() => {
    server.closeAllConnections();
    return new Promise<void>((resolve) => server.close(() => resolve()));
  });
  const error = await failure(reach({ port }));
  t.true(error instanceof ConnectionError);
  t.is(error.message, `127.0.0.1:${port} ${NOT_MILLRACE}`);
});

const CLOSED = 'closed the connection without an answer: it does not speak the millrace protocol';
const IMPOSTORS: [string, (socket: Socket) => void, string][] = [
  ['closes at once', (socket) => socket.end(), `${CLOSED}, or wants TLS`],
  ['greets like SMTP', (socket) => socket.write('220 mail.example ESMTP\r\n'), NOT_MILLRACE],
  ['greets like SSH', (socket) => socket.write('SSH-2.0-OpenSSH_9.9\r\n'), NOT_MILLRACE],
  [
    'alerts as a TLS server',
    (socket) => socket.end(Uint8Array.of(0x15, 3, 3, 0, 2, 2, 10)),
    `${NOT_MILLRACE}, or wants TLS`,
  ],
  ['sends few bytes that are none of a frame', (socket) => socket.end('ok\r\n'), NOT_MILLRACE],
];

for (const [what, talk, message] of IMPOSTORS) {
  test(`connect() to a server that ${what} fails in one line`, async (t) => {
    const where = await impostor(t, talk);
    const error = await failure(reach(where));
    t.true(error instanceof ConnectionError);
    t.is(error.message, `127.0.0.1:${where.port} ${message}`);
  });
}

test('connect() to a server that resets at once fails in one line', async (t) => {
  const where = await impostor(t, (socket) => socket.resetAndDestroy());
  const error = await failure(reach(where));
  t.true(error instanceof ConnectionError);
  const name = `127.0.0.1:${where.port}`;
  // The reset may come before the connection counts as made.
  const before = `cannot connect to ${name}: it closed the connection`;
  t.true([before, `${name} ${CLOSED} (read ECONNRESET)`].includes(error.message), error.message);
});

test('connect() to a server that sends zeros: a protocol error that names what is wrong with them', async (t) => {
  const where = await impostor(t, (socket) => socket.write(new Uint8Array(64)));
  const error = await failure(reach(where));
  t.true(error instanceof ProtocolError);
  t.regex(error.message, /stream/);
});

test('connect() with TLS to what closes at once: it was the handshake that it closed in', async (t) => {
  const where = await impostor(t, (socket) => socket.end());
  const error = await failure(reach(where, { tls: {} }));
  t.is(
    error.message,
    `cannot connect to 127.0.0.1:${where.port}: it closed the connection during the TLS handshake`,
  );
});

test('a client that is destroyed before its server has answered says that, and nothing of the protocol', async (t) => {
  const where = await impostor(t, (socket) => socket.resume());
  const socket = await rawSocket(t, where);
  const client = makeClient(new SocketTransport(socket, 'there'), new CodecRegistry([]));
  const ready = failure(client.ready());
  client.destroy();
  t.is((await ready).message, 'the client is closed');
});

test('a part-A server is served by a plain client', async (t) => {
  const where = await impostor(t, (socket) => {
    socket.on('data', () => {
      const at = { requestId: 1, streamFlags: StreamFlag.begin };
      socket.write(frame(FrameType.bytesResponse, 2, new TextEncoder().encode('old'), at));
    });
    socket.on('end', () => socket.end());
  });
  const client = await dial(t, where, { plain: true });
  t.is(await client.call('capabilities').text(), 'old');
});

// --------------------------------------------------------------------------------- a server that goes wrong

const text = (message: string) => new TextEncoder().encode(message);

/** A stream that says it is `profile` and then carries `payload` as an encoded frame of the request. */
function encoded(profile: string, payload: Uint8Array): Uint8Array[] {
  const settings = encodeStreamSettings(profile, NOTHING);
  return [
    frame(FrameType.streamSettings, 0, settings, { streamId: 4, streamFlags: StreamFlag.begin }),
    frame(FrameType.bytesResponse, 1, payload, {
      requestId: 1,
      streamId: 4,
      streamFlags: StreamFlag.encoded,
    }),
  ];
}

const WRONG: [string, Uint8Array[], RegExp][] = [
  ['corrupt zstd', encoded('zstd-8mb', sample(100, 1)), /zstd|magic|corrupt|frame/i],
  ['corrupt zlib', encoded('zlib', sample(100, 1)), /zlib|header|corrupt/i],
  ['an unknown profile', encoded('brotli', text('x')), /unknown profile 'brotli'/],
  [
    'a response to nobody',
    [frame(FrameType.bytesResponse, 2, text('x'), { requestId: 77 })],
    /request 77, which is not open/,
  ],
  [
    'a response without flags',
    [frame(FrameType.bytesResponse, 0, text('x'), { requestId: 1 })],
    /exactly one flag/,
  ],
  [
    'a frame on a stream of ours',
    [frame(FrameType.bytesResponse, 2, text('x'), { requestId: 1, streamId: 3 })],
    /stream 3/,
  ],
  [
    'a frame on a closed stream',
    [frame(FrameType.bytesResponse, 2, text('x'), { requestId: 1, streamId: 8 })],
    /closed stream 8/,
  ],
  [
    'a command',
    [frame(FrameType.commandName, 1, text('x'), { requestId: 1 })],
    /type 1 is not for the server/,
  ],
  ['an unknown type', [frame(15, 0, text('x'), { requestId: 1 })], /unknown frame type 15/],
  ['its settings twice', [SETTINGS.slice()], /first frame/],
  [
    'a protocol error',
    [frame(FrameType.errorResponse, 1, text('you talk nonsense'), { requestId: 1 })],
    /^the server reports: you talk nonsense$/,
  ],
  ['too long a frame', [Uint8Array.of(0xff, 0xff, 0xff, 1, 0, 2, 0, 0x41)], /limit maxPayload is 65535/],
];

for (const [what, reply, message] of WRONG) {
  test(`a server that sends ${what} fails every request of that client with one clear line`, async (t) => {
    const client = await hostile(t, () => reply);
    const responses = [client.call('other', {}), client.call('command'), client.call('another')];
    const errors = await Promise.all(responses.map((response) => failure(response.bytes())));
    for (const error of errors) {
      t.true(error instanceof ProtocolError || error instanceof ConnectionError, error.name);
      t.regex(error.message, message);
      t.false(error.message.includes('\n'));
      t.is(error.message, errors[0].message);
    }
    await client.closed;
    t.true((await failure(client.call('command').bytes())) instanceof Error, 'nothing more can be asked');
    await t.throwsAsync(client.ping());
  });
}

test('a server that closes in the middle of a frame: the stream is said to be cut off', async (t) => {
  const where = await impostor(t, (socket) => {
    socket.write(SETTINGS);
    socket.once('data', () => {
      const whole = frame(FrameType.bytesResponse, 2, sample(1000, 1), { requestId: 1 });
      socket.end(whole.subarray(0, 500));
    });
  });
  const client = await dial(t, where);
  const error = await failure(client.call('command').bytes());
  t.regex(error.message, /^input ends inside a frame's payload, after 492 of 1000 bytes$/);
});

test('a server that closes between frames: the requests in flight fail, those that are whole do not', async (t) => {
  const client = await (async () => {
    const where = await impostor(t, (socket) => {
      socket.write(SETTINGS);
      socket.on('data', (chunk: Buffer) => {
        if (!chunk.includes('last')) return;
        socket.write(frame(FrameType.bytesResponse, 2, text('whole'), { requestId: 1 }));
        socket.end(frame(FrameType.bytesResponse, 1, text('half'), { requestId: 3 }));
      });
    });
    return dial(t, where);
  })();
  const [whole, half, last] = ['first', 'second', 'last'].map((name) => client.call(name));
  t.is(await whole.text(), 'whole');
  for (const response of [half, last]) {
    const error = await failure(response.bytes());
    t.true(error instanceof ConnectionError);
    t.regex(error.message, /closed the connection$/);
  }
  t.is((await failure(client.call('more').bytes())).message, 'the server has closed the connection');
});

test('a server that goes away is asked nothing more', async (t) => {
  const client = await hostile(t, () => [
    frame(FrameType.goaway, 0, encodeGoaway(1, 'for maintenance')),
    frame(FrameType.bytesResponse, 2, text('still answered'), { requestId: 1 }),
  ]);
  t.is(await client.call('command').text(), 'still answered');
  t.is((await failure(client.call('next').bytes())).message, 'the server is going away: for maintenance');
});

test('a response is read once: the second reader is told so, and not given nothing', async (t) => {
  const { address } = await serving(t, { commands: { hello: () => 'hello' } });
  const client = await dial(t, address);
  const response = client.call('hello');
  const both = await Promise.allSettled([response.text(), response.text()]);
  t.deepEqual(
    both.map(({ status }) => status),
    ['fulfilled', 'rejected'],
  );
  const message = "the response of 'hello' has been read: it can be read once";
  await t.throwsAsync(response.bytes(), { message });
  await t.throwsAsync(
    async () => {
      for await (const _ of response);
    },
    { message },
  );
});

test('an error of one request leaves the others alone', async (t) => {
  const client = await hostile(t, () => [
    frame(FrameType.errorResponse, 2, text('not today'), { requestId: 1 }),
    frame(FrameType.bytesResponse, 2, text('fine'), { requestId: 3 }),
  ]);
  const [bad, good] = [client.call('x'), client.call('command')];
  const error = await failure(bad.bytes());
  t.true(error instanceof CommandError);
  t.is(error.message, 'not today');
  t.is(await good.text(), 'fine');
});

test('frames for a request that was cancelled are passed over', async (t) => {
  const client = await hostile(t, () => [
    frame(FrameType.bytesResponse, 1, text('too late'), { requestId: 1 }),
    frame(FrameType.textOutput, 0, NOTHING, { requestId: 1 }),
    frame(FrameType.errorResponse, 2, text('cancelled'), { requestId: 1 }),
    frame(FrameType.bytesResponse, 2, text('fine'), { requestId: 3 }),
  ]);
  const cancelled = client.call('x');
  cancelled.cancel();
  t.is((await failure(cancelled.bytes())).message, 'cancelled');
  t.is(await client.call('command').text(), 'fine');
});

// --------------------------------------------------------------------------------- a client that goes wrong

test('what one client does wrong ends its own connection with a protocol error, and no other', async (t) => {
  const own = await serving(t, { workers: 1, commands: commands() });
  const beside = await dial(t, own.address);
  const reader = beside
    .call('lane-sample', { args: { size: '500000', pace: 'slow' } })
    [Symbol.asyncIterator]();
  let read = (await reader.next()).value?.length ?? 0;
  const wrongs: [Buffer, RegExp][] = [
    [rawFrame({ request: 2, stream: 1, streamFlags: 1, type: 1, flags: 1, payload: 'x' }), /even-request-id/],
    [rawFrame({ request: 1, stream: 2, streamFlags: 1, type: 1, flags: 1, payload: 'x' }), /even-stream-id/],
    [rawFrame({ request: 1, stream: 1, streamFlags: 0, type: 1, flags: 1, payload: 'x' }), /unknown-stream/],
    [
      rawFrame({ request: 1, stream: 1, streamFlags: 1, type: 3, flags: 2, payload: 'x' }),
      /expected-command/,
    ],
    [rawFrame({ request: 1, stream: 1, streamFlags: 1, type: 10, flags: 0 }), /extension-without-settings/],
    [rawFrame({ request: 1, stream: 1, streamFlags: 1, type: 15, flags: 0 }), /unknown-type/],
    [Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), /limit/],
  ];
  for (const [bytes, code] of wrongs) {
    const client = await RawClient.connect(own.address.port);
    t.teardown(() => client.close());
    const finished = client.start('string', {}, 9, 99);
    t.is(String(await client.body(finished)), 'just a string: é');
    client.write(bytes);
    await client.untilEnded();
    t.is(client.protocolErrors.length, 1, String(code));
    t.regex(client.protocolErrors[0].payload.toString(), code);
    t.deepEqual(client.violations, []);
    client.close();
  }
  for await (const piece of { [Symbol.asyncIterator]: () => reader }) read += piece.length;
  t.is(read, 500_000);
  const protocolErrors = () => own.reports.filter(({ error }) => error instanceof ProtocolError);
  await own.reported(() => protocolErrors().length === wrongs.length);
});

test('what was finished before a protocol error is delivered before the error', async (t) => {
  const own = await serving(t, { workers: 1, commands: commands() });
  const settings = { contentEncodings: ['zstd-8mb'] };
  const client = await RawClient.connect(own.address.port, { settings });
  t.teardown(() => client.close());
  const done = ['string', 'lane-string', 'list'].map((name) => client.start(name));
  for (const exchange of done) await client.body(exchange);
  const running = client.start('waiting');
  await client.until(() => running.received > 0, 'the first bytes of a response');
  client.write(
    rawFrame({ request: 4, stream: 1, streamFlags: 0, type: Type.commandName, flags: 1, payload: 'x' }),
  );
  await client.untilEnded();
  t.false(running.finished);
  t.regex(client.protocolErrors[0].payload.toString(), /even-request-id/);
  t.deepEqual(client.violations, []);
});

test('a client that pauses in the middle of a frame or a command is told so, an idle one is left in peace', async (t) => {
  const own = await serving(t, { workers: 1, commands: commands(), limits: { idleTimeout: 100 } });
  const idle = await dial(t, own.address);
  const paused: [string, Buffer][] = [
    [
      'frame',
      rawFrame({ request: 1, stream: 1, streamFlags: 1, type: 1, flags: 1, payload: 'string' }).subarray(
        0,
        9,
      ),
    ],
    ['command', rawFrame({ request: 1, stream: 1, streamFlags: 1, type: 1, flags: 4, payload: 'count' })],
  ];
  await Promise.all(
    paused.map(async ([where, bytes]) => {
      const client = await RawClient.connect(own.address.port);
      t.teardown(() => client.close());
      client.write(bytes);
      await client.untilEnded();
      const message = client.protocolErrors[0].payload.toString();
      t.regex(
        message,
        new RegExp(`^protocol error \\(timeout\\): idleTimeout: .*in the middle of a ${where}$`),
      );
    }),
  );
  t.is(await idle.call('string').text(), 'just a string: é');
});

for (const encodeData of [undefined, 'zlib', 'zstd-8mb']) {
  test(`a server that takes small frames gets small frames: command data ${encodeData ?? 'plain'}`, async (t) => {
    const own = await serving(t, { workers: 1, commands: commands(), limits: { maxPayload: 700 } });
    const client = await dial(t, own.address, { encodeData });
    const data = sample(100_000, 2);
    t.is(digest(await client.call('echo', { data }).bytes()), digest(data));
    const pieces = async function* () {
      yield data.subarray(0, 50_000);
      yield data.subarray(50_000);
    };
    t.is(digest(await client.call('echo', { data: pieces() }).bytes()), digest(data));
    const args = { long: 'x'.repeat(5000) };
    t.is(digest(await client.call('echo', { args, data }).bytes()), digest(data));
  });
}

test('limits are named when they are passed', async (t) => {
  const own = await serving(t, {
    workers: 1,
    commands: commands(),
    limits: {
      maxCommandName: 20,
      maxArguments: 2,
      maxArgumentBytes: 1000,
      maxPayload: 40_000,
    },
  });
  const passes: [(client: RawClient) => unknown, RegExp][] = [
    [
      (client) => Array.from({ length: 129 }, () => client.start('waiting')),
      /more than 128 concurrent requests/,
    ],
    [(client) => client.start('x'.repeat(21)), /maxCommandName: a name of 21 bytes, over 20/],
    [
      (client) =>
        client.start('list', {
          args: [
            ['a', ''],
            ['b', ''],
            ['c', ''],
          ],
        }),
      /more than 2 arguments/,
    ],
    [
      (client) => client.start('list', { args: [['a', 'x'.repeat(2000)]] }),
      /more than 1000 bytes of arguments/,
    ],
    [(client) => client.start('count', { data: [Buffer.alloc(40_001)] }), /limit maxPayload is 40000/],
    [
      (client) => client.start('count', { data: [...Array(102).fill(''), 'x'] }),
      /more than 100 empty data frames/,
    ],
  ];
  for (const [pass, message] of passes) {
    const client = await RawClient.connect(own.address.port, { settings: {} });
    t.teardown(() => client.close());
    pass(client);
    await client.untilEnded();
    t.is(client.protocolErrors.length, 1, String(message));
    t.regex(client.protocolErrors[0].payload.toString(), message);
  }
});

test('a client that vanishes without a word costs nothing but its own requests', async (t) => {
  const own = await serving(t, { workers: 1, commands: commands() });
  const beside = await dial(t, own.address);
  for (let i = 0; i < 5; i++) {
    const socket = await rawSocket(t, own.address);
    socket.write(
      rawFrame({ request: 1, stream: 1, streamFlags: 1, type: 1, flags: 1, payload: 'lane-endless' }),
    );
    await once(socket, 'data');
    socket.destroy();
  }
  while ((await own.server.stats()).connections > 1) await beside.ping();
  t.is(await beside.call('lane-string').text(), 'just a string: é');
});
