// Error texts stay at home: whatever fails, wherever, peers receive nothing of it, and `onError` all.
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import ava, { type ExecutionContext } from 'ava';
import { CommandError, type ServerOptions } from '../../src/index.ts';
import { fill, tempFolder } from '../files/helper.ts';
import * as handlers from '../fixtures/marker.ts';
import { frame, RawPeer } from '../helpers/raw-peer.ts';
import {
  dial,
  impostor,
  type Report,
  type Serving,
  serving as servingAlone,
  servingOnSharedLanes,
} from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

const test = ava.serial;
const { MARKER, codecs, throws, rejects } = handlers;
const HUSH = Buffer.from('hunter2');
const module = new URL('../fixtures/marker.ts', import.meta.url);
const HELLO =
  '0 1 stream-begin sender-settings 0 {"extensions":["sender-settings","progress","cancel","ping","goaway","error-data"]}';

/** A peer that keeps every byte that it receives. */
class Listening extends RawPeer {
  readonly #chunks: Buffer[] = [];

  static override async connect(t: ExecutionContext<unknown>, port: number): Promise<Listening> {
    const { socket } = await RawPeer.connect(t, port);
    const peer = new Listening(socket);
    socket.on('data', (chunk: Buffer) => peer.#chunks.push(chunk));
    return peer;
  }

  get received(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

const isMarked = ({ error }: Report) => inspect(error, { depth: 9 }).includes('hunter2');

interface Scene extends Serving {
  readonly peer: Listening;
  /** On another connection, with a response of every lane that is not over. */
  readonly innocent: Listening;
}

async function scene(
  t: ExecutionContext<unknown>,
  options: ServerOptions,
  hello = HELLO,
  make = serving,
): Promise<Scene> {
  const running = await make(t, options);
  const peer = await Listening.connect(t, running.port);
  const innocent = await Listening.connect(t, running.port);
  if (options.authorize === undefined) {
    innocent.send(HELLO, '1 1 0 command-name eos waits');
    await innocent.until(() => innocent.frames.some(({ requestId }) => requestId === 1));
  }
  peer.send(hello);
  return { ...running, peer, innocent };
}

/** Nothing of the marker has come to any peer, and `onError` has it. */
async function hushed(t: ExecutionContext<unknown>, { peer, innocent, reported }: Scene): Promise<void> {
  await reported(isMarked);
  // What was written because of it has been written when the next answer comes, or the end has.
  for (const each of [peer, innocent]) if (!each.ended) await each.seen().catch(() => undefined);
  for (const each of [peer, innocent])
    t.false(each.received.includes(HUSH), each.received.toString('latin1'));
}

const waits = { module, export: 'waits' };
const { throwsText, throwsLater, throwsAtOnce, throwsInProduce } = handlers;
const RUNNING = { throws, rejects, throwsText, throwsLater, throwsAtOnce, throwsInProduce };

for (const [name, handler] of Object.entries(RUNNING)) {
  for (const thread of ['main', 'lane']) {
    test(`a handler that ${name}, ${thread}`, async (t) => {
      const command = thread === 'main' ? handler : { module, export: name };
      const now = await scene(t, { commands: { waits, broken: command as never } });
      now.peer.send('1 1 0 command-name eos broken');
      t.is(await now.peer.answer(1), "error: internal\0command 'broken' failed: internal error\0");
      await hushed(t, now);
    });
  }
}

for (const thread of ['main', 'lane']) {
  test(`a handler that throws when it is stopped, ${thread}`, async (t) => {
    const command = thread === 'main' ? handlers.throwsAtTheEnd : { module, export: 'throwsAtTheEnd' };
    const now = await scene(t, { commands: { waits, broken: command as never } });
    now.peer.send('1 1 0 command-name eos broken');
    await now.peer.until(() => now.peer.frames.some(({ requestId }) => requestId === 1));
    now.peer.send('1 1 0 cancel 0 ');
    t.is(await now.peer.answer(1), 'error: cancelled\0cancelled\0');
    await hushed(t, now);
  });
}

for (const name of ['throwsWhereNobodyWaits', 'rejectsWhereNobodyWaits']) {
  test(`a handler in a lane that ${name}: nor do the innocent hear of it`, async (t) => {
    const commands = { waits, broken: { module, export: name } };
    const now = await scene(t, { commands }, HELLO, servingAlone);
    now.peer.send('1 1 0 command-name eos broken');
    t.is(await now.peer.answer(1), 'error: worker-died\0worker of lane 0 died\0');
    t.is(await now.innocent.answer(1), 'error: worker-died\0worker of lane 0 died\0');
    await hushed(t, now);
  });
}

for (const [what, options] of Object.entries({
  'an affinity key': { commands: { waits, broken: { handler: () => 'x', affinityKey: throws } } },
  'a policy': {
    commands: { waits, broken: () => 'x' },
    policy: ({ command }) => (command === 'broken' ? throws() : 0),
  },
} satisfies Record<string, ServerOptions>)) {
  test(`${what} that throws`, async (t) => {
    const hello = HELLO.replace('{', '{"contentEncodings":["zlib"],');
    const now = await scene(t, options, hello);
    now.peer.send('1 1 0 command-name eos broken');
    t.is(await now.peer.answer(1), 'error: internal\0internal error: no stream for the response\0');
    await hushed(t, now);
  });
}

for (const [what, fail] of Object.entries({ throws, rejects })) {
  test(`a hook that ${what}, about a command and about a connection`, async (t) => {
    const commands = { secret: () => 'x' };
    const now = await scene(t, { commands, authorize: ({ command }) => command === undefined || fail() });
    now.peer.send('1 1 0 command-name eos secret', '3 1 0 command-name eos none');
    for (const id of [1, 3]) t.is(await now.peer.answer(id), 'error: not-authorized\0not authorized\0');
    await hushed(t, now);
    const closed = await scene(t, { authorize: fail });
    t.is(await closed.peer.protocolError(), 'protocol error (not-authorized): not authorized');
    await hushed(t, closed);
  });
}

for (const profile of ['decoder-throws', 'decoder-refuses', 'decoder-limits', 'no-decoder']) {
  test(`a codec with ${profile}`, async (t) => {
    const now = await scene(t, { codecs: [codecs], commands: { waits } });
    const settings = `0 3 stream-begin stream-settings 0 \\x${profile.length.toString(16).padStart(2, '0')}${profile}`;
    now.peer.send(settings, '1 1 0 command-name have-data echo', '1 3 encoded command-data eos bytes');
    const code = profile === 'decoder-limits' ? 'limit' : 'corrupt-frame';
    const told = `protocol error (${code}): stream 3: the codec of profile '${profile}' has failed`;
    t.is(await now.peer.protocolError(), told);
    await hushed(t, now);
  });
}

for (const profile of ['encoder-throws', 'no-encoder']) {
  test(`a codec with ${profile}`, async (t) => {
    const hello = HELLO.replace('{', `{"contentEncodings":["${profile}"],`);
    const now = await scene(t, { codecs: [codecs], commands: { waits, plain: () => 'some bytes' } }, hello);
    now.peer.send('1 1 0 command-name eos plain');
    t.truthy(await now.peer.answer(1));
    await hushed(t, now);
  });
}

test('the file system: where the root is, and what it says, stays at home', async (t) => {
  const root = join(tempFolder(t), MARKER);
  fill(tempFolder(t), {});
  const { mkdirSync } = await import('node:fs');
  mkdirSync(root);
  fill(root, { 'a/file': 'x' });
  symlinkSync('/proc/self/mem', join(root, 'out'));
  symlinkSync('loop', join(root, 'loop'));
  const running = await serving(t, { root });
  const peer = await Listening.connect(t, running.port);
  peer.send(HELLO);
  const paths = ['none', 'a', 'a/file/x', 'out', 'loop', '../x', `/${'x'.repeat(5000)}`, 'x'.repeat(300)];
  let id = 1;
  for (const command of ['files.get', 'files.list', 'files.stat', 'files.bundle']) {
    for (const path of paths) {
      const [name, value] = command === 'files.bundle' ? ['paths', JSON.stringify([path])] : ['path', path];
      const head = Buffer.from([name.length, 0, value.length & 0xff, value.length >> 8]);
      const argument = Buffer.concat([head, Buffer.from(name + value)]);
      peer.send(
        `${id} 1 0 command-name have-args ${command}`,
        frame(`${id} 1 0 command-argument eoa `, argument),
      );
      t.not(await peer.answer(id), undefined);
      id += 2;
    }
  }
  t.false(peer.received.includes(HUSH));
});

test("a client's codec, callbacks and data: the server hears nothing of their errors either", async (t) => {
  const heard: Buffer[] = [];
  const where = await impostor(t, (socket) => {
    socket.on('data', (chunk: Buffer) => {
      heard.push(chunk);
      const all = Buffer.concat(heard).toString('latin1');
      if (heard.length === 1) socket.write(frame('0 2 stream-begin sender-settings 0 {}'));
      else if (all.includes('call-me')) {
        const name = 'decoder-refuses';
        socket.write(frame(`0 4 stream-begin stream-settings 0 \\x0f${name}`));
        socket.write(frame('3 4 encoded bytes-response eos bytes'));
      }
    });
    socket.on('end', () => socket.end());
  });
  const client = await dial(t, where, { extraCodecs: [codecs] });
  const data = async function* () {
    yield Buffer.from('some');
    throw handlers.marked();
  };
  await t.throwsAsync(client.call('upload', { data: data() }).text(), { message: MARKER });
  await t.throwsAsync(client.call('call-me').text(), {
    message: /the codec of profile 'decoder-refuses' has failed/,
  });
  await client.closed;
  t.false(Buffer.concat(heard).includes(HUSH));
  t.true(Buffer.concat(heard).includes('corrupt-frame'), 'it was told what it did');
});

test('what a handler means for the peer does reach it', async (t) => {
  const { port } = await serving(t, {
    commands: {
      tell: () => {
        throw new CommandError(MARKER);
      },
    },
  });
  const client = await dial(t, { port });
  await t.throwsAsync(client.call('tell').text(), { message: MARKER });
});
