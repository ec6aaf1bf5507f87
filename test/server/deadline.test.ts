// The deadline that a server keeps (protocol C6) and cancel (protocol C3) reach a request wherever it waits.
import test from 'ava';
import type { CommandRequest, ServerOptions } from '../../src/index.ts';
import { frames, HELLO, RawPeer } from '../helpers/raw-peer.ts';
import { servingOnSharedLanes, signal } from '../helpers/serving.ts';

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
