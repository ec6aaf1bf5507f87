/** What a reactor is made of, each part by itself. */

import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { BusyRequests } from '../../src/reactor/busy-requests.ts';
import { failureOf } from '../../src/reactor/failure-of.ts';
import { Backlog, Gate } from '../../src/reactor/gate.ts';
import { IdTable } from '../../src/reactor/id-table.ts';
import { IncomingCommand } from '../../src/reactor/incoming-command.ts';
import { RequestTable } from '../../src/reactor/request-table.ts';
import { MAX_WINDOW, ReceiveWindow, SendWindow } from '../../src/reactor/window.ts';
import { CommandError } from '../../src/wire/errors.ts';

// ------------------------------------------------------------------------------- levels that fill and empty

test('who waits at a gate goes on when a quarter of it is free, the oldest first', (t) => {
  const gate = new Gate(100);
  const went: string[] = [];
  gate.take(100);
  gate.wait(() => went.push('first'));
  gate.wait(() => went.push('second'));
  gate.give(24);
  t.deepEqual(went, []);
  gate.give(1);
  t.deepEqual(went, ['first', 'second']);
});

test('who fills the gate again leaves the others waiting', (t) => {
  const gate = new Gate(100);
  let second = false;
  gate.take(100);
  gate.wait(() => gate.take(100));
  gate.wait(() => {
    second = true;
  });
  gate.give(50);
  t.false(second);
  gate.give(100);
  t.true(second);
});

test('a full level that gates share leaves each of them a share of its own', (t) => {
  const all = new Gate(256 * 1024);
  const [greedy, modest] = [new Gate(1 << 20, all), new Gate(1 << 20, all)];
  greedy.take(256 * 1024);
  t.is(greedy.room, 0);
  t.is(modest.room, 128 * 1024);
  greedy.close();
  t.is(modest.room, 256 * 1024, 'what a closed connection held is there for others');
});

test('what is promised takes room, but leaves a piece to whoever really has something', (t) => {
  const gate = new Gate(64 * 1024);
  gate.promise(64 * 1024);
  t.is(gate.room, 4096);
  gate.keepPromise(64 * 1024);
  t.is(gate.room, 0, 'what has come is there');
});

test('what is in a backlog is output too, and stays it when it has left', (t) => {
  const output = new Gate(100);
  const backlog = new Backlog(50, output);
  backlog.enter(30, true);
  backlog.enter(10, false);
  t.deepEqual([backlog.used, backlog.creditedBytes, output.used], [40, 30, 40]);
  backlog.leave(30, true);
  t.deepEqual([backlog.used, backlog.creditedBytes, output.used], [10, 0, 40]);
});

// ------------------------------------ windows (protocol C4): what a sender may send, what a receiver grants

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

// -------------------------------------------------------------------------------------------- tables of IDs

/** Few IDs, so that they meet, of which many have the same home in a small table. */
const ids = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constantFrom(1, 65, 129, 257, 1025, 32769, 65535));
const steps = fc.array(fc.record({ id: ids, deletes: fc.boolean() }), { maxLength: 300 });

test('an ID table holds what a Map would hold, whatever is set and deleted in whichever order', (t) => {
  fc.assert(
    fc.property(steps, (plan) => {
      const table = new IdTable<number>();
      const map = new Map<number, number>();
      plan.forEach(({ id, deletes }, step) => {
        if (deletes) t.is(table.delete(id), map.delete(id));
        else {
          table.set(id, step);
          map.set(id, step);
        }
        t.is(table.size, map.size);
        t.is(table.get(id), map.get(id));
        t.is(table.has(id), map.has(id));
      });
      const inOrder = (numbers: Iterable<number>) => [...numbers].sort((a, b) => a - b);
      t.deepEqual(inOrder(table.ids()), inOrder(map.keys()));
      t.deepEqual(inOrder(table.values()), inOrder(map.values()));
    }),
  );
});

test('a table of requests holds what a Map would hold, whether it is one at a time or many', (t) => {
  fc.assert(
    fc.property(steps, (plan) => {
      const table = new RequestTable<number>();
      const map = new Map<number, number>();
      plan.forEach(({ id, deletes }, step) => {
        if (deletes) t.is(table.delete(id), map.delete(id));
        else {
          table.set(id, step);
          map.set(id, step);
        }
        t.is(table.size, map.size);
        t.is(table.get(id), map.get(id));
        t.is(table.has(id), map.has(id));
      });
      const byId = [...map].sort(([one], [other]) => one - other);
      t.deepEqual(
        table.values(),
        byId.map(([, value]) => value),
      );
      table.clear();
      t.is(table.size, 0);
      t.deepEqual(table.values(), []);
    }),
  );
});

test('an ID may have undefined attached, and is there all the same', (t) => {
  const table = new IdTable<string | undefined>();
  t.false(table.has(7));
  table.set(7, undefined);
  t.true(table.has(7));
  t.is(table.get(7), undefined);
  t.is(table.size, 1);
});

test('a table may be emptied while its values are gone through', (t) => {
  const table = new IdTable<number>();
  for (let id = 1; id < 200; id += 2) table.set(id, id);
  const seen: number[] = [];
  for (const id of table.values()) {
    table.delete(id);
    seen.push(id);
  }
  t.is(seen.length, 100);
  t.is(table.size, 0);
  table.set(1, 1);
  table.clear();
  t.false(table.has(1));
  t.deepEqual(table.values(), []);
});

// ---------------------------------------------------------------------------------- which requests are busy

const never = () => false;

function command(id: number, { args = false, data = false } = {}): IncomingCommand {
  return new IncomingCommand(id, 'echo', args, data, 0);
}

test('an ID is busy from the name until the response is over, and until the last data', (t) => {
  const requests = new BusyRequests();
  const request = command(1, { args: true, data: true });
  requests.begin(request);
  t.throws(() => requests.checkFree(1), { message: /already being received/ });
  requests.run(request);
  t.deepEqual([requests.midCommand, requests.isRunning(1), requests.open(never)], [true, true, 1]);
  requests.answered(1);
  t.is(requests.finish(1), request);
  t.throws(() => requests.checkFree(1), { message: /already being received/ });
  requests.received(request);
  requests.checkFree(1);
  t.deepEqual([requests.midCommand, requests.open(never), requests.unanswered], [false, 0, 0]);
});

test('a command that is whole with its name is not received, and its ID is busy when it runs', (t) => {
  const requests = new BusyRequests();
  requests.begin(command(1));
  t.is(requests.receiving(1), undefined);
  requests.run(command(1));
  t.throws(() => requests.checkFree(1), { message: /already active/ });
});

test('what the peer knows to be answered is open for us and not for it, however often it is answered', (t) => {
  const requests = new BusyRequests();
  for (const id of [1, 3]) requests.run(command(id));
  requests.answered(1);
  requests.answered(1);
  requests.answered(5);
  t.deepEqual([requests.open(never), requests.unanswered], [2, 1]);
  requests.finish(1);
  requests.finish(1);
  t.deepEqual([requests.open(never), requests.unanswered], [1, 1]);
});

test('who is told to stop receiving knows whether an answer is owed', (t) => {
  const requests = new BusyRequests();
  const early = command(1, { args: true });
  requests.begin(early);
  t.is(requests.stopReceiving(1), early, 'one that never ran waits for its answer');
  const uploading = command(3, { data: true });
  requests.begin(uploading);
  requests.run(uploading);
  t.is(requests.stopReceiving(3), uploading);
  const answered = command(5, { data: true });
  requests.begin(answered);
  requests.run(answered);
  requests.answered(5);
  t.is(requests.stopReceiving(5), undefined);
  t.is(requests.stopReceiving(7), undefined);
  t.deepEqual(
    [1, 3, 5, 7].map((id) => requests.isPassedOver(id)),
    [true, true, true, false],
  );
  requests.begin(command(1));
  t.false(requests.isPassedOver(1), 'until the ID is used again');
});

test('the oldest of those that are passed over are forgotten', (t) => {
  const requests = new BusyRequests();
  for (let id = 1; id <= 2 * 256 + 1; id += 2) requests.passOver(id);
  t.deepEqual(
    [1, 3, 513].map((id) => requests.isPassedOver(id)),
    [false, true, true],
  );
});

test('when no more comes, what runs stays, and the rest is given back', (t) => {
  const requests = new BusyRequests();
  const [partial, uploading] = [command(1, { args: true }), command(3, { data: true })];
  for (const each of [partial, uploading]) requests.begin(each);
  requests.run(uploading);
  t.is(
    requests.open((request) => request === partial),
    1,
  );
  t.deepEqual(requests.endReceiving(), [partial]);
  t.deepEqual([requests.midCommand, requests.open(never)], [false, 1]);
});

/** The same by sets, without thought for speed. */
test('whatever happens, the counts are those of the requests there are', (t) => {
  const step = fc.tuple(fc.constantFrom('begin', 'run', 'answer', 'finish', 'received'), fc.nat(4));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const requests = new BusyRequests();
      const commands = Array.from({ length: 5 }, (_, i) => command(2 * i + 1, { data: true }));
      const receiving = new Set<number>();
      const running = new Set<number>();
      for (const [what, which] of steps) {
        const { requestId: id } = commands[which];
        if (what === 'begin' && !receiving.has(id) && !running.has(id)) {
          commands[which] = command(id, { data: true });
          requests.begin(commands[which]);
          receiving.add(id);
        } else if (what === 'run' && receiving.has(id) && !running.has(id) && !commands[which].answered) {
          requests.run(commands[which]);
          running.add(id);
        } else if (what === 'answer' && running.has(id)) requests.answered(id);
        else if (what === 'finish') {
          requests.finish(id);
          running.delete(id);
        } else if (what === 'received') {
          requests.received(commands[which]);
          receiving.delete(id);
        }
      }
      const open = new Set([...receiving, ...running]);
      const unanswered = [...open].filter((id) => !commands[(id - 1) / 2].answered);
      t.is(requests.open(never), open.size);
      t.is(requests.unanswered, unanswered.length);
      t.is(requests.midCommand, receiving.size > 0);
    }),
  );
});

// -------------------------------------------------------------------------------- what is told of a failure

const INTERNAL = { code: 'internal', message: 'it failed' };

function told(thrown: unknown) {
  const reported: unknown[] = [];
  const failure = failureOf(thrown, INTERNAL.message, (error) => void reported.push(error));
  return { failure, reported };
}

/** Reported, and not told. */
function isInternal(t: ExecutionContext, thrown: unknown): Error {
  const { failure, reported } = told(thrown);
  t.deepEqual(failure, INTERNAL);
  t.is(reported.length, 1);
  t.true(reported[0] instanceof Error);
  return reported[0] as Error;
}

test('a CommandError is told with its code, its message and its data as JSON', (t) => {
  const { failure, reported } = told(
    new CommandError('no such row', { code: 'not-found', data: { row: 7 } }),
  );
  t.deepEqual(failure, { code: 'not-found', message: 'no such row', data: '{"row":7}' });
  t.deepEqual(told(new CommandError('no')).failure, { code: 'internal', message: 'no', data: undefined });
  t.deepEqual(reported, []);
});

test('of anything else nothing is told, and all is reported', (t) => {
  const error = new Error('secret');
  t.is(isInternal(t, error), error);
  t.regex(isInternal(t, 'secret').message, /secret/);
  for (const thrown of [undefined, null, Object.create(null)]) isInternal(t, thrown);
});

test('data that JSON has no word for is left out, and reported where it throws', (t) => {
  const circle: { self?: unknown } = {};
  circle.self = circle;
  const { failure, reported } = told(new CommandError('no', { code: 'x', data: circle }));
  t.deepEqual(failure, { code: 'x', message: 'no', data: undefined });
  t.true(reported[0] instanceof TypeError);
  t.deepEqual(told(new CommandError('no', { data: () => 1 })).reported, []);
});

test('a CommandError whose code was changed to none, or that cannot be read, is no better than another error', (t) => {
  const changed = Object.assign(new CommandError('secret'), { code: 'not a code' });
  t.regex(isInternal(t, changed).message, /code of a CommandError/);
  const broken = Object.defineProperty(new CommandError('secret'), 'code', {
    get() {
      throw new Error('mine');
    },
  });
  t.is(isInternal(t, broken).message, 'mine');
});
