/** The pings of a client that wait for their replies (protocol C3). */

import type { Connection } from '../connection/connection.ts';
import { FrameType } from '../wire/frame.ts';

interface Waiting {
  readonly sentMs: number;
  resolve(roundTripMs: number): void;
  reject(error: Error): void;
}

const PING_SIZE = 8;

export class Pings {
  readonly #connection: Connection;
  /** By payload. */
  readonly #waiting = new Map<string, Waiting>();
  #count = 0;
  #failure: Error | undefined;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Resolves with the milliseconds until the reply; rejects with the error that {@link fail} is given. */
  send(): Promise<number> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const payload = new Uint8Array(PING_SIZE);
    new DataView(payload.buffer).setUint32(0, ++this.#count);
    const sentMs = performance.now();
    this.#connection.sendPlain(0, FrameType.ping, 0, payload);
    return new Promise((resolve, reject) => {
      this.#waiting.set(payload.join(), { sentMs, resolve, reject });
    });
  }

  /** The reply with this payload has come; one to a ping that is none of ours changes nothing. */
  pong(payload: Uint8Array): void {
    const key = payload.join();
    const ping = this.#waiting.get(key);
    if (ping === undefined) return;
    this.#waiting.delete(key);
    ping.resolve(performance.now() - ping.sentMs);
  }

  /** No reply will come any more. */
  fail(error: Error): void {
    this.#failure = error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
