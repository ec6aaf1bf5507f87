/** What a server records for experiments. */

import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { readCapture } from '../../src/capture/read.ts';
import { readSources } from '../../src/experiment/traffic/sources.ts';
import { createServer } from '../../src/index.ts';
import { tempFolder } from '../files/helper.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { dial, servingOnSharedLanes } from '../helpers/serving.ts';
import { collect } from './helper.ts';

const serving = servingOnSharedLanes(test);

const OPTIONS = { maxBytes: 1 << 20, seed: 1 };

test('a recording has what was answered, and nothing that is sensitive', async (t) => {
  const path = join(tempFolder(t), 'capture');
  const oneCame = Promise.withResolvers<void>();
  const { server, address } = await serving(t, {
    record: { path },
    commands: {
      get: { handler: (request) => `answer ${request.text('n')}`.repeat(100), affinityKey: () => 'k' },
      slow: async function* () {
        yield 'one';
        await oneCame.promise;
        await new Promise((resolve) => setTimeout(resolve, 20));
        yield 'two';
      },
      secret: { handler: () => 'hush', sensitive: true },
      fails: () => {
        throw new Error('no');
      },
    },
  });
  const clients = [await dial(t, address), await dial(t, address)];
  await clients[0].call('get', { args: { n: '1', password: 'swordfish' } }).bytes();
  await clients[1].call('get', { args: { n: '2' } }).bytes();
  for await (const _ of clients[1].call('slow')) oneCame.resolve();
  await clients[0].call('secret').bytes();
  await clients[0].call('get', { args: { n: '3' }, sensitive: true }).bytes();
  await t.throwsAsync(clients[0].call('fails').bytes());
  await Promise.all(clients.map((client) => client.close()));
  await server.close();
  t.is(server.recorded?.responses, 3);
  const text = readFileSync(path, 'utf8');
  t.false(text.includes('swordfish') || text.includes(Buffer.from('hush').toString('base64')));
  t.is(statSync(path).mode & 0o777, 0o600);
  const responses = await collect(readCapture(path));
  t.deepEqual(
    responses.map(({ command, connection, key, bytes }) => [command, connection, key, bytes.length]),
    [
      ['get', 0, 'k', 800],
      ['get', 1, 'k', 800],
      ['slow', 1, undefined, 6],
    ],
  );
  t.is(responses[2].pieces.length, 2);
  t.true(responses[2].pieces[1].afterMs >= 15);
  const { workload } = await readSources([path], OPTIONS);
  t.true(workload.timed);
  t.throws(() => createServer({ record: { path } }), { code: 'EEXIST' });
});

test('what a server takes of its peers does not bound what it records of its own', async (t) => {
  const path = join(tempFolder(t), 'capture');
  const limits = {
    maxPayload: 200,
    minFrameSize: 200,
    maxDecodedSize: 1000,
    maxWindowSize: 1 << 10,
    maxStreamBegins: 1,
  };
  const body = 'water '.repeat(20_000);
  const { server, address } = await serving(t, { record: { path }, limits, commands: { get: () => body } });
  const client = await dial(t, address, { limits: { minFrameSize: 200 } });
  for (let i = 0; i < 3; i++) t.is(await client.call('get').text(), body);
  await client.close();
  await server.close();
  const responses = await collect(readCapture(path));
  t.deepEqual(
    responses.map(({ bytes }) => bytes.length),
    [body.length, body.length, body.length],
  );
});

test('a recording keeps no more than 64 MiB of responses that are not whole: others are left out', async (t) => {
  const path = join(tempFolder(t), 'capture');
  const ends = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
  const { server, address } = await serving(t, {
    // What has been kept need not be written.
    record: { path, maxBytes: 1000 },
    commands: {
      large: async function* (request) {
        for (let i = 0; i < 15; i++) yield new Uint8Array(1 << 20);
        await ends[Number(request.text('n'))].promise;
        yield 'end';
      },
    },
  });
  const client = await dial(t, address, { requestWindow: 16 << 20, profiles: [] });
  const answers: Promise<Uint8Array>[] = [];
  for (let n = 0; n < 5; n++) {
    const response = client.call('large', { args: { n: String(n) } });
    const pieces = response[Symbol.asyncIterator]();
    // One after the other: the last one finds no room.
    for (let got = 0; got < 15 << 20; ) got += (await pieces.next()).value!.length;
    answers.push(pieces.next().then(({ value }) => value!));
  }
  ends[4].resolve();
  t.is(String(Buffer.from(await answers[4])), 'end');
  t.is(server.recorded?.leftOut, 1);
  for (const { resolve } of ends) resolve();
  for (const answer of answers) t.is(String(Buffer.from(await answer)), 'end');
  t.is(server.recorded?.leftOut, 1);
});

test('a recording has 128 MiB of decoders for uploads: connections past that are served, and not recorded', async (t) => {
  const path = join(tempFolder(t), 'capture');
  const { server, address } = await serving(t, { record: { path } });
  const upload = async () => {
    const client = await dial(t, address, { encodeData: 'zstd-8mb' });
    t.is(await client.call('echo', { data: 'x'.repeat(1000) }).text(), 'x'.repeat(1000));
    return client;
  };
  const clients = [];
  for (let i = 0; i < 20; i++) clients.push(await upload());
  const fit = server.recorded?.responses ?? 0;
  t.true(fit >= 10 && fit < 16, `${fit} recorded`);
  for (const client of clients) await client.close();
  while ((await server.stats()).connections > 0) await turn();
  await (await upload()).close();
  t.is(server.recorded?.responses, fit + 1);
});

test('a recording stops at its size, and the server goes on', async (t) => {
  const path = join(tempFolder(t), 'capture');
  const { server, address } = await serving(t, {
    record: { path, maxBytes: 5000 },
    commands: { get: () => 'x'.repeat(1000) },
  });
  const client = await dial(t, address);
  for (let i = 0; i < 20; i++) t.is((await client.call('get').bytes()).length, 1000);
  await client.close();
  await server.close();
  t.true(server.recorded?.full);
  t.true(statSync(path).size <= 5000);
  t.is((await collect(readCapture(path))).length, server.recorded!.responses);
});

test('a capture whose last line was cut off is read up to there; another break is named', async (t) => {
  const path = join(tempFolder(t), 'capture');
  const line = JSON.stringify({
    at: 1,
    connection: 0,
    command: 'a',
    args: {},
    pieces: [[0, 2]],
    wire: 9,
    body: 'aGk=',
  });
  const header = '{"millraceCapture":1,"startedAt":"2026-01-31T12:00:00.000Z"}';
  writeFileSync(path, `${header}\n${line}\n${line.slice(0, 40)}`);
  t.is((await collect(readCapture(path))).length, 1);
  writeFileSync(path, `${header}\n${line.slice(0, 40)}\n${line}\n`);
  await t.throwsAsync(collect(readCapture(path)), { message: /line 2 is not of a capture/ });
});

test.serial('pieces that a handler makes within coalesceMs go out as one frame', async (t) => {
  const clock = stoppedClock(t);
  const frames = async (coalesceMs: number) => {
    const { server, address } = await serving(t, {
      coalesceMs,
      commands: {
        drip: async function* () {
          for (let i = 0; i < 5; i++) {
            yield `piece ${i}`;
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        },
      },
    });
    const client = await dial(t, address);
    const answer = client.call('drip').text();
    t.is(await clock.advanceWhile(answer, 1, () => client.ping()), 'piece 0piece 1piece 2piece 3piece 4');
    const { streams } = await server.stats();
    await client.close();
    return streams.reduce((sum, stream) => sum + stream.frames, 0);
  };
  const prompt = await frames(0);
  t.true((await frames(200)) < prompt);
});
