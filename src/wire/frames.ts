/**
 * Makers of frame sequences: a command and its data (protocol A4, B2).
 *
 * Makers give each frame's type, flags and payload to a {@link FrameSink}; which stream it travels on, whether it is
 * encoded and how it gets its header is for the sink's owner. Payloads share memory with what was passed in
 * wherever a frame can carry it as it is. A maker checks everything first: it throws before its first frame.
 */

import {
  CommandArgumentFlag,
  CommandDataFlag,
  CommandNameFlag,
  FrameType,
  MAX_PAYLOAD_LENGTH,
} from './frame.ts';
import { ARGUMENT_HEADER_SIZE, encodeArgumentHead, MAX_ARGUMENT_FIELD } from './payloads.ts';
import { encodeUtf8, isAscii } from './utf8.ts';

/** Takes the next frame of one request: `type` of {@link FrameType}, its flags, its payload before encoding. */
export type FrameSink = (type: number, flags: number, payload: Uint8Array) => void;

/** An argument's name (ASCII) and value; each takes at most 65 535 bytes. */
export type Argument = readonly [name: string, value: Uint8Array];

/**
 * The command-name frame and the argument frames of a command, arguments in the order of their names (protocol A4).
 * A value that does not fit one frame continues in the next ones (protocol B2).
 * @throws RangeError when a name is given twice or not ASCII, when a value has more than 65 535 bytes, or when the
 * command's or an argument's name does not fit a frame of `maxFrameSize` bytes.
 */
export function commandFrames(
  command: string,
  args: Iterable<Argument>,
  hasData: boolean,
  maxFrameSize: number,
  sink: FrameSink,
): void {
  checkFrameSize(maxFrameSize);
  const name = encodeUtf8(command);
  if (name.length > maxFrameSize) {
    throw new RangeError(`command name of ${name.length} bytes does not fit a frame of ${maxFrameSize}`);
  }
  const sorted = [...args].sort(byName);
  checkArguments(sorted, maxFrameSize);
  sink(FrameType.commandName, commandNameFlags(sorted.length > 0, hasData), name);
  const last = sorted.length - 1;
  for (let i = 0; i <= last; i += 1) argumentFrames(sorted[i], i === last, maxFrameSize, sink);
}

function commandNameFlags(hasArgs: boolean, hasData: boolean): number {
  if (!hasArgs && !hasData) return CommandNameFlag.eos;
  return (hasArgs ? CommandNameFlag.haveArgs : 0) | (hasData ? CommandNameFlag.haveData : 0);
}

function byName(a: Argument, b: Argument): number {
  if (a[0] === b[0]) return 0;
  return a[0] < b[0] ? -1 : 1;
}

function checkArguments(sorted: readonly Argument[], maxFrameSize: number): void {
  const maxName = Math.min(MAX_ARGUMENT_FIELD, maxFrameSize - ARGUMENT_HEADER_SIZE);
  for (let i = 0; i < sorted.length; i += 1) {
    const [name, value] = sorted[i];
    if (!isAscii(name)) throw new RangeError(`argument name ${JSON.stringify(name)} is not ASCII`);
    if (name.length > maxName) {
      throw new RangeError(`argument name of ${name.length} bytes is longer than ${maxName}`);
    }
    if (value.length > MAX_ARGUMENT_FIELD) {
      const size = `${value.length} bytes, more than ${MAX_ARGUMENT_FIELD}`;
      throw new RangeError(`argument ${name} has a value of ${size}`);
    }
    if (i > 0 && sorted[i - 1][0] === name) throw new RangeError(`argument ${name} is given twice`);
  }
}

/** One argument: its head with as much of the value as fits, then the rest (protocol B2). */
function argumentFrames(
  [name, value]: Argument,
  isLast: boolean,
  maxFrameSize: number,
  sink: FrameSink,
): void {
  const endFlag = isLast ? CommandArgumentFlag.eoa : 0;
  let offset = Math.min(value.length, maxFrameSize - ARGUMENT_HEADER_SIZE - name.length);
  const piece = offset === value.length ? value : value.subarray(0, offset);
  const head = encodeArgumentHead(name, value.length, piece);
  sink(FrameType.commandArgument, offset < value.length ? CommandArgumentFlag.continuation : endFlag, head);
  while (offset < value.length) {
    const end = Math.min(value.length, offset + maxFrameSize);
    const flags = end < value.length ? CommandArgumentFlag.continuation : endFlag;
    sink(FrameType.commandArgument, flags, value.subarray(offset, end));
    offset = end;
  }
}

/**
 * A piece of a command's data; `isLast` ends the command (protocol A4). As a reader of a file does who only learns at the
 * next read that there is no more, the last piece ends with a frame shorter than `maxFrameSize`, empty if need be.
 * @throws RangeError when `maxFrameSize` is not 1 … 16 777 215.
 */
export function commandDataFrames(
  data: Uint8Array,
  isLast: boolean,
  maxFrameSize: number,
  sink: FrameSink,
): void {
  checkFrameSize(maxFrameSize);
  let offset = 0;
  for (; data.length - offset >= maxFrameSize; offset += maxFrameSize) {
    const payload = data.subarray(offset, offset + maxFrameSize);
    sink(FrameType.commandData, CommandDataFlag.continuation, payload);
  }
  if (isLast) sink(FrameType.commandData, CommandDataFlag.eos, data.subarray(offset));
  else if (offset < data.length) {
    sink(FrameType.commandData, CommandDataFlag.continuation, data.subarray(offset));
  }
}

function checkFrameSize(maxFrameSize: number): void {
  if (!Number.isInteger(maxFrameSize) || maxFrameSize < 1 || maxFrameSize > MAX_PAYLOAD_LENGTH) {
    throw new RangeError(
      `frame size ${maxFrameSize} is not a whole number from 1 to ${MAX_PAYLOAD_LENGTH} bytes`,
    );
  }
}
