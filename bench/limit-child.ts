/**
 * One process that runs C libzstd and our encoder over the same chunks in turns and prints what each took. Started by
 * limit.ts with `--experimental-ffi`, by which the compiled C is called inside this very process and against this
 * executable's own libzstd.
 */
import { dlopen } from 'node:ffi';
import { nativeCodecs } from '../src/encoding/native.ts';
import { makePayloads, type PayloadSpec } from './payloads.ts';

export interface LimitTask {
  readonly library: string;
  readonly payloads: PayloadSpec;
  readonly level: number;
  readonly rounds: number;
}

/** Microseconds of CPU per chunk, one value per round; bytes for all chunks. */
export interface LimitRounds {
  readonly implementation: string;
  readonly chunks: number;
  readonly inBytes: number;
  readonly c: number[];
  readonly cBytes: number;
  readonly ours: number[];
  readonly ourBytes: number;
}

const task = JSON.parse(process.argv[2]!) as LimitTask;
const payloads = makePayloads(task.payloads);
const chunks = Array.from({ length: payloads.count }, (_, i) => payloads.get(i));
const data = Buffer.concat(chunks);
const lengths = Uint32Array.from(chunks, ({ length }) => length);

const { functions } = dlopen(task.library, {
  limit_run: { arguments: ['buffer', 'buffer', 'uint32', 'int32', 'buffer'], return: 'int32' },
});

function runC(): { cpu: number; bytes: number } {
  const result = new Float64Array(2);
  if (functions.limit_run(data, lengths, lengths.length, task.level, result) !== 0)
    throw new Error('limit.c failed');
  return { cpu: result[0]! / 1000 / chunks.length, bytes: result[1]! };
}

const codec = nativeCodecs()[0]!;

function runOurs(): { cpu: number; bytes: number } {
  const encoder = codec.createEncoder!({ level: task.level });
  const target = new Uint8Array(encoder.bound(Math.max(...lengths)));
  let bytes = 0;
  const before = process.threadCpuUsage();
  // The same bytes at the same addresses as C reads: what the caches hold is the same for both.
  let at = 0;
  for (const length of lengths) {
    bytes += encoder.encode(data.subarray(at, at + length), target, 0);
    at += length;
  }
  const { user, system } = process.threadCpuUsage(before);
  encoder.close();
  return { cpu: (user + system) / chunks.length, bytes };
}

const c: number[] = [];
const ours: number[] = [];
let cBytes = 0;
let ourBytes = 0;
runOurs();
for (let round = 0; round < task.rounds; round++) {
  // Whoever runs second finds warmer caches: they take turns at that too.
  const oursFirst = round % 2 === 1 ? runOurs() : undefined;
  const theirRun = runC();
  const ourRun = oursFirst ?? runOurs();
  c.push(theirRun.cpu);
  ours.push(ourRun.cpu);
  cBytes = theirRun.bytes;
  ourBytes = ourRun.bytes;
}
console.log(
  JSON.stringify({
    implementation: codec.implementation,
    chunks: chunks.length,
    inBytes: data.length,
    c,
    cBytes,
    ours,
    ourBytes,
  } satisfies LimitRounds),
);
