/**
 * What the benches send. A compressor remembers up to 8 MiB, so a payload that came twice within that distance would
 * flatter every long-lived context: each kind here is a pool of distinct payloads, taken in order, and the pool is
 * larger than the window for every stream it is spread over. Kinds are named by a short string, so that server and
 * client, in their own processes, make the same bytes from the name and the seed.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Random } from '../src/experiment/traffic/random.ts';
import { RECORD_KINDS, type RecordKind, record } from '../src/experiment/traffic/records.ts';

/** The largest window that any profile allows (protocol B-profiles, `zstd-8mb`). */
const WINDOW_BYTES = 8 * 1024 * 1024;
export const FRAME_BYTES = 32 * 1024;
/** Files above this are bundles and data, not text that someone wrote. */
const SOURCE_FILE_BYTES = 100 * 1024;

export interface PayloadSpec {
  /** `json200`, `json900`, `json4k`, `text4k`, `text32k`, `text1m`, `random900`, `random32k`, or `corpus:PATH` of a directory or file. */
  readonly name: string;
  readonly seed: number;
  /** Streams that share the sequence; the pool grows with them. Default 1. */
  readonly streams?: number;
}

/** What a report says about the payloads. */
export interface PayloadNote {
  readonly name: string;
  readonly description: string;
  readonly seed: number;
  /** As in {@link PayloadSpec}: name, seed and streams make the same payloads again. */
  readonly streams: number;
  readonly count: number;
  readonly bytes: number;
  /** Of all payloads in order: two runs with the same digest had the same bytes. */
  readonly sha256: string;
}

export interface Payloads extends PayloadNote {
  /** Payload `i mod count`. The bytes are shared: do not change or transfer them. */
  get(i: number): Buffer;
}

/** Bytes of the payloads that are source text, by their names. */
const TEXT_BYTES: Readonly<Record<string, number>> = {
  text4k: 4 * 1024,
  text32k: FRAME_BYTES,
  text1m: 1024 * 1024,
};

export const PAYLOAD_NAMES = [
  ...Object.keys(RECORD_KINDS),
  ...Object.keys(TEXT_BYTES),
  'random900',
  'random32k',
] as const;

/** @throws Error when a corpus or the source text at hand is too small for the window. */
export function makePayloads({ name, seed, streams = 1 }: PayloadSpec): Payloads {
  const minimum = 2 * WINDOW_BYTES * streams;
  const { description, pool } = generate(name, new Random(seed), minimum);
  const bytes = pool.reduce((sum, each) => sum + each.length, 0);
  if (bytes < minimum) {
    throw new Error(
      `payloads '${name}' hold ${mebibytes(bytes)}, and ${mebibytes(minimum)} are needed so that none repeats inside the window`,
    );
  }
  const hash = createHash('sha256');
  for (const each of pool) hash.update(each);
  const count = pool.length;
  return {
    name,
    description: `${description}, ${Math.round(bytes / count)} bytes on average`,
    seed,
    streams,
    count,
    bytes,
    sha256: hash.digest('hex').slice(0, 16),
    get: (i) => pool[i % count] as Buffer,
  };
}

export function noteOf({ name, description, seed, streams, count, bytes, sha256 }: PayloadNote): PayloadNote {
  return { name, description, seed, streams, count, bytes, sha256 };
}

function generate(name: string, random: Random, minimum: number): { description: string; pool: Buffer[] } {
  if (name in RECORD_KINDS) {
    return { description: 'JSON API records', pool: records(name as RecordKind, random, minimum) };
  }
  if (Object.hasOwn(TEXT_BYTES, name)) {
    const size = TEXT_BYTES[name];
    const root = join(import.meta.dirname, '..', 'node_modules');
    const pool = frames(sourceFiles(root, /\.[cm]?[jt]s$|\.md$/, SOURCE_FILE_BYTES), random, minimum, size);
    const real = pool.length;
    while (pool.length * size < minimum) pool.push(...exchangeWords(pool.slice(0, real), random));
    return { description: `source text (.js, .ts, .md) in ${size / 1024} KiB frames`, pool };
  }
  const noise = /^random(900|32k)$/.exec(name);
  if (noise) {
    const size = noise[1] === '900' ? 900 : FRAME_BYTES;
    return { description: 'incompressible bytes', pool: randomBytes(size, random, minimum) };
  }
  if (name.startsWith('corpus:')) {
    const path = name.slice('corpus:'.length);
    return { description: `corpus in 32 KiB frames`, pool: frames(sourceFiles(path), random, Infinity) };
  }
  throw new Error(`no payloads '${name}'; there are ${PAYLOAD_NAMES.join(', ')} and corpus:PATH`);
}

function records(kind: RecordKind, random: Random, minimum: number): Buffer[] {
  const pool: Buffer[] = [];
  for (let total = 0; total < minimum; total += pool.at(-1)?.length ?? 0) {
    pool.push(Buffer.from(record(kind, random, pool.length + 1)));
  }
  return pool;
}

function randomBytes(size: number, random: Random, minimum: number): Buffer[] {
  return Array.from({ length: Math.ceil(minimum / size) }, () => {
    const words = new Uint32Array(size / 4);
    for (let at = 0; at < words.length; at++) words[at] = random.u32();
    return Buffer.from(words.buffer);
  });
}

/** Files in shuffled order, one after the other, cut into frames of `size`; a file that repeats another is left out. */
function frames(paths: string[], random: Random, minimum: number, size = FRAME_BYTES): Buffer[] {
  const seen = new Set<string>();
  const pool: Buffer[] = [];
  let rest: Buffer[] = [];
  let restBytes = 0;
  for (const path of random.shuffle(paths)) {
    const content = readFileSync(path);
    const digest = createHash('sha256').update(content).digest('hex');
    if (seen.has(digest)) continue;
    seen.add(digest);
    rest.push(content);
    restBytes += content.length;
    if (restBytes < size) continue;
    const text = Buffer.concat(rest);
    const whole = text.length - (text.length % size);
    for (let at = 0; at < whole; at += size) pool.push(text.subarray(at, at + size));
    rest = [text.subarray(whole)];
    restBytes = text.length - whole;
    if (pool.length * size >= minimum) return pool;
  }
  if (restBytes > 0) pool.push(Buffer.concat(rest));
  return pool;
}

/**
 * The same text with every longer word exchanged for another of its length, one for one: new bytes that compress as
 * the old ones do, for when many streams need more text than there is.
 */
function exchangeWords(text: Buffer[], random: Random): Buffer[] {
  const pages = text.map((frame) => frame.toString('latin1'));
  const byLength = new Map<number, Set<string>>();
  const words = /[A-Za-z]{3,}/g;
  for (const page of pages) {
    for (const [word] of page.matchAll(words)) {
      const sameLength = byLength.get(word.length) ?? new Set();
      byLength.set(word.length, sameLength.add(word));
    }
  }
  const other = new Map<string, string>();
  for (const set of byLength.values()) {
    const exchanged = random.shuffle([...set]);
    for (const word of set) other.set(word, exchanged.pop() as string);
  }
  return pages.map((page) =>
    Buffer.from(
      page.replace(words, (word) => other.get(word) as string),
      'latin1',
    ),
  );
}

/**
 * Regular files under `root` in one order on every machine; `root` may itself be a file. Hidden folders directly in it
 * are left out: they are their owners' scratch, `.git` or those of tools in node_modules, and may vanish meanwhile.
 */
function sourceFiles(root: string, pattern = /./, largest = Infinity): string[] {
  if (statSync(root).isFile()) return [root];
  const top = readdirSync(root, { withFileTypes: true });
  const below = top
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .flatMap(({ name }) => readdirSync(join(root, name), { recursive: true, withFileTypes: true }));
  return [...top, ...below]
    .filter((entry) => entry.isFile() && pattern.test(entry.name) && !entry.name.includes('.min.'))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => statSync(path).size <= largest)
    .sort((a, b) => (relative(root, a) < relative(root, b) ? -1 : 1));
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}
