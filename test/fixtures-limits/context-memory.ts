/** Prints how many bytes of resident memory one context takes: `<profile> enc|dec <level> [windowLog [tuning]]`; wants --expose-gc. */
import { readFileSync } from 'node:fs';
import type { Tuning } from '../../src/encoding/codec.ts';
import { nativeCodecs } from '../../src/encoding/native.ts';

const [profile, kind, level, windowLog, tuning] = process.argv.slice(2);
const options = {
  level: Number(level),
  windowLog: windowLog === undefined ? undefined : Number(windowLog),
  tuning: tuning as Tuning | undefined,
};
const LIMITS = { maxDecodedSize: 1 << 20, maxDecodedRatio: 1000, maxWindowSize: 8 << 20 };
const FRAME = 32_768;
// zlib's contexts are small: many of them, or what was free before is all they take.
const [COUNT, INPUT] = profile === 'zlib' ? [100, 256 << 10] : [8, 8 << 20];

const codec = nativeCodecs().find((each) => each.profile === profile)!;
const input = new Uint8Array(INPUT);
for (let i = 0, x = 1; i < input.length; i++) {
  x = (x * 1_103_515_245 + 12_345) & 0x7fffffff;
  input[i] = ((x >> 16) % 64) + 32;
}
const target = new Uint8Array(2 * FRAME);
const frames: Uint8Array[] = [];
const sample = codec.createEncoder!(options);
for (let at = 0; at < input.length; at += FRAME) {
  const length = sample.encode(input.subarray(at, at + FRAME), target, 0);
  if (kind === 'dec') frames.push(target.slice(0, length));
}
sample.close();

function residentBytes(): number {
  globalThis.gc!();
  return 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]);
}

/** A context that has seen enough to have touched all that it has taken. */
function used() {
  if (kind === 'enc') {
    const encoder = codec.createEncoder!(options);
    for (let at = 0; at < input.length; at += FRAME)
      encoder.encode(input.subarray(at, at + FRAME), target, 0);
    return encoder;
  }
  const decoder = codec.createDecoder(LIMITS, codec.settings(options));
  for (const frame of frames) decoder.decode(frame);
  return decoder;
}

const before = residentBytes();
const contexts = Array.from({ length: COUNT }, used);
process.stdout.write(String(Math.round((residentBytes() - before) / COUNT)));
for (const context of contexts) context.close();
