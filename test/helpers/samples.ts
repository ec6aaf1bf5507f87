/** Bytes that tests send about: repeatable, known by size and seed, some compressible and some not. */

import { createHash } from 'node:crypto';
import { numbers } from './random.ts';

const WORDS = 'stream frame request lane batch router flush window credit drain encoder decoder'.split(' ');

const utf8 = new TextEncoder();
const SPACED_WORDS = WORDS.map((word) => utf8.encode(`${word} `));
const SPACED_NUMBERS = Array.from({ length: 1000 }, (_, i) => utf8.encode(`${i} `));

/** `size` bytes: words, and every seventh stretch noise. */
export function sample(size: number, seed: number): Uint8Array {
  const next = numbers(seed);
  const bytes = new Uint8Array(size);
  let at = 0;
  const put = (piece: Uint8Array, end: number) => {
    for (let i = 0; i < piece.length && at < end; i++) bytes[at++] = piece[i];
  };
  for (let stretch = 0; at < size; stretch++) {
    const noisy = (stretch + seed) % 7 === 6;
    const end = Math.min(size, at + 512 + (next() % 2048));
    while (at < end) {
      if (noisy) bytes[at++] = next();
      else {
        put(SPACED_WORDS[next() % WORDS.length], end);
        put(SPACED_NUMBERS[next() % 1000], end);
      }
    }
  }
  return bytes;
}

/** A short name for bytes, for comparisons whose failures people have to read. */
export function digest(bytes: Uint8Array): string {
  return `${bytes.length} bytes, sha256 ${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`;
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
