/** The handler's side of a request: arguments, command data as it arrives, and the signal that it is over. */

import { CommandError } from '../wire/errors.ts';
import { decodeUtf8 } from '../wire/utf8.ts';
import type { CommandRequest } from './command.ts';
import { PieceQueue } from './piece-queue.ts';
import { guardedController } from './signal.ts';

/** Pieces up to this size are copied out of what arrived, so that they do not keep a whole input chunk alive. */
const COPY_BELOW = 32 * 1024;

/** Command data between the reactor, which pushes, and the handler, which iterates. */
export class DataQueue implements AsyncIterable<Uint8Array> {
  readonly #onRead: (bytes: number) => void;
  readonly #pieces = new PieceQueue();
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #dropped = false;

  /** `onRead` is told how many bytes the handler has taken, or will never take. */
  constructor(onRead: (bytes: number) => void) {
    this.#onRead = onRead;
  }

  push(bytes: Uint8Array, last: boolean): void {
    if (this.#dropped) this.#read(bytes.length);
    else if (bytes.length < COPY_BELOW) this.#pieces.push(bytes);
    else this.#pieces.pushOwn(bytes);
    if (last) this.#ended = true;
    this.#wake?.();
  }

  /** No more will come, because of `error`; the handler sees it thrown. */
  fail(error: Error): void {
    this.#error ??= error;
    this.#wake?.();
  }

  /** The handler is over: what is queued, and all that still arrives, counts as read. */
  drop(): void {
    this.#dropped = true;
    const { length } = this.#pieces;
    this.#pieces.takeAll();
    this.#read(length);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      if (this.#error !== undefined) throw this.#error;
      const piece = this.#pieces.shift();
      if (piece !== undefined) {
        this.#read(piece.length);
        yield piece;
      } else if (this.#ended) return;
      else await this.#arrival();
    }
  }

  #read(bytes: number): void {
    if (bytes > 0) this.#onRead(bytes);
  }

  #arrival(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

/** Whose requests the requests of one connection are. */
export interface Caller {
  readonly remote: string;
  /** No other connection of this process has the same. */
  readonly connectionId: number;
  readonly principal: unknown;
}

export class HandlerRequest implements CommandRequest {
  /** Set before the handler runs; only its definition knows the type. */
  input: undefined;
  readonly command: string;
  readonly args: ReadonlyMap<string, Uint8Array>;
  readonly data: AsyncIterable<Uint8Array>;
  readonly #report: (error: unknown) => void;
  /** Both are made when they are first asked for: most handlers never do. */
  #over: AbortController | undefined;
  #draining: AbortController | undefined;
  #abortReason: Error | undefined;
  #drainReason: Error | undefined;
  readonly #caller: Caller;
  readonly #serial: number;

  /**
   * `serial`: no other request of its connection has the same. `report` is told what listeners of the signal throw.
   */
  constructor(
    command: string,
    args: ReadonlyMap<string, Uint8Array>,
    data: AsyncIterable<Uint8Array>,
    caller: Caller,
    serial: number,
    report: (error: unknown) => void,
  ) {
    this.#report = report;
    this.command = command;
    this.args = args;
    this.data = data;
    this.#caller = caller;
    this.#serial = serial;
  }

  get principal(): unknown {
    return this.#caller.principal;
  }

  get remote(): string {
    return this.#caller.remote;
  }

  get requestId(): string {
    return requestIdOf(this.#caller, this.#serial);
  }

  /** Bound, because handlers like to take their request apart. */
  readonly text = (name: string): string | undefined => {
    const value = this.args.get(name);
    return value && decodeUtf8(value);
  };

  get signal(): AbortSignal {
    this.#over ??= this.#controller(this.#abortReason);
    return this.#over.signal;
  }

  get draining(): AbortSignal {
    this.#draining ??= this.#controller(this.#drainReason);
    return this.#draining.signal;
  }

  /** `reason`: it has fired already. */
  #controller(reason: Error | undefined): AbortController {
    const controller = guardedController(this.#report);
    if (reason !== undefined) controller.abort(reason);
    return controller;
  }

  abort(reason: Error): void {
    this.#abortReason ??= reason;
    this.#over?.abort(reason);
  }

  /** The server has begun to drain, and says why. */
  drain(reason: string): void {
    this.#drainReason ??= new CommandError(reason, { code: 'shutting-down' });
    this.#draining?.abort(this.#drainReason);
  }
}

/** A request's name for logs. */
export function requestIdOf({ connectionId }: Caller, serial: number): string {
  return `${connectionId}-${serial}`;
}

/** Command data of a command that has none. */
export const NO_DATA: AsyncIterable<Uint8Array> = {
  async *[Symbol.asyncIterator]() {},
};
