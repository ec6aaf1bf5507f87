/** Batches by themselves, without lanes: what one side fills in, the other reads. */

import test from 'ava';
import fc from 'fast-check';
import { BATCH_SIZE, BatchReader, BatchWriter, freeBatch } from '../../workers/batch.ts';
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
      t.deepEqual(unpackIdentity(packIdentity({ serial, mark, suspect })), { serial, mark, suspect });
    }),
  );
  fc.assert(
    fc.property(fc.constantFrom('cancelled', 'x'), fc.string(), (code, message) => {
      t.deepEqual(unpackFailure(packFailure({ code, message })), { code, message });
    }),
  );
  t.is(unpackFailure(packFailure(undefined)), undefined);
});
