// Payloads that stand alone go through one context for all streams; whatever else comes, each stream decodes its own.
import { readFileSync } from 'node:fs';
import test from 'ava';
import fc from 'fast-check';
import type { Codec } from '../../src/encoding/codec.ts';
import type { Context } from '../../src/encoding/context.ts';
import { zstdHandles } from '../../src/encoding/native.ts';
import { readDictionary } from '../../src/encoding/read-dictionary.ts';
import { StandaloneContexts } from '../../src/encoding/standalone.ts';
import { type ZstdContexts, zstdCodec, zstdDictCodec } from '../../src/encoding/zstd-codec.ts';
import { concat, encodeAll, LIMITS, noise, text, zstdBomb } from './helpers.ts';

const DICTIONARY = readDictionary(readFileSync(new URL('../fixtures/mill.dict', import.meta.url)));
const WHOLE = { contextFree: true };
const SKIPPABLE = [0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 7, 7, 7];

/** A library that knows which of its decoding contexts are open. */
function counted(): ZstdContexts & { made: number; readonly open: Set<Context> } {
  const open = new Set<Context>();
  const contexts = {
    made: 0,
    open,
    standalone: new StandaloneContexts(),
    compress: zstdHandles.compress,
    decompress(...args: Parameters<ZstdContexts['decompress']>) {
      contexts.made++;
      const context = zstdHandles.decompress(...args);
      const close = context.close.bind(context);
      context.close = () => {
        open.delete(context);
        close();
      };
      open.add(context);
      return context;
    },
  };
  return contexts;
}

function decoded(decoder: ReturnType<Codec['createDecoder']>, payloads: readonly Uint8Array[]): Buffer {
  return Buffer.from(concat(payloads.map((payload) => decoder.decode(payload).slice())));
}

test('streams whose payloads stand alone share one context, which the last of them frees', (t) => {
  const contexts = counted();
  const codec = zstdCodec('counted', contexts);
  const records = [text(900, 1), text(900, 2), text(70_000, 3)];
  const payloads = encodeAll(codec, records, WHOLE);
  const decoders = [1, 2, 3].map(() => codec.createDecoder(LIMITS));
  t.is(contexts.made, 0);
  for (const [i, record] of records.entries())
    for (const decoder of decoders) t.deepEqual(decoded(decoder, [payloads[i]!]), Buffer.from(record));
  t.is(contexts.made, 1);
  for (const decoder of decoders) {
    t.is(contexts.open.size, 1);
    decoder.close();
    decoder.close();
  }
  t.is(contexts.open.size, 0);
});

test('a stream that keeps a context has one of its own, from the first payload that needs it', (t) => {
  const contexts = counted();
  const codec = zstdCodec('counted', contexts);
  const frames = [text(900, 1), text(900, 1), text(900, 2)];
  const kept = encodeAll(codec, frames);
  const [alone] = encodeAll(codec, [text(500, 9)], WHOLE);
  const streams = [codec.createDecoder(LIMITS), codec.createDecoder(LIMITS)];
  t.deepEqual(decoded(streams[0]!, [alone!]), Buffer.from(text(500, 9)));
  for (const [i, frame] of frames.entries())
    for (const stream of streams) t.deepEqual(decoded(stream, [kept[i]!]), Buffer.from(frame));
  t.is(contexts.made, 3);
  for (const stream of streams) stream.close();
  t.is(contexts.open.size, 0);
});

test('a payload that fails takes the shared context along, and no other stream with it', (t) => {
  const contexts = counted();
  const codec = zstdCodec('counted', contexts);
  const [payload] = encodeAll(codec, [text(3000)], WHOLE);
  const damaged = payload!.slice();
  damaged.fill(0xff, 30, -20);
  const large = Uint8Array.from([...zstdBomb(9), 1, 0, 0]);
  const survivor = codec.createDecoder(LIMITS);
  for (const bad of [damaged, large, payload!.subarray(0, -1), Uint8Array.of(1, 2, 3, 4, 5)]) {
    const decoder = codec.createDecoder(LIMITS);
    t.deepEqual(decoded(decoder, [payload!]), Buffer.from(text(3000)));
    t.throws(() => decoder.decode(bad), { name: 'DecodeError' });
    t.throws(() => decoder.decode(payload!), { message: 'the decoder is closed' });
    t.deepEqual(decoded(survivor, [payload!]), Buffer.from(text(3000)));
  }
  survivor.close();
  t.is(contexts.open.size, 0);
});

test('streams share a context only where library, limits and the bytes of the dictionary are the same', (t) => {
  const contexts = counted();
  const codecOf = (dictionary: typeof DICTIONARY) =>
    zstdDictCodec('counted', contexts, new Map([[dictionary.id, dictionary]]));
  const bytes = DICTIONARY.bytes.slice();
  bytes[bytes.length - 20]! ^= 1;
  const named = { dictionary: DICTIONARY.id };
  const decoders = [
    DICTIONARY,
    { ...DICTIONARY, bytes: DICTIONARY.bytes.slice() },
    { ...DICTIONARY, bytes },
  ].map((dictionary) => {
    const codec = codecOf(dictionary);
    const record = text(900);
    const [payload] = encodeAll(codec, [record], { ...named, ...WHOLE });
    const decoder = codec.createDecoder(LIMITS, codec.settings(named));
    t.deepEqual(decoded(decoder, [payload!]), Buffer.from(record));
    return decoder;
  });
  t.is(contexts.made, 2);
  const narrow = zstdCodec('counted', contexts).createDecoder({ ...LIMITS, maxWindowSize: 1 << 16 });
  const wide = zstdCodec('counted', contexts).createDecoder(LIMITS);
  const [payload] = encodeAll(zstdCodec('counted', contexts), [text(100)], WHOLE);
  for (const decoder of [narrow, wide]) decoder.decode(payload!);
  t.is(contexts.made, 4);
  for (const decoder of [...decoders, narrow, wide]) decoder.close();
  t.is(contexts.open.size, 0);
});

test('a stream that has asked for a large window keeps a context of its own, and none for others', (t) => {
  const contexts = counted();
  const codec = zstdCodec('counted', contexts);
  const large = noise(300_000, 5);
  const [small, wide] = [text(900), large].map((record) => encodeAll(codec, [record], WHOLE)[0]!);
  const streams = [codec.createDecoder(LIMITS), codec.createDecoder(LIMITS)];
  for (const stream of streams) t.deepEqual(decoded(stream, [small!]), Buffer.from(text(900)));
  t.is(contexts.made, 1);
  t.deepEqual(decoded(streams[0]!, [wide!, small!]), Buffer.from(concat([large, text(900)])));
  t.is(contexts.made, 2);
  streams[0]!.close();
  t.is(contexts.open.size, 1);
  streams[1]!.close();
  t.is(contexts.open.size, 0);
});

/** A stream's payloads, and what they come to: whole frames, several or none in a payload, and one over several payloads. */
function stream(codec: Codec, options: object, kinds: readonly number[], seed: number) {
  const encode = (frames: Uint8Array[], more: object, finish: boolean) =>
    encodeAll(codec, frames, { ...options, ...more }, finish);
  const payloads: Uint8Array[] = [];
  const clear: Uint8Array[] = [];
  kinds.forEach((kind, i) => {
    const pieces = [text(50 + 300 * kind, seed + i), noise(kind * 10, i + 1), text(900, seed)];
    clear.push(...pieces);
    if (kind === 0) payloads.push(...encode(pieces, WHOLE, false));
    else if (kind === 1) payloads.push(concat([...encode(pieces, WHOLE, false), Uint8Array.from(SKIPPABLE)]));
    else if (kind === 2) payloads.push(Uint8Array.from(SKIPPABLE), ...encode(pieces, {}, true));
    else {
      const [first, ...others] = encode(pieces, {}, true);
      payloads.push(concat([Uint8Array.from(SKIPPABLE), first!]), concat(others));
    }
  });
  return { payloads, clear: Buffer.from(concat(clear)) };
}

test('whatever mixture of frames streams send, in any order, each decodes to what was encoded', (t) => {
  const contexts = counted();
  const dictionaries = new Map([[DICTIONARY.id, DICTIONARY]]);
  const codecs: [Codec, object][] = [
    [zstdCodec('counted', contexts), { level: 1, windowLog: 10 }],
    [zstdDictCodec('counted', contexts, dictionaries), { dictionary: DICTIONARY.id }],
  ];
  const kinds = fc.array(fc.nat(3), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(1), kinds), { minLength: 2, maxLength: 4 }),
      fc.array(fc.nat(3), { maxLength: 60 }),
      (sent, order) => {
        const streams = sent.map(([which, own], i) => {
          const [codec, options] = codecs[which]!;
          const decoder = codec.createDecoder(LIMITS, codec.settings(options));
          return { decoder, got: [] as Uint8Array[], ...stream(codec, options, own, 100 * i + 1) };
        });
        const all = Array.from(streams.keys()).flatMap((i) => streams[i]!.payloads.map(() => i));
        for (const i of [...order, ...all]) {
          const one = streams[i % streams.length]!;
          const payload = one.payloads.shift();
          if (payload !== undefined) one.got.push(one.decoder.decode(payload).slice());
        }
        for (const { decoder, got, clear } of streams) {
          decoder.close();
          if (!Buffer.from(concat(got)).equals(clear)) throw new Error('decoded to something else');
        }
      },
    ),
    { numRuns: 150 },
  );
  t.is(contexts.open.size, 0);
});
