import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import ava, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { Connection, type FrameOwner } from '../../src/connection/connection.ts';
import { CrowdTurns } from '../../src/connection/crowd-turns.ts';
import type { Transport } from '../../src/connection/transport.ts';
import { type Slice, TurnShare, TurnTaker, Work } from '../../src/connection/turns.ts';
import { Writer } from '../../src/connection/writer.ts';
import { Pipeline } from '../../src/doors/pipeline.ts';
import { ResponseCache } from '../../src/lanes/cache.ts';
import { Gate } from '../../src/reactor/gate.ts';
import { InputBudget } from '../../src/reactor/input-budget.ts';
import type { ServedRequest } from '../../src/server/request.ts';
import { checkTopicOptions } from '../../src/topics/options.ts';
import type { Subscription } from '../../src/topics/subscription.ts';
import { LiveTopic } from '../../src/topics/topic.ts';
import { type Frame, FrameType, HEADER_SIZE } from '../../src/wire/frame.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import { Splitter } from '../../src/wire/splitter.ts';
import { frame, frames, HELLO, RawPeer, times } from '../helpers/raw-peer.ts';
import { dial, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

const MEBIBYTE = 1 << 20;

/** A test for which no time passes: what others take of the machine meanwhile is charged to nobody, and ends no turn. */
function test(title: string, run: (t: ExecutionContext) => void): void {
  ava(title, (t) => {
    const { now } = performance;
    const still = performance.now();
    performance.now = () => still;
    try {
      run(t);
    } finally {
      performance.now = now;
    }
  });
}

/** Turns of an event loop that the test turns. */
class Loop {
  #next: (() => void)[] = [];
  readonly turns = new CrowdTurns((run) => this.later(run));

  later(run: () => void): void {
    this.#next.push(run);
  }

  /** One turn: whether there was anything to do. */
  turn(): boolean {
    const due = this.#next;
    this.#next = [];
    for (const run of due) run();
    return due.length > 0;
  }

  /** Turns until nothing is left to do; how many there were. */
  rest(): number {
    let count = 0;
    while (this.turn()) count++;
    return count;
  }
}

/** Work of so many steps, each of `bytes`, that are noted in `log`. */
function steps(log: string[], name: string, count: number, bytes = 0): Work {
  let left = count;
  return new Work((slice: Slice) => {
    while (left > 0) {
      left--;
      log.push(name);
      if (slice.count(bytes)) break;
    }
    return left > 0;
  });
}

test('work is done at once while nobody waits', (t) => {
  const { turns } = new Loop();
  const log: string[] = [];
  turns.ready(steps(log, 'a', 3));
  t.deepEqual(log, ['a', 'a', 'a']);
});

test('what has come is handed to who works on it at once, and kept by who has to wait', (t) => {
  class Reader extends TurnTaker {
    readonly given: (Uint8Array | undefined)[] = [];

    run(_: Slice, input?: Uint8Array): boolean {
      this.given.push(input);
      return false;
    }
  }
  const loop = new Loop();
  const [first, second] = [Uint8Array.of(1), Uint8Array.of(2)];
  const reader = new Reader();
  t.true(loop.turns.ready(reader, first));
  loop.turns.ready(steps([], 'greedy', 3, MEBIBYTE));
  t.false(loop.turns.ready(reader, second));
  t.false(loop.turns.ready(reader, second), 'it waits already');
  t.deepEqual(reader.given, [first]);
  loop.rest();
  t.deepEqual(reader.given, [first, undefined]);
});

test('what does not fit its slice waits, and so does what comes meanwhile', (t) => {
  const loop = new Loop();
  const log: string[] = [];
  loop.turns.ready(steps(log, 'a', 3, MEBIBYTE));
  loop.turns.ready(steps(log, 'b', 1));
  t.deepEqual(log, ['a']);
  loop.turn();
  t.deepEqual([...log].sort(), ['a', 'a', 'b'], 'everybody who waited has had one slice');
  loop.rest();
  t.deepEqual(log.filter((name) => name === 'a').length, 3);
});

test('who has had least comes first, whoever has come first', (t) => {
  const loop = new Loop();
  const log: string[] = [];
  const greedy = steps(log, 'greedy', 100, MEBIBYTE);
  loop.turns.ready(greedy);
  for (let i = 0; i < 10; i++) loop.turn();
  log.length = 0;
  loop.turns.ready(steps(log, 'modest', 1));
  loop.turn();
  t.is(log[0], 'modest');
});

test('who comes is before all who wait, whatever one of these has had meanwhile', (t) => {
  const loop = new Loop();
  const log: string[] = [];
  const [one, other] = ['one', 'other'].map((name) => steps(log, name, 100, MEBIBYTE));
  for (const work of [one, other]) loop.turns.readyLater(work);
  loop.turns.charge(one, 5 * MEBIBYTE);
  loop.turns.charge(other, 50 * MEBIBYTE);
  loop.turn();
  log.length = 0;
  loop.turns.ready(steps(log, 'newcomer', 1));
  loop.turn();
  t.deepEqual(log, ['newcomer', 'one', 'other']);
});

test('where somebody has come the next turn is brief, and the one after it as long as any', (t) => {
  const loop = new Loop();
  const share = new TurnShare(loop.turns);
  const produced = () => {
    let bytes = 0;
    for (; !share.usedUp; bytes += 1024) share.take(1024);
    return bytes;
  };
  const usual = produced();
  loop.turns.hurry();
  loop.turn();
  t.true(produced() <= usual / 8);
  loop.turn();
  t.is(produced(), usual);
});

test('where somebody has come nobody has a whole slice in the next turn, who comes behind waits for no more than that', (t) => {
  const loop = new Loop();
  let nowMs = performance.now();
  performance.now = () => nowMs;
  let done = 0;
  const endless = new Work((slice: Slice) => {
    do {
      nowMs += 1 / 64;
      done++;
    } while (!slice.countLong(0));
    return true;
  });
  loop.turns.readyLater(endless);
  loop.turn();
  const usual = done;
  loop.turns.hurry();
  done = 0;
  loop.turn();
  t.true(done > 0 && done <= usual / 8, `${done} of ${usual} steps`);
});

test('who waits has his turn in the end, however many come before him, and these have theirs', (t) => {
  const loop = new Loop();
  const log: string[] = [];
  const [old, other] = ['old', 'other'].map((name) => steps(log, name, 100, MEBIBYTE));
  for (const work of [old, other]) loop.turns.readyLater(work);
  for (const work of [old, other]) loop.turns.charge(work, 50 * MEBIBYTE);
  let newest = 0;
  const urgent = new Work(() => false, true);
  const turn = () => {
    loop.turns.hurry();
    loop.turns.readyLater(urgent);
    for (let i = 0; i < 100; i++) loop.turns.readyLater(steps(log, `${newest++}`, 1));
    loop.turn();
  };
  while (newest < 10_000) turn();
  const waited = log.filter((name) => name === 'old' || name === 'other').length;
  t.true(log.includes('old') && log.includes('other'));
  t.true(waited < log.length / 2, `${waited} of ${log.length}`);
  t.deepEqual(
    log.slice(0, 10),
    Array.from({ length: 10 }, (_, i) => `${i}`),
  );
});

test('what is urgent comes before all else, in every turn', (t) => {
  const loop = new Loop();
  const log: string[] = [];
  const urgent = new Work(() => log.push('urgent') < 6, true);
  loop.turns.readyLater(steps(log, 'a', 3, MEBIBYTE));
  loop.turns.readyLater(urgent);
  loop.turn();
  loop.turn();
  t.deepEqual(log, ['urgent', 'a', 'urgent', 'a']);
});

test('who asks by HTTP again and again, each time as for the first, comes after who asks seldom', (t) => {
  const loop = new Loop();
  const log: string[] = [];
  const busy = Array.from({ length: 3 }, () => new Pipeline(loop.turns));
  const again = (pipeline: Pipeline) =>
    pipeline.inTurn(() => {
      log.push('busy');
      if (log.length < 1000) again(pipeline);
    });
  for (const pipeline of busy) again(pipeline);
  for (let i = 0; i < 10; i++) loop.turn();
  log.length = 0;
  const seldom = new Pipeline(loop.turns);
  seldom.inTurn(() => log.push('first'));
  seldom.inTurn(() => log.push('second'));
  loop.turn();
  loop.turn();
  t.is(log[0], 'first');
  t.true(log.includes('second'));
  t.deepEqual(
    log.filter((each) => each !== 'busy'),
    ['first', 'second'],
  );
});

test('work that is ready within a slice is not done within it', (t) => {
  const loop = new Loop();
  const log: string[] = [];
  const inner = steps(log, 'inner', 1);
  const outer = new Work(() => {
    loop.turns.ready(inner);
    log.push('outer');
    return false;
  });
  loop.turns.ready(outer);
  t.deepEqual(log, ['outer']);
  loop.rest();
  t.deepEqual(log, ['outer', 'inner']);
});

test('whatever comes when: all work is done, each in its order, and nobody has two slices more than another', (t) => {
  const arrival = fc.record({ turn: fc.nat(5), work: fc.nat(4), count: fc.integer({ min: 1, max: 9 }) });
  fc.assert(
    fc.property(fc.array(arrival, { maxLength: 30 }), (arrivals) => {
      const loop = new Loop();
      const queues: number[][] = [[], [], [], [], []];
      const done: number[][] = [[], [], [], [], []];
      let slices = new Map<number, number>();
      const works = queues.map(
        (queue, i) =>
          new Work((slice) => {
            slices.set(i, (slices.get(i) ?? 0) + 1);
            while (queue.length > 0) {
              done[i].push(queue.shift() as number);
              if (slice.count(MEBIBYTE)) break;
            }
            return queue.length > 0;
          }),
      );
      const wanted: number[] = [0, 0, 0, 0, 0];
      for (let turn = 0; turn <= 5; turn++) {
        for (const { work, count } of arrivals.filter((each) => each.turn === turn)) {
          for (let i = 0; i < count; i++) queues[work].push(wanted[work]++);
          loop.turns.ready(works[work]);
        }
        slices = new Map();
        loop.turn();
        for (const count of slices.values()) t.is(count, 1);
      }
      loop.rest();
      for (const [i, count] of wanted.entries())
        t.deepEqual(
          done[i],
          Array.from({ length: count }, (_, k) => k),
        );
    }),
    { numRuns: 200 },
  );
});

test('a share of output ends within a turn, and is there again in the next', (t) => {
  const loop = new Loop();
  const share = new TurnShare(loop.turns);
  let sent = 0;
  const send = (): void => {
    for (; !share.usedUp; sent += MEBIBYTE) share.take(MEBIBYTE);
    if (sent < 20 * MEBIBYTE) share.wait(send);
  };
  send();
  const inOne = sent;
  t.true(inOne >= MEBIBYTE && inOne <= 4 * MEBIBYTE);
  loop.turn();
  t.is(sent, 2 * inOne);
  t.true(loop.rest() >= 20 / (inOne / MEBIBYTE) - 2);
});

test('all shares together have an end, and nobody goes without for ever', (t) => {
  const loop = new Loop();
  const sent = Array.from({ length: 30 }, () => 0);
  const shares = sent.map(() => new TurnShare(loop.turns));
  const send = (i: number): void => {
    for (; sent[i] < 4 * MEBIBYTE && !shares[i].usedUp; sent[i] += MEBIBYTE) shares[i].take(MEBIBYTE);
    if (sent[i] < 4 * MEBIBYTE) shares[i].wait(() => send(i));
  };
  for (const i of sent.keys()) send(i);
  const total = () => sent.reduce((sum, each) => sum + each);
  for (let before = total(); loop.turn(); before = total()) t.true(total() - before <= 16 * MEBIBYTE);
  t.deepEqual(new Set(sent), new Set([4 * MEBIBYTE]));
});

/** A transport that does nothing by itself. */
class StillTransport implements Transport {
  readonly remote = 'test';
  readonly loop: Loop;
  onData: (chunk: Uint8Array) => void = () => undefined;
  onEnd = () => undefined as void;
  onClose: (error: Error | undefined) => void = () => undefined;
  readonly writes: { chunks: Uint8Array[]; written: (error?: Error | null) => void }[] = [];
  paused = true;
  constructor(loop: Loop) {
    this.loop = loop;
  }
  write(chunks: Uint8Array[], written: (error?: Error | null) => void): void {
    this.writes.push({ chunks, written });
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  end(): void {}
  destroy(): void {}
  endOfTick(run: () => void): void {
    this.loop.later(run);
  }
}

interface Read {
  transport: StillTransport;
  connection: Connection;
  heard: string[];
  received: Frame[];
}

function reading(loop: Loop, onFrame: (frame: Frame) => void = () => undefined): Read {
  const transport = new StillTransport(loop);
  const connection = new Connection(transport, DEFAULT_LIMITS, 2, {
    turns: loop.turns,
    output: new Gate(1 << 30),
    input: new InputBudget(1 << 30),
  });
  const heard: string[] = [];
  const received: Frame[] = [];
  const owner: FrameOwner = {
    receive: (each) => {
      received.push(each);
      onFrame(each);
    },
    onEnd: () => void heard.push('end'),
    onFailed: (sendError) => sendError(),
    onClosed: () => void heard.push('closed'),
    midCommand: false,
    overdue: () => undefined,
  };
  connection.start(owner);
  return { transport, connection, heard, received };
}

/** As many frames as `count`, whose request IDs say their order. */
const numbered = (count: number) =>
  times(count, (i) => frame(`${(2 * i + 1) & 0xffff} 1 0 command-data continuation x`));
const idsUpTo = (count: number) => Array.from({ length: count }, (_, i) => (2 * i + 1) & 0xffff);

test('a chunk of many frames is dealt with in several turns, in order, and the transport waits', (t) => {
  const loop = new Loop();
  const { transport, received, heard } = reading(loop);
  transport.onData(numbered(5000));
  t.true(received.length < 5000);
  t.true(transport.paused);
  transport.onEnd();
  t.deepEqual(heard, [], 'the end comes after what came before it');
  t.true(loop.rest() >= 4);
  t.deepEqual(
    received.map(({ requestId }) => requestId),
    idsUpTo(5000),
  );
  t.deepEqual(heard, ['end']);
});

test('however input is cut, slices lose and repeat nothing', (t) => {
  const bytes = numbered(2600);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: bytes.length - 1 }), { maxLength: 8 }), (cuts) => {
      const loop = new Loop();
      const { transport, received } = reading(loop);
      const at = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
      for (let i = 1; i < at.length; i++) transport.onData(bytes.subarray(at[i - 1], at[i]));
      loop.rest();
      t.deepEqual(
        received.map(({ requestId }) => requestId),
        idsUpTo(2600),
      );
      t.false(transport.paused);
    }),
    { numRuns: 20 },
  );
});

test('a frame of a quiet connection is dealt with before all that floods have sent', (t) => {
  const loop = new Loop();
  const floods = Array.from({ length: 30 }, () => reading(loop));
  for (const { transport } of floods) transport.onData(numbered(5000));
  loop.turn();
  const done = () => floods.reduce((sum, { received }) => sum + received.length, 0);
  const before = done();
  let doneBy = -1;
  const quiet = reading(loop, () => {
    doneBy = done();
  });
  quiet.transport.onData(frame('0 1 stream-begin ping 0 12345678'));
  loop.turn();
  t.true(doneBy >= before && doneBy <= before + 2000, 'it was among the first of the next turn');
  t.true(done() < 30 * 5000);
});

test('what a connection has sent is held while it is paused, and goes on when it is not', (t) => {
  const loop = new Loop();
  const read = reading(loop, () => {
    if (read.received.length === 10) read.connection.pause();
  });
  read.transport.onData(numbered(100));
  loop.rest();
  t.is(read.received.length, 10);
  t.true(read.transport.paused);
  read.connection.resume();
  loop.rest();
  t.is(read.received.length, 100);
  t.false(read.transport.paused);
});

test('a connection that ends while it waits for its turn is done with', (t) => {
  const loop = new Loop();
  const { transport, received, heard } = reading(loop);
  transport.onData(numbered(5000));
  const before = received.length;
  transport.onClose(undefined);
  loop.rest();
  t.is(received.length, before);
  t.deepEqual(heard, ['closed']);
});

test('after an error nothing that waits is dealt with, and what comes is swallowed', (t) => {
  const loop = new Loop();
  const { transport, connection, received } = reading(loop);
  transport.onData(numbered(5000));
  const before = received.length;
  connection.fail(new RangeError('ours'));
  connection.finish();
  loop.rest();
  t.is(received.length, before);
  t.false(transport.paused);
});

test('a splitter that is held says how much it has taken', (t) => {
  const bytes = numbered(3);
  const seen: number[] = [];
  const splitter = new Splitter({
    maxPayload: 100,
    onFrame: ({ requestId }) => {
      seen.push(requestId);
      splitter.hold();
    },
  });
  // The end of the first frame, held back in the splitter, comes with the rest.
  t.is(splitter.push(bytes.subarray(0, 5)), 5);
  let rest = bytes.subarray(5);
  while (rest.length > 0) rest = rest.subarray(splitter.push(rest));
  t.deepEqual(seen, [1, 3, 5]);
});

/** A writer on a transport whose writes the test ends. */
function writing(): { loop: Loop; transport: StillTransport; writer: Writer } {
  const loop = new Loop();
  const transport = new StillTransport(loop);
  return {
    loop,
    transport,
    writer: new Writer(transport, new Gate(1 << 30), new TurnShare(loop.turns), loop.turns.ends),
  };
}

test('one write has a bounded size, and what a peer has not read does not go to it in one turn', (t) => {
  const { loop, transport, writer } = writing();
  for (let i = 0; i < 16; i++) writer.send(new Uint8Array(MEBIBYTE).fill(i));
  const handedOver: string[] = [];
  writer.whenHandedOver({ handedOver: () => handedOver.push('all') });
  const bytes = () => transport.writes.flatMap(({ chunks }) => chunks).reduce((sum, c) => sum + c.length, 0);
  let turns = 0;
  for (let answered = 0; loop.turn(); turns++) {
    const before = bytes();
    while (answered < transport.writes.length) transport.writes[answered++].written();
    t.true(bytes() - before <= 4 * MEBIBYTE);
    t.is(handedOver.length, bytes() === 16 * MEBIBYTE ? 1 : 0);
  }
  t.true(turns >= 6);
  const order = transport.writes.flatMap(({ chunks }) => chunks).map(([first]) => first);
  t.deepEqual(
    order,
    Array.from({ length: 16 }, (_, i) => i),
  );
});

test('a little is written however much others have written in this turn, and more is not', (t) => {
  const { loop, transport, writer } = writing();
  const greedy = new TurnShare(loop.turns);
  const useUp = () => {
    while (loop.turns.hasBytes) greedy.take(MEBIBYTE);
  };
  useUp();
  writer.send(new Uint8Array(1000));
  writer.flush();
  t.is(transport.writes.length, 1);
  transport.writes[0].written();
  writer.send(new Uint8Array(100_000));
  writer.flush();
  t.is(transport.writes.length, 1);
  loop.turn();
  t.is(transport.writes.length, 2);
});

test('shared payloads of any size go out as they are, in order with copied ones', (t) => {
  const { loop, transport, writer } = writing();
  const payloads = [900, 2000, 20_000, 60_000].map((size, i) => new Uint8Array(size).fill(i + 1));
  for (const payload of payloads) {
    writer.sendFrame(1, 4, 0, FrameType.bytesResponse, 1, payload, true);
    writer.sendFrame(1, 2, 0, FrameType.bytesResponse, 1, payload.subarray(0, 3));
  }
  loop.turn();
  const [{ chunks }] = transport.writes;
  t.deepEqual(
    chunks.filter(({ buffer }) => payloads.some((payload) => payload.buffer === buffer)).map((c) => c.length),
    [2000, 20_000, 60_000],
  );
  const out: number[] = [];
  const splitter = new Splitter({
    maxPayload: 65_535,
    onFrame: (each) => void out.push(each.payload.length),
  });
  for (const chunk of chunks) splitter.push(chunk);
  t.deepEqual(out, [900, 3, 2000, 3, 20_000, 3, 60_000, 3]);
});

const collectYoung = (() => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options: { type: 'minor' }) => void;
  return () => collect({ type: 'minor' });
})();

function oldBytes(): number {
  const old = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'old_space');
  return old?.space_used_size ?? Number.NaN;
}

/** The same on a transport that takes single chunks, at once or not. */
function writingOne(takes: boolean) {
  const all = writing();
  const ones: { chunk: Uint8Array; written: (error?: Error | null) => void }[] = [];
  const transport: Transport = all.transport;
  transport.writeOne = (chunk, written) => {
    ones.push({ chunk, written });
    return takes;
  };
  return { ...all, ones };
}

test('a frame goes at once and as it is, once in a turn, and never before what waits', (t) => {
  const { loop, transport, writer, ones } = writingOne(true);
  const [one, two, three] = [Uint8Array.of(1), Uint8Array.of(2), Uint8Array.of(3)];
  t.true(writer.sendAtOnce(one));
  t.is(ones[0].chunk, one);
  t.false(writer.sendAtOnce(two), 'one write in a turn is enough');
  loop.turn();
  writer.send(two);
  writer.send(two);
  t.false(writer.sendAtOnce(three), 'another waits before it');
  loop.turn();
  t.false(writer.sendAtOnce(three), 'a write is under way');
  loop.turn();
  transport.writes[0].written();
  t.true(writer.sendAtOnce(three));
  t.deepEqual(
    ones.map(({ chunk }) => chunk),
    [one, three],
  );
  t.is(writer.bytesWritten, 4);
});

test('a single chunk that is taken at once is written without a callback, and what it is sent from is let go of', (t) => {
  const loop = new Loop();
  const { transport, ones } = writingOne(true);
  const output = new Gate(1000);
  const writer = new Writer(transport, output, new TurnShare(loop.turns), loop.turns.ends);
  const events: string[] = [];
  writer.send(new Uint8Array(100), () => events.push('released'));
  writer.whenHandedOver({ handedOver: () => events.push('handed over') });
  writer.whenEmpty(() => events.push('empty'));
  t.deepEqual(events, ['handed over', 'released', 'empty']);
  t.is(ones.length, 1);
  t.is(transport.writes.length, 0);
  t.is(output.used, 0);
  t.false(writer.busy);
});

test('what is gathered waits for the flush that was announced, and what comes later for the end of the tick', (t) => {
  const { loop, transport, writer } = writing();
  writer.gather();
  writer.sendFrame(1, 2, 0, FrameType.bytesResponse, 1, Uint8Array.of(1));
  writer.sendFrame(3, 2, 0, FrameType.bytesResponse, 1, Uint8Array.of(3));
  loop.turn();
  t.is(transport.writes.length, 0);
  writer.flush();
  t.is(transport.writes.length, 1);
  transport.writes[0].written();
  writer.send(Uint8Array.of(1));
  loop.turn();
  t.is(transport.writes.length, 2);
});

test('a connection that is over leaves nothing behind that only a full collection finds', (t) => {
  const loop = new Loop();
  const shared = { turns: loop.turns, output: new Gate(1000), input: new InputBudget(1 << 20) };
  const owner: FrameOwner = {
    midCommand: false,
    receive: () => undefined,
    overdue: () => undefined,
    onEnd: () => undefined,
    onFailed: () => undefined,
    onClosed: () => undefined,
  };
  const round = () => {
    for (let i = 0; i < 500; i++) {
      const transport = new StillTransport(loop);
      const connection = new Connection(transport, DEFAULT_LIMITS, 2, shared);
      connection.start(owner);
      transport.onData(frame(HELLO));
      transport.onEnd();
      transport.onClose(undefined);
    }
    loop.turn();
    collectYoung();
    collectYoung();
  };
  for (let i = 0; i < 3; i++) round();
  const before = oldBytes();
  for (let i = 0; i < 5; i++) round();
  const each = (oldBytes() - before) / 2500;
  t.true(each < 400, `${each} bytes a connection`);
});

test('a connection that has sent something leaves nothing behind that only a full collection finds', (t) => {
  const loop = new Loop();
  const writers = Array.from({ length: 500 }, () => {
    const transport = Object.assign(new StillTransport(loop), { writeOne: () => true });
    return new Writer(transport, new Gate(1000), new TurnShare(loop.turns), loop.turns.ends);
  });
  const round = () => {
    for (const writer of writers) writer.send(new Uint8Array(60));
    loop.turn();
    collectYoung();
  };
  for (let i = 0; i < 3; i++) round();
  const grown = () => {
    const before = oldBytes();
    for (let i = 0; i < 5; i++) round();
    return oldBytes() - before;
  };
  // What else has grown old meanwhile, of tests before and of compiled code, is in some of them.
  const perFrame = Math.min(...Array.from({ length: 5 }, grown)) / 5 / writers.length;
  t.true(perFrame < 50, `${perFrame} bytes for each frame`);
});

test('a transport that throws as it writes keeps no other connection from writing in the same turn or the next', (t) => {
  const loop = new Loop();
  const broken = new StillTransport(loop);
  broken.write = () => {
    throw new Error('broken');
  };
  const other = new StillTransport(loop);
  const writers = [broken, other].map(
    (each) => new Writer(each, new Gate(1000), new TurnShare(loop.turns), loop.turns.ends),
  );
  for (const writer of writers) writer.send(Uint8Array.of(1));
  t.throws(() => loop.turn(), { message: 'broken' });
  loop.turn();
  t.is(other.writes.length, 1);
});

test('a frame that is not taken at once is a write under way: it counts as output, and what comes waits for it', (t) => {
  const loop = new Loop();
  const { transport, ones } = writingOne(false);
  const output = new Gate(1000);
  const writer = new Writer(transport, output, new TurnShare(loop.turns), loop.turns.ends);
  t.true(writer.sendAtOnce(new Uint8Array(100)));
  t.true(writer.busy);
  t.is(output.used, 100);
  writer.send(Uint8Array.of(1));
  writer.flush();
  t.is(transport.writes.length, 0);
  t.is(ones.length, 1);
  ones[0].written();
  t.is(ones.length, 2);
  t.is(transport.writes.length, 0);
  t.is(output.used, 1);
});

test('nothing goes at once from a writer that is held, closed or has somebody to tell what it has handed over', (t) => {
  const { writer, ones } = writingOne(true);
  writer.hold();
  t.false(writer.sendAtOnce(Uint8Array.of(1)));
  writer.release();
  writer.whenHandedOver({ handedOver: () => undefined });
  t.false(writer.sendAtOnce(Uint8Array.of(1)));
  writer.flush();
  writer.close();
  t.false(writer.sendAtOnce(Uint8Array.of(1)));
  t.is(ones.length, 0);
});

test('what a connection sends now and then takes the same memory again, and what is on its way none of that', (t) => {
  const { loop, transport, writer } = writing();
  const sendOne = (value: number) => {
    writer.sendFrame(1, 2, 0, FrameType.bytesResponse, 1, new Uint8Array(200).fill(value));
    loop.rest();
    return transport.writes.at(-1)!;
  };
  const buffers = new Set<ArrayBufferLike>();
  for (let i = 0; i < 50; i++) {
    const { chunks, written } = sendOne(i);
    // The first frame has memory of its own: for many a connection it is the only one.
    if (i > 0) buffers.add(chunks[0].buffer);
    written();
    loop.rest();
  }
  t.is(buffers.size, 1);
  const under = sendOne(77);
  writer.sendFrame(1, 2, 0, FrameType.bytesResponse, 1, new Uint8Array(200).fill(88));
  loop.rest();
  t.true(under.chunks[0].subarray(HEADER_SIZE).every((byte) => byte === 77));
  under.written();
  loop.rest();
  const next = transport.writes.at(-1)!.chunks[0];
  t.true(next.subarray(HEADER_SIZE).every((byte) => byte === 88));
});

test('leases of a writer that is closed are given back, those of chunks not yet handed over among them', (t) => {
  const { loop, transport, writer } = writing();
  const released: number[] = [];
  for (let i = 0; i < 4; i++) writer.send(new Uint8Array(MEBIBYTE), () => released.push(i));
  loop.turn();
  t.true(transport.writes.length > 0);
  transport.writes[0].written(new Error('gone'));
  writer.close();
  t.deepEqual(
    released.toSorted((a, b) => a - b),
    [0, 1, 2, 3],
  );
});

test('a crowd that waits for one cached output is answered in several turns, in order', (t) => {
  const loop = new Loop();
  const cache = new ResponseCache(1000, loop.turns);
  const answered: number[] = [];
  cache.lookup('key', () => undefined);
  const answers = Array.from({ length: 3000 }, (_, i) => () => void answered.push(i));
  for (const answer of answers) cache.lookup('key', answer);
  cache.fill('key', { pieces: [], rawLength: 0 });
  t.is(answered.length, 0, 'none in the tick of the one who made it');
  loop.turn();
  t.true(answered.length > 0 && answered.length < 3000);
  cache.forget('key', answers[2999]);
  t.true(loop.rest() >= 2);
  t.deepEqual(
    answered,
    Array.from({ length: 2999 }, (_, i) => i),
  );
});

test('a crowd of subscribers is sent a message in several turns, and what is in between is kept as long', (t) => {
  const loop = new Loop();
  const { topic, crowd, got } = crowdOf(t, loop, 3000);
  const had = (sequence: number) => got.filter((all) => all.includes(sequence)).length;
  topic.publish('one');
  topic.publish('two');
  t.true(had(1) > 0 && had(1) < 3000);
  t.is(had(2), 0);
  t.is(topic.message(1)?.sequence, 1, 'for who catches up in another way meanwhile');
  topic.left(crowd[2999]);
  t.true(loop.rest() >= 4);
  t.deepEqual(got.slice(0, 2999), Array(2999).fill([1, 2]));
  t.deepEqual(got[2999], []);
  t.is(topic.row.messages, 0);
});

test('who publishes faster than a crowd can be sent to waits for it, and nothing is lost', (t) => {
  const loop = new Loop();
  const { topic, got } = crowdOf(t, loop, 2000);
  const sequences = Array.from({ length: 200 }, (_, i) => topic.publish(`${i}`));
  t.true(got[1999].length >= 100, 'those before have all gone out by then');
  loop.rest();
  t.deepEqual(got, Array(2000).fill(sequences));
});

/** A topic with so many subscribers, and the numbers that each has got. */
function crowdOf(t: ExecutionContext, loop: Loop, size: number) {
  const topic = new LiveTopic('crowd', checkTopicOptions({}), {
    pool: () => t.fail() as never,
    encoderOptions: new Map(),
    pieceSize: 1024,
    dictionary: undefined,
    flushes: loop.turns.ends,
    turns: loop.turns,
    maxMessageBytes: 1000,
    maxBacklogBytes: 1 << 20,
    report: () => t.fail(),
  });
  const session = { router: { options: { profile: 'identity', frameSize: 1024 } } };
  const encoding = topic.encodingFor({ session, sensitive: false } as unknown as ServedRequest);
  const got: number[][] = Array.from({ length: size }, () => []);
  const crowd = got.map((numbers) => {
    const offer = ({ sequence }: { sequence: number }) => numbers.push(sequence);
    const all = { encoding, missedEpoch: 0, slow: 'skip', begin: () => undefined, offer };
    const subscription = all as unknown as Subscription;
    topic.join(subscription);
    return subscription;
  });
  return { topic, crowd, got };
}

ava('a flood of tiny frames keeps nobody from being served, and is served to its end', async (t) => {
  const { port } = await serving(t, {
    commands: {
      count: async (request) => {
        let count = 0;
        for await (const piece of request.data) count += piece.length;
        return String(count);
      },
    },
  });
  const COUNT = 50_000;
  const one = frame('1 1 0 command-data continuation x');
  t.is(one.length, HEADER_SIZE + 1);
  const peers = await Promise.all(Array.from({ length: 4 }, () => RawPeer.connect(t, port)));
  for (const peer of peers) {
    peer.send(HELLO, '1 1 0 command-name have-data count', Buffer.alloc(COUNT * one.length, one));
    peer.send('1 1 0 command-data eos ');
  }
  const client = await dial(t, { port });
  await client.ping();
  const answers = await Promise.all(peers.map((peer) => peer.answer(1)));
  t.deepEqual(new Set(answers), new Set([String(COUNT)]));
  t.true(peers.every((peer) => peer.unharmed));
  t.true(frames(one).length > 0);
});
