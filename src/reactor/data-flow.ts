/**
 * The flow of command data at a server: what has come and is not read, and what a client may still send (protocol C4,
 * `data-credit`). Arithmetic without I/O; a client without the extension is held to nothing here, only counted.
 */

import { DEFAULT_FRAME_SIZE } from '../wire/frame.ts';
import { overLimit } from '../wire/limits.ts';
import type { InputShare } from './input-share.ts';
import { ReceiveWindow } from './window.ts';

/** What a client that speaks `data-credit` is held to. */
export interface DataWindows {
  /** Bytes of command data that each request may have sent and not been credited. */
  readonly requestWindow: number;
  /** The same for all requests of the connection together. */
  readonly connectionWindow: number;
  /** Sends credit; request 0 is the connection. */
  grant(requestId: number, bytes: number): void;
}

/** The command data of one connection. */
export class ConnectionData {
  readonly #onRead: () => void;
  readonly #input: InputShare;
  #unread = 0;
  #windows: DataWindows | undefined;
  #window: ReceiveWindow | undefined;
  /** Bytes that were credited although nobody knows whether they had been sent. */
  #forgiven = 0;

  /** `input`: where what is unread counts. `onRead` is told when something that was held has been read, or dropped. */
  constructor(input: InputShare, onRead: () => void) {
    this.#input = input;
    this.#onRead = onRead;
  }

  /** The client keeps to `windows`; for use before the first request. */
  limit(windows: DataWindows): void {
    this.#windows = windows;
    this.#window = new ReceiveWindow(windows.connectionWindow, (bytes) => windows.grant(0, bytes), true);
  }

  get windows(): DataWindows | undefined {
    return this.#windows;
  }

  /** Bytes that have come and have not been read. */
  get unread(): number {
    return this.#unread;
  }

  /** Whether the client may be waiting for credit of the connection. */
  get owed(): boolean {
    return this.#window !== undefined && isOwed(this.#window);
  }

  /** @throws ProtocolError when the client has passed the connection's window. */
  came(bytes: number): void {
    this.#unread += bytes;
    this.#input.take(bytes);
    if (this.#window === undefined || this.#window.receive(bytes)) return;
    const { size } = this.#window;
    throw overLimit('maxConnectionData', `command data passed the connectionWindow of ${size} bytes`);
  }

  /** `counted`: bytes of these that still count as held. */
  read(bytes: number, counted = bytes): void {
    this.#unread -= bytes;
    this.#input.give(counted);
    this.#window?.release(bytes);
    this.#onRead();
  }

  /** `bytes` are about to be dropped, and do not count as held any more. */
  letGo(bytes: number): void {
    this.#input.give(bytes);
  }

  /** Data has come that nobody waits for. @throws ProtocolError as {@link came} does. */
  unwanted(bytes: number): void {
    if (bytes === 0) return;
    this.came(bytes);
    this.read(bytes);
  }

  /**
   * A frame of command data was lost with our own decoder, and nobody knows how many bytes it had. The client gets what
   * such a frame holds at most (protocol A1), so that its window does not run dry through our fault; once only for every
   * byte of the window, for a client might make us lose frames.
   */
  lost(): void {
    if (this.#window === undefined || this.#windows === undefined) return;
    const bytes = Math.min(DEFAULT_FRAME_SIZE, this.#window.size - this.#forgiven);
    if (bytes <= 0) return;
    this.#forgiven += bytes;
    this.#window.extend(bytes);
  }
}

/** The command data of one request. */
export class RequestData {
  readonly #connection: ConnectionData;
  readonly #requestId: number;
  /** Made when the first comes: most requests have none. */
  #window: ReceiveWindow | undefined;
  #unread = 0;
  /** Bytes of these that were let go of. */
  #letGo = 0;
  #closed = false;

  constructor(connection: ConnectionData, requestId: number) {
    this.#connection = connection;
    this.#requestId = requestId;
  }

  #openWindow(): ReceiveWindow | undefined {
    const { windows } = this.#connection;
    if (windows === undefined) return undefined;
    return new ReceiveWindow(windows.requestWindow, (bytes) => {
      if (!this.#closed) windows.grant(this.#requestId, bytes);
    });
  }

  /** Bytes that have come and have not been read. */
  get unread(): number {
    return this.#unread;
  }

  /** Whether the client may be waiting for credit, and not we for the client. */
  get owed(): boolean {
    return (this.#window !== undefined && isOwed(this.#window)) || this.#connection.owed;
  }

  /** @throws ProtocolError when the client has passed a window. */
  came(bytes: number): void {
    this.#unread += bytes;
    this.#connection.came(bytes);
    this.#window ??= this.#openWindow();
    if (this.#window === undefined || this.#window.receive(bytes)) return;
    const passed = `command data of request ${this.#requestId} passed its requestWindow of ${this.#window.size} bytes`;
    throw overLimit('maxRequestData', passed);
  }

  /** The handler has taken, or will never take, so many bytes. */
  read(bytes: number): void {
    const counted = Math.max(0, bytes - this.#letGo);
    this.#letGo -= bytes - counted;
    this.#unread -= bytes;
    this.#window?.release(bytes);
    this.#connection.read(bytes, counted);
  }

  /** The request was stopped: what a lane has been told to drop counts as dropped. */
  letGo(): void {
    this.#connection.letGo(this.#unread - this.#letGo);
    this.#letGo = this.#unread;
  }

  /** The request is over: the rest counts as read, for the connection alone. */
  close(): void {
    this.#closed = true;
    if (this.#unread > 0) this.read(this.#unread);
  }
}

/** Credit goes for half a window: from there on a client may find what is left too little for its next piece. */
function isOwed({ available, size }: ReceiveWindow): boolean {
  return available <= size / 2;
}
