/** The text-output payload: lines for the person at the other end, rendered there (protocol A3). */

import type { ProtocolError } from './errors.ts';
import { badPayload, readU16, writeU16 } from './fields.ts';
import { DEFAULT_FRAME_SIZE } from './frame.ts';
import { cutUtf8, decodeAscii, decodeUtf8, encodeUtf8, isAscii } from './utf8.ts';

/** One piece of text with its arguments and the labels (styles) that a terminal may give it. */
export interface TextAtom {
  /** `%s` takes the next argument, `%%` is a percent sign; at most 65 535 bytes of UTF-8. */
  readonly format: string;
  /** At most 255, ASCII, each at most 255 bytes. */
  readonly labels: readonly string[];
  /** At most 255, each at most 65 535 bytes of UTF-8. */
  readonly args: readonly string[];
}

/** Why atoms cannot be sent; the names are those of the conformance vectors where they have one. */
export type TextOutputErrorCode =
  | 'text-too-many-args'
  | 'text-too-many-labels'
  | 'text-format-too-long'
  | 'text-arg-too-long'
  | 'text-label-too-long'
  | 'text-label-not-ascii'
  | 'text-too-big'
  | 'text-no-atoms';

/** Atoms that do not fit the payload layout of protocol A3: a mistake of the sender's own. */
export class TextOutputError extends RangeError {
  override readonly name = 'TextOutputError';
  readonly code: TextOutputErrorCode;

  constructor(code: TextOutputErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** Bytes of all atoms of one frame (protocol A3). */
const MAX_TEXT_OUTPUT = DEFAULT_FRAME_SIZE;
/** Format length u16, label count u8, argument count u8. */
const ATOM_HEADER_SIZE = 4;
/** An atom of the format `%s` and one argument, without what that is. */
const BARE_ATOM_SIZE = ATOM_HEADER_SIZE + 4;
/** Bytes of text in a payload that is one of several: smaller ones cost more than they carry. */
const LEAST_TEXT = 32;

/** An atom's strings as bytes, with the room that they take together. */
interface EncodedAtom {
  readonly format: Uint8Array;
  readonly labels: readonly Uint8Array[];
  readonly args: readonly Uint8Array[];
  readonly size: number;
}

/**
 * Atoms as the payload of one text-output frame (protocol A3).
 * @throws TextOutputError when they do not fit the layout, or one frame of 32 768 bytes.
 */
export function encodeTextOutput(atoms: readonly TextAtom[]): Uint8Array<ArrayBuffer> {
  if (atoms.length === 0) throw new TextOutputError('text-no-atoms', 'text output without an atom');
  const encoded: EncodedAtom[] = [];
  let size = 0;
  for (const atom of atoms) {
    const bytes = encodeAtom(atom);
    encoded.push(bytes);
    size += bytes.size;
    if (size > MAX_TEXT_OUTPUT) {
      throw new TextOutputError('text-too-big', `text output takes more than ${MAX_TEXT_OUTPUT} bytes`);
    }
  }
  const payload = new Uint8Array(size);
  let offset = 0;
  for (const bytes of encoded) offset = writeAtom(payload, offset, bytes);
  return payload;
}

/**
 * Atoms as payloads of at most `most` bytes, or 40: where they take more, their text goes in several, cut between two
 * characters and without labels.
 * @throws TextOutputError as {@link encodeTextOutput} does.
 */
export function encodeTextWithin(atoms: readonly TextAtom[], most: number): Uint8Array[] {
  const whole = encodeTextOutput(atoms);
  if (whole.length <= most) return [whole];
  const payloads: Uint8Array[] = [];
  const room = Math.max(most - BARE_ATOM_SIZE, LEAST_TEXT);
  for (let rest = encodeUtf8(renderTextOutput(atoms)); rest.length > 0; ) {
    const piece = cutUtf8(rest, room);
    payloads.push(encodeTextOutput([{ format: '%s', labels: [], args: [decodeUtf8(piece)] }]));
    rest = rest.subarray(piece.length);
  }
  return payloads;
}

function encodeAtom(atom: TextAtom): EncodedAtom {
  checkLimit('text-too-many-args', 'arguments of an atom', atom.args.length, 0xff);
  checkLimit('text-too-many-labels', 'labels of an atom', atom.labels.length, 0xff);
  for (const label of atom.labels) {
    if (!isAscii(label)) throw new TextOutputError('text-label-not-ascii', 'a label is not ASCII');
  }
  const format = encodeUtf8(atom.format);
  const args = atom.args.map(encodeUtf8);
  const labels = atom.labels.map(encodeUtf8);
  checkLimit('text-format-too-long', 'bytes of a format', format.length, 0xffff);
  for (const arg of args) checkLimit('text-arg-too-long', 'bytes of an argument', arg.length, 0xffff);
  for (const label of labels) checkLimit('text-label-too-long', 'bytes of a label', label.length, 0xff);
  const lengths = ATOM_HEADER_SIZE + labels.length + 2 * args.length;
  return { format, labels, args, size: lengths + format.length + totalLength(labels) + totalLength(args) };
}

function checkLimit(code: TextOutputErrorCode, what: string, count: number, max: number): void {
  if (count > max) throw new TextOutputError(code, `${count} ${what}, at most ${max} are possible`);
}

function totalLength(pieces: readonly Uint8Array[]): number {
  let total = 0;
  for (const piece of pieces) total += piece.length;
  return total;
}

function writeAtom(payload: Uint8Array, start: number, atom: EncodedAtom): number {
  const { format, labels, args } = atom;
  writeU16(payload, start, format.length);
  payload[start + 2] = labels.length;
  payload[start + 3] = args.length;
  let offset = start + ATOM_HEADER_SIZE;
  for (const label of labels) {
    payload[offset] = label.length;
    offset += 1;
  }
  for (const arg of args) {
    writeU16(payload, offset, arg.length);
    offset += 2;
  }
  offset = writePiece(payload, offset, format);
  for (const label of labels) offset = writePiece(payload, offset, label);
  for (const arg of args) offset = writePiece(payload, offset, arg);
  return offset;
}

function writePiece(payload: Uint8Array, offset: number, piece: Uint8Array): number {
  payload.set(piece, offset);
  return offset + piece.length;
}

/**
 * The atoms of a text-output payload (protocol A3). Text that is not UTF-8 is repaired, since it is only for people.
 * @throws ProtocolError `bad-payload` when an atom is cut off, a label is not ASCII or the payload is too long.
 */
export function decodeTextOutput(payload: Uint8Array): TextAtom[] {
  if (payload.length > MAX_TEXT_OUTPUT) {
    throw badTextOutput(`has ${payload.length} bytes, more than ${MAX_TEXT_OUTPUT}`);
  }
  const atoms: TextAtom[] = [];
  let offset = 0;
  while (offset < payload.length) {
    const end = atomEnd(payload, offset);
    if (end > payload.length) throw badTextOutput('ends in the middle of an atom');
    atoms.push(readAtom(payload, offset));
    offset = end;
  }
  return atoms;
}

/** Where the atom at `start` ends by its own lengths; past the payload when it is cut off. */
function atomEnd(payload: Uint8Array, start: number): number {
  const lengths = start + ATOM_HEADER_SIZE;
  if (lengths > payload.length) return Number.POSITIVE_INFINITY;
  const labelCount = payload[start + 2];
  const argCount = payload[start + 3];
  let end = lengths + labelCount + 2 * argCount;
  if (end > payload.length) return Number.POSITIVE_INFINITY;
  end += readU16(payload, start);
  for (let i = 0; i < labelCount; i += 1) end += payload[lengths + i];
  for (let i = 0; i < argCount; i += 1) end += readU16(payload, lengths + labelCount + 2 * i);
  return end;
}

/** The atom at `start`, which is known to be whole. */
function readAtom(payload: Uint8Array, start: number): TextAtom {
  const labelLengths = start + ATOM_HEADER_SIZE;
  const argLengths = labelLengths + payload[start + 2];
  const argCount = payload[start + 3];
  let offset = argLengths + 2 * argCount;
  const take = (length: number): Uint8Array => {
    offset += length;
    return payload.subarray(offset - length, offset);
  };
  const format = decodeUtf8(take(readU16(payload, start)));
  const labels: string[] = [];
  for (let i = labelLengths; i < argLengths; i += 1) labels.push(readLabel(take(payload[i])));
  const args: string[] = [];
  for (let i = 0; i < argCount; i += 1) args.push(decodeUtf8(take(readU16(payload, argLengths + 2 * i))));
  return { format, labels, args };
}

function readLabel(bytes: Uint8Array): string {
  const label = decodeAscii(bytes, 0, bytes.length);
  if (label === undefined) throw badTextOutput('has a label that is not ASCII');
  return label;
}

function badTextOutput(problem: string): ProtocolError {
  return badPayload(`text-output payload ${problem}`);
}

/**
 * Atoms as the text that people see (protocol A3). A `%s` without an argument stays as it is; arguments left over are
 * dropped. `finalNewline` adds a newline at the end where there is none.
 */
export function renderTextOutput(atoms: readonly TextAtom[], finalNewline = false): string {
  let text = '';
  for (const atom of atoms) text += renderAtom(atom);
  return finalNewline && !text.endsWith('\n') ? `${text}\n` : text;
}

function renderAtom({ format, args }: TextAtom): string {
  let used = 0;
  return format.replace(/%[s%]/g, (directive) => {
    if (directive === '%%') return '%';
    used += 1;
    return args[used - 1] ?? directive;
  });
}
