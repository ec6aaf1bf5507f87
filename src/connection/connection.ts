/**
 * One peer: splitter → reactor → writer. Bytes come in from the transport, whole frames go to the reactor's owner,
 * finished frames go out by the writer. Server and client, Node and browser, all run on this.
 */

import { DecodeError } from '../encoding/codec.ts';
import { Gate } from '../reactor/gate.ts';
import type { InputBudget } from '../reactor/input-budget.ts';
import { type InputShare, unbounded } from '../reactor/input-share.ts';
import { ConnectionError, ProtocolError } from '../wire/errors.ts';
import { ErrorResponseFlag, type Frame, FrameType, HEADER_SIZE, StreamFlag } from '../wire/frame.ts';
import type { Limits } from '../wire/limits.ts';
import { cutUtf8 } from '../wire/payloads.ts';
import { Splitter } from '../wire/splitter.ts';
import { after, unref } from '../wire/timers.ts';
import { InputClock } from './input-clock.ts';
import { InputWatch, type Watched } from './input-watch.ts';
import type { Transport } from './transport.ts';
import { type Slice, TurnShare, Turns, TurnTaker } from './turns.ts';
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
  /** The error of a command that has been arriving for too long at `nowMs`, by {@link Connection.clock}. */
  overdue(nowMs: number): ProtocolError | undefined;
}

/** After a protocol error: how long we go on swallowing input, so that the peer can read why before it is reset. */
const LINGER_MS = 1000;

/** What connections of one process have in common. */
export interface Shared {
  /** The time of their thread. */
  readonly turns: Turns;
  /** The level of their output. */
  readonly output: Gate;
  /** What their peers make us hold on the way in. */
  readonly input: InputBudget;
}

const MAX_ERROR_SIZE = 1024;
/** So many bytes may wait for their turn without the peer being held back: to stop reading, and begin again, costs more than they do. */
const LITTLE_INPUT = 4096;
const NOTHING = new Uint8Array(0);
/** Never added to: an array that is left behind with something in it may grow old, and keep that for long. */
const NO_INPUT: Uint8Array[] = [];

export class Connection extends TurnTaker implements Watched {
  readonly limits: Limits;
  readonly clock = new InputClock();
  readonly writer: Writer;
  /** Output that waits anywhere on our side: in lanes, in the writer, in the transport. */
  readonly output: Gate;
  /** What is held of all that the peer has sent. */
  readonly input: InputShare;
  readonly #transport: Transport;
  readonly #plainStreamId: number;
  readonly #splitter: Splitter;
  #owner: FrameOwner | undefined;
  #plainBegun = false;
  #state: 'open' | 'ended' | 'failing' | 'closed' = 'open';
  readonly turns: Turns;
  /** What has come and waits for its turn, the oldest first. */
  #input = NO_INPUT;
  /** The transport delivers nothing, because we are paused or because input waits. */
  #held = true;
  /** The peer has ended its side behind the input that waits. */
  #endWaits = false;
  #paused = false;
  readonly #watch: InputWatch;
  /** Runs out after a protocol error: nothing is delivered any more. */
  #dropTimer: ReturnType<typeof setTimeout> | undefined;
  /** Whose frame is in hand; undefined: none has come of the chunk in hand. */
  #currentId: number | undefined;
  /** Whether the input so far has ended in the middle of something. */
  #wasMidway = false;
  #reason: Error | undefined;
  #maxErrorSize = MAX_ERROR_SIZE;
  bytesRead = 0;
  /** Bytes that are held of the frame that is not whole yet. */
  #partial = 0;

  /**
   * `plainStreamId` is the stream for frames that are never encoded: 1 for a client, 2 for a server. `shared`: what it has
   * in common with others.
   */
  constructor(transport: Transport, limits: Limits, plainStreamId: number, shared?: Shared) {
    super();
    this.turns = shared?.turns ?? new Turns((run) => transport.endOfTick(run));
    this.#transport = transport;
    this.limits = limits;
    this.#plainStreamId = plainStreamId;
    this.#watch = new InputWatch(limits, this.clock, this);
    this.output = new Gate(limits.maxBufferedOutput, shared?.output);
    this.input = shared?.input.open() ?? unbounded();
    this.writer = new Writer(transport, this.output, new TurnShare(this.turns), this.turns.ends);
    this.#splitter = new Splitter(this);
    // V8 makes a function that is written in an assignment among what is old: with it the connection would outlive its time.
    transport.onData = this.#onData;
    transport.onEnd = this.#onEnd;
    transport.onClose = this.#onClose;
  }

  get remote(): string {
    return this.#transport.remote;
  }

  /** For the {@link Splitter}. */
  get maxPayload(): number {
    return this.limits.maxPayload;
  }

  /** For {@link InputWatch}, as are the next two. */
  get midway(): boolean {
    return this.#splitter.midFrame || (this.#owner?.midCommand ?? false);
  }

  get inputWaits(): boolean {
    return this.#input.length > 0;
  }

  overdue(nowMs: number): ProtocolError | undefined {
    return this.#owner?.overdue(nowMs);
  }

  get open(): boolean {
    return this.#state === 'open' || this.#state === 'ended';
  }

  /** Begins to read, unless it has been paused. */
  start(owner: FrameOwner): void {
    this.#owner = owner;
    if (!this.#paused) this.#letCome();
  }

  /** True while input is awaited: the peer has not ended it, and it is not we who do not read. */
  get reading(): boolean {
    return this.#state === 'open' && !this.#paused && this.#input.length === 0;
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

  /** Stops reading until {@link resume}, after the frame in hand. */
  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.clock.pause();
    this.#splitter.hold();
    this.#hold();
  }

  resume(): void {
    if (!this.#paused || this.#state === 'closed') return;
    this.#paused = false;
    this.clock.resume();
    if (this.#input.length > 0) this.turns.readyLater(this);
    else this.#letCome();
  }

  #hold(): void {
    if (this.#held) return;
    this.#held = true;
    this.#transport.pause();
  }

  /** To be called once in a while: input of a peer that has gone is dropped, also while we do not read and cannot see it go. */
  probe(): void {
    if (this.#held && this.#state !== 'closed') this.#transport.probe?.();
  }

  #letCome(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#transport.resume();
  }

  /** Nothing of the input that waits is read any more. */
  #dropInput(): void {
    this.#input = NO_INPUT;
    this.bytes = 0;
    if (!this.#paused) this.#letCome();
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
    this.#dropInput();
    this.#watch.stop();
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
    if (this.#state === 'ended' || this.#endWaits) this.writer.release();
    this.#state = 'failing';
    this.#dropInput();
    this.#watch.stop();
    this.#reason ??= protocolError;
    // A peer that does not read cannot hold us, nor what was meant for it.
    this.#dropAfter(this.limits.idleTimeout);
    const requestId = this.#currentId ?? 0;
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
      this.#letCome();
      this.#dropAfter(LINGER_MS);
    });
  }

  /** For the {@link Splitter}. */
  onFrame(frame: Frame): boolean {
    this.#currentId = frame.requestId;
    if (this.turns.slice.count(HEADER_SIZE + frame.payload.length)) this.#splitter.hold();
    this.#owner?.receive(frame);
    return this.#state === 'open';
  }

  readonly #onData = (chunk: Uint8Array): void => {
    if (this.#state !== 'open') return;
    this.bytesRead += chunk.length;
    this.bytes += chunk.length;
    if (this.#paused || !this.turns.ready(this, chunk)) {
      if (this.#input === NO_INPUT) this.#input = [];
      this.#input.push(chunk);
    }
    if (this.bytes > LITTLE_INPUT) this.#hold();
  };

  /** Reads what has come, until the slice is over; whether there is more to read. `chunk` has just come: nothing is before it. */
  run(slice: Slice, chunk?: Uint8Array): boolean {
    // What is answered at once goes out while all that it takes is at hand.
    this.writer.gather();
    if (chunk !== undefined) this.#split(chunk);
    while (this.#input.length > 0 && !this.#paused && !slice.over) this.#split(this.#next());
    this.writer.flush();
    if (this.#paused) return false;
    if (this.#input.length > 0) return true;
    if (this.#endWaits) this.#onEnd();
    else if (this.#state === 'open') this.#letCome();
    return false;
  }

  #next(): Uint8Array {
    const next = this.#input[0];
    if (this.#input.length > 1) this.#input.shift();
    else this.#input = NO_INPUT;
    return next;
  }

  /** What it does not take waits, before all else. */
  #split(chunk: Uint8Array): void {
    this.clock.take();
    let taken: number;
    try {
      taken = this.#splitter.push(chunk);
      if (taken === chunk.length) this.#checkMessage(chunk);
    } catch (error) {
      this.fail(error);
      return;
    }
    // What has failed or ended meanwhile has dropped it.
    if (this.#state !== 'open') return;
    this.bytes -= taken;
    if (taken < chunk.length) this.#input = [chunk.subarray(taken), ...this.#input];
    this.#countPartial();
    const { midway } = this;
    if (midway || this.#wasMidway) this.#watch.took(this.#splitter.midFrame, this.#currentId !== undefined);
    this.#wasMidway = midway;
    this.#currentId = undefined;
  }

  /** Where there are messages, each is one or more whole frames (protocol C7). */
  #checkMessage({ length }: Uint8Array): void {
    if (!this.#transport.messages || (length > 0 && !this.#splitter.midFrame)) return;
    throw new ProtocolError(
      'partial-message',
      length === 0 ? 'a message holds no frame' : 'a message ends inside a frame',
    );
  }

  /** A frame that is not whole yet cannot be let go of: where there is no room for it, nor can be, the connection ends. */
  #countPartial(): void {
    const { held } = this.#splitter;
    if (held === this.#partial) return;
    const { input } = this;
    input.take(held - this.#partial);
    this.#partial = held;
    if (held > input.own && !input.makeRoom(0))
      this.fail(new ProtocolError('limit', 'inputMemory: no memory is left for the rest of a frame'));
  }

  readonly #onEnd = (): void => {
    // Held output, the error included, may go now (protocol A6).
    if (this.#state === 'failing') this.writer.release();
    if (this.#state !== 'open') return;
    this.#endWaits = this.#input.length > 0;
    if (this.#endWaits) return;
    this.#state = 'ended';
    this.#watch.stop();
    this.#reason ??= this.#brokenOff();
    this.#owner?.onEnd();
  };

  /** What it means that no more bytes come; undefined: nothing. A frame that is not whole says that the way to the peer broke. */
  #brokenOff(): Error | undefined {
    try {
      this.#splitter.finish();
    } catch (error) {
      const { code, message } = error as ProtocolError;
      return code === 'limit'
        ? (error as Error)
        : new ConnectionError(message, { code: 'lost', cause: error });
    }
  }

  readonly #onClose = (error: Error | undefined): void => {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#input = NO_INPUT;
    this.bytes = 0;
    this.#watch.stop();
    clearTimeout(this.#dropTimer);
    this.writer.close();
    this.input.close();
    if (error !== undefined)
      this.#reason ??=
        this.#brokenOff() ?? new ConnectionError(error.message, { code: 'lost', cause: error });
    this.#owner?.onClosed(this.#reason);
  };

  #dropAfter(delayMs: number): void {
    clearTimeout(this.#dropTimer);
    this.#dropTimer = unref(after(delayMs, () => this.#transport.destroy()));
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
