/** Runs the vectors of op `reactor`: the reference's server reactor, event by event, against ours. */

import assert from 'node:assert/strict';
import type { Decoders } from '../../src/reactor/incoming.ts';
import { ServerReactor } from '../../src/reactor/server.ts';
import type { ReceivedCommand, ServerAction } from '../../src/reactor/server-action.ts';
import { ProtocolError } from '../../src/wire/errors.ts';
import { type Frame, FrameType, HEADER_SIZE, readHeader } from '../../src/wire/frame.ts';
import { DEFAULT_LIMITS, type Limits } from '../../src/wire/limits.ts';
import { errorFrame, responseFrames, StreamCursor } from '../helpers/frames.ts';
import {
  assertBytes,
  assertFrames,
  type ConformanceCase,
  type ExpectedBytes,
  type ExpectedFrame,
  type Fields,
  fromHex,
  inputBytes,
  toHex,
} from './cases.ts';

/** The vectors know none of our limits. */
const NO_LIMITS = Object.fromEntries(
  Object.keys(DEFAULT_LIMITS).map((name) => [name, Number.MAX_SAFE_INTEGER]),
) as unknown as Limits;

/** The reference has no encodings, so its traces need no decoder. */
const NO_DECODERS: Decoders = {
  supports: () => false,
  open: () => undefined,
  close: () => undefined,
  decode: () => {
    throw new Error('nothing to decode');
  },
};

/** Our code as the reference calls it. It knows three frame types, and of the others only that they are no command. */
function referenceCode(error: ProtocolError, event: Fields): string {
  const { code } = error;
  if (STREAM_CODES.has(code) || event.type !== 'frame') return code;
  const { type } = frameOf(event);
  if (type > FrameType.commandData || type === 0) return 'expected-command';
  return code === 'bad-payload' ? 'partial-argument-name' : code;
}

const STREAM_CODES: ReadonlySet<string> = new Set(['even-stream-id', 'unknown-stream', 'already-errored']);

/** What happened at one event, in the vectors' words. */
type Outcome =
  | { action: 'wantframe'; state: string }
  | { action: 'runcommand'; command: ReceivedCommand; data: Uint8Array | null }
  | { action: 'error'; code: string }
  | { action: 'raise'; code: string }
  | { action: 'sendframes' | 'frames'; frames: Uint8Array[] | null }
  | { action: 'noop' };

/** Drives our reactor as the reference's owner drives its own. */
class ReactorAdapter {
  readonly #reactor: ServerReactor;
  readonly #cursors = new Map<number, StreamCursor>();
  readonly #commands = new Map<number, { command: ReceivedCommand; data: Uint8Array[] }>();
  /** Output that has been announced and not sent, by the event that announced it. */
  readonly #announced = new Map<number, () => Uint8Array[]>();
  #held: (() => Uint8Array[])[] = [];
  /** Requests whose response is announced or held. */
  readonly #answered = new Set<number>();
  errored = false;

  constructor(halfDuplex: boolean) {
    this.#reactor = new ServerReactor(NO_LIMITS, NO_DECODERS, halfDuplex);
  }

  event(event: Fields, index: number): Outcome {
    try {
      return this.#dispatch(event, index);
    } catch (error) {
      if (error instanceof ProtocolError) {
        this.errored = true;
        return { action: 'error', code: referenceCode(error, event) };
      }
      return { action: 'raise', code: (error as Error).message.split(':')[0] };
    }
  }

  #dispatch(event: Fields, index: number): Outcome {
    switch (event.type) {
      case 'frame':
        return this.#frame(frameOf(event));
      case 'bytesresponse': {
        const data = inputBytes(event, 'data');
        return this.#respond(event, index, (sink) => responseFrames(data, true, 32_768, sink));
      }
      case 'apperror': {
        const message = inputBytes(event, 'msg');
        return this.#respond(event, index, (sink) => errorFrame(message, 'application', 32_768, sink));
      }
      case 'eof':
        return this.#endOfInput();
      case 'consume':
        return { action: 'frames', frames: this.#announced.get(event.event as number)?.() ?? [] };
      default:
        throw new Error(`event of unknown type ${event.type}`);
    }
  }

  #frame(frame: Frame): Outcome {
    const actions: ServerAction[] = [];
    this.#reactor.receive(frame, actions);
    for (const action of actions) {
      const whole = this.#collect(action);
      if (whole !== undefined) return whole;
    }
    return { action: 'wantframe', state: this.#reactor.midCommand ? 'command-receiving' : 'idle' };
  }

  /** Gathers command data until the command is whole, which is when the reference runs it. */
  #collect(action: ServerAction): Outcome | undefined {
    if (action.kind === 'run') {
      this.#commands.set(action.command.requestId, { command: action.command, data: [] });
      return action.command.hasData
        ? undefined
        : { action: 'runcommand', command: action.command, data: null };
    }
    if (action.kind !== 'data') return undefined;
    const entry = this.#commands.get(action.requestId);
    assert.ok(entry !== undefined, 'data for a command that was not run');
    entry.data.push(action.bytes.slice());
    if (!action.last) return undefined;
    return { action: 'runcommand', command: entry.command, data: Buffer.concat(entry.data) };
  }

  #respond(
    event: Fields,
    index: number,
    make: (sink: (type: number, flags: number, payload: Uint8Array) => void) => void,
  ): Outcome {
    const { streamid, requestid, consume, newstream } = event as Record<string, number>;
    this.#startResponse(requestid, streamid);
    if (newstream || !this.#cursors.has(streamid)) this.#cursors.set(streamid, new StreamCursor(streamid));
    const cursor = this.#cursors.get(streamid) as StreamCursor;
    const send = () => {
      const frames: Uint8Array[] = [];
      make((type, flags, payload) => frames.push(cursor.frame(requestid, type, flags, payload)));
      this.#reactor.finishResponse(requestid);
      this.#answered.delete(requestid);
      return frames;
    };
    if (this.#reactor.holdsOutput) {
      this.#held.push(send);
      return { action: 'noop' };
    }
    this.#announced.set(index, send);
    return { action: 'sendframes', frames: event.consume === false || consume === 0 ? null : send() };
  }

  /** Where the reference's reactor refuses an answer, ours leaves it to its owner not to give one (protocol B8). */
  #startResponse(requestId: number, streamId: number): void {
    if ((streamId & 1) === 1) throw new Error(`odd-output-stream: ${streamId} is not a stream of the server`);
    if (!this.#reactor.isRunning(requestId) || this.#answered.has(requestId)) {
      throw new Error(`request ${requestId} is not active`);
    }
    this.#answered.add(requestId);
    this.#reactor.answered(requestId);
  }

  #endOfInput(): Outcome {
    this.#reactor.endOfInput([]);
    const held = this.#held;
    this.#held = [];
    if (held.length === 0) return { action: 'noop' };
    return { action: 'sendframes', frames: held.flatMap((send) => send()) };
  }
}

export function runReactorCase(testCase: ConformanceCase): void {
  const { deferoutput, events } = testCase.input as { deferoutput: boolean; events: Fields[] };
  const adapter = new ReactorAdapter(deferoutput);
  const expected = testCase.output as (Fields | null)[];
  const fuzz = testCase.tags.includes('fuzz');
  events.forEach((event, i) => {
    const erroredBefore = adapter.errored;
    const outcome = adapter.event(event, i);
    if (erroredBefore && event.type === 'frame') {
      assert.equal(outcome.action, 'error', 'a frame after a protocol error was accepted');
    }
    if (testCase.class === 'conformant') assertOutcome(outcome, expected[i] as Fields, fuzz, `event ${i}`);
  });
}

function assertOutcome(actual: Outcome, expected: Fields, fuzz: boolean, where: string): void {
  assert.equal(actual.action, expected.action, where);
  switch (actual.action) {
    case 'wantframe':
      assert.equal(actual.state, expected.state, where);
      break;
    case 'error':
      if (!fuzz) assert.equal(actual.code, expected.code, where);
      break;
    case 'raise':
      assert.equal(actual.code, (expected.raised as Fields).code, where);
      break;
    case 'runcommand':
      assertCommand(actual.command, actual.data, expected);
      break;
    case 'sendframes':
    case 'frames':
      if (expected.frames === null) assert.equal(actual.frames, null, where);
      else assertFrames(actual.frames ?? [], expected.frames as ExpectedFrame[]);
      break;
    case 'noop':
      break;
  }
}

function assertCommand(command: ReceivedCommand, data: Uint8Array | null, expected: Fields): void {
  assert.equal(command.requestId, expected.requestid);
  assert.equal(toHex(Buffer.from(command.command, 'latin1')), expected.command_hex);
  const args = [...command.args].map(([name, value]) => [toHex(Buffer.from(name, 'latin1')), value] as const);
  args.sort(([a], [b]) => (a < b ? -1 : 1));
  const expectedArgs = expected.args as [string, ExpectedBytes][];
  assert.deepEqual(
    args.map(([name]) => name),
    expectedArgs.map(([name]) => name),
  );
  args.forEach(([, value], i) => {
    assertBytes(value, expectedArgs[i][1]);
  });
  const expectedData = (expected.data_hex ?? null) as ExpectedBytes | null;
  if (expectedData === null) assert.equal(data, null);
  else assertBytes(data ?? new Uint8Array(0), expectedData);
}

/** A frame event: whole as hex, or as fields with a payload. */
function frameOf(event: Fields): Frame {
  if (typeof event.hex === 'string') {
    const bytes = fromHex(event.hex);
    const { length: _length, ...header } = readHeader(bytes);
    return { ...header, payload: bytes.subarray(HEADER_SIZE) };
  }
  const { requestid, streamid, streamflags, typeid, flags } = event as Record<string, number>;
  const payload = inputBytes(event, 'payload');
  return { requestId: requestid, streamId: streamid, streamFlags: streamflags, type: typeid, flags, payload };
}
