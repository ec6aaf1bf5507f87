/**
 * The clients of a load, in a process of their own: asks a server for responses of an experiment's traffic, each
 * connection for its own, so many at a time. Told by messages: a {@link LoadTask}, answered by a {@link LoadDone};
 * ends with its channel.
 */

import type { CodecModule } from '../../encoding/codec.ts';
import { connect } from '../../index.ts';

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

export interface LoadDone {
  /** Why not everything was answered; missing: it was. */
  readonly error?: string;
}

async function run({ port, command, inFlight, connections, profile, codecs }: LoadTask): Promise<void> {
  const extraCodecs = await Promise.all(
    codecs.map(async ({ url, export: name }): Promise<CodecModule> => (await import(url))[name]),
  );
  await Promise.all(
    connections.map(async (indices) => {
      const client = await connect({ port }, { extraCodecs, profiles: [profile] });
      let next = 0;
      const ask = async () => {
        while (next < indices.length) {
          await client.call(command, { args: { i: `${indices[next++]}` } }).bytes();
        }
      };
      try {
        await Promise.all(Array.from({ length: inFlight }, ask));
      } finally {
        await client.close();
      }
    }),
  );
}

process.on('message', async (task: LoadTask) => {
  const done = await run(task).then(
    (): LoadDone => ({}),
    (error): LoadDone => ({ error: (error as Error).message }),
  );
  process.send?.(done);
});
process.on('disconnect', () => process.exit());
// A terminal's Ctrl-C goes to all its processes: the experiment ends the load in hand itself.
process.on('SIGINT', () => undefined);
