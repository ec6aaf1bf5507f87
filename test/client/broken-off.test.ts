/** A connection that breaks, at whatever byte, is lost: nobody is said to have broken the protocol. */

import test from 'ava';
import { makeClient } from '../../src/client/client.ts';
import { CodecRegistry } from '../../src/encoding/registry.ts';
import { connectOver, memoryPair, type Transport } from '../../src/index.ts';
import { HEADER_SIZE } from '../../src/wire/frame.ts';
import { frame, frames, HELLO } from '../helpers/raw-peer.ts';
import { failure, serving } from '../helpers/serving.ts';
import { argumentPayload } from '../independent/client.ts';

/** How a connection ends behind what has come of it. */
const ENDS: [string, (transport: Transport) => void][] = [
  ['ends', (transport) => transport.end()],
  ['is reset', (transport) => transport.destroy()],
];

const ANSWER = [
  '0 2 stream-begin sender-settings 0 {"extensions":["ping"]}',
  '1 2 0 bytes-response continuation first',
  '1 2 0 bytes-response eos last',
];
const COMMAND = [
  HELLO,
  '1 1 0 command-name have-args|have-data upload',
  frame('1 1 0 command-argument eoa ', argumentPayload('a', 'value')),
  '1 1 0 command-data continuation first',
  '1 1 0 command-data eos last',
];

/** Hands on `bytes`, and calls `then` once they are with the other end, which reads. */
function hand(transport: Transport, bytes: Uint8Array, then: () => void): void {
  if (bytes.length === 0) transport.endOfTick(then);
  else transport.write([bytes], () => transport.endOfTick(() => transport.endOfTick(then)));
}

for (const [how, end] of ENDS) {
  test(`a server's side that ${how} at any byte of its settings and its answer: the connection is lost`, async (t) => {
    const bytes = frames(...ANSWER);
    for (let length = 0; length < bytes.length; length++) {
      const [ours, theirs] = memoryPair({ remote: 'there' });
      theirs.resume();
      hand(theirs, bytes.subarray(0, length), () => end(theirs));
      const error = await failure(makeClient(ours, new CodecRegistry([])).call('c').bytes());
      t.like(error, { name: 'ConnectionError', code: 'lost' }, `after ${length} bytes`);
    }
  });

  test(`a client's side that ${how} at any byte of a command: the connection is lost, and the server goes on`, async (t) => {
    const upload = async ({ data }: { data: AsyncIterable<Uint8Array> }) => {
      for await (const _ of data);
      return 'done';
    };
    const { server, reports } = await serving(t, { commands: { upload } });
    const bytes = frames(...COMMAND);
    for (let length = 0; length < bytes.length; length++) {
      const [ours, theirs] = memoryPair();
      const closed = new Promise<void>((resolve) => {
        ours.onClose = () => resolve();
      });
      ours.onEnd = () => ours.end();
      server.accept(theirs);
      ours.resume();
      hand(ours, bytes.subarray(0, length), () => end(ours));
      await closed;
    }
    const { closed } = (await server.stats()).connectionTotals;
    t.deepEqual(
      Object.keys(closed).filter((code) => code !== 'ok'),
      ['lost'],
    );
    t.true(closed.lost >= bytes.length - COMMAND.length * HEADER_SIZE);
    t.true(reports.every(({ error }) => (error as Error).name === 'ConnectionError'));
  });
}

test('what cannot be the beginning of a frame is none, wherever it ends', async (t) => {
  for (const text of ['ok\n', 'HTTP', '220 m', 'SSH-2.0-x']) {
    const [ours, theirs] = memoryPair({ remote: 'there' });
    theirs.resume();
    hand(theirs, new TextEncoder().encode(text), () => theirs.end());
    t.like(await failure(connectOver(ours)), {
      name: 'ConnectionError',
      code: 'protocol-error',
      message: 'there does not speak the millrace protocol',
    });
  }
});
