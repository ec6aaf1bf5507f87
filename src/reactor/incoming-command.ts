/** One command as it arrives: its name, its arguments, then its data (protocol A4, B2, B3). */

import { ProtocolError } from '../wire/errors.ts';
import type { Failure } from '../wire/failure.ts';
import { CommandArgumentFlag, CommandDataFlag, CommandNameFlag, type Frame } from '../wire/frame.ts';
import { type Limits, overLimit, PIECE_COST } from '../wire/limits.ts';
import { nameOf } from '../wire/names.ts';
import { decodeArgumentHead } from '../wire/payloads.ts';

/** An argument of which not all may have come. */
interface PartialArgument {
  readonly name: string;
  /** Bytes of the whole value. */
  readonly length: number;
  /** As much of the value as has come, with room for more of it. */
  value: Uint8Array;
  filled: number;
}

/**
 * Told of the bytes that an argument announces, and of those to be taken now for what has come of it, before they are.
 * Gives the failure of a command for which there is no room.
 */
export interface Holder {
  hold(command: IncomingCommand, announced: number, taken: number): Failure | undefined;
}

/** From the command-name frame until the request's ID is free again. */
export class IncomingCommand {
  readonly requestId: number;
  readonly command: string;
  readonly args = new Map<string, Uint8Array>();
  /** Bytes of the arguments' names and values, as announced; and bytes that it is held at. Whoever holds them counts. */
  argumentBytes = 0;
  held = 0;
  /** Whether reserved names (protocol C6) are among the arguments. */
  reserved = false;
  expectsArguments: boolean;
  readonly expectsData: boolean;
  /** When its first and its newest frame came, in milliseconds. */
  readonly sinceMs: number;
  newestMs: number;
  /** More of it has to come; and its arguments are complete and its response is not with the transport: for BusyRequests. */
  isReceiving = false;
  isRunning = false;
  /** True once it is answered, or about to be. */
  answered = false;
  #partial: PartialArgument | undefined;
  #emptyFrames = 0;

  constructor(
    requestId: number,
    command: string,
    expectsArguments: boolean,
    expectsData: boolean,
    nowMs: number,
  ) {
    this.requestId = requestId;
    this.command = command;
    this.expectsArguments = expectsArguments;
    this.expectsData = expectsData;
    this.sinceMs = nowMs;
    this.newestMs = nowMs;
  }

  /** What a command-name frame begins, at `nowMs`. @throws ProtocolError */
  static begin(frame: Frame, payload: Uint8Array, limits: Limits, nowMs: number): IncomingCommand {
    const { requestId, flags } = frame;
    checkCommandName(requestId, payload, limits);
    const eos = (flags & CommandNameFlag.eos) !== 0;
    const expectsArguments = (flags & CommandNameFlag.haveArgs) !== 0;
    const expectsData = (flags & CommandNameFlag.haveData) !== 0;
    if (!eos && !expectsArguments && !expectsData) {
      const lacking = `command-name of request ${requestId} carries no flag`;
      throw new ProtocolError('command-missing-flags', lacking);
    }
    if (eos && (expectsArguments || expectsData)) {
      const conflict = `command-name of request ${requestId}: eos excludes the others`;
      throw new ProtocolError('command-conflicting-flags', conflict);
    }
    return new IncomingCommand(requestId, nameOf(payload), expectsArguments, expectsData, nowMs);
  }

  /** The error of a command that takes too long at `nowMs`: its next frame, or its arguments as a whole. */
  overdue(nowMs: number, { commandTimeout, idleTimeout }: Limits): ProtocolError | undefined {
    const { requestId } = this;
    if (nowMs - this.newestMs >= idleTimeout) {
      const text = `idleTimeout: request ${requestId} was idle for ${idleTimeout} ms in the middle of a command`;
      return new ProtocolError('timeout', text);
    }
    if (this.expectsArguments && nowMs - this.sinceMs >= commandTimeout) {
      const text = `commandTimeout: the arguments of request ${requestId} took over ${commandTimeout} ms`;
      return new ProtocolError('timeout', text);
    }
    return undefined;
  }

  /**
   * Takes a command-argument frame. Returns whether the arguments are complete, or why there is no room for this one.
   * @throws ProtocolError
   */
  takeArgument(frame: Frame, payload: Uint8Array, limits: Limits, holder: Holder): boolean | Failure {
    if (!this.expectsArguments) {
      throw new ProtocolError('not-expecting-arguments', `request ${this.requestId} expects no arguments`);
    }
    const more = (frame.flags & CommandArgumentFlag.continuation) !== 0;
    const refused =
      this.#partial === undefined
        ? this.#begin(payload, more, limits, holder)
        : this.#append(this.#partial, payload, holder);
    const partial = this.#partial;
    if (refused !== undefined || partial === undefined) return refused ?? false;
    if (partial.filled !== partial.length && !more) {
      throw partialValue(partial, `ends after ${partial.filled} of ${partial.length} bytes`);
    }
    const last = (frame.flags & CommandArgumentFlag.eoa) !== 0;
    if (more) {
      if (last) throw partialValue(partial, 'carries continuation and eoa at once');
      if (payload.length === 0) this.#countEmpty(limits);
      return false;
    }
    this.args.set(partial.name, partial.value);
    this.reserved ||= partial.name.startsWith(':');
    this.#partial = undefined;
    this.expectsArguments = !last;
    return last;
  }

  /** It will not run: lets go of its arguments. */
  drop(): void {
    this.args.clear();
    this.#partial = undefined;
  }

  /**
   * Takes a command-data frame, whose payload is not kept; returns whether it is the last.
   * @throws ProtocolError
   */
  takeData(frame: Frame, payload: Uint8Array, limits: Limits): boolean {
    const id = this.requestId;
    if (!this.expectsData) throw new ProtocolError('not-expecting-data', `request ${id} expects no data`);
    if (this.expectsArguments) {
      const early = `data of request ${id} before its arguments are complete`;
      throw new ProtocolError('not-expecting-data', early);
    }
    const more = (frame.flags & CommandDataFlag.continuation) !== 0;
    const last = (frame.flags & CommandDataFlag.eos) !== 0;
    if (more === last) {
      const wrong = `command-data of request ${id} needs exactly one of its flags`;
      throw new ProtocolError('data-missing-flags', wrong);
    }
    if (payload.length === 0 && !last) this.#countEmpty(limits);
    else this.#emptyFrames = 0;
    return last;
  }

  #begin(
    payload: Uint8Array,
    continued: boolean,
    { maxArguments, maxArgumentBytes }: Limits,
    holder: Holder,
  ): Failure | undefined {
    const { name, valueLength: length, piece } = decodeArgumentHead(payload, continued);
    if (this.args.has(name)) {
      throw new ProtocolError('duplicate-argument', `argument '${name}' given twice`);
    }
    if (this.args.size >= maxArguments) {
      throw overLimit('maxArguments', `more than ${maxArguments} arguments in one command`);
    }
    const bytes = name.length + length;
    if (this.argumentBytes + bytes > maxArgumentBytes) {
      throw overLimit('maxArgumentBytes', `more than ${maxArgumentBytes} bytes of arguments in one command`);
    }
    const refused = holder.hold(this, bytes, name.length + piece.length + PIECE_COST);
    if (refused === undefined) this.#partial = { name, length, value: piece.slice(), filled: piece.length };
    return refused;
  }

  /** Room grows with what really comes, never with what was announced. */
  #append(partial: PartialArgument, piece: Uint8Array, holder: Holder): Failure | undefined {
    const { length, value, filled } = partial;
    const needed = filled + piece.length;
    if (needed > length) throw partialValue(partial, `is longer than its ${length} bytes`);
    if (needed > value.length) {
      const room = Math.min(length, Math.max(needed, 2 * value.length));
      const refused = holder.hold(this, 0, room - value.length);
      if (refused !== undefined) return refused;
      partial.value = new Uint8Array(room);
      partial.value.set(value.subarray(0, filled));
    }
    partial.value.set(piece, filled);
    partial.filled = needed;
    return undefined;
  }

  #countEmpty({ maxEmptyDataFrames }: Limits): void {
    if (++this.#emptyFrames > maxEmptyDataFrames) {
      throw overLimit('maxEmptyDataFrames', `more than ${maxEmptyDataFrames} empty data frames in a row`);
    }
  }
}

function partialValue({ name }: PartialArgument, what: string): ProtocolError {
  return new ProtocolError('partial-argument-value', `value of argument '${name}' ${what}`);
}

function checkCommandName(requestId: number, name: Uint8Array, limits: Limits): void {
  if ((requestId & 1) === 0) {
    throw new ProtocolError('even-request-id', `request ID ${requestId} from the client is even`);
  }
  if (name.length > limits.maxCommandName) {
    throw overLimit('maxCommandName', `a name of ${name.length} bytes, over ${limits.maxCommandName}`);
  }
}
