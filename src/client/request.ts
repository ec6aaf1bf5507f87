/** One request of a client: what has come of its response, what may still come, and how it ended. */

import { PieceQueue } from '../reactor/piece-queue.ts';
import { ReceiveWindow } from '../reactor/window.ts';
import { ProtocolError } from '../wire/errors.ts';
import { joined } from '../wire/joined.ts';
import { asError, watchRejection } from '../wire/thrown.ts';
import { after, unref } from '../wire/timers.ts';
import { deadlineExceeded, errorOfReason, leftBy, notReadToItsEnd, readAlready } from './given-up.ts';
import type { CallOptions } from './options.ts';
import type { UnreadResponse } from './unread.ts';

/** What a request needs of its connection. */
export interface RequestOwner {
  readonly requestWindow: number;
  /** Whether the server has promised to keep to windows. */
  readonly creditCounts: boolean;
  /** The request has been given up, sent or not. */
  cancel(request: ClientRequest): void;
  credit(requestId: number, bytes: number): void;
  /** `bytes` more of a response wait for their reader; fewer when negative. */
  unread(response: UnreadResponse, bytes: number): void;
}

export class ClientRequest implements UnreadResponse {
  /** 0 until the command is sent. */
  requestId = 0;
  /** How many requests of its connection had been sent when it was; itself among them. */
  turn = 0;
  /** Goes with its command. */
  traceparent: string | undefined;
  /** The server has said, by its goaway, that it will not run this. */
  refused = false;
  readonly command: string;
  readonly options: CallOptions;
  readonly #owner: RequestOwner;
  readonly #pieces = new PieceQueue();
  readonly #window: ReceiveWindow;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #wantedWhole = false;
  #taken = false;
  /** Whether some of it was read since the last look at whether it {@link stands}. */
  #readOn = true;
  /** Ends the listening to its signal. */
  #unlisten: (() => void) | undefined;
  /** Made when it is first asked for. */
  #whenEnded: PromiseWithResolvers<Error | undefined> | undefined;
  /** When its deadline is. */
  #dueMs: number | undefined;
  #deadline: ReturnType<typeof setTimeout> | undefined;

  constructor(owner: RequestOwner, command: string, options: CallOptions) {
    this.#owner = owner;
    this.command = command;
    this.options = options;
    this.#window = new ReceiveWindow(owner.requestWindow, (bytes) => owner.credit(this.requestId, bytes));
  }

  /** Ends at its deadline and with its signal from now on. @throws whatever a signal does that is none. */
  begin(): void {
    const { signal, deadlineMs } = this.options;
    if (deadlineMs !== undefined) this.#expireAfter(deadlineMs);
    if (signal === undefined) return;
    const onAbort = () => this.cancel(signal.reason);
    this.#unlisten = () => signal.removeEventListener('abort', onAbort);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  }

  /** True when nothing more will come. */
  get over(): boolean {
    return this.#ended || this.#error !== undefined;
  }

  /** Resolves when nothing more will come, read or not: with the error that the response ends with, if it does. */
  get ended(): Promise<Error | undefined> {
    this.#whenEnded ??= Promise.withResolvers();
    if (this.over) this.#whenEnded.resolve(this.#error);
    return this.#whenEnded.promise;
  }

  /** Milliseconds until its deadline, if it has one. */
  get remainingMs(): number | undefined {
    return this.#dueMs === undefined ? undefined : this.#dueMs - performance.now();
  }

  /** True when nobody has begun to read it, and the server may send no more before somebody does. */
  get abandoned(): boolean {
    return !this.#taken && this.#stalled;
  }

  /** Whether it waits for its reader, and has since the last time that this was asked. */
  stands(): boolean {
    const stands = this.#stalled && !this.#readOn;
    this.#readOn = false;
    return stands;
  }

  get #stalled(): boolean {
    return !this.over && this.requestId !== 0 && this.#owner.creditCounts && this.#window.available <= 0;
  }

  /** Bytes that have come and that nobody has asked for: who wants the whole response has asked for all of it. */
  get unread(): number {
    return this.#wantedWhole ? 0 : this.#pieces.length;
  }

  // ------------------------------------------------------------------------------------------ its reader

  /** The response as one piece. @throws the error that it ended with. */
  async whole(): Promise<Uint8Array> {
    this.#readOnce();
    const { unread } = this;
    this.#wantedWhole = true;
    this.#read(unread);
    await this.ended;
    if (this.#error !== undefined) throw this.#error;
    const pieces = this.#pieces.takeAll();
    return pieces.length === 1 ? pieces[0] : joined(pieces);
  }

  /** The response's pieces as they come; who leaves early cancels it. @throws the error that it ended with. */
  pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    return leftBy(this.#handOut(), () => {
      if (!this.over || this.unread > 0) this.drop(notReadToItsEnd());
    });
  }

  async *#handOut(): AsyncGenerator<Uint8Array, void, undefined> {
    this.#readOnce();
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece !== undefined) {
        this.#read(piece.length);
        yield piece;
      } else if (this.#error !== undefined) throw this.#error;
      else if (this.#ended) return;
      else await this.#arrival();
    }
  }

  /** Tells the server to stop; the response ends at once, with `reason` as its error. */
  cancel(reason?: unknown): void {
    if (!this.over) this.drop(errorOfReason(reason, this.requestId === 0));
  }

  #expireAfter(delayMs: number): void {
    this.#dueMs = performance.now() + delayMs;
    const expire = () => this.cancel(deadlineExceeded(this.requestId === 0));
    this.#deadline = unref(after(Math.max(0, delayMs), expire));
  }

  // -------------------------------------------------------------------------------------- its connection

  /**
   * A piece of the response has come. `bytes` are copied.
   * @throws ProtocolError when the server has sent more than it was allowed (protocol C4).
   */
  push(bytes: Uint8Array, last: boolean): void {
    if (this.over) return;
    if (!this.#window.receive(bytes.length) && this.#owner.creditCounts) {
      const window = `${this.#window.size} bytes of request ${this.requestId}`;
      throw new ProtocolError('limit', `requestWindow: the server has passed the window of ${window}`);
    }
    this.#pieces.push(bytes);
    if (last) this.#end();
    if (!this.#wantedWhole) this.#owner.unread(this, bytes.length);
    else if (!last) this.#release(bytes.length);
    this.#wake?.();
  }

  /** A line for people has come, or word of how far the command is. What the caller's code does wrong is its own. */
  tell<T>(callback: ((told: T) => unknown) | undefined, told: T): void {
    if (this.over) return;
    const failed = (error: unknown) => this.drop(asError(error));
    try {
      watchRejection(callback?.(told), failed);
    } catch (error) {
      failed(error);
    }
  }

  /** Nothing more will come. */
  fail(error: Error): void {
    if (this.over) return;
    this.#error = error;
    this.#detach();
    this.#wake?.();
  }

  /** Lets go of what has not been read; the response ends with `error`. */
  drop(error: Error): void {
    if (!this.over) {
      this.fail(error);
      this.#owner.cancel(this);
    }
    this.#error ??= error;
    const { unread } = this;
    this.#pieces.takeAll();
    this.#read(unread);
  }

  #readOnce(): void {
    if (this.#taken) throw readAlready(`the response of '${this.command}'`);
    this.#taken = true;
  }

  #read(bytes: number): void {
    this.#readOn = true;
    if (bytes > 0) this.#owner.unread(this, -bytes);
    this.#release(bytes);
  }

  #release(bytes: number): void {
    if (!this.over) this.#window.release(bytes);
  }

  #end(): void {
    this.#ended = true;
    this.#detach();
  }

  #detach(): void {
    this.#whenEnded?.resolve(this.#error);
    clearTimeout(this.#deadline);
    try {
      this.#unlisten?.();
    } catch {
      // A signal that is none: its call is over all the same.
    }
  }
  #arrival(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
