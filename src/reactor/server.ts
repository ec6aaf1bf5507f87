/** The server's protocol state, without I/O: frames in, actions out (protocol A4, A6, B, C). */

import { ProtocolError } from '../wire/errors.ts';
import { type Failure, saysNotStarted } from '../wire/failure.ts';
import { type Frame, FrameType } from '../wire/frame.ts';
import { DEFAULT_LIMITS, type Limits, overLimit, PIECE_COST } from '../wire/limits.ts';
import { BusyRequests } from './busy-requests.ts';
import { type CancelAction, ControlFrames } from './control.ts';
import { HeldArguments } from './held-arguments.ts';
import { type Decoders, IncomingFrames, type Ticket, wrongType } from './incoming.ts';
import { IncomingCommand } from './incoming-command.ts';
import { type InputShare, unbounded } from './input-share.ts';
import type { Actions } from './server-action.ts';

/** Milliseconds. */
export interface ReactorClock {
  /** When the input in hand came, by a clock that stands still while we do not read. */
  readonly inputMs: number;
}

const SYSTEM_CLOCK: ReactorClock = {
  get inputMs(): number {
    return performance.now();
  },
};

export class ServerReactor {
  readonly #limits: Limits;
  readonly #frames: IncomingFrames;
  readonly #clock: ReactorClock;
  readonly #controls: ControlFrames;
  readonly #requests = new BusyRequests();
  #actions: Actions = [];
  #state: 'open' | 'ended' | 'errored' = 'open';
  #holdsOutput: boolean;
  #endPending = false;
  #framesSeen = false;
  readonly #arguments: HeldArguments;
  #lingering = 0;

  /**
   * `halfDuplex`: the transport cannot answer while it is still reading (protocol A6). `clock`: by which the
   * time that a command takes is counted. `input`: where what is held counts. `rateNow`: milliseconds for rates, which must
   * not stand still while we do not read: what has come meanwhile was not sent at once.
   */
  constructor(
    limits: Limits,
    decoders: Decoders,
    halfDuplex = false,
    clock: ReactorClock = SYSTEM_CLOCK,
    input: InputShare = unbounded(),
    rateNow = () => clock.inputMs,
  ) {
    this.#limits = limits;
    this.#arguments = new HeldArguments(limits, input);
    this.#clock = clock;
    this.#controls = new ControlFrames(limits, rateNow);
    this.#holdsOutput = halfDuplex;
    this.#frames = new IncomingFrames('client', limits, decoders, this, rateNow, input);
  }

  /** Bytes held until a decoder answers. */
  get heldBytes(): number {
    return this.#frames.heldBytes;
  }

  /** True while some frame that has come waits for a decoder. */
  get decoding(): boolean {
    return this.#frames.waiting;
  }

  /** True while some command has begun to arrive and is not whole. */
  get midCommand(): boolean {
    return this.#requests.midCommand;
  }

  /** Requests being received or running. */
  get openRequests(): number {
    return this.#requests.open(this.#isOverForPeer);
  }

  /** A request that is answered, and whose last frames wait for our decoder: the peer may have ended it by now. */
  readonly #isOverForPeer = ({ answered, requestId }: IncomingCommand): boolean =>
    answered && this.#frames.holds(requestId);

  /**
   * The command that has been arriving for too long at `nowMs`, if there is one: its arguments as a whole
   * (`commandTimeout`) or its next frame (`idleTimeout`). `waitsForUs`: whether the peer owes nothing of this request.
   */
  overdue(
    nowMs: number,
    waitsForUs: (requestId: number) => boolean = () => false,
  ): ProtocolError | undefined {
    // Frames that wait for our own decoder are no delay of the peer's.
    if (this.#frames.heldBytes > 0) return undefined;
    for (const command of this.#requests.allReceiving()) {
      if (waitsForUs(command.requestId)) command.newestMs = nowMs;
      const error = command.overdue(nowMs, this.#limits);
      if (error !== undefined) return error;
    }
    return undefined;
  }

  /**
   * So many more handlers (or fewer) are still at work although their response is over: they count as requests, and what
   * they have of arguments as held.
   */
  linger(handlers: number, argumentBytes: number): void {
    this.#lingering += handlers;
    this.#arguments.linger(argumentBytes);
  }

  /** Half duplex: all output, in the order in which it is produced, waits for the end of input (protocol A6). */
  get holdsOutput(): boolean {
    return this.#holdsOutput;
  }

  /**
   * Takes one frame and appends what is to be done to `actions`.
   * @throws ProtocolError, after which only {@link endOfInput} and responses to running requests are in order (protocol B5).
   */
  receive(frame: Frame, actions: Actions): void {
    if (this.#state === 'errored') throw new ProtocolError('already-errored', 'frame after a protocol error');
    if (this.#state === 'ended')
      throw this.#fail(new ProtocolError('frame-after-end', 'frame after end of input'));
    this.#actions = actions;
    try {
      this.#frames.push(frame);
    } catch (error) {
      throw this.#fail(error);
    }
  }

  /** A decoder has answered. @throws ProtocolError as {@link receive} does. */
  decoded(ticket: Ticket, actions: Actions): void {
    if (this.#state === 'errored') return;
    this.#actions = actions;
    try {
      this.#frames.decoded(ticket);
    } catch (error) {
      throw this.#fail(error);
    }
    if (this.#endPending && !this.decoding) this.#finishInput(actions);
  }

  /**
   * End of input: what is partly received is abandoned, the rest goes on (protocol B7). A second call does nothing. What has
   * come and is still being decoded has come: the end waits for it.
   */
  endOfInput(actions: Actions): void {
    if (this.#state === 'ended') return;
    if (this.#state === 'open') this.#state = 'ended';
    if (this.decoding) this.#endPending = true;
    else this.#finishInput(actions);
  }

  #finishInput(actions: Actions): void {
    this.#endPending = false;
    for (const { requestId } of this.#requests.allReceiving()) {
      if (!this.#requests.isRunning(requestId)) continue;
      this.finishResponse(requestId);
      actions.push({ kind: 'abandon', requestId });
    }
    this.#forgetReceiving();
    if (!this.#holdsOutput) return;
    this.#holdsOutput = false;
    actions.push({ kind: 'release-output' });
  }

  /** Of the commands whose arguments are still coming, the one that holds the most. */
  get largestReceiving(): { requestId: number; held: number } | undefined {
    let largest: IncomingCommand | undefined;
    for (const each of this.#requests.allReceiving())
      if (each.expectsArguments && each.held > (largest?.held ?? 0)) largest = each;
    return largest;
  }

  /** Gives up a command whose arguments are still coming. */
  dropReceiving(requestId: number, failure: Failure, actions: Actions): void {
    const request = this.#requests.receiving(requestId);
    if (request === undefined) return;
    this.#actions = actions;
    this.#drop(request, failure);
  }

  /** Forgets the commands that are not whole yet; those that run go on, and free their arguments when they are over. */
  #forgetReceiving(): void {
    for (const request of this.#requests.endReceiving()) this.#arguments.free(request);
  }

  /** Takes nothing more: after an error that was found outside, such as a limit of the splitter (protocol B5), or at the end. */
  stop(): void {
    this.#state = 'errored';
    this.#forgetReceiving();
    this.#frames.close();
  }

  /** All of the response is on its way: a cancel that comes now is too late. */
  answered(requestId: number): void {
    this.#requests.answered(requestId);
  }

  /** The last byte of the response has been handed to the transport: the ID is free (protocol A4). */
  finishResponse(requestId: number): void {
    const request = this.#requests.finish(requestId);
    if (request !== undefined) this.#arguments.free(request);
  }

  isRunning(requestId: number): boolean {
    return this.#requests.isRunning(requestId);
  }

  #fail(error: unknown): unknown {
    this.stop();
    return error;
  }

  /** For {@link IncomingFrames}. */
  take(frame: Frame, payload: Uint8Array, lost: Failure | undefined): void {
    const first = !this.#framesSeen;
    this.#framesSeen = true;
    if (lost !== undefined) return this.#loseFrame(frame, lost);
    switch (frame.type) {
      case FrameType.commandName:
        return this.#commandName(frame, payload);
      case FrameType.commandArgument:
      case FrameType.commandData:
        return this.#commandRest(frame, payload);
      default:
        return this.#control(frame, payload, first);
    }
  }

  #commandName(frame: Frame, payload: Uint8Array): void {
    this.#requests.checkFree(frame.requestId);
    const request = IncomingCommand.begin(frame, payload, this.#limits, this.#clock.inputMs);
    const overloaded = this.#overloaded();
    this.#arguments.add(request, PIECE_COST);
    if (overloaded !== undefined) return this.#refuse(request, overloaded);
    this.#requests.begin(request);
    if (!request.expectsArguments) this.#run(request);
  }

  /**
   * Why there is no room for another request. What a peer cannot know yet is no reason to end its connection: that we take
   * fewer than a client may expect without our settings, which of its cancels have come, how long cancelled code goes on.
   * @throws ProtocolError when it must know.
   */
  #overloaded(): Failure | undefined {
    const { maxConcurrentRequests: most } = this.#limits;
    // To tell which of the busy ones are open takes a look at each.
    if (this.#requests.size + this.#lingering < most) return undefined;
    if (this.openRequests + this.#lingering < most) return undefined;
    if (this.#requests.unanswered >= Math.max(most, DEFAULT_LIMITS.maxConcurrentRequests))
      throw overLimit('maxConcurrentRequests', `more than ${most} concurrent requests`);
    const what =
      this.openRequests >= most
        ? `no more than ${most} requests at a time`
        : `${this.#lingering} cancelled requests are still at work`;
    return { code: 'overloaded', message: `maxConcurrentRequests: ${what}` };
  }

  #commandRest(frame: Frame, payload: Uint8Array): void {
    const id = frame.requestId;
    const request = this.#requests.receiving(id);
    if (request === undefined) {
      if (this.#requests.isPassedOver(id)) return this.#unwanted(frame, payload);
      throw this.#unexpected(frame);
    }
    request.newestMs = this.#clock.inputMs;
    if (frame.type === FrameType.commandArgument) this.#argument(request, frame, payload);
    else this.#data(request, frame, payload);
  }

  #unexpected(frame: Frame): ProtocolError {
    const id = frame.requestId;
    if (!this.midCommand) return expectedCommand(frame);
    if (this.isRunning(id)) {
      return new ProtocolError('request-still-active', `frame for request ${id}, which is already active`);
    }
    return new ProtocolError('request-not-receiving', `frame for request ${id}, which is not being received`);
  }

  #argument(request: IncomingCommand, frame: Frame, payload: Uint8Array): void {
    const taken = request.takeArgument(frame, payload, this.#limits, this.#arguments);
    if (taken === false) return;
    if (taken !== true) {
      this.#drop(request, taken);
      return;
    }
    if (!request.expectsData) this.#requests.received(request);
    this.#run(request);
  }

  /** A command that is still being received has no room: nothing of it runs. */
  #drop(request: IncomingCommand, failure: Failure): void {
    this.#requests.received(request);
    request.drop();
    this.#arguments.free(request);
    this.#refuse(request, failure);
  }

  #data(request: IncomingCommand, frame: Frame, payload: Uint8Array): void {
    const { requestId } = request;
    const last = request.takeData(frame, payload, this.#limits);
    if (last) this.#requests.received(request);
    if (this.isRunning(requestId)) this.#actions.push({ kind: 'data', requestId, bytes: payload, last });
    else this.#unwanted(frame, payload);
  }

  #unwanted({ type }: Frame, { length: bytes }: Uint8Array): void {
    if (type === FrameType.commandData && bytes > 0) this.#actions.push({ kind: 'unwanted', bytes });
  }

  #run(request: IncomingCommand): void {
    const { requestId, command, args, reserved, expectsData: hasData } = request;
    this.#requests.run(request);
    this.#actions.push({ kind: 'run', command: { requestId, command, args, reserved, hasData } });
  }

  /** Our own decoder died. */
  #loseFrame(frame: Frame, lost: Failure): void {
    const id = frame.requestId;
    if (frame.type === FrameType.commandData) this.#actions.push({ kind: 'lost-data' });
    const isName = frame.type === FrameType.commandName;
    if (isName) this.#requests.checkFree(id);
    const request = isName
      ? new IncomingCommand(id, '', false, false, this.#clock.inputMs)
      : this.#requests.stopReceiving(id);
    if (request === undefined) return;
    const runs = this.isRunning(id) && saysNotStarted(lost.code);
    this.#refuse(request, runs ? { ...lost, code: 'internal' } : lost);
  }

  /** Only this request fails, and what else arrives of its command is passed over. */
  #refuse(request: IncomingCommand, failure: Failure): void {
    const { requestId } = request;
    this.#requests.passOver(requestId);
    this.#requests.answer(request);
    this.#actions.push({ kind: 'fail', requestId, failure });
  }

  #control(frame: Frame, payload: Uint8Array, first: boolean): void {
    const action = this.#controls.take(frame, payload, first);
    if (action === undefined) throw this.#misplaced(frame);
    if (action.kind === 'cancel') this.#cancel(action);
    else this.#actions.push(action);
  }

  #misplaced(frame: Frame): ProtocolError {
    if (!this.midCommand && frame.type < FrameType.senderSettings) return expectedCommand(frame);
    return wrongType(frame, 'client');
  }

  #cancel(action: CancelAction): void {
    const request = this.#requests.stopReceiving(action.requestId);
    if (request === undefined) return;
    this.#requests.answer(request);
    this.#actions.push(action);
  }
}

function expectedCommand({ type }: Frame): ProtocolError {
  return new ProtocolError('expected-command', `expected a command-name frame, got type ${type}`);
}
