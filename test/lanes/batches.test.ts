/** Batches by themselves: what one side fills in, the other reads; and when they leave. */

import { on } from 'node:events';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import type { Transport } from '../../src/connection/transport.ts';
import { TurnShare, Turns } from '../../src/connection/turns.ts';
import { Writer } from '../../src/connection/writer.ts';
import { nativeCodecs } from '../../src/encoding/native.ts';
import { CodecRegistry } from '../../src/encoding/registry.ts';
import { HandedFrames } from '../../src/lanes/handed-frames.ts';
import { Lane, type SlotOwner } from '../../src/lanes/lane.ts';
import { Gate } from '../../src/reactor/gate.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import {
  BATCH_SIZE,
  BatchReader,
  BatchWriter,
  EARLY_RECORDS,
  freeBatch,
  SPARE_BATCHES,
} from '../../workers/batch.ts';
import { DroppedSlots } from '../../workers/dropped.ts';
import { type LaneTask, LaneThread } from '../../workers/lane.ts';
import { LaneOutput } from '../../workers/lane-output.ts';
import {
  packedSize,
  packFailure,
  packIdentity,
  packPieces,
  unpackFailure,
  unpackIdentity,
  unpackPieces,
  writePieces,
} from '../../workers/packed.ts';
import { Parties } from '../../workers/parties.ts';
import { type LaneMessage, Op } from '../../workers/records.ts';
import { Trace } from '../../workers/trace.ts';

// ------------------------------------------------------------------ what one side fills in, the other reads

const U32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const RECORD = fc.record({
  op: fc.nat(0xff),
  flags: fc.nat(0xff),
  type: fc.nat(0xffff),
  slot: U32,
  requestId: U32,
  extra: U32,
  payload: fc.uint8Array({ maxLength: 100 }),
});
const PIECES = fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 20 });

function read(batch: ArrayBuffer) {
  const records = [];
  for (const reader = new BatchReader(batch); reader.next(); ) {
    const { op, flags, type, slot, requestId, extra } = reader;
    records.push({ op, flags, type, slot, requestId, extra, payload: reader.payload.slice() });
  }
  return records;
}

test('records and payloads come out of a batch as they went in, in their order', (t) => {
  fc.assert(
    fc.property(fc.array(RECORD, { maxLength: 50 }), (records) => {
      const writer = new BatchWriter(new ArrayBuffer(8192));
      for (const { op, slot, requestId, type, flags, payload, extra } of records) {
        if (!writer.fits(payload.length)) throw new Error(`no room after ${writer.count} records`);
        writer.bytes.set(payload, writer.end);
        writer.add(op, slot, requestId, type, flags, payload.length, extra);
      }
      t.is(writer.count, records.length);
      t.is(writer.empty, records.length === 0);
      t.deepEqual(read(writer.finish()), records);
    }),
  );
});

test('payloads of records that follow each other lie in one piece', (t) => {
  const writer = new BatchWriter(BatchWriter.allocate());
  for (const length of [3, 0, 5]) writer.add(1, 0, 0, 0, 0, length);
  const reader = new BatchReader(writer.finish());
  let end = 8;
  while (reader.next()) {
    t.is(reader.offset, end);
    end += reader.length;
  }
  t.is(end, 16);
});

test('a batch has room for one payload of any size, and says when it has none for another', (t) => {
  const most: [length: number, count: number][] = [
    [0, (BATCH_SIZE - 8) / 24],
    [900, (BATCH_SIZE - 8) / 924],
    [BATCH_SIZE, 1],
    [BATCH_SIZE + 3, 1],
  ];
  for (const [length, count] of most) {
    const writer = new BatchWriter(BatchWriter.allocate(length));
    while (writer.fits(length)) writer.add(1, 0, 0, 0, 0, length);
    t.is(writer.count, Math.floor(count));
    const read = new BatchReader(writer.finish());
    let bytes = 0;
    while (read.next()) bytes += read.length;
    t.is(bytes, Math.floor(count) * length);
  }
});

test('the memory of a batch that is not needed is given back at once', (t) => {
  const buffer = BatchWriter.allocate();
  freeBatch(buffer);
  t.true(buffer.detached);
});

test('packed pieces come apart as they were, in memory of their own', (t) => {
  fc.assert(
    fc.property(PIECES, fc.nat(20), (pieces, at) => {
      t.deepEqual(unpackPieces(packPieces(pieces)), pieces);
      const target = new Uint8Array(at + packedSize(pieces));
      writePieces(target, at, pieces);
      const unpacked = unpackPieces(target.subarray(at));
      target.fill(0);
      t.deepEqual(unpacked, pieces);
    }),
  );
});

test('what tells a call from others, and why it is stopped, come apart as they were', (t) => {
  fc.assert(
    fc.property(fc.maxSafeNat(), U32, U32, (serial, mark, suspect) => {
      const packed = packIdentity({ serial, mark, suspect }).slice();
      packIdentity({ serial: 0, mark: 0, suspect: 0 });
      t.deepEqual(unpackIdentity(packed), { serial, mark, suspect });
    }),
  );
  fc.assert(
    fc.property(fc.constantFrom('cancelled', 'x'), fc.string(), (code, message) => {
      t.deepEqual(unpackFailure(packFailure({ code, message })), { code, message });
    }),
  );
  t.is(unpackFailure(packFailure(undefined)), undefined);
});

// --------------------------------------------------------------------------------------- when batches leave

const NOTHING = new Uint8Array(0);
const utf8 = new TextEncoder();

/** The batches that come out of `port`, as the operations and request IDs of their records. */
async function* batchesFrom(port: MessagePort): AsyncGenerator<{ op: number; requestId: number }[]> {
  for await (const [{ batch }] of on(port, 'message') as AsyncIterable<[LaneMessage]>) {
    if (batch === undefined) continue;
    const records: { op: number; requestId: number }[] = [];
    const reader = new BatchReader(batch);
    while (reader.next()) records.push({ op: reader.op, requestId: reader.requestId });
    yield records;
  }
}

const ids = (records: { requestId: number }[]) => records.map(({ requestId }) => requestId);
const upTo = (count: number, from = 1) => Array.from({ length: count }, (_, i) => from + i);

test('an idle lane gets many records before the tick ends, a busy one at its end', async (t) => {
  const { port1, port2 } = new MessageChannel();
  t.teardown(() => port1.close());
  const lane = new Lane(0, port1, (error) => t.fail(String(error)), new Turns(setImmediate));
  for (const id of upTo(3 * EARLY_RECORDS)) lane.input.add(Op.encode, 0, id, 0, 0, NOTHING);
  const batches: number[][] = [];
  for await (const records of batchesFrom(port2)) if (batches.push(ids(records)) === 2) break;
  t.deepEqual(batches, [upTo(EARLY_RECORDS), upTo(2 * EARLY_RECORDS, EARLY_RECORDS + 1)]);
});

/** A lane's thread side, for which records gather until they are sent. */
function running(t: ExecutionContext, dropped = new DroppedSlots()) {
  const { port1, port2: port } = new MessageChannel();
  t.teardown(() => port.close());
  const trace = new Trace();
  const task: LaneTask = {
    port: port1,
    handlers: [],
    cacheLevel: 3,
    codecs: [],
    coalesceMs: 0,
    dictionaries: [],
    trace: trace.memory,
    dropped: dropped.memory,
    parties: new Parties().memory,
  };
  const lane = new LaneThread(task, new CodecRegistry(nativeCodecs()), trace);
  void lane.run();
  const asked = new BatchWriter(BatchWriter.allocate());
  const add = (op: number, id: number, payload: Uint8Array) => {
    asked.bytes.set(payload, asked.end);
    asked.add(op, 0, id, 3, 1, payload.length);
  };
  const send = () => {
    const batch = asked.finish();
    port.postMessage({ batch } satisfies LaneMessage, [batch]);
  };
  return { port, add, send };
}

test('what waits to be decoded for a slot that was dropped is passed over, and its next owner is decoded for', async (t) => {
  const dropped = new DroppedSlots();
  const { port, add, send } = running(t, dropped);
  const setup = utf8.encode(
    JSON.stringify({ ...DEFAULT_LIMITS, profile: 'identity', settings: [], suspect: 0 }),
  );
  add(Op.openDecoder, 0, setup);
  for (const id of upTo(9)) add(Op.decode, id, utf8.encode('of who has gone'));
  dropped.add(0);
  add(Op.close, 0, NOTHING);
  add(Op.openDecoder, 0, setup);
  add(Op.decode, 10, utf8.encode('of who is here'));
  send();
  for await (const records of batchesFrom(port)) {
    t.deepEqual(records, [
      { op: Op.closed, requestId: 0 },
      { op: Op.decoded, requestId: 10 },
    ]);
    break;
  }
});

test('a lane that closes a slot drops what waits there, unless that is still wanted', (t) => {
  const { port1 } = new MessageChannel();
  t.teardown(() => port1.close());
  const lane = new Lane(0, port1, (error) => t.fail(String(error)), new Turns(setImmediate));
  const owner: SlotOwner = { writer: undefined, onFrame() {}, onRecord() {}, onLost() {} };
  const [wanted, unwanted] = [lane.open(owner), lane.open(owner)];
  lane.close(wanted, true);
  lane.close(unwanted);
  t.deepEqual([lane.dropped.has(wanted), lane.dropped.has(unwanted)], [false, true]);
});

test('a lane hands on many finished frames while it works on, in order', async (t) => {
  const { port, add, send } = running(t);
  const setup = { streamId: 2, profile: 'zlib', frameSize: 32_768, perRequest: false };
  add(Op.openEncoder, 0, utf8.encode(JSON.stringify(setup)));
  const count = 2 * EARLY_RECORDS + 5;
  for (const id of upTo(count)) add(Op.encode, id, utf8.encode(`response ${id}`));
  send();
  const batches: number[][] = [];
  for await (const records of batchesFrom(port)) {
    t.true(records.every(({ op }) => op === Op.frame));
    batches.push(ids(records));
    if (batches.flat().length > count) break;
  }
  // Request 0 is the stream's settings.
  t.deepEqual(batches.flat(), [0, ...upTo(count)]);
  t.true(batches.every((each) => each.length <= EARLY_RECORDS + 1));
});

for (const [what, end] of [
  ['when the connection closes', (writer: Writer) => writer.close()],
  ['when a write fails', (_: Writer, fail: () => void) => fail()],
] as const) {
  test(`what a writer has on loan goes home ${what}`, (t) => {
    let fail = () => {};
    const transport = {
      write: (_: Uint8Array[], written: (error?: Error) => void) => {
        fail = () => written(new Error('reset'));
      },
      endOfTick: () => {},
    } as unknown as Transport;
    const turns = new Turns(() => {});
    const writer = new Writer(transport, new Gate(1000), new TurnShare(turns), turns.ends);
    let home = 0;
    writer.send(Uint8Array.of(1), () => home++);
    writer.flush();
    writer.send(Uint8Array.of(2), () => home++);
    t.is(home, 0, 'one is being written, one waits');
    end(writer, fail);
    t.is(home, 1);
    if (what === 'when a write fails') writer.close();
    else fail();
    t.is(home, 2);
    writer.send(Uint8Array.of(3), () => home++);
    t.is(home, 3, 'and what comes too late goes home at once');
  });
}

test('batches that come home and are too many give their memory back at once', (t) => {
  const { port1 } = new MessageChannel();
  t.teardown(() => port1.close());
  const output = new LaneOutput(port1);
  const batches = Array.from({ length: 20 }, () => BatchWriter.allocate());
  output.recycle(batches);
  const kept = batches.filter(({ detached }) => !detached);
  t.true(kept.length > 0 && kept.length < 10);
  t.true(batches.slice(kept.length).every(({ detached }) => detached));
});

/** A lane on this thread's side, and the thread's end of its port. */
function laneAlone(t: ExecutionContext<unknown>) {
  const { port1, port2 } = new MessageChannel();
  t.teardown(() => port2.close());
  const lane = new Lane(0, port1, (error) => t.fail(`${error}`), new Turns(setImmediate));
  const messages = on(port2, 'message');
  const next = async (): Promise<LaneMessage> => (await messages.next()).value?.[0];
  const answer = () => {
    const batch = new BatchWriter(BatchWriter.allocate()).finish();
    port2.postMessage({ batch } satisfies LaneMessage, [batch]);
  };
  const told = () => new Promise((resolve) => port1.once('message', resolve));
  return { lane, next, answer, told };
}

test('empty batches go home with the next that is full, not in messages of their own', async (t) => {
  const { lane, next, answer, told } = laneAlone(t);
  t.deepEqual(await next(), { ask: 'beat' });
  for (let i = 1; i < SPARE_BATCHES; i++) {
    const taken = told();
    answer();
    await taken;
  }
  lane.input.add(Op.renew, 0, 0, 0, 0, NOTHING);
  const { batch, spares } = await next();
  t.true(batch instanceof ArrayBuffer);
  t.is(spares?.length, SPARE_BATCHES - 1);
});

test('when the lane has no empty batches left they go home by themselves, all at once', async (t) => {
  const { next, answer } = laneAlone(t);
  t.deepEqual(await next(), { ask: 'beat' });
  for (let i = 0; i < SPARE_BATCHES; i++) answer();
  const { batch, spares } = await next();
  t.is(batch, undefined);
  t.is(spares?.length, SPARE_BATCHES);
});

/** Hands in a frame on each slot, its payload being its number there. */
function handIn(frames: HandedFrames, slots: readonly number[]): void {
  const counts: number[] = [];
  for (const slot of slots) {
    counts[slot] = (counts[slot] ?? 0) + 1;
    const payload = Uint8Array.of(counts[slot]);
    frames.add(slot, { requestId: 7, type: 1, flags: 1, payload, length: 1, credited: true });
  }
}

test('what a dead lane had not given back is told by slot, in order, without what it had', (t) => {
  const frames = new HandedFrames();
  handIn(frames, [0, 1, 0, 1, 2, 3, 0, 2, 3, 5]);
  for (const slot of [0, 1, 1, 2]) frames.returned(slot);
  frames.drop(3);
  frames.returned(3);
  const numbers = (slot: number) => frames.left(slot)?.map(({ payload }) => payload[0]);
  t.deepEqual([0, 1, 2, 3, 4, 5].map(numbers), [[2, 3], [], [2], [], [], [1]]);
});

test('where an encoder has failed, and where records could not be dealt with, nobody knows what is left', (t) => {
  const frames = new HandedFrames();
  handIn(frames, [0, 1]);
  frames.distrust(0);
  t.is(frames.left(0), undefined);
  t.is(frames.left(1)?.length, 1);
  frames.drop(0);
  handIn(frames, [0]);
  t.is(frames.left(0)?.length, 1);
  frames.distrustAll();
  t.deepEqual([frames.left(0), frames.left(1)], [undefined, undefined]);
});

test('nor where bytes were transferred that are still to go out', (t) => {
  const frames = new HandedFrames();
  handIn(frames, [0, 1]);
  structuredClone(frames.left(0)?.[0]?.payload.buffer, {
    transfer: [frames.left(0)?.[0]?.payload.buffer as ArrayBuffer],
  });
  t.is(frames.left(0), undefined);
  t.is(frames.left(1)?.length, 1);
});
