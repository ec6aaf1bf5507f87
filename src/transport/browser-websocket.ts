/**
 * A browser's WebSocket as a transport (protocol C7); that of Node.js is one, too. It cannot hold the other end back: what
 * comes while its receiver does not read is kept up to a bound. A client reads always, and its windows bound what is sent.
 */

import type { Transport } from '../connection/transport.ts';
import { messagesOf } from '../wire/messages.ts';
import { after } from '../wire/timers.ts';
import { Inbox } from './inbox.ts';
import { later } from './later.ts';

/** Bytes that may wait in the browser before the next write. */
const HIGH_WATER_MARK = 256 * 1024;
/** No event tells that the browser has sent what waits: we look. */
const LOOK_MS = 4;
/** Bytes that are kept while nobody reads. */
const MAX_KEPT = 16 << 20;
const NORMAL = 1000;
/** Ours (RFC 6455 leaves 4000 … 4999 to programs): dropped, in the middle of whatever it was. */
const DROPPED = 4000;
const ORDERLY: readonly number[] = [NORMAL, 1001, 1005];

export class BrowserWebSocketTransport implements Transport {
  readonly remote: string;
  readonly messages = true;
  readonly halfCloses = false;
  onData: (chunk: Uint8Array) => void = () => undefined;
  onEnd: () => void = () => undefined;
  onClose: (error: Error | undefined) => void = () => undefined;
  readonly #socket: WebSocket;
  readonly #inbox = new Inbox((bytes) => this.onData(bytes));
  #error: Error | undefined;
  /** By us. */
  #ended = false;
  #destroyed = false;
  #closed = false;

  /** `socket` is open, and its binaryType `arraybuffer`. */
  constructor(socket: WebSocket, remote: string) {
    this.remote = remote;
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#take(data);
    socket.onclose = ({ code }) => this.#end(code);
  }

  write(chunks: Uint8Array[], written: (error?: Error | null) => void): void {
    for (const chunk of chunks)
      for (const message of messagesOf(chunk)) this.#socket.send(message as Uint8Array<ArrayBuffer>);
    later(() => this.#tellWritten(written));
  }

  pause(): void {
    this.#inbox.pause();
  }

  resume(): void {
    this.#inbox.resume();
  }

  end(): void {
    this.#ended = true;
    this.#socket.close(NORMAL);
  }

  /** Without a reset, which scripts cannot send; the other end sees a code that is none of an orderly end. */
  destroy(): void {
    if (this.#destroyed || this.#closed) return;
    this.#destroyed = true;
    this.#inbox.drop();
    this.#socket.close(DROPPED);
    // Whether the other end answers that, or is gone, changes nothing.
    later(() => this.#tellClosed(undefined));
  }

  endOfTick(run: () => void): void {
    later(run);
  }

  #take(data: unknown): void {
    if (this.#destroyed) return;
    if (!(data instanceof ArrayBuffer))
      this.#fail('a text message: frames travel in binary ones (protocol C7)');
    else {
      this.#inbox.push(new Uint8Array(data));
      if (this.#inbox.bytes > MAX_KEPT) this.#fail(`more than ${MAX_KEPT} bytes have come that nobody reads`);
    }
  }

  #fail(why: string): void {
    this.#error ??= new Error(why);
    this.#inbox.drop();
    this.#socket.close(DROPPED, why);
    later(() => this.#tellClosed(this.#error));
  }

  /** The backpressure: what waits in the browser. What has waited and is gone was sent, unless we hear of the end now. */
  #tellWritten(written: (error?: Error | null) => void, waited = false): void {
    const { readyState, bufferedAmount, OPEN } = this.#socket;
    if (readyState !== OPEN && !this.#ended) written(new Error('the WebSocket is closed'));
    else if (bufferedAmount > HIGH_WATER_MARK) after(LOOK_MS, () => this.#tellWritten(written, true));
    else if (waited) later(() => this.#tellWritten(written));
    else written();
  }

  #end(code: number): void {
    if (this.#destroyed || this.#error !== undefined) return;
    if (!ORDERLY.includes(code)) {
      this.#inbox.drop();
      this.#tellClosed(new Error(`the WebSocket was closed with code ${code}`));
      return;
    }
    this.#inbox.end(() => {
      this.onEnd();
      this.#tellClosed(undefined);
    });
  }

  #tellClosed(error: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.onClose(error);
  }
}
