/** Peers that do not read, do not say that they have read, or send more than they may. */

import { connect as connectSocket, type Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { TextOutput } from '../../src/index.ts';
import { pattern } from '../fixtures/pattern.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { heldBytes } from '../helpers/gc.ts';
import { frame, frames, HELLO, onCommand, times } from '../helpers/raw-peer.ts';
import { dial, halted, impostor, reach } from '../helpers/serving.ts';
import { argumentPayload } from '../independent/client.ts';
import { Target } from './helper.ts';

const MODULE = new URL('../fixtures/lane-commands.ts', import.meta.url);
let told = 0;

let target: Target;
test.before(async () => {
  target = await Target.start({
    limits: { maxBufferedOutput: 1 << 20, idleTimeout: 300 },
    commands: {
      fill: { module: MODULE, export: 'fill' },
      here: (request) => pattern(1, Number(request.text('size'))).slice(),
      tell: async function* () {
        for (told = 0; told < 50_000; told++)
          yield new TextOutput({ format: '%s', labels: [], args: ['x'.repeat(10_000)] });
      },
    },
  });
});
test.after.always(() => target?.stop());

const WINDOWED = (request: number, connection: number) =>
  `0 1 stream-begin sender-settings 0 {"requestWindow":${request},"connectionWindow":${connection},"extensions":["credit","cancel"]}`;

function ask(id: number, command: string, size: number): Buffer {
  return frames(
    `${id} 1 0 command-name have-args ${command}`,
    frame(`${id} 1 0 command-argument 0 `, argumentPayload('size', String(size))),
    frame(`${id} 1 0 command-argument eoa `, argumentPayload('seed', '1')),
  );
}

/** A round trip of the witness. */
const pingOf = ({ witness }: Target) => witness.ping(Buffer.from('are you?'));
const ping = () => pingOf(target);

/** A peer whose socket nobody reads. */
async function unread(t: ExecutionContext, port = target.port): Promise<Socket> {
  const socket = connectSocket({ port, host: '127.0.0.1', allowHalfOpen: true });
  t.teardown(() => socket.destroy());
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

for (const command of ['here', 'fill']) {
  test.serial(
    `a response of '${command}' that waits for credit after the end of input is an error`,
    async (t) => {
      await target.attack(t, {
        name: 'half-closed without credit',
        send: frames(WINDOWED(100, 1000), ask(1, command, 5000)),
        end: true,
        expect: { ends: true, answers: { 1: /^error: .*credit/ } },
      });
    },
  );

  test.serial(
    `a response of '${command}' that fits its window is whole after the end of input`,
    async (t) => {
      await target.attack(t, {
        name: 'half-closed within the window',
        send: frames(WINDOWED(5000, 5000), ask(1, command, 5000)),
        end: true,
        expect: { ends: true, answers: { 1: Buffer.from(pattern(1, 5000)).toString('latin1') } },
      });
    },
  );

  test.serial(
    `what a cancelled '${command}' held of the connection's window is there for the next`,
    async (t) => {
      const peer = await target.hostile(t);
      peer.write(frames(WINDOWED(1 << 20, 1000), ask(1, command, 50_000), ask(3, command, 50_000)));
      const [first, second] = [peer.expect(1), peer.expect(3)];
      await peer.until(() => first.received + second.received === 1000, 'all of the window');
      peer.write(frames('1 1 0 cancel 0 ', frame('0 1 0 credit 0 ', Buffer.from([100, 0, 0, 0]))));
      await peer.until(() => first.received + second.received === 1100, 'all of the credit');
      await peer.until(() => first.finished, 'the error of the cancelled one');
      peer.write(frames('3 1 0 cancel 0 '));
      await peer.until(() => second.finished, 'the other error');
      t.deepEqual(peer.violations, []);
      peer.close();
      await target.unharmed(t);
    },
  );
}

test.serial('a handler that tells endless lines to a peer that reads none waits', async (t) => {
  const socket = await unread(t);
  socket.write(frames(HELLO, '1 1 0 command-name eos tell'));
  await halted(() => told, ping);
  // The bound is 1 MiB; what the kernel takes comes on top.
  t.true(told > 0 && told < 2000, `${told} lines of 10 000 bytes`);
  socket.destroy();
  await target.unharmed(t);
});

// What one piece takes, header included: the three texts of progress are cut at 1 024 bytes.
for (const [kind, size] of Object.entries({ text: 10_000, progress: 8 + 22 + 3 * 1024 })) {
  test.serial(
    `a handler in a lane whose ${kind} nobody reads waits, and goes on when it is read`,
    async (t) => {
      const chatty = await Target.start({
        workers: 1,
        limits: { maxBufferedOutput: 1 << 20 },
        commands: {
          chatter: { module: MODULE, export: 'chatter' },
          saidSoFar: { module: MODULE, export: 'saidSoFar' },
        },
      });
      t.teardown(() => chatty.stop());
      const said = async () => Number(await chatty.witness.body(chatty.witness.start('saidSoFar')));
      const socket = await unread(t, chatty.port);
      socket.write(
        frames(
          HELLO,
          '1 1 0 command-name have-args chatter',
          frame('1 1 0 command-argument eoa ', argumentPayload('kind', kind)),
        ),
      );
      // The bound is 1 MiB; what the kernel takes comes on top.
      const enough = Math.ceil(20_000_000 / size);
      const waitsAt = await halted(said, said, enough);
      t.true(waitsAt > enough / 20 && waitsAt < enough, `${waitsAt} times ${size} bytes`);
      socket.resume();
      while ((await said()) < waitsAt + enough) await new Promise((resolve) => setImmediate(resolve));
      socket.destroy();
      await chatty.unharmed(t);
    },
  );
}

test.serial('pings of a peer that reads no answers end in waiting, not in memory', async (t) => {
  const socket = await unread(t);
  socket.write(frames(HELLO));
  const before = heldBytes();
  const unknown = 'x'.repeat(255);
  // Unknown commands are the largest answers to the smallest questions.
  const burst = times(100, (i) => `${2 * i + 1} 1 0 command-name eos ${unknown}`);
  for (let i = 0; i < 400; i++) socket.write(burst);
  await halted(() => socket.writableLength, ping);
  const held = heldBytes() - before;
  // All answers, of 300 bytes each, would be more than that.
  t.true(held < 8 << 20, `${held} bytes`);
  socket.destroy();
  await target.unharmed(t);
});

test.serial('a peer that breaks the protocol and does not read is dropped all the same', async (t) => {
  const socket = await unread(t);
  socket.write(frames(HELLO, ask(1, 'here', 30 << 20)));
  // Full pipes: the response cannot go on, and the error cannot be said.
  await halted(() => socket.bytesRead, ping);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write(frames('2 1 0 command-name eos even'));
  await Promise.race([closed, noConnectionButTheWitness()]);
  socket.destroy();
  await target.unharmed(t);
});

test.serial('a server that passes the window of a request is refused by the client', async (t) => {
  const where = await impostor(t, (socket) => {
    socket.write(frames('0 2 stream-begin sender-settings 0 {"extensions":["credit"]}'));
    onCommand(socket, () => {
      for (let i = 0; i < 40; i++)
        socket.write(frame('1 2 0 bytes-response continuation ', new Uint8Array(50_000)));
    });
  });
  const client = await dial(t, where, { requestWindow: 1 << 20 });
  const response = client.call('anything');
  await client.closed;
  await t.throwsAsync(response.bytes(), { name: 'ProtocolError', code: 'limit', message: /^requestWindow/ });
});

test.serial('cancelled responses do not use up the window of a connection', async (t) => {
  const client = await reach({ port: target.port }, { connectionWindow: 100_000 });
  for (let i = 0; i < 20; i++) {
    const response = client.call('fill', { args: { size: '90000', seed: '7' } });
    for await (const _ of response) break;
  }
  const bytes = await client.call('fill', { args: { size: '90000', seed: '7' } }).bytes();
  t.deepEqual(bytes, pattern(7, 90_000));
  await client.close();
  await target.unharmed(t);
});

for (const [kind, hello] of Object.entries({ 'with settings': [HELLO], 'of part A': [] })) {
  test.serial(`a peer ${kind} that asks, half-closes and vanishes is found out`, async (t) => {
    const clock = stoppedClock(t);
    const watched = await Target.start({
      keepAliveInterval: 50,
      commands: {
        hold: ({ signal }) => new Promise((stop) => signal.addEventListener('abort', () => stop('stopped'))),
      },
    });
    t.teardown(() => watched.stop());
    const socket = connectSocket({ port: watched.port, host: '127.0.0.1', allowHalfOpen: true });
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.end(frames(...hello, `1 1 ${hello.length === 0 ? 'stream-begin' : '0'} command-name eos hold`));
    await new Promise((resolve) => socket.once('finish', resolve));
    while ((await watched.server.stats()).connections < 2)
      await new Promise((resolve) => setImmediate(resolve));
    socket.resetAndDestroy();
    await clock.advanceWhile(watched.unharmed(t), 5, () => pingOf(watched));
  });
}

test.serial('a half-closed peer that is there gets its late answer as if nothing were', async (t) => {
  const clock = stoppedClock(t);
  const watched = await Target.start({
    keepAliveInterval: 20,
    commands: { late: () => new Promise((resolve) => setTimeout(() => resolve('late'), 200)) },
  });
  t.teardown(() => watched.stop());
  for (const hello of [[HELLO], []]) {
    const attack = watched.attack(t, {
      name: 'late',
      send: frames(...hello, `1 1 ${hello.length === 0 ? 'stream-begin' : '0'} command-name eos late`),
      end: true,
      expect: { ends: true, answers: { 1: 'late' } },
    });
    await clock.advanceWhile(attack, 2, () => pingOf(watched));
  }
});

async function noConnectionButTheWitness(): Promise<void> {
  while ((await target.server.stats()).connections > 1)
    await new Promise((resolve) => setTimeout(resolve, 20));
}
