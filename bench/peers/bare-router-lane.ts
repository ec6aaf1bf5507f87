/** The worker of the bare router: a context per connection, encoded frames for each batch of requests. */
import { parentPort, workerData } from 'node:worker_threads';
import type { Encoder } from '../../src/encoding/codec.ts';
import { nativeCodecs } from '../../src/encoding/native.ts';
import type { SharedPayloads } from '../lane-handler.ts';
import { type Answers, type Batch, HEAD_BYTES, REQUEST_BYTES } from './bare-router.ts';

const { payloads, level } = workerData as { payloads: SharedPayloads; level: number };
const { bytes, ends } = payloads;
const codec = nativeCodecs()[0]!;
const encoders = new Map<number, Encoder>();

parentPort!.on('message', ({ connection, requests, count }: Batch) => {
  let encoder = encoders.get(connection);
  if (encoder === undefined) {
    encoder = codec.createEncoder!({ level });
    encoders.set(connection, encoder);
  }
  const view = new DataView(requests.buffer);
  const chunks = Array.from({ length: count }, (_, n) =>
    payload(view.getUint32(n * REQUEST_BYTES + HEAD_BYTES, true)),
  );
  const room = chunks.reduce((sum, { length }) => sum + HEAD_BYTES + encoder.bound(length), 0);
  const frames = new Uint8Array(room);
  const head = new DataView(frames.buffer);
  let length = 0;
  for (const [n, chunk] of chunks.entries()) {
    const made = encoder.encode(chunk, frames, length + HEAD_BYTES);
    head.setUint32(length, made, true);
    head.setUint16(length + 3, view.getUint16(n * REQUEST_BYTES + 3, true), true);
    length += HEAD_BYTES + made;
  }
  const answers: Answers = { connection, requests, count, frames, length };
  parentPort!.postMessage(answers, [requests.buffer, frames.buffer]);
});

function payload(i: number): Uint8Array {
  const index = i % ends.length;
  const start = index === 0 ? 0 : ends[index - 1]!;
  return new Uint8Array(bytes, start, ends[index]! - start);
}
