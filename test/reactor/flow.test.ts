/** The flow of requests and connections, by itself: no sockets, no lanes, no time. */

import test from 'ava';
import fc from 'fast-check';
import { ConnectionFlow, type OutputShare, RequestFlow } from '../../src/reactor/flow.ts';
import { Backlog, Gate } from '../../src/reactor/gate.ts';
import type { Failure } from '../../src/wire/failure.ts';

const OUTPUT = 1 << 20;
const KIB = 1024;
const UNSHARED: OutputShare = {
  usedUp: false,
  untouched: true,
  take: () => undefined,
  wait: (resume) => resume(),
};

/** A connection with such windows, and what makes its requests: each keeps the reasons for which it was stopped. */
function connection({ window, requestWindow, output = OUTPUT, shared }: Setup = {}) {
  const flow = new ConnectionFlow(new Gate(output, shared), UNSHARED);
  flow.announced(requestWindow, window);
  const request = () => {
    const stopped: string[] = [];
    const owner = { stop: ({ message }: Failure) => void stopped.push(message) };
    return Object.assign(new RequestFlow(flow, owner, 1), { stopped });
  };
  return { flow, request };
}

interface Setup {
  readonly window?: number;
  readonly requestWindow?: number;
  readonly output?: number;
  readonly shared?: Gate;
}

// --------------------------------------------------------------------------------- what may be sent

const HOLDERS: readonly [what: string, setup: Setup, fill: (flow: ConnectionFlow) => void][] = [
  ['the window of the request', { requestWindow: 5000 }, () => {}],
  ['the window of the connection', { window: 5000 }, () => {}],
  ['the room for output', { output: 10_000 }, (flow) => flow.output.take(5000)],
  ['the level of all connections', { shared: fullBut(5000) }, (flow) => flow.output.take(128 * KIB)],
];

function fullBut(bytes: number): Gate {
  const all = new Gate(OUTPUT);
  // The connection itself fills its own share of it.
  all.take(OUTPUT - 128 * KIB - bytes);
  return all;
}

for (const [what, setup, fill] of HOLDERS) {
  test(`a response may send what ${what} leaves, and no more`, (t) => {
    const { flow, request } = connection(setup);
    fill(flow);
    const response = request();
    t.is(response.available(4000), 4000);
    t.is(response.available(9000), 5000);
  });
}

test('a response may send what its stream’s backlog has room for', (t) => {
  const { flow, request } = connection();
  const response = request();
  response.backlog = new Backlog(10_000, flow.output);
  response.backlog.enter(5000, true);
  t.is(response.available(9000), 5000);
});

test('little room is no room for a large piece, and enough for a small one', (t) => {
  const { flow, request } = connection({ output: 10_000 });
  flow.output.take(10_000 - 4095);
  t.is(request().available(4095), 4095);
  t.is(request().available(4096), 0);
  flow.output.give(1);
  t.is(request().available(9000), 4096);
});

test('where all there can be is less than the smallest piece, that is the smallest piece', (t) => {
  const { request } = connection({ output: 100 });
  t.is(request().available(9000), 100);
});

test('little credit is used to the last byte', (t) => {
  const { request } = connection({ requestWindow: 1 });
  t.is(request().available(9000), 1);
});

test('nothing may be sent of nothing', (t) => {
  t.is(connection().request().available(0), 0);
  t.is(connection({ window: 0 }).request().available(0), 0);
});

test('a piece can ever be sent uncut where windows and output are large enough when they are unused', (t) => {
  const can = (setup: Setup) => connection(setup).request().canEverSend(32_768);
  t.true(can({}));
  t.true(can({ requestWindow: 32_768, output: 32_768 }));
  t.false(can({ requestWindow: 32_767 }));
  t.false(can({ output: 32_767 }));
  t.false(can({ window: OUTPUT }), 'others use up the window of the connection');
  const used = connection({ requestWindow: 32_768 }).request();
  used.take(32_768);
  t.true(used.canEverSend(32_768));
});

// -------------------------------------------------------------------------------------- who waits

test('a response without credit waits for credit, and the listener is told', (t) => {
  const { flow, request } = connection({ requestWindow: 10 });
  let told = 0;
  flow.listener = { creditAwaited: () => told++, dataRead: () => t.fail() };
  const response = request();
  response.take(10);
  let woken = 0;
  response.wait(() => woken++);
  t.is(told, 1);
  t.deepEqual(flow.creditWaiters, [response]);
  response.addCredit(1);
  response.addCredit(1);
  t.is(woken, 1, 'once for each wait');
  t.deepEqual(flow.creditWaiters, []);
});

for (const [what, credit] of [
  ['credit for the connection', (flow: ConnectionFlow) => flow.addCredit(5)],
  ['what another one gives back', (flow: ConnectionFlow) => flow.refund(5)],
] as const) {
  test(`a response that waits for the connection’s window goes on with ${what}`, (t) => {
    const { flow, request } = connection({ window: 10 });
    request().take(10);
    const response = request();
    let sent = 0;
    response.wait(() => {
      sent = response.available(100);
    });
    credit(flow);
    t.is(sent, 5);
  });
}

test('a response whose backlog is full waits for the encoder, and not for credit or output', (t) => {
  const { flow, request } = connection({ requestWindow: OUTPUT });
  const response = request();
  response.backlog = new Backlog(100_000, flow.output);
  response.backlog.enter(100_000, true);
  let woken = 0;
  response.wait(() => woken++);
  flow.output.wake();
  response.addCredit(1);
  t.is(woken, 0);
  response.backlog.leave(50_000, true);
  t.is(woken, 1);
});

test('a response that finds no room waits for output', (t) => {
  const { flow, request } = connection();
  flow.output.take(OUTPUT);
  const response = request();
  t.false(response.hasRoom);
  let woken = 0;
  response.wait(() => woken++);
  flow.output.give(OUTPUT / 2);
  t.is(woken, 1);
  t.true(response.hasRoom);
});

test('a response that is over waits for nothing', (t) => {
  const { flow, request } = connection({ requestWindow: 0 });
  const response = request();
  response.wait(() => t.fail());
  response.close();
  t.deepEqual(flow.creditWaiters, []);
  flow.addCredit(1);
  flow.stopCreditWaiters({ code: 'cancelled', message: 'too late' });
  t.deepEqual(response.stopped, []);
});

test('when no credit can come any more, those that wait for it are stopped and nobody else', (t) => {
  const { flow, request } = connection({ requestWindow: 10 });
  const [waiting, sending] = [request(), request()];
  waiting.take(10);
  waiting.wait(() => t.fail());
  flow.stopCreditWaiters({ code: 'cancelled', message: 'the input has ended' });
  t.deepEqual(waiting.stopped, ['the input has ended']);
  t.deepEqual(sending.stopped, []);
  t.deepEqual(flow.creditWaiters, []);
});

// ------------------------------------------------------------------------------------ calls in lanes

test('what is reserved for a call takes credit and room, and is given back when it is not used', (t) => {
  const { flow, request } = connection({ window: 100_000, requestWindow: 50_000 });
  const call = request();
  call.reserve(40_000);
  t.deepEqual([call.credit, flow.credit, flow.output.used, call.reserved], [10_000, 60_000, 40_000, 40_000]);
  call.use(30_000);
  flow.output.give(30_000);
  call.close();
  t.deepEqual([call.credit, flow.credit, flow.output.used, call.reserved], [20_000, 70_000, 0, 0]);
});

test('an idle call that has been promised all room leaves some to the others', (t) => {
  const { request } = connection({ output: 64 * KIB });
  request().reserve(64 * KIB);
  t.is(request().available(32 * KIB), 4096);
});

test('bytes that are lost with their encoder use up neither room nor the connection’s window', (t) => {
  const { flow, request } = connection({ window: 1000 });
  const [lost, waiting] = [request(), request()];
  const backlog = new Backlog(OUTPUT, flow.output);
  lost.take(1000);
  backlog.enter(1000, true);
  backlog.enter(20, false);
  let woken = 0;
  waiting.wait(() => woken++);
  flow.lose(backlog);
  t.deepEqual([flow.credit, flow.output.used, woken], [1000, 0, 1]);
});

// ------------------------------------------------------------------------------------- command data

test('command data counts for its request and its connection until it is read or the request is over', (t) => {
  const { flow, request } = connection();
  let told = 0;
  flow.listener = { creditAwaited: () => t.fail(), dataRead: () => told++ };
  const [one, other] = [request(), request()];
  one.data.came(100);
  other.data.came(10);
  t.deepEqual([one.data.unread, flow.data.unread, told], [100, 110, 0]);
  one.data.read(60);
  t.deepEqual([one.data.unread, flow.data.unread, told], [40, 50, 1]);
  one.close();
  t.deepEqual([one.data.unread, flow.data.unread, told], [0, 10, 2]);
});

// ----------------------------------------------------------------- a model of one connection's requests

/** What a simple bookkeeper knows of one request. */
interface Model {
  window: number;
  reserved: number;
  unread: number;
}

interface World {
  readonly flow: ConnectionFlow;
  readonly requests: RequestFlow[];
  readonly backlog: Backlog;
}

interface Books {
  window: number;
  output: number;
  backlog: number;
  requests: Model[];
}

type Step = (books: Books, world: World) => void;

const WINDOW = 20_000;

const at = fc.nat({ max: 2 });
const size = fc.integer({ min: 1, max: 12_000 });
const step = (run: (books: Books, world: World, i: number, bytes: number) => void) =>
  fc.tuple(at, size).map(
    ([i, bytes]): Step =>
      (books, world) =>
        run(books, world, i, bytes),
  );

const STEPS = fc.oneof(
  // A handler of this thread sends as much as it may.
  step((books, { requests, backlog }, i, wanted) => {
    requests[i].backlog = backlog;
    const bytes = requests[i].available(wanted);
    requests[i].take(bytes);
    backlog.enter(bytes, true);
    books.window -= bytes;
    books.requests[i].window -= bytes;
    books.backlog += bytes;
    books.output += bytes;
  }),
  // The encoder is done with some of it, and the writer has it.
  step((books, { flow, backlog }, _, wanted) => {
    const bytes = Math.min(wanted, books.backlog);
    backlog.leave(bytes, true);
    flow.output.give(bytes);
    books.backlog -= bytes;
    books.output -= bytes;
  }),
  // A call is granted as much as it may have.
  step((books, { requests }, i, wanted) => {
    requests[i].backlog = undefined;
    const bytes = requests[i].available(wanted);
    requests[i].reserve(bytes);
    books.window -= bytes;
    books.output += bytes;
    books.requests[i].window -= bytes;
    books.requests[i].reserved += bytes;
  }),
  // A frame of the call comes.
  step((books, { flow, requests }, i, wanted) => {
    const bytes = Math.min(wanted, books.requests[i].reserved);
    requests[i].use(bytes);
    flow.output.give(bytes);
    books.output -= bytes;
    books.requests[i].reserved -= bytes;
  }),
  // It gives some back.
  step((books, { requests }, i, wanted) => {
    const bytes = Math.min(wanted, books.requests[i].reserved);
    requests[i].refund(bytes);
    books.window += bytes;
    books.output -= bytes;
    books.requests[i].window += bytes;
    books.requests[i].reserved -= bytes;
  }),
  step((books, { flow }, _, bytes) => {
    flow.addCredit(bytes);
    books.window += bytes;
  }),
  step((books, { requests }, i, bytes) => {
    requests[i].addCredit(bytes);
    books.requests[i].window += bytes;
  }),
  step((books, { requests }, i, bytes) => {
    requests[i].data.came(bytes);
    books.requests[i].unread += bytes;
  }),
  step((books, { requests }, i, wanted) => {
    const bytes = Math.min(wanted, books.requests[i].unread);
    requests[i].data.read(bytes);
    books.requests[i].unread -= bytes;
  }),
  // A request ends, and another one takes its place.
  step((books, world, i) => {
    world.requests[i].close();
    const { reserved } = books.requests[i];
    books.window += reserved;
    books.output -= reserved;
    books.requests[i] = { window: WINDOW, reserved: 0, unread: 0 };
    world.requests[i] = new RequestFlow(world.flow, { stop: () => {} }, 1);
  }),
);

const sum = (numbers: number[]) => numbers.reduce((total, each) => total + each, 0);

test('whatever requests do, the books balance: no byte is sent that no window allowed, none is counted twice', (t) => {
  fc.assert(
    fc.property(fc.array(STEPS, { maxLength: 120 }), (steps) => {
      const { flow, request } = connection({ window: 3 * WINDOW, requestWindow: WINDOW, output: 50_000 });
      const backlog = new Backlog(30_000, flow.output);
      const world: World = { flow, requests: [request(), request(), request()], backlog };
      const books: Books = {
        window: 3 * WINDOW,
        output: 0,
        backlog: 0,
        requests: world.requests.map(() => ({ window: WINDOW, reserved: 0, unread: 0 })),
      };
      for (const run of steps) {
        run(books, world);
        t.is(flow.credit, books.window);
        t.is(flow.output.used, books.output);
        t.is(backlog.used, books.backlog);
        t.deepEqual(
          world.requests.map(({ credit, reserved, data }) => [credit, reserved, data.unread]),
          books.requests.map(({ window, reserved, unread }) => [window, reserved, unread]),
        );
        t.is(flow.data.unread, sum(books.requests.map(({ unread }) => unread)));
        t.true(flow.credit >= 0 && world.requests.every(({ credit }) => credit >= 0));
        // A promise leaves room for a piece, each time that it is asked for.
        t.true(backlog.used <= 30_000 + 4096);
      }
    }),
    { numRuns: 300 },
  );
});

test('whoever waits is woken, for whatever reason it waited, when all that holds it is gone', (t) => {
  const held = fc.record({
    request: fc.boolean(),
    connection: fc.boolean(),
    output: fc.boolean(),
    backlog: fc.boolean(),
  });
  fc.assert(
    fc.property(held, (by) => {
      const { flow, request } = connection({ window: 10_000, requestWindow: 10_000, output: 50_000 });
      const response = request();
      const backlog = new Backlog(30_000, flow.output);
      response.backlog = backlog;
      if (by.backlog) backlog.enter(30_000, false);
      if (by.output) flow.output.take(50_000 - flow.output.used);
      if (by.connection) flow.take(10_000);
      if (by.request) response.take(10_000);
      let sent = 0;
      const send = () => {
        sent = response.available(5000);
        if (sent === 0) response.wait(send);
      };
      send();
      t.is(sent === 0, Object.values(by).some(Boolean));
      response.addCredit(20_000);
      flow.addCredit(20_000);
      backlog.leave(backlog.used, false);
      flow.output.give(flow.output.used);
      t.is(sent, 5000);
    }),
  );
});
