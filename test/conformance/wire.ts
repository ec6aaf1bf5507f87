/** Runs conformance cases of every operation but `reactor` on src/wire. */

import assert from 'node:assert/strict';
import { ProtocolError } from '../../src/wire/errors.ts';
import {
  CommandArgumentFlag,
  DEFAULT_FRAME_SIZE,
  ErrorResponseFlag,
  encodeFrame,
  type Frame,
  FrameType,
  HEADER_SIZE,
  MAX_PAYLOAD_LENGTH,
  readHeader,
} from '../../src/wire/frame.ts';
import { commandDataFrames, commandFrames, type FrameSink } from '../../src/wire/frames.ts';
import { FrameTextError, formatFrame, parseFrameText } from '../../src/wire/human.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import { decodeArgumentHead, decodeTextOutput, TextOutputError } from '../../src/wire/payloads.ts';
import { Splitter } from '../../src/wire/splitter.ts';
import { isAscii } from '../../src/wire/utf8.ts';
import { errorFrame, responseFrames, StreamCursor, textOutputFrame } from '../helpers/frames.ts';
import {
  assertBytes,
  assertFrame,
  assertFrames,
  bytesOf,
  type ConformanceCase,
  type ExpectedBytes,
  type ExpectedFrame,
  type ExpectedResult,
  type Fields,
  inputBytes,
  textOf,
} from './cases.ts';

/** What an operation made, and the error that ended it. */
interface Outcome {
  readonly frames: readonly Uint8Array[];
  readonly error?: unknown;
}

/** @throws AssertionError when the case does not come out as its class asks. */
export function runWireCase(testCase: ConformanceCase): void {
  const run = OPERATIONS[testCase.op];
  assert.ok(run !== undefined, `unknown operation ${testCase.op}`);
  run(testCase);
}

const OPERATIONS: Readonly<Record<string, (testCase: ConformanceCase) => void>> = {
  makeframe: runMakeFrame,
  human: runHuman,
  parse: runParse,
  parseheader: runParseHeader,
  createcommand: runMaker,
  bytesresponse: runMaker,
  errorframe: runMaker,
  textoutput: runMaker,
  session: runSession,
};

// One frame, binary and human

function runMakeFrame(testCase: ConformanceCase): void {
  const outcome = attempt((frames) => frames.push(encodeFrame(frameOf(testCase.input))));
  assertOneFrame(testCase, outcome);
  // protocol A1: every field has its width; what does not fit must not be sent.
  const { tags, output } = testCase;
  if (tags.includes('flags-overflow') || !(output as ExpectedResult).ok) assertRefused(outcome);
}

function frameOf(input: Fields): Frame {
  return {
    requestId: input.requestid as number,
    streamId: input.streamid as number,
    streamFlags: input.streamflags as number,
    type: input.typeid as number,
    flags: input.flags as number,
    payload: inputBytes(input, 'payload'),
  };
}

function runHuman(testCase: ConformanceCase): void {
  const outcome = attempt((frames) => {
    const frame = parseFrameText(testCase.input.s as string);
    assert.deepEqual(parseFrameText(formatFrame(frame)), frame, 'a frame as text must read back the same');
    frames.push(encodeFrame(frame));
  });
  assertOneFrame(testCase, outcome);
}

function assertOneFrame(testCase: ConformanceCase, outcome: Outcome): void {
  assertOnlyOurErrors(outcome);
  if (testCase.class !== 'conformant') return;
  const { ok, frame } = testCase.output as { ok: boolean; frame?: ExpectedFrame };
  assert.equal(outcome.error === undefined, ok, `error: ${outcome.error}`);
  if (frame !== undefined) assertFrame(outcome.frames[0], frame);
}

// Parsing

interface ParsedFrame {
  readonly requestid: number;
  readonly streamid: number;
  readonly streamflags: number;
  readonly typeid: number;
  readonly flags: number;
  readonly payload_hex: ExpectedBytes;
}

function runParse(testCase: ConformanceCase): void {
  const input = parseInput(testCase.input);
  const { frames, error } = split(input, MAX_PAYLOAD_LENGTH);
  assertOnlyOurErrors({ frames: [], error });
  if (testCase.class === 'conformant') {
    const output = testCase.output as Omit<ExpectedResult, 'frames'> & { frames: readonly ParsedFrame[] };
    assertError(error, output);
    assertParsed(frames, output.frames);
  } else if (testCase.tags.includes('third-length-byte')) {
    // protocol A1: the length has 24 bits; and protocol B-limits: without our leave no payload may have more than 65 535 bytes.
    assert.equal(error, undefined);
    assert.equal(frames[0].payload.length, (testCase.spec as { length: number }).length);
    const limited = split(input, DEFAULT_LIMITS.maxPayload);
    assert.ok(limited.error instanceof ProtocolError && limited.error.code === 'limit');
    assert.equal(limited.frames.length, 0);
  }
}

function parseInput(input: Fields): Uint8Array {
  if (input.hex !== undefined) return bytesOf(input.hex);
  const header = inputBytes(input, 'header');
  const payload = inputBytes(input, 'payload');
  const bytes = new Uint8Array(header.length + payload.length);
  bytes.set(header);
  bytes.set(payload, header.length);
  return bytes;
}

function split(input: Uint8Array, maxPayload: number): { frames: Frame[]; error?: unknown } {
  const frames: Frame[] = [];
  const splitter = new Splitter({ maxPayload, onFrame: (frame) => void frames.push(frame) });
  try {
    splitter.push(input);
    splitter.finish();
    return { frames };
  } catch (error) {
    return { frames, error };
  }
}

function assertParsed(frames: readonly Frame[], expected: readonly ParsedFrame[]): void {
  assert.equal(frames.length, expected.length, 'number of frames');
  for (let i = 0; i < frames.length; i += 1) {
    const { requestId, streamId, streamFlags, type, flags, payload } = frames[i];
    const { payload_hex, ...fields } = expected[i];
    const actual = {
      requestid: requestId,
      streamid: streamId,
      streamflags: streamFlags,
      typeid: type,
      flags,
    };
    assert.deepEqual(actual, fields);
    assertBytes(payload, payload_hex);
  }
}

function runParseHeader(testCase: ConformanceCase): void {
  const { length, requestId, streamId, streamFlags, type, flags } = readHeader(bytesOf(testCase.input.hex));
  const { ok, ...expected } = testCase.output as { ok: boolean; length: number };
  // The reference loses bits of the third length byte; `spec` says what they are.
  if (testCase.spec !== undefined) expected.length = (testCase.spec as { length: number }).length;
  const actual = { length, requestid: requestId, streamid: streamId, streamflags: streamFlags };
  assert.deepEqual({ ...actual, typeid: type, flags }, expected);
}

// Frame sequences

/** createcommand, bytesresponse, errorframe, textoutput, each on a stream of its own. */
function runMaker(testCase: ConformanceCase): void {
  const { input, op } = testCase;
  const cursor = new StreamCursor(input.streamid as number);
  const outcome = attempt((frames) => make(op, input, cursor, frames));
  assertOnlyOurErrors(outcome);
  if (testCase.class !== 'conformant') {
    SETTLED[op]?.(testCase, outcome);
    return;
  }
  const output = testCase.output as ExpectedResult;
  assertError(outcome.error, output);
  assertFrames(outcome.frames, output.frames ?? []);
  if (op === 'textoutput' && outcome.error === undefined) assertTextReadsBack(input, outcome.frames);
}

/** Runs one operation on one stream; frames go to `frames` as they are made. */
function make(op: string, input: Fields, cursor: StreamCursor, frames: Uint8Array[]): void {
  const sink: FrameSink = (type, flags, payload) => {
    frames.push(cursor.frame(input.requestid as number, type, flags, payload));
  };
  if (op === 'createcommand') makeCommand(input, sink);
  else if (op === 'bytesresponse') makeResponse(input, sink);
  else if (op === 'errorframe') makeError(input, sink);
  else if (op === 'textoutput') textOutputFrame(atomsOf(input), sink);
  else if (op === 'streamframe')
    sink(input.typeid as number, input.flags as number, inputBytes(input, 'payload'));
  else assert.fail(`unknown operation ${op}`);
}

function makeCommand(input: Fields, sink: FrameSink): void {
  const data = input.data_hex === null ? undefined : inputBytes(input, 'data');
  const args = Object.entries(input.args as Fields).map(
    ([name, value]) => [textOf(name), bytesOf(value)] as const,
  );
  const command = new TextDecoder().decode(inputBytes(input, 'cmd'));
  commandFrames(command, args, data !== undefined, DEFAULT_FRAME_SIZE, sink);
  if (data !== undefined) commandDataFrames(data, true, DEFAULT_FRAME_SIZE, sink);
}

function makeResponse(input: Fields, sink: FrameSink): void {
  const maxFrameSize = (input.maxframesize as number | undefined) ?? DEFAULT_FRAME_SIZE;
  responseFrames(inputBytes(input, 'data'), true, maxFrameSize, sink);
}

/**
 * Our maker sends exactly one flag (protocol B5) and cannot be asked for another number. Conformant vectors with both show
 * only how such a frame is laid out, so the bare frame is made for them.
 */
function makeError(input: Fields, sink: FrameSink): void {
  const message = inputBytes(input, 'msg');
  const { protocol, application } = input;
  if (protocol === true && application === true) {
    sink(FrameType.errorResponse, ErrorResponseFlag.protocol | ErrorResponseFlag.application, message);
    return;
  }
  if (protocol !== true && application !== true) throw new RangeError('an error-response needs a flag');
  errorFrame(message, protocol === true ? 'protocol' : 'application', DEFAULT_FRAME_SIZE, sink);
}

interface InputAtom extends Fields {
  readonly args: readonly unknown[];
  readonly labels: readonly unknown[];
}

function atomsOf(input: Fields) {
  return (input.atoms as InputAtom[]).map((atom) => ({
    format: new TextDecoder('utf-8', { ignoreBOM: true }).decode(inputBytes(atom, 'fmt')),
    args: atom.args.map(textOf),
    labels: atom.labels.map(textOf),
  }));
}

function assertTextReadsBack(input: Fields, frames: readonly Uint8Array[]): void {
  assert.deepEqual(decodeTextOutput(frames[0].subarray(HEADER_SIZE)), atomsOf(input));
}

// What part B settles anyway

/** For cases that need not match: what docs/protocol.md asks all the same. */
const SETTLED: Readonly<Record<string, (testCase: ConformanceCase, outcome: Outcome) => void>> = {
  createcommand: assertCommandSettled,
  errorframe: assertErrorFrameSettled,
  bytesresponse(testCase, outcome) {
    if (testCase.input.maxframesize === 0) assertRefused(outcome);
  },
};

/** protocol B2: long values continue in further frames; protocol B3: names are ASCII; protocol A2: a value has at most 65 535 bytes. */
function assertCommandSettled({ input }: ConformanceCase, outcome: Outcome): void {
  const args = Object.entries(input.args as Fields).map(
    ([name, value]) => [textOf(name), bytesOf(value)] as const,
  );
  const refused = args.some(([name, value]) => value.length > 0xffff || !isAscii(name));
  if (refused || inputBytes(input, 'cmd').length > DEFAULT_FRAME_SIZE) {
    assertRefused(outcome);
    return;
  }
  assert.equal(outcome.error, undefined);
  for (const frame of outcome.frames) assert.ok(frame.length <= HEADER_SIZE + DEFAULT_FRAME_SIZE);
  assert.deepEqual(readArguments(outcome.frames), new Map(args));
}

/** Puts the argument frames of one command together as protocol B2 says. */
function readArguments(frames: readonly Uint8Array[]): Map<string, Uint8Array> {
  const args = new Map<string, Uint8Array>();
  let open: { name: string; value: Uint8Array; filled: number } | undefined;
  for (const bytes of frames) {
    const { type, flags } = readHeader(bytes);
    if (type !== FrameType.commandArgument) continue;
    const continued = (flags & CommandArgumentFlag.continuation) !== 0;
    let piece = bytes.subarray(HEADER_SIZE);
    if (open === undefined) {
      const head = decodeArgumentHead(piece, continued);
      open = { name: head.name, value: new Uint8Array(head.valueLength), filled: 0 };
      piece = head.piece;
    }
    open.value.set(piece, open.filled);
    open.filled += piece.length;
    if (continued) continue;
    assert.equal(open.filled, open.value.length);
    args.set(open.name, open.value);
    open = undefined;
  }
  return args;
}

/** protocol B5: exactly one flag; a message that does not fit a frame is cut. */
function assertErrorFrameSettled({ input }: ConformanceCase, outcome: Outcome): void {
  const flagCount = Number(input.protocol === true) + Number(input.application === true);
  if (flagCount === 0) {
    assertRefused(outcome);
    return;
  }
  if (flagCount > 1) return;
  const message = inputBytes(input, 'msg');
  assert.equal(outcome.frames.length, 1);
  const payload = outcome.frames[0].subarray(HEADER_SIZE);
  assert.ok(
    payload.length <= DEFAULT_FRAME_SIZE &&
      payload.length >= Math.min(message.length, DEFAULT_FRAME_SIZE - 3),
  );
  assert.deepEqual(payload, message.subarray(0, payload.length));
}

// Sessions

/** Several operations, those of one stream ID sharing one stream. */
function runSession(testCase: ConformanceCase): void {
  const cursors = new Map<number, StreamCursor>();
  const { results } = testCase.output as { results: ExpectedResult[] };
  const operations = testCase.input.ops as Fields[];
  assert.equal(operations.length, results.length);
  for (let i = 0; i < operations.length; i += 1) {
    const cursor = cursorFor(operations[i], cursors);
    const { begun } = cursor;
    const outcome = attempt((frames) => make(operations[i].op as string, operations[i], cursor, frames));
    assertOnlyOurErrors(outcome);
    if (testCase.class === 'conformant') {
      assertError(outcome.error, results[i]);
      assertFrames(outcome.frames, results[i].frames ?? []);
    } else if (operations[i].typeid === FrameType.streamSettings && begun) {
      // protocol A5: stream-settings may only ride on the frame that begins a stream.
      assertRefused(outcome);
    }
  }
}

function cursorFor(operation: Fields, cursors: Map<number, StreamCursor>): StreamCursor {
  const streamId = operation.streamid as number;
  const known = cursors.get(streamId);
  if (known !== undefined && operation.newstream !== true) return known;
  const cursor = new StreamCursor(streamId);
  cursors.set(streamId, cursor);
  return cursor;
}

// Errors

function attempt(run: (frames: Uint8Array[]) => void): Outcome {
  const frames: Uint8Array[] = [];
  try {
    run(frames);
    return { frames };
  } catch (error) {
    return { frames, error };
  }
}

/** Whatever is thrown must be meant: a crash in our code is a TypeError or the like. */
function assertOnlyOurErrors({ error }: Outcome): void {
  const ours =
    error instanceof ProtocolError || error instanceof FrameTextError || error instanceof RangeError;
  if (error !== undefined && !ours) throw error;
}

function assertRefused({ frames, error }: Outcome): void {
  assert.ok(error !== undefined, 'must be refused');
  assert.equal(frames.length, 0, 'must be refused before a frame is made');
}

function assertError(error: unknown, expected: Omit<ExpectedResult, 'frames'>): void {
  assert.equal(error === undefined, expected.ok, `error: ${error}`);
  const code = expected.raised?.code;
  if (code !== undefined) assert.equal(codeOf(error), code);
}

function codeOf(error: unknown): string | undefined {
  return error instanceof ProtocolError || error instanceof TextOutputError ? error.code : undefined;
}
