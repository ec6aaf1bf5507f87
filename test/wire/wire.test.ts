/** The wire layer by example: splitter, payload layouts, frame makers, frames as text (protocol A, B, C). */

import test from 'ava';
import { TextOutput } from '../../src/index.ts';
import { ProtocolError, type ProtocolErrorCode } from '../../src/wire/errors.ts';
import { encodeFrame, type Frame, FrameType, MAX_PAYLOAD_LENGTH } from '../../src/wire/frame.ts';
import { type Argument, commandDataFrames, commandFrames, type FrameSink } from '../../src/wire/frames.ts';
import { FrameTextError, formatFrame, parseFrameText } from '../../src/wire/human.ts';
import {
  cutUtf8,
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
  renderTextOutput,
  TextOutputError,
} from '../../src/wire/payloads.ts';
import { Splitter } from '../../src/wire/splitter.ts';
import { visible, visibleJson, visibleLines } from '../../src/wire/visible.ts';

const EMPTY = new Uint8Array(0);

function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}

function frame(payload: Uint8Array, fields: Partial<Frame> = {}): Frame {
  return { requestId: 1, streamId: 1, streamFlags: 0, type: 3, flags: 2, ...fields, payload };
}

/** Runs `action` and returns the code of the ProtocolError that it must throw. */
function codeOf(action: () => unknown): ProtocolErrorCode | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
  return undefined;
}

/** A splitter that keeps its frames. */
function collect(maxPayload = 65_535): { splitter: Splitter; frames: Frame[] } {
  const frames: Frame[] = [];
  const splitter = new Splitter({ maxPayload, onFrame: (whole) => void frames.push(whole) });
  return { splitter, frames };
}

/** What a maker gives to its sink, as [type, flags, payload length]. */
function made(make: (sink: FrameSink) => void): number[][] {
  const frames: number[][] = [];
  make((type, flags, payload) => frames.push([type, flags, payload.length]));
  return frames;
}

// Splitter

test('a payload that lies in one chunk is a view of that chunk', (t) => {
  const { splitter, frames } = collect();
  const chunk = encodeFrame(frame(bytes(1, 2, 3)));
  splitter.push(chunk);
  t.is(frames[0].payload.buffer, chunk.buffer);
  t.deepEqual(frames[0].payload, bytes(1, 2, 3));
});

test('a payload of a chunk that is a Buffer is a plain Uint8Array', (t) => {
  const { splitter, frames } = collect();
  splitter.push(Buffer.from(encodeFrame(frame(bytes(7)))));
  t.is(Object.getPrototypeOf(frames[0].payload), Uint8Array.prototype);
});

test('a payload is a view also when its header came in an earlier chunk', (t) => {
  const { splitter, frames } = collect();
  const whole = encodeFrame(frame(bytes(1, 2, 3)));
  splitter.push(whole.slice(0, 5));
  const rest = whole.slice(5);
  splitter.push(rest);
  t.is(frames[0].payload.buffer, rest.buffer);
});

test('a gathered payload has a buffer of exactly its own length', (t) => {
  const { splitter, frames } = collect();
  const payload = Uint8Array.from({ length: 10_000 }, (_, i) => i);
  const whole = encodeFrame(frame(payload));
  for (let i = 0; i < whole.length; i += 999) splitter.push(whole.subarray(i, i + 999));
  t.deepEqual(frames[0].payload, payload);
  t.is(frames[0].payload.buffer.byteLength, payload.length);
});

test('a header that claims much pins little memory before bytes come', (t) => {
  const before = process.memoryUsage().arrayBuffers;
  const splitters = Array.from({ length: 1000 }, () => {
    const { splitter } = collect();
    splitter.push(bytes(0xff, 0xff, 0, 1, 0, 1, 1, 0x32, 0));
    return splitter;
  });
  const pinned = process.memoryUsage().arrayBuffers - before;
  t.true(splitters.every((splitter) => splitter.midFrame));
  t.true(pinned < 4 * 1024 * 1000, `${pinned} bytes for 1 000 frames of which one byte came`);
});

test('a payload over the limit is refused by its header alone, naming limit and numbers', (t) => {
  const { splitter, frames } = collect(100);
  splitter.push(encodeFrame(frame(new Uint8Array(100))));
  const header = encodeFrame(frame(new Uint8Array(101))).subarray(0, 8);
  const error = t.throws(() => splitter.push(header), { instanceOf: ProtocolError, code: 'limit' });
  t.regex(error.message, /maxPayload.*100/);
  t.regex(error.message, /101/);
  t.is(frames.length, 1);
});

test('a header over the limit is refused also when it comes byte by byte', (t) => {
  const { splitter } = collect(100);
  const header = encodeFrame(frame(new Uint8Array(101))).subarray(0, 8);
  for (let i = 0; i < 7; i += 1) splitter.push(header.subarray(i, i + 1));
  t.is(
    codeOf(() => splitter.push(header.subarray(7))),
    'limit',
  );
});

test('after an error no later frame is accepted', (t) => {
  const { splitter, frames } = collect(1);
  t.is(
    codeOf(() => splitter.push(encodeFrame(frame(bytes(1, 2))))),
    'limit',
  );
  splitter.push(encodeFrame(frame(bytes(1))));
  splitter.finish();
  t.is(frames.length, 0);
});

test('the limit may be raised between frames', (t) => {
  const { splitter, frames } = collect(1);
  splitter.push(encodeFrame(frame(bytes(1))));
  splitter.maxPayload = 2;
  splitter.push(encodeFrame(frame(bytes(1, 2))));
  t.is(frames.length, 2);
});

test('onFrame may raise the limit for the next frame of the same chunk', (t) => {
  const lengths: number[] = [];
  const splitter = new Splitter({
    maxPayload: 1,
    onFrame: ({ payload }) => {
      lengths.push(payload.length);
      splitter.maxPayload = 2;
    },
  });
  splitter.push(Buffer.concat([encodeFrame(frame(bytes(1))), encodeFrame(frame(bytes(1, 2)))]));
  t.deepEqual(lengths, [1, 2]);
});

for (const cut of [3, 8, 9, 100]) {
  test(`onFrame returning false drops the rest of the input, first chunk of ${cut} bytes`, (t) => {
    let count = 0;
    const splitter = new Splitter({
      maxPayload: 10,
      onFrame: () => {
        count += 1;
        return false;
      },
    });
    const one = encodeFrame(frame(bytes(1, 2)));
    const input = Buffer.concat([one, one, one.subarray(0, 4)]);
    splitter.push(input.subarray(0, cut));
    splitter.push(input.subarray(cut));
    splitter.push(one);
    t.notThrows(() => splitter.finish());
    t.is(count, 1);
  });
}

test('an error thrown by onFrame comes out of push and stops the splitter', (t) => {
  let count = 0;
  const splitter = new Splitter({
    maxPayload: 10,
    onFrame: () => {
      count += 1;
      throw new ProtocolError('unknown-type', 'no');
    },
  });
  const one = encodeFrame(frame(EMPTY));
  t.is(
    codeOf(() => splitter.push(one)),
    'unknown-type',
  );
  splitter.push(one);
  t.is(count, 1);
});

test('input that ends inside a header or a payload is truncated, between frames it is not', (t) => {
  const whole = encodeFrame(frame(bytes(1, 2, 3)));
  const codes = Array.from({ length: whole.length + 1 }, (_, length) => {
    const { splitter } = collect();
    splitter.push(whole.subarray(0, length));
    t.is(splitter.midFrame, length > 0 && length < whole.length);
    return codeOf(() => splitter.finish());
  });
  t.is(codes[0], undefined);
  t.deepEqual(new Set(codes.slice(1, 8)), new Set(['truncated-header']));
  t.deepEqual(new Set(codes.slice(8, 11)), new Set(['truncated-payload']));
  t.is(codes[11], undefined);
});

test('finish complains once', (t) => {
  const { splitter } = collect();
  splitter.push(bytes(1));
  t.is(
    codeOf(() => splitter.finish()),
    'truncated-header',
  );
  t.notThrows(() => splitter.finish());
});

// Payload layouts

test('an argument whose name or value is not all there is refused, each with its code', (t) => {
  const whole = encodeArgumentHead('key', 2, bytes(1, 2));
  t.is(
    codeOf(() => decodeArgumentHead(whole.subarray(0, 3), false)),
    'bad-payload',
  );
  t.is(
    codeOf(() => decodeArgumentHead(whole.subarray(0, 6), false)),
    'partial-argument-name',
  );
  t.is(
    codeOf(() => decodeArgumentHead(whole.subarray(0, 8), false)),
    'partial-argument-value',
  );
  t.is(
    codeOf(() => decodeArgumentHead(Buffer.concat([whole, bytes(0)]), false)),
    'partial-argument-value',
  );
  t.is(
    codeOf(() => decodeArgumentHead(bytes(1, 0, 0, 0, 0x80), false)),
    'bad-argument-name',
  );
});

test('an argument that continues may have any part of its value in its first frame, but not more', (t) => {
  const head = encodeArgumentHead('key', 5, bytes(1, 2));
  t.deepEqual(decodeArgumentHead(head, true), { name: 'key', valueLength: 5, piece: bytes(1, 2) });
  t.is(
    codeOf(() => decodeArgumentHead(head, false)),
    'partial-argument-value',
  );
  const full = encodeArgumentHead('key', 2, bytes(1, 2));
  t.is(
    codeOf(() => decodeArgumentHead(Buffer.concat([full, bytes(0)]), true)),
    'partial-argument-value',
  );
});

test('a long argument name is read as well as a short one', (t) => {
  const name = 'n'.repeat(65_535);
  t.is(decodeArgumentHead(encodeArgumentHead(name, 0, EMPTY), false).name, name);
});

test('arguments that the layout cannot hold are not encoded', (t) => {
  t.throws(() => encodeArgumentHead('é', 0, EMPTY), { instanceOf: RangeError });
  t.throws(() => encodeArgumentHead('n'.repeat(65_536), 0, EMPTY), { instanceOf: RangeError });
  t.throws(() => encodeArgumentHead('n', 65_536, EMPTY), { instanceOf: RangeError });
  t.throws(() => encodeArgumentHead('n', 1, bytes(1, 2)), { instanceOf: RangeError });
});

test('stream-settings name a profile and carry its bytes', (t) => {
  t.deepEqual(encodeStreamSettings('zlib'), bytes(4, 0x7a, 0x6c, 0x69, 0x62));
  t.deepEqual(decodeStreamSettings(bytes(1, 0x61, 9, 8)), { profile: 'a', bytes: bytes(9, 8) });
  for (const wrong of [EMPTY, bytes(1), bytes(2, 0x61), bytes(1, 0xff)]) {
    t.is(
      codeOf(() => decodeStreamSettings(wrong)),
      'bad-payload',
    );
  }
  t.throws(() => encodeStreamSettings('p'.repeat(256)), { instanceOf: RangeError });
  t.throws(() => encodeStreamSettings('é'), { instanceOf: RangeError });
});

test('progress has counts of 64 bits', (t) => {
  const progress = { position: 2 ** 40, total: -1, topic: 'clone', unit: 'bytes', item: 'mañana' };
  t.deepEqual(decodeProgress(encodeProgress(progress)), progress);
});

test('progress strings are cut at a character', (t) => {
  const item = `${'x'.repeat(1023)}é`;
  const { item: sent } = decodeProgress(encodeProgress({ position: 0, total: 0, topic: '', unit: '', item }));
  t.is(sent, 'x'.repeat(1023));
});

test('progress with counts or lengths that cannot be is refused', (t) => {
  const good = encodeProgress({ position: 1, total: 2, topic: 'a', unit: 'b', item: 'c' });
  const changed = (offset: number, value: number) => {
    const copy = good.slice();
    copy[offset] = value;
    return copy;
  };
  t.is(
    codeOf(() => decodeProgress(good.subarray(0, 21))),
    'bad-payload',
  );
  t.is(
    codeOf(() => decodeProgress(good.subarray(0, 24))),
    'bad-payload',
  );
  t.is(
    codeOf(() => decodeProgress(changed(16, 2))),
    'bad-payload',
  );
  t.is(
    codeOf(() => decodeProgress(changed(7, 0x80))),
    'bad-payload',
  );
  t.is(
    codeOf(() => decodeProgress(changed(15, 0x7f))),
    'bad-payload',
  );
  t.throws(() => encodeProgress({ position: -2, total: 0, topic: '', unit: '', item: '' }), {
    instanceOf: RangeError,
  });
  t.throws(() => encodeProgress({ position: 0.5, total: 0, topic: '', unit: '', item: '' }), {
    instanceOf: RangeError,
  });
});

test('sender-settings keep what they know and ignore the rest', (t) => {
  const json = '{"contentEncodings":["zstd-8mb"],"maxFrameSize":16777215,"colour":"red","requestWindow":0}';
  t.deepEqual(decodeSenderSettings(encodeUtf8(json)), {
    contentEncodings: ['zstd-8mb'],
    maxFrameSize: MAX_PAYLOAD_LENGTH,
    requestWindow: 0,
  });
  t.deepEqual(decodeSenderSettings(encodeUtf8('{}')), {});
});

for (const json of [
  '',
  'null',
  '[]',
  '1',
  '"a"',
  '{',
  '{"contentEncodings":"zlib"}',
  '{"contentEncodings":[1]}',
  '{"contentEncodings":null}',
  '{"extensions":{}}',
  '{"maxFrameSize":0}',
  '{"maxFrameSize":16777216}',
  '{"maxFrameSize":"1"}',
  '{"maxFrameSize":1.5}',
  '{"maxConcurrentRequests":-1}',
  '{"requestWindow":1e300}',
  '{"connectionWindow":true}',
]) {
  test(`sender-settings refuse ${json || 'nothing'}`, (t) => {
    t.is(
      codeOf(() => decodeSenderSettings(encodeUtf8(json))),
      'bad-payload',
    );
  });
}

test('sender-settings cannot reach into prototypes', (t) => {
  const settings = decodeSenderSettings(encodeUtf8('{"__proto__":{"maxFrameSize":1},"constructor":1}'));
  t.is(settings.maxFrameSize, undefined);
  t.is(Object.getPrototypeOf(settings), Object.prototype);
});

test('sender-settings have at most 4 096 bytes of UTF-8', (t) => {
  const padded = (length: number) => encodeUtf8(`{"extensions":[]}${' '.repeat(length - 17)}`);
  t.deepEqual(decodeSenderSettings(padded(4096)), { extensions: [] });
  t.is(
    codeOf(() => decodeSenderSettings(padded(4097))),
    'bad-payload',
  );
  t.is(
    codeOf(() => decodeSenderSettings(bytes(0x22, 0xff, 0x22))),
    'bad-payload',
  );
  t.throws(() => encodeSenderSettings({ extensions: ['x'.repeat(4096)] }), { instanceOf: RangeError });
});

test('credit goes up to 2^32 − 1', (t) => {
  t.is(decodeCredit(encodeCredit(0xffff_ffff)), 0xffff_ffff);
  t.is(decodeCredit(bytes(1, 2, 3, 4)), 0x0403_0201);
  t.is(
    codeOf(() => decodeCredit(bytes(1, 2, 3))),
    'bad-payload',
  );
  t.throws(() => encodeCredit(2 ** 32), { instanceOf: RangeError });
  t.throws(() => encodeCredit(-1), { instanceOf: RangeError });
});

test('ping, cancel and goaway have their sizes', (t) => {
  t.is(decodePing(new Uint8Array(8)).length, 8);
  t.is(
    codeOf(() => decodePing(new Uint8Array(7))),
    'bad-payload',
  );
  t.notThrows(() => decodeCancel(EMPTY));
  t.is(
    codeOf(() => decodeCancel(bytes(0))),
    'bad-payload',
  );
  t.deepEqual(decodeGoaway(encodeGoaway(513, 'bye')), { lastRequestId: 513, reason: 'bye' });
  t.is(
    codeOf(() => decodeGoaway(bytes(1))),
    'bad-payload',
  );
  t.throws(() => encodeGoaway(65_536, ''), { instanceOf: RangeError });
});

test('text for people is repaired, not refused, and keeps a byte order mark', (t) => {
  t.is(decodeUtf8(bytes(0x61, 0xff, 0x62)), 'a\ufffdb');
  t.is(decodeUtf8(encodeUtf8('\ufeffa')), '\ufeffa');
});

test('text is cut where a character ends', (t) => {
  const text = 'aé€😀';
  const lengths = Array.from({ length: 12 }, (_, max) => cutUtf8(text, max).length);
  t.deepEqual(lengths, [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10]);
  const ofBytes = Array.from({ length: 12 }, (_, max) => cutUtf8(encodeUtf8(text), max).length);
  t.deepEqual(ofBytes, lengths);
});

test('bytes that are no text are cut all the same', (t) => {
  t.is(cutUtf8(new Uint8Array(9).fill(0x80), 5).length, 5);
  t.is(cutUtf8(new Uint8Array(9).fill(0xff), 5).length, 5);
});

// Text output

test('text output that is made of neither text nor atoms says what it is made of', (t) => {
  const odd: unknown[] = [
    Symbol('x'),
    5,
    null,
    undefined,
    { format: '%s' },
    { format: '', labels: [1], args: [] },
  ];
  for (const atom of odd)
    t.throws(() => new TextOutput(atom as string), { message: /strings and of \{ format/ });
  const atom = { format: '%s', labels: ['a'], args: ['b'] };
  t.deepEqual(new TextOutput('line', atom).atoms, [{ format: '%s', labels: [], args: ['line'] }, atom]);
});

test('%s takes the next argument, %% is a percent sign, anything else stands for itself', (t) => {
  const render = (format: string, ...args: string[]) => renderTextOutput([{ format, labels: [], args }]);
  t.is(render('%s of %s', '1', '2'), '1 of 2');
  t.is(render('100%%'), '100%');
  t.is(render('%%s %%%s', 'x'), '%s %x');
  t.is(render('%d %q %'), '%d %q %');
  t.is(render('%s', '$& %s'), '$& %s');
  t.is(render('%s %s', 'a'), 'a %s');
  t.is(render('none', 'left over'), 'none');
});

test('rendering may add the final newline that is missing', (t) => {
  t.is(renderTextOutput([{ format: 'a', labels: [], args: [] }], true), 'a\n');
  t.is(renderTextOutput([{ format: 'a\n', labels: [], args: [] }], true), 'a\n');
});

test('text output that the layout cannot hold is refused with its code', (t) => {
  const codeFor = (atom: Partial<{ format: string; labels: string[]; args: string[] }>) =>
    t.throws(() => encodeTextOutput([{ format: '', labels: [], args: [], ...atom }]), {
      instanceOf: TextOutputError,
    }).code;
  t.is(codeFor({ args: Array(256).fill('') }), 'text-too-many-args');
  t.is(codeFor({ labels: Array(256).fill('') }), 'text-too-many-labels');
  t.is(codeFor({ format: 'é'.repeat(32_768) }), 'text-format-too-long');
  t.is(codeFor({ args: ['x'.repeat(65_536)] }), 'text-arg-too-long');
  t.is(codeFor({ labels: ['x'.repeat(256)] }), 'text-label-too-long');
  t.is(codeFor({ labels: ['é'] }), 'text-label-not-ascii');
  t.is(codeFor({ format: 'x'.repeat(32_765) }), 'text-too-big');
  t.throws(() => encodeTextOutput([]), { instanceOf: TextOutputError, code: 'text-no-atoms' });
});

test('text output that is cut off anywhere inside an atom is refused', (t) => {
  const payload = encodeTextOutput([{ format: 'a %s', labels: ['l', 'm'], args: ['x', 'yz'] }]);
  for (let length = 1; length < payload.length; length += 1) {
    t.is(
      codeOf(() => decodeTextOutput(payload.subarray(0, length))),
      'bad-payload',
    );
  }
  t.deepEqual(decodeTextOutput(EMPTY), []);
  t.is(
    codeOf(() => decodeTextOutput(bytes(0, 0, 1, 0, 1, 0xff))),
    'bad-payload',
  );
  t.is(
    codeOf(() => decodeTextOutput(new Uint8Array(32_772))),
    'bad-payload',
  );
});

// Frame makers

test('a command without arguments and data is one frame', (t) => {
  t.deepEqual(
    made((sink) => commandFrames('ls', [], false, 100, sink)),
    [[FrameType.commandName, 1, 2]],
  );
});

test('an argument that does not fit a frame continues in the next ones', (t) => {
  const args: Argument[] = [
    ['b', new Uint8Array(25)],
    ['a', new Uint8Array(5)],
  ];
  t.deepEqual(
    made((sink) => commandFrames('ls', args, true, 10, sink)),
    [
      [FrameType.commandName, 6, 2],
      [FrameType.commandArgument, 0, 10],
      [FrameType.commandArgument, 1, 10],
      [FrameType.commandArgument, 1, 10],
      [FrameType.commandArgument, 2, 10],
    ],
  );
});

test('a command that cannot be sent is refused before its first frame', (t) => {
  const refused = (command: string, args: Argument[], maxFrameSize = 100) => {
    t.throws(() => commandFrames(command, args, false, maxFrameSize, () => t.fail('a frame was made')), {
      instanceOf: RangeError,
    });
  };
  refused('ls', [['é', EMPTY]]);
  refused('ls', [
    ['a', EMPTY],
    ['b', EMPTY],
    ['a', EMPTY],
  ]);
  refused('ls', [['a', new Uint8Array(65_536)]]);
  refused('ls', [['n'.repeat(97), EMPTY]]);
  refused('n'.repeat(101), []);
  refused('ls', [], 0);
  refused('ls', [], MAX_PAYLOAD_LENGTH + 1);
});

test('command data ends with a frame that is not full', (t) => {
  const data = (length: number, isLast: boolean) =>
    made((sink) => commandDataFrames(new Uint8Array(length), isLast, 4, sink)).map(([, ...rest]) => rest);
  t.deepEqual(data(0, true), [[2, 0]]);
  t.deepEqual(data(0, false), []);
  t.deepEqual(data(3, false), [[1, 3]]);
  t.deepEqual(data(4, true), [
    [1, 4],
    [2, 0],
  ]);
  t.deepEqual(data(5, true), [
    [1, 4],
    [2, 1],
  ]);
});

// Frames as text

test('a frame as text has names where there are names', (t) => {
  const text = '5 1 stream-begin|encoded command-name have-args|have-data a\\nb\\\\\\x00é';
  const parsed = parseFrameText(text);
  t.deepEqual(parsed, {
    requestId: 5,
    streamId: 1,
    streamFlags: 5,
    type: 1,
    flags: 6,
    payload: bytes(0x61, 0x0a, 0x62, 0x5c, 0, 0xc3, 0xa9),
  });
  t.is(formatFrame(parsed), text.replace('é', '\\xc3\\xa9'));
});

test('types and flags without a name are numbers, in both directions', (t) => {
  for (const line of [
    '0 0 0 0 0 ',
    '65535 255 255 15 15 x',
    '1 1 8 text-output 1 ',
    '0 1 0 ping reply 12345678',
  ]) {
    t.is(formatFrame(parseFrameText(line)), line);
  }
});

test('escapes are those of C, octal ones included', (t) => {
  t.deepEqual(
    parseFrameText('1 1 0 3 0 \\a\\b\\f\\v\\\'\\"\\0\\12\\377\\x4a').payload,
    bytes(7, 8, 12, 11, 39, 34, 0, 10, 255, 74),
  );
});

for (const line of [
  '',
  '1 1 0 command-name eos',
  '1  1 0 command-name eos p',
  'x 1 0 command-name eos p',
  '-1 1 0 command-name eos p',
  '1e3 1 0 command-name eos p',
  '65536 1 0 command-name eos p',
  '1 256 0 command-name eos p',
  '1 1 256 command-name eos p',
  '1 1 bogus command-name eos p',
  '1 1 0 bogus eos p',
  '1 1 0 16 0 p',
  '1 1 0 COMMAND-NAME eos p',
  '1 1 0 command-name 16 p',
  '1 1 0 command-name eos| p',
  '1 1 0 command-argument eos p',
  '1 1 0 text-output eos p',
  '1 1 0 toString 0 p',
  '1 1 0 command-name eos \\',
  '1 1 0 command-name eos \\q',
  '1 1 0 command-name eos \\x1',
  '1 1 0 command-name eos \\xg0',
  '1 1 0 command-name eos \\777',
  '1 1 0 command-name eos \\é',
  `1 1 0 ${'x\n'.repeat(1000)} eos p`,
]) {
  test(`no frame: ${JSON.stringify(line).slice(0, 60)}`, (t) => {
    const error = t.throws(() => parseFrameText(line), { instanceOf: FrameTextError });
    t.regex(error.message, /^[^\n]{10,200}$/);
  });
}

test('what turns text around, steers a terminal or cannot be seen is shown by its number', (t) => {
  const unseen = [...Array(32).keys(), ...Array.from({ length: 33 }, (_, i) => 0x7f + i)];
  unseen.push(
    0xad,
    0x61c,
    0x180e,
    0x200b,
    0x200c,
    0x200d,
    0x200e,
    0x200f,
    0x2028,
    0x2029,
    0x2060,
    0xfeff,
    0x3164,
  );
  for (let code = 0x202a; code <= 0x202e; code++) unseen.push(code);
  for (let code = 0x2066; code <= 0x2069; code++) unseen.push(code);
  unseen.push(0xd800, 0xdfff, 0xe0041);
  for (const code of unseen) {
    const character = String.fromCodePoint(code);
    const shown = code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, '0')}`;
    t.is(visible(`a${character}b`), `a${shown}b`);
    t.is(visibleLines(`a${character}b`), '\n\t'.includes(character) ? `a${character}b` : `a${shown}b`);
    const json = visibleJson({ [`a${character}`]: character });
    t.true(/^[ -~]+$/.test(json), json);
    t.deepEqual(JSON.parse(json), { [`a${character}`]: character });
  }
  for (const text of ['naïve café', '日本語', 'שלום', 'مرحبا', '🎉', 'a b\u00a0c\u202fd'])
    t.is(visible(text), text);
});
