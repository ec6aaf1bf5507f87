/** One call of a pool: it waits for a connection, is sent, and perhaps sent again, until its response has ended. */

import { isBytes, sourceOf } from '../wire/bytes.ts';
import { CommandError, ConnectionError, ProtocolError } from '../wire/errors.ts';
import { asError } from '../wire/thrown.ts';
import { after, unref } from '../wire/timers.ts';
import type { Client } from './client.ts';
import { deadlineExceeded, errorOfReason, leftBy, notReadToItsEnd, readAlready } from './given-up.ts';
import { notStarted } from './no-more.ts';
import type { CallOptions } from './options.ts';
import type { PoolCallOptions } from './pool-options.ts';
import type { Responding, Response } from './response.ts';

/** What a call needs of its pool, and tells it. */
export interface CallOwner {
  readonly maxAttempts: number;
  /** It takes no new calls: connections let go of what nobody reads. */
  readonly closing: boolean;
  /** Sends the call as soon as a connection takes it; that is {@link PoolCall.start}. */
  wait(call: PoolCall): void;
  /** How long to wait after so many refusals before a server that refuses is asked again. */
  pauseMs(refusals: number): number;
  /** The call has ended. */
  over(call: PoolCall): void;
}

export class PoolCall implements Responding {
  readonly command: string;
  /** What it takes to keep it waiting, in bytes. */
  readonly cost: number;
  readonly #owner: CallOwner;
  readonly #options: PoolCallOptions;
  readonly #data: ResendableData;
  readonly #ended = Promise.withResolvers<Error | undefined>();
  /** Resolves with the response to read, once the call is sent: made afresh when it is to be sent again. */
  #turn = Promise.withResolvers<Response>();
  /** Where it was sent, and is to be answered. */
  #client: Client | undefined;
  /** To be told that it is being answered there. */
  #answered: () => void = () => undefined;
  #response: Response | undefined;
  #attempts = 0;
  /** The latest error after which something of the call may have run. */
  #ranError: Error | undefined;
  #handedOut = false;
  #taken = false;
  #isOver = false;
  #error: Error | undefined;
  #deadlineAtMs = Number.POSITIVE_INFINITY;
  #deadline: ReturnType<typeof setTimeout> | undefined;
  #pause: ReturnType<typeof setTimeout> | undefined;

  constructor(owner: CallOwner, command: string, options: PoolCallOptions) {
    this.#owner = owner;
    this.command = command;
    this.#options = options;
    this.#data = new ResendableData(options.data);
    this.cost = costOf(command, options);
    // Whoever reads is told; nobody has to.
    this.#turn.promise.catch(() => undefined);
    this.#expireAfter(options.deadlineMs);
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (options.signal?.aborted) this.#onAbort();
  }

  /** On its present connection; 0 while it waits for one. */
  get requestId(): number {
    return this.#response?.requestId ?? 0;
  }

  get over(): boolean {
    return this.#isOver;
  }

  /** Nothing of it has left, now or before. */
  get #isUnsent(): boolean {
    return this.#attempts === 0 && this.requestId === 0;
  }

  get ended(): Promise<Error | undefined> {
    return this.#ended.promise;
  }

  /** True when a connection has had it before. */
  get wasSent(): boolean {
    return this.#client !== undefined;
  }

  // ------------------------------------------------------------------------------------------ its reader

  async whole(): Promise<Uint8Array> {
    this.#readOnce();
    for (;;) {
      const response = await this.#turn.promise;
      try {
        const bytes = await response.bytes();
        this.#attemptEnded(response, undefined);
        return bytes;
      } catch (error) {
        if (!this.#isSentAgain(response, error as Error)) throw this.#error ?? error;
      }
    }
  }

  pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    return leftBy(this.#attempted(), () => {
      this.cancel(notReadToItsEnd());
      void this.#response?.[Symbol.asyncIterator]().return();
    });
  }

  async *#attempted(): AsyncGenerator<Uint8Array, void, undefined> {
    this.#readOnce();
    for (;;) {
      const response = await this.#turn.promise;
      try {
        yield* this.#handOut(response);
        this.#attemptEnded(response, undefined);
        return;
      } catch (error) {
        if (!this.#isSentAgain(response, error as Error)) throw this.#error ?? error;
      }
    }
  }

  async *#handOut(response: Response): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of response) {
      if (!this.#handedOut) this.#answered();
      this.#handedOut = true;
      yield piece;
    }
  }

  cancel(reason?: unknown): void {
    if (this.#isOver) return;
    const error = errorOfReason(reason, this.#isUnsent);
    // That of a pool which ends.
    this.#end(this.#isUnsent ? notStarted(error) : error);
    this.#response?.cancel(error);
  }

  #readOnce(): void {
    if (this.#taken) throw readAlready(`the response of '${this.command}'`);
    this.#taken = true;
  }

  // -------------------------------------------------------------------------------------------- its pool

  /**
   * Sends the call. The promise resolves when its connection is free of it. `answered` is called when the server has
   * answered, or begun to: of a response that never ends, with the first piece that is read.
   */
  start(client: Client, answered: () => void): Promise<void> {
    let response: Response;
    try {
      response = client.call(this.command, this.#callOptions());
    } catch (error) {
      // A function that was to make the data has thrown.
      this.#end(asError(error));
      return Promise.resolve();
    }
    this.#response = response;
    this.#client = client;
    this.#answered = answered;
    this.#turn.resolve(response);
    return response.ended.then((error) => {
      if (error === undefined || (error instanceof CommandError && !this.#isOver)) answered();
      this.#attemptEnded(response, error);
    });
  }

  /** Ends it because it cannot be sent: with `error`, or with what may have run before. */
  giveUp(error: Error): void {
    this.#end(error);
  }

  /**
   * There is no place for it now. It is told so by a timer: a program that asks again at once would keep this thread, with
   * promises alone, from all that a place could come from.
   */
  refuse(error: Error): void {
    after(0, () => this.#end(error));
  }

  #callOptions(): CallOptions {
    const { idempotent: _, signal: __, onText, ...options } = this.#options;
    const leftMs = this.#deadlineAtMs - performance.now();
    return {
      ...options,
      data: this.#data.take(),
      ...(Number.isFinite(leftMs) && { deadlineMs: Math.max(0, Math.ceil(leftMs)) }),
      ...(onText && { onText: (text) => this.#handOutText(text, onText) }),
    };
  }

  /** Returns what the callback does: a promise that rejects fails the call as an exception does. */
  #handOutText(text: string, onText: (text: string) => unknown): unknown {
    this.#handedOut = true;
    return onText(text);
  }

  // ------------------------------------------------------------------------------------------ its attempts

  /** A response has ended. Sends the call again where that is safe; otherwise this was its end. */
  #attemptEnded(response: Response, error: Error | undefined): void {
    if (this.#isOver || response !== this.#response) return;
    if (error === undefined) return this.#end(undefined);
    const wasSent = response.requestId !== 0;
    if (wasSent) this.#attempts++;
    if (wasSent && !hasNotStarted(error)) this.#ranError = error;
    if (!this.#maySendAgain(error, wasSent)) return this.#end(error);
    this.#response = undefined;
    this.#turn = Promise.withResolvers();
    this.#turn.promise.catch(() => undefined);
    // A server that goes on has refused it because it has too much to do.
    if (wasSent && this.#serverGoesOn) this.#waitAfter(this.#owner.pauseMs(this.#attempts));
    else this.#owner.wait(this);
  }

  /** A pool that closes has closed its connections itself. */
  get #serverGoesOn(): boolean {
    const state = this.#client?.state;
    return state === 'open' || (state === 'draining' && this.#owner.closing);
  }

  #maySendAgain(error: Error, wasSent: boolean): boolean {
    if (this.#handedOut) return false;
    if (!wasSent) return isOfConnection(error) || hasNotStarted(error);
    if (this.#attempts >= this.#owner.maxAttempts || !this.#data.isThere) return false;
    // That was ourselves: nobody reads it.
    if (this.#owner.closing && !this.#taken && (error as Partial<CommandError>).code === 'cancelled')
      return false;
    return hasNotStarted(error) || (this.#options.idempotent === true && isOfConnection(error));
  }

  /** For a reader whose `response` has failed, and who may know of that before {@link #attemptEnded} does. */
  #isSentAgain(response: Response, error: Error): boolean {
    this.#attemptEnded(response, error);
    return response !== this.#response && !(this.#isOver && this.#error !== undefined);
  }

  #waitAfter(delayMs: number): void {
    this.#pause = after(delayMs, () => this.#owner.wait(this));
  }

  #end(error: Error | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    // What may have run once does not become safe to repeat because a later attempt was refused.
    this.#error = error !== undefined && hasNotStarted(error) ? (this.#ranError ?? error) : error;
    clearTimeout(this.#deadline);
    clearTimeout(this.#pause);
    this.#unlisten();
    if (this.#error !== undefined) this.#turn.reject(this.#error);
    this.#ended.resolve(this.#error);
    this.#owner.over(this);
  }

  #unlisten(): void {
    try {
      this.#options.signal?.removeEventListener('abort', this.#onAbort);
    } catch {
      // A signal that is none: its call is over all the same.
    }
  }

  readonly #onAbort = (): void => this.cancel(this.#options.signal?.reason);

  #expireAfter(deadlineMs: number | undefined): void {
    if (deadlineMs === undefined) return;
    if (!(deadlineMs >= 0)) return this.#end(new TypeError(`option deadlineMs: ${deadlineMs} is no time`));
    this.#deadlineAtMs = performance.now() + deadlineMs;
    const expire = () => this.cancel(deadlineExceeded(this.#isUnsent));
    this.#deadline = unref(after(deadlineMs, expire));
  }
}

/** Command data as far as it can be sent again. */
class ResendableData {
  readonly #data: PoolCallOptions['data'];
  #isUsedUp = false;

  constructor(data: PoolCallOptions['data']) {
    this.#data = data;
  }

  /** Whether it can be sent, once more. */
  get isThere(): boolean {
    return !this.#isUsedUp;
  }

  /** For one attempt. */
  take(): CallOptions['data'] {
    const data = this.#data;
    if (typeof data === 'function') return data();
    return isOneTime(data) ? this.#once(data) : data;
  }

  /** An attempt that is never sent asks for nothing. */
  async *#once(data: object): AsyncGenerator<unknown> {
    this.#isUsedUp = true;
    yield* sourceOf(data) ?? (data as Iterable<unknown>);
  }
}

/** Whether it may be gone once it was iterated: unlike bytes, text, a Blob or an array of them. */
function isOneTime(data: unknown): data is object {
  if (typeof data !== 'object' || data === null || isBytes(data) || Array.isArray(data)) return false;
  return !(typeof Blob !== 'undefined' && data instanceof Blob) && canBeIterated(data);
}

function canBeIterated(data: object): boolean {
  const { getReader } = data as Partial<ReadableStream>;
  return Symbol.asyncIterator in data || Symbol.iterator in data || typeof getReader === 'function';
}

function costOf(command: string, { args = {}, data }: PoolCallOptions): number {
  let bytes = command.length;
  for (const [name, value] of Object.entries(args)) bytes += name.length + sizeOf(value);
  return bytes + sizeOf(data);
}

/** Bytes, or characters, that are at hand. */
function sizeOf(value: unknown): number {
  if (typeof value === 'string') return value.length;
  return isBytes(value) ? value.byteLength : 0;
}

function hasNotStarted(error: Error): boolean {
  return (error as Partial<CommandError>).notStarted === true;
}

/** Codes with which a server says that it was not the command's fault; `cancelled`, where we have not asked for it. */
const NOT_ITS_FAULT = new Set(['worker-died', 'shutting-down', 'overloaded', 'cancelled']);

/** Whether another connection, or another worker, may have better luck. */
export function isOfConnection(error: Error): boolean {
  if (error instanceof ConnectionError) return error.code !== 'not-authorized' && error.code !== 'closed';
  if (error instanceof CommandError) return NOT_ITS_FAULT.has(error.code);
  return error instanceof ProtocolError;
}
