import { on } from 'node:events';
import { MessageChannel } from 'node:worker_threads';
import test from 'ava';
import fc from 'fast-check';
import { Turns } from '../../src/connection/turns.ts';
import { nativeCodecs, nativeZstd } from '../../src/encoding/native.ts';
import { CodecRegistry } from '../../src/encoding/registry.ts';
import { Lane } from '../../src/lanes/lane.ts';
import { partyOf } from '../../src/lanes/party.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import { BATCH_SIZE, BatchReader, BatchWriter } from '../../workers/batch.ts';
import { DroppedSlots } from '../../workers/dropped.ts';
import { LaneThread } from '../../workers/lane.ts';
import { Parties } from '../../workers/parties.ts';
import { type LaneMessage, Op } from '../../workers/records.ts';
import { Trace } from '../../workers/trace.ts';
import { WorkQueue } from '../../workers/work-queue.ts';
import { encodeAll } from '../encoding/helpers.ts';

/** A queue whose records take as long as they say, by a clock of its own; a slot's party is its tens. */
class Desk {
  nowMs = 0;
  readonly done: { slot: number; requestId: number; extra: number }[] = [];
  readonly queue = new WorkQueue(
    (slot) => Math.floor(slot / 10),
    () => this.nowMs,
    () => this.nowMs,
  );
  #newest = 0;

  /** `count` records of the slot in one batch, each of which takes `ms`. */
  add(slot: number, count: number, ms: number, op: number = Op.decode, extra = 0): ArrayBuffer {
    const writer = new BatchWriter(BatchWriter.allocate());
    for (let i = 0; i < count; i++) writer.add(op, slot, ++this.#newest, 1000 * ms, 0, 0, extra);
    const batch = writer.finish();
    this.queue.add(new BatchReader(batch));
    return batch;
  }

  /** One turn; the batches of which nothing is left. */
  turn(): ArrayBuffer[] {
    const home: ArrayBuffer[] = [];
    const work = ({ slot, requestId, extra, type }: BatchReader) => {
      this.done.push({ slot, requestId, extra });
      this.nowMs += type / 1000;
    };
    this.queue.serve(work, (batch) => home.push(batch));
    return home;
  }

  rest(): ArrayBuffer[] {
    const home: ArrayBuffer[] = [];
    while (this.queue.length > 0) home.push(...this.turn());
    return home;
  }

  get slots(): number[] {
    return this.done.map(({ slot }) => slot);
  }
}

test('one record is before all that others have sent before it', (t) => {
  const desk = new Desk();
  desk.add(10, 1000, 0.1);
  desk.add(20, 1000, 0.1);
  desk.turn();
  desk.done.length = 0;
  desk.add(30, 1, 0.1);
  desk.turn();
  t.is(desk.slots[0], 30);
});

test('who has many slots has no more of the time than who has one', (t) => {
  const desk = new Desk();
  for (let slot = 10; slot < 20; slot++) desk.add(slot, 100, 0.25);
  desk.add(20, 100, 0.25);
  for (let i = 0; i < 10; i++) desk.turn();
  const mine = desk.slots.filter((slot) => slot === 20).length;
  t.true(Math.abs(mine - (desk.done.length - mine)) <= 2 * (0.5 / 0.25), `${mine} of ${desk.done.length}`);
});

test('who costs more for each record gets fewer of them done', (t) => {
  const desk = new Desk();
  desk.add(10, 1000, 1.5);
  desk.add(20, 1000, 0.125);
  for (let i = 0; i < 20; i++) desk.turn();
  const dear = desk.slots.filter((slot) => slot === 10).length;
  const cheap = desk.slots.length - dear;
  t.true(cheap > 8 * dear && cheap < 16 * dear, `${cheap} and ${dear}`);
});

test('what calls do between turns counts as well', (t) => {
  const desk = new Desk();
  desk.add(10, 1000, 0.1);
  desk.add(20, 1000, 0.1);
  desk.turn();
  desk.queue.charge(10, 50);
  desk.done.length = 0;
  for (let i = 0; i < 5; i++) desk.turn();
  t.true(desk.slots.every((slot) => slot === 20));
});

test('who has had much waits on new slots, too', (t) => {
  const desk = new Desk();
  desk.add(20, 1000, 0.1);
  desk.add(10, 1, 3);
  desk.turn();
  desk.done.length = 0;
  desk.add(11, 1, 0.1);
  desk.add(30, 1, 0.1);
  for (let i = 0; i < 3; i++) desk.turn();
  const order = [...new Set(desk.slots)];
  t.deepEqual(order, [30, 20, 11]);
});

test('a turn ends, and so it does where calls are set to do much after it', (t) => {
  const desk = new Desk();
  desk.add(10, 1000, 0.1);
  desk.turn();
  t.true(desk.nowMs >= 1 && desk.nowMs <= 10);
  const calls = new Desk();
  calls.add(10, 1000, 0, Op.call, 1 << 16);
  calls.turn();
  t.true(calls.done.length >= 16 && calls.done.length <= 256);
  const grants = new Desk();
  grants.add(10, 1, 0, Op.callGrant, 1 << 19);
  grants.add(20, 1, 0, Op.callGrant, 5);
  grants.turn();
  t.true(grants.slots.includes(20), 'a long grant is given in parts');
  grants.rest();
  const given = grants.done.filter(({ slot }) => slot === 10).reduce((sum, { extra }) => sum + extra, 0);
  t.is(given, 1 << 19);
});

test('whatever comes when: the records of a party stay in order, none is lost, and each batch comes home once', (t) => {
  const some = fc.record({
    slot: fc.integer({ min: 10, max: 49 }),
    count: fc.integer({ min: 1, max: 30 }),
    ms: fc.constantFrom(0, 0.01, 0.3, 2),
    op: fc.constantFrom<number>(Op.decode, Op.call, Op.callGrant),
    turns: fc.integer({ min: 0, max: 2 }),
  });
  fc.assert(
    fc.property(fc.array(some, { maxLength: 20 }), (all) => {
      const desk = new Desk();
      const sent = new Set<ArrayBuffer>();
      const home: ArrayBuffer[] = [];
      let records = 0;
      for (const { slot, count, ms, op, turns } of all) {
        sent.add(desk.add(slot, count, ms, op, 7));
        records += count;
        for (let i = 0; i < turns && desk.queue.length > 0; i++) home.push(...desk.turn());
      }
      home.push(...desk.rest());
      t.is(desk.done.length, records);
      t.is(new Set(home).size, home.length);
      t.is(home.length, sent.size);
      t.true(home.every((batch) => sent.has(batch)));
      for (const party of [1, 2, 3, 4]) {
        const ids = desk.done.flatMap(({ slot, requestId }) =>
          Math.floor(slot / 10) === party ? [requestId] : [],
        );
        t.deepEqual(
          ids,
          [...ids].sort((a, b) => a - b),
        );
      }
    }),
  );
});

for (const [batches, frames] of [
  [1, 5000],
  [100, 50],
]) {
  const title = `a thread that is to decode ${batches} × ${frames} frames decodes one of another party before most of them`;
  test(title, async (t) => {
    const { port1, port2: port } = new MessageChannel();
    t.teardown(() => port.close());
    const [trace, dropped, parties] = [new Trace(), new DroppedSlots(), new Parties()];
    const memory = { trace: trace.memory, dropped: dropped.memory, parties: parties.memory };
    const task = { handlers: [], cacheLevel: 3, codecs: [], coalesceMs: 0, dictionaries: [], ...memory };
    void new LaneThread({ port: port1, ...task }, new CodecRegistry(nativeCodecs()), trace).run();
    const zeros = new Uint8Array(64 << 10);
    const [first, next] = encodeAll(nativeZstd, [zeros, zeros], { level: 1 });
    const setup = { ...DEFAULT_LIMITS, profile: 'zstd-8mb', settings: [], suspect: 0 };
    const send = (slot: number, opens: boolean, count: number, isBehind = false) => {
      const writer = new BatchWriter(BatchWriter.allocate());
      const add = (op: number, payload: Uint8Array) => {
        writer.bytes.set(payload, writer.end);
        writer.add(op, slot, 0, 0, 0, payload.length);
      };
      if (opens) add(Op.openDecoder, Buffer.from(JSON.stringify(setup)));
      for (let i = 0; i < count; i++) add(Op.decode, opens && i === 0 ? first : next);
      const batch = writer.finish();
      port.postMessage({ batch, isBehind } satisfies LaneMessage, [batch]);
    };
    parties.set(0, 1);
    parties.set(1, 2);
    // What a main thread sends of so much that is more than its lane keeps up with.
    for (let i = 0; i < batches; i++) send(0, i === 0, frames, i >= 4);
    send(1, true, 1, batches >= 4);
    let before = 0;
    for await (const [{ batch }] of on(port, 'message') as AsyncIterable<[LaneMessage]>) {
      if (batch === undefined) continue;
      const reader = new BatchReader(batch);
      while (reader.next() && reader.slot === 0) before += reader.op === Op.decoded ? 1 : 0;
      if (reader.slot === 1) break;
    }
    t.true(before > 0 && before < (batches * frames) / 2, `after ${before}`);
  });
}

test('a lane that has enough to do gets what gathers meanwhile all the same, in no more memory than that takes', async (t) => {
  const { port1, port2 } = new MessageChannel();
  t.teardown(() => port2.close());
  const lane = new Lane(0, port1, (error) => t.fail(`${error}`), new Turns(setImmediate));
  const sizes: number[] = [];
  const owner = { writer: undefined, onFrame() {}, onRecord() {}, onLost() {} };
  const slot = lane.open(owner, t);
  t.is(lane.parties.of(slot), partyOf(t));
  t.is(partyOf(t), partyOf(t));
  t.not(partyOf(owner), partyOf(t));
  lane.input.add(Op.decode, slot, 1, 0, 0, new Uint8Array(100));
  for await (const [{ batch }] of on(port2, 'message') as AsyncIterable<[LaneMessage]>) {
    if (batch === undefined) continue;
    const reader = new BatchReader(batch);
    t.true(reader.next());
    t.is(reader.requestId, sizes.push(batch.byteLength));
    t.is(reader.payload.length, 100);
    if (sizes.length === 4) break;
    lane.input.add(Op.decode, slot, sizes.length + 1, 0, 0, new Uint8Array(100));
  }
  t.deepEqual(sizes.slice(0, 2), [BATCH_SIZE, BATCH_SIZE]);
  t.true(sizes.slice(2).every((size) => size < 200));
  t.true(lane.queuedBytes >= 400 && lane.queuedBytes < 600);
});
