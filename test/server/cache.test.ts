import ava, { type ExecutionContext } from 'ava';
import { type Client, type ConnectOptions, cached, type ServerOptions } from '../../src/index.ts';
import { FrameType } from '../../src/wire/frame.ts';
import { commands, on, THREADS } from '../helpers/commands.ts';
import { HELLO, RawPeer } from '../helpers/raw-peer.ts';
import { decodeThreeWays, livesOf, recording } from '../helpers/recorder.ts';
import { concat, digest, sample } from '../helpers/samples.ts';
import { dial, failure, type Serving, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

// One after the other: most have a server of their own, and so threads.
const test = ava.serial;

const FAILING = new URL('../fixtures/failing.ts', import.meta.url);

async function cacheServer(t: ExecutionContext, options: ServerOptions = {}): Promise<Serving> {
  // The level of the cache is no matter here, and what it costs is.
  return serving(t, { commands: commands(), cacheLevel: 1, ...options });
}

/** How often `produce` has run on that thread. */
async function timesProduced(
  client: Client,
  thread: (typeof THREADS)[number],
  note: string,
): Promise<number> {
  return JSON.parse(await client.call(on(thread, 'journal'), { args: { note } }).text()).length;
}

const CLIENTS: Record<string, ConnectOptions> = {
  'native codecs': {},
  'portable codecs': { codecs: 'portable' },
};

test('small cached outputs and responses without a context come of one encoder, and take nothing of each other', async (t) => {
  const own = await cacheServer(t, { workers: 1, contexts: 'none', level: 1 });
  const recorder = await recording(t, own.address);
  const c = await dial(t, recorder.address);
  const small = (thread: (typeof THREADS)[number], key: number, size: number) =>
    c.call(on(thread, 'shared'), { args: { key: `${key}`, size: `${size}`, note: 'small' } }).bytes();
  const sizes = [0, 1, 900, 32_768, 32_769];
  for (const thread of THREADS) {
    for (const [key, size] of sizes.entries()) {
      const [first] = await Promise.all([small(thread, key, size), timesProduced(c, thread, 'other')]);
      for (const answer of [first, await small(thread, key, size)])
        t.is(digest(answer), digest(sample(size, 1)));
    }
  }
  // Both threads share what is cached.
  t.is((await own.server.stats()).cache.entries, sizes.length);
  for (const { toClient } of recorder.connections) t.true((await decodeThreeWays(t, toClient)) > 20);
});

for (const [who, options] of Object.entries(CLIENTS)) {
  for (const thread of THREADS) {
    test(`${who}, ${thread} thread: cached output is produced once, and encoded by no stream again`, async (t) => {
      const own = await cacheServer(t);
      const recorder = await recording(t, own.address);
      const clients = [await dial(t, recorder.address, options), await dial(t, recorder.address, options)];
      const args = { key: 'k', size: '200000', note: `once ${thread} ${who}` };
      const call = (client: Client) => client.call(on(thread, 'shared'), { args }).bytes();
      // The first ones come together: one of them produces, the others wait for it.
      const answers = await Promise.all([...clients, ...clients, ...clients].map(call));
      for (let i = 0; i < 5; i++) answers.push(await call(clients[i % 2]));
      for (const answer of answers) t.is(digest(answer), digest(sample(200_000, 1)));
      t.is(await timesProduced(clients[0], thread, args.note), 1);
      const { cache, streams } = await own.server.stats();
      t.is(cache.entries, 1);
      t.is(cache.misses, 1);
      t.is(cache.hits, 10);
      t.true(cache.bytes > 1000 && cache.bytes < 200_000);
      const encoded = streams.filter(({ profile }) => profile !== 'cache');
      const bytesIn = encoded.reduce((sum, stream) => sum + stream.bytesIn, 0);
      t.true(bytesIn < 1000, `${bytesIn} bytes went through encoders: only the journal did`);
      const spliced = streams.filter(({ profile }) => profile === 'cache');
      t.is(
        spliced.reduce((sum, stream) => sum + stream.bytesIn, 0),
        11 * 200_000,
      );
      for (const { toClient } of recorder.connections) t.true((await decodeThreeWays(t, toClient)) > 20);
    });

    test(`${who}, ${thread} thread: cached output keeps its place in the response`, async (t) => {
      const own = await cacheServer(t, { workers: 2 });
      const recorder = await recording(t, own.address);
      const c = await dial(t, recorder.address, options);
      for (const [before, between, after, pause] of [
        [0, 0, 0, undefined],
        [10, 0, 0, undefined],
        [100_000, 0, 0, undefined],
        [0, 10, 0, 'yes'],
        [40_000, 40_000, 40_000, undefined],
        [40_000, 40_000, 40_000, 'yes'],
        [1, 1, 1, 'yes'],
        [300_000, 1, 0, undefined],
      ] as const) {
        const wanted = concat([
          sample(before, 11),
          sample(70_000, 12),
          sample(between, 13),
          sample(10, 14),
          sample(after, 15),
        ]);
        const args: Record<string, string> = {
          key: 'mixed',
          before: String(before),
          between: String(between),
          after: String(after),
        };
        if (pause !== undefined) args.pause = pause;
        const answers = await Promise.all(
          Array.from({ length: 2 }, () => c.call(on(thread, 'mixed'), { args }).bytes()),
        );
        for (const answer of answers) t.is(digest(answer), digest(wanted), JSON.stringify(args));
      }
      t.is((await own.server.stats()).cache.misses, 2);
      t.true((await decodeThreeWays(t, recorder.connections[0].toClient)) > 25);
    });
  }
}

for (const thread of THREADS) {
  test(`${thread} thread: a client that cannot decode zstd gets cached output the ordinary way`, async (t) => {
    const own = await cacheServer(t);
    const args = { key: 'k', size: '100000', note: `ordinary ${thread}` };
    for (const options of [{ profiles: ['zlib'] }, { profiles: [] }, { plain: true }]) {
      const c = await dial(t, own.address, options);
      const answer = await c.call(on(thread, 'shared'), { args }).bytes();
      t.is(digest(answer), digest(sample(100_000, 1)));
    }
    t.is((await own.server.stats()).cache.entries, 0);
  });

  test(`${thread} thread: without a budget nothing is cached`, async (t) => {
    const own = await cacheServer(t, { cacheBytes: 0 });
    const c = await dial(t, own.address);
    const args = { key: 'k', size: '100000', note: `no budget ${thread}` };
    for (let i = 0; i < 2; i++) {
      const answer = await c.call(on(thread, 'shared'), { args }).bytes();
      t.is(digest(answer), digest(sample(100_000, 1)));
    }
    t.is(await timesProduced(c, thread, args.note), 2);
    t.deepEqual((await own.server.stats()).cache, { entries: 0, bytes: 0, hits: 0, misses: 0 });
  });

  test(`${thread} thread: the cache keeps to its budget, the least recently used go first`, async (t) => {
    const own = await cacheServer(t, { cacheBytes: 120_000 });
    const c = await dial(t, own.address);
    const ask = (key: number) => {
      const args = { key: `k${key}`, size: '50000', seed: String(key), note: `budget ${thread}` };
      return c.call(on(thread, 'shared'), { args }).bytes();
    };
    for (let key = 1; key <= 20; key++) t.is(digest(await ask(key)), digest(sample(50_000, key)));
    const { cache } = await own.server.stats();
    t.true(cache.bytes <= 120_000, `${cache.bytes} bytes`);
    t.true(cache.entries >= 2 && cache.entries < 20, `${cache.entries} entries`);
    t.is(await timesProduced(c, thread, `budget ${thread}`), 20);
    await ask(20);
    t.is(await timesProduced(c, thread, `budget ${thread}`), 20, 'the newest is still there');
    await ask(1);
    t.is(await timesProduced(c, thread, `budget ${thread}`), 21, 'the oldest is gone');
  });

  test(`${thread} thread: a key that begins with U+FEFF is another key`, async (t) => {
    const own = await cacheServer(t);
    const c = await dial(t, own.address);
    for (const [key, size] of [
      ['k', 100],
      ['\ufeffk', 200],
      ['\ufeff\ufeffk', 300],
    ] as const) {
      const args = { key, size: String(size) };
      t.is((await c.call(on(thread, 'shared'), { args }).bytes()).length, size);
    }
  });

  test(`${thread} thread: output too large for the cache is sent all the same`, async (t) => {
    const own = await cacheServer(t, { cacheBytes: 10_000 });
    const c = await dial(t, own.address);
    const args = { key: 'large', size: '600000', note: `large ${thread}` };
    for (let i = 0; i < 2; i++) {
      t.is(digest(await c.call(on(thread, 'shared'), { args }).bytes()), digest(sample(600_000, 1)));
    }
    t.is((await own.server.stats()).cache.entries, 0);
  });

  test(`${thread} thread: output that cannot be produced fails its requests, and is tried anew for each`, async (t) => {
    const own = await cacheServer(t);
    const c = await dial(t, own.address);
    const args = { key: 'none', note: `unproducible ${thread}` };
    const doomed = Array.from({ length: 4 }, () => c.call(on(thread, 'unproducible'), { args }).bytes());
    for (const answer of doomed) t.is((await failure(answer)).message, 'cannot be produced');
    const again = await failure(c.call(on(thread, 'unproducible'), { args }).bytes());
    t.is(again.message, 'cannot be produced');
    // What has failed keeps nobody waiting who can produce it.
    const size = '1000';
    const answer = await c.call(on(thread, 'shared'), { args: { key: 'none', size } }).bytes();
    t.is(digest(answer), digest(sample(1000, 1)));
    t.is((await own.server.stats()).cache.entries, 1);
  });

  test(`${thread} thread: output that is not bytes fails its request and no lane`, async (t) => {
    const own = await cacheServer(t);
    const c = await dial(t, own.address);
    const error = await failure(c.call(on(thread, 'misproduced'), { args: { key: 'odd' } }).bytes());
    t.is(error.message, `command '${on(thread, 'misproduced')}' failed: internal error`);
    t.regex(
      String((await own.reported(() => true)).error),
      /: cached output is made of bytes or a string, not of a number$/,
    );
    t.is(await c.call('lane-string').text(), 'just a string: é');
    t.is(own.reports.length, 1);
  });

  test(`${thread} thread: empty output is cached as any other`, async (t) => {
    const own = await cacheServer(t);
    const recorder = await recording(t, own.address);
    const c = await dial(t, recorder.address);
    const args = { key: 'empty', size: '0', note: `empty ${thread}` };
    for (let i = 0; i < 3; i++) t.is((await c.call(on(thread, 'shared'), { args }).bytes()).length, 0);
    t.is(await timesProduced(c, thread, args.note), 1);
    await decodeThreeWays(t, recorder.connections[0].toClient);
  });

  test(`${thread} thread: a response given up in the middle of cached output harms no other`, async (t) => {
    const own = await cacheServer(t);
    const recorder = await recording(t, own.address);
    const c = await dial(t, recorder.address, { requestWindow: 100_000 });
    const command = on(thread, 'shared');
    const args = { key: 'big', size: '400000' };
    t.is(digest(await c.call(command, { args }).bytes()), digest(sample(400_000, 1)));
    for (let round = 0; round < 2; round++) {
      // Nobody reads these: they stop when their windows are used up, each in the middle of the entry.
      const stuck = [0, 1].map(() => c.call(command, { args })[Symbol.asyncIterator]());
      for (const reader of stuck) await reader.next();
      const waiting = c.call(command, { args: { key: 'small', size: '1000' } }).bytes();
      await c.ping();
      for (const reader of stuck) await reader.return();
      t.is(digest(await waiting), digest(sample(1000, 1)));
      t.is(digest(await c.call(command, { args }).bytes()), digest(sample(400_000, 1)));
    }
    t.true((await decodeThreeWays(t, recorder.connections[0].toClient)) > 30);
  });

  test(`${thread} thread: a response cancelled in the middle of cached output ends once, however late its lane says so`, async (t) => {
    const { server, address } = await cacheServer(t, {
      // Output waits for the end of input: so it stands where we want it to.
      halfDuplex: true,
      limits: { maxBufferedOutput: 65_536 },
      commands: { ...commands(), busy: { module: FAILING, export: 'busy' } },
    });
    const ask = async (...lines: string[]) => {
      const peer = await RawPeer.connect(t, address.port);
      peer.send(HELLO.replace('{', '{"contentEncodings":["zstd-8mb"],'), ...lines);
      return peer;
    };
    const cachedOutput = [
      `1 1 0 command-name have-args ${on(thread, 'shared')}`,
      '1 1 0 command-argument 0 \\x03\\0\\x01\\0keyk',
      '1 1 0 command-argument eoa \\x04\\0\\x06\\0size400000',
    ];
    const ends = ({ frames }: RawPeer, id = 1) =>
      frames.filter(({ requestId, flags }) => requestId === id && flags === 2).map(({ type }) => type);
    const first = await ask(...cachedOutput);
    first.socket.end();
    await first.until(() => first.ended);
    t.deepEqual(ends(first), [FrameType.bytesResponse]);
    const second = await ask(...cachedOutput);
    while ((await server.stats()).cache.hits === 0);
    second.send('3 1 0 command-name eos busy', '1 1 0 cancel 0 ');
    second.socket.end();
    await second.until(() => second.ended);
    t.deepEqual(ends(second), [FrameType.errorResponse]);
    t.deepEqual(ends(second, 3), [FrameType.bytesResponse]);
  });

  test(`${thread} thread: cached output gets through windows of every kind of size`, async (t) => {
    const own = await cacheServer(t);
    const args = { key: 'k', before: '10000', between: '20000', after: '5000' };
    const wanted = concat([
      sample(10_000, 11),
      sample(70_000, 12),
      sample(20_000, 13),
      sample(10, 14),
      sample(5_000, 15),
    ]);
    for (const requestWindow of [5_000, 32_768, 40_000, 65_535, 65_536, 100_000]) {
      const c = await dial(t, own.address, { requestWindow });
      for (let i = 0; i < 2; i++) {
        const parts: Uint8Array[] = [];
        for await (const part of c.call(on(thread, 'mixed'), { args })) parts.push(part);
        t.is(digest(concat(parts)), digest(wanted), `a window of ${requestWindow} bytes`);
      }
      await c.close();
    }
  });
}

test('cached output may be text, as other output', async (t) => {
  const { address } = await serving(t, {
    commands: { text: () => cached('text', () => 'Wehr 2,5 m ↓'.repeat(100)) },
  });
  const client = await dial(t, address);
  for (let i = 0; i < 2; i++) t.is(await client.call('text').text(), 'Wehr 2,5 m ↓'.repeat(100));
});

test('cached and other responses interleave, each stream decoding by itself', async (t) => {
  const own = await cacheServer(t, { workers: 2 });
  const recorder = await recording(t, own.address);
  const clients = [
    await dial(t, recorder.address),
    await dial(t, recorder.address, { codecs: 'portable' }),
    await dial(t, recorder.address, { requestWindow: 70_000 }),
  ];
  const wants = Array.from({ length: 36 }, (_, i) => {
    const seed = 1 + (i % 6);
    const size = 30_000 * seed;
    const thread = THREADS[i % 2];
    const command = on(thread, i % 5 < 2 ? 'sample' : 'shared');
    const args = { key: `${thread} ${seed}`, size: String(size), seed: String(seed) };
    return { answer: clients[i % 3].call(command, { args }).bytes(), size, seed };
  });
  for (const { answer, size, seed } of wants) t.is(digest(await answer), digest(sample(size, seed)));
  for (const { toClient } of recorder.connections) t.true((await decodeThreeWays(t, toClient)) > 12);
  for (const { toClient } of recorder.connections.slice(0, 2)) {
    const encoded = livesOf(toClient.frames).filter(({ payloads }) => payloads.length > 0);
    t.true(encoded.length >= 2, 'a stream with a context, and a cache stream');
  }
});
