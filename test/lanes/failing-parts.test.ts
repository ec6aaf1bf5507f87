// Something of ours fails: only what depended on it fails, with a clear error, and the rest goes on.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import ava, { type ExecutionContext } from 'ava';
import {
  type Client,
  connect,
  createServer,
  type Server,
  type ServerOptions,
  TextOutput,
} from '../../src/index.ts';

const test = ava.serial;
const LANE = new URL('../fixtures-limits/failing.ts', import.meta.url);
const lane = (name: string) => ({ module: LANE, export: name });

interface Serving {
  server: Server;
  client: Client;
  errors: { message: string; lane?: number; command?: string }[];
  port: number;
}

async function serve(t: ExecutionContext, options: ServerOptions): Promise<Serving> {
  const errors: Serving['errors'] = [];
  const onError: ServerOptions['onError'] = (error, about) =>
    errors.push({ ...about, message: String(error) });
  const server = createServer({ workers: 2, onError, ...options });
  const { port } = (await server.listen()) as { port: number };
  const client = await connect({ port });
  t.teardown(async () => {
    client.destroy();
    await server.close(100);
  });
  return { server, client, errors, port };
}

/** The server answers, on all its lanes. */
async function healthy(t: ExecutionContext, client: Client): Promise<void> {
  const value = 'as good as new '.repeat(100);
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => client.call('echo', { args: { value } }).text()),
  );
  t.true(answers.every((answer) => answer === value));
}

async function until(done: () => boolean | Promise<boolean>, ms = 5000): Promise<boolean> {
  for (const end = performance.now() + ms; performance.now() < end; await sleep(10))
    if (await done()) return true;
  return false;
}

test('an endless loop in a lane is found, its worker ended, its requests failed; other lanes see nothing', async (t) => {
  const { server, client, errors } = await serve(t, {
    laneTimeout: 400,
    policy: ({ command }) => (command === 'loop' ? 0 : 1),
    commands: { loop: lane('loop') },
  });
  await healthy(t, client);
  const started = performance.now();
  const loop = client.call('loop').text();
  const others = (async () => {
    while (performance.now() - started < 1000) await healthy(t, client);
  })();
  await t.throwsAsync(loop, { message: /worker of lane \d died: no sign of life for 400 ms/ });
  t.true(performance.now() - started < 3000);
  await others;
  t.is(errors.filter((error) => error.lane !== undefined).length, 1);
  t.true(await until(async () => (await server.stats()).lanes.length === 2));
  await t.throwsAsync(client.call('loop').text(), { message: /no sign of life/ });
});

test('an endless loop is found also when it is the first thing that a lane is asked', async (t) => {
  const { client } = await serve(t, { workers: 1, laneTimeout: 2000, commands: { spin: lane('spin') } });
  await t.throwsAsync(client.call('spin').text(), { message: /no sign of life for 2000 ms/ });
  await healthy(t, client);
});

test('requests that wait for a stream of their own are all answered when the only lane dies', async (t) => {
  const { client } = await serve(t, {
    workers: 1,
    policy: 'per-request',
    streams: 2,
    commands: {
      die: lane('die'),
      hold: async function* (request) {
        for await (const piece of request.data) yield piece;
      },
    },
  });
  const ends = Promise.withResolvers<void>();
  const data = async function* () {
    await ends.promise;
    yield new TextEncoder().encode('still there');
  };
  const calls = Array.from({ length: 20 }, () => client.call('hold', { data: data() }).text());
  // It runs on a stream without encoding, and takes the two with it.
  await t.throwsAsync(client.call('die', { sensitive: true }).text(), { message: /worker of lane 0 died/ });
  ends.resolve();
  const answers = await Promise.allSettled(calls);
  const failed = answers.filter(({ status }) => status === 'rejected');
  t.is(failed.length, 2);
});

test('a lane that is merely busy is left alone', async (t) => {
  const { client, errors } = await serve(t, { laneTimeout: 800, commands: { busy: lane('busy') } });
  for (let i = 0; i < 4; i++) t.is(await client.call('busy').text(), 'done');
  t.deepEqual(errors, []);
});

test('a worker that passes its memory bound dies alone', async (t) => {
  const { server, client } = await serve(t, {
    resourceLimits: { maxOldGenerationSizeMb: 64 },
    commands: { hoard: lane('hoard') },
  });
  await t.throwsAsync(client.call('hoard').text(), { message: /worker of lane \d died: .*memory/ });
  await healthy(t, client);
  t.true(await until(async () => (await server.stats()).lanes.length === 2));
});

test('exit, throw and reject outside of a handler end that lane and nothing else, again and again', async (t) => {
  const { client, server } = await serve(t, { commands: { die: lane('die') } });
  for (let round = 0; round < 6; round++) {
    t.true(await until(async () => (await server.stats()).lanes.length === 2));
    const how = ['exit', 'throw', 'reject'][round % 3];
    await t.throwsAsync(client.call('die', { args: { how } }).text(), { message: /worker of lane \d died/ });
    await healthy(t, client);
  }
});

test('lanes killed over and over do not use up the stream IDs of a connection', async (t) => {
  const { client } = await serve(t, { workers: 1, commands: { die: lane('die') } });
  for (let round = 0; round < 20; round++) {
    await t.throwsAsync(client.call('die', { args: { how: 'throw' } }).text());
    if (round % 5 === 4) await healthy(t, client);
  }
  t.true(client.stats().streams.length <= 16);
});

const thrower = {
  'before output': () => {
    throw new Error('secret');
  },
  'as a promise': async () => {
    throw new Error('secret');
  },
  'in a generator, at once': async function* () {
    yield* [];
    throw new Error('secret');
  },
  'in a generator, after output': async function* () {
    yield 'x'.repeat(100_000);
    throw new Error('secret');
  },
  'from an iterator that is not a generator': () => ({
    [Symbol.iterator]: () => ({
      next: () => {
        throw new Error('secret');
      },
    }),
  }),
  'from an iterator that cannot be made': () => ({
    [Symbol.asyncIterator]: () => {
      throw new Error('secret');
    },
  }),
  'by what it yields': async function* () {
    yield 17 as unknown as string;
  },
  'by text that does not fit a frame': async function* () {
    yield new TextOutput({ format: 'x'.repeat(70_000), labels: [], args: [] });
  },
};

for (const [when, handler] of Object.entries(thrower)) {
  test(`a handler that throws ${when}: the request fails without details, the connection goes on`, async (t) => {
    const { client, errors } = await serve(t, { workers: 1, commands: { fails: handler as never } });
    const error = await t.throwsAsync(client.call('fails').text(), { message: /fails/ });
    t.false(error.message.includes('secret'));
    t.is(errors.length, 1);
    t.is(errors[0].command, 'fails');
    await healthy(t, client);
  });
}

const messy = async function* () {
  try {
    for (;;) {
      yield 'x';
      await sleep(5);
    }
  } finally {
    // biome-ignore lint/correctness/noUnsafeFinally: that is the point.
    throw new Error('thrown while cleaning up');
  }
};

for (const [where, command] of Object.entries({ 'on the main thread': messy, 'in a lane': lane('messy') })) {
  test(`a handler ${where} whose cleanup throws is reported, whoever is still there`, async (t) => {
    const { client, errors, port } = await serve(t, { workers: 1, commands: { messy: command } });
    const reported = () => errors.filter(({ message }) => message.includes('cleaning up'));
    const response = client.call('messy');
    for await (const _ of response) break;
    await t.throwsAsync(response.text());
    t.true(await until(() => reported().length === 1), 'of a request that was cancelled');
    const other = await connect({ port });
    await other.call('messy')[Symbol.asyncIterator]().next();
    other.destroy();
    t.true(await until(() => reported().length === 2), 'of a connection that has gone');
    t.deepEqual(
      reported().map((report) => report.command),
      ['messy', 'messy'],
    );
    await healthy(t, client);
  });
}

test('a policy, an affinity key or an error hook that throws harms one request, not the process', async (t) => {
  const rude = { handler: () => 'x', affinityKey: () => JSON.parse('{') };
  const { client } = await serve(t, {
    commands: { rude },
    policy: ({ command }) => (command === 'bad' ? 99 : 0),
    onError: () => {
      throw new Error('thrown by the error hook');
    },
  });
  await t.throwsAsync(client.call('rude').text(), { message: /internal error/ });
  await healthy(t, client);
});

test('files that vanish, shrink or may not be read fail their request with a reason', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'millrace-failing-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  await writeFile(join(root, 'gone'), 'x');
  await writeFile(join(root, 'shrinks'), new Uint8Array(40 << 20));
  await writeFile(join(root, 'closed'), 'x');
  await chmod(join(root, 'closed'), 0);
  const { client } = await serve(t, { root });
  const get = (path: string) => client.call('files.get', { args: { path } });
  await rm(join(root, 'gone'));
  await t.throwsAsync(get('gone').bytes(), { message: /gone/ });
  await t.throwsAsync(get('.').bytes());
  if (process.getuid?.() !== 0) await t.throwsAsync(get('closed').bytes(), { message: /closed/ });
  const shrinking = (async () => {
    let bytes = 0;
    for await (const piece of get('shrinks')) {
      if (bytes === 0) await truncate(join(root, 'shrinks'), 1000);
      bytes += piece.length;
    }
    return bytes;
  })();
  await t.throwsAsync(shrinking, undefined, 'no short file passes for a whole one');
  await healthy(t, client);
});

test('out of file descriptors at accept: the server goes on, and serves again when there are some', async (t) => {
  const script = fileURLToPath(new URL('../fixtures-limits/few-files.ts', import.meta.url));
  const child = spawn('sh', ['-c', `ulimit -n 64; exec "${process.execPath}" "${script}"`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const port = Number(line.toString());
  const first = await connect({ port });
  // The worker has started, and opened the files that it needs.
  t.is(await first.call('echo', { args: { value: 'x'.repeat(500) } }).text(), 'x'.repeat(500));
  const crowd = await Promise.allSettled(
    Array.from({ length: 100 }, () => connect({ port }, { timeoutMs: 1000 })),
  );
  t.true(
    crowd.some(({ status }) => status === 'rejected'),
    'there were too few for all',
  );
  t.is(await first.call('echo', { args: { value: 'still here' } }).text(), 'still here');
  for (const each of crowd) if (each.status === 'fulfilled') each.value.destroy();
  t.true(
    await until(async () => {
      const again = await connect({ port }, { timeoutMs: 1000 }).catch(() => undefined);
      const answer = await again?.call('echo', { args: { value: 'again' } }).text();
      again?.destroy();
      return answer === 'again';
    }),
  );
  first.destroy();
  t.is(child.exitCode, null);
});

test('under load, with a worker killed every 200 ms, every response is whole or an error', async (t) => {
  const { client, server } = await serve(t, {
    workers: 2,
    commands: { die: lane('die'), fill: lane('fill') },
  });
  const KILLS = 8;
  let kills = 0;
  const counts = { whole: 0, failed: 0 };
  const load = Array.from({ length: 20 }, async (_, i) => {
    for (let n = 0; kills < KILLS; n++) {
      const seed = String(i * 1000 + n);
      const onLane = n % 2 === 0;
      const wanted = `${seed} `.repeat(4000);
      try {
        const got = await client
          .call(onLane ? 'fill' : 'echo', { args: onLane ? { seed } : { value: wanted } })
          .text();
        t.true(got === wanted, `the bytes of ${seed}`);
        counts.whole++;
      } catch (error) {
        t.regex((error as Error).message, /worker of lane \d died|no worker/);
        counts.failed++;
      }
    }
  });
  while (kills < KILLS) {
    await sleep(200);
    await client
      .call('die', { args: { how: 'throw' } })
      .text()
      .catch(() => kills++);
  }
  await Promise.all(load);
  t.log(`${kills} kills, ${counts.whole} whole, ${counts.failed} failed`);
  t.true(counts.whole > 100);
  await healthy(t, client);
  t.is((await server.stats()).connections, 1);
});
