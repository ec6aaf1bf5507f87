/** The conformance vectors as test/conformance/README.md describes them: types, byte strings, comparisons. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HEADER_SIZE } from '../../src/wire/frame.ts';

export interface ConformanceCase {
  readonly id: string;
  readonly op: string;
  /** `conformant` must match; in the others only what protocol B settles is asserted. */
  readonly class: 'conformant' | 'unspecified' | 'deviation';
  readonly tags: readonly string[];
  readonly input: Fields;
  /** An object, or for op `reactor` a list with one entry per event. */
  readonly output: unknown;
  readonly spec?: unknown;
  readonly note?: string;
}

export type Fields = Readonly<Record<string, unknown>>;

/** A long input: the pattern repeated and cut to `length` bytes. */
interface Pattern {
  readonly pattern: string;
  readonly length: number;
}

/** A byte string of the output: hex, or a digest when it is long. */
export type ExpectedBytes = string | { readonly length: number; readonly sha256: string };

/** A frame of the output: hex, or header and digest when it is long. */
export type ExpectedFrame =
  | string
  | { readonly header_hex: string; readonly payload_length: number; readonly payload_sha256: string };

/** What an operation gave or how it failed; `frames` are those made before it did. */
export interface ExpectedResult {
  readonly ok: boolean;
  readonly raised?: { readonly exception: string; readonly code?: string } | null;
  readonly frames?: readonly ExpectedFrame[];
}

export interface CaseFile {
  /** Without folder and extension. */
  readonly name: string;
  readonly cases: readonly ConformanceCase[];
}

/** Every file of cases in a folder, in the order of their names. */
export function readCaseFiles(folder: string): CaseFile[] {
  const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
  return files.sort().map((name) => {
    const { cases } = JSON.parse(readFileSync(join(folder, name), 'utf8'));
    return { name: name.slice(0, -'.json'.length), cases };
  });
}

/** Bytes of the input field `name`, given as `name_hex` or as a pattern in `name`. */
export function inputBytes(input: Fields, name: string): Uint8Array {
  const hex = input[`${name}_hex`];
  if (typeof hex === 'string') return fromHex(hex);
  assert.ok(input[name] !== undefined, `the case's input has neither ${name} nor ${name}_hex`);
  return bytesOf(input[name]);
}

/** Bytes of a value that is hex or a pattern. */
export function bytesOf(value: unknown): Uint8Array {
  if (typeof value === 'string') return fromHex(value);
  const { pattern, length } = value as Pattern;
  const once = fromHex(pattern);
  const bytes = new Uint8Array(length);
  for (let offset = 0; offset < length; offset += once.length) {
    bytes.set(once.subarray(0, length - offset), offset);
  }
  return bytes;
}

/** The same as text; what is not UTF-8 is replaced. */
export function textOf(value: unknown): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytesOf(value));
}

export function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'));
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function assertBytes(actual: Uint8Array, expected: ExpectedBytes): void {
  if (typeof expected === 'string') {
    assert.equal(toHex(actual), expected);
    return;
  }
  assert.equal(actual.length, expected.length);
  assert.equal(sha256(actual), expected.sha256);
}

export function assertFrame(actual: Uint8Array, expected: ExpectedFrame): void {
  if (typeof expected === 'string') {
    assert.equal(toHex(actual), expected);
    return;
  }
  const payload = actual.subarray(HEADER_SIZE);
  assert.equal(toHex(actual.subarray(0, HEADER_SIZE)), expected.header_hex);
  assertBytes(payload, { length: expected.payload_length, sha256: expected.payload_sha256 });
}

export function assertFrames(actual: readonly Uint8Array[], expected: readonly ExpectedFrame[]): void {
  assert.equal(actual.length, expected.length, 'number of frames');
  for (let i = 0; i < actual.length; i += 1) assertFrame(actual[i], expected[i]);
}
