// A pool: where its calls go, what becomes of them when connections are lost, what may wait, how it ends.

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import ava, { type ExecutionContext } from 'ava';
import { freePort } from '../../bench/peers/listen.ts';
import {
  type Client,
  type CommandDefinition,
  CommandError,
  ConnectionError,
  connectPool,
  createPool,
  createServer,
  type Pool,
  type PoolEvents,
  type Subscription,
  TextOutput,
} from '../../src/index.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { pooling, QUICK, Site } from '../helpers/pools.ts';
import { digest, sample } from '../helpers/samples.ts';
import { failure, servingOnSharedLanes, Watch } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

// Some stop the clock.
const test = ava.serial;
/** Milliseconds: more than any test takes. */
const LONG = 600_000;

/** Calls that are answered when the test says so, and how often each command has run. */
class Work {
  readonly watch = new Watch();
  /** Names of the sites where calls run or ran, in order. */
  readonly ran: string[] = [];
  readonly #gates: PromiseWithResolvers<string>[] = [];

  commands(site: string): Record<string, CommandDefinition> {
    return {
      where: () => site,
      held: () => {
        this.ran.push(site);
        const gate = Promise.withResolvers<string>();
        this.#gates.push(gate);
        this.watch.changed();
        return gate.promise;
      },
      fail: () => {
        this.ran.push(site);
        throw new CommandError('no');
      },
      halves: async function* (this: void) {
        yield 'half';
        await new Promise(() => undefined);
      },
      upload: async ({ data }) => {
        let bytes = 0;
        for await (const piece of data) bytes += piece.length;
        this.ran.push(`${site} ${bytes}`);
        this.watch.changed();
        if (this.ran.length === 1) await new Promise(() => undefined);
        return String(bytes);
      },
    };
  }

  begun(count: number): Promise<true> {
    return this.watch.until(() => this.ran.length >= count || undefined);
  }

  release(): void {
    for (const gate of this.#gates.splice(0)) gate.resolve('done');
  }
}

async function sitesOf(t: ExecutionContext, work: Work, ...names: string[]): Promise<Site[]> {
  const servers = await Promise.all(names.map((name) => serving(t, { commands: work.commands(name) })));
  return names.map((name, i) => new Site(name, servers[i].server));
}

const errorOf = (response: { text(): Promise<string> }) => failure(response.text()) as Promise<CommandError>;

/** The next event of a kind. */
function next<Name extends keyof PoolEvents<Site>>(
  pool: Pool<Site>,
  event: Name,
): Promise<PoolEvents<Site>[Name]> {
  return new Promise((resolve) => {
    const off = pool.on(event, (detail) => {
      off();
      resolve(detail);
    });
  });
}

async function connected(pool: Pool<Site>, count: number): Promise<void> {
  const watch = new Watch();
  pool.on('connected', () => watch.changed());
  await watch.until(() => {
    const { addresses } = pool.stats();
    return addresses.reduce((sum, { connections }) => sum + connections, 0) >= count || undefined;
  });
}

test('round robin: each connection in turn; least in flight: the one with the fewest', async (t) => {
  const work = new Work();
  const sites = await sitesOf(t, work, 'a', 'b');
  const inTurn = pooling(t, sites, { ...QUICK, balance: 'round-robin' });
  await connected(inTurn, 2);
  const answers: string[] = [];
  for (let i = 0; i < 6; i++) answers.push(await inTurn.call('where').text());
  t.deepEqual(answers.slice(2), answers.slice(0, 4));
  t.deepEqual(answers.slice(0, 2).sort(), ['a', 'b']);

  const fewest = pooling(t, sites);
  await connected(fewest, 2);
  const held = [fewest.call('held'), fewest.call('held')].map((each) => each.text());
  await work.begun(2);
  t.deepEqual(work.ran.sort(), ['a', 'b']);
  const { calls, addresses } = fewest.stats();
  t.deepEqual(calls, { waiting: 0, inFlight: 2 });
  t.deepEqual(
    addresses.map(({ inFlight }) => inFlight),
    [1, 1],
  );
  work.release();
  t.deepEqual(await Promise.all(held), ['done', 'done']);
});

test('size: so many connections to each address, over sockets too', async (t) => {
  const { server, address } = await serving(t, { commands: { hi: () => 'hi' } });
  const pool = connectPool([address, address], { size: 3, connect: { codecs: 'portable' } });
  t.teardown(() => pool.destroy());
  const watch = new Watch();
  pool.on('connected', () => watch.changed());
  const count = () => pool.stats().addresses.reduce((sum, { connections }) => sum + connections, 0);
  await watch.until(() => count() === 6 || undefined);
  t.is((await server.stats()).connections, 6);
  t.is(await pool.call('hi').text(), 'hi');
  t.is(pool.state, 'open');
  await pool.close();
  t.is(pool.state, 'closed');
});

test('more calls than the servers take at a time wait in the pool, and all are answered', async (t) => {
  const { server } = await serving(t, { commands: { hi: () => 'hi' }, limits: { maxConcurrentRequests: 2 } });
  const pool = pooling(t, [new Site('a', server)]);
  const answers = Array.from({ length: 50 }, () => pool.call('hi').text());
  t.deepEqual(pool.stats().calls, { waiting: 50, inFlight: 0 });
  t.deepEqual(new Set(await Promise.all(answers)), new Set(['hi']));
});

test('responses that nobody reads take no place from the calls that come after', async (t) => {
  const commands = { big: () => sample(200_000, 1) };
  const { server } = await serving(t, { commands, limits: { maxConcurrentRequests: 1 } });
  const pool = pooling(t, [new Site('a', server)]);
  const unread = [pool.call('big'), pool.call('big')];
  t.is(digest(await pool.call('big').bytes()), digest(sample(200_000, 1)));
  for (const each of unread) t.is(digest(await each.bytes()), digest(sample(200_000, 1)));
});

test('calls wait until a server is there', async (t) => {
  const work = new Work();
  const [there] = await sitesOf(t, work, 'a');
  const site = new Site('a');
  const pool = pooling(t, [site], { ...QUICK, circuitFailures: 1_000_000 });
  const answer = pool.call('where').text();
  await site.watch.until(() => site.attempts > 3 || undefined);
  t.is(pool.state, 'connecting');
  site.server = there.server;
  await pool.ready();
  t.is(await answer, 'a');
});

test('a call whose connection is lost runs once at most; one that is idempotent is sent again', async (t) => {
  const work = new Work();
  const [site] = await sitesOf(t, work, 'a');
  const pool = pooling(t, [site]);
  const once = errorOf(pool.call('held'));
  const again = pool.call('held', { idempotent: true }).text();
  await work.begun(2);
  const lost = next(pool, 'lost');
  site.cut();
  const error = (await once) as unknown as ConnectionError;
  t.true(error instanceof ConnectionError);
  t.deepEqual([error.code, error.notStarted], ['lost', false]);
  t.is((await lost).address, site);
  await work.begun(3);
  work.release();
  t.is(await again, 'done');
  t.is(work.ran.length, 3);
});

test('an idempotent call whose connections are lost again and again ends with the last error', async (t) => {
  const work = new Work();
  const [site] = await sitesOf(t, work, 'a');
  const pool = pooling(t, [site], { ...QUICK, maxAttempts: 3, circuitFailures: 100 });
  const error = errorOf(pool.call('held', { idempotent: true }));
  for (let attempt = 1; attempt <= 3; attempt++) {
    await work.begun(attempt);
    site.cut();
  }
  t.is((await error).code, 'lost');
  t.false((await error).notStarted);
  t.is(work.ran.length, 3);
});

test('a response of which something was handed out is not begun again; as a whole it is', async (t) => {
  const [site] = await sitesOf(t, new Work(), 'a');
  const pool = pooling(t, [site]);
  const pieces = pool.call('halves', { idempotent: true })[Symbol.asyncIterator]();
  t.is(Buffer.from((await pieces.next()).value as Uint8Array).toString(), 'half');
  const whole = pool.call('halves', { idempotent: true });
  const bytes = failure(whole.bytes());
  await pool.call('where').text();
  site.cut();
  t.is(((await failure(pieces.next())) as ConnectionError).code, 'lost');
  // It is at it again, and waits for the second half.
  await pool.call('where').text();
  t.false(whole.over);
  whole.cancel();
  t.is((await bytes).message, 'cancelled');
});

test('data that is at hand, or that a function makes, is sent again; what an iterable gave is not', async (t) => {
  let made = 0;
  const make = () => {
    made++;
    return (async function* () {
      yield sample(1000, 1);
    })();
  };
  for (const [data, outcome] of [
    ['x'.repeat(1000), '1000'],
    [sample(1000, 1), '1000'],
    [make, '1000'],
    [make(), 'lost'],
  ] as const) {
    const work = new Work();
    const [site] = await sitesOf(t, work, 'a');
    const pool = pooling(t, [site]);
    const call = pool.call('upload', { data, idempotent: true });
    const ended = call.text().catch(({ code }) => code);
    await work.begun(1);
    site.cut();
    t.is(await ended, outcome);
    t.is(work.ran.length, outcome === 'lost' ? 1 : 2);
  }
  t.is(made, 3);
});

test('an iterable that was not asked for anything can still be sent, and a function that throws fails its call', async (t) => {
  const work = new Work();
  const [site] = await sitesOf(t, work, 'a');
  work.ran.push('before');
  const pool = pooling(t, [site]);
  const data = (async function* () {
    yield sample(10, 1);
  })();
  t.is(await pool.call('upload', { data }).text(), '10');
  const error = await errorOf(
    pool.call('upload', {
      data: () => {
        throw new Error('mine');
      },
    }),
  );
  t.is(error.message, 'mine');
  t.is(await pool.call('where').text(), 'a');
});

/** What some throw instead of an Error, and what cannot be made a text of. */
const NO_ERRORS: [what: string, thrown: unknown][] = [
  ['undefined', undefined],
  ['null', null],
  ['an object without a prototype', Object.create(null)],
];

for (const [what, thrown] of NO_ERRORS) {
  test(`${what}, thrown where data is made or a connection, or given as a reason, is an error like any other`, async (t) => {
    const [site] = await sitesOf(t, new Work(), 'a');
    const pool = pooling(t, [site]);
    const call = pool.call('upload', {
      data: () => {
        throw thrown;
      },
    });
    t.true((await errorOf(call)) instanceof Error);
    t.true((await call.ended) instanceof Error);
    const response = pool.call('held');
    response.cancel(thrown);
    t.is((await errorOf(response)).code, 'cancelled');

    const failing = createPool([site], () => Promise.reject(thrown), { minBackoffMs: 1 });
    t.teardown(() => failing.destroy());
    const { reason } = await next(failing, 'reconnecting');
    t.true(reason instanceof Error);
    t.true((await next(failing, 'reconnecting')).failures > 1, 'it is tried again');
  });
}

const NO_CLIENTS: Record<string, () => unknown> = {
  throws: () => {
    throw new Error('no way there');
  },
  'gives nothing': () => undefined,
  'gives a number': async () => 7,
  'gives an object': async () => ({}),
};
for (const [what, connect] of Object.entries(NO_CLIENTS)) {
  test(`a function that is to connect and ${what} is a failure of its address, which is tried again in time`, async (t) => {
    let asked = 0;
    // Asked again and again within one turn it would leave nobody else any.
    const make = () => (++asked > 100 ? new Promise(() => undefined) : connect()) as Promise<Client>;
    const pool: Pool<Site> = createPool([new Site('a')], make, {
      ...QUICK,
      circuitFailures: 2,
      circuitOpenMs: LONG,
    });
    t.teardown(() => pool.destroy());
    const { reason } = await next(pool, 'reconnecting');
    t.regex(reason.message, /no way there|connect gave .* instead of a client/);
    await next(pool, 'reconnecting');
    t.is(asked, 2);
    t.is((await errorOf(pool.call('held'))).code, 'connect-failed');
    await pool.close();
  });
}

test('an onText that rejects fails its own call in a pool, too', async (t) => {
  const { server } = await serving(t, {
    commands: {
      async *talk() {
        yield new TextOutput('a line');
        await new Promise(() => undefined);
      },
    },
  });
  const pool = pooling(t, [new Site('a', server)]);
  const onText = () => Promise.reject(new Error('mine')) as unknown as undefined;
  t.is((await errorOf(pool.call('talk', { onText }))).message, 'mine');
});

test('a signal that cannot be let go of spoils no answer, and keeps no place of its pool', async (t) => {
  const { server } = await serving(t, { commands: { where: () => 'a' } });
  const pool = pooling(t, [new Site('a', server)]);
  const unwilling = { aborted: false, addEventListener: () => undefined } as unknown as AbortSignal;
  for (let i = 0; i < 3; i++) t.is(await pool.call('where', { signal: unwilling }).text(), 'a');
  const aborted = { ...unwilling, aborted: true, reason: new Error('mine') };
  t.is((await errorOf(pool.call('where', { signal: aborted }))).message, 'mine');
  await pool.close();
});

test('a server that goes away: no call fails, those in flight are answered there, the others elsewhere', async (t) => {
  const work = new Work();
  const sites = await sitesOf(t, work, 'a', 'b');
  const pool = pooling(t, sites);
  await connected(pool, 2);
  const inFlight = Array.from({ length: 4 }, () => pool.call('held').text());
  await work.begun(4);
  const away = next(pool, 'goaway');
  const closed = sites[0].server?.close({ graceMs: LONG });
  // They go out before the pool can know.
  const sentMeanwhile = Array.from({ length: 20 }, () => pool.call('where').text());
  t.is((await away).address, sites[0]);
  for (const answer of await Promise.all(sentMeanwhile)) t.regex(answer, /^[ab]$/);
  for (let i = 0; i < 5; i++) t.is(await pool.call('where').text(), 'b');
  work.release();
  t.deepEqual(new Set(await Promise.all(inFlight)), new Set(['done']));
  await closed;
});

test('the error of a handler is the answer, also to a call that may be sent again', async (t) => {
  const work = new Work();
  const [site] = await sitesOf(t, work, 'a');
  const pool = pooling(t, [site], { ...QUICK, maxAttempts: 4 });
  t.is((await errorOf(pool.call('fail', { idempotent: true }))).message, 'no');
  t.is(work.ran.length, 1);
});

test('what may wait is bounded: calls, bytes, and time', async (t) => {
  const clock = stoppedClock(t);
  const pool = pooling(t, [new Site('nowhere')], {
    ...QUICK,
    circuitFailures: 1_000_000,
    maxWaiting: 2,
    maxWaitingBytes: 1000,
    maxWaitMs: 50,
  });
  const outcomes: Promise<CommandError>[] = [];
  const refused = (options?: object) => {
    const error = errorOf(pool.call('c', options));
    clock.advance(1);
    return error;
  };
  outcomes.push(errorOf(pool.call('c', { data: new Uint8Array(900) })));
  const tooMuch = await refused({ args: { a: 'x'.repeat(100) } });
  t.deepEqual([tooMuch.code, tooMuch.notStarted], ['overloaded', true]);
  t.regex(tooMuch.message, /maxWaitingBytes/);
  outcomes.push(errorOf(pool.call('c')));
  t.is(pool.stats().waitingBytes, 902);
  const tooMany = await refused();
  t.deepEqual([tooMany.code, tooMany.notStarted], ['overloaded', true]);
  t.regex(tooMany.message, /maxWaiting:/);
  clock.advance(50);
  for (const error of await Promise.all(outcomes)) {
    t.deepEqual([error.code, error.notStarted], ['overloaded', true]);
    t.regex(error.message, /maxWaitMs/);
  }
  t.deepEqual([pool.stats().calls.waiting, pool.stats().waitingBytes], [0, 0]);
});

test('deadlines, aborts and cancels reach calls that wait, and take them from the queue', async (t) => {
  const clock = stoppedClock(t);
  const pool = pooling(t, [new Site('nowhere')], { ...QUICK, circuitFailures: 1_000_000 });
  const controller = new AbortController();
  const late = errorOf(pool.call('c', { deadlineMs: 20 }));
  const aborted = errorOf(pool.call('c', { signal: controller.signal }));
  const response = pool.call('c');
  const cancelled = errorOf(response);
  const left = failure(pool.call('c')[Symbol.asyncIterator]().next());
  t.is(pool.stats().calls.waiting, 4);
  controller.abort(new Error('my reason'));
  t.is((await aborted).message, 'my reason');
  response.cancel();
  t.is((await cancelled).message, 'cancelled');
  t.true(response.over);
  clock.advance(20);
  const expired = await late;
  t.deepEqual([expired.code, expired.notStarted], ['deadline-exceeded', true]);
  t.is(pool.stats().calls.waiting, 1);
  t.is(
    (await errorOf(pool.call('c', { signal: AbortSignal.abort(new Error('too late')) }))).message,
    'too late',
  );
  t.is((await errorOf(pool.call('c', { deadlineMs: Number.NaN }))).name, 'TypeError');
  pool.destroy(new Error('over'));
  t.is((await left).message, 'over');
});

test('a deadline counts the time in the queue: the server is given what is left of it', async (t) => {
  const clock = stoppedClock(t);
  const work = new Work();
  const [there] = await sitesOf(t, work, 'a');
  const site = new Site('a');
  const pool = pooling(t, [site], { ...QUICK, circuitFailures: 1_000_000 });
  const error = errorOf(pool.call('held', { deadlineMs: 100 }));
  clock.advance(60);
  site.server = there.server;
  await clock.advanceUntil(() => work.ran.length === 1);
  const began = performance.now();
  let isOver = false;
  void error.then(() => {
    isOver = true;
  });
  await clock.advanceUntil(() => isOver);
  t.true(performance.now() - began <= 41);
  t.regex((await error).message, /deadline exceeded/);
});

test('a response can be read once, and one that is left early is cancelled', async (t) => {
  const [site] = await sitesOf(t, new Work(), 'a');
  const pool = pooling(t, [site]);
  const response = pool.call('halves');
  for await (const piece of response) {
    t.is(Buffer.from(piece).toString(), 'half');
    break;
  }
  t.true(response.over);
  t.true((await response.ended) instanceof Error);
  await t.throwsAsync(response.text(), { message: /can be read once/ });
  const read = pool.call('where');
  t.is(await read.text(), 'a');
  t.true(read.over);
  t.is(await read.ended, undefined);
});

test('the circuit of an address opens after failures, calls fail at once, and it closes when one is answered', async (t) => {
  const clock = stoppedClock(t);
  const work = new Work();
  const [there] = await sitesOf(t, work, 'a');
  const site = new Site('a');
  const pool = pooling(t, [site], {
    minBackoffMs: 10,
    maxBackoffMs: 20,
    circuitFailures: 3,
    circuitOpenMs: 1000,
    size: 2,
  });
  const tries: PoolEvents<Site>['reconnecting'][] = [];
  pool.on('reconnecting', (detail) => tries.push(detail));
  const waiting = errorOf(pool.call('where')) as Promise<unknown> as Promise<ConnectionError>;
  const ready = failure(pool.ready());
  await clock.advanceUntil(() => pool.stats().addresses[0].circuit === 'open');
  t.deepEqual(
    tries.map(({ failures, circuit }) => [failures, circuit]),
    [
      [1, 'closed'],
      [2, 'closed'],
      [3, 'open'],
    ],
  );
  t.deepEqual(
    tries.map(({ delayMs }, i) => delayMs >= [5, 10, 500][i] && delayMs <= [10, 20, 1000][i]),
    [true, true, true],
  );
  const error = await waiting;
  t.deepEqual([error.code, error.notStarted], ['connect-failed', true]);
  t.regex(error.message, /no server can be reached: nobody is at a/);
  t.is((await ready).message, error.message);
  const refused = errorOf(pool.call('where'));
  clock.advance(1);
  t.is((await refused).message, error.message);

  site.server = there.server;
  await clock.advanceUntil(() => pool.state === 'open', 10);
  t.is(pool.stats().addresses[0].circuit, 'half-open');
  t.is(pool.stats().addresses[0].connections, 1);
  const probe = pool.call('held').text();
  const other = pool.call('where').text();
  await work.begun(1);
  t.deepEqual(pool.stats().calls, { waiting: 1, inFlight: 1 }, 'one call tries it');
  work.release();
  t.is(await probe, 'done');
  t.is(await other, 'a');
  t.is(pool.stats().addresses[0].circuit, 'closed');
  await clock.advanceUntil(() => pool.stats().addresses[0].connections === 2);
});

test('who calls again at once, whatever becomes of it, leaves the thread to what ends that', async (t) => {
  const site = new Site('a');
  const down = pooling(t, [site], { circuitFailures: 1, circuitOpenMs: LONG });
  await failure(down.ready());
  const full = pooling(t, [site], { maxWaiting: 1, circuitFailures: 1000 });
  void errorOf(full.call('where'));
  for (const pool of [down, full]) {
    let others = 0;
    void turn().then(() => others++);
    for (let calls = 0; others === 0 && calls < 10_000; calls++) await errorOf(pool.call('where'));
    t.is(others, 1);
  }
});

test('a server that connects and breaks at once, over and over, opens its circuit as well', async (t) => {
  const work = new Work();
  const [site] = await sitesOf(t, work, 'a');
  const pool = pooling(t, [site], {
    ...QUICK,
    maxBackoffMs: 600_000,
    circuitFailures: 3,
    circuitOpenMs: 600_000,
  });
  pool.on('connected', () => site.cut());
  const watch = new Watch();
  pool.on('reconnecting', () => watch.changed());
  await watch.until(() => pool.stats().addresses[0].circuit === 'open' || undefined);
  t.is(site.attempts, 3);
});

test('the first piece of a response closes the circuit, and proves a connection: it may be one that never ends', async (t) => {
  const [there] = await sitesOf(t, new Work(), 'a');
  const site = new Site('a');
  const pool = pooling(t, [site], { ...QUICK, maxBackoffMs: LONG, circuitFailures: 1, size: 2 });
  t.is((await errorOf(pool.call('where'))).code, 'connect-failed');
  site.server = there.server;
  await next(pool, 'connected');
  const state = () => pool.stats().addresses[0].circuit;
  t.is(state(), 'half-open');
  const endless = pool.call('halves')[Symbol.asyncIterator]();
  await endless.next();
  t.is(state(), 'closed');
  t.is(await pool.call('where').text(), 'a');
  await connected(pool, 2);
  for (let i = 0; i < 3; i++) {
    const again = next(pool, 'reconnecting');
    site.cut();
    t.is((await again).failures, 1);
    await next(pool, 'connected');
    await pool.call('halves')[Symbol.asyncIterator]().next();
  }
});

test('what nobody reads, or is silent for long, holds the calls to a half-open address for a second each', async (t) => {
  const clock = stoppedClock(t);
  const work = new Work();
  const [{ server }] = await sitesOf(t, work, 'a');
  assert(server !== undefined);
  const site = new Site('a');
  server.topic('news', { history: 1 }).publish('one');
  const pool = pooling(t, [site], { circuitFailures: 1, circuitOpenMs: 1000 });
  await clock.advanceUntil(() => pool.stats().addresses[0].circuit === 'open');
  site.server = server;
  await clock.advanceUntil(() => pool.state === 'open', 10);
  const unread = pool.subscribe('news', { after: 0 });
  const silent = pool.call('held').text();
  const prompt = pool.call('where').text();
  t.deepEqual(pool.stats().calls, { waiting: 2, inFlight: 1 });
  clock.advance(1000);
  t.deepEqual(pool.stats().calls, { waiting: 1, inFlight: 2 });
  await work.begun(1);
  t.is(pool.stats().addresses[0].circuit, 'half-open', 'silence proves nothing');
  clock.advance(1000);
  t.is(await prompt, 'a');
  t.is(pool.stats().addresses[0].circuit, 'closed');
  work.release();
  t.is(await silent, 'done');
  for await (const { sequence } of unread) {
    t.is(sequence, 1);
    break;
  }
});

test('subscriptions go on after however long their server was away, and one holds up nothing else', async (t) => {
  const clock = stoppedClock(t);
  const [{ server }] = await sitesOf(t, new Work(), 'a');
  assert(server !== undefined);
  const site = new Site('a', server);
  const topics = ['one', 'two'].map((name) => server.topic(name, { history: 100 }));
  const pool = pooling(t, [site], {});
  const heard = topics.map(({ name }) => pool.subscribe(name, { after: 0 })[Symbol.asyncIterator]());
  const hear = () => Promise.all(heard.map(async (each) => (await each.next()).value?.sequence));
  for (const topic of topics) topic.publish('before');
  t.deepEqual(await hear(), [1, 1]);
  site.server = undefined;
  site.cut();
  const more = hear();
  await clock.advanceUntil(() => site.attempts > 30, 100);
  for (const topic of topics) topic.publish('meanwhile');
  site.server = server;
  t.deepEqual(await clock.advanceWhile(more, 100, turn), [2, 2]);
  t.is(await pool.call('where').text(), 'a');
});

for (const [how, end, told] of [
  ['its signal', ({ abort }) => abort.abort(new Error('enough')), /^enough$/],
  ['cancel()', ({ heard }) => heard.cancel(new Error('enough')), /^enough$/],
  ['leaving its loop', ({ reading }) => void reading.return(), /not read to its end/],
  ['close()', ({ pool }) => void pool.close(), /the pool is closed/],
  ['destroy()', ({ pool }) => pool.destroy(new ConnectionError('enough', { code: 'lost' })), /enough/],
] as [string, (all: Paused) => void, RegExp][])
  test(`a subscription that waits for its server, however long, ends at once by ${how}`, async (t) => {
    const clock = stoppedClock(t);
    const [{ server }] = await sitesOf(t, new Work(), 'a');
    assert(server !== undefined);
    const site = new Site('a', server);
    server.topic('news', { history: 1 }).publish('one');
    const pool = pooling(t, [site], { circuitFailures: 1 });
    const abort = new AbortController();
    const heard = pool.subscribe('news', { after: 0, signal: abort.signal });
    const reading = heard[Symbol.asyncIterator]();
    t.is((await reading.next()).value?.sequence, 1);
    const next = failure(reading.next());
    site.server = undefined;
    site.cut();
    await clock.advanceUntil(() => site.attempts > 3, 100);
    t.is(pool.stats().calls.waiting, 0, 'it pauses');
    end({ abort, heard, reading, pool });
    t.regex((await next).message, told);
    t.is(getEventListeners(abort.signal, 'abort').length, 0);
  });

interface Paused {
  readonly abort: AbortController;
  readonly heard: Subscription;
  readonly reading: ReturnType<Subscription[typeof Symbol.asyncIterator]>;
  readonly pool: Pool<Site>;
}

test('one address that is down costs the calls to the others nothing', async (t) => {
  const [site] = await sitesOf(t, new Work(), 'a');
  const pool = pooling(t, [new Site('nowhere'), site], { ...QUICK, circuitFailures: 1, circuitOpenMs: LONG });
  for (let i = 0; i < 20; i++) t.is(await pool.call('where').text(), 'a');
});

test('close() lets calls end, waiting ones among them, and takes no new ones', async (t) => {
  const work = new Work();
  const [there] = await sitesOf(t, work, 'a');
  const site = new Site('a');
  const pool = pooling(t, [site], { ...QUICK, circuitFailures: 1_000_000 });
  const heard: string[] = [];
  pool.on('closed', ({ reason }) => heard.push((reason as ConnectionError).code));
  pool.on('lost', () => heard.push('lost'));
  const waiting = pool.call('held').text();
  const closed = pool.close();
  t.is(pool.state, 'draining');
  const refused = await errorOf(pool.call('where'));
  t.deepEqual([refused.code, refused.notStarted], ['closed', true]);
  site.server = there.server;
  await work.begun(1);
  work.release();
  t.is(await waiting, 'done');
  await closed;
  t.is(pool.state, 'closed');
  t.deepEqual(heard, ['closed']);
  await t.throwsAsync(pool.ready(), { message: /closed/ });
});

test('close() cancels what is larger than its window and nobody reads, and keeps what fits and what is read', async (t) => {
  let begun = 0;
  const commands = {
    big: async function* () {
      begun++;
      for (;;) yield new Uint8Array(100_000);
    },
    small: () => 'small',
    long: () => sample(3_000_000, 1),
  };
  const { server } = await serving(t, { commands });
  const pool = pooling(t, [new Site('a', server)]);
  const [unread, fits] = [pool.call('big', { idempotent: true }), pool.call('small')];
  const read = pool.call('long').bytes();
  await pool.close();
  t.is(await fits.text(), 'small');
  t.is(digest(await read), digest(sample(3_000_000, 1)));
  t.is((await errorOf(unread)).code, 'cancelled');
  t.is(begun, 1, 'and is not sent again');
});

test('close() lets go of what nobody reads also where a call that waited is given up meanwhile', async (t) => {
  const commands = {
    big: async function* () {
      for (;;) yield new Uint8Array(100_000);
    },
    small: () => 'small',
  };
  const { server } = await serving(t, { commands, limits: { maxConcurrentRequests: 1 } });
  const pool = pooling(t, [new Site('a', server)]);
  await pool.ready();
  const [unread, waits] = [pool.call('big'), pool.call('small')];
  const closed = pool.close();
  waits.cancel();
  await closed;
  t.is((await errorOf(unread)).code, 'cancelled');
});

test('a call of a pool that closes is sent again on a new connection when its own is lost', async (t) => {
  const work = new Work();
  const [site] = await sitesOf(t, work, 'a');
  const pool = pooling(t, [site]);
  const answer = pool.call('held', { idempotent: true }).text();
  await work.begun(1);
  const closed = pool.close();
  site.cut();
  await work.begun(2);
  work.release();
  t.is(await answer, 'done');
  await closed;
  t.is(pool.state, 'closed');
});

test('a call of a pool that closes is sent again when a server that ends has cancelled it', async (t) => {
  const work = new Work();
  const [one, other] = await sitesOf(t, work, 'one', 'other');
  const site = new Site('either', one.server);
  const pool = pooling(t, [site]);
  const answer = pool.call('held', { idempotent: true }).text();
  await work.begun(1);
  const closed = pool.close();
  site.server = other.server;
  const ended = one.server?.close({ graceMs: 0 });
  await Promise.race([work.begun(2), answer]);
  work.release();
  t.is(await answer, 'done');
  t.deepEqual(work.ran, ['one', 'other']);
  await Promise.all([closed, ended]);
});

test('a server that refuses a call of a pool that closes is asked again after a pause, as by any other', async (t) => {
  const clock = stoppedClock(t);
  const first = Promise.withResolvers<void>();
  let asked = 0;
  let isBusy = true;
  const busy = async () => {
    asked++;
    await first.promise;
    if (isBusy) throw new CommandError('too much', { code: 'overloaded', notStarted: true });
    return 'done';
  };
  const { server } = await serving(t, { commands: { busy } });
  const site = new Site('a', server);
  const pool = pooling(t, [site], { size: 1, minBackoffMs: 1000 });
  const answer = pool.call('busy').text();
  while (asked === 0) await turn();
  const closed = pool.close();
  first.resolve();
  while (pool.stats().calls.inFlight > 0) await turn();
  t.is(site.attempts, 1, 'no time has passed');
  isBusy = false;
  t.is(await clock.advanceWhile(answer, 100, turn), 'done');
  t.is(asked, 2);
  await closed;
});

test('close() with a grace time cancels what is left after it', async (t) => {
  const clock = stoppedClock(t);
  const work = new Work();
  const [site] = await sitesOf(t, work, 'a');
  const pool = pooling(t, [site]);
  const error = errorOf(pool.call('held', { idempotent: true }));
  await work.begun(1);
  const closed = pool.close({ graceMs: 100 });
  clock.advance(100);
  t.is((await error).code, 'closed');
  await clock.advanceWhile(closed, 1, turn);
  t.is(work.ran.length, 1);
});

test('a call that waits when it is cancelled, or its pool ends, has not started', async (t) => {
  const patient = { ...QUICK, circuitFailures: 1_000_000 };
  const pool = pooling(t, [new Site('nowhere')], patient);
  const cancelled = pool.call('c');
  cancelled.cancel();
  const { code, notStarted } = await errorOf(cancelled);
  t.deepEqual({ code, notStarted }, { code: 'cancelled', notStarted: true });
  const waits = errorOf(pool.call('c'));
  await pool.close({ graceMs: 0 });
  t.deepEqual([(await waits).code, (await waits).notStarted], ['closed', true]);
  const other = pooling(t, [new Site('nowhere')], patient);
  const dropped = errorOf(other.call('c'));
  other.destroy();
  t.deepEqual([(await dropped).code, (await dropped).notStarted], ['closed', true]);
  const work = new Work();
  const [site] = await sitesOf(t, work, 'a');
  const third = pooling(t, [site]);
  const sent = third.call('held');
  await work.begun(1);
  sent.cancel();
  t.false((await errorOf(sent)).notStarted);
});

test('destroy() ends all at once, also what is still being connected', async (t) => {
  let given: AbortSignal | undefined;
  const pool = createPool(['a'], (_, signal) => {
    given = signal;
    return new Promise(() => undefined);
  });
  const error = errorOf(pool.call('c'));
  pool.destroy(new Error('enough'));
  t.is((await error).message, 'enough');
  await pool.closed;
  t.true(given?.aborted);
});

test('await using closes a pool', async (t) => {
  const { address } = await serving(t, { commands: { hi: () => 'hi' } });
  let mine: Pool;
  {
    await using pool = connectPool(address);
    mine = pool;
    t.is(await pool.call('hi').text(), 'hi');
  }
  t.is(mine.state, 'closed');
});

test('what is wrong with the options is said by name', (t) => {
  const connect = () => new Promise<never>(() => undefined);
  const wrong: [object, RegExp][] = [
    [{ size: 0 }, /option size: 0/],
    [{ siez: 1 }, /option siez: createPool takes no such option, did you mean 'size'/],
    [{ constructor: 1 }, /option constructor: createPool takes no such option/],
    [{ balance: 'random' }, /option balance: 'random'/],
    [{ maxWaitMs: Number.POSITIVE_INFINITY }, /option maxWaitMs/],
    [{ minBackoffMs: '5' }, /option minBackoffMs/],
  ];
  for (const [options, message] of wrong)
    t.throws(() => createPool(['a'], connect, options), { instanceOf: TypeError, message });
  t.throws(() => createPool([], connect), { message: /needs an address/ });
  t.throws(() => createPool(['a'], undefined as never), { message: /no function/ });
});

test('a server that is closed and made again on its port is found again', async (t) => {
  const make = () => createServer({ workers: 1, commands: { hi: () => 'hi' } });
  let server = make();
  // One that systems give out by themselves may be a connection's by then, even that of the pool to itself.
  const address = { host: '127.0.0.1', port: await freePort() };
  await server.listen(address);
  const pool = connectPool(address, { ...QUICK, circuitFailures: 1_000_000 });
  t.teardown(() => {
    pool.destroy();
    return server.close(0);
  });
  t.is(await pool.call('hi').text(), 'hi');
  await server.close();
  const waiting = pool.call('hi').text();
  server = make();
  await server.listen(address);
  t.is(await waiting, 'hi');
});
