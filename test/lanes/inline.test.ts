// Small responses without a context: encoded on the main thread while it has time, in the lanes where it is the fullest.

import { readFileSync } from 'node:fs';
import ava, { type ExecutionContext } from 'ava';
import { Turns } from '../../src/connection/turns.ts';
import type { Codec } from '../../src/encoding/codec.ts';
import { readDictionary } from '../../src/encoding/read-dictionary.ts';
import { type Client, type CommandRequest, cached, type ServerOptions, TextOutput } from '../../src/index.ts';
import { InlineEncoders } from '../../src/lanes/inline-encoders.ts';
import { InlineRoom } from '../../src/lanes/inline-room.ts';
import { defaultStreams, MAX_STREAMS } from '../../src/lanes/policy.ts';
import { MAX_KINDS } from '../../src/lanes/stream-kind.ts';
import { pattern } from '../fixtures/pattern.ts';
import { millRecord } from '../helpers/mill.ts';
import { dial, type Serving, serving } from '../helpers/serving.ts';

const test = ava.serial;
const DICTIONARY = new Uint8Array(readFileSync(new URL('../fixtures/mill.dict', import.meta.url)));
/** The same, under a number of its own. */
function dictionary(number: number): Uint8Array {
  const bytes = DICTIONARY.slice();
  bytes[5] ^= number;
  return bytes;
}
const numberOf = (request: CommandRequest, name: string) => Number(request.text(name));

const commands: ServerOptions['commands'] = {
  mill: (request) => millRecord(numberOf(request, 'i')),
  other: (request) => millRecord(numberOf(request, 'i')),
  fill: (request) => pattern(1, numberOf(request, 'size')),
  late: async (request) => {
    await new Promise(setImmediate);
    return millRecord(numberOf(request, 'i'));
  },
  told: async function* (request) {
    yield new TextOutput({ format: 'first', labels: [], args: [] });
    yield millRecord(numberOf(request, 'i'));
  },
  pieces: async function* (request) {
    for (let i = 0; i < 3; i++) {
      yield millRecord(numberOf(request, 'i') + i);
      await new Promise(setImmediate);
    }
  },
  secret: { handler: () => millRecord(1), sensitive: true },
};

const mill = (client: Client, i: number, command = 'mill') =>
  client.call(command, { args: { i: String(i) } }).text();

/** Responses that have come out of lanes, and out of the main thread with an encoding. */
async function made({ server }: Serving): Promise<{ inLanes: number; here: number }> {
  const { lanes, streams } = await server.stats();
  const here = streams.filter(({ lane, profile }) => lane < 0 && profile !== 'cache');
  return {
    inLanes: lanes.reduce((sum, { frames }) => sum + frames, 0),
    here: here.reduce((sum, { frames }) => sum + frames, 0),
  };
}

for (const dictionaries of [[], [{ bytes: DICTIONARY }]])
  test(`responses that come one by one, ${dictionaries.length} dictionaries: all are encoded here, and are right`, async (t) => {
    const run = await serving(t, { commands, dictionaries, contexts: 'none' });
    const client = await dial(t, run.address);
    while (client.stats().dictionaries.length < dictionaries.length) await client.ping();
    for (let i = 0; i < 40; i++) t.is(await mill(client, i, i % 2 === 0 ? 'mill' : 'late'), millRecord(i));
    t.deepEqual(await made(run), { inLanes: 0, here: 40 });
    const [stream] = client.stats().streams.filter(({ profile }) => profile !== 'identity');
    t.is(stream.profile, dictionaries.length > 0 ? 'zstd-dict' : 'zstd-8mb');
    const [row] = (await run.server.stats()).streams.filter(({ lane }) => lane < 0);
    if (dictionaries.length > 0) t.true(row.bytesOut < row.bytesIn);
    t.is(row.contextBytes, 0);
  });

/** A server with a command whose responses are all made in one turn, when `count` of them have been asked for. */
async function servingCrowd(
  t: ExecutionContext,
  count: number,
  make: (i: number) => string,
): Promise<Serving> {
  const waiting: (() => void)[] = [];
  const crowd = async (request: CommandRequest) => {
    await new Promise<void>((resolve) => {
      if (waiting.push(resolve) === count) for (const goOn of waiting.splice(0)) goOn();
    });
    return make(numberOf(request, 'i'));
  };
  return serving(t, { commands: { ...commands, crowd }, contexts: 'none', workers: 2 });
}

const askAll = (client: Client, count: number) =>
  Promise.all(Array.from({ length: count }, (_, i) => mill(client, i, 'crowd')));

const records = (count: number) => Array.from({ length: count }, (_, i) => millRecord(i));

test('a crowd is encoded here while the main thread has time', async (t) => {
  const run = await servingCrowd(t, 100, millRecord);
  const client = await dial(t, run.address);
  // On a machine with other work it has none now and then.
  let before = 0;
  let here = 0;
  do {
    before = here;
    t.deepEqual(await askAll(client, 100), records(100));
    here = (await made(run)).here;
  } while (here < before + 100);
});

test('a crowd goes to the lanes where the main thread is always at work, and is encoded here again when it has time', async (t) => {
  let isBusy = true;
  const run = await servingCrowd(t, 100, (i) => {
    const endsAtMs = performance.now() + 0.3;
    while (isBusy && performance.now() < endsAtMs);
    return millRecord(i);
  });
  const client = await dial(t, run.address);
  for (let before = 0; before < 400; before = (await made(run)).inLanes) {
    t.deepEqual(await askAll(client, 100), records(100));
  }
  isBusy = false;
  const { here } = await made(run);
  while ((await made(run)).here < here + 400) t.is(await mill(client, 1), millRecord(1));
});

test('what is large, in pieces, behind text, at a high level, tuned, kept or sensitive is not encoded here', async (t) => {
  const run = await serving(t, { commands, contexts: 'none' });
  const client = await dial(t, run.address);
  for (const size of [8193, 100_000])
    t.deepEqual(
      await client.call('fill', { args: { size: String(size) } }).bytes(),
      Uint8Array.from(pattern(1, size)),
    );
  t.is(await mill(client, 1, 'told'), millRecord(1));
  t.is(await mill(client, 1, 'pieces'), millRecord(1) + millRecord(2) + millRecord(3));
  t.is(await mill(client, 1, 'secret'), millRecord(1));
  t.is((await made(run)).here, 0);
  for (const options of [{ level: 9 }, { tuning: 'records' as const }, { contexts: 'kept' as const }]) {
    const other = await serving(t, { commands, contexts: 'none', ...options });
    const its = await dial(t, other.address);
    for (let i = 0; i < 5; i++) t.is(await mill(its, i), millRecord(i));
    t.is((await made(other)).here, 0, JSON.stringify(options));
  }
});

test('a response of no bytes, of one and of the most that are small', async (t) => {
  const run = await serving(t, { commands, contexts: 'none' });
  const client = await dial(t, run.address);
  for (const size of [0, 1, 8192, 0, 8192])
    t.deepEqual(
      await client.call('fill', { args: { size: String(size) } }).bytes(),
      Uint8Array.from(pattern(1, size)),
    );
  t.is((await made(run)).here, 3);
});

test('the last piece of a response whose others went by a lane comes behind them', async (t) => {
  const run = await serving(t, { commands, contexts: 'none', limits: { maxBufferedOutput: 256 } });
  const client = await dial(t, run.address);
  for (let i = 0; i < 10; i++)
    t.deepEqual(
      await client.call('fill', { args: { size: String(1000 + i) } }).bytes(),
      Uint8Array.from(pattern(1, 1000 + i)),
    );
});

test('per-request, a stream for every response, is served by lanes', async (t) => {
  const run = await serving(t, { commands, contexts: 'none', policy: 'per-request' });
  const client = await dial(t, run.address);
  for (let i = 0; i < 5; i++) t.is(await mill(client, i), millRecord(i));
  t.is((await made(run)).here, 0);
});

test('a stream that began before the client held the dictionary begins afresh with it', async (t) => {
  const run = await serving(t, { commands, dictionaries: [{ bytes: DICTIONARY }], contexts: 'none' });
  const client = await dial(t, run.address);
  const first = mill(client, 0);
  t.is(await first, millRecord(0));
  while (client.stats().dictionaries.length === 0) await client.ping();
  await client.ping();
  for (let i = 0; i < 5; i++) t.is(await mill(client, i), millRecord(i));
  const here = (await run.server.stats()).streams.filter(({ lane }) => lane < 0);
  t.deepEqual(
    here.map(({ profile }) => profile),
    ['zstd-dict'],
  );
});

test('two dictionaries: one is encoded with here, the other in a lane', async (t) => {
  const dictionaries = [{ bytes: DICTIONARY, commands: ['mill'] }, { bytes: dictionary(1) }];
  const run = await serving(t, { commands, dictionaries, contexts: 'none' });
  const client = await dial(t, run.address);
  while (client.stats().dictionaries.length < 2) await client.ping();
  await client.ping();
  for (let i = 0; i < 10; i++) {
    t.is(await mill(client, i), millRecord(i));
    t.is(await mill(client, i, 'other'), millRecord(i));
  }
  t.is((await made(run)).here, 10);
});

test('credit is used up by what is encoded here as by anything else', async (t) => {
  const run = await serving(t, { commands, contexts: 'none' });
  const client = await dial(t, run.address, { requestWindow: 3000, connectionWindow: 6000 });
  for (let i = 0; i < 10; i++)
    t.deepEqual(
      await client.call('fill', { args: { size: '2500' } }).bytes(),
      Uint8Array.from(pattern(1, 2500)),
    );
  t.is((await made(run)).here, 10);
});

for (const kinds of [1, MAX_KINDS])
  test(`the most streams of ${kinds} kinds are as many as a client takes: none is left for what is encoded here`, async (t) => {
    let next = 0;
    const own = Array.from({ length: kinds - 1 }, (_, i) => `own ${i}`);
    const run = await serving(t, {
      commands: {
        ...commands,
        ...Object.fromEntries(own.map((name) => [name, commands.mill])),
        kept: (request) => cached(request.text('key') ?? '', () => pattern(2, 100_000).slice()),
        there: { module: new URL('../fixtures/lane-commands.ts', import.meta.url), export: 'fill' },
      },
      dictionaries: own.map((name, i) => ({ bytes: dictionary(i), commands: [name] })),
      contexts: 'none',
      streams: MAX_STREAMS,
      policy: (_query, streams) => next++ % streams.length,
      // The second of two cached outputs finds the first one half sent.
      limits: { maxBufferedOutput: 110_000 },
    });
    const client = await dial(t, run.address);
    while (client.stats().dictionaries.length < own.length) await client.ping();
    await client.ping();
    for (const name of own) t.is(await mill(client, 1, name), millRecord(1));
    for (let i = 0; i < MAX_STREAMS; i++) t.is(await mill(client, i), millRecord(i));
    const keys = ['a', 'b', 'c', 'a', 'b', 'c'];
    const kept = keys.map((key) => client.call('kept', { args: { key } }).bytes());
    for (const bytes of await Promise.all(kept)) t.deepEqual(bytes, Uint8Array.from(pattern(2, 100_000)));
    const there = client.call('there', { args: { seed: '3', size: '100' }, sensitive: true });
    t.deepEqual(await there.bytes(), Uint8Array.from(pattern(3, 100)));
    const { streams } = await run.server.stats();
    t.is(streams.filter(({ profile }) => profile === 'cache').length, 2);
    t.is(streams.filter(({ profile }) => profile === 'zstd-dict').length, own.length);
    t.is((await made(run)).here, 0);
  });

test('however many workers there are, the streams that nobody asked for leave one for here', (t) => {
  for (const kinds of [1, MAX_KINDS]) {
    const most = defaultStreams('shared', 64, kinds);
    t.is(most + (kinds - 1), MAX_STREAMS - 1);
    t.is(defaultStreams('per-request', 64, kinds), MAX_STREAMS);
    t.is(defaultStreams('shared', 1, kinds), 2);
  }
});

// ---------------------------------------------------------------------------------------- the encoders alone

const SHAPE = { contextFree: true };

function encoders(codecs: { profile: string }[] = [], runs: (() => void)[] = []): InlineEncoders {
  const { id, ...rest } = readDictionary(DICTIONARY);
  const modules = [{ url: 'file:///none', export: 'none', codecs: codecs as Codec[] }];
  return new InlineEncoders(new Turns((run) => runs.push(run)), new Map([[id, { id, ...rest }]]), modules);
}

test("a codec of the user's is not run on the main thread, even if it is one of our profiles", (t) => {
  t.true(encoders().takes('zstd-8mb', SHAPE));
  t.false(encoders([{ profile: 'zstd-8mb' }]).takes('zstd-8mb', SHAPE));
  t.false(encoders().takes('zstd-8mb', {}), 'what is kept is kept in a lane');
});

test('an encoder that fails is given up, and the next response has another', (t) => {
  const some = encoders();
  const first = some.encoder('zstd-8mb', SHAPE);
  if (first === undefined) throw new Error('no zstd here');
  t.is(some.encoder('zstd-8mb', { ...SHAPE }), first, 'all streams have it in common');
  first.encoder.close();
  t.is(some.encode(first, Uint8Array.of(1, 2, 3)), undefined);
  const second = some.encoder('zstd-8mb', SHAPE);
  t.not(second, first);
  t.true((some.encode(second as typeof first, Uint8Array.of(1, 2, 3)) as Uint8Array).length > 0);
  some.close();
});

test('where no encoder can be made there is none, and responses are for the lanes', (t) => {
  const some = encoders();
  t.is(some.encoder('zstd-dict', { ...SHAPE, dictionary: 'unheard of' }), undefined);
  t.truthy(some.encoder('zstd-8mb', SHAPE));
  some.close();
});

test('an encoder that has to make do without its level keeps nothing all the same: it is for all connections', (t) => {
  const some = encoders();
  const made = some.encoder('zstd-8mb', { ...SHAPE, windowLog: 99 });
  if (made === undefined) throw new Error('none was made');
  const once = some.encode(made, pattern(1, 4000))?.slice();
  t.truthy(once);
  t.deepEqual(some.encode(made, pattern(1, 4000)), once);
  some.close();
});

// ------------------------------------------------------------------------------------------- what is for here

/** Turns of the event loop in which responses of `bytes` come, and looks at how full the threads are. */
class Load {
  readonly #runs: (() => void)[] = [];
  readonly #turns = new Turns((run) => this.#runs.push(run));
  readonly room = new InlineRoom(this.#turns);

  /** Which of so many responses in one turn are encoded here. */
  turn(count: number, bytes = 900): boolean[] {
    const here = Array.from({ length: count }, () => this.room.admit(bytes));
    this.#turns.take(1);
    for (const run of this.#runs.splice(0)) run();
    return here;
  }

  /** How many are, of so many turns. */
  turns(times: number, count: number, bytes = 900): number {
    let here = 0;
    for (let i = 0; i < times; i++) here += this.turn(count, bytes).filter(Boolean).length;
    return here;
  }

  /** The same with a look of 20 ms after each turn: how full the main thread is, and the lanes. */
  looks(times: number, count: number, main: number, lanes: number): number {
    let here = 0;
    for (let i = 0; i < times; i++) {
      here += this.turns(1, count);
      this.room.looked(main, lanes, 20, 0.1);
    }
    return here;
  }
}

test('what is small is for here, and what is not, or is nothing, is not', (t) => {
  const load = new Load();
  t.deepEqual(
    [8192, 8193, 1, 0].map((bytes) => load.room.admit(bytes)),
    [true, false, true, false],
  );
});

test('all of a crowd is for here until the main thread is full, and fuller than the lanes; then none is', (t) => {
  const load = new Load();
  t.is(load.looks(100, 200, 0.85, 0.1), 20_000);
  t.is(load.looks(100, 200, 0.95, 0.95), 20_000, 'lanes that are as full could take nothing off it');
  load.looks(1, 200, 0.95, 0.9);
  t.is(load.looks(100, 200, 0.5, 0.9), 0, 'what they have taken off it they keep');
});

/** So many are too much for the main thread. */
function tooMuch(count: number): Load {
  const load = new Load();
  load.looks(100, count, 0.85, 0.1);
  load.looks(2, count, 0.95, 0.1);
  return load;
}

test('a crowd is for here again when a quarter less comes', (t) => {
  const load = tooMuch(200);
  t.is(load.looks(50, 160, 0.5, 0.5), 0);
  load.looks(50, 120, 0.5, 0.5);
  t.is(load.looks(10, 120, 0.5, 0.1), 1200);
});

test('a crowd is for here again when the main thread has little to do without it', (t) => {
  const load = tooMuch(200);
  t.is(load.looks(50, 200, 0.25, 0.5), 0);
  load.looks(1, 200, 0.24, 0.5);
  t.is(load.looks(10, 200, 0.5, 0.1), 2000);
});

test('a crowd that was too much is tried again after ten seconds', (t) => {
  const load = tooMuch(200);
  t.is(load.looks(498, 200, 0.5, 0.5), 0);
  load.looks(2, 200, 0.5, 0.5);
  t.is(load.looks(10, 200, 0.5, 0.1), 2000);
});

test('what comes after a pause is for here', (t) => {
  const load = tooMuch(200);
  load.room.looked(0, 0, 300, 1);
  t.is(load.looks(1, 200, 0, 0), 200);
});

test('what comes alone is for here, however full the main thread is; a crowd soon after a few is for the lanes', (t) => {
  const load = new Load();
  load.looks(100, 200, 1, 0);
  load.turns(100, 10);
  t.is(load.turns(100, 10), 1000);
  t.is(load.turns(50, 3, 8192), 50 * 3);
  load.turns(10, 200);
  t.is(load.turns(10, 200), 0);
  t.is(load.turns(50, 10) > 0, true);
});

test('of what is not so small a few in a turn are for here, and a crowd never', (t) => {
  for (const [bytes, few] of [
    [2049, 12],
    [8192, 3],
  ]) {
    const load = new Load();
    t.is(load.turns(100, few, bytes), 100 * few);
    t.is(load.turns(1, 200, bytes), few);
    load.turns(10, 200, bytes);
    t.is(load.turns(10, 200, bytes), 0);
  }
  t.is(new Load().turns(10, 200, 2048), 10 * 200);
});

test('in one turn no more is for here than others can wait for', (t) => {
  t.is(new Load().turns(1, 10_000, 100), 1713);
});
