import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ava from 'ava';
import { type Client, CommandError, ConnectionError, connect, createServer } from '../../src/index.ts';
import { CommandDataFlag, FrameType } from '../../src/wire/frame.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { commands, on, THREADS } from '../helpers/commands.ts';
import { recording } from '../helpers/recorder.ts';
import { digest, sample } from '../helpers/samples.ts';
import {
  dial,
  failure,
  LONG,
  type Serving,
  serve,
  serving as servingAlone,
  servingOnSharedLanes,
} from '../helpers/serving.ts';
import { Client as RawClient, Type } from '../independent/client.ts';

const serving = servingOnSharedLanes(ava);

// One after the other: most have a server of their own, and so threads.
const test = ava.serial;

/** One worker: the journal of the lane's thread is that of all its calls. */
let running: Serving;

test.before(async () => {
  running = await serve({ commands: commands() });
});

test.after.always(() => running?.server.close(0));

async function journal(client: Client, thread: (typeof THREADS)[number], note: string): Promise<string[]> {
  return JSON.parse(await client.call(on(thread, 'journal'), { args: { note } }).text());
}

/** Asks until the journal has a line: every question is a round trip, so this waits no longer than it must. */
async function noted(
  client: Client,
  thread: (typeof THREADS)[number],
  note: string,
  line: RegExp,
): Promise<string> {
  for (;;) {
    const found = (await journal(client, thread, note)).find((each) => line.test(each));
    if (found !== undefined) return found;
  }
}

for (const thread of THREADS) {
  test(`${thread} thread: a reader that does not read holds the handler, and other requests go on`, async (t) => {
    const requestWindow = 100_000;
    const c = await dial(t, running.address, { requestWindow });
    const note = `backpressure ${thread}`;
    const response = c.call(on(thread, 'endless'), { args: { note } });
    const reader = response[Symbol.asyncIterator]();
    await reader.next();
    for (let i = 0; i < 50; i++) {
      await c.ping();
      t.is(await c.call(on(thread, 'string')).text(), 'just a string: é');
    }
    const before = (await journal(c, thread, note)).length * 16_384;
    t.true(before >= requestWindow - 16_384, `${before} bytes were made`);
    t.true(
      before <= 2 * requestWindow + 3 * 32_768,
      `${before} bytes were made for a window of ${requestWindow}`,
    );
    let read = 0;
    while (read < 10 * requestWindow) read += (await reader.next()).value?.length ?? 0;
    const after = (await journal(c, thread, note)).length * 16_384;
    t.true(
      after >= 10 * requestWindow && after <= read + 2 * requestWindow + 3 * 32_768,
      `${after} of ${read}`,
    );
    await reader.return();
  });

  for (const way of ['signal', 'leaving the loop', 'cancel()'] as const) {
    test(`${thread} thread: a request given up by ${way} stops its handler`, async (t) => {
      const c = await dial(t, running.address);
      const note = `cancel ${thread} ${way}`;
      const controller = new AbortController();
      const response = c.call(on(thread, 'endless'), { args: { note }, signal: controller.signal });
      if (way === 'leaving the loop') {
        for await (const piece of response) {
          t.true(piece.length > 0);
          break;
        }
      } else {
        const reader = response[Symbol.asyncIterator]();
        await reader.next();
        if (way === 'signal') controller.abort(new Error('enough'));
        else response.cancel();
        const error = await failure(
          (async () => {
            while (!(await reader.next()).done);
          })(),
        );
        t.is(error.message, way === 'signal' ? 'enough' : 'cancelled');
      }
      t.is(await noted(c, thread, note, /aborted/), 'aborted: cancelled');
      t.is(await noted(c, thread, note, /finally/), 'finally');
      t.is(await c.call(on(thread, 'string')).text(), 'just a string: é');
    });
  }

  test(`${thread} thread: a deadline stops the handler and tells the client`, async (t) => {
    const c = await dial(t, running.address);
    const note = `deadline ${thread}`;
    const error = await failure(c.call(on(thread, 'waiting'), { args: { note }, deadlineMs: 20 }).bytes());
    t.true(error instanceof CommandError);
    t.is(error.message, 'deadline exceeded');
    // On a busy machine the deadline may have passed before the handler began.
    if ((await journal(c, thread, note)).length > 0) {
      // Both sides watch it, and what the client says when its own has come may be there first.
      t.regex(await noted(c, thread, note, /finally/), /^finally: (deadline exceeded|cancelled)$/);
    }
  });

  test(`${thread} thread: a deadline that is far away changes nothing`, async (t) => {
    const c = await dial(t, running.address);
    t.is(await c.call(on(thread, 'promise'), { deadlineMs: 1e12 }).text(), 'promised');
  });

  test(`${thread} thread: a lost connection stops its handlers`, async (t) => {
    const c = await dial(t, running.address);
    const doomed = await dial(t, running.address);
    const notes = ['waiting', 'endless', 'reader'].map((command) => `lost ${thread} ${command}`);
    const waiting = doomed.call(on(thread, 'waiting'), { args: { note: notes[0] } });
    const endless = doomed.call(on(thread, 'endless'), { args: { note: notes[1] } });
    const data = async function* () {
      yield sample(1000, 1);
      await new Promise(() => undefined);
    };
    const reader = doomed.call(on(thread, 'reader'), { args: { note: notes[2] }, data: data() });
    await noted(c, thread, notes[0], /started/);
    await noted(c, thread, notes[1], /piece/);
    await noted(c, thread, notes[2], /read 1000/);
    doomed.destroy();
    for (const response of [waiting, endless, reader]) {
      const error = await failure(response.bytes());
      t.true(error instanceof ConnectionError);
      t.is(error.message, 'the client is closed');
    }
    t.is(await noted(c, thread, notes[0], /finally/), 'finally: connection closed');
    t.is(await noted(c, thread, notes[1], /finally/), 'finally');
    t.is(await noted(c, thread, notes[2], /data/), 'data: connection closed');
    t.is(await noted(c, thread, notes[2], /finally/), 'finally');
  });

  test(`${thread} thread: a clean-up that throws after a cancel is reported and harms nobody`, async (t) => {
    const own = await serving(t, { commands: commands() });
    const c = await dial(t, own.address);
    for await (const piece of c.call(on(thread, 'throwingFinally'), { args: { note: 'x' } })) {
      t.true(piece.length > 0);
      break;
    }
    t.is(await noted(c, thread, 'x', /finally/), 'finally');
    t.is(await c.call(on(thread, 'string')).text(), 'just a string: é');
    if (thread === 'lane') return;
    t.regex(String((await own.reported(() => true)).error), /clean-up failed/);
  });

  test(`${thread} thread: a request that is cancelled while its data is on the way leaves no trace`, async (t) => {
    const c = await dial(t, running.address);
    const note = `upload ${thread}`;
    const controller = new AbortController();
    let returned = false;
    const data = async function* () {
      try {
        for (;;) {
          yield sample(5000, 1);
          await c.ping();
        }
      } finally {
        returned = true;
      }
    };
    const response = c.call(on(thread, 'reader'), {
      args: { note },
      data: data(),
      signal: controller.signal,
    });
    await noted(c, thread, note, /read 5000/);
    controller.abort();
    await t.throwsAsync(response.bytes(), { name: 'AbortError' });
    t.is(await noted(c, thread, note, /data/), 'data: cancelled');
    while (!returned) await c.ping();
    t.is(await c.call(on(thread, 'string')).text(), 'just a string: é');
  });

  test(`${thread} thread: an upload whose source fails fails the request with that error`, async (t) => {
    const c = await dial(t, running.address);
    const note = `bad source ${thread}`;
    const data = async function* () {
      yield sample(5000, 1);
      await noted(c, thread, note, /read 5000/);
      throw new Error('the disk is gone');
    };
    const error = await failure(c.call(on(thread, 'reader'), { args: { note }, data: data() }).bytes());
    t.is(error.message, 'the disk is gone');
    t.is(await noted(c, thread, note, /data/), 'data: cancelled');
  });

  test(`${thread} thread: command data that no handler reads does not stop the connection`, async (t) => {
    const c = await dial(t, running.address);
    const data = sample(400_000, 1);
    for (let i = 0; i < 10; i++) t.is(await c.call(on(thread, 'deaf'), { data }).text(), 'not listening');
    t.is(digest(await c.call('echo', { data }).bytes()), digest(data));
  });

  test(`${thread} thread: an upload that is answered before its end is ended all the same`, async (t) => {
    const recorder = await recording(t, running.address);
    const c = await dial(t, recorder.address);
    const answered = Promise.withResolvers<void>();
    const data = async function* () {
      yield sample(100, 1);
      await answered.promise;
      yield sample(100, 1);
    };
    t.is(await c.call(on(thread, 'deaf'), { data: data() }).text(), 'not listening');
    const isLast = ({ type, flags }: { type: number; flags: number }) =>
      type === FrameType.commandData && flags === CommandDataFlag.eos;
    await recorder.connections[0].toServer.frame(isLast);
    answered.resolve();
    t.is(await c.call('string').text(), 'just a string: é');
    t.is(recorder.connections[0].toServer.frames.filter(isLast).length, 1);
  });

  test(`${thread} thread: an upload far larger than all windows streams through`, async (t) => {
    const c = await dial(t, running.address, { requestWindow: 65_536 });
    const command = thread === 'main' ? 'echo' : on(thread, 'upper');
    const piece = new Uint8Array(64 * 1024).fill(65);
    const pieces = 400;
    const data = async function* () {
      for (let i = 0; i < pieces; i++) yield piece;
    };
    let got = 0;
    for await (const bytes of c.call(command, { data: data() })) got += bytes.length;
    t.is(got, pieces * piece.length);
  });
}

test('a slow reader of one large upload does not keep others from being answered', async (t) => {
  const c = await dial(t, running.address, { requestWindow: 65_536 });
  const data = sample(4 << 20, 1);
  const slow = c.call('echo', { data });
  const reader = slow[Symbol.asyncIterator]();
  await reader.next();
  for (let i = 0; i < 10; i++) t.is(await c.call('lane-string').text(), 'just a string: é');
  let got = 0;
  for await (const bytes of { [Symbol.asyncIterator]: () => reader }) got += bytes.length;
  t.true(got > 3 << 20);
});

test('a cancel that comes when the response is written, but not yet sent, is too late and harmless', async (t) => {
  // More than the system buffers for a reader that does not read, less than the server does.
  const bytes = sample(14 << 20, 1);
  const [large, quick, cancelled] = [1, 2, 3].map(() => Promise.withResolvers<void>());
  /** Once the output of this tick is with the transport. */
  const whenWritten = (then: () => void) => setImmediate(() => setImmediate(then));
  const own = await serving(t, {
    commands: {
      async *large() {
        yield bytes;
        whenWritten(large.resolve);
      },
      quick: () => {
        whenWritten(quick.resolve);
        return 'quick';
      },
      after: () => {
        cancelled.resolve();
        return 'after';
      },
    },
  });
  const client = await RawClient.connect(own.address.port, { settings: { contentEncodings: [] } });
  t.teardown(() => client.close());
  client.socket.pause();
  const largeAnswer = client.start('large');
  await large.promise;
  const quickAnswer = client.start('quick');
  await quick.promise;
  client.write(client.put(1, quickAnswer.id, { type: Type.cancel, flags: 0 }));
  const after = client.start('after');
  await cancelled.promise;
  client.socket.resume();
  t.is(String(await client.body(after)), 'after');
  t.is((await client.body(largeAnswer)).length, bytes.length);
  t.is(String(await client.body(quickAnswer)), 'quick');
  await client.settle(1);
  t.deepEqual(client.violations, []);
});

test('a client that asks with a spent signal sends nothing', async (t) => {
  const recorder = await recording(t, running.address);
  const c = await dial(t, recorder.address);
  const reason = new Error('too late');
  const error = await failure(c.call('string', { signal: AbortSignal.abort(reason) }).bytes());
  t.is(error, reason);
  t.is(await c.call('string').text(), 'just a string: é');
  const names = recorder.connections[0].toServer.frames.filter(({ type }) => type === FrameType.commandName);
  t.is(names.length, 1);
});

test('arguments that no command can carry are an error of the call, before a byte is sent', async (t) => {
  const c = await dial(t, running.address);
  t.regex((await failure(c.call('echo', { args: { é: '' } }).bytes())).message, /not ASCII/);
  const value = new Uint8Array(65_536);
  t.regex((await failure(c.call('echo', { args: { value } }).bytes())).message, /more than 65535/);
  t.is(await c.call('string').text(), 'just a string: é');
});

test('a client closes when what it has asked for is answered', async (t) => {
  const c = await dial(t, running.address);
  const size = '300000';
  const answer = c.call('sample', { args: { size, pace: 'slow' } }).bytes();
  const closed = c.close();
  t.is((await failure(c.call('string').bytes())).message, 'the client is closed');
  t.is(digest(await answer), digest(sample(300_000, 1)));
  await closed;
  t.is((await failure(c.call('string').bytes())).message, 'the client is closed');
});

test('a server that closes finishes what is in flight, and tells clients to go elsewhere', async (t) => {
  // However long that takes, the grace does not pass.
  stoppedClock(t);
  const own = await serving(t, { commands: commands() });
  const c = await dial(t, own.address);
  const idle = await dial(t, own.address);
  const plain = await dial(t, own.address, { plain: true });
  const gates = [c, plain].map((client) => {
    const goOn = Promise.withResolvers<void>();
    const data = async function* () {
      yield Uint8Array.of(97);
      await goOn.promise;
      yield Uint8Array.of(98);
    };
    return { goOn, reader: client.call('upper', { data: data() })[Symbol.asyncIterator]() };
  });
  for (const { reader } of gates) await reader.next();
  const closed = own.server.close({ graceMs: LONG });
  t.is(own.server.close(), closed, 'closing twice is closing once');
  await idle.closed;
  t.regex(
    (await failure(idle.call('string').bytes())).message,
    /^the server is going away: server is shutting down$/,
  );
  await c.ping();
  t.is(
    (await failure(c.call('string').bytes())).message,
    'the server is going away: server is shutting down',
  );
  t.is((await failure(plain.call('string').bytes())).message, 'server is shutting down');
  for (const { goOn, reader } of gates) {
    goOn.resolve();
    t.is(new TextDecoder().decode((await reader.next()).value as Uint8Array), 'B');
    t.true((await reader.next()).done);
  }
  await closed;
  const refused = await failure(connect(own.address));
  t.is(refused.message, `cannot connect to 127.0.0.1:${own.address.port}: nothing listens there`);
});

test('a server that closes waits for its grace, then ends what is left', async (t) => {
  const own = await serving(t, { commands: commands() });
  const c = await dial(t, own.address);
  const main = c.call('waiting', {}).bytes();
  const lane = c.call('lane-waiting', {}).bytes();
  await c.ping();
  const closing = own.server.close(30);
  for (const response of [main, lane]) t.is((await failure(response)).message, 'server is shutting down');
  await closing;
});

test('a server closes also when a handler keeps its lane busy for ever', async (t) => {
  const own = await servingAlone(t, { commands: commands() });
  const c = await dial(t, own.address);
  const answer = c.call('lane-spin').bytes();
  await c.ping();
  const closing = own.server.close(30);
  t.is((await failure(answer)).message, 'server is shutting down');
  await closing;
});

test('a server that never listened closes', async (t) => {
  const server = createServer({ workers: 1 });
  await server.close();
  t.is(server.address, undefined);
});

test('a port in use is an error of listen()', async (t) => {
  const second = createServer({ workers: 1 });
  t.teardown(() => second.close(0));
  await t.throwsAsync(second.listen({ port: running.address.port }), { code: 'EADDRINUSE' });
});

test('a Unix socket serves as TCP does', async (t) => {
  const path = join(tmpdir(), `millrace-${process.pid}-${Date.now()}.sock`);
  const server = createServer({ workers: 1, laneTimeout: LONG, commands: commands() });
  t.teardown(async () => {
    await server.close(0);
    rmSync(path, { force: true });
  });
  t.deepEqual(await server.listen({ path }), { path });
  const c = await dial(t, { path });
  const data = sample(200_000, 2);
  t.is(digest(await c.call('echo', { data }).bytes()), digest(data));
  t.is(await c.call('lane-generator').text(), 'one two three');
  const [stream] = (await server.stats()).streams;
  t.is(stream.remote, 'unix');
});

test('stats tell of lanes, streams, connections and the cache', async (t) => {
  const own = await serving(t, { workers: 2, commands: commands() });
  const c = await dial(t, own.address);
  const args = { size: '500000' };
  await Promise.all([1, 2, 3, 4].map(() => c.call('lane-sample', { args }).bytes()));
  const stats = await own.server.stats();
  t.is(stats.connections, 1);
  t.deepEqual(
    stats.lanes.map(({ lane }) => lane),
    [0, 1],
  );
  const bytesIn = stats.streams.reduce((sum, stream) => sum + stream.bytesIn, 0);
  t.is(bytesIn, 2_000_000);
  t.true(stats.streams.every(({ bytesOut, profile }) => bytesOut > 0 && profile === 'zstd-8mb'));
  t.true(stats.lanes.some(({ cpuSeconds, memoryBytes }) => cpuSeconds > 0 && memoryBytes > 0));
  const received = c.stats();
  t.is(
    received.streams.reduce((sum, { wireBytes }) => sum + wireBytes, 0),
    received.bytesRead,
  );
  await c.close();
});
