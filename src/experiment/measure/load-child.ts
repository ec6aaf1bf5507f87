/**
 * The clients of a load, in a process of their own: asks a server for responses of an experiment's traffic, each
 * connection for its own.
 */

import type { CodecModule } from '../../encoding/codec.ts';
import { connect } from '../../index.ts';
import { serveOperations } from '../process/operations.ts';
import { closedLoop } from '../traffic/closed-loop.ts';

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

export interface LoadOperations {
  /** Asks for everything in the task. @throws Error when something was not answered. */
  load(task: LoadTask): Promise<void>;
}

async function load({ port, command, inFlight, connections, profile, codecs }: LoadTask): Promise<void> {
  const extraCodecs = await Promise.all(
    codecs.map(async ({ url, export: name }): Promise<CodecModule> => (await import(url))[name]),
  );
  await Promise.all(
    connections.map(async (indices) => {
      const client = await connect({ port }, { extraCodecs, profiles: [profile] });
      const left = indices.values();
      try {
        await closedLoop(inFlight, () => {
          const { value: i } = left.next();
          return i === undefined ? undefined : client.call(command, { args: { i: `${i}` } }).bytes();
        });
      } finally {
        await client.close();
      }
    }),
  );
}

serveOperations<LoadOperations>({ load });
