/** A codec of a user's that fails costs the response, or the upload, in its hands: the stream begins afresh. */

import ava, { type ExecutionContext } from 'ava';
import type { Client, ConnectOptions, ServerOptions } from '../../src/index.ts';
import {
  BOUND_MISTAKES,
  codecs,
  codecsOfServer,
  DECODER_MISTAKES,
  ENCODER_MISTAKES,
} from '../fixtures/faulty-codec.ts';
import { dial, failure, type Serving, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

const test = ava.serial;
const FIXTURE = new URL('../fixtures/codec-handlers.ts', import.meta.url);
const THREADS = ['main', 'lane'] as const;

const { say, echo, run } = await import('../fixtures/codec-handlers.ts');
const lane = (name: string) => ({ module: FIXTURE, export: name });
const commands = {
  say,
  echo,
  run,
  'lane-say': lane('say'),
  'lane-echo': lane('echo'),
  'lane-run': lane('run'),
};

/** One stream, which all responses share. */
async function oneStream(
  t: ExecutionContext,
  more: Partial<ServerOptions> = {},
  options: ConnectOptions = {},
): Promise<Serving & { client: Client }> {
  const own = await serving(t, {
    codecs: [codecsOfServer],
    profile: 'faulty',
    policy: 'single',
    commands,
    ...more,
  });
  const client = await dial(t, own.address, { extraCodecs: [codecs], ...options });
  return { ...own, client };
}

/** Does `work` while another response is in the middle of the same stream. */
async function beside(t: ExecutionContext, client: Client, echo: string, work: () => Promise<unknown>) {
  const done = Promise.withResolvers<void>();
  const response = client.call(echo, {
    data: (async function* () {
      yield 'before, ';
      await done.promise;
      yield 'after';
    })(),
  });
  const pieces = response[Symbol.asyncIterator]();
  let text = Buffer.from((await pieces.next()).value ?? []).toString();
  await work();
  done.resolve();
  for await (const piece of pieces) text += Buffer.from(piece).toString();
  t.is(text, 'before, after');
}

for (const thread of THREADS) {
  const on = (name: string) => (thread === 'main' ? name : `lane-${name}`);

  test(`${thread} thread: an encoder that fails, whatever it does, fails the response that it was given`, async (t) => {
    const { client, reported, reports } = await oneStream(t);
    await beside(t, client, on('echo'), async () => {
      for (const mistake of ENCODER_MISTAKES) {
        const args = { text: `BREAK ${mistake}` };
        t.regex((await failure(client.call(on('say'), { args }).text())).message, /internal error/, mistake);
        t.is(await client.call(on('say'), { args: { text: 'fine' } }).text(), 'fine');
      }
      for (const size of BOUND_MISTAKES) {
        const args = { text: 'x'.repeat(size) };
        t.regex((await failure(client.call(on('say'), { args }).text())).message, /internal error/);
      }
    });
    t.true((await reported(({ error }) => /written NaN bytes/.test(String(error)))).error instanceof Error);
    t.false(reports.some(({ about }) => about.lane !== undefined));
  });

  test(`${thread} thread: what comes behind a frame that cannot be encoded is not sent`, async (t) => {
    const { client } = await oneStream(t);
    await beside(t, client, on('echo'), async () => {
      for (let round = 0; round < 20; round++) {
        const error = await failure(client.call(on('run')).text());
        t.regex(error.message, /internal error/);
      }
      t.is(await client.call(on('say'), { args: { text: 'fine' } }).text(), 'fine');
    });
  });

  test(`${thread} thread: bytes that could not be encoded use up none of the connection's window`, async (t) => {
    const { client } = await oneStream(t, {}, { connectionWindow: 100_000 });
    for (let round = 0; round < 20; round++) await failure(client.call(on('run')).text());
    t.is(await client.call(on('say'), { args: { text: 'x'.repeat(60_000) } }).text(), 'x'.repeat(60_000));
  });

  test(`${thread} thread: a stream of one response alone is given up with it, and holds nothing`, async (t) => {
    const { client } = await oneStream(t, {
      policy: 'per-request',
      streams: 1,
      limits: { maxBufferedOutput: 200_000 },
    });
    for (let round = 0; round < 20; round++)
      t.regex((await failure(client.call(on('run')).text())).message, /internal error/);
    t.is(await client.call(on('say'), { args: { text: 'x'.repeat(60_000) } }).text(), 'x'.repeat(60_000));
  });

  test(`${thread} thread: a codec that makes no encoder leaves responses as they are`, async (t) => {
    const { client, reported } = await oneStream(t, { profile: 'barren' });
    t.is(await client.call(on('say'), { args: { text: 'plain' } }).text(), 'plain');
    t.regex(String((await reported(() => true)).error), /broken codec/);
  });
}

test('an encoder of command data that fails, fails its own call', async (t) => {
  const { client } = await oneStream(t, { profile: 'identity' }, { encodeData: 'faulty' });
  await client.ready();
  await beside(t, client, 'echo', async () => {
    for (const mistake of ENCODER_MISTAKES) {
      const error = await failure(client.call('echo', { data: `BREAK ${mistake}` }).text());
      t.true(error instanceof Error);
      t.is(await client.call('echo', { data: 'fine' }).text(), 'fine');
    }
    for (const size of BOUND_MISTAKES)
      t.true((await failure(client.call('echo', { data: new Uint8Array(size) }).text())) instanceof Error);
  });
});

test('a decoder that fails ends the connection whose stream it has lost, at either end, and no other', async (t) => {
  const { client: other, server, address, reports } = await oneStream(t);
  for (const mistake of DECODER_MISTAKES) {
    const text = `BREAK decode: ${mistake}`;
    const reader = await dial(t, address, { extraCodecs: [codecs] });
    t.true((await failure(reader.call('say', { args: { text } }).text())) instanceof Error, mistake);
    await reader.closed;
    const writer = await dial(t, address, { extraCodecs: [codecs], encodeData: 'faulty' });
    t.true((await failure(writer.call('echo', { data: text }).text())) instanceof Error, mistake);
    await writer.closed;
    t.is(await other.call('lane-say', { args: { text: 'fine' } }).text(), 'fine');
  }
  t.false(reports.some(({ about }) => about.lane !== undefined));
  t.is((await server.stats()).lanes.length, 1);
});
