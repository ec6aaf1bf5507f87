/** millrace for browsers: the client over any transport, with contexts that need no native code. */

import { Client, type ClientOptions } from './client.ts';
import type { Transport } from './connection.ts';
import { portableCodecs } from './encoding/portable.ts';
import { CodecRegistry } from './encoding/registry.ts';

export { type CallOptions, Client, type ClientOptions, type ClientStats, type Response } from './client.ts';
export type { Transport } from './connection.ts';
export { CommandError, ConnectionError, ProtocolError } from './wire/errors.ts';

/**
 * A client on a connected transport; resolves when the server has answered.
 * @throws ConnectionError when it does not speak the protocol.
 */
export async function connectOver(transport: Transport, options: ClientOptions = {}): Promise<Client> {
  const client = new Client(transport, new CodecRegistry(portableCodecs()), options);
  await client.ready();
  return client;
}
