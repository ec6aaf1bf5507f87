/** Credit on its way to the peer (protocol C4). */

import { FrameType } from '../wire/frame.ts';
import { DEFAULT_LIMITS } from '../wire/limits.ts';
import { encodeCredit } from '../wire/payloads.ts';
import type { Connection } from './connection.ts';
import { Pace } from './pace.ts';

/** Sends credit frames; past what a peer takes of them, those for one window are put together. */
export class CreditSender {
  readonly #connection: Connection;
  /** Made for the first, as is what waits: most connections need none. */
  #pace: Pace | undefined;
  #limit: number = DEFAULT_LIMITS.maxCredits;
  /** Bytes by request, 0 for the connection, that wait for their turn. */
  #waiting: Map<number, number> | undefined;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** See {@link Pace.atMost}. */
  atMost(limit = Number.POSITIVE_INFINITY): void {
    this.#limit = Math.min(this.#limit, limit);
    this.#pace?.atMost(limit);
  }

  send(requestId: number, bytes: number): void {
    this.#pace ??= new Pace(this.#limit);
    this.#waiting ??= new Map();
    const waiting = this.#waiting.get(requestId);
    if (waiting !== undefined) this.#waiting.set(requestId, waiting + bytes);
    else if (this.#pace.take()) this.#send(requestId, bytes);
    else {
      this.#waiting.set(requestId, bytes);
      this.#pace.wait(() => this.#sendWaiting(requestId));
    }
  }

  /** The request is over, and its ID may soon be another's. */
  forget(requestId: number): void {
    this.#waiting?.delete(requestId);
  }

  close(): void {
    this.#pace?.close();
    this.#waiting?.clear();
  }

  #sendWaiting(requestId: number): void {
    const bytes = this.#waiting?.get(requestId);
    this.#waiting?.delete(requestId);
    if (bytes !== undefined) this.#send(requestId, bytes);
  }

  #send(requestId: number, bytes: number): void {
    if (this.#connection.open)
      this.#connection.sendPlain(requestId, FrameType.credit, 0, encodeCredit(bytes));
  }
}
