// Encoding contexts: what they take, what a process gives them, and what is done when that is used up.
import { setImmediate as turn } from 'node:timers/promises';
import ava, { type ExecutionContext } from 'ava';
import { Turns } from '../../src/connection/turns.ts';
import { mostDecoded } from '../../src/encoding/output.ts';
import type { Client, CommandRequest } from '../../src/index.ts';
import { ContextBudget, type IdleContext } from '../../src/lanes/budget.ts';
import { decoderCost, encoderCost, withinWindow } from '../../src/lanes/context-cost.ts';
import { LaneDecoders } from '../../src/lanes/decoders.ts';
import type { SlotOwner } from '../../src/lanes/lane.ts';
import type { LanePool } from '../../src/lanes/pool.ts';
import { Quarantine } from '../../src/lanes/quarantine.ts';
import { FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import type { BatchReader } from '../../workers/batch.ts';
import { Op } from '../../workers/records.ts';
import { zstdBlock, zstdHeader } from '../encoding/helpers.ts';
import { Clock, stoppedClock } from '../helpers/clock.ts';
import { frame, HELLO, RawPeer } from '../helpers/raw-peer.ts';
import { dial, serving } from '../helpers/serving.ts';
import { streamSettingsPayload } from '../independent/client.ts';
import { isAccounted } from './context-memory.ts';

const test = ava.serial;
const MIB = 1 << 20;
const NEVER = { streamIdleTimeout: 1e9, streamLifetime: 1e9 };

/** A held context that costs `cost`. */
class Context implements IdleContext {
  idle = true;
  usedAt: number;
  here = true;
  renewals = 0;
  readonly #budget: ContextBudget;
  readonly #cost: number;

  constructor(budget: ContextBudget, cost: number) {
    this.#budget = budget;
    this.#cost = cost;
    this.usedAt = budget.tick();
    budget.hold(this);
  }

  giveUp(): void {
    this.here = false;
    this.#budget.forget(this);
    this.#budget.give(this.#cost);
  }

  renew(): void {
    this.renewals++;
  }
}

const SMALL = encoderCost('zstd-8mb', { level: 1, windowLog: 11 });
const shape = { level: 1, windowLog: 11 };

function filled(count: number): { budget: ContextBudget; contexts: Context[] } {
  const budget = new ContextBudget({ contextMemory: count * SMALL, ...NEVER });
  const contexts = Array.from({ length: count }, () => {
    budget.takeEncoder('zstd-8mb', shape);
    return new Context(budget, SMALL);
  });
  return { budget, contexts };
}

test('what a context is accounted with is what it takes: resident memory, measured', (t) =>
  isAccounted(t, 'zstd-8mb enc 3'));

test('peers of many windows share encoders without a context, and each that is made is accounted', (t) => {
  const budget = new ContextBudget({ contextMemory: 1 << 30, ...NEVER });
  const dictionary = '00'.repeat(16);
  const made = new Map<string, number>();
  for (let maxWindowLog = 10; maxWindowLog <= 23; maxWindowLog++) {
    const before = budget.used;
    const taken = budget.takeContext('zstd-dict', { dictionary }, 'none', maxWindowLog);
    const key = JSON.stringify(withinWindow('zstd-dict', taken?.shape ?? {}, maxWindowLog));
    t.is(budget.used > before, !made.has(key), key);
    made.set(key, budget.used - before);
  }
  t.is(made.size, 6);
});

/** Measured: MiB of an encoder with a dictionary of 1 MiB, and of a context what it takes more than with one of 4 KiB. */
const WITH_LARGE = [
  { level: 3, contextFree: 2, kept: 1.6 },
  { level: 9, contextFree: 11.2, kept: 10.9 },
  { level: 12, contextFree: 21.3, kept: 20.8 },
  { level: 13, contextFree: 33.3, kept: 32.8 },
  { level: 22, contextFree: 65.6, kept: 32.8 },
];
for (const { level, contextFree, kept } of WITH_LARGE)
  test(`a large dictionary is accounted with its tables: level ${level}`, (t) => {
    const large = { id: '00'.repeat(16), bytes: new Uint8Array(MIB) };
    const small = { id: '01'.repeat(16), bytes: new Uint8Array(4096) };
    const budget = new ContextBudget({ contextMemory: 2 ** 33, dictionaries: [large, small], ...NEVER });
    const wanted = ({ id }: { id: string }) => ({ level, dictionary: id });
    const taken = (take: () => unknown) => {
      const before = budget.used;
      take();
      return budget.used - before;
    };
    const shared = taken(() => budget.takeContext('zstd-dict', wanted(large), 'none'));
    t.true(shared >= 2 * contextFree * MIB && shared < 2.5 * 2 * contextFree * MIB, `${shared}`);
    const [of, than] = [large, small].map((each) =>
      taken(() => budget.takeContext('zstd-dict', wanted(each), 'kept')),
    );
    t.true(of - than >= kept * MIB && of - than < 2.5 * kept * MIB, `${of - than}`);
  });

test('over the budget the least recently used idle context is given up, never one at work', (t) => {
  const { budget, contexts } = filled(4);
  contexts[0].usedAt = budget.tick();
  contexts[1].idle = false;
  t.truthy(budget.takeEncoder('zstd-8mb', shape));
  t.deepEqual(
    contexts.map(({ here }) => here),
    [true, true, false, true],
  );
  t.is(budget.used, 4 * SMALL);
  for (const context of contexts) context.idle = false;
  t.is(budget.takeEncoder('zstd-8mb', shape), undefined, 'all are at work');
  t.is(budget.used, 4 * SMALL);
});

test('a context that does not fit is made smaller, step by step, at last not at all', (t) => {
  const wanted = { level: 9 };
  const budget = new ContextBudget({ contextMemory: encoderCost('zstd-8mb', wanted) + 3 * MIB, ...NEVER });
  t.is(budget.takeEncoder('zstd-8mb', wanted)?.shape, wanted);
  const shapes = Array.from({ length: 40 }, () => budget.takeEncoder('zstd-8mb', wanted)?.shape);
  t.deepEqual(shapes[0], { level: 3, windowLog: 17 });
  t.is(shapes.at(-1), undefined);
  const levels = shapes.map((each) =>
    each === undefined ? -1 : 100 * (each.level ?? 0) + (each.windowLog ?? 0),
  );
  t.deepEqual(
    levels,
    levels.toSorted((a, b) => b - a),
    'ever smaller',
  );
  t.true(budget.used <= budget.limit);
});

test('decoders, which peers ask for, have half of the budget', (t) => {
  const cost = decoderCost('zstd-8mb', 8 * MIB);
  const budget = new ContextBudget({ contextMemory: 4 * cost, ...NEVER });
  t.deepEqual(
    [1, 2, 3].map(() => budget.takeDecoder(cost)),
    [true, true, false],
  );
  budget.giveDecoder(cost);
  t.true(budget.takeDecoder(cost));
});

test('streams are given up when idle, and renewed when at work, after their time', (t) => {
  const clock = new Clock();
  const budget = new ContextBudget({ contextMemory: MIB, streamIdleTimeout: 100, streamLifetime: 500 });
  const [idle, busy] = [new Context(budget, 0), new Context(budget, 0)];
  busy.idle = false;
  const now = performance.now();
  budget.sweep(now + 50);
  t.true(idle.here);
  budget.sweep(now + 150);
  t.false(idle.here);
  budget.sweep(now + 510);
  budget.sweep(now + 520);
  clock.release();
  t.is(busy.renewals, 1);
  t.true(busy.here);
});

const text = (request: CommandRequest) => `${request.text('n')} `.repeat(500);
const ask = async (t: ExecutionContext, from: Client, n: string) =>
  t.is(await from.call('text', { args: { n } }).text(), `${n} `.repeat(500));

test('a hundred connections on a budget of five contexts: all are answered, memory stays within', async (t) => {
  const contextMemory = 5 * encoderCost('zstd-8mb', { level: 3 });
  const { server, port } = await serving(t, { contextMemory, cacheBytes: 0, commands: { text } });
  const clients = await Promise.all(Array.from({ length: 100 }, () => dial(t, { port })));
  for (let round = 0; round < 3; round++) {
    if (round === 0) await Promise.all(clients.map((each, i) => ask(t, each, `${round}.${i}`)));
    else for (const [i, each] of clients.entries()) await ask(t, each, `${round}.${i}`);
    const { contexts } = await server.stats();
    t.true(contexts.bytes <= contexts.limit, `${contexts.bytes} of ${contexts.limit}`);
  }
  const { contexts } = await server.stats();
  t.true(contexts.givenUp > 50, `${contexts.givenUp} were given up`);
  await Promise.all(clients.map((each) => each.close()));
  while ((await server.stats()).connections > 0) await turn();
  t.is((await server.stats()).contexts.bytes, 0, 'all is given back');
});

test('with no memory for any context responses go unencoded, also from handlers in lanes', async (t) => {
  const { server, port } = await serving(t, {
    contextMemory: 1000,
    commands: { text, lane: { module: new URL('../fixtures/lane-text.ts', import.meta.url) } },
  });
  const one = await dial(t, { port });
  await ask(t, one, 'x');
  t.is(await one.call('lane').text(), 'from the lane');
  const { streams, contexts } = await server.stats();
  t.true(streams.every(({ profile }) => profile === 'identity'));
  t.true(contexts.refused > 0);
});

test('an upload that finds no memory for its decoder fails with a clear error, alone', async (t) => {
  const { port } = await serving(t, { contextMemory: 4 * MIB, cacheBytes: 0 });
  const one = await dial(t, { port }, { encodeData: 'zstd-8mb' });
  await t.throwsAsync(one.call('echo', { data: 'x'.repeat(1000) }).text(), { message: /contextMemory/ });
  t.is(await one.call('echo', { args: { value: 'lives on' } }).text(), 'lives on');
});

const BEHIND: Record<string, (data: Uint8Array) => (string | Uint8Array)[]> = {
  'another frame of it': (data) => [frame('1 3 encoded command-data continuation ', data)],
  'its cancel': () => ['1 1 0 cancel 0 '],
  'both, twice': (data) => [
    frame('1 3 encoded command-data continuation ', data),
    '1 1 0 cancel 0 ',
    frame('1 3 encoded command-data eos ', data),
    '1 1 0 cancel 0 ',
  ],
};
for (const [what, behind] of Object.entries(BEHIND)) {
  test(`a request whose frame finds no decoder is answered once, with ${what} behind it`, async (t) => {
    const { port } = await serving(t, { contextMemory: 4 * MIB, cacheBytes: 0 });
    const peer = await RawPeer.connect(t, port);
    const data = Uint8Array.from([...zstdHeader(22), ...zstdBlock(0, [97])]);
    peer.send(
      HELLO,
      '1 1 0 command-name have-data echo',
      frame('0 3 stream-begin stream-settings 0 ', streamSettingsPayload('zstd-8mb')),
      frame('1 3 encoded command-data continuation ', data),
      ...behind(data),
      '0 1 0 ping 0 12345678',
    );
    const find = (wanted: number) => peer.frames.filter(({ type }) => type === wanted);
    t.true(
      await peer.until(() => find(FrameType.ping).length > 0 && find(FrameType.errorResponse).length > 0),
    );
    peer.send('3 1 0 command-name eos capabilities');
    await peer.answer(3);
    const errors = find(FrameType.errorResponse).map(({ payload }) => new TextDecoder().decode(payload));
    t.is(errors.length, 1, errors.join());
    // A cancel overtakes what still waits for a decoder.
    t.regex(errors[0], /contextMemory|cancelled/);
  });
}

/** A pool with one lane, which is no thread's, or with none. */
function poolOf(budget: ContextBudget, lane: object | undefined): LanePool {
  const turns = new Turns(setImmediate);
  const pool = { budget, turns, decodingBytes: 0, quarantine: new Quarantine(), leastUsed: () => lane };
  return pool as unknown as LanePool;
}

const WINDOW_LOGS: { what: string; logs: number[]; settings: number[]; posted: number }[] = [
  { what: 'a large window behind a small one', logs: [11, 23], settings: [], posted: 1 },
  { what: 'a large window after a small one was announced', logs: [23], settings: [11], posted: 0 },
  { what: 'small windows', logs: [11, 12, 11], settings: [], posted: 3 },
];
for (const { what, logs, settings, posted } of WINDOW_LOGS) {
  test(`a decoder is accounted before a lane sees the frame that makes it take memory: ${what}`, async (t) => {
    const budget = new ContextBudget({ contextMemory: 2 * MIB, ...NEVER });
    let largest = 0;
    let decodes = 0;
    const lane = {
      open: () => 0,
      close: () => undefined,
      input: {
        addJson: () => undefined,
        add: (op: number) => {
          if (op !== Op.decode) return;
          largest = Math.max(largest, 2 ** logs[decodes++]);
          t.is(budget.used, decoderCost('zstd-8mb', largest));
        },
      },
    };
    const lost: (string | undefined)[] = [];
    const pool = poolOf(budget, lane);
    const decoders = new LaneDecoders(pool, DEFAULT_LIMITS, ['zstd-8mb'], (ticket) =>
      lost.push(ticket.lost?.message),
    );
    decoders.open(3, 'zstd-8mb', Uint8Array.from(settings));
    for (const log of logs) {
      const payload = Uint8Array.from([...zstdHeader(log), ...zstdBlock(0, [97], true)]);
      const data = { requestId: 1, streamId: 3, streamFlags: 4, type: 3, flags: 1, payload };
      decoders.decode(3, { frame: data, payload: undefined, lost: undefined, cost: 0 });
    }
    await turn();
    t.is(decodes, posted);
    t.is(lost.length, posted < logs.length ? logs.length : 0);
    for (const each of lost) t.regex(String(each), /contextMemory/);
    decoders.closeAll();
    t.is(budget.used, 0);
    t.is(pool.decodingBytes, 0);
  });
}

test('what crowds have sent is decoded a few MiB ahead, and a frame of who comes then is on its lane at once', (t) => {
  const owners: SlotOwner[] = [];
  const lane = {
    open: (owner: SlotOwner) => owners.push(owner) - 1,
    close: () => undefined,
    input: {
      addJson: () => undefined,
      add: (op: number, slot: number) => op === Op.decode && sent.push(slot),
    },
  };
  const sent: number[] = [];
  const pool = poolOf(new ContextBudget({ contextMemory: 100 * MIB, ...NEVER }), lane);
  const frame = { requestId: 1, streamId: 3, streamFlags: 4, type: 3, flags: 1, payload: new Uint8Array(20) };
  const most = mostDecoded(DEFAULT_LIMITS, 20);
  const flood = (frames: number) => {
    const decoders = new LaneDecoders(pool, DEFAULT_LIMITS, ['zlib'], () => undefined);
    decoders.open(3, 'zlib', new Uint8Array(0));
    for (let i = 0; i < frames; i++)
      decoders.decode(3, { frame: { ...frame }, payload: undefined, lost: undefined, cost: 0 });
    return decoders;
  };
  const crowd = Array.from({ length: 30 }, () => flood(1000));
  t.true(sent.length * most <= 30 * most + 8 * MIB, `${sent.length} frames of ${most}`);
  t.deepEqual(new Set(sent), new Set(crowd.map((_, i) => i)), 'each has at least one');
  const before = sent.length;
  flood(5);
  t.deepEqual(sent.slice(before), [30]);
  const decoded = { op: Op.decoded, payload: new Uint8Array(1) } as unknown as BatchReader;
  owners[30].onRecord(decoded);
  t.deepEqual(sent.slice(before), [30, 30], 'the next as soon as that has come');
  for (const decoders of crowd) decoders.closeAll();
  t.true(pool.decodingBytes <= most);
});

test('frames that found no lane, of who goes before they are told so, are ahead of nobody', async (t) => {
  const pool = poolOf(new ContextBudget({ contextMemory: 2 * MIB, ...NEVER }), undefined);
  const decoders = new LaneDecoders(pool, DEFAULT_LIMITS, ['zlib'], () => t.fail());
  decoders.open(3, 'zlib', new Uint8Array(0));
  const frame = { requestId: 1, streamId: 3, streamFlags: 4, type: 3, flags: 1, payload: new Uint8Array(9) };
  decoders.decode(3, { frame, payload: undefined, lost: undefined, cost: 0 });
  decoders.closeAll();
  await turn();
  t.is(pool.decodingBytes, 0);
});

test('a stream that has only begun costs no lane anything, however often it begins afresh', (t) => {
  const lanes: string[] = [];
  const lane = {
    open: () => lanes.push('open') - 1,
    close: () => void lanes.push('close'),
    input: {
      addJson: () => void lanes.push('decoder'),
      add: () => void lanes.push('frame'),
    },
  };
  const budget = new ContextBudget({ contextMemory: 2 * MIB, ...NEVER });
  const pool = poolOf(budget, lane);
  const decoders = new LaneDecoders(pool, DEFAULT_LIMITS, ['zlib'], () => undefined);
  for (let i = 0; i < 100; i++) {
    decoders.open(3, 'zlib', new Uint8Array(0));
    decoders.close(3);
  }
  decoders.open(3, 'zlib', new Uint8Array(0));
  t.deepEqual(lanes, []);
  t.is(budget.used, 0);
  const frame = { requestId: 1, streamId: 3, streamFlags: 4, type: 3, flags: 1, payload: new Uint8Array(9) };
  decoders.decode(3, { frame, payload: undefined, lost: undefined, cost: 0 });
  decoders.close(3);
  t.deepEqual(lanes, ['open', 'decoder', 'frame', 'close']);
});

test('a decoder is accounted with the window that is really in use', async (t) => {
  const { server, port } = await serving(t, { contextMemory: 32 * MIB, cacheBytes: 0, profile: 'identity' });
  for (let i = 0; i < 6; i++) {
    // Accounted with 8 MiB each, one would be all.
    const one = await dial(t, { port }, { encodeData: 'zstd-8mb', level: 1 });
    t.is((await one.call('echo', { data: 'x'.repeat(1000) }).text()).length, 1000);
  }
  const { bytes } = (await server.stats()).contexts;
  t.true(bytes > 0 && bytes < 10 * MIB, `${bytes}`);
});

test('an idle stream is ended by the server and begun afresh with the next response', async (t) => {
  const clock = stoppedClock(t);
  const { server, port } = await serving(t, { streamIdleTimeout: 100, cacheBytes: 0, commands: { text } });
  const one = await dial(t, { port });
  await ask(t, one, 'first');
  t.true((await server.stats()).contexts.bytes > 0);
  clock.advance(400);
  // The lane says when it has let go of it.
  while ((await server.stats()).contexts.bytes > 0);
  for (let i = 0; i < 50; i++) await ask(t, one, `again ${i}`);
  t.is(one.stats().streams.filter(({ profile }) => profile !== 'identity').length, 1, 'the same stream ID');
});

test('a stream over its lifetime ends on the last frame of a response, in the middle of others, and goes on afresh', async (t) => {
  const clock = stoppedClock(t);
  const slow = async function* (request: CommandRequest) {
    for (let i = 0; i < 8; i++) {
      yield `${request.text('n')} ${i} `.repeat(50);
      await turn();
    }
  };
  let isOld = Promise.withResolvers<void>();
  const held = async function* () {
    yield 'the beginning, ';
    await isOld.promise;
    yield 'the end';
  };
  const { port } = await serving(t, { streamLifetime: 120, policy: 'single', commands: { slow, held } });
  const one = await dial(t, { port });
  const wanted = (n: number) => Array.from({ length: 8 }, (_, i) => `${n} ${i} `.repeat(50)).join('');
  let left = 12;
  const all = Array.from({ length: left }, async (_, n) => {
    for (let i = 0; i < n; i++) await one.ping();
    t.is(await one.call('slow', { args: { n: String(n) } }).text(), wanted(n));
    left--;
  });
  await clock.advanceUntil(() => left === 0, 20);
  await Promise.all(all);

  const raw = await RawPeer.connect(t, port);
  raw.send('0 1 stream-begin sender-settings 0 {"contentEncodings":["zlib"]}');
  for (let id = 1; id <= 11; id += 2) {
    isOld = Promise.withResolvers();
    raw.send(`${id} 1 0 command-name eos held`);
    await raw.until(() => raw.frames.some(({ requestId }) => requestId === id));
    clock.advance(150);
    isOld.resolve();
    await raw.answer(id);
  }
  const flagged = (flag: number) =>
    raw.frames.filter(({ streamId, streamFlags }) => streamId !== 2 && streamFlags & flag).length;
  t.true(
    flagged(StreamFlag.end) >= 1 && flagged(StreamFlag.begin) >= 2,
    `${flagged(StreamFlag.begin)} begins`,
  );
});
