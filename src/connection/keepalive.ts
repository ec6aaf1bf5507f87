/** Finds out that the other end is gone without a word (protocol C: ping). Servers and clients do it alike. */

import { ConnectionError } from '../wire/errors.ts';
import { FrameType } from '../wire/frame.ts';
import { PING_SIZE } from '../wire/payloads.ts';
import { every, unref } from '../wire/timers.ts';
import type { Connection } from './connection.ts';

/** Looks in the time after which a silent peer is asked: so it is asked before that is over, whenever its last word was. */
export const LOOKS = 2;

export class KeepAlive {
  readonly #connection: Connection;
  readonly #answersPings: () => boolean;
  /** Bytes sent when the peer was asked for a sign of life; undefined: it is not being asked. */
  #asked: number | undefined;
  /** Looks since then. */
  #looks = 0;
  #readBefore = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** `answersPings`: whether the peer can be expected to answer a ping now. */
  constructor(connection: Connection, answersPings: () => boolean) {
    this.#connection = connection;
    this.#answersPings = answersPings;
  }

  /** Calls {@link check} as often as a peer needs that is asked after `silenceMs`, until {@link stop}; 0: never. Keeps no process alive. */
  start(silenceMs: number): void {
    if (silenceMs <= 0) return;
    this.#timer = unref(every(silenceMs / LOOKS, () => this.check()));
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /**
   * To be called {@link LOOKS} times in the time after which a silent peer is to be asked: asks one that was silent since the last
   * call for a sign of life, and drops the connection when there is none, neither bytes of its own nor ours that it took, in as many calls.
   */
  check(): void {
    // What has come during a long tick of ours is read first, and so is what a peer in this process then answers.
    this.#connection.endOfTick(() => this.#connection.endOfTick(this.#check));
  }

  readonly #check = (): void => {
    const { bytesRead: read, reading, writer, remote } = this.#connection;
    const silent = read === this.#readBefore && reading;
    this.#readBefore = read;
    if (!silent || !this.#answersPings()) this.#asked = undefined;
    else if (this.#asked === undefined) {
      this.#connection.sendPlain(0, FrameType.ping, 0, new Uint8Array(PING_SIZE));
      writer.flush();
      this.#asked = writer.bytesWritten;
      this.#looks = 0;
    } else if (writer.bytesWritten !== this.#asked) this.#asked = undefined;
    else if (++this.#looks === LOOKS) {
      const text = `keepAliveInterval: ${remote} gives no sign of life`;
      this.#connection.destroy(new ConnectionError(text, { code: 'keepalive-timeout' }));
    }
  };
}
