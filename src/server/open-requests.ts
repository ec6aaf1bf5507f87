/**
 * The requests at work on one connection, by ID: owns the table of them, does what is done to all of them at once, and
 * passes on to each what its lane tells of it.
 */

import type { BatchReader } from '../../workers/batch.ts';
import { IDENTITY } from '../encoding/profiles.ts';
import type { HandedFrame } from '../lanes/handed-frames.ts';
import type { StreamEvents } from '../lanes/lane-stream.ts';
import { RequestTable } from '../reactor/request-table.ts';
import type { Failure } from '../wire/failure.ts';
import { HEADER_SIZE } from '../wire/frame.ts';
import type { Dispatch } from './dispatch.ts';
import type { ServedRequest } from './request.ts';
import type { Session } from './session.ts';

const UNENCODED: Failure = {
  code: 'internal',
  message: 'internal error: the response could not be encoded',
};
/** Nothing of the request has run, but what was sent of its data is lost. */
const NOT_BEGUN: Failure = {
  code: 'overloaded',
  message: 'the worker died before the command began',
};

/** Told of handlers that are at work although their response is over. */
export interface Lingering {
  /** `handlers` more, or fewer if negative; so are bytes of arguments held. */
  linger(handlers: number, argumentBytes: number): void;
}

export class OpenRequests implements StreamEvents {
  readonly #session: Session;
  readonly #lingering: Lingering;
  readonly #dispatch: Dispatch;
  readonly #table = new RequestTable<ServedRequest>();

  constructor(session: Session, lingering: Lingering, dispatch: Dispatch) {
    this.#session = session;
    this.#lingering = lingering;
    this.#dispatch = dispatch;
  }

  get size(): number {
    return this.#table.size;
  }

  get(requestId: number): ServedRequest | undefined {
    return this.#table.get(requestId);
  }

  /** As they are now; they may come and go while they are gone through. */
  values(): ServedRequest[] {
    return this.#table.values();
  }

  add(request: ServedRequest): void {
    this.#table.set(request.id, request);
  }

  remove(request: ServedRequest): void {
    if (this.#table.get(request.id) === request) this.#table.delete(request.id);
  }

  /** Their handlers are told that the server drains, and why. */
  drain(reason: string): void {
    for (const request of this.#table.values()) request.drain(reason);
  }

  /** Stops those whose last frame is not on its way; they are told `message`, or nothing. */
  stop(message: string | undefined): void {
    for (const request of this.#table.values()) {
      if (request.state === 'sent') continue;
      // Only what has not run at all is safe to be asked for again (protocol C11).
      const code = request.state === 'waiting' ? 'shutting-down' : 'cancelled';
      request.stop(message === undefined ? undefined : { code, message });
    }
  }

  /** The connection is gone, and so are they. */
  drop(): void {
    if (this.#table.size === 0) return;
    for (const request of this.#table.values()) request.drop();
    this.#table.clear();
  }

  // ------------------------------------------------------------------------ what lanes say (StreamEvents)

  onFrame(requestId: number, last: boolean, rawLength: number, wireLength: number): void {
    const request = this.#table.get(requestId);
    if (request?.stream?.profile === IDENTITY) this.#session.passedPlain(rawLength, wireLength);
    request?.onFrame(last, rawLength, wireLength);
  }

  onCallRecord(record: BatchReader): void {
    this.#table.get(record.requestId)?.onRecord(record);
  }

  report(error: Error, command: string | undefined): void {
    this.#session.report(error, command);
  }

  linger(handlers: number, argumentBytes: number): void {
    this.#lingering.linger(handlers, argumentBytes);
  }

  onLeft(requests: Iterable<number>, left: readonly HandedFrame[]): ReadonlySet<number> {
    const moved = new Set([...requests].filter((requestId) => this.#table.get(requestId)?.leaveLane()));
    for (const { requestId, type, flags, payload, credited } of left) {
      if (!moved.has(requestId)) continue;
      this.#session.sendPlain(requestId, type, flags, payload);
      if (!credited) continue;
      this.#session.passedPlain(payload.length);
      this.#table.get(requestId)?.passed(payload.length, HEADER_SIZE + payload.length);
    }
    return moved;
  }

  onMoved(requests: Iterable<number>): void {
    for (const requestId of requests) {
      const request = this.#table.get(requestId);
      if (request?.state === 'sent') request.end();
      // Other streams of the connection may have been on that lane: they hear of it first.
      else if (request !== undefined) queueMicrotask(() => this.#dispatch.elsewhere(request));
    }
  }

  onLost(requests: Iterable<number>, failure: Failure): void {
    for (const requestId of requests) this.#lose(requestId, failure);
  }

  onUnencoded(requestId: number): void {
    this.#lose(requestId, UNENCODED);
  }

  #lose(requestId: number, failure: Failure): void {
    const request = this.#table.get(requestId);
    if (request === undefined) return;
    if (request.retract()) {
      // Other streams of the connection may have been on that lane: they hear of it first.
      queueMicrotask(() => this.#dispatch.again(request));
      return;
    }
    const told = request.begun ? failure : NOT_BEGUN;
    this.#session.sendError(requestId, told);
    request.lose(told);
  }
}
