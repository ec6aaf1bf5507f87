/**
 * When a peer is read: only while what it makes us hold is within bounds. One per connection; the connection's flow
 * counts what is held, and knows who waits for the peer's credit, which comes by the same way as all else.
 */

import type { Connection } from '../connection/connection.ts';
import type { ConnectionFlow, FlowListener, RequestFlow } from '../reactor/flow.ts';
import type { InputShare } from '../reactor/input-share.ts';
import type { Failure } from '../wire/failure.ts';
import { FrameType, PingFlag } from '../wire/frame.ts';
import { type Limits, overLimit } from '../wire/limits.ts';

/** What the bounds ask about the connection's input, and tell. */
export interface InputSource {
  /** False before the peer is admitted, and once nothing is read any more. */
  readonly wanted: boolean;
  /** Bytes of frames that wait for a decoder, or behind one that does. */
  readonly heldBytes: number;
  /** Requests that wait until another's response is over. */
  readonly withoutStream: readonly RequestFlow[];
  /** Whether decoders have to wait before they decode more. */
  holdDecoders(hold: boolean): void;
  /** Lets go of the request that holds the most of what has come, if there is one that can: whether it has. */
  letGo(): boolean;
}

/** Bytes of output beyond its bound, where handlers wait, until we stop reading: pongs and errors. */
const SHORT_ANSWERS = 256 * 1024;
/** Command data past maxBufferedInput that we hold while its handlers wait for credit, in bytes. */
const STUCK_ROOM = 8 << 20;
const MAX_HELD_PONGS = 64;

const NO_MORE_CREDIT: Failure = {
  code: 'cancelled',
  message: 'the response waits for credit, and the input has ended',
};
const TOO_MUCH_DATA: Failure = {
  code: 'cancelled',
  message: 'too much command data for a response that is not read',
};

export class InputBounds implements FlowListener {
  readonly #connection: Connection;
  readonly #flow: ConnectionFlow;
  readonly #source: InputSource;
  /** Replies to pings that wait until less of it is unread: clients pace their uploads by them. */
  #heldPongs: Uint8Array[] | undefined;
  #holdsDecoders = false;
  #awaitsOutput = false;
  #awaitsMemory = false;
  #inputEnded = false;

  constructor(connection: Connection, flow: ConnectionFlow, source: InputSource) {
    this.#connection = connection;
    this.#flow = flow;
    flow.listener = this;
    this.#source = source;
    flow.input.holder = source;
  }

  /** True while the peer waits for us, and not we for it. */
  get peerWaits(): boolean {
    return this.#heldPongs !== undefined;
  }

  dataRead(): void {
    this.check();
  }

  creditAwaited(): void {
    if (this.#inputEnded) queueMicrotask(() => this.#stopCreditWaiters());
    else this.check();
  }

  /** No credit comes after the end of input. */
  inputEnded(): void {
    this.#inputEnded = true;
    this.#stopCreditWaiters();
  }

  #stopCreditWaiters(): void {
    this.#flow.stopCreditWaiters(NO_MORE_CREDIT);
  }

  /**
   * Reads on only while what we hold for slow handlers and decoders is within bounds, and what waits to be sent is: a
   * peer that reads nothing must not go on asking for short answers. Data whose handlers wait for credit must not keep
   * that from being read, up to a bound which lies well above what a client that paces its uploads by pings has under
   * way.
   */
  check(): void {
    if (!this.#source.wanted) return;
    this.#relieve();
    const soft = this.#soft();
    const held = this.#held();
    const isStuck = !this.#dataLimited() && held > soft + STUCK_ROOM;
    if (isStuck || this.#holdsDecoders || this.#source.heldBytes > 0) this.#holdDecoders(isStuck);
    if (this.#waitsForEver()) this.#failForOutput();
    else if (this.#outputOverfull()) this.#pauseForOutput();
    else if (held <= soft) {
      this.#sendHeldPongs();
      this.#connection.resume();
    } else this.#checkStuck(held, soft);
  }

  #holdDecoders(hold: boolean): void {
    this.#holdsDecoders = hold;
    this.#source.holdDecoders(hold);
  }

  /**
   * Past the budget of all connections we read no further than to our own share. Where windows promise that we do
   * (protocol C4), those that hold more let go first, then we do.
   */
  #relieve(): void {
    const { input } = this.#flow;
    if (!input.spent) return;
    if (this.#dataLimited()) while (!input.makeRoom(0) && this.#source.letGo());
    if (!input.spent || this.#awaitsMemory) return;
    this.#awaitsMemory = true;
    input.wait(() => {
      this.#awaitsMemory = false;
      this.check();
    });
  }

  /** Answers a ping, at once or when less command data is unread. */
  pong(payload: Uint8Array): void {
    if (
      this.#dataLimited() ||
      this.#held() <= this.#soft() ||
      (this.#heldPongs?.length ?? 0) >= MAX_HELD_PONGS
    )
      this.#sendPong(payload);
    else {
      this.#heldPongs ??= [];
      this.#heldPongs.push(payload);
    }
  }

  #soft(): number {
    return mostHeld(this.#flow.input, this.#connection.limits);
  }

  #held(): number {
    return (this.#dataLimited() ? 0 : this.#flow.data.unread) + this.#source.heldBytes;
  }

  /** What its handlers leave unread keeps nothing else of the peer from being read: windows bound it (protocol C4). */
  #dataLimited(): boolean {
    return this.#flow.data.windows !== undefined;
  }

  #outputOverfull(): boolean {
    const { used, limit } = this.#flow.output;
    return used > limit + SHORT_ANSWERS;
  }

  /** Half duplex: output goes when input has ended, so that we must not stop reading, and cannot go on (protocol A6). */
  #waitsForEver(): boolean {
    const { output } = this.#flow;
    if (!this.#connection.writer.held || output.used < output.limit) return false;
    return this.#outputOverfull() || this.#held() > this.#soft();
  }

  #failForOutput(): void {
    const { maxBufferedOutput } = this.#connection.limits;
    const held = `more than ${maxBufferedOutput} bytes of output before the end of input`;
    this.#connection.fail(overLimit('maxBufferedOutput', held));
  }

  #checkStuck(held: number, soft: number): void {
    const stuck = this.#dataLimited() ? [] : this.#dependOnCredit().filter(({ data }) => data.unread > 0);
    const stuckBytes = stuck.reduce((sum, { data }) => sum + data.unread, 0);
    if (held - stuckBytes > soft) this.#connection.pause();
    else if (held <= soft + STUCK_ROOM) this.#connection.resume();
    else for (const flow of stuck) flow.stop(TOO_MUCH_DATA);
  }

  /** Requests that wait for credit, and those that wait for the streams of these. */
  #dependOnCredit(): RequestFlow[] {
    const waiters = this.#flow.creditWaiters;
    return waiters.length === 0 ? waiters : [...waiters, ...this.#source.withoutStream];
  }

  #pauseForOutput(): void {
    this.#connection.pause();
    if (this.#awaitsOutput) return;
    this.#awaitsOutput = true;
    this.#flow.output.wait(() => {
      this.#awaitsOutput = false;
      this.check();
    });
  }

  #sendHeldPongs(): void {
    const pongs = this.#heldPongs;
    if (pongs === undefined) return;
    this.#heldPongs = undefined;
    this.#connection.clock.restart();
    for (const payload of pongs) this.#sendPong(payload);
  }

  #sendPong(payload: Uint8Array): void {
    this.#connection.sendPlain(0, FrameType.ping, PingFlag.reply, payload);
  }
}

/** Bytes of input that may be held now: where memory for all is used up, no more than a connection's own share. */
export function mostHeld(input: InputShare, { maxBufferedInput }: Limits): number {
  return input.spent ? Math.min(maxBufferedInput, input.own) : maxBufferedInput;
}
