/** What holds for all frames and all bytes, tried with random ones. */

import test from 'ava';
import fc from 'fast-check';
import { ProtocolError } from '../../src/wire/errors.ts';
import {
  CommandArgumentFlag,
  encodeFrame,
  type Frame,
  FrameType,
  HEADER_SIZE,
  MAX_PAYLOAD_LENGTH,
  readHeader,
  writeHeader,
} from '../../src/wire/frame.ts';
import { type Argument, commandDataFrames, commandFrames } from '../../src/wire/frames.ts';
import { formatFrame, parseFrameText } from '../../src/wire/human.ts';
import {
  decodeArgumentHead,
  decodeCancel,
  decodeCredit,
  decodeGoaway,
  decodePing,
  decodeProgress,
  decodeSenderSettings,
  decodeStreamSettings,
  decodeTextOutput,
  decodeUtf8,
  encodeArgumentHead,
  encodeCredit,
  encodeGoaway,
  encodeProgress,
  encodeSenderSettings,
  encodeStreamSettings,
  encodeTextOutput,
  encodeUtf8,
  MAX_SENDER_SETTINGS,
  renderTextOutput,
} from '../../src/wire/payloads.ts';
import { Splitter } from '../../src/wire/splitter.ts';
import { character } from '../helpers/arbitrary.ts';

/** Any text that UTF-8 can carry, so without lone surrogates. */
const text = fc.string({ unit: character });
const ascii = fc.string({ unit: 'binary-ascii', maxLength: 255 });
const payload = fc.uint8Array({ maxLength: 300 });
const frame: fc.Arbitrary<Frame> = fc.record({
  requestId: fc.nat(0xffff),
  streamId: fc.nat(0xff),
  streamFlags: fc.nat(0xff),
  type: fc.nat(0x0f),
  flags: fc.nat(0x0f),
  payload,
});

function concat(pieces: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(pieces));
}

/** Cuts `bytes` at the given places, which may be any numbers. */
function cutAt(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const sorted = places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b);
  return [0, ...sorted].map((start, i) => bytes.slice(start, sorted[i] ?? bytes.length));
}

test('frames cut anywhere come out the same', (t) => {
  const property = fc.property(fc.array(frame), fc.array(fc.nat()), (frames, places) => {
    const received: Frame[] = [];
    const splitter = new Splitter({ maxPayload: 300, onFrame: (whole) => void received.push(whole) });
    for (const chunk of cutAt(concat(frames.map(encodeFrame)), places)) splitter.push(chunk);
    splitter.finish();
    t.deepEqual(received, frames);
  });
  fc.assert(property, { numRuns: 200 });
  t.pass();
});

test('frames that come byte by byte, or in chunks of any one size, come out the same', (t) => {
  const property = fc.property(
    fc.array(frame, { maxLength: 5 }),
    fc.integer({ min: 1, max: 400 }),
    (frames, size) => {
      const received: Frame[] = [];
      const splitter = new Splitter({ maxPayload: 300, onFrame: (whole) => void received.push(whole) });
      const input = concat(frames.map(encodeFrame));
      for (let i = 0; i < input.length; i += size) splitter.push(input.slice(i, i + size));
      t.false(splitter.midFrame);
      t.deepEqual(received, frames);
    },
  );
  fc.assert(property);
  t.pass();
});

test('payloads longer than any chunk come out the same', (t) => {
  const property = fc.property(
    fc.integer({ min: 1, max: 70_000 }),
    fc.integer({ min: 500, max: 40_000 }),
    (length, size) => {
      const sent = Uint8Array.from({ length }, (_, i) => i * 31);
      const bytes = encodeFrame({
        requestId: 1,
        streamId: 2,
        streamFlags: 0,
        type: 4,
        flags: 2,
        payload: sent,
      });
      const received: Uint8Array[] = [];
      const splitter = new Splitter({
        maxPayload: 70_000,
        onFrame: (whole) => void received.push(whole.payload),
      });
      for (let i = 0; i < bytes.length; i += size) splitter.push(bytes.subarray(i, i + size));
      t.is(received.length, 1);
      t.is(Buffer.compare(received[0], sent), 0);
    },
  );
  fc.assert(property, { numRuns: 60 });
  t.pass();
});

test('a length keeps all of its 24 bits', (t) => {
  const lengths = fc.oneof(
    fc.nat(MAX_PAYLOAD_LENGTH),
    fc.constantFrom(0, 1, 0xff, 0x100, 0xffff, 0x1_0000, 0x1_00ff, 0x7f_ffff, 0x80_0000, 0xff_ffff),
  );
  const property = fc.property(lengths, frame, (length, { payload: _, ...fields }) => {
    const bytes = new Uint8Array(HEADER_SIZE);
    const { requestId, streamId, streamFlags, type, flags } = fields;
    writeHeader(bytes, 0, length, requestId, streamId, streamFlags, type, flags);
    t.deepEqual(readHeader(bytes), { length, ...fields });
    // Settings have a limit of their own.
    t.is(limitRefuses(bytes, length - 1), type !== FrameType.senderSettings || length > MAX_SENDER_SETTINGS);
    t.false(limitRefuses(bytes, length));
  });
  fc.assert(property, { numRuns: 1000 });
  t.pass();
});

/** Whether a header passes a splitter with this limit. */
function limitRefuses(header: Uint8Array, maxPayload: number): boolean {
  const splitter = new Splitter({ maxPayload, onFrame: () => undefined });
  try {
    splitter.push(header);
    return false;
  } catch (error) {
    if (error instanceof ProtocolError && error.code === 'limit') return true;
    throw error;
  }
}

test('a frame as text reads back as the same frame', (t) => {
  fc.assert(fc.property(frame, (sent) => void t.deepEqual(parseFrameText(formatFrame(sent)), sent)));
  t.pass();
});

test('a frame as text is one line of printable ASCII', (t) => {
  fc.assert(fc.property(frame, (sent) => void t.regex(formatFrame(sent), /^[ -~]*$/)));
  t.pass();
});

test('every payload layout reads back what was written', (t) => {
  const count = fc.oneof(fc.constant(-1), fc.maxSafeNat());
  const short = fc.string({ unit: character, maxLength: 250 });
  const properties = [
    fc.property(ascii, payload, fc.nat(1000), (name, piece, missing) => {
      const valueLength = piece.length + missing;
      const head = decodeArgumentHead(encodeArgumentHead(name, valueLength, piece), missing > 0);
      t.deepEqual(head, { name, valueLength, piece });
    }),
    fc.property(ascii, payload, (profile, bytes) => {
      t.deepEqual(decodeStreamSettings(encodeStreamSettings(profile, bytes)), { profile, bytes });
    }),
    fc.property(count, count, short, short, short, (position, total, topic, unit, item) => {
      const progress = { position, total, topic, unit, item };
      t.deepEqual(decodeProgress(encodeProgress(progress)), progress);
    }),
    fc.property(fc.nat(0xffff), text, (lastRequestId, reason) => {
      t.deepEqual(decodeGoaway(encodeGoaway(lastRequestId, reason)), { lastRequestId, reason });
    }),
    fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), (credit) => {
      t.is(decodeCredit(encodeCredit(credit)), credit);
    }),
    fc.property(text, (sent) => void t.is(decodeUtf8(encodeUtf8(sent)), sent)),
  ];
  for (const property of properties) fc.assert(property as fc.IProperty<unknown>);
  t.pass();
});

test('sender-settings read back as they were written', (t) => {
  const names = fc.array(fc.string({ unit: character, maxLength: 20 }), { maxLength: 10 });
  const settings = fc.record(
    {
      contentEncodings: names,
      maxFrameSize: fc.integer({ min: 1, max: MAX_PAYLOAD_LENGTH }),
      maxConcurrentRequests: fc.maxSafeNat(),
      requestWindow: fc.maxSafeNat(),
      connectionWindow: fc.maxSafeNat(),
      extensions: names,
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(
      settings,
      (sent) => void t.deepEqual(decodeSenderSettings(encodeSenderSettings(sent)), { ...sent }),
    ),
  );
  t.pass();
});

test('text output reads back as it was written', (t) => {
  const atom = fc.record({ format: text, labels: fc.array(ascii), args: fc.array(text) });
  const atoms = fc.array(atom, { minLength: 1, maxLength: 5 });
  fc.assert(fc.property(atoms, (sent) => void t.deepEqual(decodeTextOutput(encodeTextOutput(sent)), sent)));
  t.pass();
});

test('any argument values, over frames of any size, arrive as they were sent', (t) => {
  const args = fc.uniqueArray(fc.tuple(fc.string({ unit: 'binary-ascii', maxLength: 8 }), payload), {
    selector: ([name]) => name,
  });
  const property = fc.property(args, fc.integer({ min: 12, max: 400 }), (sent, maxFrameSize) => {
    const received: Argument[] = [];
    let open: { name: string; pieces: Uint8Array[] } | undefined;
    let lastFlags = 0;
    commandFrames('c', sent, false, maxFrameSize, (type, flags, bytes) => {
      t.true(bytes.length <= maxFrameSize);
      if (type !== FrameType.commandArgument) return;
      const continued = (flags & CommandArgumentFlag.continuation) !== 0;
      if (open === undefined) {
        const head = decodeArgumentHead(bytes, continued);
        open = { name: head.name, pieces: [head.piece] };
      } else open.pieces.push(bytes);
      lastFlags = flags;
      if (continued) return;
      received.push([open.name, concat(open.pieces)]);
      open = undefined;
    });
    t.is(lastFlags, sent.length > 0 ? CommandArgumentFlag.eoa : 0);
    const sorted = [...sent].sort(([a], [b]) => (a < b ? -1 : 1));
    t.deepEqual(received, sorted);
  });
  fc.assert(property);
  t.pass();
});

test('command data of any length, in frames of any size, arrives whole and ends once', (t) => {
  const property = fc.property(
    payload,
    fc.integer({ min: 1, max: 400 }),
    fc.boolean(),
    (data, maxFrameSize, isLast) => {
      const pieces: Uint8Array[] = [];
      const allFlags: number[] = [];
      commandDataFrames(data, isLast, maxFrameSize, (_, flags, bytes) => {
        t.true(bytes.length <= maxFrameSize);
        pieces.push(bytes);
        allFlags.push(flags);
      });
      t.deepEqual(concat(pieces), data);
      const lastFlags = allFlags.pop();
      t.is(lastFlags, isLast ? 2 : data.length > 0 ? 1 : undefined);
      t.true(allFlags.every((flags) => flags === 1));
    },
  );
  fc.assert(property);
  t.pass();
});

/** Every decoder of bytes that a peer has sent. */
const DECODERS: Readonly<Record<string, (bytes: Uint8Array) => unknown>> = {
  argument: (bytes) => decodeArgumentHead(bytes, false),
  'argument that continues': (bytes) => decodeArgumentHead(bytes, true),
  'stream-settings': decodeStreamSettings,
  progress: decodeProgress,
  'sender-settings': decodeSenderSettings,
  cancel: decodeCancel,
  credit: decodeCredit,
  ping: decodePing,
  goaway: decodeGoaway,
  'text-output': (bytes) => renderTextOutput(decodeTextOutput(bytes), true),
  'error-response': decodeUtf8,
};

/** Random bytes, small ones more often, so that lengths inside a payload sometimes fit. */
const hostile = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.array(fc.nat(4), { maxLength: 200 }).map((values) => Uint8Array.from(values)),
  fc.json().map(encodeUtf8),
  fc.object().map((value) => encodeUtf8(JSON.stringify(value))),
);

for (const [name, decode] of Object.entries(DECODERS)) {
  test(`hostile bytes as ${name} give nothing worse than a ProtocolError`, (t) => {
    const property = fc.property(hostile, (bytes) => {
      try {
        decode(bytes);
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
      }
    });
    fc.assert(property, { numRuns: 1000 });
    t.pass();
  });
}

test('hostile bytes, in any chunks, give the splitter nothing worse than a ProtocolError', (t) => {
  const property = fc.property(fc.array(hostile), (chunks) => {
    const splitter = new Splitter({
      maxPayload: 500,
      // Settings have a limit of their own.
      onFrame: ({ type, payload: received }) =>
        void t.true(received.length <= (type === FrameType.senderSettings ? MAX_SENDER_SETTINGS : 500)),
    });
    try {
      for (const chunk of chunks) splitter.push(chunk);
      splitter.finish();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
    }
  });
  fc.assert(property, { numRuns: 1000 });
  t.pass();
});
