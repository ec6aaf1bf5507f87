/**
 * May we send, and how much; and what do we hold of what has come? Arithmetic without I/O, one object per connection and
 * one per request; nobody else weighs windows, levels and backlogs against each other.
 *
 * A response is held back by three things: the peer's windows, its own and the connection's (protocol C4); the level of
 * output that waits anywhere on our side of the connection; and what waits for the encoder of its stream.
 */

import type { Failure } from '../wire/failure.ts';
import { ConnectionData, RequestData } from './data-flow.ts';
import type { Backlog, Gate } from './gate.ts';
import { type InputShare, unbounded } from './input-share.ts';
import { SendWindow } from './window.ts';

/** What a connection may produce in one turn of the event loop, so that others get theirs. */
export interface OutputShare {
  /** Nothing more in this turn. */
  readonly usedUp: boolean;
  /** Nothing yet in this turn, and it may begin. */
  readonly untouched: boolean;
  /** So many bytes were produced. */
  take(bytes: number): void;
  /** Calls `resume` once, in a later turn. */
  wait(resume: () => void): void;
}

/** Whoever decides when the peer is read, without which neither credit nor command data comes. */
export interface FlowListener {
  /** Command data that we held has been read, or dropped. */
  dataRead(): void;
  /** A response waits for the peer's credit. */
  creditAwaited(): void;
}

const NOBODY: FlowListener = { dataRead: () => undefined, creditAwaited: () => undefined };

/** The flow of one connection, both ways: what its requests share. */
export class ConnectionFlow {
  /** Output that waits anywhere on our side: in lanes, in the writer, in the transport. */
  readonly output: Gate;
  readonly share: OutputShare;
  /** What is held of all that the peer has sent. */
  readonly input: InputShare;
  listener: FlowListener = NOBODY;
  #window = new SendWindow(undefined);
  #requestWindow: number | undefined;
  /** Command data that comes. */
  readonly data: ConnectionData;
  /**
   * By request, each with how it goes on: one that is over must not stay here until credit comes, for it may never.
   * Undefined: there are none.
   */
  #creditWaiters: Map<RequestFlow, () => void> | undefined;

  /** `share`: of the time of this thread. `input`: of the memory for what peers send. */
  constructor(output: Gate, share: OutputShare, input = unbounded()) {
    this.output = output;
    this.share = share;
    this.input = input;
    this.data = new ConnectionData(input, () => this.listener.dataRead());
  }

  /** The peer has announced its windows in bytes, undefined for no flow control (protocol C2); for use before the first request. */
  announced(requestWindow: number | undefined, connectionWindow: number | undefined): void {
    this.#requestWindow = requestWindow;
    this.#window = new SendWindow(connectionWindow);
  }

  /** Initial window of each request in bytes; undefined: no flow control. */
  get requestWindow(): number | undefined {
    return this.#requestWindow;
  }

  /** Bytes left of the connection's window. */
  get credit(): number {
    return this.#window.available;
  }

  /** Whether the peer holds the connection as a whole to a window. */
  get limited(): boolean {
    return this.#window.limited;
  }

  /** For {@link RequestFlow}: bytes of a response use up the connection's window. */
  take(bytes: number): void {
    this.#window.take(bytes);
  }

  /** Bytes that were taken will not be sent: they are there for others, who may wait for them. */
  refund(bytes: number): void {
    if (!this.#window.limited) return;
    this.#window.refund(bytes);
    this.wakeCreditWaiters();
  }

  /** The peer has credited the connection (protocol C4). @throws ProtocolError when that takes its window too far. */
  addCredit(bytes: number): void {
    this.#window.credit(bytes);
    this.wakeCreditWaiters();
  }

  /** The encoder of `backlog` is gone, and what waited for it: the peer never sees these bytes. */
  lose(backlog: Backlog): void {
    this.output.give(backlog.used);
    this.refund(backlog.creditedBytes);
  }

  // ------------------------------------------------------------------------------- who waits for credit

  /** The flows of the requests that wait for credit, oldest first. */
  get creditWaiters(): RequestFlow[] {
    return this.#creditWaiters === undefined ? [] : [...this.#creditWaiters.keys()];
  }

  /** For {@link RequestFlow}. */
  waitForCredit(flow: RequestFlow, resume: () => void): void {
    this.#creditWaiters ??= new Map();
    this.#creditWaiters.set(flow, resume);
    this.listener.creditAwaited();
  }

  /** For {@link RequestFlow}. */
  stopWaiting(flow: RequestFlow): void {
    this.#creditWaiters?.delete(flow);
  }

  wakeCreditWaiters(): void {
    for (const [, resume] of this.#takeCreditWaiters()) resume();
  }

  /** No credit comes any more: who waits for it is stopped. */
  stopCreditWaiters(failure: Failure): void {
    for (const [flow] of this.#takeCreditWaiters()) flow.stop(failure);
  }

  #takeCreditWaiters(): Iterable<[RequestFlow, () => void]> {
    const waiters = this.#creditWaiters ?? [];
    this.#creditWaiters = undefined;
    return waiters;
  }
}

/** Room for output lets pieces shrink to this, not further: dribbles cost more than they bring. */
const SMALLEST_PIECE = 4096;

/** Whose flow it is. */
export interface FlowOwner {
  /** It cannot go on. */
  stop(failure: Failure): void;
}

/** The flow of one request, both ways: its response going out, its command data coming in. */
export class RequestFlow {
  readonly #connection: ConnectionFlow;
  readonly #owner: FlowOwner;
  readonly #window: SendWindow;
  /** What waits for the stream's encoder, where the response is handed to one from this thread. */
  backlog: Backlog | undefined;
  /** Its command data that comes. */
  readonly data: RequestData;
  #reserved = 0;

  constructor(connection: ConnectionFlow, owner: FlowOwner, requestId: number) {
    this.#connection = connection;
    this.#owner = owner;
    this.#window = new SendWindow(connection.requestWindow);
    this.data = new RequestData(connection.data, requestId);
  }

  /** The request cannot go on, because of what it waits for or makes us hold. */
  stop(failure: Failure): void {
    this.#owner.stop(failure);
  }

  // ------------------------------------------------------------------------------------------- sending

  /** Response bytes that may be sent from this thread now, at most `wanted`; 0: wait. */
  availableNow(wanted: number): number {
    return this.#connection.share.usedUp ? 0 : this.available(wanted);
  }

  /** Response bytes that may be sent, at most `wanted`; 0: wait. */
  available(wanted: number): number {
    const { output, credit } = this.#connection;
    const credited = Math.min(wanted, this.#window.available, credit);
    const room = Math.min(output.room, this.backlog?.room ?? Number.POSITIVE_INFINITY);
    if (room >= credited) return Math.max(0, credited);
    const smallest = Math.min(SMALLEST_PIECE, output.limit);
    return room >= smallest ? Math.min(room, credited) : 0;
  }

  /** Calls `resume` once, when more may be {@link available}; never if the request is stopped or over before. */
  wait(resume: () => void): void {
    const { backlog } = this;
    if (this.#window.available <= 0 || this.#connection.credit <= 0)
      this.#connection.waitForCredit(this, resume);
    else if (this.#connection.share.usedUp) this.#connection.share.wait(resume);
    else if (backlog !== undefined && backlog.room < SMALLEST_PIECE) backlog.wait(resume);
    else this.waitForRoom(resume);
  }

  /** Whether there is room for output that uses up no credit: text and progress. */
  get hasRoom(): boolean {
    return this.#connection.output.room > 0 && !this.#connection.share.usedUp;
  }

  /** Calls `resume` once, when there may be room for output again. */
  waitForRoom(resume: () => void): void {
    const { output, share } = this.#connection;
    if (share.usedUp) share.wait(resume);
    else output.wait(resume);
  }

  /** Response bytes left of the request's own window. */
  get credit(): number {
    return this.#window.available;
  }

  /**
   * Whether a window has something left, but not `bytes`: its peer need not grant more before that is used up. Who can send
   * less should.
   */
  isShortOfCredit(bytes: number): boolean {
    const credit = Math.min(this.#window.available, this.#connection.credit);
    return credit > 0 && credit < bytes;
  }

  /** Whether a piece of `bytes` can ever be sent uncut: whatever is in use now will be free again. */
  canEverSend(bytes: number): boolean {
    const { requestWindow, limited, output } = this.#connection;
    return !limited && bytes <= output.limit && (requestWindow === undefined || requestWindow >= bytes);
  }

  /** Response bytes use up credit, whichever way they go. */
  take(bytes: number): void {
    this.#window.take(bytes);
    this.#connection.take(bytes);
  }

  /** So many bytes were sent from this thread, whatever they are. */
  sentNow(bytes: number): void {
    this.#connection.share.take(bytes);
  }

  /** The peer has credited the request (protocol C4). @throws ProtocolError when that takes its window too far. */
  addCredit(bytes: number): void {
    this.#window.credit(bytes);
    this.#connection.wakeCreditWaiters();
  }

  // -------------------------------------------------------------------- what a call in a lane may send

  /** Bytes set aside for a call that have not come yet. */
  get reserved(): number {
    return this.#reserved;
  }

  /** Sets credit and room aside: a call in a lane may send `bytes` by itself. */
  reserve(bytes: number): void {
    this.take(bytes);
    this.#connection.output.promise(bytes);
    this.#reserved += bytes;
  }

  /** `bytes` of what was set aside have come; they are output like any other from now on. */
  use(bytes: number): void {
    this.#reserved -= bytes;
    this.#connection.output.keepPromise(bytes);
  }

  /** `bytes` of what was set aside will never come. */
  refund(bytes: number): void {
    this.use(bytes);
    this.#connection.output.give(bytes);
    this.#window.refund(bytes);
    this.#connection.refund(bytes);
  }

  /** The request is over: it waits for nothing, and what it held is there for others. */
  close(): void {
    if (this.#reserved !== 0) this.refund(this.#reserved);
    this.#connection.stopWaiting(this);
    this.data.close();
  }
}
