/**
 * May we send, and how much; and what do we hold of what has come? Arithmetic without I/O, one object per connection and
 * one per request; nobody else weighs windows, levels and backlogs against each other.
 *
 * A response is held back by three things: the peer's windows, its own and the connection's (protocol C4); the level of
 * output that waits anywhere on our side of the connection; and what waits for the encoder of its stream.
 */

import type { Failure } from '../wire/failure.ts';
import { ConnectionData, RequestData } from './data-flow.ts';
import { type InputShare, unbounded } from './input-share.ts';
import { SendWindow } from './window.ts';

/** What a gate may hold of its shared one's level whatever the others hold, in bytes. */
const OWN_SHARE = 128 * 1024;

/** Least room while less than that share is really filled, in bytes. */
const LEAST_ROOM = 4096;

/** A level that fills and empties; who finds it full waits for room. */
export class Gate {
  limit: number;
  #used = 0;
  #promised = 0;
  #waiters: (() => void)[] = [];
  #shared: Gate | undefined;

  /** `shared`: a level that this one and others fill together; when it is full, each still has {@link OWN_SHARE}. */
  constructor(limit: number, shared?: Gate) {
    this.limit = limit;
    this.#shared = shared;
  }

  get used(): number {
    return this.#used;
  }

  get room(): number {
    const room = this.#roomLeft();
    return this.#hasShare() ? Math.max(room, Math.min(LEAST_ROOM, this.limit)) : room;
  }

  #roomLeft(): number {
    const own = Math.max(0, this.limit - this.#used);
    if (this.#shared === undefined) return own;
    return Math.min(own, Math.max(OWN_SHARE - this.#used, this.#shared.room));
  }

  /** Promises take room, but not all: who was promised something may be idle for long, and others have to go on. */
  #hasShare(): boolean {
    return this.#promised > 0 && this.#used - this.#promised < Math.min(OWN_SHARE, this.limit);
  }

  /** {@link take} for what may come later, or never. */
  promise(bytes: number): void {
    this.#promised += bytes;
    this.take(bytes);
  }

  /** `bytes` of what was promised have come, and are to be given like any others. */
  keepPromise(bytes: number): void {
    this.#promised -= bytes;
  }

  take(bytes: number): void {
    this.#used += bytes;
    this.#shared?.take(bytes);
  }

  give(bytes: number): void {
    this.#used -= bytes;
    this.#shared?.give(bytes);
    // Waking waits for a quarter of the room, so that a crowd does not wake for every frame.
    if (this.#waiters.length > 0 && (this.#used <= this.limit * 0.75 || this.#hasShare())) this.#wakeInTurn();
  }

  /** Calls `resume` once, when there may be room again. */
  wait(resume: () => void): void {
    this.#waiters.push(resume);
  }

  /** Oldest first, while there is room; who still cannot go on waits again, behind the others. */
  #wakeInTurn(): void {
    for (let left = this.#waiters.length; left > 0 && (this.#used < this.limit || this.#hasShare()); left--)
      this.#waiters.shift()?.();
  }

  /** Holds nothing any more, and lets all waiters look again. */
  close(): void {
    this.#shared?.give(this.#used);
    this.#shared = undefined;
    this.wake();
  }

  /** Lets all waiters look again, whatever the level. */
  wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resume of waiters) resume();
  }
}

/** What waits for one stream's encoder: a level of its own, and how much of it has used up credit. */
export class Backlog extends Gate {
  readonly #output: Gate;
  #creditedBytes = 0;

  /** `output`: the connection's level, which what waits here is part of. */
  constructor(limit: number, output: Gate) {
    super(limit);
    this.#output = output;
  }

  /** Those of the waiting bytes that have used up credit. */
  get creditedBytes(): number {
    return this.#creditedBytes;
  }

  /** `bytes` are handed to the encoder. */
  enter(bytes: number, credited: boolean): void {
    if (credited) this.#creditedBytes += bytes;
    this.#output.take(bytes);
    this.take(bytes);
  }

  /** `bytes` have come out; they are output still, until the writer counts them as they are on the wire. */
  leave(bytes: number, credited: boolean): void {
    if (credited) this.#creditedBytes -= bytes;
    this.give(bytes);
  }
}

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

const UNSHARED: OutputShare = {
  usedUp: false,
  untouched: true,
  take: () => undefined,
  wait: (resume) => resume(),
};

/** Whoever decides when the peer is read, without which neither credit nor command data comes. */
export interface FlowListener {
  /** Command data that we held has been read, or dropped. */
  dataRead(): void;
  /** A response waits for the peer's credit. */
  creditAwaited(): void;
}

const NOBODY: FlowListener = { dataRead: () => undefined, creditAwaited: () => undefined };

/** What a connection has of what all have in common; missing: as much as it likes. */
export interface FlowShares {
  readonly share?: OutputShare;
  readonly input?: InputShare;
}

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
  /** By request, each with how it goes on: one that is over must not stay here until credit comes, for it may never. */
  readonly #creditWaiters = new Map<RequestFlow, () => void>();

  /** `share`: of the time of this thread. `input`: of the memory for what peers send. */
  constructor(output: Gate, { share = UNSHARED, input = unbounded() }: FlowShares = {}) {
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
    return this.#creditWaiters.size === 0 ? [] : [...this.#creditWaiters.keys()];
  }

  /** For {@link RequestFlow}. */
  waitForCredit(flow: RequestFlow, resume: () => void): void {
    this.#creditWaiters.set(flow, resume);
    this.listener.creditAwaited();
  }

  /** For {@link RequestFlow}. */
  stopWaiting(flow: RequestFlow): void {
    this.#creditWaiters.delete(flow);
  }

  wakeCreditWaiters(): void {
    for (const [, resume] of this.#takeCreditWaiters()) resume();
  }

  /** No credit comes any more: who waits for it is stopped. */
  stopCreditWaiters(failure: Failure): void {
    for (const [flow] of this.#takeCreditWaiters()) flow.stop(failure);
  }

  #takeCreditWaiters(): [RequestFlow, () => void][] {
    if (this.#creditWaiters.size === 0) return [];
    const waiters = [...this.#creditWaiters];
    this.#creditWaiters.clear();
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
