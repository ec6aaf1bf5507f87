/** Any interleaving of requests of any kind: what property.test.ts tries a little of, and property.slow.ts much. */

import type { ExecutionContext } from 'ava';
import fc from 'fast-check';
import type { CallOptions, Client, ConnectOptions, PolicyName, Response } from '../../src/index.ts';
import { commands, on, THREADS, type Thread } from '../helpers/commands.ts';
import { decodeThreeWays, recording } from '../helpers/recorder.ts';
import { concat, digest, sample } from '../helpers/samples.ts';
import { dial, serving } from '../helpers/serving.ts';

/** One request: what it asks for, and how its data and its answer are dealt with. */
interface Ask {
  readonly kind: 'echo' | 'sample' | 'shared' | 'mixed' | 'count';
  readonly thread: Thread;
  readonly size: number;
  readonly piece: number;
  readonly seed: number;
  /** Read piece by piece instead of whole. */
  readonly streamed: boolean;
  readonly sensitive: boolean;
  /** Requests begin one after the other, those with `late` after a round trip. */
  readonly late: boolean;
}

const ask: fc.Arbitrary<Ask> = fc.record({
  kind: fc.constantFrom('echo', 'sample', 'shared', 'mixed', 'count'),
  thread: fc.constantFrom(...THREADS),
  size: fc.oneof(fc.integer({ min: 0, max: 200 * 1024 }), fc.constantFrom(0, 1, 32_767, 32_768, 32_769)),
  piece: fc.integer({ min: 1, max: 70_000 }),
  seed: fc.integer({ min: 1, max: 5 }),
  streamed: fc.boolean(),
  sensitive: fc.boolean(),
  late: fc.boolean(),
});

const clientOptions: fc.Arbitrary<ConnectOptions> = fc
  .record<ConnectOptions>(
    {
      codecs: fc.constantFrom('native', 'portable'),
      profiles: fc.constantFrom<string[]>(['zstd-8mb', 'zlib'], ['zlib'], ['zstd-8mb'], ['identity']),
      encodeData: fc.constantFrom('zlib', 'zstd-8mb'),
      requestWindow: fc.integer({ min: 1000, max: 300_000 }),
      connectionWindow: fc.integer({ min: 1000, max: 500_000 }),
    },
    { requiredKeys: ['codecs'] },
  )
  // Nothing portable encodes it.
  .filter(({ codecs, encodeData }) => codecs !== 'portable' || encodeData !== 'zstd-8mb');

async function* inPieces(bytes: Uint8Array, piece: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += piece) {
    yield bytes.subarray(at, at + piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Sends a request; says what it must be answered with. */
function start(client: Client, { kind, thread, size, piece, seed, sensitive }: Ask): [Response, string] {
  const bytes = sample(size, seed);
  // Pieces of a byte are for small data.
  const pieces = Math.max(piece, size >> 6);
  const options: CallOptions = { sensitive };
  switch (kind) {
    case 'echo':
      return [client.call('echo', { ...options, data: inPieces(bytes, pieces) }), digest(bytes)];
    case 'count': {
      const count = new TextEncoder().encode(String(size));
      return [client.call(on(thread, 'count'), { ...options, data: bytes }), digest(count)];
    }
    case 'sample': {
      const args = { size: String(size), piece: String(pieces), seed: String(seed), pace: 'slow' };
      return [client.call(on(thread, 'sample'), { ...options, args }), digest(bytes)];
    }
    case 'shared': {
      const args = { key: `${size}/${seed}`, size: String(size), seed: String(seed) };
      return [client.call(on(thread, 'shared'), { ...options, args }), digest(bytes)];
    }
    case 'mixed': {
      const [before, between, after] = [size % 50_000, piece % 40_000, seed * 999];
      const args = { key: 'm', before: String(before), between: String(between), after: String(after) };
      const whole = concat([
        sample(before, 11),
        sample(70_000, 12),
        sample(between, 13),
        sample(10, 14),
        sample(after, 15),
      ]);
      return [client.call(on(thread, 'mixed'), { ...options, args }), digest(whole)];
    }
  }
}

async function read(response: Response, streamed: boolean): Promise<string> {
  if (!streamed) return digest(await response.bytes());
  const parts: Uint8Array[] = [];
  for await (const part of response) {
    parts.push(part);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return digest(concat(parts));
}

export const POLICIES: readonly PolicyName[] = ['shared', 'per-request', 'affinity', 'single'];

/** Every response is intact and every stream decodes three ways, however `runs` connections make their requests. */
export async function anyInterleaving(t: ExecutionContext, policy: PolicyName, runs: number): Promise<void> {
  const { address } = await serving(t, { workers: 2, policy, cacheLevel: 3, commands: commands() });
  const property = fc.asyncProperty(
    clientOptions,
    fc.array(ask, { minLength: 1, maxLength: 24 }),
    async (options, asks) => {
      const recorder = await recording(t, address);
      const client = await dial(t, recorder.address, options);
      const answers: Promise<[string, string]>[] = [];
      for (const each of asks) {
        if (each.late) await client.ping();
        const [response, wanted] = start(client, each);
        answers.push(read(response, each.streamed).then((got) => [got, wanted]));
      }
      const results = await Promise.all(answers);
      t.deepEqual(
        results.map(([got]) => got),
        results.map(([, wanted]) => wanted),
      );
      await client.close();
      const { toServer, toClient } = recorder.connections[0];
      await decodeThreeWays(t, toServer, toClient);
    },
  );
  await fc.assert(property, { numRuns: runs });
}
