/** The reader's side of one response: what has come, what may still come, and how it ended. */

import { CommandError, ProtocolError } from '../wire/errors.ts';
import { decodeUtf8 } from '../wire/utf8.ts';
import type { CallOptions } from './options.ts';
import { PieceQueue, type UnreadResponse } from './unread.ts';

/** What a response needs of its client. */
export interface ResponseOwner {
  readonly requestWindow: number;
  /** Whether the server has promised to keep to windows. */
  readonly creditCounts: boolean;
  cancel(requestId: number): void;
  credit(requestId: number, bytes: number): void;
  /** So many bytes more of a response wait for their reader, or fewer. */
  unread(response: UnreadResponse, bytes: number): void;
}

/** A response as it arrives. Iterate it, or take it whole with bytes() or text(): once. */
export class Response implements AsyncIterable<Uint8Array>, UnreadResponse {
  /** 0 until the command is sent. */
  requestId = 0;
  readonly command: string;
  readonly options: CallOptions;
  readonly #owner: ResponseOwner;
  readonly #pieces = new PieceQueue();
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  /** Bytes that were read, but not yet credited to the server. */
  #uncredited = 0;
  /** Bytes that the server may still send. */
  #window: number;
  #whole = false;
  #taken = false;
  #onAbort: (() => void) | undefined;

  constructor(owner: ResponseOwner, command: string, options: CallOptions) {
    this.#owner = owner;
    this.command = command;
    this.#window = owner.requestWindow;
    this.options = options;
    const { signal } = options;
    if (signal === undefined) return;
    this.#onAbort = () => this.cancel(signal.reason);
    signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** True when nothing more will come. */
  get over(): boolean {
    return this.#ended || this.#error !== undefined;
  }

  /** Bytes that have come and that nobody has asked for: who wants the whole response has asked for all of it. */
  get unread(): number {
    return this.#whole ? 0 : this.#pieces.length;
  }

  /** The whole response. @throws CommandError when the command failed, ConnectionError when the connection did. */
  async bytes(): Promise<Uint8Array> {
    this.#readOnce();
    const { unread } = this;
    this.#whole = true;
    this.#read(unread);
    while (!this.#ended && this.#error === undefined) await this.#arrival();
    if (this.#error !== undefined) throw this.#error;
    const pieces = this.#pieces.takeAll();
    return pieces.length === 1 ? pieces[0] : concat(pieces);
  }

  /** The whole response as UTF-8 text. */
  async text(): Promise<string> {
    return decodeUtf8(await this.bytes());
  }

  /** Pieces as they come; leaving the loop early cancels the request. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    this.#readOnce();
    try {
      for (;;) {
        const piece = this.#pieces.shift();
        if (piece !== undefined) {
          this.#read(piece.length);
          yield piece;
        } else if (this.#error !== undefined) throw this.#error;
        else if (this.#ended) return;
        else await this.#arrival();
      }
    } finally {
      if (!this.over || this.unread > 0) this.drop(new CommandError('response not read to its end'));
    }
  }

  /** Tells the server to stop; the response ends with `reason` as its error. */
  cancel(reason: unknown = new CommandError('cancelled')): void {
    if (this.#ended || this.#error !== undefined) return;
    if (this.requestId !== 0) this.#owner.cancel(this.requestId);
    this.fail(reason instanceof Error ? reason : new CommandError(String(reason)));
  }

  /**
   * For the client: a piece has come. `bytes` are copied.
   * @throws ProtocolError when the server has sent more than it was allowed (protocol C4).
   */
  push(bytes: Uint8Array, last: boolean): void {
    this.#window -= bytes.length;
    if (this.#window < 0 && this.#owner.creditCounts) {
      const window = `${this.#owner.requestWindow} bytes of request ${this.requestId}`;
      throw new ProtocolError('limit', `requestWindow: the server has passed the window of ${window}`);
    }
    this.#pieces.push(bytes);
    if (last) this.#end();
    if (!this.#whole) this.#owner.unread(this, bytes.length);
    else if (!last) this.#credit(bytes.length);
    this.#wake?.();
  }

  /** For the client: nothing more will come. */
  fail(error: Error): void {
    if (this.#ended || this.#error !== undefined) return;
    this.#error = error;
    this.#detach();
    this.#wake?.();
  }

  /** A second reader would find nothing, or wait for what the first one gets. */
  #readOnce(): void {
    if (this.#taken) throw new Error(`the response of '${this.command}' has been read: it can be read once`);
    this.#taken = true;
  }

  /** Lets go of what has not been read; the response ends with `error`. */
  drop(error: Error): void {
    this.cancel(error);
    this.#error ??= error;
    const { unread } = this;
    this.#pieces.takeAll();
    this.#read(unread);
  }

  #read(bytes: number): void {
    if (bytes > 0) this.#owner.unread(this, -bytes);
    this.#credit(bytes);
  }

  #end(): void {
    this.#ended = true;
    this.#detach();
  }

  #detach(): void {
    if (this.#onAbort !== undefined) this.options.signal?.removeEventListener('abort', this.#onAbort);
  }

  #arrival(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #credit(bytes: number): void {
    if (this.over) return;
    this.#uncredited += bytes;
    if (this.#uncredited < this.#owner.requestWindow / 2) return;
    this.#owner.credit(this.requestId, this.#uncredited);
    this.#window += this.#uncredited;
    this.#uncredited = 0;
  }
}

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.length;
  }
  return whole;
}
