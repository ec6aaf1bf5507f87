/**
 * Whether the peer of a session is still there. Owns the two ways to find out: it is asked for a sign of life
 * ({@link KeepAlive}), and where it cannot answer, or is not heard, something is sent to it that a dead peer's system rejects.
 */

import type { Connection } from '../connection/connection.ts';
import { KeepAlive } from '../connection/keepalive.ts';
import { BytesResponseFlag, FrameType } from '../wire/frame.ts';
import { after, unref } from '../wire/timers.ts';
import type { OpenRequests } from './open-requests.ts';

/** How soon after the first probe of a peer that has ended its side the second one follows, and how late the last one. */
const FIRST_PROBE_MS = 10;
const LAST_PROBE_MS = 10_000;

export class PeerWatch {
  readonly #connection: Connection;
  readonly #requests: OpenRequests;
  readonly #keepAlive: KeepAlive;
  #nextProbe: ReturnType<typeof setTimeout> | undefined;

  /** `answersPings`: whether the peer can be expected to answer a ping now. */
  constructor(connection: Connection, requests: OpenRequests, answersPings: () => boolean) {
    this.#connection = connection;
    this.#requests = requests;
    this.#keepAlive = new KeepAlive(connection, answersPings);
  }

  /** To be called once in a while; drops a peer that has gone without a word. */
  check(): void {
    if (!this.#connection.reading) this.#probe();
    this.#keepAlive.check();
  }

  /**
   * A process that was killed has closed its side, like a peer that sends no more and waits for its answers. What we send
   * tells them apart: the first is answered with a reset, which the second sending finds.
   */
  inputEnded(againMs = FIRST_PROBE_MS): void {
    if (this.#requests.size === 0 || !this.#connection.open || againMs > LAST_PROBE_MS) return;
    this.#probe();
    this.#nextProbe = unref(after(againMs, () => this.inputEnded(againMs * 4)));
  }

  close(): void {
    clearTimeout(this.#nextProbe);
  }

  /**
   * That the socket of a peer is gone which has half-closed, or which we do not read, shows only when we send. An empty
   * piece of a response that it waits for is something to send that changes nothing.
   */
  #probe(): void {
    const request = this.#requests.values().find(({ state }) => state !== 'sent');
    if (request === undefined) return;
    this.#connection.sendPlain(request.id, FrameType.bytesResponse, BytesResponseFlag.continuation);
  }
}
