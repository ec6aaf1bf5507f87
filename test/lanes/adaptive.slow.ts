/** The policy `adaptive` behind a real link, and in a real experiment. */

import { readFileSync } from 'node:fs';
import { connect as connectSocket, createServer as createNetServer, type Socket } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { parseGrids } from '../../src/experiment/grid/grid.ts';
import type { ServerOptions } from '../../src/index.ts';
import { ladderOf } from '../../src/lanes/adaptive.ts';
import { generated, run, SETTINGS } from '../experiment/helper.ts';
import { tempFolder } from '../files/helper.ts';
import { dial, listening, serving } from '../helpers/serving.ts';

test('an experiment with --adaptive has the table', async (t) => {
  const read = await generated('mixed', 200_000);
  const out = join(tempFolder(t), 'x');
  const { results } = await run(read, { cells: parseGrids([{ level: 3 }]), out, adaptive: true });
  t.deepEqual(results.adaptive?.rungs, [...ladderOf('zstd-8mb')]);
  t.is(results.adaptive?.rows.length, 1 + SETTINGS.links.length);
  t.regex(readFileSync(join(out, 'report.html'), 'utf8'), /Policy adaptive/);
});

/** A link: bytes from the server pass at so many per second; all else at once. */
async function throttled(
  t: ExecutionContext<unknown>,
  port: number,
  bytesPerSecond: number,
): Promise<number> {
  const server = createNetServer((client: Socket) => {
    const upstream = connectSocket({ port, host: '127.0.0.1' });
    client.pipe(upstream);
    let due = performance.now();
    upstream.on('data', (chunk) => {
      upstream.pause();
      due = Math.max(due, performance.now()) + (1000 * chunk.length) / bytesPerSecond;
      setTimeout(() => {
        client.write(chunk);
        upstream.resume();
      }, due - performance.now());
    });
    upstream.on('end', () => client.end());
    for (const socket of [client, upstream]) socket.on('error', () => undefined);
    t.teardown(() => {
      client.destroy();
      upstream.destroy();
    });
  });
  t.teardown(() => server.close());
  return listening(server);
}

/** Asks a server behind a link until its responses are on more than `most` streams; returns these. */
async function behind(t: ExecutionContext<unknown>, bytesPerSecond: number, most: number) {
  const { workload } = await generated('json4k', 4 << 20);
  const { responses } = workload;
  const commands: ServerOptions['commands'] = {
    // A page of 16 records each: large enough to fill the sockets' buffers soon.
    get: (request) => {
      const at = Number(request.text('i')) % (responses.length - 16);
      return Buffer.concat(responses.slice(at, at + 16).map(({ bytes }) => bytes));
    },
  };
  const { server, port } = await serving(t, {
    policy: 'adaptive',
    profile: 'zstd-8mb',
    workers: 2,
    commands,
  });
  const client = await dial(t, { port: await throttled(t, port, bytesPerSecond) });
  const streams = async () => (await server.stats()).streams.filter(({ lane }) => lane >= 0);
  let next = 0;
  let isEnough = false;
  const ask = async () => {
    while (!isEnough) {
      await client.call('get', { args: { i: `${next++ * 16}` } }).bytes();
      isEnough ||= (await streams()).length > most;
    }
  };
  await Promise.all(Array.from({ length: 32 }, ask));
  return { asked: next, streams: await streams() };
}

test('in the server, a slow link brings responses to denser streams', async (t) => {
  const { asked, streams } = await behind(t, 400_000, 2);
  const ratios = streams.map(({ bytesIn, bytesOut }) => bytesIn / bytesOut);
  t.log(`${asked} requests, streams with ratios ${ratios.map((ratio) => ratio.toFixed(2)).join(', ')}`);
  // Two are of the rung to begin with; the link does not let the lanes wait, so the others can only be denser.
  t.true(streams.length > 2);
});
