// Error codes (protocol C11): handlers' own and the server's, on either thread, for peers that know of them and for others.
import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import ava, { type ExecutionContext } from 'ava';
import { CommandError, ConnectionError, type ServerOptions } from '../../src/index.ts';
import * as handlers from '../fixtures/codes.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { HELLO, RawPeer } from '../helpers/raw-peer.ts';
import { dial, failure, impostor, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

const test = ava.serial;
const module = new URL('../fixtures/codes.ts', import.meta.url);
const THREADS = ['main', 'lane'] as const;

/** Every handler by its name on the main thread, and by `lane-` and its name in a lane. */
const commands: ServerOptions['commands'] = Object.fromEntries(
  Object.entries(handlers).flatMap(([name, handler]) => [
    [`main-${name}`, { handler }],
    [`lane-${name}`, { module, export: name }],
  ]),
);

async function commandError(work: PromiseLike<unknown>): Promise<CommandError> {
  const error = await failure(work);
  if (!(error instanceof CommandError)) throw error;
  return error;
}

for (const thread of THREADS) {
  test(`a handler's code and data reach the client, ${thread}`, async (t) => {
    const { port, reports } = await serving(t, { commands });
    const client = await dial(t, { port });
    const args = { data: '{"level":[2,"m"]}', message: 'no wäter' };
    for (const sensitive of [false, true]) {
      const error = await commandError(client.call(`${thread}-refuse`, { args, sensitive }).text());
      t.deepEqual(
        [error.code, error.message, error.data, error.notStarted],
        ['no-water', 'no wäter', { level: [2, 'm'] }, false],
      );
    }
    const late = await commandError(client.call(`${thread}-refuseLate`).text());
    t.deepEqual([late.code, late.data], ['no-water', [1, 2]]);
    t.deepEqual(reports, []);
  });

  test(`data that does not fit its frame is dropped, the rest comes; data that is no JSON is reported, ${thread}`, async (t) => {
    const { port, reports } = await serving(t, { commands });
    const client = await dial(t, { port });
    const data = JSON.stringify('x'.repeat(40_000));
    const large = await commandError(client.call(`${thread}-refuse`, { args: { data } }).text());
    t.deepEqual([large.code, large.message, large.data], ['no-water', 'told', undefined]);
    const circle = await commandError(client.call(`${thread}-circle`).text());
    t.deepEqual([circle.code, circle.message, circle.data], ['no-water', 'told', undefined]);
    t.regex(String(reports[0]?.error), /circular/);
  });

  test(`peers get what they have announced, ${thread}`, async (t) => {
    const { port } = await serving(t, { commands });
    const told: Record<string, string> = {
      '"cancel"': 'error: told',
      '"error-codes"': 'error: no-water\0told',
      '"error-data"': 'error: no-water\0told\0[1,2]',
    };
    for (const [extensions, answer] of Object.entries(told)) {
      const peer = await RawPeer.connect(t, port);
      peer.send(`0 1 stream-begin sender-settings 0 {"extensions":[${extensions}]}`);
      peer.send(`1 1 0 command-name eos ${thread}-refuseLate`, '3 1 0 command-name eos none');
      t.is(await peer.answer(1), answer);
      t.regex(
        (await peer.answer(3)) ?? '',
        extensions === '"cancel"' ? /: unknown c/ : /: unknown-command\0u/,
      );
    }
    const old = await RawPeer.connect(t, port);
    old.send(`1 1 stream-begin command-name eos ${thread}-refuse`);
    t.is(await old.answer(1), 'error: told');
  });

  test(`cancelled and deadline-exceeded reach handler and client, ${thread}`, async (t) => {
    const { port } = await serving(t, { commands });
    const client = await dial(t, { port });
    const late = await commandError(client.call(`${thread}-waits`, { deadlineMs: 20 }).text());
    t.deepEqual([late.code, late.notStarted], ['deadline-exceeded', false]);
    const peer = await RawPeer.connect(t, port);
    peer.send(HELLO.replace('"cancel"', '"cancel","error-codes"'), `1 1 0 command-name eos ${thread}-waits`);
    await peer.until(() => peer.frames.some(({ requestId }) => requestId === 1));
    peer.send('1 1 0 cancel 0 ');
    t.is(await peer.answer(1), 'error: cancelled\0cancelled');
  });

  test(`a shutdown says only of what has not run that it is safe to repeat, ${thread}`, async (t) => {
    const clock = stoppedClock(t);
    const { server, port } = await serving(t, { commands });
    const peer = await RawPeer.connect(t, port);
    const settings = HELLO.replace('"cancel"', '"cancel","error-codes"');
    peer.send(settings, `1 1 0 command-name eos ${thread}-waits`);
    await peer.until(() => peer.frames.some(({ requestId }) => requestId === 1));
    const closed = server.close(50);
    await peer.until(() => peer.frames.some(({ type }) => type === 13));
    peer.send(`3 1 0 command-name eos ${thread}-waits`);
    t.is(await peer.answer(3), 'error: shutting-down\0server is shutting down');
    // No step of time is over before the lane has dealt with it.
    const answer = await clock.advanceWhile(peer.answer(1), 10, () => server.stats());
    t.is(answer, 'error: cancelled\0server is shutting down');
    await clock.advanceWhile(closed, 10, turn);
  });
}

test('unknown commands, bad arguments and files that are not there have their codes', async (t) => {
  const { port } = await serving(t, { commands, root: import.meta.dirname });
  const client = await dial(t, { port });
  const codeOf = async (command: string, args?: Record<string, string>) =>
    (await commandError(client.call(command, { args }).text())).code;
  t.is(await codeOf('none'), 'unknown-command');
  t.is(await codeOf('echo', { ':deadline-ms': 'soon' }), 'invalid-argument');
  t.is(await codeOf('files.get', { path: 'none' }), 'not-found');
  t.is(await codeOf('files.stat', { path: 'none/none' }), 'not-found');
  t.is(await codeOf('files.list', { path: 'none' }), 'not-found');
  t.is(await codeOf('files.get', { path: '../x' }), 'invalid-argument');
  t.is(await codeOf('files.get'), 'invalid-argument');
  t.is(await codeOf('files.get', { path: 'codes.test.ts', offset: 'x' }), 'invalid-argument');
  t.is(await codeOf('files.stat', { pth: 'x' }), 'invalid-argument');
  t.is(await codeOf('files.bundle', { paths: 'x' }), 'invalid-argument');
});

test('a worker that died fails what ran there by worker-died; with no lane left a command is overloaded: safe to repeat', async (t) => {
  const clock = stoppedClock(t);
  const { port } = await serving(t, { commands, quarantine: { deaths: 1000 } });
  const client = await dial(t, { port });
  const end = async () => {
    const { code, message, notStarted } = await commandError(client.call('lane-exits').text());
    return [code, message, notStarted];
  };
  // Each time that a young lane dies it stays away for twice as long; a call waits for it, but for no more than a second.
  for (let awayMs = 50; ; awayMs *= 2) {
    t.deepEqual(await end(), ['worker-died', 'worker of lane 0 died', false]);
    if (awayMs > 1000) break;
    clock.advance(awayMs);
  }
  t.deepEqual(await end(), ['overloaded', 'no worker to run the command on', true]);
});

test("a client's errors have codes, and say whether anything has run", async (t) => {
  const { port } = await serving(t, { commands });
  const client = await dial(t, { port });
  const running = client.call('main-waits');
  const reader = running[Symbol.asyncIterator]();
  await reader.next();
  running.cancel();
  const cancelled = await commandError(reader.next());
  t.deepEqual([cancelled.code, cancelled.notStarted], ['cancelled', false]);
  const never = await commandError(client.call('main-who', { signal: AbortSignal.abort('no') }).text());
  t.deepEqual([never.code, never.message, never.notStarted], ['cancelled', 'no', true]);
  const open = client.call('main-waits');
  const opened = open[Symbol.asyncIterator]();
  await opened.next();
  client.destroy();
  const lost = (await failure(opened.next())) as ConnectionError;
  t.deepEqual([lost.name, lost.code, lost.notStarted], ['ConnectionError', 'closed', false]);
  const after = (await failure(client.call('main-who').text())) as ConnectionError;
  t.deepEqual([after.code, after.notStarted], ['closed', true]);
});

test('calls that wait for their turn were never sent, whatever ends the connection', async (t) => {
  const { port, server } = await serving(t, { commands, limits: { maxConcurrentRequests: 1 } });
  const client = await dial(t, { port });
  const first = client.call('main-waits')[Symbol.asyncIterator]();
  await first.next();
  const queued = client.call('main-who').text();
  const closed = server.close(20);
  const error = (await failure(queued)) as ConnectionError;
  t.deepEqual([error.name, error.code, error.notStarted], ['ConnectionError', 'shutting-down', true]);
  t.is((await commandError(first.next())).code, 'cancelled');
  await closed;
});

/** The code of a connection that does not come about. */
async function connectCode(
  t: ExecutionContext,
  where: { host?: string; port: number },
  options = {},
): Promise<unknown[]> {
  const error = (await failure(dial(t, where, options))) as ConnectionError;
  t.true(error instanceof ConnectionError);
  return [error.code, error.notStarted];
}

test('a connection that does not come about says why', async (t) => {
  const silent = await impostor(t, () => undefined);
  t.deepEqual(await connectCode(t, silent, { timeoutMs: 50 }), ['connect-timeout', true]);
  const other = await impostor(t, (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  t.deepEqual(await connectCode(t, other), ['protocol-error', true]);
  const curt = await impostor(t, (socket) => socket.destroy());
  t.is((await connectCode(t, curt))[0], 'lost');
  t.deepEqual(await connectCode(t, { port: 1 }), ['connect-failed', true]);
  const { port } = await serving(t, { authorize: () => false });
  t.deepEqual(await connectCode(t, { port }), ['not-authorized', true]);
});

test('a server that breaks off, or speaks no codes, is told apart', async (t) => {
  const talk = await impostor(t, async (socket) => {
    await once(socket, 'data');
    const { frame } = await import('../helpers/raw-peer.ts');
    socket.write(frame('0 2 stream-begin sender-settings 0 {"extensions":[]}'));
    await once(socket, 'data');
    socket.write(frame('1 2 0 error-response application overloaded\\x00is no code here'));
    await once(socket, 'data');
    socket.destroy();
  });
  const client = await dial(t, talk);
  const told = await commandError(client.call('any').text());
  t.deepEqual([told.code, told.message, told.notStarted], ['internal', 'overloaded\0is no code here', false]);
  const lost = (await failure(client.call('any').text())) as ConnectionError;
  t.deepEqual([lost.name, lost.code, lost.notStarted], ['ConnectionError', 'lost', false]);
});
