// Something of ours fails: only what depended on it fails, with a clear error, and the rest goes on.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import ava, { type ExecutionContext } from 'ava';
import { type Client, connect, type ServerOptions, TextOutput } from '../../src/index.ts';
import { arrived, type Latch, makeLatch, release } from '../fixtures/latch.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { dial, type Serving, serving, servingOnSharedLanes } from '../helpers/serving.ts';

const onSharedLanes = servingOnSharedLanes(ava);
const test = ava.serial;
const LANE = new URL('../fixtures/failing.ts', import.meta.url);
const lane = (name: string) => ({ module: LANE, export: name });

/** A server of two lanes, and a client of it. */
async function serve(
  t: ExecutionContext,
  options: ServerOptions,
  start = serving,
): Promise<Serving & { client: Client }> {
  const running = await start(t, { workers: 2, ...options });
  return { ...running, client: await dial(t, running.address) };
}

/** The same for what harms no lane. */
const serveOnSharedLanes = (t: ExecutionContext, options: ServerOptions) => serve(t, options, onSharedLanes);

/** The server answers, on all its lanes. */
async function healthy(t: ExecutionContext, client: Client): Promise<void> {
  const value = 'as good as new '.repeat(100);
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => client.call('echo', { args: { value } }).text()),
  );
  t.true(answers.every((answer) => answer === value));
}

/** Waits for what tells nobody that it has come about. */
async function until(done: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await done())) await sleep(10);
}

const LANE_TIMEOUT = 400;
/** A command in a lane that never ends, and lets `latch` know when it has begun: before that its death is another one. */
const endless = (latch: Latch) => ({
  module: new URL('../fixtures/stubborn.ts', import.meta.url),
  export: 'endless',
  options: latch,
});
/** A lane that is dead is opened again within this time. */
const REOPENED = 60;

test('an endless loop in a lane is found, its worker ended, its requests failed; other lanes see nothing', async (t) => {
  const clock = stoppedClock(t);
  const latch = makeLatch();
  const { server, client, reports } = await serve(t, {
    laneTimeout: LANE_TIMEOUT,
    policy: ({ command }) => (command === 'loop' ? 0 : 1),
    commands: { loop: endless(latch) },
  });
  await healthy(t, client);
  for (let round = 1; round <= 2; round++) {
    const loop = client.call('loop').text();
    await arrived(latch, round);
    await t.throwsAsync(
      clock.advanceWhile(loop, LANE_TIMEOUT / 4, () => healthy(t, client)),
      { code: 'worker-died', message: /^worker of lane \d died$/ },
    );
    const deaths = reports.filter(({ about }) => about.lane !== undefined);
    t.is(deaths.length, round);
    t.regex(String(deaths.at(-1)?.error), /no sign of life for 400 ms/);
    clock.advance(REOPENED * 2 ** round);
    await until(async () => (await server.stats()).lanes.length === 2);
  }
});

test('an endless loop is found also when it is the first thing that a lane is asked', async (t) => {
  const clock = stoppedClock(t);
  const latch = makeLatch();
  const { client } = await serve(t, {
    workers: 1,
    laneTimeout: LANE_TIMEOUT,
    commands: { loop: endless(latch) },
  });
  const loop = client.call('loop').text();
  await arrived(latch, 1);
  await t.throwsAsync(
    clock.advanceWhile(loop, LANE_TIMEOUT / 4, () => client.ping()),
    { message: /^worker of lane 0 died$/ },
  );
  clock.advance(REOPENED);
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
  t.deepEqual(new Set(answers.map((answer) => answer.status)), new Set(['fulfilled']));
});

test('a lane that is merely busy is left alone', async (t) => {
  const clock = stoppedClock(t);
  const latch = makeLatch();
  t.teardown(() => release(latch));
  const module = new URL('../fixtures/stubborn.ts', import.meta.url);
  const { client, reports } = await serve(t, {
    laneTimeout: LANE_TIMEOUT,
    workers: 1,
    commands: { busy: { module, export: 'busy', options: latch } },
  });
  for (let round = 1; round <= 4; round++) {
    const answer = client.call('busy').text();
    await arrived(latch, round);
    for (let i = 0; i < 3; i++) {
      clock.advance(LANE_TIMEOUT / 4);
      await client.ping();
    }
    release(latch);
    t.is(await answer, 'done');
  }
  t.deepEqual(reports, []);
});

test('a worker that passes its memory bound dies alone', async (t) => {
  const { server, client, reports } = await serve(t, {
    resourceLimits: { maxOldGenerationSizeMb: 64 },
    commands: { hoard: lane('hoard') },
  });
  await t.throwsAsync(client.call('hoard').text(), { message: /^worker of lane \d died$/ });
  t.true(reports.some(({ about, error }) => about.lane !== undefined && /memory/.test(String(error))));
  await healthy(t, client);
  await until(async () => (await server.stats()).lanes.length === 2);
});

test('exit, throw and reject outside of a handler end that lane and nothing else, again and again', async (t) => {
  const { client, server } = await serve(t, { commands: { die: lane('die') }, quarantine: { deaths: 10 } });
  for (let round = 0; round < 6; round++) {
    await until(async () => (await server.stats()).lanes.length === 2);
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
    const { client, reports } = await serveOnSharedLanes(t, { commands: { fails: handler as never } });
    const error = await t.throwsAsync(client.call('fails').text(), { message: /fails/ });
    t.false(error.message.includes('secret'));
    t.is(reports.length, 1);
    t.is(reports[0].about.command, 'fails');
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
    const { client, reports, reported, port } = await serveOnSharedLanes(t, { commands: { messy: command } });
    const cleaning = () => reports.filter(({ error }) => String(error).includes('cleaning up'));
    const response = client.call('messy');
    for await (const _ of response) break;
    await t.throwsAsync(response.text());
    await reported(() => cleaning().length === 1);
    const other = await dial(t, { port });
    await other.call('messy')[Symbol.asyncIterator]().next();
    other.destroy();
    await reported(() => cleaning().length === 2);
    t.deepEqual(
      cleaning().map(({ about }) => about.command),
      ['messy', 'messy'],
    );
    await healthy(t, client);
  });
}

test('a policy, an affinity key or an error hook that throws harms one request, not the process', async (t) => {
  const rude = { handler: () => 'x', affinityKey: () => JSON.parse('{') };
  const { client } = await serveOnSharedLanes(t, {
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
  const { client } = await serveOnSharedLanes(t, { root });
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
  const script = fileURLToPath(new URL('../fixtures/few-files.ts', import.meta.url));
  const child = spawn('sh', ['-c', `ulimit -n 64; exec "${process.execPath}" "${script}"`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const port = Number(line.toString());
  const first = await dial(t, { port });
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
  await until(async () => {
    const again = await connect({ port }, { timeoutMs: 1000 }).catch(() => undefined);
    const answer = await again?.call('echo', { args: { value: 'again' } }).text();
    again?.destroy();
    return answer === 'again';
  });
  t.is(child.exitCode, null);
});

test('under load, with a worker killed after every 25 responses, every response is whole or an error', async (t) => {
  const { client, server } = await serve(t, {
    workers: 2,
    commands: { die: lane('die'), fill: lane('fill') },
  });
  const KILLS = 8;
  let kills = 0;
  const counts = { whole: 0, failed: 0 };
  const killers: Promise<unknown>[] = [];
  const kill = () =>
    client
      .call('die', { args: { how: 'throw' } })
      .text()
      .catch(() => kills++);
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
        if (++counts.whole % 25 === 0) killers.push(kill());
      } catch (error) {
        t.regex((error as Error).message, /worker of lane \d died|no worker/);
        counts.failed++;
      }
    }
  });
  await Promise.all(load);
  await Promise.all(killers);
  t.log(`${kills} kills, ${counts.whole} whole, ${counts.failed} failed`);
  t.true(counts.whole >= 25 * KILLS);
  await healthy(t, client);
  t.is((await server.stats()).connections, 1);
});
