/** Cached output of one request: looked up or promised to the cache, and spliced into the connection piece by piece. */

import { ZSTD_DICT } from '../encoding/profiles.ts';
import type { CacheEntry, ResponseCache } from '../lanes/cache.ts';
import type { CacheStream } from '../lanes/cache-stream.ts';
import { BytesResponseFlag, DEFAULT_FRAME_SIZE, HEADER_SIZE } from '../wire/frame.ts';
import type { ServedRequest } from './request.ts';

/** Response bytes in a piece of a cached output. */
const CACHED_PIECE = DEFAULT_FRAME_SIZE;

export class CacheSplice {
  readonly #request: ServedRequest;
  readonly #cache: ResponseCache;
  /** Key that we have promised the cache to fill. */
  #promised: string | undefined;
  #stream: CacheStream | undefined;
  /** Set while another request produces what this one has looked up. */
  #stopAwaiting: (() => void) | undefined;

  constructor(request: ServedRequest) {
    this.#request = request;
    this.#cache = request.session.shared.cache;
  }

  /** Whether this response's output may be spliced; sensitive output, which is not encoded, is not shared (protocol D). */
  get possible(): boolean {
    const { session, stream, flow } = this.#request;
    const { splicing, router } = session;
    if (!this.#cache.enabled || splicing === undefined) return false;
    // Who decodes with a dictionary decodes without one.
    if (stream?.profile !== splicing.profile && stream?.profile !== ZSTD_DICT) return false;
    return router.options.frameSize >= CACHED_PIECE && flow.canEverSend(CACHED_PIECE);
  }

  /** Calls `hit` with the entry for `key`, or `miss` when it is for us to {@link fill} it or to {@link breakPromise}. */
  lookup(key: string, hit: (entry: CacheEntry) => void, miss: () => void): void {
    const answer = (entry: CacheEntry | undefined) => {
      this.#stopAwaiting = undefined;
      if (entry !== undefined) hit(entry);
      else if (!this.#request.open) this.#cache.abandon(key);
      else {
        this.#promised = key;
        miss();
      }
    };
    const stopAwaiting = () => this.#cache.forget(key, answer);
    this.#stopAwaiting = stopAwaiting;
    this.#cache.lookup(key, answer);
  }

  /** True until what was promised is filled or given up. */
  get promised(): boolean {
    return this.#promised !== undefined;
  }

  fill(entry: CacheEntry): void {
    if (this.#promised !== undefined) this.#cache.fill(this.#promised, entry);
    this.#promised = undefined;
  }

  breakPromise(): void {
    if (this.#promised !== undefined) this.#cache.abandon(this.#promised);
    this.#promised = undefined;
  }

  /**
   * Cached pieces cannot be cut to what is left of a window, and a client need not grant more before that is used up:
   * an entry that the window does not hold as a whole goes the ordinary way.
   */
  fits(entry: CacheEntry): boolean {
    const { session, flow } = this.#request;
    // Its window is as large as it is, up to what the profile promises.
    return entry.rawLength <= Math.min(flow.credit, session.splicing?.maxSize ?? 0);
  }

  /** Sends an entry on a cache stream, with nothing else between its pieces; nothing of the request is in a lane. */
  send(entry: CacheEntry, last: boolean, then: () => void): void {
    const { open, session } = this.#request;
    if (!open || session.splicing === undefined) return;
    const { streams, profile } = session.splicing;
    streams.acquire((stream) => {
      if (!this.#request.open) {
        streams.release(stream, true);
        return;
      }
      this.#stream = stream;
      this.#sendPieces(profile, entry, 0, last, then);
    });
  }

  /** The request is over: lets go of what it has. */
  end(): void {
    this.#stopAwaiting?.();
    this.breakPromise();
    if (this.#stream !== undefined) this.#release(this.#stream, false);
  }

  #sendPieces(profile: string, entry: CacheEntry, from: number, last: boolean, then: () => void): void {
    const { open, flow, id } = this.#request;
    const stream = this.#stream;
    if (!open || stream === undefined) return;
    for (let i = from; i < entry.pieces.length; i++) {
      const rawLength = Math.min(CACHED_PIECE, entry.rawLength - i * CACHED_PIECE);
      if (flow.availableNow(rawLength) < rawLength) {
        flow.wait(() => this.#sendPieces(profile, entry, i, last, then));
        return;
      }
      const final = last && i === entry.pieces.length - 1;
      const flags = final ? BytesResponseFlag.eos : BytesResponseFlag.continuation;
      flow.take(rawLength);
      flow.sentNow(rawLength);
      stream.send(profile, id, flags, entry.pieces[i], rawLength);
      this.#request.passed(rawLength, HEADER_SIZE + entry.pieces[i].length);
    }
    this.#release(stream, true);
    then();
  }

  /** `whole`: the output was sent to its end. */
  #release(stream: CacheStream, whole: boolean): void {
    this.#stream = undefined;
    this.#request.session.splicing?.streams.release(stream, whole);
  }
}
