/** What a client is made of, by itself: the circuit of a place, cancels that wait for their turn. */

import { setImmediate as turn } from 'node:timers/promises';
import ava, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { CancelSender } from '../../src/client/cancel-sender.ts';
import { Circuit, type CircuitOptions } from '../../src/client/circuit.ts';
import { ServerSettings } from '../../src/client/negotiation.ts';
import type { Connection } from '../../src/connection/connection.ts';
import { FrameType } from '../../src/wire/frame.ts';
import { stoppedClock } from '../helpers/clock.ts';

// One after the other: time is stopped.
const test = ava.serial;

// ------------------------------------------------------------------------------------------------- circuits

const OPTIONS: CircuitOptions = {
  minBackoffMs: 100,
  maxBackoffMs: 1000,
  circuitFailures: 7,
  circuitOpenMs: 5000,
};
/** Close to 1, so that a delay is all that it may be. */
const most = () => 1 - 2 ** -53;

test('delays double from the first one up to their cap, and then the circuit opens', (t) => {
  const circuit = new Circuit(OPTIONS, most);
  const delays = Array.from({ length: 7 }, () => circuit.failed());
  t.deepEqual(delays, [100, 200, 400, 800, 1000, 1000, 5000]);
  t.is(circuit.state, 'open');
});

test('half-open: a failure opens it again at once, a success closes it and begins afresh', (t) => {
  const circuit = new Circuit({ ...OPTIONS, circuitFailures: 1 }, most);
  circuit.tryAgain();
  t.is(circuit.state, 'closed', 'what has not failed is not tried again');
  t.is(circuit.failed(), 5000);
  circuit.tryAgain();
  t.is(circuit.state, 'half-open');
  t.is(circuit.failed(), 5000);
  t.is(circuit.state, 'open');
  circuit.tryAgain();
  circuit.succeeded();
  t.deepEqual([circuit.state, circuit.failures], ['closed', 0]);
});

test('every delay is from half of what it is meant to be to all of it, whatever chance says', (t) => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      fc.nat(2000),
      (random, failures) => {
        const circuit = new Circuit({ ...OPTIONS, circuitFailures: 5000 }, () => random);
        for (let i = 0; i < failures; i++) circuit.failed();
        const meant = Math.min(1000, 100 * 2 ** failures);
        const delay = circuit.failed();
        t.true(delay >= meant / 2 && delay <= meant, `${delay} for ${meant}`);
      },
    ),
  );
});

// -------------------------------------------------------------------------------------------------- cancels

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
