/** The pings of a client that wait for their replies (protocol C). */

import type { Connection } from '../connection/connection.ts';
import { Pace } from '../connection/pace.ts';
import { FrameType } from '../wire/frame.ts';
import { DEFAULT_LIMITS } from '../wire/limits.ts';
import { PING_SIZE } from '../wire/payloads.ts';

interface Waiting {
  sentMs: number;
  resolve(roundTripMs: number): void;
  reject(error: Error): void;
}

/** Pings that may be without a reply: what the network holds up must not arrive as more than a server takes at once. */
const MAX_WAITING = 1000;

export class Pings {
  readonly #connection: Connection;
  /** By payload. */
  readonly #waiting = new Map<string, Waiting>();
  /** Not sent yet. */
  readonly #queued: Waiting[] = [];
  readonly #pace = new Pace(DEFAULT_LIMITS.maxPings);
  #mostWaiting = MAX_WAITING;
  #paced = false;
  #count = 0;
  #failure: Error | undefined;

  constructor(connection: Connection) {
    this.#connection = connection;
    // Each is answered, and we are held to what we take ourselves.
    this.atMost(connection.limits.maxPings);
  }

  /**
   * See {@link Pace.atMost}. An eighth may be without a reply: where the server was held up they come with a second's worth of
   * others, three quarters, and our replies to its own pings count as well.
   */
  atMost(limit = Number.POSITIVE_INFINITY): void {
    this.#pace.atMost(limit);
    this.#mostWaiting = Math.max(1, Math.min(this.#mostWaiting, Math.floor(limit / 8)));
  }

  /**
   * Resolves with the milliseconds from when it is sent, which is at once unless there are thousands, until the reply;
   * rejects with the error that {@link fail} is given.
   */
  send(): Promise<number> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#queued.push({ sentMs: 0, resolve, reject });
      this.#sendQueued();
    });
  }

  /** The reply with this payload has come; one to a ping that is none of ours changes nothing. */
  pong(payload: Uint8Array): void {
    const key = payload.join();
    const ping = this.#waiting.get(key);
    if (ping === undefined) return;
    this.#waiting.delete(key);
    ping.resolve(performance.now() - ping.sentMs);
    this.#sendQueued();
  }

  /** No reply will come any more. */
  fail(error: Error): void {
    this.#failure = error;
    this.#pace.close();
    for (const { reject } of [...this.#waiting.values(), ...this.#queued.splice(0)]) reject(error);
    this.#waiting.clear();
  }

  #sendQueued(): void {
    while (this.#queued.length > 0 && this.#waiting.size < this.#mostWaiting && !this.#paced) {
      if (this.#pace.take()) this.#sendNext();
      else {
        this.#paced = true;
        this.#pace.wait(this.#turn);
      }
    }
  }

  readonly #turn = (): void => {
    this.#paced = false;
    if (this.#waiting.size < this.#mostWaiting) this.#sendNext();
    this.#sendQueued();
  };

  #sendNext(): void {
    const ping = this.#queued.shift();
    if (ping === undefined) return;
    const payload = new Uint8Array(PING_SIZE);
    new DataView(payload.buffer).setUint32(0, ++this.#count);
    ping.sentMs = performance.now();
    this.#waiting.set(payload.join(), ping);
    this.#connection.sendPlain(0, FrameType.ping, 0, payload);
  }
}
