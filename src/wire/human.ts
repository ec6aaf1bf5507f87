/**
 * Frames as lines of text, for tests, tools and logs (protocol A2):
 * `<request-id> <stream-id> <stream-flags> <type> <flags> <payload>`.
 *
 * Numbers are decimal. Flags are numbers or names joined with `|`. A payload is UTF-8 text that takes backslash
 * escapes and may hold spaces; it starts after the fifth space, which has to be there even when it is empty.
 */

import {
  BytesResponseFlag,
  CommandArgumentFlag,
  CommandDataFlag,
  CommandNameFlag,
  ErrorResponseFlag,
  type Frame,
  FrameType,
  MAX_PAYLOAD_LENGTH,
  PingFlag,
  StreamFlag,
} from './frame.ts';
import { decodeUtf8, encodeUtf8 } from './utf8.ts';

/** A line that is not a frame; the message is one line which says what is wrong with it. */
export class FrameTextError extends Error {
  override readonly name = 'FrameTextError';
}

type Names = ReadonlyMap<string, number>;

const STREAM_FLAG_NAMES = names({
  'stream-begin': StreamFlag.begin,
  'stream-end': StreamFlag.end,
  encoded: StreamFlag.encoded,
});

const TYPE_NAMES = names({
  'command-name': FrameType.commandName,
  'command-argument': FrameType.commandArgument,
  'command-data': FrameType.commandData,
  'bytes-response': FrameType.bytesResponse,
  'error-response': FrameType.errorResponse,
  'text-output': FrameType.textOutput,
  progress: FrameType.progress,
  'stream-settings': FrameType.streamSettings,
  'sender-settings': FrameType.senderSettings,
  cancel: FrameType.cancel,
  credit: FrameType.credit,
  ping: FrameType.ping,
  goaway: FrameType.goaway,
  'dictionary-held': FrameType.dictionaryHeld,
});

const NO_NAMES = names({});

/** Names of a type's flags; types that are not here have none. */
const FLAG_NAMES: ReadonlyMap<number, Names> = new Map([
  [
    FrameType.commandName,
    names({
      eos: CommandNameFlag.eos,
      'have-args': CommandNameFlag.haveArgs,
      'have-data': CommandNameFlag.haveData,
    }),
  ],
  [
    FrameType.commandArgument,
    names({ continuation: CommandArgumentFlag.continuation, eoa: CommandArgumentFlag.eoa }),
  ],
  [FrameType.commandData, names({ continuation: CommandDataFlag.continuation, eos: CommandDataFlag.eos })],
  [
    FrameType.bytesResponse,
    names({ continuation: BytesResponseFlag.continuation, eos: BytesResponseFlag.eos }),
  ],
  [
    FrameType.errorResponse,
    names({ protocol: ErrorResponseFlag.protocol, application: ErrorResponseFlag.application }),
  ],
  [FrameType.ping, names({ reply: PingFlag.reply })],
]);

function names(values: Readonly<Record<string, number>>): Names {
  return new Map(Object.entries(values));
}

/** The type's name (protocol A2, C), or its number where it has none. */
export function typeName(type: number): string {
  return nameOf(TYPE_NAMES, type) ?? String(type);
}

/** The flags of a frame of `type` as names joined with `|`, or as a number where one has no name. */
export function flagNames(type: number, flags: number): string {
  return formatFlags(FLAG_NAMES.get(type) ?? NO_NAMES, flags);
}

/** Stream flags as names joined with `|`, or as a number where one has no name. */
export function streamFlagNames(streamFlags: number): string {
  return formatFlags(STREAM_FLAG_NAMES, streamFlags);
}

/** The frame as a line which {@link parseFrameText} reads back. Bytes other than printable ASCII are escaped. */
export function formatFrame(frame: Frame): string {
  const { requestId, streamId, streamFlags, type, flags, payload } = frame;
  const head = `${requestId} ${streamId} ${streamFlagNames(streamFlags)} ${typeName(type)}`;
  return `${head} ${flagNames(type, flags)} ${escapePayload(payload)}`;
}

/**
 * The frame that a line describes.
 * @throws FrameTextError when a field is missing, unknown or does not fit its width, or an escape is wrong.
 */
export function parseFrameText(line: string): Frame {
  const fields = line.split(' ', 5);
  const payloadStart = fields.reduce((length, field) => length + field.length + 1, 0);
  if (fields.length < 5 || payloadStart > line.length) {
    throw new FrameTextError(
      'a frame is: <request-id> <stream-id> <stream-flags> <type> <flags> <payload>, with one space between',
    );
  }
  const [requestText, streamText, streamFlagsText, typeText, flagsText] = fields;
  const requestId = parseNumber('request ID', requestText, 0xffff);
  const streamId = parseNumber('stream ID', streamText, 0xff);
  const streamFlags = parseFlags('stream flag', STREAM_FLAG_NAMES, streamFlagsText, 0xff);
  const type = TYPE_NAMES.get(typeText) ?? parseNumber('type', typeText, 0x0f);
  const flags = parseFlags(`${typeName(type)} flag`, FLAG_NAMES.get(type) ?? NO_NAMES, flagsText, 0x0f);
  const payload = unescapePayload(line.slice(payloadStart));
  return { requestId, streamId, streamFlags, type, flags, payload };
}

function nameOf(known: Names, value: number): string | undefined {
  for (const [name, named] of known) {
    if (named === value) return name;
  }
  return undefined;
}

function formatFlags(known: Names, flags: number): string {
  const set: string[] = [];
  let unnamed = flags;
  for (const [name, bit] of known) {
    if ((flags & bit) === 0) continue;
    set.push(name);
    unnamed &= ~bit;
  }
  return unnamed !== 0 || flags === 0 ? String(flags) : set.join('|');
}

function parseFlags(what: string, known: Names, text: string, max: number): number {
  let flags = 0;
  for (const flag of text.split('|')) flags |= known.get(flag) ?? parseNumber(what, flag, max);
  return flags;
}

function parseNumber(what: string, text: string, max: number): number {
  const value = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (value <= max) return value;
  throw new FrameTextError(
    `${what} ${quote(text)} is neither a name that it has nor a number from 0 to ${max}`,
  );
}

/** Text in quotes on one line, cut when it is long. */
function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}

const BACKSLASH = 0x5c;
/** Bytes after the backslash: `xHH`, or three octal digits. */
const LONGEST_ESCAPE = 3;

/** Escapes of one letter, and the byte that each stands for. */
const ESCAPES: Names = names({
  '\\': BACKSLASH,
  n: 0x0a,
  r: 0x0d,
  t: 0x09,
  a: 0x07,
  b: 0x08,
  f: 0x0c,
  v: 0x0b,
  "'": 0x27,
  '"': 0x22,
});

/** How each byte is written: printable ASCII as it is, the common escapes by letter, the rest as `\xHH`. */
const WRITTEN: readonly string[] = Array.from({ length: 0x100 }, (_, byte) => {
  if (byte === BACKSLASH) return '\\\\';
  if (byte >= 0x20 && byte < 0x7f) return String.fromCharCode(byte);
  if (byte === 0x0a) return '\\n';
  if (byte === 0x0d) return '\\r';
  if (byte === 0x09) return '\\t';
  return `\\x${byte.toString(16).padStart(2, '0')}`;
});

function escapePayload(payload: Uint8Array): string {
  let text = '';
  for (const byte of payload) text += WRITTEN[byte];
  return text;
}

function unescapePayload(text: string): Uint8Array {
  const source = encodeUtf8(text);
  const payload = new Uint8Array(source.length);
  let length = 0;
  for (let i = 0; i < source.length; length += 1) {
    if (source[i] !== BACKSLASH) {
      payload[length] = source[i];
      i += 1;
      continue;
    }
    const escaped = readEscape(source, i + 1);
    payload[length] = escaped.byte;
    i = escaped.end;
  }
  if (length > MAX_PAYLOAD_LENGTH) {
    throw new FrameTextError(`payload of ${length} bytes is longer than ${MAX_PAYLOAD_LENGTH}`);
  }
  return payload.slice(0, length);
}

/** The byte that the escape at `start`, after its backslash, stands for, and where it ends. */
function readEscape(source: Uint8Array, start: number): { byte: number; end: number } {
  // Bytes that are not ASCII become characters which no escape has.
  const text = String.fromCharCode(...source.subarray(start, start + LONGEST_ESCAPE));
  const digits = /^(?:x([0-9a-fA-F]{2})|([0-3][0-7]{2}|[0-7]{1,2}(?![0-7])))/.exec(text);
  if (digits !== null) {
    const [whole, hex, octal] = digits;
    const byte = hex === undefined ? Number.parseInt(octal, 8) : Number.parseInt(hex, 16);
    return { byte, end: start + whole.length };
  }
  const byte = ESCAPES.get(text.charAt(0));
  if (byte !== undefined) return { byte, end: start + 1 };
  const shown = quote(decodeUtf8(source.subarray(start - 1, start + LONGEST_ESCAPE)));
  throw new FrameTextError(`payload has an unknown escape after ${start - 1} bytes: ${shown}`);
}
