/** The cache of outputs compressed once: complete zstd frames, least recently used out first. */

import { LRUCache } from 'lru-cache';

/** One cached output. */
export interface CacheEntry {
  /** Payloads of encoded frames that follow each other; together one complete zstd frame. */
  readonly pieces: readonly Uint8Array[];
  /** Bytes before encoding. */
  readonly rawLength: number;
}

/** Overhead that an entry is charged beside its bytes. */
const ENTRY_COST = 256;

export class ResponseCache {
  readonly #entries: LRUCache<string, CacheEntry>;
  /** Keys that are being produced, with those who wait for the outcome. */
  readonly #producing = new Map<string, ((entry: CacheEntry | undefined) => void)[]>();
  readonly maxBytes: number;
  hits = 0;
  misses = 0;

  /** `maxBytes`: budget for all entries; 0 caches nothing. */
  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
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
  lookup(key: string, answer: (entry: CacheEntry | undefined) => void): void {
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
  forget(key: string, answer: (entry: CacheEntry | undefined) => void): void {
    const waiters = this.#producing.get(key);
    const at = waiters?.indexOf(answer) ?? -1;
    if (at >= 0) waiters?.splice(at, 1);
  }

  fill(key: string, entry: CacheEntry): void {
    const size = entry.pieces.reduce((sum, piece) => sum + piece.length, ENTRY_COST + 2 * key.length);
    this.#entries.set(key, entry, { size });
    const waiters = this.#producing.get(key) ?? [];
    this.#producing.delete(key);
    for (const answer of waiters) {
      this.hits++;
      answer(entry);
    }
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
