/** Bytes that tests send about: repeatable, known by size and seed, some compressible and some not. */

import { createHash } from 'node:crypto';

const WORDS = 'stream frame request lane batch router flush window credit drain encoder decoder'.split(' ');

/** Numbers from 0 up to 2^32, the same for the same seed (mulberry32). */
export function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}

/** `size` bytes: words, and every seventh stretch noise. */
export function sample(size: number, seed: number): Uint8Array {
  const next = numbers(seed);
  const bytes = new Uint8Array(size);
  const utf8 = new TextEncoder();
  for (let at = 0, stretch = 0; at < size; stretch++) {
    const noisy = (stretch + seed) % 7 === 6;
    const end = Math.min(size, at + 512 + (next() % 2048));
    while (at < end) {
      if (noisy) bytes[at++] = next();
      else {
        const word = utf8.encode(`${WORDS[next() % WORDS.length]} ${next() % 1000} `);
        const length = Math.min(word.length, end - at);
        bytes.set(word.subarray(0, length), at);
        at += length;
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
