import test from 'ava';
import fc from 'fast-check';
import { BusyRequests } from '../../src/reactor/busy-requests.ts';
import { IncomingCommand } from '../../src/reactor/incoming-command.ts';

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
        } else if (what === 'run' && receiving.has(id) && !running.has(id)) {
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
