// Cancel, abort, deadline and close of a client's calls always arrive, whatever the calls wait for.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { execPath } from 'node:process';
import ava from 'ava';
import { Pace } from '../../src/connection/pace.ts';
import { type CallOptions, CommandError, type CommandRequest } from '../../src/index.ts';
import { encodeFrame, type Frame, FrameType } from '../../src/wire/frame.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import { Splitter } from '../../src/wire/splitter.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { frames } from '../helpers/raw-peer.ts';
import {
  dial,
  failure,
  impostor,
  rawSocket,
  servingOnSharedLanes,
  signal,
  Watch,
} from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

// One after the other: time is stopped for some.
const test = ava.serial;

const hang = (request: CommandRequest) =>
  new Promise<undefined>((resolve) => request.signal.addEventListener('abort', () => resolve(undefined)));

/** A server as far as its settings, which keeps what it hears. */
async function listener(t: Parameters<typeof impostor>[0], settings: object) {
  const heard: Frame[] = [];
  const watch = new Watch();
  let say: (...lines: string[]) => void = () => undefined;
  const where = await impostor(t, (socket) => {
    say = (...lines) => void socket.write(frames(...lines));
    say(`0 2 stream-begin sender-settings 0 ${JSON.stringify(settings)}`);
    const onFrame = (frame: Frame) => {
      heard.push({ ...frame, payload: frame.payload.slice() });
    };
    const splitter = new Splitter({ maxPayload: DEFAULT_LIMITS.maxPayload, onFrame });
    socket.on('data', (chunk: Buffer) => {
      splitter.push(chunk);
      watch.changed();
    });
  });
  const dataOf = (id: number) =>
    heard
      .filter((each) => each.type === FrameType.commandData && each.requestId === id)
      .reduce((sum, { payload }) => sum + payload.length, 0);
  const until = (done: () => boolean) => watch.until(() => (done() ? true : undefined));
  return { where, heard, until, dataOf, say: (...lines: string[]) => say(...lines) };
}

test('a deadline passes while a call waits for its turn: it never ran, and never will', async (t) => {
  let ran = 0;
  const { port } = await serving(t, {
    limits: { maxConcurrentRequests: 2 },
    commands: { hang, count: () => `${++ran}` },
  });
  const client = await dial(t, { port });
  const clock = stoppedClock(t);
  const before = [client.call('hang'), client.call('hang')];
  const late = failure(client.call('count', { deadlineMs: 200 }).text());
  const aborted = new AbortController();
  const queued = failure(client.call('count', { signal: aborted.signal }).text());
  aborted.abort(new Error('not any more'));
  t.is((await queued).message, 'not any more');
  clock.advance(199);
  await client.ping();
  clock.advance(1);
  const error = (await late) as CommandError;
  t.is(error.message, 'deadline exceeded');
  t.is(error.code, 'deadline-exceeded');
  t.true(error.notStarted);
  for (const response of before) response.cancel();
  t.is(await client.call('count').text(), '1');
});

test('a server that sends no codes says by its text that the deadline has passed, to who has set one', async (t) => {
  const { where, heard, until, say } = await listener(t, {});
  const client = await dial(t, where, { plain: true });
  const codeOf = async (options: CallOptions, text: string) => {
    const failed = failure(client.call('c', options).text()) as Promise<CommandError>;
    const named = await until(() => heard.some(({ type }) => type === FrameType.commandName));
    t.true(named);
    const [{ requestId }] = heard.splice(0);
    say(`${requestId} 2 0 error-response application ${text}`);
    const { code, message, notStarted } = await failed;
    t.deepEqual([message, notStarted], [text, false]);
    return code;
  };
  t.is(await codeOf({ deadlineMs: 600_000 }, 'deadline exceeded'), 'deadline-exceeded');
  t.is(await codeOf({ deadlineMs: 600_000 }, 'something else'), 'internal');
  t.is(await codeOf({}, 'deadline exceeded'), 'internal');
});

test('the time in the queue is taken off the deadline that the server hears of', async (t) => {
  const { where, heard, until, say } = await listener(t, {
    maxConcurrentRequests: 1,
    extensions: ['cancel'],
  });
  const client = await dial(t, where);
  const clock = stoppedClock(t);
  const first = client.call('first').bytes();
  const second = failure(client.call('second', { deadlineMs: 1000 }).bytes());
  clock.advance(400);
  await until(() => heard.some(({ type }) => type === FrameType.commandName));
  say('1 2 0 bytes-response eos done');
  await first;
  await until(() => heard.some(({ type }) => type === FrameType.commandArgument));
  const argument = heard.find(({ type }) => type === FrameType.commandArgument);
  t.is(
    Buffer.from(argument?.payload ?? [])
      .toString()
      .slice(4),
    ':deadline-ms600',
  );
  clock.advance(600);
  const error = (await second) as CommandError;
  t.is(error.code, 'deadline-exceeded');
  t.false(error.notStarted);
  t.true(
    await until(() => heard.some(({ type, requestId }) => type === FrameType.cancel && requestId === 3)),
  );
});

test('a client that closes cancels what is larger than its window and nobody reads, not what fits', async (t) => {
  const stopped = signal();
  const big = async function* ({ signal: over }: CommandRequest) {
    over.addEventListener('abort', () => stopped.resolve());
    for (;;) yield new Uint8Array(10_000);
  };
  const { port } = await serving(t, { commands: { big, small: () => 'small' } });
  const client = await dial(t, { port }, { requestWindow: 50_000 });
  const [unread, fits] = [client.call('big'), client.call('small')];
  await client.close();
  await stopped.promise;
  t.is(await fits.text(), 'small');
  t.is(((await failure(unread.bytes())) as CommandError).code, 'cancelled');
});

test('a client that closes waits no longer than idleTimeout for a reader that has stopped', async (t) => {
  const big = async function* () {
    for (;;) yield new Uint8Array(10_000);
  };
  const { port } = await serving(t, { commands: { big } });
  const client = await dial(t, { port }, { requestWindow: 50_000, limits: { idleTimeout: 50 } });
  const reader = client.call('big')[Symbol.asyncIterator]();
  t.false((await reader.next()).done);
  await client.close();
  t.pass();
});

test('a client that closes while calls that were given up wait for their turn ends', async (t) => {
  const { port } = await serving(t, { limits: { maxConcurrentRequests: 1 }, commands: { hang } });
  const client = await dial(t, { port });
  const first = client.call('hang');
  const abort = new AbortController();
  const queued = failure(client.call('hang', { signal: abort.signal }).bytes());
  const closed = client.close();
  first.cancel();
  abort.abort();
  await queued;
  await closed;
  t.pass();
});

test('calls that are given up by the thousand cost no other call its connection', async (t) => {
  const release = signal<string>();
  const { port } = await serving(t, {
    commands: { hang, hello: () => 'hello', long: () => release.promise },
  });
  const client = await dial(t, { port });
  const long = client.call('long').text();
  for (let i = 0; i < 60; i++) {
    const abort = new AbortController();
    const calls = Array.from({ length: 100 }, (_, n) =>
      failure(client.call(n % 2 ? 'hang' : 'hello', { signal: abort.signal }).bytes()),
    );
    abort.abort();
    await Promise.all(calls);
  }
  release.resolve('long');
  t.is(await long, 'long');
});

test('pings without end cost no call its connection', async (t) => {
  const { port } = await serving(t, { limits: { maxPings: 10_000 } });
  const client = await dial(t, { port });
  const times = await Promise.all(Array.from({ length: 12_000 }, () => client.ping()));
  t.is(times.length, 12_000);
});

test('uploads that fail by the thousand are answered, and cost no connection', async (t) => {
  const fail = () => {
    throw new CommandError('no');
  };
  const { port } = await serving(t, { commands: { fail } });
  const client = await dial(t, { port }, { encodeData: 'zlib' });
  for (let i = 0; i < 15; i++) {
    const calls = Array.from({ length: 100 }, () => failure(client.call('fail', { data: 'data' }).bytes()));
    for (const error of await Promise.all(calls)) t.is(error.message, 'no');
  }
});

test('uploads that fail begin the stream of data no more often than a server takes', async (t) => {
  const { where, heard, until, say } = await listener(t, { contentEncodings: ['zlib'] });
  const client = await dial(t, where, { encodeData: 'zlib' });
  stoppedClock(t);
  for (let i = 0; i < 300; i++) {
    const call = client.call('fail', { data: 'data' });
    const failed = failure(call.bytes());
    await until(() => heard.some(({ type, flags }) => type === FrameType.commandData && flags === 2));
    heard.splice(0, heard.length, ...heard.filter(({ type }) => type === FrameType.streamSettings));
    say(`${call.requestId} 2 0 error-response application no`);
    t.is((await failed).message, 'no');
  }
  t.is(heard.length, 250);
});

test('a pace lets a burst go at once, then half of the limit in a second, in order', (t) => {
  const clock = stoppedClock(t);
  const pace = new Pace(1000);
  let [taken, went] = [0, 0];
  while (pace.take()) taken++;
  t.is(taken, 250);
  const order: number[] = [];
  for (let i = 0; i < 1000; i++)
    pace.wait(() => {
      went++;
      order.push(i);
    });
  t.false(pace.take(), 'others wait');
  clock.advance(1000);
  t.true(went >= 490 && went <= 500, `${went}`);
  t.deepEqual(
    order,
    order.toSorted((a, b) => a - b),
  );
  pace.close();
  clock.advance(1000);
  t.true(went <= 500);
});

test('a client keeps to the windows that a server announces, goes on with its credit, and ignores the rest', async (t) => {
  const { where, until, dataOf, say } = await listener(t, {
    requestWindow: 100,
    connectionWindow: 150,
    extensions: ['cancel', 'data-credit'],
  });
  const client = await dial(t, where);
  const [one, two] = [1, 3];
  const calls = [
    client.call('a', { data: new Uint8Array(300) }),
    client.call('b', { data: new Uint8Array(300) }),
  ];
  const answers = calls.map((call) => call.bytes());
  await until(() => dataOf(one) + dataOf(two) === 150);
  t.is(dataOf(one), 100);
  say('99 2 0 credit 0 \\xff\\xff\\xff\\xff', '1 2 0 credit 0 \\xff\\x00\\x00\\x00');
  say('0 2 0 credit 0 \\x32\\x00\\x00\\x00');
  await until(() => dataOf(one) + dataOf(two) === 200);
  say('3 2 0 credit 0 \\xff\\x00\\x00\\x00', '0 2 0 credit 0 \\xff\\xff\\x00\\x00');
  await until(() => dataOf(one) + dataOf(two) === 600);
  say('1 2 0 bytes-response eos one', '3 2 0 bytes-response eos two');
  t.deepEqual(
    (await Promise.all(answers)).map((bytes) => Buffer.from(bytes).toString()),
    ['one', 'two'],
  );
});

test('windows of no bytes let nothing go but the end, and a call that waits for them can be given up', async (t) => {
  const { where, heard, until, dataOf } = await listener(t, {
    requestWindow: 0,
    connectionWindow: 0,
    extensions: ['cancel', 'data-credit'],
  });
  const client = await dial(t, where);
  const empty = client.call('empty', { data: '' });
  const waits = client.call('waits', { data: 'something', deadlineMs: 50 });
  t.is(((await failure(waits.bytes())) as CommandError).code, 'deadline-exceeded');
  await until(() => heard.some(({ type, requestId }) => type === FrameType.cancel && requestId === 3));
  t.is(dataOf(3), 0);
  t.true(
    heard.some(
      ({ type, requestId, flags }) => type === FrameType.commandData && requestId === 1 && flags === 2,
    ),
  );
  empty.cancel();
});

test('credit that takes a window too far is a protocol error of the server', async (t) => {
  const { where, say } = await listener(t, { connectionWindow: 100, extensions: ['data-credit'] });
  const client = await dial(t, where);
  const call = failure(client.call('a', { data: new Uint8Array(300) }).bytes());
  say('0 2 0 credit 0 \\xff\\xff\\xff\\xff');
  t.regex((await call).message, /credit of 4294967295 bytes takes a window past/);
});

test('a flood of credit from a server is refused', async (t) => {
  const { where, say } = await listener(t, { connectionWindow: 100, extensions: ['data-credit'] });
  const client = await dial(t, where, { limits: { maxCredits: 5 } });
  const call = failure(client.call('a').bytes());
  for (let i = 0; i < 6; i++) say('0 2 0 credit 0 \\x00\\x00\\x00\\x00');
  t.regex((await call).message, /maxCredits/);
});

const KILLED = `
  import { createConnection } from 'node:net';
  const socket = createConnection({ host: '127.0.0.1', port: Number(process.argv[1]), allowHalfOpen: true });
  socket.write(Buffer.from(process.argv[2], 'hex'), () => console.log('asked'));
  setInterval(() => undefined, 1000);
`;

test('the handler of a client that was killed is told at once', async (t) => {
  const [began, stopped] = [signal(), signal()];
  const waits = (request: CommandRequest) => {
    began.resolve();
    request.signal.addEventListener('abort', () => stopped.resolve());
    return hang(request);
  };
  const { port } = await serving(t, { commands: { waits }, keepAliveInterval: 0 });
  const command = encodeFrame({
    requestId: 1,
    streamId: 1,
    streamFlags: 1,
    type: FrameType.commandName,
    flags: 1,
    payload: Buffer.from('waits'),
  });
  const child = spawn(
    execPath,
    ['--input-type=module', '-e', KILLED, String(port), Buffer.from(command).toString('hex')],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await began.promise;
  child.kill('SIGKILL');
  await once(child, 'exit');
  await stopped.promise;
  t.pass();
});

test('a peer that half-closes by intent is not taken for a dead one', async (t) => {
  const [began, answer] = [signal(), signal<string>()];
  const late = () => {
    began.resolve();
    return answer.promise;
  };
  const { port } = await serving(t, { commands: { late }, keepAliveInterval: 0 });
  const socket = await rawSocket(t, { host: '127.0.0.1', port });
  let got = Buffer.alloc(0);
  const watch = new Watch();
  socket.on('data', (chunk: Buffer) => {
    got = Buffer.concat([got, chunk]);
    watch.changed();
  });
  socket.end(frames('1 1 stream-begin command-name eos late'));
  await began.promise;
  // Two probes have come: each an empty piece of the response.
  await watch.until(() => (got.length >= 16 ? true : undefined));
  answer.resolve('late');
  await once(socket, 'end');
  t.regex(got.toString('latin1'), /late$/);
});
