/** The windows of protocol C4, by themselves: what a sender may send, what a receiver grants. */

import test from 'ava';
import fc from 'fast-check';
import { MAX_WINDOW, ReceiveWindow, SendWindow } from '../../src/reactor/window.ts';

test('without flow control a window is endless, whatever is taken from it or credited to it', (t) => {
  const window = new SendWindow(undefined);
  window.take(2 ** 40);
  window.refund(5);
  window.credit(MAX_WINDOW);
  t.false(window.limited);
  t.is(window.available, Number.POSITIVE_INFINITY);
});

test('a window of no bytes is a window', (t) => {
  const window = new SendWindow(0);
  t.true(window.limited);
  t.is(window.available, 0);
});

test('credit takes a window to its largest size, and not a byte further', (t) => {
  const window = new SendWindow(1);
  window.credit(MAX_WINDOW - 1);
  t.is(window.available, MAX_WINDOW);
  t.throws(() => window.credit(1), { name: 'ProtocolError', message: /past 2147483647 bytes/ });
  t.is(window.available, MAX_WINDOW, 'credit that is refused counts for nothing');
});

test('a receiver grants again what it has released once that is half of its window', (t) => {
  const granted: number[] = [];
  const window = new ReceiveWindow(1000, (bytes) => granted.push(bytes));
  t.true(window.receive(1000));
  window.release(499);
  t.deepEqual([granted, window.available], [[], 0]);
  window.release(1);
  t.deepEqual([granted, window.available], [[500], 500]);
  window.release(499);
  t.deepEqual([granted, window.available], [[500], 500]);
});

test('a receiver knows at the first byte that a sender has passed its window', (t) => {
  const window = new ReceiveWindow(10, () => t.fail());
  t.true(window.receive(10));
  t.false(window.receive(1));
  t.is(window.available, -1);
});

test('a sender that keeps to its window never passes the receiver’s, and is never left waiting', (t) => {
  const steps = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 3000 })), { maxLength: 200 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2000 }), steps, (size, todo) => {
      const sender = new SendWindow(size);
      const receiver = new ReceiveWindow(size, (bytes) => sender.credit(bytes));
      let unread = 0;
      const read = (bytes: number) => {
        unread -= bytes;
        receiver.release(bytes);
      };
      for (const [sends, wanted] of todo) {
        const bytes = Math.min(wanted, sends ? sender.available : unread);
        if (!sends) read(bytes);
        else {
          sender.take(bytes);
          t.true(receiver.receive(bytes));
          unread += bytes;
        }
        t.is(sender.available, receiver.available);
        t.true(unread <= size);
      }
      read(unread);
      t.true(sender.available > 0, 'once all is read, more can come');
    }),
  );
});
