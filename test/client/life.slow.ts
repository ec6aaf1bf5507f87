// What of the life of a connection takes as many requests as there are IDs.

import type { Socket } from 'node:net';
import test from 'ava';
import type { ConnectionError } from '../../src/index.ts';
import { encodeFrame, FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { encodeGoaway, encodeSenderSettings } from '../../src/wire/payloads.ts';
import { dial, failure, impostor, Watch } from '../helpers/serving.ts';

const SETTINGS = frame(
  FrameType.senderSettings,
  encodeSenderSettings({ extensions: ['cancel', 'ping', 'goaway'] }),
  StreamFlag.begin,
);

function frame(type: number, payload: Uint8Array, streamFlags = 0): Uint8Array {
  return encodeFrame({ requestId: 0, streamId: 2, streamFlags, type, flags: 0, payload });
}

test('request IDs that come round: a request of an earlier round has run, whatever its ID', async (t) => {
  const requests: number[] = [];
  const sockets: Socket[] = [];
  const watch = new Watch();
  // Answers every request but the third at once.
  const where = await impostor(t, (socket) => {
    sockets.push(socket);
    socket.write(SETTINGS);
    let held = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= 8 && held.length >= 8 + held.readUIntLE(0, 3)) {
        const [requestId, type] = [held.readUInt16LE(3), held[7] >> 4];
        held = held.subarray(8 + held.readUIntLE(0, 3));
        if (type !== FrameType.commandName) continue;
        requests.push(requestId);
        watch.changed();
        if (requests.length === 3 || requests.length > 32_770) continue;
        const payload = new Uint8Array(0);
        socket.write(
          encodeFrame({
            requestId,
            streamId: 2,
            streamFlags: 0,
            type: FrameType.bytesResponse,
            flags: 2,
            payload,
          }),
        );
      }
    });
  });
  const client = await dial(t, where);
  await client.call('c').text();
  await client.call('c').text();
  const early = failure(client.call('c').text()) as Promise<ConnectionError>;
  for (let sent = 3; sent < 32_770; sent += 127)
    await Promise.all(Array.from({ length: Math.min(127, 32_770 - sent) }, () => client.call('c').text()));
  t.deepEqual(requests.slice(-2), [1, 3]);
  const late = [
    failure(client.call('c').text()) as Promise<ConnectionError>,
    failure(client.call('c').text()) as Promise<ConnectionError>,
  ];
  await watch.until(() => requests.length === 32_772 || undefined);
  sockets[0].write(frame(FrameType.goaway, encodeGoaway(requests[32_769], 'maintenance')));
  sockets[0].end();
  t.false((await early).notStarted);
  for (const each of await Promise.all(late)) t.true(each.notStarted);
});
