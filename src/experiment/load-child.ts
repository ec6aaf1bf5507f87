/**
 * The clients' side of a check, in a process of its own: asks a server for every response of an experiment's traffic,
 * each connection for its own, so many at a time. The argument is a {@link LoadTask} as JSON.
 */

import type { CodecModule } from '../encoding/codec.ts';
import { connect } from '../index.ts';

export interface LoadTask {
  readonly port: number;
  /** The command whose argument `i` is the index of a response. */
  readonly command: string;
  /** Requests in flight on each connection. */
  readonly inFlight: number;
  /** Of each connection, the indices of its responses. */
  readonly connections: readonly (readonly number[])[];
  readonly profile: string;
  readonly codecs: readonly Pick<CodecModule, 'url' | 'export'>[];
}

async function run({ port, command, inFlight, connections, profile, codecs }: LoadTask): Promise<void> {
  const extraCodecs = await Promise.all(
    codecs.map(async ({ url, export: name }): Promise<CodecModule> => (await import(url))[name]),
  );
  await Promise.all(
    connections.map(async (indices) => {
      const client = await connect({ port }, { extraCodecs, profiles: [profile] });
      const queue = [...indices].reverse();
      const ask = async () => {
        for (let i = queue.pop(); i !== undefined; i = queue.pop()) {
          await client.call(command, { args: { i: `${i}` } }).bytes();
        }
      };
      await Promise.all(Array.from({ length: inFlight }, ask));
      await client.close();
    }),
  );
}

await run(JSON.parse(process.argv[2]));
