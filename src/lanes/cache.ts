/** The cache of outputs compressed once: complete zstd frames, least recently used out first. */

import { LRUCache } from 'lru-cache';
import { type Slice, type Turns, Work } from '../connection/turns.ts';

/** One cached output. */
export interface CacheEntry {
  /** Payloads of encoded frames that follow each other; together one complete zstd frame. */
  readonly pieces: readonly Uint8Array[];
  /** Bytes before encoding. */
  readonly rawLength: number;
}

/** Overhead that an entry is charged beside its bytes. */
const ENTRY_COST = 256;

type Answer = (entry: CacheEntry | undefined) => void;

export class ResponseCache {
  readonly #turns: Turns;
  readonly #entries: LRUCache<string, CacheEntry>;
  /** Keys that are being produced, with those who wait for the outcome. */
  readonly #producing = new Map<string, Answer[]>();
  /** Those of keys that have been produced, until they are answered: oldest first. */
  readonly #answering = new Map<Answer, CacheEntry>();
  readonly #answers = new Work((slice) => this.#answer(slice), true);
  readonly maxBytes: number;
  hits = 0;
  misses = 0;

  /** `maxBytes`: budget for all entries; 0 caches nothing. `turns`: when those who wait are answered. */
  constructor(maxBytes: number, turns: Turns) {
    this.maxBytes = maxBytes;
    this.#turns = turns;
    this.#entries = new LRUCache({
      maxSize: Math.max(1, maxBytes),
      maxEntrySize: Math.max(1, maxBytes >> 2),
    });
  }

  get enabled(): boolean {
    return this.maxBytes > 0;
  }

  get bytes(): number {
    return this.#entries.calculatedSize;
  }

  get entries(): number {
    return this.#entries.size;
  }

  /**
   * Answers with the entry, or with undefined: then the asker must produce it, and end in {@link fill} or
   * {@link abandon}. While one asker produces, others of the same key wait.
   */
  lookup(key: string, answer: Answer): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined) {
      this.hits++;
      answer(entry);
      return;
    }
    const waiters = this.#producing.get(key);
    if (waiters !== undefined) {
      waiters.push(answer);
      return;
    }
    this.misses++;
    this.#producing.set(key, []);
    answer(undefined);
  }

  /** Who waits for `key` wants no answer any more. */
  forget(key: string, answer: Answer): void {
    this.#answering.delete(answer);
    const waiters = this.#producing.get(key);
    const at = waiters?.indexOf(answer) ?? -1;
    if (at >= 0) waiters?.splice(at, 1);
  }

  fill(key: string, entry: CacheEntry): void {
    const size = entry.pieces.reduce((sum, piece) => sum + piece.length, ENTRY_COST + 2 * key.length);
    this.#entries.set(key, entry, { size });
    const waiters = this.#producing.get(key) ?? [];
    this.#producing.delete(key);
    for (const answer of waiters) this.#answering.set(answer, entry);
    if (waiters.length > 0) this.#turns.readyLater(this.#answers);
  }

  /** A crowd that waits for one entry is not answered in one turn. */
  #answer(slice: Slice): boolean {
    for (const [answer, entry] of this.#answering) {
      this.#answering.delete(answer);
      this.hits++;
      answer(entry);
      if (slice.count(0)) break;
    }
    return this.#answering.size > 0;
  }

  /** Producing failed: the next in line has to try. */
  abandon(key: string): void {
    const waiters = this.#producing.get(key);
    if (waiters === undefined) return;
    const next = waiters.shift();
    if (next === undefined) this.#producing.delete(key);
    else next(undefined);
  }
}
