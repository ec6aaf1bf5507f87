import { setImmediate as turn } from 'node:timers/promises';
import ava, { type ExecutionContext } from 'ava';
import { CancelSender } from '../../src/client/cancel-sender.ts';
import { ServerSettings } from '../../src/client/negotiation.ts';
import type { Connection } from '../../src/connection/connection.ts';
import { FrameType } from '../../src/wire/frame.ts';
import { stoppedClock } from '../helpers/clock.ts';

// One after the other: time is stopped.
const test = ava.serial;

const SPEAKS = { extensions: ['cancel'] };

/** Cancels, the IDs for which they went out, and the IDs of requests that are answered. */
function cancelling(t: ExecutionContext) {
  const clock = stoppedClock(t);
  const sent: number[] = [];
  const answered = new Set<number>();
  const server = new ServerSettings(true);
  const connection = {
    sendPlain(requestId: number, type: number) {
      t.is(type, FrameType.cancel);
      sent.push(requestId);
    },
  } as unknown as Connection;
  const cancels = new CancelSender(connection, { isForgotten: (id) => !answered.has(id) }, server);
  t.teardown(() => cancels.close());
  return { clock, sent, answered, server, cancels };
}

test('a cancel waits for the settings of a server, and goes to none that does not speak of them', async (t) => {
  for (const extensions of [['cancel'], []]) {
    const { clock, sent, server, cancels } = cancelling(t);
    cancels.send(1);
    t.deepEqual(sent, []);
    server.take({ extensions });
    await turn();
    cancels.send(3);
    t.deepEqual(sent, extensions.length === 0 ? [] : [1, 3]);
    clock.release();
  }
});

test('no cancel goes out for a request that was answered while it waited', async (t) => {
  const { sent, answered, server, cancels } = cancelling(t);
  for (const id of [1, 3]) cancels.send(id);
  answered.add(1);
  server.take(SPEAKS);
  await turn();
  t.deepEqual(sent, [3]);
});

test('where a server takes few cancels, the others wait for their turn, and for none when all is over', (t) => {
  const { clock, sent, server, cancels } = cancelling(t);
  server.take(SPEAKS);
  cancels.atMost(8);
  const ids = [1, 3, 5, 7, 9];
  for (const id of ids) cancels.send(id);
  t.deepEqual(sent, [1, 3]);
  clock.advance(500);
  t.deepEqual(sent, [1, 3, 5, 7]);
  cancels.close();
  clock.advance(1000);
  t.deepEqual(sent, [1, 3, 5, 7]);
});
