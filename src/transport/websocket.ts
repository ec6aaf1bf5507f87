/** WebSockets of the package ws as transports (protocol C7): both ends of them, in Node.js. */

import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import type { Transport } from '../connection/transport.ts';
import type { InputShare } from '../reactor/input-share.ts';
import { messagesOf } from '../wire/messages.ts';
import { tellClosed } from './closed.ts';
import { Inbox } from './inbox.ts';
import { probeSocket } from './socket.ts';

/** Codes of RFC 6455 section 7.4.1. */
const CloseCode = {
  normal: 1000,
  goingAway: 1001,
  unsupported: 1003,
  none: 1005,
  policy: 1008,
  tryAgainLater: 1013,
} as const;

/** Whether a WebSocket that ended with `code` was ended in an orderly way. */
function isOrderly(code: number): boolean {
  return code === CloseCode.normal || code === CloseCode.goingAway || code === CloseCode.none;
}

export interface WebSocketBounds {
  /** WebSocket pings that the other end may send per second. */
  readonly maxPings: number;
}

export class WebSocketTransport implements Transport {
  readonly remote: string;
  readonly messages = true;
  readonly halfCloses = false;
  onData: (chunk: Uint8Array) => void = () => undefined;
  onEnd: () => void = () => undefined;
  onClose: (error: Error | undefined) => void = () => undefined;
  readonly #socket: WebSocket;
  readonly #carrier: Socket | undefined;
  readonly #inbox = new Inbox((bytes) => this.onData(bytes));
  #error: Error | undefined;
  #destroyed = false;

  /**
   * `socket` is open, on `carrier` where that is known; nothing is read from it before {@link resume}. `input`: where bytes of a
   * message count that is not whole.
   */
  constructor(
    socket: WebSocket,
    remote: string,
    { maxPings }: WebSocketBounds,
    carrier?: Socket,
    input?: InputShare,
  ) {
    this.remote = remote;
    this.#carrier = carrier;
    this.#socket = socket;
    socket.pause();
    if (carrier !== undefined && input !== undefined) this.#countParts(carrier, input);
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.#inbox.push(data);
      else this.#refuse(CloseCode.unsupported, 'a text message: frames travel in binary ones (protocol C7)');
    });
    let pings = 0;
    let sinceMs = 0;
    socket.on('ping', () => {
      const nowMs = performance.now();
      if (nowMs - sinceMs >= 1000) {
        sinceMs = nowMs;
        pings = 0;
      }
      if (++pings === maxPings + 1)
        this.#refuse(CloseCode.policy, `maxPings: more than ${maxPings} WebSocket pings per second`);
    });
    socket.on('error', (error) => {
      this.#error ??= error;
    });
    socket.on('close', (code) => this.#closed(code));
  }

  write(chunks: Uint8Array[], written: (error?: Error | null) => void): void {
    const messages = chunks.flatMap(messagesOf);
    const last = messages.length - 1;
    for (let i = 0; i < last; i++) this.#socket.send(messages[i]);
    this.#socket.send(messages[last], written);
  }

  pause(): void {
    this.#inbox.pause();
    this.#socket.pause();
  }

  resume(): void {
    this.#inbox.resume();
    this.#socket.resume();
  }

  end(): void {
    this.#socket.resume();
    this.#socket.close(CloseCode.normal);
  }

  destroy(): void {
    this.#destroyed = true;
    this.#inbox.drop();
    this.#socket.terminate();
  }

  probe(): void {
    if (this.#carrier !== undefined) probeSocket(this.#carrier);
  }

  endOfTick(run: () => void): void {
    setImmediate(run);
  }

  /** Until a message is whole ws has it, and we what has come on the carrier since the one before. */
  #countParts(carrier: Socket, input: InputShare): void {
    const letGo = () => {
      input.counts.refused++;
      input.close();
      carrier.off('data', count);
      this.#refuse(CloseCode.tryAgainLater, 'inputMemory: no memory is left for the rest of a message');
      // Its answer would come behind the rest of the message.
      setImmediate(() => this.#socket.terminate());
      return true;
    };
    const count = (chunk: Uint8Array) => {
      if (input.makeRoom(chunk.length)) input.take(chunk.length);
      else letGo();
    };
    input.holder = { letGo };
    // Before ws, which says within its own listener that a message is whole.
    carrier.prependListener('data', count).once('close', () => input.close());
    this.#socket.on('message', () => input.give(input.held));
  }

  /** What the other end has sent is nothing of the subprotocol: it is told why, and nothing more is taken. */
  #refuse(code: number, why: string): void {
    this.#error ??= new Error(why);
    this.#socket.close(code, why);
  }

  #closed(code: number): void {
    if (this.#destroyed) {
      tellClosed(this, undefined);
      return;
    }
    if (this.#error !== undefined || !isOrderly(code)) {
      this.#inbox.drop();
      tellClosed(this, this.#error ?? new Error(`the WebSocket was closed with code ${code}`));
      return;
    }
    this.#inbox.end(() => {
      this.onEnd();
      tellClosed(this, undefined);
    });
  }
}
