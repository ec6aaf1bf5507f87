/** TCP and Unix sockets as transports. */

import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Transport } from '../connection/connection.ts';
import { tellClosed } from './closed.ts';
import { withoutSources } from './tls-error.ts';

const NOTHING = new Uint8Array(0);
const nothing = (): void => undefined;

/** The system tells of a reset to who writes, be it nothing; where a write is under way, that is told. */
export function probeSocket(socket: Socket): void {
  if (socket.writable && socket.writableLength === 0) socket.write(NOTHING);
}

/** Ends it by a reset, where there is one: an orderly end might pass for the end of input alone. */
export function resetSocket(socket: Socket): void {
  const cannotReset = socket.remoteAddress === undefined || isEncrypted(socket);
  if (socket.writableEnded || cannotReset) socket.destroy();
  else socket.resetAndDestroy();
}

function isEncrypted(socket: Socket): boolean {
  return (socket as Partial<TLSSocket>).encrypted === true;
}

export class SocketTransport implements Transport {
  readonly remote: string;
  #onData: (chunk: Uint8Array) => void = nothing;
  onEnd: () => void = () => undefined;
  onClose: (error: Error | undefined) => void = () => undefined;
  readonly #socket: Socket;
  readonly #isEncrypted: boolean;
  #error: Error | undefined;

  /** `socket` is connected, with allowHalfOpen; nothing is read from it before {@link resume}. */
  constructor(socket: Socket, remote: string) {
    this.remote = remote;
    this.#socket = socket;
    this.#isEncrypted = isEncrypted(socket);
    socket.setNoDelay(true);
    socket.pause();
    socket.on('end', () => this.onEnd());
    socket.on('error', (error) => {
      error.message = withoutSources(error.message);
      this.#error = error;
    });
    socket.on('close', () => tellClosed(this, this.#error));
  }

  get onData(): (chunk: Uint8Array) => void {
    return this.#onData;
  }

  /** The socket calls it itself: what would only hand on is one more object to look at for each of many connections. */
  set onData(take: (chunk: Uint8Array) => void) {
    this.#socket.off('data', this.#onData);
    this.#socket.on('data', take);
    this.#onData = take;
  }

  write(chunks: Uint8Array[], written: (error?: Error | null) => void): void {
    const socket = this.#socket;
    const last = chunks.length - 1;
    if (last > 0) socket.cork();
    for (let i = 0; i < last; i++) socket.write(chunks[i]);
    socket.write(chunks[last], written);
    if (last > 0) socket.uncork();
  }

  /** A callback for each write costs a small one as much as a twentieth of it. */
  writeOne(chunk: Uint8Array, written: (error?: Error | null) => void): boolean {
    const socket = this.#socket;
    // What TLS encrypts is never taken at once.
    if (this.#isEncrypted) {
      socket.write(chunk, written);
      return false;
    }
    socket.write(chunk);
    if (socket.writableLength === 0) return true;
    socket.write(NOTHING, written);
    return false;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }

  probe(): void {
    probeSocket(this.#socket);
  }

  destroy(): void {
    resetSocket(this.#socket);
  }

  endOfTick(run: () => void): void {
    setImmediate(run);
  }
}
