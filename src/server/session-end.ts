/**
 * How a session comes to its end: drained, stopped, by the end of its input, or by a protocol error (protocol B5, B7, C5).
 * Owns which of these has begun, and the requests that are answered and whose last byte is still with the writer; ends the
 * connection when nothing is left that it has to wait for.
 */

import type { Connection } from '../connection/connection.ts';
import type { ServerReactor } from '../reactor/server.ts';
import { FrameType } from '../wire/frame.ts';
import { encodeGoaway } from '../wire/payloads.ts';
import type { Negotiation } from './negotiation.ts';
import type { OpenRequests } from './open-requests.ts';

/** A request whose last frame is with the writer. */
interface Leaving {
  readonly requestId: number;
  /** Bytes of the arguments of a handler that is still at work; undefined: none is. */
  readonly lingers: number | undefined;
}

/** No request's ID. */
const NOBODY = -1;

export class SessionEnd {
  readonly #connection: Connection;
  readonly #reactor: ServerReactor;
  readonly #requests: OpenRequests;
  readonly #negotiation: Negotiation;
  #draining = false;
  #isOld = false;
  #stopped = false;
  #inputEnded = false;
  /** Tells the peer of its protocol error, once the requests have ended. */
  #sendFailure: (() => void) | undefined;
  /** The first that left, if its handler has ended: mostly it is the only one. Then the others. */
  #leavingId = NOBODY;
  #othersLeaving: Leaving[] | undefined;
  /** The newest request that was taken: a goaway names it. */
  newestId = 0;

  constructor(
    connection: Connection,
    reactor: ServerReactor,
    requests: OpenRequests,
    negotiation: Negotiation,
  ) {
    this.#connection = connection;
    this.#reactor = reactor;
    this.#requests = requests;
    this.#negotiation = negotiation;
  }

  /** Nothing new is taken. */
  get draining(): boolean {
    return this.#draining;
  }

  /** Nothing is read any more. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Accepts no new requests; closes when those in flight are done (protocol C5). */
  drain(reason: string): void {
    if (this.#draining) return;
    this.#draining = true;
    if (this.#negotiation.speaks('goaway')) {
      this.#connection.sendPlain(0, FrameType.goaway, 0, encodeGoaway(this.newestId, reason));
    }
    this.#requests.drain(reason);
    this.check();
  }

  /** It is old: a peer that understands it is told to make another connection (protocol C5). */
  retire(): void {
    this.#isOld = true;
    this.#retireIfSaid();
  }

  /** The peer has said what it understands. */
  settingsCame(): void {
    if (this.#isOld) this.#retireIfSaid();
  }

  #retireIfSaid(): void {
    if (this.#negotiation.speaks('goaway')) this.drain('the connection is old');
  }

  /** Answers what is still in flight with an error, and closes. */
  stop(reason: string): void {
    this.#draining = true;
    this.#stopped = true;
    this.#connection.pause();
    // Nor what a decoder still has: it is of requests that are about to end.
    this.#reactor.stop();
    this.#requests.stop(reason);
    this.check();
  }

  inputEnded(): void {
    this.#inputEnded = true;
  }

  /** Stops the requests; `sendFailure` tells the peer what it did wrong behind what was already finished. */
  fail(sendFailure: () => void): void {
    this.#sendFailure = sendFailure;
    this.#requests.stop(undefined);
    this.#failIfDone();
  }

  /**
   * A request has its answer: its ID is busy until the last byte of that has been handed to the transport (protocol A4).
   * `lingers`: bytes of the arguments of its handler that is still at work; undefined: none is.
   */
  leave(requestId: number, lingers: number | undefined): void {
    this.#reactor.answered(requestId);
    const isFirst = this.#leavingId === NOBODY && this.#othersLeaving === undefined;
    if (isFirst) this.#connection.writer.whenHandedOver(this);
    if (isFirst && lingers === undefined) this.#leavingId = requestId;
    else {
      this.#othersLeaving ??= [];
      this.#othersLeaving.push({ requestId, lingers });
    }
    this.#failIfDone();
  }

  /** For the writer. */
  handedOver(): void {
    const requestId = this.#leavingId;
    const others = this.#othersLeaving;
    this.#leavingId = NOBODY;
    this.#othersLeaving = undefined;
    if (requestId !== NOBODY) this.#reactor.finishResponse(requestId);
    for (const other of others ?? []) {
      if (other.lingers !== undefined) this.#reactor.linger(1, other.lingers);
      this.#reactor.finishResponse(other.requestId);
    }
    this.check();
  }

  /** Ends the connection if that is due, and nothing is left to be waited for. */
  check(): void {
    if (!this.#inputEnded && !this.#draining) return;
    if (this.#reactor.openRequests > 0 || this.#reactor.decoding) return;
    if (this.#stopped) this.#connection.finish();
    else this.#connection.end();
  }

  #failIfDone(): void {
    if (this.#sendFailure === undefined || this.#requests.size > 0) return;
    const sendFailure = this.#sendFailure;
    this.#sendFailure = undefined;
    // The frames of the last finished response are given to the writer in this very step.
    queueMicrotask(sendFailure);
  }
}
