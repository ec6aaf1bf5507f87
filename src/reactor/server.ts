/**
 * The server's protocol state, without I/O: frames in, actions out (protocol A4, A6, B, C).
 *
 * A request is *receiving* from its command-name frame until its last frame has come, *running* from the moment
 * its arguments are complete until the last byte of its response is handed to the transport. With command data it
 * is both for a while (protocol B10). Its ID is busy while it is either.
 */

import { ProtocolError } from '../wire/errors.ts';
import { type Failure, saysNotStarted } from '../wire/failure.ts';
import { type Frame, FrameType } from '../wire/frame.ts';
import { DEFAULT_LIMITS, type Limits, overLimit, PIECE_COST } from '../wire/limits.ts';
import { type CancelAction, ControlFrames } from './control.ts';
import { HeldArguments } from './held-arguments.ts';
import { IdTable } from './id-table.ts';
import { type Decoders, IncomingFrames, type Ticket, wrongType } from './incoming.ts';
import { type Hold, IncomingCommand } from './incoming-command.ts';
import { type InputShare, unbounded } from './input-share.ts';
import type { ServerAction } from './server-action.ts';

/** How many cancelled requests we remember, so that frames of theirs already on the way do no harm. */
const REMEMBERED_CANCELS = 256;

export class ServerReactor {
  readonly #limits: Limits;
  readonly #frames: IncomingFrames;
  readonly #now: () => number;
  readonly #controls: ControlFrames;
  readonly #receiving = new IdTable<IncomingCommand>();
  readonly #running = new IdTable<IncomingCommand>();
  readonly #cancelled = new Set<number>();
  #actions: ServerAction[] = [];
  #state: 'open' | 'ended' | 'errored' = 'open';
  #holdsOutput: boolean;
  #endPending = false;
  #framesSeen = false;
  readonly #arguments: HeldArguments;
  readonly #hold: Hold;
  #lingering = 0;
  /** Of those that are running, the answered ones. */
  #answered = 0;

  /**
   * `halfDuplex`: the transport cannot answer while it is still reading (protocol A6). `now`: milliseconds, by which the
   * time that a command takes is counted. `input`: where what is held counts. `rateNow`: milliseconds for rates, which must
   * not stand still while we do not read: what has come meanwhile was not sent at once.
   */
  constructor(
    limits: Limits,
    decoders: Decoders,
    halfDuplex = false,
    now = () => performance.now(),
    input: InputShare = unbounded(),
    rateNow = now,
  ) {
    this.#limits = limits;
    this.#arguments = new HeldArguments(limits, input);
    this.#hold = (command, announced, taken) => this.#arguments.hold(command, announced, taken);
    this.#now = now;
    this.#controls = new ControlFrames(limits, rateNow);
    this.#holdsOutput = halfDuplex;
    this.#frames = new IncomingFrames('client', limits, decoders, this.#receive, rateNow, input);
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
    return this.#receiving.size > 0;
  }

  /** Requests being received or running. */
  get openRequests(): number {
    const running = this.#running;
    if (this.#receiving.size === 0) return running.size;
    const receivingOnly = this.#receiving.values().filter(({ requestId }) => !running.has(requestId));
    return receivingOnly.filter((request) => !this.#isOverForPeer(request)).length + running.size;
  }

  /** A request that is answered, and whose last frames wait for our decoder: the peer may have ended it by now. */
  #isOverForPeer({ answered, requestId }: IncomingCommand): boolean {
    return answered && this.#frames.holds(requestId);
  }

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
    for (const command of this.#receiving.values()) {
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
  receive(frame: Frame, actions: ServerAction[]): void {
    if (this.#state === 'errored') throw new ProtocolError('already-errored', 'frame after a protocol error');
    if (this.#state === 'ended')
      throw this.#fail(new ProtocolError('frame-after-end', 'frame after end of input'));
    this.#guard(actions, () => this.#frames.push(frame));
  }

  /** A decoder has answered. @throws ProtocolError as {@link receive} does. */
  decoded(ticket: Ticket, actions: ServerAction[]): void {
    if (this.#state === 'errored') return;
    this.#guard(actions, () => this.#frames.decoded(ticket));
    if (this.#endPending && !this.decoding) this.#finishInput(actions);
  }

  /**
   * End of input: what is partly received is abandoned, the rest goes on (protocol B7). A second call does nothing. What has
   * come and is still being decoded has come: the end waits for it.
   */
  endOfInput(actions: ServerAction[]): void {
    if (this.#state === 'ended') return;
    if (this.#state === 'open') this.#state = 'ended';
    if (this.decoding) this.#endPending = true;
    else this.#finishInput(actions);
  }

  #finishInput(actions: ServerAction[]): void {
    this.#endPending = false;
    for (const { requestId } of this.#receiving.values()) {
      if (!this.#running.has(requestId)) continue;
      this.finishResponse(requestId);
      actions.push({ kind: 'abandon', requestId });
    }
    this.#dropReceiving();
    if (!this.#holdsOutput) return;
    this.#holdsOutput = false;
    actions.push({ kind: 'release-output' });
  }

  /** Of the commands whose arguments are still coming, the one that holds the most. */
  get largestReceiving(): { requestId: number; held: number } | undefined {
    let largest: IncomingCommand | undefined;
    for (const each of this.#receiving.values())
      if (each.expectsArguments && each.held > (largest?.held ?? 0)) largest = each;
    return largest;
  }

  /** Gives up a command whose arguments are still coming. */
  dropReceiving(requestId: number, failure: Failure, actions: ServerAction[]): void {
    const request = this.#receiving.get(requestId);
    if (request === undefined) return;
    this.#actions = actions;
    this.#drop(request, failure);
  }

  /** Forgets the commands that are not whole yet; those that run go on. */
  forgetReceiving(): void {
    this.#dropReceiving();
  }

  /** Stops accepting input after an error that was found outside, such as a limit of the splitter (protocol B5). */
  stop(): void {
    this.#state = 'errored';
    this.#dropReceiving();
    this.#frames.close();
  }

  /** All of the response is on its way: a cancel that comes now is too late. */
  answered(requestId: number): void {
    const request = this.#running.get(requestId);
    if (request !== undefined) this.#answer(request);
  }

  /** The last byte of the response has been handed to the transport: the ID is free (protocol A4). */
  finishResponse(requestId: number): void {
    const request = this.#running.get(requestId);
    if (request === undefined) return;
    this.#running.delete(requestId);
    if (request.answered) this.#answered--;
    this.#arguments.free(request);
  }

  isRunning(requestId: number): boolean {
    return this.#running.has(requestId);
  }

  #guard(actions: ServerAction[], step: () => void): void {
    this.#actions = actions;
    try {
      step();
    } catch (error) {
      throw this.#fail(error);
    }
  }

  #fail(error: unknown): unknown {
    this.stop();
    return error;
  }

  readonly #receive = (frame: Frame, payload: Uint8Array, lost: Failure | undefined): void => {
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
  };

  #commandName(frame: Frame, payload: Uint8Array): void {
    const id = frame.requestId;
    this.#checkFree(id);
    const request = IncomingCommand.begin(frame, payload, this.#limits, this.#now());
    const overloaded = this.#overloaded();
    this.#arguments.add(request, PIECE_COST);
    if (overloaded !== undefined) return this.#refuse(request, overloaded);
    this.#cancelled.delete(id);
    if (request.expectsArguments || request.expectsData) this.#receiving.set(id, request);
    if (!request.expectsArguments) this.#run(request);
  }

  /**
   * Why there is no room for another request. What a peer cannot know yet is no reason to end its connection: that we take
   * fewer than a client may expect without our settings, which of its cancels have come, how long cancelled code goes on.
   * @throws ProtocolError when it must know.
   */
  #overloaded(): Failure | undefined {
    const { maxConcurrentRequests: most } = this.#limits;
    if (this.openRequests + this.#lingering < most) return undefined;
    if (this.#unanswered >= Math.max(most, DEFAULT_LIMITS.maxConcurrentRequests))
      throw overLimit('maxConcurrentRequests', `more than ${most} concurrent requests`);
    const what =
      this.openRequests >= most
        ? `no more than ${most} requests at a time`
        : `${this.#lingering} cancelled requests are still at work`;
    return { code: 'overloaded', message: `maxConcurrentRequests: ${what}` };
  }

  /** Requests that the peer knows to be open: those that are answered, and be it on the way, are not. */
  get #unanswered(): number {
    const running = this.#running.size - this.#answered;
    if (this.#receiving.size === 0) return running;
    const receiving = this.#receiving.values();
    return (
      running +
      receiving.filter(({ requestId, answered }) => !answered && !this.#running.has(requestId)).length
    );
  }

  #checkFree(id: number): void {
    if (this.#receiving.has(id)) {
      throw new ProtocolError('request-already-received', `request ${id} is already being received`);
    }
    if (this.#running.has(id)) {
      throw new ProtocolError('request-already-active', `request ${id} is already active`);
    }
  }

  #commandRest(frame: Frame, payload: Uint8Array): void {
    const id = frame.requestId;
    const request = this.#receiving.get(id);
    if (request === undefined) {
      if (this.#cancelled.has(id)) return this.#unwanted(frame, payload);
      throw this.#unexpected(frame);
    }
    request.newestMs = this.#now();
    if (frame.type === FrameType.commandArgument) this.#argument(request, frame, payload);
    else this.#data(request, frame, payload);
  }

  #unexpected(frame: Frame): ProtocolError {
    const id = frame.requestId;
    if (this.#receiving.size === 0) {
      return new ProtocolError('expected-command', `expected a command-name frame, got type ${frame.type}`);
    }
    if (this.#running.has(id)) {
      return new ProtocolError('request-still-active', `frame for request ${id}, which is already active`);
    }
    return new ProtocolError('request-not-receiving', `frame for request ${id}, which is not being received`);
  }

  #argument(request: IncomingCommand, frame: Frame, payload: Uint8Array): void {
    const taken = request.takeArgument(frame, payload, this.#limits, this.#hold);
    if (taken === false) return;
    if (taken !== true) {
      this.#drop(request, taken);
      return;
    }
    if (!request.expectsData) this.#receiving.delete(request.requestId);
    this.#run(request);
  }

  /** A command that is still being received has no room: nothing of it runs. */
  #drop(request: IncomingCommand, failure: Failure): void {
    this.#receiving.delete(request.requestId);
    request.drop();
    this.#arguments.free(request);
    this.#refuse(request, failure);
  }

  #data(request: IncomingCommand, frame: Frame, payload: Uint8Array): void {
    const { requestId } = request;
    const last = request.takeData(frame, payload, this.#limits);
    if (last) this.#receiving.delete(requestId);
    if (this.#running.has(requestId)) this.#actions.push({ kind: 'data', requestId, bytes: payload, last });
    else this.#unwanted(frame, payload);
  }

  #unwanted({ type }: Frame, { length: bytes }: Uint8Array): void {
    if (type === FrameType.commandData && bytes > 0) this.#actions.push({ kind: 'unwanted', bytes });
  }

  #run(request: IncomingCommand): void {
    const { requestId, command, args, reserved, expectsData: hasData } = request;
    this.#running.set(requestId, request);
    this.#actions.push({ kind: 'run', command: { requestId, command, args, reserved, hasData } });
  }

  /** Our own decoder died. */
  #loseFrame(frame: Frame, lost: Failure): void {
    const id = frame.requestId;
    if (frame.type === FrameType.commandData) this.#actions.push({ kind: 'lost-data' });
    const isName = frame.type === FrameType.commandName;
    if (isName) this.#checkFree(id);
    const request = isName ? new IncomingCommand(id, '', false, false, this.#now()) : this.#stopReceiving(id);
    if (request === undefined) return;
    const runs = this.#running.has(id) && saysNotStarted(lost.code);
    this.#refuse(request, runs ? { ...lost, code: 'internal' } : lost);
  }

  /** Only this request fails, and what else arrives of its command is passed over. */
  #refuse(request: IncomingCommand, failure: Failure): void {
    const { requestId } = request;
    this.#remember(requestId);
    this.#answer(request);
    this.#actions.push({ kind: 'fail', requestId, failure });
  }

  /** Commands that are only being received are gone; running ones free their arguments when they are answered. */
  #dropReceiving(): void {
    for (const request of this.#receiving.values()) {
      if (!this.#running.has(request.requestId)) this.#arguments.free(request);
    }
    this.#receiving.clear();
  }

  /** Passes over what still comes of a request's command; returns the request if it waits for an answer (protocol C3). */
  #stopReceiving(id: number): IncomingCommand | undefined {
    const request = this.#receiving.get(id) ?? this.#running.get(id);
    if (this.#receiving.delete(id)) this.#remember(id);
    // A command whose data is still coming may have been answered, and its ID be free but for that.
    const waits = this.#running.has(id) ? !request?.answered : request?.expectsArguments;
    return waits ? request : undefined;
  }

  /** It is about to be answered with an error: what else was decoded for it in the same step must not bring another. */
  #answer(request: IncomingCommand): void {
    if (!request.answered) this.#answered++;
    request.answered = true;
    this.#running.set(request.requestId, request);
  }

  #remember(id: number): void {
    this.#cancelled.add(id);
    if (this.#cancelled.size > REMEMBERED_CANCELS) {
      this.#cancelled.delete(this.#cancelled.values().next().value as number);
    }
  }

  #control(frame: Frame, payload: Uint8Array, first: boolean): void {
    const action = this.#controls.take(frame, payload, first);
    if (action === undefined) throw this.#misplaced(frame);
    if (action.kind === 'cancel') this.#cancel(action);
    else this.#actions.push(action);
  }

  #misplaced(frame: Frame): ProtocolError {
    if (this.#receiving.size === 0 && frame.type < FrameType.senderSettings) {
      return new ProtocolError('expected-command', `expected a command-name frame, got type ${frame.type}`);
    }
    return wrongType(frame, 'client');
  }

  #cancel(action: CancelAction): void {
    const request = this.#stopReceiving(action.requestId);
    if (request === undefined) return;
    this.#answer(request);
    this.#actions.push(action);
  }
}
