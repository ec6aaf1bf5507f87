/**
 * The response of files.bundle: for each path asked for, in that order, a line with the size in decimal digits and
 * behind it so many bytes; or a line of `!` and why the file cannot be had.
 */

import { CommandError } from '../wire/errors.ts';
import { joined } from '../wire/joined.ts';
import { decodeUtf8 } from '../wire/utf8.ts';
import type { FileEntry } from './listing.ts';

/** Most paths that one files.bundle may ask for. */
export const MAX_BUNDLE_FILES = 1024;

/** Longest line before a file, in bytes with its end; an error is cut to fit. */
export const MAX_LINE_BYTES = 2048;
const MAX_ERROR_LENGTH = 400;

const NEWLINE = 0x0a;
const ERROR = 0x21;
const ZERO = 0x30;
/** Digits of the largest safe integer. */
const MAX_DIGITS = 16;
const EMPTY = new Uint8Array(0);

export function sizeLine(size: number): string {
  return `${size}\n`;
}

export function errorLine(message: string): string {
  return `!${message.slice(0, MAX_ERROR_LENGTH).toWellFormed().replaceAll('\n', ' ')}\n`;
}

/** The argument `paths` of files.bundle. */
export function encodePaths(paths: readonly string[]): string {
  return JSON.stringify(paths);
}

const BAD_ARGUMENT = { code: 'invalid-argument' };

/** @throws CommandError when it is not a list of 1 to {@link MAX_BUNDLE_FILES} strings. */
export function decodePaths(text: string | undefined): string[] {
  let value: unknown;
  try {
    value = JSON.parse(text ?? '');
  } catch {
    // It is reported below.
  }
  if (!Array.isArray(value) || value.length === 0 || value.some((path) => typeof path !== 'string'))
    throw new CommandError('files.bundle needs the argument paths, a JSON array of strings', BAD_ARGUMENT);
  if (value.length > MAX_BUNDLE_FILES)
    throw new CommandError(`files.bundle takes no more than ${MAX_BUNDLE_FILES} paths`, BAD_ARGUMENT);
  return value;
}

/** What becomes of the files of a bundle. */
export interface BundleReceiver {
  /** A file is whole; the chunks are its bytes. */
  onFile(entry: FileEntry, chunks: readonly Uint8Array[]): void;
  /** The server cannot give this one. */
  onError(entry: FileEntry, message: string): void;
}

/**
 * Takes a bundle apart as it comes, and never beyond what was listed: the server may be hostile, and a file may have
 * changed since. Holds no more than one file.
 */
export class BundleReader {
  readonly #entries: readonly FileEntry[];
  readonly #receiver: BundleReceiver;
  #next = 0;
  /** What there is of the line that is being read; undefined within a file. */
  #line: Uint8Array | undefined = EMPTY;
  #chunks: Uint8Array[] = [];
  #missing = 0;

  /** `entries` are the files as they were asked for. */
  constructor(entries: readonly FileEntry[], receiver: BundleReceiver) {
    this.#entries = entries;
    this.#receiver = receiver;
  }

  /**
   * Takes the next bytes of the response, which must not change afterwards.
   * @returns false when they are not what such a response holds: what has not come by then must be had otherwise.
   */
  push(chunk: Uint8Array): boolean {
    for (let at = 0; at < chunk.length; ) {
      const used = this.#line === undefined ? this.#takeContent(chunk, at) : this.#takeLine(chunk, at);
      if (used < 0) return false;
      at += used;
    }
    return true;
  }

  /** Bytes used of `chunk` from `at` on, −1 when this is no line of a bundle. */
  #takeLine(chunk: Uint8Array, at: number): number {
    const entry = this.#entries[this.#next];
    if (entry === undefined) return -1;
    const end = chunk.indexOf(NEWLINE, at);
    const part = chunk.subarray(at, end < 0 ? chunk.length : end);
    const begun = this.#line as Uint8Array;
    if (begun.length + part.length >= MAX_LINE_BYTES) return -1;
    const line = begun.length === 0 ? part : joined([begun, part]);
    if (end < 0) this.#line = line;
    else if (!this.#takeHead(entry, line)) return -1;
    return part.length + (end < 0 ? 0 : 1);
  }

  #takeHead(entry: FileEntry, line: Uint8Array): boolean {
    if (line[0] === ERROR) {
      this.#next++;
      this.#line = EMPTY;
      this.#receiver.onError(entry, decodeUtf8(line.subarray(1)));
      return true;
    }
    if (decimal(line) !== entry.size) return false;
    this.#line = undefined;
    this.#missing = entry.size;
    if (entry.size === 0) this.#finishFile(entry);
    return true;
  }

  #takeContent(chunk: Uint8Array, at: number): number {
    const part = chunk.subarray(at, at + this.#missing);
    this.#chunks.push(part);
    this.#missing -= part.length;
    if (this.#missing === 0) this.#finishFile(this.#entries[this.#next]);
    return part.length;
  }

  #finishFile(entry: FileEntry): void {
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#line = EMPTY;
    this.#next++;
    this.#receiver.onFile(entry, chunks);
  }
}

/** The number that the digits make, NaN when they are none: this is done for every file, and JSON takes 5 µs. */
function decimal(digits: Uint8Array): number {
  if (digits.length === 0 || digits.length > MAX_DIGITS) return Number.NaN;
  let value = 0;
  for (const digit of digits) {
    if (digit < ZERO || digit > ZERO + 9) return Number.NaN;
    value = value * 10 + digit - ZERO;
  }
  return value;
}
