// What keeps ending workers is held, and who is innocent is served.
import ava, { type ExecutionContext } from 'ava';
import type { Client, CodecModule, CommandError, ServerOptions } from '../../src/index.ts';
import { LanePool, type LanePoolOptions } from '../../src/lanes/pool.ts';
import { Quarantine } from '../../src/lanes/quarantine.ts';
import { makeServer } from '../../src/server/server.ts';
import { Trace } from '../../workers/trace.ts';
import { fatal as fatalCodecs } from '../fixtures/fatal-codec.ts';
import { arrived, makeLatch, release } from '../fixtures/latch.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { dial, lanesOpen, type Report, type Serving, serving } from '../helpers/serving.ts';

const test = ava.serial;
const KILLERS = new URL('../fixtures/killers.ts', import.meta.url);
const STUBBORN = new URL('../fixtures/stubborn.ts', import.meta.url);
const FATAL = new URL('../fixtures/fatal-codec.ts', import.meta.url);
const lane = (name: string, options?: unknown) => ({ module: KILLERS, export: name, options });
/** What is held stays held for as long as a test takes. */
const FOR_EVER = { firstMs: 2 ** 31 - 1, mostMs: 2 ** 31 - 1 };

function one(options = {}): { quarantine: Quarantine; number: number } {
  const quarantine = new Quarantine(options);
  return { quarantine, number: quarantine.numberOf('command', 'x') };
}

test('after so many deaths in so much time it is held, then tried once, and held for twice as long each time', (t) => {
  const clock = stoppedClock(t);
  const { quarantine, number } = one({ deaths: 3, withinMs: 100, firstMs: 10, mostMs: 35 });
  for (let death = 0; death < 5; death++) {
    quarantine.blame([number], true);
    clock.advance(51);
    t.truthy(quarantine.admit(number), 'never three within 100 ms');
  }
  quarantine.blame([number], true);
  quarantine.blame([number], true);
  for (const pause of [10, 20, 35, 35]) {
    t.is(quarantine.rows[0].heldMs, pause);
    clock.advance(pause - 1);
    t.is(quarantine.admit(number), undefined);
    clock.advance(1);
    t.truthy(quarantine.admit(number), 'a trial');
    t.is(quarantine.admit(number), undefined, 'and no second one beside it');
    quarantine.blame([number], true);
  }
});

test('a trial that ends well frees it, one that is given up does not, one that lives on does', (t) => {
  const clock = stoppedClock(t);
  const { quarantine, number } = one({ deaths: 1, firstMs: 10, mostMs: 40 });
  quarantine.blame([number], true);
  clock.advance(10);
  quarantine.admit(number)?.end(false);
  t.is(quarantine.admit(number), undefined);
  clock.advance(10);
  quarantine.admit(number)?.end(true);
  t.truthy(quarantine.admit(number));
  t.is(quarantine.rows[0].state, 'free');
  quarantine.blame([number], true);
  t.is(quarantine.rows[0].heldMs, 20, 'a relapse is held for longer');
  clock.advance(20);
  t.truthy(quarantine.admit(number));
  clock.advance(19);
  t.is(quarantine.admit(number), undefined);
  clock.advance(1);
  t.truthy(quarantine.admit(number), 'it has lived for as long as it was held');
  t.is(quarantine.rows[0].state, 'free');
});

test('a share of the blame is forgotten when a call ends well, guilt is not', (t) => {
  stoppedClock(t);
  const quarantine = new Quarantine({ deaths: 2 });
  const [guilty, innocent] = ['guilty', 'innocent'].map((name) => quarantine.numberOf('command', name));
  for (let death = 0; death < 4; death++) {
    quarantine.blame([guilty, innocent], false);
    quarantine.admit(innocent)?.end(true);
  }
  t.is(quarantine.admit(guilty), undefined);
  t.truthy(quarantine.admit(innocent));
  quarantine.blame([innocent], true);
  quarantine.admit(innocent)?.end(true);
  quarantine.blame([innocent], true);
  t.is(quarantine.admit(innocent), undefined);
});

test('a call without a mark of its own counts as begun', (t) => {
  const trace = new Trace();
  t.true(trace.hasBegun(1 << 16));
  t.false(trace.hasBegun(3));
  trace.begin(3);
  t.true(trace.hasBegun(3));
  trace.clear(3);
  t.false(trace.hasBegun(3));
});

type Served = Serving & { client: Client; deaths(): Report[] };

async function serve(t: ExecutionContext, options: ServerOptions): Promise<Served> {
  const running = await serving(t, { workers: 2, quarantine: FOR_EVER, ...options });
  const deaths = () => running.reports.filter(({ about }) => about.lane !== undefined);
  return { ...running, client: await dial(t, running.address), deaths };
}

/** How a call has ended: with its text, or with a code. */
const endOf = (call: { text(): Promise<string> }): Promise<string> =>
  call.text().catch((error: CommandError) => error.code ?? String(error));

async function held({ server }: Serving): Promise<string[]> {
  const { quarantine } = await server.stats();
  return quarantine.filter(({ state }) => state === 'held').map(({ kind, name }) => `${kind} ${name}`);
}

/** Calls `command` until it is held; the server has `workers` lanes again after each death. */
async function callUntilHeld(served: Served, command: string, workers: number): Promise<string[]> {
  const { client, deaths, reported } = served;
  const ends: string[] = [];
  for (let death = 1; ends.at(-1) !== 'overloaded' && death < 20; death++) {
    ends.push(await endOf(client.call(command)));
    if (ends.at(-1) === 'overloaded') break;
    await reported(() => deaths().length >= death);
    await lanesOpen(served, workers);
  }
  return ends;
}

/** How a command may end its worker, and how its calls end then. */
const WAYS: [string, string][] = [
  ['exit', 'worker-died'],
  ['exitLater', 'worker-died'],
  ['throwLater', 'worker-died'],
  ['rejectLater', 'worker-died'],
  ['lateExit', 'all is well'],
];
for (const [way, end] of WAYS) {
  test(`${way}: after three deaths the command is held and named, and what ran beside it is not`, async (t) => {
    const commands = { [way]: lane(way), innocent: lane('innocent'), waits: lane('waits') };
    const served = await serve(t, { commands });
    const { client, deaths, server } = served;
    await client.call('waits')[Symbol.asyncIterator]().next();
    t.deepEqual(await callUntilHeld(served, way, 2), [end, end, end, 'overloaded']);
    t.deepEqual(await held(served), [`command ${way}`]);
    t.deepEqual(
      deaths().map(({ about }) => about.command),
      [way, way, way],
    );
    const [row] = (await server.stats()).quarantine;
    t.like(row, { deaths: 3, refused: 1 });
    t.is(await client.call('innocent').text(), 'innocent');
  });
}

test('a module that ends its worker as it is loaded is held by the commands that it was loaded for', async (t) => {
  const loads = new SharedArrayBuffer(4);
  new Int32Array(loads)[0] = 1;
  const commands = { loading: lane('loading', loads), innocent: lane('innocent') };
  const served = await serve(t, { workers: 1, commands });
  const ends = await callUntilHeld(served, 'loading', 1);
  t.is(ends.at(-1), 'overloaded');
  t.deepEqual(await held(served), ['command loading']);
  t.is(await served.client.call('innocent').text(), 'innocent');
});

test('a command that uses up the memory of its worker is held', async (t) => {
  const commands = { hoard: lane('hoard'), innocent: lane('innocent') };
  const resourceLimits = { maxOldGenerationSizeMb: 24 };
  const served = await serve(t, {
    workers: 1,
    commands,
    resourceLimits,
    quarantine: { ...FOR_EVER, deaths: 2 },
  });
  t.deepEqual(await callUntilHeld(served, 'hoard', 1), ['worker-died', 'worker-died', 'overloaded']);
  t.is(await served.client.call('innocent').text(), 'innocent');
});

test('a crowd that calls what ends its worker costs nobody else a call that had not begun', async (t) => {
  const commands = { exit: lane('exit'), innocent: lane('innocent'), upload: lane('upload') };
  const served = await serve(t, { commands });
  const clients = await Promise.all(Array.from({ length: 25 }, () => dial(t, served.address)));
  const calls = clients.flatMap((client) => [
    client.call('innocent'),
    client.call('exit'),
    client.call('innocent'),
    client.call('innocent'),
  ]);
  const ends = await Promise.all(calls.map(endOf));
  const ofKillers = ends.filter((_, i) => i % 4 === 1);
  t.deepEqual(new Set(ofKillers), new Set(['worker-died', 'overloaded']));
  t.deepEqual(
    ends.filter((_, i) => i % 4 !== 1),
    Array(75).fill('innocent'),
  );
  t.true(served.deaths().length <= 4, 'three, and what the other lane was at');
  t.deepEqual(await held(served), ['command exit']);
});

for (const how of ['cancels its call', 'goes away'])
  test(`who calls what hangs, and ${how}, leaves the blame with it and not with what ran beside it`, async (t) => {
    const commands = { hangUnwanted: lane('hangUnwanted'), waits: lane('waits') };
    const served = await serve(t, { workers: 1, laneTimeout: 300, commands });
    const beside = endOf(served.client.call('waits'));
    const hostile = await dial(t, served.address);
    const call = hostile.call('hangUnwanted');
    await call[Symbol.asyncIterator]().next();
    if (how === 'goes away') hostile.destroy();
    else call.cancel();
    t.is(await beside, 'worker-died');
    t.true(served.deaths()[0].about.suspects?.includes("command 'hangUnwanted'"));
  });

test('an upload that never began is not made again behind the back of its client, and is safe to send again', async (t) => {
  const commands = { exit: lane('exit'), upload: lane('upload') };
  const served = await serve(t, { workers: 1, commands });
  const { client } = served;
  const killer = endOf(client.call('exit'));
  const upload = client.call('upload', { data: 'some data' });
  const error = (await t.throwsAsync(upload.text())) as CommandError;
  t.deepEqual([await killer, error.code, error.notStarted], ['worker-died', 'overloaded', true]);
  t.is(await client.call('upload', { data: 'some data' }).text(), '9');
});

test('a hung command is held, one call at a time tries it, and a call that ends well frees it', async (t) => {
  const clock = stoppedClock(t);
  const latch = makeLatch();
  const served = await serve(t, {
    workers: 1,
    laneTimeout: 400,
    quarantine: { deaths: 1, firstMs: 5000, mostMs: 10_000 },
    commands: { hang: { module: STUBBORN, export: 'endless', options: latch }, innocent: lane('innocent') },
  });
  const { client } = served;
  const hung = endOf(client.call('hang'));
  await arrived(latch, 1);
  t.is(await clock.advanceWhile(hung, 100, () => client.ping()), 'worker-died');
  t.is(served.deaths().at(-1)?.about.command, 'hang');
  t.is(await endOf(client.call('hang')), 'overloaded');
  clock.advance(5000);
  t.is(await client.call('innocent').text(), 'innocent');
  release(latch);
  t.is(await endOf(client.call('hang')), 'done');
  t.deepEqual(await held(served), []);
});

test('a decoder that ends its worker is held by its profile, and uploads without it go on', async (t) => {
  const fatal: CodecModule = { url: FATAL.href, export: 'fatal', codecs: fatalCodecs.codecs };
  const served = await serve(t, { workers: 1, codecs: [fatal], commands: { upload: lane('upload') } });
  const { address, reported, deaths } = served;
  const client = await dial(t, address, { extraCodecs: [fatal], encodeData: 'fatal' });
  const ends: string[] = [];
  for (let death = 1; death <= 4; death++) {
    ends.push(await endOf(client.call('upload', { data: 'to be decoded' })));
    if (death < 4) await reported(() => deaths().length >= death);
    await lanesOpen(served, 1);
  }
  t.deepEqual(ends.slice(0, 3), Array(3).fill('worker-died'));
  t.deepEqual(await held(served), ['decoder fatal']);
  t.deepEqual(deaths()[0].about.suspects, ["decoder 'fatal'"]);
  const plain = await dial(t, address);
  t.is(await plain.call('upload', { data: 'as it is' }).text(), '8');
});

test('an encoder on trial is tried in its lane, however small and few the responses are', async (t) => {
  const clock = stoppedClock(t);
  const quarantine = new Quarantine({ deaths: 1, firstMs: 10 });
  const makePool = (options: LanePoolOptions) => {
    const pool = new LanePool(options);
    t.teardown(() => pool.close());
    return Object.assign(pool, { quarantine });
  };
  const commands = { small: () => 'little' };
  const make = (options: ServerOptions = {}) => makeServer(options, makePool);
  const { server, port } = await serving(t, { contexts: 'none', commands }, make);
  quarantine.blame([quarantine.numberOf('encoder', 'zstd-8mb')], true);
  clock.advance(10);
  const client = await dial(t, { port });
  t.is(await client.call('small').text(), 'little');
  await client.close();
  while ((await server.stats()).connections > 0) await new Promise(setImmediate);
  t.is(quarantine.rows[0].state, 'free');
});
