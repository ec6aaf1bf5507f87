/**
 * Where the requests of somebody run who takes nothing encoded: on this thread, and their output goes out as it is; or in
 * a lane, on one stream there that has no context.
 */

import { IDENTITY } from '../encoding/profiles.ts';
import { DEFAULT_FRAME_SIZE } from '../wire/frame.ts';
import { LaneStream, type StreamEvents, type StreamTarget } from './lane-stream.ts';
import { fewestStreams, mainBusyMs } from './lanes-in-use.ts';
import type { RouteQuery } from './policy.ts';
import type { LanePool } from './pool.ts';
import type { StreamKind } from './stream-kind.ts';

/** Nobody but us sees it. */
const STREAM_ID = 2;

type Use = (stream: LaneStream | undefined) => void;

export class UnencodedRouter {
  readonly options: { readonly profile: string; readonly frameSize: number; readonly holds: () => false };
  readonly #pool: LanePool;
  readonly #target: StreamTarget;
  readonly #events: StreamEvents;
  #stream: LaneStream | undefined;
  /** Requests that wait for a lane, oldest first. */
  #waiting: Map<number, () => void> | undefined;

  /** `target`: where the frames of calls in lanes go. No peer sees any, so none says how large they may be. */
  constructor(pool: LanePool, target: StreamTarget, events: StreamEvents) {
    this.#pool = pool;
    this.#target = target;
    this.#events = events;
    this.options = { profile: IDENTITY, frameSize: DEFAULT_FRAME_SIZE, holds: () => false };
  }

  /**
   * Calls `use` with the stream of a handler that runs in a lane, at once or when there is a lane; with undefined when there
   * will be none, and for all that runs on this thread.
   */
  acquire(
    requestId: number,
    query: RouteQuery,
    kind: StreamKind,
    sensitive: boolean,
    inLane: boolean,
    use: Use,
  ): void {
    if (!inLane) return use(undefined);
    this.#pool.inUse.requested(performance.now(), mainBusyMs);
    this.#stream ??= this.#open();
    if (this.#stream === undefined && this.#pool.whenOpen(this.#startWaiting)) {
      this.#waiting ??= new Map();
      this.#waiting.set(requestId, () => this.acquire(requestId, query, kind, sensitive, inLane, use));
      return;
    }
    this.#stream?.use(requestId);
    use(this.#stream);
  }

  /** The request wants no stream any more. */
  stopWaiting(requestId: number): void {
    this.#waiting?.delete(requestId);
  }

  /** The request will send nothing more on `stream`. */
  leave(stream: LaneStream, requestId: number): void {
    stream.requests.delete(requestId);
  }

  close(): void {
    if (this.#waiting !== undefined) this.#pool.stopWaiting(this.#startWaiting);
    this.#waiting = undefined;
    this.#stream?.close();
    this.#stream = undefined;
  }

  #open(): LaneStream | undefined {
    const lane = fewestStreams(this.#pool.inUse.lanes);
    if (lane === undefined) return undefined;
    const { budget, quarantine } = this.#pool;
    const suspect = quarantine.numberOf('encoder', IDENTITY);
    const pass = quarantine.admit(suspect);
    if (pass === undefined) return undefined;
    const { frameSize } = this.options;
    const setup = { suspect, streamId: STREAM_ID, profile: IDENTITY, frameSize, perRequest: false };
    return new LaneStream(lane, this.#target, setup, budget, 0, pass, this.#events, this.#over, undefined);
  }

  /** It was lost with its lane. */
  readonly #over = (stream: LaneStream): void => {
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    stream.close();
  };

  /** A lane has been opened. */
  readonly #startWaiting = (): void => {
    const waiting = [...(this.#waiting ?? [])];
    this.#waiting = undefined;
    for (const [, start] of waiting) start();
  };
}
