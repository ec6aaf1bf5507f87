/**
 * docs/protocol.md against the code, so that neither drifts: its examples are encoded and decoded, its tables of types,
 * profiles, settings and limits compared with what the code has.
 */

import test from 'ava';
import { LocalDecoders } from '../../src/connection/local-decoders.ts';
import type { Codec } from '../../src/encoding/codec.ts';
import type { Dictionary } from '../../src/encoding/dictionary.ts';
import { nativeCodecs, nativeZstdDict } from '../../src/encoding/native.ts';
import { portableCodecs, portableZstdDict } from '../../src/encoding/portable.ts';
import { ZSTD_DICT } from '../../src/encoding/profiles.ts';
import { readDictionary } from '../../src/encoding/read-dictionary.ts';
import { CodecRegistry } from '../../src/encoding/registry.ts';
import { ZSTD_MAX_WINDOW_LOG } from '../../src/encoding/zstd-profile.ts';
import { type ClientAction, ClientReactor } from '../../src/reactor/client.ts';
import { ServerReactor } from '../../src/reactor/server.ts';
import type { ServerAction } from '../../src/reactor/server-action.ts';
import { MAX_WINDOW } from '../../src/reactor/window.ts';
import {
  DEFAULT_FRAME_SIZE,
  encodeFrame,
  type Frame,
  FrameType,
  HEADER_SIZE,
  MAX_PAYLOAD_LENGTH,
  StreamFlag,
} from '../../src/wire/frame.ts';
import { flagNames, formatFrame, parseFrameText, streamFlagNames, typeName } from '../../src/wire/human.ts';
import { DEFAULT_LIMITS, type Limits } from '../../src/wire/limits.ts';
import {
  decodeArgumentHead,
  decodeCancel,
  decodeCredit,
  decodeDictionaryHeld,
  decodeGoaway,
  decodePing,
  decodeProgress,
  decodeSenderSettings,
  decodeStreamSettings,
  decodeTextOutput,
  decodeUtf8,
  EXTENSIONS,
  encodeArgumentHead,
  encodeCredit,
  encodeDictionaryHeld,
  encodeGoaway,
  encodeProgress,
  encodeSenderSettings,
  encodeStreamSettings,
  encodeTextOutput,
  encodeUtf8,
  MAX_SENDER_SETTINGS,
  PING_SIZE,
} from '../../src/wire/payloads.ts';
import { Splitter } from '../../src/wire/splitter.ts';
import { DOCUMENT, LABELS, section } from '../helpers/protocol.ts';

/** One frame of an example. */
interface Step {
  readonly line: string;
  readonly bytes: Uint8Array;
  /** The payload before encoding, escaped as in a line; undefined where the document does not say it. */
  readonly clear: string | undefined;
}

/** A ```frame block: the frames of both directions from the beginning of a connection. */
interface Example {
  readonly title: string;
  readonly steps: readonly Step[];
}

const HEX = /^(?:[0-9a-f]{2}(?: \| | |$))+$/;

function stepOf(text: string): Step {
  const [line, ...rest] = text.trimEnd().split('\n');
  const clear = rest.find((each) => each.startsWith('= '));
  const hex = rest.filter((each) => each !== clear);
  const wrong = hex.find((each) => !HEX.test(each));
  if (wrong !== undefined) throw new Error(`docs/protocol.md: not a line of an example: ${wrong}`);
  const bytes = Uint8Array.from(hex.join(' ').match(/[0-9a-f]{2}/g) ?? [], (byte) =>
    Number.parseInt(byte, 16),
  );
  return { line: line.split(' ').length === 5 ? `${line} ` : line, bytes, clear: clear?.slice(2) };
}

const EXAMPLES: readonly Example[] = LABELS.flatMap((label) =>
  [...section(label).matchAll(/^```frame\n(.*?)^```/gms)].map(([, body], index) => ({
    title: `protocol ${label}, example ${index + 1}`,
    steps: body.split('\n\n').map(stepOf),
  })),
);

function framesOf(bytes: readonly Uint8Array[]): Frame[] {
  const frames: Frame[] = [];
  const splitter = new Splitter({
    maxPayload: DEFAULT_LIMITS.maxPayload,
    onFrame: (frame) => void frames.push(frame),
  });
  for (const chunk of bytes) splitter.push(chunk);
  splitter.finish();
  return frames;
}

/** Decodes a payload and encodes what came out; types that are not here carry bytes as they are. */
const ENCODED_AGAIN: Partial<Record<number, (payload: Uint8Array) => Uint8Array>> = {
  [FrameType.errorResponse]: (payload) => encodeUtf8(decodeUtf8(payload)),
  [FrameType.textOutput]: (payload) => encodeTextOutput(decodeTextOutput(payload)),
  [FrameType.progress]: (payload) => encodeProgress(decodeProgress(payload)),
  [FrameType.streamSettings]: (payload) => {
    const { profile, bytes } = decodeStreamSettings(payload);
    return encodeStreamSettings(profile, bytes);
  },
  [FrameType.senderSettings]: (payload) => encodeSenderSettings(decodeSenderSettings(payload)),
  [FrameType.cancel]: (payload) => {
    decodeCancel(payload);
    return new Uint8Array(0);
  },
  [FrameType.credit]: (payload) => encodeCredit(decodeCredit(payload)),
  [FrameType.ping]: decodePing,
  [FrameType.dictionaryHeld]: (payload) => encodeDictionaryHeld(decodeDictionaryHeld(payload)),
  [FrameType.goaway]: (payload) => {
    const { lastRequestId, reason } = decodeGoaway(payload);
    return encodeGoaway(lastRequestId, reason);
  },
};

test('every example is a line and its bytes, and each makes the other', (t) => {
  t.true(EXAMPLES.length >= 15);
  for (const { title, steps } of EXAMPLES) {
    for (const { line, bytes } of steps)
      t.deepEqual(encodeFrame(parseFrameText(line)), bytes, `${title}: ${line}`);
    const frames = framesOf(steps.map(({ bytes }) => bytes));
    t.deepEqual(
      frames.map(formatFrame),
      steps.map(({ line }) => line),
      title,
    );
  }
});

test('the payload of every example decodes, and encodes to the same bytes', (t) => {
  for (const { title, steps } of EXAMPLES) {
    for (const { type, streamFlags, payload } of framesOf(steps.map(({ bytes }) => bytes))) {
      if ((streamFlags & StreamFlag.encoded) !== 0) continue;
      t.deepEqual(ENCODED_AGAIN[type]?.(payload) ?? payload, payload, `${title}: ${typeName(type)}`);
    }
  }
});

test('the examples have every type and every flag', (t) => {
  const frames = EXAMPLES.flatMap(({ steps }) => framesOf(steps.map(({ bytes }) => bytes)));
  const seen = new Set(frames.flatMap(({ type, flags }) => [typeName(type), ...namesOf(type, flags)]));
  const streamFlags = new Set(frames.flatMap((frame) => streamFlagNames(frame.streamFlags).split('|')));
  for (const type of Object.values(FrameType)) {
    for (const name of [typeName(type), ...namesOf(type, 0x0f)]) t.true(seen.has(name), name);
  }
  for (const flag of Object.values(StreamFlag)) t.true(streamFlags.has(streamFlagNames(flag)));
});

function namesOf(type: number, flags: number): string[] {
  const bits = [1, 2, 4, 8].filter((bit) => (flags & bit) !== 0);
  return bits.map((bit) => flagNames(type, bit)).filter((name) => !/^\d+$/.test(name));
}

/** Both ends of a connection that an example's frames pass through. */
class Conversation {
  readonly serverActions: ServerAction[] = [];
  readonly clientActions: ClientAction<number>[] = [];
  readonly #server: ServerReactor;
  readonly #client: ClientReactor<number>;

  /** Dictionaries that the client has fetched. */
  readonly #held = new Map<string, Dictionary>();

  constructor(codecs: readonly Codec[]) {
    const isNative = codecs.some(({ implementation }) => implementation === 'native');
    const registry = new CodecRegistry(codecs, isNative ? nativeZstdDict : portableZstdDict).withDictionaries(
      this.#held,
    );
    this.#server = new ServerReactor(DEFAULT_LIMITS, new LocalDecoders(registry, DEFAULT_LIMITS));
    this.#client = new ClientReactor(DEFAULT_LIMITS, new LocalDecoders(registry, DEFAULT_LIMITS));
  }

  /** Hands the frame to the end that it is for. @throws ProtocolError when that refuses it. */
  pass(frame: Frame): void {
    if ((frame.streamId & 1) === 1) {
      if (frame.type === FrameType.commandName) this.#client.open(frame.requestId, frame.requestId);
      this.#server.receive(frame, this.serverActions);
    } else this.#client.receive(frame, this.clientActions);
    this.#hold();
  }

  /** What comes in answer to the command `dictionary` is held. */
  #hold(): void {
    const run = this.serverActions.find((action) => action.kind === 'run');
    const action = this.clientActions.at(-1);
    if (run?.command.command !== 'dictionary' || action?.kind !== 'bytes' || this.#held.size > 0) return;
    const dictionary = readDictionary(action.bytes);
    this.#held.set(dictionary.id, dictionary);
  }

  /** What the newest response bytes are, escaped as in a line. */
  get newestBytes(): string | undefined {
    const action = this.clientActions.at(-1);
    if (action?.kind !== 'bytes') return undefined;
    const head = { requestId: 0, streamId: 0, streamFlags: 0, type: FrameType.bytesResponse, flags: 0 };
    return formatFrame({ ...head, payload: action.bytes }).slice('0 0 0 bytes-response 0 '.length);
  }
}

for (const [implementation, codecs] of Object.entries({
  native: nativeCodecs(),
  portable: portableCodecs(),
})) {
  test(`every example is what both ends accept, and decodes to what it says, by ${implementation} codecs`, (t) => {
    let decoded = 0;
    for (const { title, steps } of EXAMPLES) {
      const conversation = new Conversation(codecs);
      for (const { line, bytes, clear } of steps) {
        const [frame] = framesOf([bytes]);
        t.notThrows(() => conversation.pass(frame), `${title}: ${line}`);
        const encoded = (frame.streamFlags & StreamFlag.encoded) !== 0;
        t.is(clear !== undefined, encoded, `${title}: ${line}`);
        if (!encoded) continue;
        t.is(conversation.newestBytes, clear, `${title}: ${line}`);
        decoded++;
      }
    }
    t.true(decoded >= 4);
  });
}

test('the argument in three frames is one value, and its first frame says how long it is', (t) => {
  const steps = EXAMPLES.find(({ title }) => title === 'protocol B, example 1')?.steps ?? [];
  const conversation = new Conversation([]);
  const frames = framesOf(steps.map(({ bytes }) => bytes));
  for (const frame of frames) conversation.pass(frame);
  const [run] = conversation.serverActions;
  const value = encodeUtf8('/mill/water/wheel');
  t.deepEqual(run.kind === 'run' && [...run.command.args], [['value', value]]);
  const head = decodeArgumentHead(frames[1].payload, true);
  t.is(head.valueLength, value.length);
  t.deepEqual(encodeArgumentHead(head.name, head.valueLength, head.piece), frames[1].payload);
});

// ------------------------------------------------------------------------------------------------ tables

/** The cells of a section's rows whose first cell matches. */
function rows(label: string, first: RegExp): string[][] {
  return section(label)
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) => line.slice(2, -2).split(' | '))
    .filter(([cell]) => first.test(cell));
}

function unquoted(cell: string): string {
  return cell.replaceAll('`', '');
}

const TYPE_ROWS = [...rows('A2', /^\d+$/), ...rows('C', /^\d+$/)];
const isPlanned = (row: readonly string[]) => row.some((cell) => cell.includes('**planned**'));

test('the tables of types have the types of the code, their names and their flags', (t) => {
  const documented = TYPE_ROWS.filter((row) => !isPlanned(row)).map(([type, name, flags]) => [
    Number(type),
    unquoted(name),
    unquoted(flags),
  ]);
  const coded = Object.values(FrameType).map((type) => {
    const flags = [1, 2, 4, 8].filter((bit) => flagNames(type, bit) !== String(bit));
    return [type, typeName(type), flags.map((bit) => `${bit} ${flagNames(type, bit)}`).join(', ') || 'none'];
  });
  const byType = (a: unknown[], b: unknown[]) => Number(a[0]) - Number(b[0]);
  t.deepEqual(documented.sort(byType), coded.sort(byType));
});

test('what is marked as planned does not exist yet, and what is not does', (t) => {
  // Type 14 is a part of the extension `dictionary`, which has more.
  const inTable = rows('C', /^\d+$/).filter((row) => !isPlanned(row) && row[0] !== '14');
  const named = [...DOCUMENT.matchAll(/(\*\*Planned\b[^`\n]*)?\bextension `([a-z-]+)`/g)];
  const built = named.filter(([, planned]) => planned === undefined).map(([, , name]) => name);
  t.true(named.length > 3);
  t.deepEqual([...inTable.map(([, name]) => unquoted(name)), ...built].sort(), [...EXTENSIONS].sort());
  const profiles = rows('B-profiles', /^`/).filter((row) => !isPlanned(row));
  const known = [...nativeCodecs().map(({ profile }) => profile), ZSTD_DICT];
  t.deepEqual(profiles.map(([name]) => unquoted(name)).sort(), known.sort());
});

test('the stream flags are those of the code', (t) => {
  for (const flag of Object.values(StreamFlag)) {
    t.true(section('A1').includes(`\`0x0${flag}\` ${streamFlagNames(flag)}`));
  }
});

test('the table of limits has every limit and its default', (t) => {
  const documented = rows('B-limits', /^`/).map(([name, value]) => [unquoted(name), numberOf(value)]);
  t.deepEqual(Object.fromEntries(documented), { ...DEFAULT_LIMITS } satisfies Limits);
});

const UNITS: Record<string, number> = { s: 1000, MiB: 1 << 20 };

/** `1 000`, `8 MiB` in bytes, `30 s` in milliseconds. */
function numberOf(text: string): number {
  const [, digits, unit] = /^([\d ]*\d)(?: (\w+))?$/.exec(text) ?? [text, '', 'nothing'];
  return Number(digits.replaceAll(' ', '')) * (unit === undefined ? 1 : UNITS[unit]);
}

test('every key of sender-settings in the table is one that the code reads', (t) => {
  const keys = rows('C2', /^`/).map(([key]) => unquoted(key));
  t.true(keys.length >= 6);
  for (const key of keys) {
    const wrong = encodeUtf8(JSON.stringify({ [key]: { wrong: true } }));
    t.throws(() => decodeSenderSettings(wrong), { code: 'bad-payload' }, key);
  }
});

test('the sizes in the text are those of the code', (t) => {
  const said: readonly [label: string, text: string][] = [
    ['A1', `begins with ${HEADER_SIZE} bytes`],
    ['A1', `${grouped(DEFAULT_FRAME_SIZE)} bytes before encoding`],
    ['A1', `more than ${grouped(DEFAULT_LIMITS.maxPayload)} bytes`],
    ['A3', `at most ${grouped(DEFAULT_FRAME_SIZE)} bytes`],
    ['B-profiles', `window of at most ${2 ** ZSTD_MAX_WINDOW_LOG / 2 ** 20} MiB`],
    ['C', `${PING_SIZE} bytes of any content`],
    ['C2', `At most ${grouped(MAX_SENDER_SETTINGS)} bytes`],
    ['C2', `1 to ${grouped(MAX_PAYLOAD_LENGTH)}`],
    ['C2', `| ${grouped(DEFAULT_LIMITS.maxPayload)} |`],
    ['C4', `past 2^${Math.log2(MAX_WINDOW + 1)} − 1 bytes`],
  ];
  for (const [label, text] of said)
    t.true(section(label).replaceAll('\n', ' ').includes(text), `${label}: ${text}`);
});

/** Digits in groups of three, as the document writes them. */
function grouped(value: number): string {
  return String(value).replace(/\B(?=(?:\d{3})+$)/g, ' ');
}
