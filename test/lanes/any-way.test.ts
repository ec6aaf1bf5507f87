// Responses of one connection go every way there is, at once, while workers die: encoded here, in lanes, from the cache, as they
// are. Each comes whole and in order, and nothing is held, owed or counted twice at the end.

import { readFileSync } from 'node:fs';
import ava, { type ExecutionContext } from 'ava';
import {
  type CallOptions,
  type Client,
  CommandError,
  type CommandRequest,
  type ConnectOptions,
  cached,
  type Output,
  type ServerOptions,
  TextOutput,
} from '../../src/index.ts';
import { pattern } from '../fixtures/pattern.ts';
import { numbers } from '../helpers/random.ts';
import { dial, lanesOpen, type Serving, serving } from '../helpers/serving.ts';

const test = ava.serial;
const MODULE = new URL('../fixtures/lane-commands.ts', import.meta.url);
const DICTIONARY = new Uint8Array(readFileSync(new URL('../fixtures/mill.dict', import.meta.url)));
const numberOf = (request: CommandRequest, name: string) => Number(request.text(name));
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** What pieces of a response are made of: bytes by seed and size, a line beside them, an output for the cache. */
async function* pieces(request: CommandRequest): AsyncGenerator<Output> {
  const [seed, size, count] = ['seed', 'size', 'count'].map((name) => numberOf(request, name));
  for (let i = 0; i < count; i++) {
    if (i % 3 === 1) yield new TextOutput(`${i}\n`);
    if (i % 4 === 2) yield cached(`${seed} ${size}`, () => pattern(seed, size).slice());
    else yield pattern(seed, size).slice();
    if (i % 2 === 0) await turn();
  }
  if (count % 5 === 4) throw new CommandError('as asked', { code: 'mine' });
}

const commands: ServerOptions['commands'] = {
  whole: (request) => pattern(numberOf(request, 'seed'), numberOf(request, 'size')).slice(),
  pieces,
  echo: (request) => request.data,
  there: { module: MODULE, export: 'fill' },
  die: { module: MODULE, export: 'die' },
};

/** What a call has come to. */
type End = { bytes: Uint8Array; code: string };

async function endOf(client: Client, command: string, options: CallOptions): Promise<End> {
  const parts: Uint8Array[] = [];
  let code = 'ok';
  try {
    for await (const part of client.call(command, options)) parts.push(part.slice());
  } catch (error) {
    code = error instanceof CommandError ? error.code : String(error);
  }
  return { bytes: Buffer.concat(parts), code };
}

/** One call of any kind; resolves when it has been held against what it had to come to. */
async function anyCall(t: ExecutionContext, client: Client, random: () => number): Promise<void> {
  const upTo = (most: number) => random() % most;
  const size = [upTo(400), upTo(9000), 8192, upTo(60_000)][upTo(4)];
  const seed = upTo(20);
  const bytes = pattern(seed, size);
  const kind = upTo(8);
  const sensitive = upTo(10) === 0;
  const args = { seed: String(seed), size: String(size) };
  if (kind <= 3) {
    const end = await endOf(client, 'whole', { args, sensitive });
    t.is(end.code, 'ok');
    t.is(Buffer.compare(end.bytes, bytes), 0, 'whole');
  } else if (kind <= 5) {
    const count = 1 + upTo(9);
    const lines: string[] = [];
    const onText = (text: string) => lines.push(text);
    const end = await endOf(client, 'pieces', { args: { ...args, count: String(count) }, sensitive, onText });
    t.is(end.code, count % 5 === 4 ? 'mine' : 'ok');
    const whole = Buffer.concat(Array(count).fill(bytes));
    // What was still held as the handler threw is not sent.
    if (end.code === 'ok') t.is(end.bytes.length, whole.length);
    t.is(Buffer.compare(end.bytes, whole.subarray(0, end.bytes.length)), 0, 'pieces');
    const all = Array.from({ length: count }, (_, i) => i).filter((i) => i % 3 === 1);
    t.deepEqual(
      lines,
      all.map((i) => `${i}\n`),
    );
  } else if (kind === 6 && upTo(2) === 0) {
    // Given up in the middle, by either side.
    const control = new AbortController();
    const options = upTo(2) === 0 ? { deadlineMs: 1 + upTo(20) } : { signal: control.signal };
    const response = endOf(client, 'pieces', { args: { ...args, count: '8' }, sensitive, ...options });
    for (let turns = upTo(4); turns > 0; turns--) await turn();
    control.abort();
    const { bytes: some } = await response;
    const whole = Buffer.concat(Array(8).fill(bytes));
    t.is(Buffer.compare(some, whole.subarray(0, some.length)), 0, 'given up');
  } else if (kind === 6) {
    const end = await endOf(client, 'echo', { data: bytes, sensitive });
    t.is(end.code, 'ok');
    t.is(Buffer.compare(end.bytes, bytes), 0, 'echo');
  } else {
    const end = await endOf(client, 'there', { args, sensitive });
    // It may have ended with its worker, and what came before that is right.
    if (end.code === 'ok') t.is(end.bytes.length, size);
    else t.true(['worker-died', 'overloaded'].includes(end.code), end.code);
    t.is(Buffer.compare(end.bytes, bytes.subarray(0, end.bytes.length)), 0, 'there');
  }
}

/** At rest no output is held, and what commands have given is what streams were given. */
async function nothingIsLeft(t: ExecutionContext, { server }: Serving): Promise<void> {
  let stats = await server.stats();
  for (let looks = 0; stats.output.bytes !== 0 && looks < 1000; looks++) stats = await server.stats();
  t.is(stats.output.bytes, 0, 'no output is held');
  t.is(stats.input.bytes, 0, 'nor input');
  const sum = (rows: readonly { bytes?: number; bytesIn?: number }[]) =>
    rows.reduce((all, { bytes = 0, bytesIn = 0 }) => all + bytes + bytesIn, 0);
  t.is(sum(stats.commands), sum(stats.profiles), 'bytes of commands, and of streams');
}

interface Way {
  readonly seed: number;
  readonly server: ServerOptions;
  readonly client?: ConnectOptions;
}

const WAYS: Way[] = [
  { seed: 1, server: { contexts: 'none' } },
  {
    seed: 2,
    server: {
      contexts: 'none',
      dictionaries: [{ bytes: DICTIONARY }],
      limits: { maxBufferedOutput: 20_000 },
    },
    client: { requestWindow: 9000, connectionWindow: 30_000 },
  },
  { seed: 3, server: { contexts: 'kept', streams: 4 }, client: { connectionWindow: 70_000 } },
  { seed: 4, server: { policy: 'per-request', streams: 4 }, client: { requestWindow: 20_000 } },
  {
    seed: 5,
    server: {
      contexts: 'none',
      workers: 1,
      frameSize: 1024,
      dictionaries: [{ bytes: DICTIONARY, commands: ['whole'] }],
    },
  },
];

for (const { seed, server, client: asked } of WAYS)
  test(`any responses, by any way, while workers die: ${JSON.stringify({ ...server, dictionaries: server.dictionaries?.length, ...asked })}`, async (t) => {
    const random = numbers(seed);
    const run = await serving(t, { workers: 2, commands, quarantine: { deaths: 1000 }, ...server });
    const client = await dial(t, run.address, asked);
    for (let round = 0; round < 3; round++) {
      const calls: Promise<unknown>[] = [];
      for (let i = 0; i < 30; i++) {
        calls.push(anyCall(t, client, random));
        if (i === 15 && round > 0)
          calls.push(endOf(client, 'die', { args: { how: random() % 2 ? 'at once' : 'exit' } }));
        if (random() % 4 === 0) await turn();
      }
      await Promise.all(calls);
      // One by one: few enough to be encoded here.
      for (let i = 0; i < 5; i++) await anyCall(t, client, random);
      await lanesOpen(run, 1);
    }
    await nothingIsLeft(t, run);
    t.true((await run.server.stats()).laneRestarts > 0);
  });
