/** One command as it arrives: its arguments, then its data (protocol A4, B2, B3). */

import { ProtocolError } from '../wire/errors.ts';
import { CommandArgumentFlag, CommandDataFlag, type Frame } from '../wire/frame.ts';
import { type Limits, overLimit } from '../wire/limits.ts';
import { decodeArgumentHead } from '../wire/payloads.ts';

/** An argument of which not all has come. */
interface PartialArgument {
  readonly name: string;
  readonly value: Uint8Array;
  filled: number;
}

/** From the command-name frame until the request's ID is free again. */
export class IncomingCommand {
  readonly requestId: number;
  readonly command: string;
  readonly args = new Map<string, Uint8Array>();
  /** Bytes of the arguments' names and values, as announced. */
  argumentBytes = 0;
  /** Whether reserved names (protocol C6) are among the arguments. */
  reserved = false;
  expectsArguments: boolean;
  readonly expectsData: boolean;
  /** When its first and its newest frame came, in milliseconds. */
  readonly sinceMs: number;
  newestMs: number;
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

  /**
   * Takes a command-argument frame; `hold` is told of every argument's bytes before memory is taken for them, and may
   * throw. Returns true when the arguments are complete.
   * @throws ProtocolError
   */
  takeArgument(frame: Frame, payload: Uint8Array, limits: Limits, hold: (bytes: number) => void): boolean {
    if (!this.expectsArguments) {
      throw new ProtocolError('not-expecting-arguments', `request ${this.requestId} expects no arguments`);
    }
    const more = (frame.flags & CommandArgumentFlag.continuation) !== 0;
    const partial = this.#partial ?? this.#beginArgument(payload, more, limits, hold);
    if (partial === this.#partial) append(partial, payload);
    if (partial.filled !== partial.value.length && !more) {
      throw partialValue(partial, `ends after ${partial.filled} of ${partial.value.length} bytes`);
    }
    const last = (frame.flags & CommandArgumentFlag.eoa) !== 0;
    if (more) {
      if (last) throw partialValue(partial, 'carries continuation and eoa at once');
      if (payload.length === 0) this.#countEmpty(limits);
      this.#partial = partial;
      return false;
    }
    this.args.set(partial.name, partial.value);
    this.reserved ||= partial.name.startsWith(':');
    this.#partial = undefined;
    this.expectsArguments = !last;
    return last;
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

  #beginArgument(
    payload: Uint8Array,
    continued: boolean,
    { maxArguments, maxArgumentBytes }: Limits,
    hold: (bytes: number) => void,
  ): PartialArgument {
    const { name, valueLength, piece } = decodeArgumentHead(payload, continued);
    if (this.args.has(name)) {
      throw new ProtocolError('duplicate-argument', `argument '${name}' given twice`);
    }
    if (this.args.size >= maxArguments) {
      throw overLimit('maxArguments', `more than ${maxArguments} arguments in one command`);
    }
    const bytes = name.length + valueLength;
    if (this.argumentBytes + bytes > maxArgumentBytes) {
      throw overLimit('maxArgumentBytes', `more than ${maxArgumentBytes} bytes of arguments in one command`);
    }
    this.argumentBytes += bytes;
    hold(bytes);
    if (piece.length === valueLength) return { name, value: piece.slice(), filled: valueLength };
    const partial = { name, value: new Uint8Array(valueLength), filled: 0 };
    append(partial, piece);
    return partial;
  }

  #countEmpty({ maxEmptyDataFrames }: Limits): void {
    if (++this.#emptyFrames > maxEmptyDataFrames) {
      throw overLimit('maxEmptyDataFrames', `more than ${maxEmptyDataFrames} empty data frames in a row`);
    }
  }
}

function append(partial: PartialArgument, piece: Uint8Array): void {
  if (partial.filled + piece.length > partial.value.length) {
    throw partialValue(partial, `is longer than its ${partial.value.length} bytes`);
  }
  partial.value.set(piece, partial.filled);
  partial.filled += piece.length;
}

function partialValue({ name }: PartialArgument, what: string): ProtocolError {
  return new ProtocolError('partial-argument-value', `value of argument '${name}' ${what}`);
}
