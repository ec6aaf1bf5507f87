// The deadline that a server keeps (protocol C6) and cancel (protocol C3) reach a request wherever it waits.
import test from 'ava';
import type { CommandRequest, Handler, ServerOptions } from '../../src/index.ts';
import * as endless from '../fixtures/endless.ts';
import { frames, HELLO, RawPeer } from '../helpers/raw-peer.ts';
import { dial, failure, servingOnSharedLanes, signal } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(test);

const hang = (request: CommandRequest) =>
  new Promise<undefined>((resolve) => request.signal.addEventListener('abort', () => resolve(undefined)));
const MODULE = new URL('../fixtures/uploads.ts', import.meta.url);

const WITH_ZLIB = HELLO.replace('{', '{"contentEncodings":["zlib"],');
const DEADLINE = '1 0 command-argument eoa \\x0c\\x00\\x02\\x00:deadline-ms30';

/** Request 3 waits for something that never comes. */
const PLACES: Record<string, ServerOptions> = {
  'for the authorize hook': {
    authorize: ({ command }) => (command === 'late' ? new Promise<boolean>(() => undefined) : true),
    commands: { hang, late: hang },
  },
  'for a stream': { policy: 'per-request', streams: 1, commands: { hang, late: hang } },
  'for a stream, to run in a lane': {
    policy: 'per-request',
    streams: 1,
    commands: { hang, late: { module: MODULE, export: 'makeUploads', options: {} } },
  },
};

for (const [where, options] of Object.entries(PLACES)) {
  for (const how of ['its deadline', 'cancel'] as const) {
    test(`${how} ends a request that waits ${where}`, async (t) => {
      const began = signal();
      const commands = {
        ...options.commands,
        hang: (request: CommandRequest) => {
          began.resolve();
          return hang(request);
        },
      };
      const { port } = await serving(t, { ...options, commands });
      const peer = await RawPeer.connect(t, port);
      peer.send(WITH_ZLIB, '1 1 0 command-name eos hang');
      await began.promise;
      if (how === 'cancel') peer.send('3 1 0 command-name eos late', '3 1 0 cancel 0 ');
      else peer.send(frames('3 1 0 command-name have-args late', `3 ${DEADLINE}`));
      t.is(await peer.answer(3), how === 'cancel' ? 'error: cancelled' : 'error: deadline exceeded');
      peer.send('1 1 0 cancel 0 ');
      t.is(await peer.answer(1), 'error: cancelled');
      t.true(peer.unharmed);
    });
  }
}

for (const where of ['main thread', 'lane']) {
  for (const [name, handler] of Object.entries(endless)) {
    test(`a handler on the ${where} that gives ${name} for ever holds up nobody, and its deadline ends it`, async (t) => {
      const module = new URL('../fixtures/endless.ts', import.meta.url);
      const command = where === 'lane' ? { module, export: name } : handler;
      const { address, server } = await serving(t, { workers: 1, commands: { endless: command as Handler } });
      const client = await dial(t, address);
      const error = await failure(client.call('endless', { deadlineMs: 50 }).text());
      t.like(error, { code: 'deadline-exceeded' });
      const endless = client.call('endless');
      t.is(await client.call('ping').text(), 'pong');
      endless.cancel();
      // Whatever is still at work counts as running.
      while ((await server.stats()).commands.some(({ running }) => running > 0)) await client.ping();
      t.is((await server.stats()).laneRestarts, 0);
    });
  }
}
