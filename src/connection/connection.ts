/**
 * One peer: splitter → reactor → writer. Bytes come in from the transport, whole frames go to the reactor's owner,
 * finished frames go out by the writer. Server and client, Node and browser, all run on this.
 */

import { DecodeError } from '../encoding/codec.ts';
import { ConnectionFlow, Gate } from '../reactor/flow.ts';
import { ConnectionError, ProtocolError } from '../wire/errors.ts';
import { ErrorResponseFlag, type Frame, FrameType, StreamFlag } from '../wire/frame.ts';
import type { Limits } from '../wire/limits.ts';
import { cutUtf8 } from '../wire/payloads.ts';
import { Splitter } from '../wire/splitter.ts';
import type { Transport } from './transport.ts';
import { Writer } from './writer.ts';

export type { Transport } from './transport.ts';

/** Whoever owns the reactor: the server's side of a client, or the client itself. */
export interface FrameOwner {
  /** @throws ProtocolError or DecodeError, which ends the connection as protocol B5 says. */
  receive(frame: Frame): void;
  /** No more frames will come; what is in flight may be finished. */
  onEnd(): void;
  /** A protocol error was found: stop all work, call `sendError` when what was already finished is on its way. */
  onFailed(sendError: () => void, error: ProtocolError): void;
  /** The connection is gone, with the reason if it was not closed in an orderly way. Called once. */
  onClosed(reason: Error | undefined): void;
  /** True in the middle of a command, when the peer may not pause for long. */
  readonly midCommand: boolean;
  /** The error of a command that has been arriving for too long at `nowMs`, by the clock of {@link Connection.inputTimeMs}. */
  overdue(nowMs: number): ProtocolError | undefined;
}

/** After a protocol error: how long we go on swallowing input, so that the peer can read why before it is reset. */
const LINGER_MS = 1000;

const MAX_ERROR_SIZE = 1024;
const NOTHING = new Uint8Array(0);

export class Connection {
  readonly limits: Limits;
  readonly writer: Writer;
  readonly flow: ConnectionFlow;
  readonly #transport: Transport;
  readonly #plainStreamId: number;
  readonly #splitter: Splitter;
  #owner: FrameOwner | undefined;
  #plainBegun = false;
  #state: 'open' | 'ended' | 'failing' | 'closed' = 'open';
  #paused = false;
  #pausedAtMs = 0;
  #pausedForMs = 0;
  #inputTimeMs = 0;
  /** When the frame began that is not whole yet; undefined between frames. */
  #frameSinceMs: number | undefined;
  #watch: ReturnType<typeof setInterval> | undefined;
  /** When the watch should look next. */
  #nextLookMs = 0;
  /** Runs out after a protocol error: nothing is delivered any more. */
  #dropTimer: ReturnType<typeof setTimeout> | undefined;
  #current: Frame | undefined;
  #reason: Error | undefined;
  #maxErrorSize = MAX_ERROR_SIZE;
  bytesRead = 0;

  /**
   * `plainStreamId` is the stream for frames that are never encoded: 1 for a client, 2 for a server. `allOutput`: the
   * level of output that connections have in common.
   */
  constructor(transport: Transport, limits: Limits, plainStreamId: number, allOutput?: Gate) {
    this.#transport = transport;
    this.limits = limits;
    this.#plainStreamId = plainStreamId;
    this.flow = new ConnectionFlow(new Gate(limits.maxBufferedOutput, allOutput));
    this.writer = new Writer(transport, this.flow.output);
    this.#splitter = new Splitter({ maxPayload: limits.maxPayload, onFrame: this.#onFrame });
    transport.onData = (chunk) => this.#onData(chunk);
    transport.onEnd = () => this.#onEnd();
    transport.onClose = (error) => this.#onClose(error);
  }

  get remote(): string {
    return this.#transport.remote;
  }

  /**
   * When the input in hand came, in milliseconds on a clock that stands still while we are not reading: a peer is
   * given the time that it takes, not the time that we take.
   */
  get inputTimeMs(): number {
    return this.#inputTimeMs;
  }

  get open(): boolean {
    return this.#state === 'open' || this.#state === 'ended';
  }

  /** Begins to read, unless it has been paused. */
  start(owner: FrameOwner): void {
    this.#owner = owner;
    if (!this.#paused) this.#transport.resume();
  }

  /** True while input is awaited: the peer has not ended it, and it is not we who do not read. */
  get reading(): boolean {
    return this.#state === 'open' && !this.#paused;
  }

  /** Sends a frame that no context touches, on the plain stream. */
  sendPlain(requestId: number, type: number, flags: number, payload: Uint8Array = NOTHING): void {
    if (this.#state === 'closed') return;
    const begin = this.#plainBegun ? 0 : StreamFlag.begin;
    this.#plainBegun = true;
    this.writer.sendFrame(requestId, this.#plainStreamId, begin, type, flags, payload);
  }

  /** Most bytes of a message in an error frame. */
  get maxErrorSize(): number {
    return this.#maxErrorSize;
  }

  /** The peer takes frames of this size, and no larger ones (protocol C2). */
  peerTakes(maxFrameSize: number = MAX_ERROR_SIZE): void {
    this.#maxErrorSize = Math.min(MAX_ERROR_SIZE, maxFrameSize);
  }

  endOfTick(run: () => void): void {
    this.#transport.endOfTick(run);
  }

  /** Stops reading until {@link resume}; what is being split already still arrives. */
  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#pausedAtMs = performance.now();
    this.#transport.pause();
  }

  resume(): void {
    if (!this.#paused || this.#state === 'closed') return;
    this.#paused = false;
    this.#pausedForMs += performance.now() - this.#pausedAtMs;
    this.#transport.resume();
  }

  /** The peer was waiting for us: the time since its last input was ours, and from now on it is its turn again. */
  restartIdleTime(): void {
    this.#pausedForMs += this.#readingTimeMs() - this.#inputTimeMs;
  }

  /**
   * Closes once everything sent so far has reached the transport; reads on until the peer closes too. `patienceMs`: drops
   * the connection when that takes longer.
   */
  end(patienceMs?: number): void {
    if (this.#state === 'closed') return;
    if (patienceMs !== undefined && this.#dropTimer === undefined) this.#dropAfter(patienceMs);
    this.writer.whenEmpty(this.#endOutput);
  }

  /** Takes no more input, and closes once everything sent so far has reached the transport. */
  finish(): void {
    if (this.#state === 'failing' || this.#state === 'closed') return;
    this.#state = 'failing';
    this.#stopWatch();
    this.#endAndDrop();
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

  /** Ends the connection because of what the peer has sent (protocol B5); an error of our own drops it, and nothing else. */
  fail(error: unknown): void {
    if (this.#state === 'failing' || this.#state === 'closed') return;
    const protocolError = toProtocolError(error);
    if (protocolError === undefined) {
      this.destroy(error as Error);
      return;
    }
    // Held output, the error included, may go once input has ended (protocol A6).
    if (this.#state === 'ended') this.writer.release();
    this.#state = 'failing';
    this.#stopWatch();
    this.#reason ??= protocolError;
    // A peer that does not read cannot hold us, nor what was meant for it.
    this.#dropAfter(this.limits.idleTimeout);
    const requestId = this.#current?.requestId ?? 0;
    this.#owner?.onFailed(() => {
      const text = `protocol error (${protocolError.code}): ${protocolError.message}`;
      const message = cutUtf8(text, this.#maxErrorSize);
      this.sendPlain(requestId, FrameType.errorResponse, ErrorResponseFlag.protocol, message);
      this.#endAndDrop();
    }, protocolError);
  }

  #endAndDrop(): void {
    this.writer.whenEmpty(() => {
      this.#endOutput();
      this.#transport.resume();
      this.#dropAfter(LINGER_MS);
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
    this.#inputTimeMs = this.#readingTimeMs();
    try {
      this.#splitter.push(chunk);
      this.#checkMessage(chunk);
    } catch (error) {
      this.fail(error);
      return;
    }
    if (!this.#splitter.midFrame) this.#frameSinceMs = undefined;
    else if (this.#current !== undefined) this.#frameSinceMs = this.#inputTimeMs;
    else this.#frameSinceMs ??= this.#inputTimeMs;
    this.#current = undefined;
    this.#startWatch();
  }

  /** Where there are messages, each is one or more whole frames (protocol C7). */
  #checkMessage({ length }: Uint8Array): void {
    if (!this.#transport.messages || (length > 0 && !this.#splitter.midFrame)) return;
    throw new ProtocolError(
      'partial-message',
      length === 0 ? 'a message holds no frame' : 'a message ends inside a frame',
    );
  }

  #onEnd(): void {
    // Held output, the error included, may go now (protocol A6).
    if (this.#state === 'failing') this.writer.release();
    if (this.#state !== 'open') return;
    this.#state = 'ended';
    this.#stopWatch();
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
    this.#stopWatch();
    clearTimeout(this.#dropTimer);
    this.writer.close();
    const reason =
      this.#reason ?? (error && new ConnectionError(error.message, { code: 'lost', cause: error }));
    this.#owner?.onClosed(reason);
  }

  #readingTimeMs(): number {
    return (this.#paused ? this.#pausedAtMs : performance.now()) - this.#pausedForMs;
  }

  /** A peer may be silent for as long as it likes, but not in the middle of something (protocol B-limits). */
  #startWatch(): void {
    if (this.#watch !== undefined || !this.#midway) return;
    this.#nextLookMs = performance.now() + this.#watchPeriodMs;
    this.#watch = setInterval(this.#checkTimes, this.#watchPeriodMs);
    (this.#watch as { unref?: () => void }).unref?.();
  }

  get #watchPeriodMs(): number {
    const { idleTimeout, frameTimeout, commandTimeout } = this.limits;
    return Math.min(1000, Math.max(5, Math.min(idleTimeout, frameTimeout, commandTimeout) / 4));
  }

  get #midway(): boolean {
    return this.#splitter.midFrame || (this.#owner?.midCommand ?? false);
  }

  readonly #checkTimes = (): void => {
    this.#forgiveDelay();
    if (this.#state !== 'open' || !this.#midway) {
      this.#stopWatch();
      return;
    }
    // After a long tick of ours, what the peer has sent meanwhile is still to be read: that comes first.
    if (this.#overdue() !== undefined) this.#transport.endOfTick(this.#failIfOverdue);
  };

  /** A look that comes late was held up by us: for so long this thread was busy, or was not run. */
  #forgiveDelay(): void {
    const nowMs = performance.now();
    const lateMs = nowMs - this.#nextLookMs;
    this.#nextLookMs = nowMs + this.#watchPeriodMs;
    if (lateMs > this.#watchPeriodMs && !this.#paused) this.#pausedForMs += lateMs;
  }

  readonly #failIfOverdue = (): void => {
    const error = this.#state === 'open' ? this.#overdue() : undefined;
    if (error !== undefined) this.fail(error);
  };

  #overdue(): ProtocolError | undefined {
    const nowMs = this.#readingTimeMs();
    return this.#frameOverdue(nowMs) ?? this.#owner?.overdue(nowMs);
  }

  #frameOverdue(nowMs: number): ProtocolError | undefined {
    if (this.#frameSinceMs === undefined) return undefined;
    const { idleTimeout, frameTimeout } = this.limits;
    if (nowMs - this.#inputTimeMs >= idleTimeout) {
      return new ProtocolError('timeout', `idleTimeout: idle for ${idleTimeout} ms in the middle of a frame`);
    }
    if (nowMs - this.#frameSinceMs >= frameTimeout) {
      return new ProtocolError('timeout', `frameTimeout: one frame took over ${frameTimeout} ms`);
    }
    return undefined;
  }

  #dropAfter(delayMs: number): void {
    clearTimeout(this.#dropTimer);
    this.#dropTimer = setTimeout(() => this.#transport.destroy(), delayMs);
    (this.#dropTimer as { unref?: () => void }).unref?.();
  }

  #stopWatch(): void {
    clearInterval(this.#watch);
    this.#watch = undefined;
  }
}

function toProtocolError(error: unknown): ProtocolError | undefined {
  if (error instanceof ProtocolError) return error;
  if (error instanceof DecodeError) {
    const { message, cause } = error;
    return new ProtocolError(error.code === 'limit' ? 'limit' : 'corrupt-frame', message, { cause });
  }
  return undefined;
}
