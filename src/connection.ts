/**
 * One peer: splitter → reactor → writer. Bytes come in from the transport, whole frames go to the reactor's owner,
 * finished frames go out by the writer. Server and client, Node and browser, all run on this.
 */

import { DecodeError } from './encoding/codec.ts';
import { Gate } from './reactor/flow.ts';
import { ConnectionError, ProtocolError } from './wire/errors.ts';
import { ErrorResponseFlag, type Frame, FrameType, StreamFlag } from './wire/frame.ts';
import type { Limits } from './wire/limits.ts';
import { cutUtf8 } from './wire/payloads.ts';
import { Splitter } from './wire/splitter.ts';
import { type Transport, Writer } from './writer.ts';

export type { Transport } from './writer.ts';

/** Whoever owns the reactor: the server's side of a client, or the client itself. */
export interface FrameOwner {
  /** @throws ProtocolError or DecodeError, which ends the connection as part B5 says. */
  receive(frame: Frame): void;
  /** No more frames will come; what is in flight may be finished. */
  onEnd(): void;
  /** A protocol error was found: stop all work, call `sendError` when what was already finished is on its way. */
  onFailed(sendError: () => void): void;
  /** The connection is gone, with the reason if it was not closed in an orderly way. Called once. */
  onClosed(reason: Error | undefined): void;
  /** True in the middle of a command, when the peer may not pause for long. */
  readonly midCommand: boolean;
}

/** After a protocol error: how long we go on swallowing input, so that the peer can read why before it is reset. */
const LINGER = 1000;

const NOTHING = new Uint8Array(0);

export class Connection {
  readonly limits: Limits;
  readonly writer: Writer;
  /** Output that is waiting anywhere on our side: in lanes, in the writer, in the transport. */
  readonly output: Gate;
  readonly #transport: Transport;
  readonly #plainStreamId: number;
  readonly #splitter: Splitter;
  #owner: FrameOwner | undefined;
  #plainBegun = false;
  #state: 'open' | 'ended' | 'failing' | 'closed' = 'open';
  #paused = false;
  #lastInput = 0;
  #idleTimer: ReturnType<typeof setTimeout> | undefined;
  #lingerTimer: ReturnType<typeof setTimeout> | undefined;
  #current: Frame | undefined;
  #reason: Error | undefined;
  bytesRead = 0;

  /** `plainStreamId` is the stream for frames that are never encoded: 1 for a client, 2 for a server. */
  constructor(transport: Transport, limits: Limits, plainStreamId: number) {
    this.#transport = transport;
    this.limits = limits;
    this.#plainStreamId = plainStreamId;
    this.output = new Gate(limits.maxBufferedOutput);
    this.writer = new Writer(transport, this.output);
    this.#splitter = new Splitter({ maxPayload: limits.maxPayload, onFrame: this.#onFrame });
    transport.onData = (chunk) => this.#onData(chunk);
    transport.onEnd = () => this.#onEnd();
    transport.onClose = (error) => this.#onClose(error);
  }

  get remote(): string {
    return this.#transport.remote;
  }

  get open(): boolean {
    return this.#state === 'open' || this.#state === 'ended';
  }

  /** Begins to read. */
  start(owner: FrameOwner): void {
    this.#owner = owner;
    this.#transport.resume();
  }

  /** Sends a frame that no context touches, on the plain stream. */
  sendPlain(requestId: number, type: number, flags: number, payload: Uint8Array = NOTHING): void {
    if (this.#state === 'closed') return;
    const begin = this.#plainBegun ? 0 : StreamFlag.begin;
    this.#plainBegun = true;
    this.writer.sendFrame(requestId, this.#plainStreamId, begin, type, flags, payload);
  }

  /** The stream that {@link sendPlain} uses. */
  get plainStreamId(): number {
    return this.#plainStreamId;
  }

  endOfTick(run: () => void): void {
    this.#transport.endOfTick(run);
  }

  /** Stops reading until {@link resume}; what is being split already still arrives. */
  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#transport.pause();
  }

  resume(): void {
    if (!this.#paused || this.#state === 'closed') return;
    this.#paused = false;
    this.#lastInput = Date.now();
    this.#transport.resume();
  }

  /** The peer was waiting for us: from now on it is its turn again. */
  restartIdleTime(): void {
    this.#lastInput = Date.now();
  }

  /** Closes once everything sent so far has reached the transport; reads on until the peer closes too. */
  end(): void {
    if (this.#state === 'closed') return;
    this.writer.whenEmpty(this.#endOutput);
  }

  /** What is still on its way from a lane, for a request that was given up, is dropped from here on. */
  readonly #endOutput = (): void => {
    this.#transport.end();
    this.writer.close();
  };

  /** Drops the connection; `reason` reaches the owner's onClosed(). */
  destroy(reason?: Error): void {
    this.#reason ??= reason;
    this.#transport.destroy();
  }

  /** Ends the connection because of what the peer has sent (B5). */
  fail(error: unknown): void {
    if (this.#state === 'failing' || this.#state === 'closed') return;
    // Held output, the error included, may go once input has ended (A6).
    if (this.#state === 'ended') this.writer.release();
    this.#state = 'failing';
    this.#stopIdleTimer();
    const protocolError = toProtocolError(error);
    this.#reason ??= protocolError;
    const requestId = this.#current?.requestId ?? 0;
    this.#owner?.onFailed(() => {
      const text = `protocol error (${protocolError.code}): ${protocolError.message}`;
      const message = cutUtf8(text, 1024);
      this.sendPlain(requestId, FrameType.errorResponse, ErrorResponseFlag.protocol, message);
      this.writer.whenEmpty(() => {
        this.#endOutput();
        this.#transport.resume();
        this.#lingerTimer = setTimeout(() => this.#transport.destroy(), LINGER);
      });
    });
  }

  readonly #onFrame = (frame: Frame): boolean => {
    this.#current = frame;
    this.#owner?.receive(frame);
    return this.#state === 'open';
  };

  #onData(chunk: Uint8Array): void {
    if (this.#state !== 'open') return;
    this.bytesRead += chunk.length;
    this.#lastInput = Date.now();
    try {
      this.#splitter.push(chunk);
      this.#current = undefined;
    } catch (error) {
      this.fail(error);
      return;
    }
    this.#watchIdle();
  }

  #onEnd(): void {
    // Held output, the error included, may go now (A6).
    if (this.#state === 'failing') this.writer.release();
    if (this.#state !== 'open') return;
    this.#state = 'ended';
    this.#stopIdleTimer();
    try {
      this.#splitter.finish();
    } catch (error) {
      this.#reason ??= error as Error;
    }
    this.#owner?.onEnd();
  }

  #onClose(error: Error | undefined): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#stopIdleTimer();
    clearTimeout(this.#lingerTimer);
    this.writer.close();
    const reason = this.#reason ?? (error && new ConnectionError(error.message, { cause: error }));
    this.#owner?.onClosed(reason);
  }

  /** A peer may be silent for as long as it likes, but not in the middle of something (B-limits). */
  #watchIdle(): void {
    if (this.#idleTimer !== undefined || !this.#midway) return;
    this.#idleTimer = setTimeout(this.#checkIdle, this.limits.idleTimeout);
    (this.#idleTimer as { unref?: () => void }).unref?.();
  }

  get #midway(): boolean {
    return this.#splitter.midFrame || (this.#owner?.midCommand ?? false);
  }

  readonly #checkIdle = (): void => {
    this.#idleTimer = undefined;
    if (this.#state !== 'open' || !this.#midway) return;
    const idle = Date.now() - this.#lastInput;
    if (!this.#paused && idle >= this.limits.idleTimeout) {
      const where = this.#splitter.midFrame ? 'frame' : 'command';
      this.fail(new ProtocolError('timeout', `idle for ${idle} ms in the middle of a ${where}`));
      return;
    }
    const wait = this.#paused ? this.limits.idleTimeout : this.limits.idleTimeout - idle;
    this.#idleTimer = setTimeout(this.#checkIdle, wait);
    (this.#idleTimer as { unref?: () => void }).unref?.();
  };

  #stopIdleTimer(): void {
    clearTimeout(this.#idleTimer);
    this.#idleTimer = undefined;
  }
}

function toProtocolError(error: unknown): ProtocolError {
  if (error instanceof ProtocolError) return error;
  if (error instanceof DecodeError) {
    return new ProtocolError(error.code === 'limit' ? 'limit' : 'corrupt-frame', error.message);
  }
  throw error;
}
