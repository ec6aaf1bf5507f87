// Streams whose context is made late: how they begin, when they have one, and what their peers read.

import { readFileSync } from 'node:fs';
import zlib from 'node:zlib';
import ava, { type ExecutionContext } from 'ava';
import { readDictionary } from '../../src/encoding/read-dictionary.ts';
import type { CommandRequest, ServerOptions } from '../../src/index.ts';
import { ContextBudget } from '../../src/lanes/budget.ts';
import { type Frame, FrameType } from '../../src/wire/frame.ts';
import { BEGINNING_BYTES, type Beginning, Beginnings } from '../../workers/beginnings.ts';
import { millRecord } from '../helpers/mill.ts';
import { randomNumbers } from '../helpers/random.ts';
import { RawPeer } from '../helpers/raw-peer.ts';
import { dial, type Serving, serving } from '../helpers/serving.ts';

const test = ava.serial;
const BYTES = new Uint8Array(readFileSync(new URL('../fixtures/mill.dict', import.meta.url)));
const { id: ID } = readDictionary(BYTES);

/** Whole payloads of a thousand bytes that a stream begins with, each of which comes to `after`. */
function begun(beginning: Beginning, after: (alone: boolean) => number): void {
  while (beginning.takes(1000)) beginning.count(1000, after(beginning.alone));
}

test('the beginning of a stream is over before the payload that would take it past its bytes', (t) => {
  const beginning = new Beginnings().begin();
  t.true(beginning.alone);
  t.true(beginning.takes(BEGINNING_BYTES - 10));
  t.true(beginning.takes(10));
  t.false(beginning.takes(1));
  t.false(
    new Beginnings().begin().takes(BEGINNING_BYTES + 1),
    'what is large has a context from its first byte',
  );
});

for (const [better, bytes] of [
  ['alone', { alone: 300, kept: 310 }],
  ['with a context', { alone: 300, kept: 60 }],
] as const)
  test(`streams take turns, then begin ${better} where that makes fewer bytes, and a few in the other way`, (t) => {
    const beginnings = new Beginnings();
    const ways = Array.from({ length: 1000 }, () => {
      const beginning = beginnings.begin();
      begun(beginning, (alone) => (alone ? bytes.alone : bytes.kept));
      return beginning.alone;
    });
    t.deepEqual(ways.slice(0, 4), [true, false, true, false]);
    const others = ways.slice(10).filter((alone) => alone !== (better === 'alone'));
    t.is(others.length, 3);
  });

test('which way is better is found out again when the traffic has become another', (t) => {
  const beginnings = new Beginnings();
  const begin = (count: number, kept: number) => {
    let alone = 0;
    for (let i = 0; i < count; i++) {
      const beginning = beginnings.begin();
      begun(beginning, (isAlone) => (isAlone ? 300 : kept));
      if (beginning.alone) alone++;
    }
    return alone / count;
  };
  t.true(begin(1000, 400) > 0.95);
  begin(6000, 30);
  t.true(begin(1000, 30) < 0.05);
});

test('a byte more or less of what others are sent does not tell how the next stream begins', (t) => {
  const shareAlone = (extra: number) => {
    let alone = 0;
    for (let seed = 0; seed < 2000; seed++) {
      const beginnings = new Beginnings(randomNumbers(seed));
      for (const bytes of [8000, 8000 + extra, 8000, 8000]) beginnings.begin().count(BEGINNING_BYTES, bytes);
      if (beginnings.begin().alone) alone++;
    }
    return alone / 2000;
  };
  const [less, same, more] = [-1, 0, 1].map(shareAlone);
  t.true(same > 0.4 && same < 0.6, `${same}`);
  t.true(Math.abs(more - less) < 0.02, `${less} ${more}`);
  t.is(shareAlone(1000), 1);
  t.is(shareAlone(-1000), 0);
});

test('where nothing comes of streams they begin in either way', (t) => {
  const beginnings = new Beginnings();
  const ways = Array.from({ length: 100 }, () => beginnings.begin().alone);
  t.is(ways.filter((alone) => alone).length, 50);
});

test('under auto with a dictionary a context is made late, at a higher level before, where there is room for that', (t) => {
  const early = (level: number | undefined, contextMemory = 1 << 30) =>
    new ContextBudget({ contextMemory }).takeContext('zstd-dict', { level, dictionary: ID }, 'auto')?.early;
  t.deepEqual(early(undefined), { level: 11, dictionary: ID, contextFree: true, windowLog: 15 });
  t.is(early(1)?.level, 9);
  t.is(early(-5)?.level, 3);
  t.is(early(9)?.level, 12);
  t.is(early(13)?.level, 13);
  t.is(early(3, 8 << 20), undefined);
  const budget = new ContextBudget({ contextMemory: 1 << 30 });
  for (const contexts of ['kept', 'none'] as const)
    t.is(budget.takeContext('zstd-dict', { dictionary: ID }, contexts)?.early, undefined);
  t.is(budget.takeContext('zstd-8mb', {}, 'auto')?.early, undefined);
  const taken = ['a', 'b'].map(() => {
    const before = budget.used;
    const cost = budget.takeContext('zstd-dict', { dictionary: ID }, 'auto')?.cost ?? 0;
    return budget.used - before - cost;
  });
  t.true(taken[0] > 0);
  t.is(taken[1], 0, 'threads have one for all streams');
});

test('a beginning has no larger window than its stream says', (t) => {
  const early = (windowLog: number | undefined, maxWindowLog: number | undefined) =>
    new ContextBudget({ contextMemory: 1 << 30 }).takeContext(
      'zstd-dict',
      { windowLog, dictionary: ID },
      'auto',
      maxWindowLog,
    )?.early?.windowLog;
  t.is(early(undefined, 14), undefined);
  t.is(early(14, undefined), undefined);
  t.is(early(undefined, 15), 15);
  t.is(early(15, undefined), 15);
  t.is(early(undefined, 23), 15);
});

test('what encodes no beginnings takes no memory for them', (t) => {
  const budget = new ContextBudget({ contextMemory: 1 << 30 });
  const made = budget.takeContext('zstd-dict', { dictionary: ID }, 'auto', undefined, false);
  t.is(made?.early, undefined);
  t.is(made?.cost, budget.used);
});

test('an encoder for beginnings that is there already needs no more room', (t) => {
  const budget = new ContextBudget({ contextMemory: 1 << 30 });
  const take = () => budget.takeContext('zstd-dict', { dictionary: ID }, 'auto');
  const cost = take()?.cost ?? 0;
  budget.resize(budget.used + cost);
  t.truthy(take()?.early);
});

// ------------------------------------------------------------------------------------------------- a server's streams

/** About 3 000 bytes: four are a beginning. */
const page = (i: number) => Array.from({ length: 36 }, (_, k) => millRecord(100 * i + k)).join('\n');
const IN_BEGINNING = 4;
const numberOf = (request: CommandRequest) => Number(request.text('i'));
const options: ServerOptions = {
  workers: 1,
  streams: 1,
  dictionaries: [{ bytes: BYTES }],
  commands: {
    page: (request) => page(numberOf(request)),
    large: () => page(1).repeat(6),
    pieces: async function* () {
      for (let i = 0; i < 12; i++) {
        yield page(i);
        await new Promise(setImmediate);
      }
    },
  },
};

async function holder(t: ExecutionContext, { address }: Serving): Promise<RawPeer> {
  const peer = await RawPeer.connect(t, address.port);
  peer.send(
    `0 1 stream-begin sender-settings 0 {"contentEncodings":["zstd-8mb","zstd-dict"],"extensions":["dictionary"],"dictionaries":["${ID}"]}`,
  );
  return peer;
}

let asked = 1;
/** The payloads of a response. */
async function ask(peer: RawPeer, command: string, i?: number): Promise<Uint8Array[]> {
  asked += 2;
  const request = asked;
  if (i === undefined) peer.send(`${request} 1 0 command-name eos ${command}`);
  else
    peer.send(
      `${request} 1 0 command-name have-args ${command}`,
      `${request} 1 0 command-argument eoa \\x01\\x00\\x0${String(i).length}\\x00i${i}`,
    );
  const own = () =>
    peer.frames.filter(({ requestId, type }) => requestId === request && type === FrameType.bytesResponse);
  await peer.until(() => own().some(({ flags }) => flags === 2));
  return own().map(({ payload }: Frame) => payload);
}

/** What a payload decodes to by itself; undefined: it goes on with what came before it. */
function alone(payload: Uint8Array): string | undefined {
  try {
    return zlib.zstdDecompressSync(payload, { dictionary: BYTES }).toString();
  } catch {
    return undefined;
  }
}

const earlyOf = async ({ server }: Serving) => (await server.stats()).contexts.early;
const settingsOf = (peer: RawPeer) =>
  peer.frames.filter(({ type }) => type === FrameType.streamSettings).length;

test("a stream's first responses stand alone, the next go by a context, and it says what it is once", async (t) => {
  const run = await serving(t, options);
  const peer = await holder(t, run);
  for (let i = 0; i < IN_BEGINNING; i++) {
    const [payload] = await ask(peer, 'page', i);
    t.is(alone(payload), page(i));
  }
  t.is(await earlyOf(run), 1);
  const [begins] = await ask(peer, 'page', 0);
  const [goesOn] = await ask(peer, 'page', 0);
  t.is(await earlyOf(run), 0);
  t.is(alone(goesOn), undefined);
  t.true(goesOn.length < begins.length / 2, `${goesOn.length} of ${begins.length}`);
  t.is(settingsOf(peer), 1);
});

test('the second stream has its context at once, so that it is known what that does', async (t) => {
  const run = await serving(t, options);
  await ask(await holder(t, run), 'page', 1);
  const peer = await holder(t, run);
  await ask(peer, 'page', 1);
  const [goesOn] = await ask(peer, 'page', 2);
  t.is(alone(goesOn), undefined);
  t.is(await earlyOf(run), 1);
});

test('what handlers in a lane yield is part of the beginning', async (t) => {
  const module = new URL('../fixtures/handlers.ts', import.meta.url);
  const run = await serving(t, { ...options, commands: { inLane: { module } } });
  const [payload] = await ask(await holder(t, run), 'inLane');
  t.is(alone(payload), 'alone');
  t.is(await earlyOf(run), 1);
});

test('a response past the beginning has a context, from its first byte or from the piece that is too much', async (t) => {
  const run = await serving(t, options);
  const peer = await holder(t, run);
  const pieces = await ask(peer, 'pieces');
  const standAlone = pieces.map((payload) => alone(payload) !== undefined);
  const first = standAlone.indexOf(false);
  t.true(first > 0 && first <= IN_BEGINNING, `${first}`);
  t.is(standAlone.lastIndexOf(true), first - 1);
  t.is(await earlyOf(run), 0);
  const other = await serving(t, options);
  await ask(await holder(t, other), 'large');
  t.is(await earlyOf(other), 0);
});

for (const codecs of ['native', 'portable'] as const)
  test(`clients read all of it, however streams begin: ${codecs}`, async (t) => {
    const run = await serving(t, { ...options, streams: 2 });
    for (let connection = 0; connection < 6; connection++) {
      const client = await dial(t, run.address, { codecs });
      while (client.stats().dictionaries.length === 0) await client.ping();
      for (let i = 0; i < 8; i++) t.is(await client.call('page', { args: { i: String(i) } }).text(), page(i));
      t.is(await client.call('large').text(), page(1).repeat(6));
      for (let i = 0; i < 3; i++) t.is(await client.call('page', { args: { i: String(i) } }).text(), page(i));
      await client.close();
    }
  });

test('streams of one response each are read as well', async (t) => {
  const run = await serving(t, { ...options, policy: 'per-request', streams: 2 });
  const client = await dial(t, run.address);
  while (client.stats().dictionaries.length === 0) await client.ping();
  for (let i = 0; i < 60; i++) t.is(await client.call('page', { args: { i: String(i) } }).text(), page(i));
});

test('a stream that is begun afresh begins as others do, in either way', async (t) => {
  const run = await serving(t, { ...options, streamLifetime: 10 });
  const peer = await holder(t, run);
  const begun = new Set<boolean>();
  while (begun.size < 2) {
    const before = settingsOf(peer);
    const [payload] = await ask(peer, 'page', 1);
    if (settingsOf(peer) > before) begun.add(alone(payload) !== undefined);
  }
  t.pass();
});

test('under adaptive each stream has its context at once: its level is what was chosen', async (t) => {
  const run = await serving(t, { ...options, policy: 'adaptive', streams: undefined });
  const peer = await holder(t, run);
  let encoded: Uint8Array | undefined;
  for (let i = 0; encoded === undefined && i < 200; i++) {
    const [payload] = await ask(peer, 'page', 1);
    if (payload.length < page(1).length) encoded = payload;
  }
  t.truthy(encoded);
  t.is(await earlyOf(run), 0);
});
