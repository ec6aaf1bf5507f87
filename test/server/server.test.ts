import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { type Client, CommandError, type ConnectOptions } from '../../src/index.ts';
import { commands, on, THREADS } from '../helpers/commands.ts';
import { digest, sample } from '../helpers/samples.ts';
import { dial, failure, LONG, type Serving, serve, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(test);

/** Every kind of client: each must get the same answers. */
const CLIENTS: Record<string, ConnectOptions> = {
  'native codecs': {},
  'portable codecs': { codecs: 'portable' },
  'native codecs, zlib only': { profiles: ['zlib'] },
  'portable codecs, zlib only': { codecs: 'portable', profiles: ['zlib'] },
  'identity only': { profiles: [] },
  'part A only': { plain: true },
  'small windows': { requestWindow: 20_000, connectionWindow: 50_000 },
};

let running: Serving;

test.before(async () => {
  running = await serve({ workers: 2, commands: commands() });
});

test.after.always(() => running?.server.close(0));

function client(t: Parameters<typeof dial>[0], options: ConnectOptions = {}): Promise<Client> {
  return dial(t, running.address, options);
}

for (const [who, options] of Object.entries(CLIENTS)) {
  for (const thread of THREADS) {
    const where = `${who}, ${thread} thread`;

    test(`${where}: what a handler returns or yields is the response`, async (t) => {
      const c = await client(t, options);
      const answer = (command: string) => c.call(on(thread, command)).text();
      t.is(await answer('generator'), 'one two three');
      t.is(await answer('string'), 'just a string: é');
      t.deepEqual([...(await c.call(on(thread, 'bytes')).bytes())], [0, 1, 2, 255]);
      t.is(await answer('promise'), 'promised');
      t.is(await answer('nothing'), '');
      t.is(await answer('later'), '');
      t.is(await answer('list'), 'abc');
      const numbers = Array.from({ length: 1000 }, (_, i) => `${i},`);
      t.is(await answer('iterator'), numbers.join(''));
    });

    test(`${where}: large responses arrive whole, whatever the pieces`, async (t) => {
      const c = await client(t, options);
      for (const [size, piece] of [
        [0, 1],
        [1, 1],
        [32_768, 32_768],
        [32_769, 32_768],
        [200_000, 70_000],
        [3_000, 7],
        [600_000, 600_000],
      ]) {
        const args = { size: String(size), piece: String(piece) };
        const bytes = await c.call(on(thread, 'sample'), { args }).bytes();
        t.is(digest(bytes), digest(sample(size, 1)), `${size} bytes in pieces of ${piece}`);
      }
    });

    test(`${where}: text output reaches the caller, rendered, in the midst of the bytes`, async (t) => {
      const c = await client(t, options);
      const lines: string[] = [];
      const args = { name: 'Ada %s' };
      const response = c.call(on(thread, 'text'), { args, onText: (text) => lines.push(text) });
      t.is(await response.text(), 'beforeafter');
      t.deepEqual(lines, ['hello Ada %s, 100%\n']);
    });

    test(`${where}: progress reaches a caller who takes it`, async (t) => {
      const c = await client(t, options);
      const seen: string[] = [];
      const onProgress = ({ position, total, topic, unit, item }: Record<string, unknown>) =>
        seen.push([position, total, topic, unit, item].join('/'));
      const response = c.call(on(thread, 'progress'), { onProgress: onProgress as never });
      t.is(await response.text(), '123');
      const all = [
        '1/3/working/steps/step 1',
        '2/3/working/steps/step 2',
        '3/3/working/steps/step 3',
        '-1/3/working//',
      ];
      t.deepEqual(seen, options.plain ? [] : all);
    });

    test(`${where}: arguments of all sizes arrive, reserved ones are kept from the handler`, async (t) => {
      const c = await client(t, options);
      const args = { none: '', small: 'x', large: new Uint8Array(65_535), 'with space': 'é' };
      const text = await c.call(on(thread, 'arguments'), { args, sensitive: true, deadlineMs: LONG }).text();
      const [command, got] = JSON.parse(text);
      t.is(command, on(thread, 'arguments'));
      t.deepEqual(Object.fromEntries(got), { none: 0, small: 1, large: 65_535, 'with space': 2 });
    });

    test(`${where}: command data streams in while the response streams out`, async (t) => {
      const c = await client(t, options);
      let goOn = Promise.withResolvers<void>();
      const data = async function* () {
        for (const piece of ['first ', 'second ', 'third']) {
          yield new TextEncoder().encode(piece);
          await goOn.promise;
          goOn = Promise.withResolvers<void>();
        }
      };
      const got: string[] = [];
      for await (const piece of c.call(on(thread, 'upper'), { data: data() })) {
        got.push(new TextDecoder().decode(piece));
        goOn.resolve();
      }
      t.is(got.join(''), 'FIRST SECOND THIRD');
      t.true(got.length > 1, 'the first part came back before the last was sent');
    });

    test(`${where}: command data of all sizes arrives whole`, async (t) => {
      const c = await client(t, options);
      for (const size of [0, 1, 32_767, 32_768, 32_769, 65_536, 500_000]) {
        t.is(await c.call(on(thread, 'count'), { data: new Uint8Array(size) }).text(), String(size));
      }
      t.is(await c.call(on(thread, 'upper'), { data: 'a string' }).text(), 'A STRING');
    });

    for (const when of ['before', 'during', 'after']) {
      test(`${where}: a handler that throws ${when} its output fails its request alone`, async (t) => {
        const c = await client(t, options);
        const beside = c.call(on(thread, 'sample'), { args: { size: '200000', pace: 'slow' } }).bytes();
        const told = await failure(
          c.call(on(thread, 'failing'), { args: { when, message: 'no such thing: é' } }).bytes(),
        );
        t.true(told instanceof CommandError);
        t.is(told.message, 'no such thing: é');
        const hidden = await failure(c.call(on(thread, 'failing'), { args: { when } }).bytes());
        t.is(hidden.message, `command '${on(thread, 'failing')}' failed: internal error`);
        t.is(digest(await beside), digest(sample(200_000, 1)));
        t.is(await c.call(on(thread, 'string')).text(), 'just a string: é');
      });
    }

    test(`${where}: 128 requests at once are all answered, each with its own`, async (t) => {
      const c = await client(t, options);
      const seeds = Array.from({ length: 128 }, (_, i) => i + 1);
      const answers = await Promise.all(
        seeds.map((seed) =>
          c.call(on(thread, 'sample'), { args: { size: String(seed * 97), seed: String(seed) } }).bytes(),
        ),
      );
      t.deepEqual(
        answers.map(digest),
        seeds.map((seed) => digest(sample(seed * 97, seed))),
      );
    });
  }

  test(`${who}: an unknown command is an error of that request alone`, async (t) => {
    const c = await client(t, options);
    const error = await failure(c.call('no.such').bytes());
    t.true(error instanceof CommandError);
    t.is(error.message, "unknown command 'no.such'");
    const withData = await failure(c.call('no.such', { data: sample(200_000, 1) }).bytes());
    t.is(withData.message, "unknown command 'no.such'");
    t.is(await c.call('string').text(), 'just a string: é');
  });

  test(`${who}: echo gives back its value, then its data`, async (t) => {
    const c = await client(t, options);
    t.is(await c.call('echo').text(), '');
    t.is(await c.call('echo', { args: { value: 'v' } }).text(), 'v');
    const data = sample(300_000, 9);
    const bytes = await c.call('echo', { args: { value: 'v' }, data }).bytes();
    t.is(digest(bytes.subarray(1)), digest(data));
  });
}

for (const thread of THREADS) {
  test(`${thread} thread: a thrown error is for the log of the server, not for the client`, async (t) => {
    const own = await serving(t, { commands: commands() });
    const c = await dial(t, own.address);
    const error = await failure(c.call(on(thread, 'throwing')).bytes());
    t.is(error.message, `command '${on(thread, 'throwing')}' failed: internal error`);
    const { error: reported, about } = await own.reported(() => true);
    t.regex(String(reported), /the password is tulip/);
    t.is(about.command, on(thread, 'throwing'));
    t.is((await failure(c.call(on(thread, 'rejecting')).bytes())).message, 'rejected politely');
    t.is(own.reports.length, 1, 'what was meant for the client is not reported');
  });

  for (const command of ['nonsense', 'number', 'object', 'null', 'badText', 'badTextAtOnce', 'badProgress']) {
    test(`${thread} thread: a handler's nonsense fails its request and nothing else (${command})`, async (t) => {
      const own = await serving(t, { commands: commands() });
      const c = await dial(t, own.address);
      const error = await failure(c.call(on(thread, command)).bytes());
      t.is(error.message, `command '${on(thread, command)}' failed: internal error`);
      t.is(await c.call(on(thread, 'string')).text(), 'just a string: é');
      t.true((await own.reported(() => true)).about.command === on(thread, command));
    });
  }

  test(`${thread} thread: a generator that yielded nonsense runs its finally blocks`, async (t) => {
    const c = await client(t);
    const note = `nonsense on ${thread}`;
    // One connection, one lane: the journal is that of the thread that ran the handler.
    const own = await serving(t, { commands: commands() });
    const d = await dial(t, own.address);
    await failure(d.call(on(thread, 'nonsense'), { args: { note } }).bytes());
    t.is(await d.call(on(thread, 'journal'), { args: { note } }).text(), '["finally"]');
    t.is(await c.call('string').text(), 'just a string: é');
  });
}

test('capabilities tells what the server can do', async (t) => {
  const c = await client(t);
  const told = JSON.parse(await c.call('capabilities').text());
  t.true(
    ['capabilities', 'echo', 'generator', 'lane-generator'].every((name) => told.commands.includes(name)),
  );
  t.deepEqual(told.profiles, {
    encode: ['zstd-8mb', 'zlib', 'identity'],
    decode: ['zstd-8mb', 'zlib', 'identity'],
  });
  t.is(told.limits.maxConcurrentRequests, 128);
  t.true(told.extensions.includes('cancel'));
});

test('a module may export one handler, which needs no options', async (t) => {
  const module = new URL('../fixtures/handlers.ts', import.meta.url);
  const own = await serving(t, { commands: { alone: { module } } });
  const c = await dial(t, own.address);
  t.is(await c.call('alone').text(), 'alone');
});

test('a module is loaded once per lane, also when its first calls come at once', async (t) => {
  const own = await serve({ commands: commands() });
  t.teardown(() => own.server.close(0));
  const c = await dial(t, own.address);
  await Promise.all(Array.from({ length: 20 }, () => c.call('lane-string').text()));
  t.is(await c.call('lane-made').text(), '1');
});

/** Opens so many connections from a thread of its own once it may go; counts those that the system has taken in `counted`. */
const CROWD = `
  const { workerData: { port, count, counted, go }, parentPort } = require('node:worker_threads');
  const { connect } = require('node:net');
  parentPort.postMessage('there');
  Atomics.wait(go, 0, 0);
  const sockets = Array.from({ length: count }, () =>
    connect(port, '127.0.0.1').on('error', () => undefined).on('connect', () => {
      if (Atomics.add(counted, 0, 1) === count - 1) Atomics.notify(counted, 0);
    }),
  );
  parentPort.on('message', () => sockets.forEach((socket) => socket.destroy())).unref();
`;

test('a crowd that comes while the thread is at something else finds its places, and nobody has to come again', async (t) => {
  const count = 700;
  const most = Number(await readFile('/proc/sys/net/core/somaxconn', 'utf8').catch(() => 0));
  if (most < count) return t.pass('the system keeps fewer');
  const { port } = await serving(t);
  const [counted, go] = [0, 0].map(() => new Int32Array(new SharedArrayBuffer(4)));
  const crowd = new Worker(CROWD, { eval: true, workerData: { port, count, counted, go } });
  t.teardown(() => crowd.terminate());
  await once(crowd, 'message');
  Atomics.store(go, 0, 1);
  Atomics.notify(go, 0);
  // However slow they are. For who has found no place there is none when he comes again, either.
  for (let before = -1, there = 0; there < count && there > before; there = Atomics.load(counted, 0)) {
    before = there;
    Atomics.wait(counted, 0, there, 20_000);
  }
  t.is(counted[0], count);
  crowd.postMessage('go');
  const client = await dial(t, { port });
  await client.ping();
});
