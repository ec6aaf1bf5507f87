/**
 * The clients of a load, in a process of their own: asks a server for responses of an experiment's traffic, each
 * connection for its own.
 */

import { makeClient } from '../../client/client.ts';
import { codecsOf } from '../../client/connect.ts';
import type { DictionaryStore } from '../../client/dictionaries.ts';
import { openSocket } from '../../client/open-socket.ts';
import type { CodecModule } from '../../encoding/codec.ts';
import { dictionaryIdNow } from '../../encoding/read-dictionary.ts';
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
  /** Those that the clients decode. */
  readonly profiles: readonly string[];
  /** What all clients hold from the beginning, in base64. */
  readonly dictionary?: string;
  readonly codecs: readonly Pick<CodecModule, 'url' | 'export'>[];
}

export interface LoadOperations {
  /** Asks for everything in the task. @throws Error when something was not answered. */
  load(task: LoadTask): Promise<void>;
}

async function load(task: LoadTask): Promise<void> {
  const { port, command, inFlight, connections, profiles, dictionary } = task;
  const extraCodecs = await Promise.all(
    task.codecs.map(async ({ url, export: name }): Promise<CodecModule> => (await import(url))[name]),
  );
  const codecs = await codecsOf({ extraCodecs });
  const store = dictionary === undefined ? undefined : storeOf(Buffer.from(dictionary, 'base64'));
  await Promise.all(
    connections.map(async (indices) => {
      const { transport } = await openSocket({ port }, undefined, undefined);
      const client = makeClient(await transport, codecs, { profiles: [...profiles] }, store);
      const left = indices.values();
      try {
        await client.ready();
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

/** What earlier connections have brought. */
function storeOf(dictionary: Uint8Array): DictionaryStore {
  const held = dictionaryIdNow(dictionary);
  return {
    load: async (id) => (id === held ? dictionary : undefined),
    save: async () => undefined,
  };
}

serveOperations<LoadOperations>({ load });
