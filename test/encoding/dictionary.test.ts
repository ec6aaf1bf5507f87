import test from 'ava';
import fc from 'fast-check';
import { corpus } from '../../bench/corpora.ts';
import { DictionaryError, parseDictionary } from '../../src/encoding/dictionary/format.ts';
import { describeFrequencies, normalise } from '../../src/encoding/dictionary/fse.ts';
import { codeLengths, describeLengths } from '../../src/encoding/dictionary/huffman.ts';
import { compressSamples, countBlocks } from '../../src/encoding/dictionary/samples.ts';
import { trainDictionary } from '../../src/encoding/dictionary/train.ts';
import { nativeZstdDict } from '../../src/encoding/native.ts';
import {
  portableCodecs,
  portableDictionaryDecoder,
  portableZstd,
  portableZstdDict,
} from '../../src/encoding/portable.ts';
import { readDictionary } from '../../src/encoding/read-dictionary.ts';
import { CodecRegistry } from '../../src/encoding/registry.ts';
import { FseTable, HuffmanTable } from '../../src/encoding/zstd-entropy.ts';
import { DEFAULT_FRAME_SIZE } from '../../src/wire/frame.ts';
import { comesBack, damagedAgree, decodeNatively, decodePortably, encodeWith } from './dictionary-helpers.ts';
import { concat, LIMITS, noise, text } from './helpers.ts';
import { ROOMY } from './zstd-helpers.ts';

const JSONS = corpus('json', 400);
const TRAINED = JSONS.slice(0, 200);
const SENT = JSONS.slice(200);
/** Of about 4 KiB. */
const DICTIONARY = trainDictionary(TRAINED, { size: 4096 });
const PARSED = parseDictionary(DICTIONARY);
const CONTENT_AT = DICTIONARY.length - PARSED.content.length;

const sizeOf = (payloads: readonly Uint8Array[]) => concat(payloads).length;

test('what node:zlib makes with a trained dictionary comes back, kept and without a context', (t) => {
  for (const contexts of ['kept', 'none'] as const) {
    for (const level of [-3, 1, 3, 6, 13]) {
      t.notThrows(() => comesBack(DICTIONARY, SENT.slice(0, 40), { level, contexts }));
    }
  }
});

test('a trained dictionary makes responses small, by its tables too', (t) => {
  const raw = PARSED.content;
  const with_ = sizeOf(encodeWith(DICTIONARY, SENT, { contexts: 'none' }));
  t.true(with_ < 0.9 * sizeOf(encodeWith(raw, SENT, { contexts: 'none' })), 'the tables bring nothing');
  t.true(3 * with_ < sizeOf(SENT), 'the dictionary brings nothing');
});

test('a frame names the dictionary that it was made with, and only that one decodes it', (t) => {
  const [payload] = encodeWith(DICTIONARY, SENT.slice(0, 1), { contexts: 'none' });
  const other = DICTIONARY.slice();
  other[4]! ^= 1;
  t.throws(() => decodePortably(other, [payload!]), { code: 'corrupt', message: /needs another dictionary/ });
  t.throws(() => portableZstd.createDecoder(LIMITS).decode(payload!), { message: /needs a dictionary/ });
});

test('a frame that names no dictionary is decoded with the one at hand, as node:zlib does', (t) => {
  const [named] = encodeWith(DICTIONARY, SENT.slice(0, 1), { contexts: 'none' });
  t.is(named![4]! & 3, 3, 'the descriptor has no ID of 4 bytes');
  // Magic, descriptor; content size or window; ID.
  const idAt = named!.findIndex(
    (_, i) => i > 4 && named!.slice(i, i + 4).join() === DICTIONARY.slice(4, 8).join(),
  );
  const nameless = concat([named!.slice(0, idAt), named!.slice(idAt + 4)]);
  nameless[4]! &= ~3;
  t.deepEqual(decodePortably(DICTIONARY, [nameless]), [Buffer.from(SENT[0]!)]);
  t.deepEqual(decodeNatively(DICTIONARY, [nameless]), [Buffer.from(SENT[0]!)]);
});

test('offsets reach the content until the window has left it', (t) => {
  const content = PARSED.content.slice(-3000);
  for (const windowLog of [10, 12, 15]) {
    const frames = [noise(500), content, text(9000), content, noise(40_000), content, text(300_000), content];
    for (const contexts of ['kept', 'none'] as const) {
      t.notThrows(() => comesBack(DICTIONARY, frames, { level: 9, windowLog, contexts }));
    }
  }
});

test('the dictionary is there again after a frame that has pushed it out', (t) => {
  const frames = [SENT[0]!, text(1_000_000), SENT[1]!, SENT[2]!];
  t.notThrows(() => comesBack(DICTIONARY, frames, { windowLog: 14, contexts: 'none' }));
});

test('what the native codec of zstd-dict makes, the portable one decodes', (t) => {
  const dictionary = readDictionary(DICTIONARY);
  const held = new Map([[dictionary.id, dictionary]]);
  const registry = new CodecRegistry(portableCodecs(), portableZstdDict).withDictionaries(held);
  const [from, to] = [nativeZstdDict(held), registry.get('zstd-dict')!];
  t.false(registry.encodable().includes('zstd-dict'));
  for (const contextFree of [false, true]) {
    const options = { dictionary: dictionary.id, contextFree };
    const encoder = from.createEncoder!(options);
    const decoder = to.createDecoder(LIMITS, from.settings(options));
    for (const frame of SENT) {
      const target = new Uint8Array(encoder.bound(frame.length));
      const payload = target.subarray(0, encoder.encode(frame, target, 0));
      t.true(Buffer.from(decoder.decode(payload)).equals(frame));
    }
  }
  const unknown = from.settings({ dictionary: '00'.repeat(16) });
  t.throws(() => to.createDecoder(LIMITS, unknown), { code: 'corrupt', message: /is not held here/ });
});

test('decoders share a dictionary, and none changes it', (t) => {
  const before = DICTIONARY.slice();
  const parsed = parseDictionary(DICTIONARY);
  const decoders = [1, 2].map(() => portableDictionaryDecoder(ROOMY, parsed));
  const frames = [...SENT.slice(0, 30), noise(3000), text(3000)];
  const payloads = encodeWith(DICTIONARY, frames, { level: 9, contexts: 'none' });
  for (const [i, payload] of payloads.entries()) {
    for (const decoder of decoders)
      t.deepEqual(Buffer.from(decoder.decode(payload)), Buffer.from(frames[i]!));
  }
  t.deepEqual(DICTIONARY, before);
});

test('a dictionary that is cut off anywhere in front of its content is refused, and says where', (t) => {
  const messages = new Set<string>();
  for (let length = 0; length <= CONTENT_AT; length++) {
    const error = t.throws(() => parseDictionary(DICTIONARY.slice(0, length)), {
      instanceOf: DictionaryError,
    });
    messages.add(error!.message.replace(/^\d+/, 'N').replace(/: zstd.*/, ''));
  }
  t.deepEqual(
    [...messages],
    [
      'N bytes are too few for a zstd dictionary',
      'damaged dictionary: Huffman table of literals',
      'damaged dictionary: FSE table of offsets',
      'damaged dictionary: FSE table of match lengths',
      'damaged dictionary: FSE table of literal lengths',
      'damaged dictionary: its repeat offsets are cut off',
      'damaged dictionary: repeat offset 1 does not lie in its 0 bytes of content',
    ],
  );
});

test('what is no dictionary is refused', (t) => {
  const refused = (bytes: Uint8Array, message: RegExp) =>
    t.throws(() => parseDictionary(bytes), { instanceOf: DictionaryError, message });
  const changed = (at: number, value: number) => {
    const bytes = DICTIONARY.slice();
    new DataView(bytes.buffer).setUint32(at, value, true);
    return bytes;
  };
  refused(text(5000), /not a zstd dictionary/);
  refused(new Uint8Array((1 << 20) + 1), /at most 1048576 bytes/);
  refused(changed(4, 0), /zstd ID is 0/);
  refused(changed(CONTENT_AT - 12, 0), /repeat offset 0 does not lie/);
  refused(changed(CONTENT_AT - 4, PARSED.content.length + 1), /repeat offset \d+ does not lie/);
  t.notThrows(() => parseDictionary(changed(CONTENT_AT - 8, PARSED.content.length)));
});

test('a damaged dictionary is refused, or does what node:zlib makes of it', (t) => {
  t.true(damagedAgree(DICTIONARY, SENT.slice(0, 5), 400) > 10);
});

test('samples give the same dictionary each time, of at most the size that was asked for', (t) => {
  t.deepEqual(trainDictionary(TRAINED, { size: 4096 }), DICTIONARY);
  t.is(DICTIONARY.length, 4096);
  const small = trainDictionary(TRAINED.slice(0, 40), { size: 1024 });
  t.is(small.length, 1024);
  const little = trainDictionary(
    Array.from({ length: 20 }, (_, i) =>
      Buffer.from(`the same text in all of them, but for ${i} and its like`),
    ),
    { size: 100_000 },
  );
  t.true(little.length < 1024, `${little.length} bytes`);
  t.notThrows(() =>
    comesBack(little, [Buffer.from('the same text in all of them, but for 99')], { contexts: 'none' }),
  );
});

test('what samples come to is what a server makes of them, to the byte', (t) => {
  const dictionary = readDictionary(DICTIONARY);
  const codec = nativeZstdDict(new Map([[dictionary.id, dictionary]]));
  const samples = [...SENT.slice(0, 50), text(100_000), new Uint8Array(0), ...SENT.slice(50, 90)];
  const target = new Uint8Array(2 * DEFAULT_FRAME_SIZE);
  for (const contexts of ['none', 'kept'] as const) {
    const contextFree = contexts === 'none';
    const encoder = codec.createEncoder!({ level: 3, dictionary: dictionary.id, contextFree });
    const sent = samples.map((sample) => {
      let bytes = 0;
      for (let at = 0; at < sample.length; at += DEFAULT_FRAME_SIZE)
        bytes += encoder.encode(sample.subarray(at, at + DEFAULT_FRAME_SIZE), target, 0);
      return bytes;
    });
    encoder.close();
    const counted = samples.map(() => 0);
    const sum = compressSamples(DICTIONARY, samples, 3, contexts, ({ length }, sample) => {
      counted[sample]! += length;
    });
    t.deepEqual(counted, sent, contexts);
    t.is(
      sum,
      sent.reduce((a, b) => a + b, 0),
    );
  }
});

test('tables count what blocks are made of with a context and without; offsets, which one keeps for a block, only without', (t) => {
  const { literals, literalLengths, matchLengths, offsets } = countBlocks(DICTIONARY, SENT, 3);
  const sum = (counts: readonly number[]) => counts.reduce((a, b) => a + b, 0);
  t.is(sum(literalLengths), sum(matchLengths));
  t.true(sum(matchLengths) > 1.5 * sum(offsets));
  t.true(sum(literals) < sum(SENT.map(({ length }) => length)));
});

test('five samples are enough where they have much in common', (t) => {
  for (const count of [5, 6, 7, 9]) {
    const dictionary = trainDictionary(TRAINED.slice(0, count), { size: 4096 });
    const bytes = (used?: Uint8Array) => compressSamples(used, SENT, 3, 'none');
    t.true(bytes(dictionary) < 0.7 * bytes(), `${count}`);
  }
});

test('samples that no dictionary can be made of are refused', (t) => {
  const random = Array.from({ length: 40 }, (_, i) => noise(300, i + 1));
  t.throws(() => trainDictionary(TRAINED.slice(0, 4)), { message: /at least 5 samples .* there are 4/ });
  t.throws(() => trainDictionary(Array.from({ length: 99 }, () => noise(7))), { message: /there are 0/ });
  const numbers = Array.from({ length: 40 }, (_, i) => Buffer.from(`${123_456_789 + 7_654_321 * i}`));
  for (const samples of [random, numbers])
    t.throws(() => trainDictionary(samples), { message: /would save nothing/ });
  for (const size of [1023, (1 << 20) + 1, 5000.5]) {
    t.throws(() => trainDictionary(TRAINED, { size }), { instanceOf: RangeError, message: /from 1024 to/ });
  }
});

test('samples of every kind give a dictionary that node:zlib takes', (t) => {
  const shared = noise(200, 7);
  const kinds: Record<string, Uint8Array[]> = {
    'every byte as often': Array.from({ length: 30 }, (_, i) => concat([noise(600, i + 1), shared])),
    'all the same': Array.from({ length: 30 }, () => noise(900, 3)),
    'one of them large': [...TRAINED.slice(0, 30), text(400_000)],
  };
  for (const [kind, samples] of Object.entries(kinds)) {
    const dictionary = trainDictionary(samples, { size: 2048 });
    t.notThrows(() => comesBack(dictionary, samples.slice(0, 9), { contexts: 'none' }), kind);
    t.notThrows(() => comesBack(dictionary, samples.slice(0, 9), { contexts: 'kept' }), kind);
  }
});

const counts = (length: number) =>
  fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 1_000_000 })), {
    minLength: length,
    maxLength: length,
  });

test('every code of literals that is described is read as it was, and wastes nothing', (t) => {
  fc.assert(
    fc.property(counts(256), (literals) => {
      const lengths = codeLengths(literals);
      const space = lengths.reduce((sum, length) => sum + 2 ** -length, 0);
      if (space !== 1 || Math.max(...lengths) > 11) throw new Error(`a code of ${space}`);
      const described = describeLengths(lengths);
      const table = new HuffmanTable();
      if (table.read(described, 0, described.length) !== described.length) throw new Error('the end differs');
      t.deepEqual(table.codeLengths(), lengths);
    }),
    { numRuns: 60 },
  );
});

test('a code without a longest pair is refused, as libzstd refuses it', (t) => {
  // Two symbols of weight 2 add up to four indexes of two bits, of which each code looks at one.
  const twoOfWeight2 = Uint8Array.of(128, 0x20);
  t.throws(() => new HuffmanTable().read(twoOfWeight2, 0, 2), { message: /does not add up/ });
});

test('code lengths are those of the textbook where 11 bits do, and never longer for a more frequent literal', (t) => {
  t.deepEqual([...codeLengths([5, 9, 12, 13, 16, 45])], [4, 4, 3, 3, 3, 1]);
  const steep = codeLengths(Array.from({ length: 30 }, (_, i) => 2 ** i));
  t.is(Math.max(...steep), 11);
  for (let i = 1; i < 30; i++) t.true(steep[i]! <= steep[i - 1]!);
});

test('every table of frequencies that is described is read as it was', (t) => {
  const sparse = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 5000 })), {
    minLength: 3,
    maxLength: 53,
  });
  fc.assert(
    fc.property(sparse, fc.integer({ min: 6, max: 9 }), (seen, log) => {
      fc.pre(seen.some((count) => count > 0));
      const frequencies = normalise(seen, log);
      const described = describeFrequencies(frequencies, log);
      const table = new FseTable(9, 52);
      if (table.read(described, 0, described.length) !== described.length) throw new Error('the end differs');
      const states = frequencies.map(Math.abs);
      t.deepEqual(table.frequencies().slice(0, states.length), states);
      t.deepEqual(
        states.map((count) => count > 0),
        seen.map((count) => count > 0),
      );
    }),
    { numRuns: 200 },
  );
});
