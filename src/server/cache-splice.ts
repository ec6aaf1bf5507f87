/** Cached output of one request: looked up or promised to the cache, and spliced into the connection piece by piece. */

import type { CacheEntry, ResponseCache } from '../lanes/cache.ts';
import type { CacheStream } from '../lanes/cache-stream.ts';
import type { LaneStream } from '../lanes/lane-stream.ts';
import type { Gate, Window } from '../reactor/flow.ts';
import { BytesResponseFlag, DEFAULT_FRAME_SIZE } from '../wire/frame.ts';

/** What splicing needs of the connection. */
export interface SplicePeer {
  /** Most payload bytes of a frame before encoding. */
  readonly frameSize: number;
  /** Initial window of each request, or undefined for no flow control (protocol C2). */
  readonly requestWindow: number | undefined;
  /** The connection's window (protocol C2). */
  readonly window: Window;
  /** The connection's output bound. */
  readonly output: Gate;
  readonly cache: ResponseCache;
  /** The profile of cached entries, or undefined when this peer cannot take them. */
  readonly cacheProfile: string | undefined;
  acquireCacheStream(use: (stream: CacheStream) => void): void;
  releaseCacheStream(stream: CacheStream, whole: boolean): void;
}

/** What splicing needs of its request. */
export interface SpliceRequest {
  readonly id: number;
  /** Nothing more of its output may be sent: it is over, or how it ends is on its way through a lane. */
  readonly ending: boolean;
  /** Response bytes that the request's window still holds. */
  readonly windowLeft: number;
  /** As a ResponseSink has them. */
  allowance(wanted: number): number;
  wait(resume: () => void): void;
  takeCredit(bytes: number): void;
  /** Calls `run` once what this request has handed to its lane is back: at once when it is. */
  afterLane(run: () => void): void;
}

/** Response bytes in a piece of a cached output. */
const CACHED_PIECE = DEFAULT_FRAME_SIZE;

export class CacheSplice {
  readonly #peer: SplicePeer;
  readonly #request: SpliceRequest;
  /** Key that we have promised the cache to fill. */
  #promised: string | undefined;
  #stream: CacheStream | undefined;
  /** Set while another request produces what this one has looked up. */
  #stopAwaiting: (() => void) | undefined;

  constructor(peer: SplicePeer, request: SpliceRequest) {
    this.#peer = peer;
    this.#request = request;
  }

  /** Whether output of a response on `stream` may be spliced; sensitive output, which has none, is not shared (protocol D). */
  possible(stream: LaneStream | undefined): boolean {
    const { cache, cacheProfile, requestWindow, frameSize, window, output } = this.#peer;
    if (!cache.enabled || cacheProfile === undefined || stream?.profile !== cacheProfile) return false;
    if (Math.min(frameSize, output.limit) < CACHED_PIECE) return false;
    return !window.limited && (requestWindow === undefined || requestWindow >= CACHED_PIECE);
  }

  /** Calls `hit` with the entry for `key`, or `miss` when it is for us to {@link fill} it or to {@link breakPromise}. */
  lookup(key: string, hit: (entry: CacheEntry) => void, miss: () => void): void {
    const answer = (entry: CacheEntry | undefined) => {
      this.#stopAwaiting = undefined;
      if (entry !== undefined) hit(entry);
      else if (this.#request.ending) this.#peer.cache.abandon(key);
      else {
        this.#promised = key;
        miss();
      }
    };
    this.#stopAwaiting = () => this.#peer.cache.forget(key, answer);
    this.#peer.cache.lookup(key, answer);
  }

  /** True until what was promised is filled or given up. */
  get promised(): boolean {
    return this.#promised !== undefined;
  }

  fill(entry: CacheEntry): void {
    if (this.#promised !== undefined) this.#peer.cache.fill(this.#promised, entry);
    this.#promised = undefined;
  }

  breakPromise(): void {
    if (this.#promised !== undefined) this.#peer.cache.abandon(this.#promised);
    this.#promised = undefined;
  }

  /**
   * Cached pieces cannot be cut to what is left of a window, and a client need not grant more before that is used up:
   * an entry that the window does not hold as a whole goes the ordinary way.
   */
  fits(entry: CacheEntry): boolean {
    return entry.rawLength <= this.#request.windowLeft;
  }

  /** Sends an entry on a cache stream, after what is still in the lane and with nothing else between its pieces. */
  send(entry: CacheEntry, last: boolean, then: () => void): void {
    this.#request.afterLane(() => {
      if (this.#request.ending) return;
      this.#peer.acquireCacheStream((stream) => {
        if (this.#request.ending) {
          this.#peer.releaseCacheStream(stream, true);
          return;
        }
        this.#stream = stream;
        this.#sendPieces(entry, 0, last, then);
      });
    });
  }

  /** The request is over: lets go of what it has. */
  end(): void {
    this.#stopAwaiting?.();
    this.breakPromise();
    if (this.#stream !== undefined) this.#peer.releaseCacheStream(this.#stream, false);
    this.#stream = undefined;
  }

  #sendPieces(entry: CacheEntry, from: number, last: boolean, then: () => void): void {
    const request = this.#request;
    const stream = this.#stream;
    if (request.ending || stream === undefined) return;
    for (let i = from; i < entry.pieces.length; i++) {
      const rawLength = Math.min(CACHED_PIECE, entry.rawLength - i * CACHED_PIECE);
      if (request.allowance(rawLength) < rawLength) {
        request.wait(() => this.#sendPieces(entry, i, last, then));
        return;
      }
      const final = last && i === entry.pieces.length - 1;
      const flags = final ? BytesResponseFlag.eos : BytesResponseFlag.continuation;
      request.takeCredit(rawLength);
      stream.send(this.#peer.cacheProfile as string, request.id, flags, entry.pieces[i], rawLength);
    }
    this.#stream = undefined;
    this.#peer.releaseCacheStream(stream, true);
    then();
  }
}
