/** Connections that are cut in the middle of responses. */

import { connect as connectSocket, createServer as createNetServer, type Socket } from 'node:net';
import type { ExecutionContext } from 'ava';
import { type Client, ConnectionError } from '../../src/index.ts';
import { pattern } from '../fixtures/pattern.ts';
import { listening, reach, serving } from '../helpers/serving.ts';

const MODULE = new URL('../fixtures/lane-commands.ts', import.meta.url);
const SIZES = [700, 1400];

/** Hands on what the server sends, up to a byte, and cuts the connection there. */
class Cutter {
  readonly #net = createNetServer((socket) => this.#pass(socket));
  readonly #target: number;
  cutAfter = Number.POSITIVE_INFINITY;
  passed = 0;

  constructor(target: number) {
    this.#target = target;
  }

  async listen(t: ExecutionContext): Promise<number> {
    t.teardown(() => this.#net.close());
    return listening(this.#net);
  }

  #pass(near: Socket): void {
    const far = connectSocket(this.#target, '127.0.0.1');
    const cut = () => {
      near.resetAndDestroy();
      far.resetAndDestroy();
    };
    this.passed = 0;
    near.on('error', cut).on('end', () => far.end());
    far.on('error', cut).on('end', () => near.end());
    near.on('data', (chunk) => far.write(chunk));
    far.on('data', (chunk: Buffer) => {
      const room = this.cutAfter - this.passed;
      this.passed += Math.min(room, chunk.length);
      if (chunk.length < room) near.write(chunk);
      // Not destroyed before it has gone out, or less would arrive than is wanted.
      else near.write(chunk.subarray(0, room), cut);
    });
  }
}

/** Two responses over a connection of their own: their bytes, or why they are not whole. */
async function talk(port: number): Promise<(Uint8Array | Error)[]> {
  let client: Client;
  try {
    client = await reach({ port });
  } catch (error) {
    return [error as Error];
  }
  const calls = SIZES.map((size, i) =>
    client.call('fill', { args: { seed: String(i), size: String(size) } }).bytes(),
  );
  const results = await Promise.all(calls.map((call) => call.catch((error: Error) => error)));
  await client.close();
  return results;
}

/**
 * Cuts connections after every `step`th byte that the server sends. What is whole by then has to be right, and the rest a
 * ConnectionError. Returns how often it has cut.
 */
export async function cutEvery(t: ExecutionContext, step: number): Promise<number> {
  const { server, port } = await serving(t, {
    workers: 2,
    streams: 2,
    commands: { fill: { module: MODULE, export: 'fill' } },
  });
  const cutter = new Cutter(port);
  const proxied = await cutter.listen(t);
  const whole = SIZES.map((size, i) => pattern(i, size));
  t.deepEqual(await talk(proxied), whole);
  const total = cutter.passed;
  let cuts = 0;
  for (cutter.cutAfter = 1; cutter.cutAfter < total; cutter.cutAfter += step, cuts++) {
    for (const [i, result] of (await talk(proxied)).entries()) {
      if (result instanceof Error) t.true(result instanceof ConnectionError, `${cutter.cutAfter}: ${result}`);
      else t.deepEqual(result, whole[i], `after ${cutter.cutAfter} bytes`);
    }
  }
  while ((await server.stats()).connections > 0) await new Promise((resolve) => setImmediate(resolve));
  return cuts;
}
