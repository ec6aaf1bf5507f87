/** A client over a transport of one's own, with the codecs of Node.js. */

import type { Transport } from '../connection/transport.ts';
import { checkOptions, type Rules } from '../options/rules.ts';
import { ConnectionError } from '../wire/errors.ts';
import { after } from '../wire/timers.ts';
import { type Client, makeClient } from './client.ts';
import { CONNECT_RULES, type ConnectOptions, codecsOf, storeOf } from './connect.ts';
import type { AnyCommands } from './typed.ts';

export type ConnectOverOptions = Omit<ConnectOptions, 'tls' | 'headers'>;

const { tls: _, headers: __, ...RULES } = CONNECT_RULES;

/**
 * A client on a connected transport; resolves when the server has answered.
 * @throws ConnectionError when it does not speak the protocol, or has not answered within `timeoutMs`; TypeError that
 *   names the option which is wrong.
 */
export async function connectOver<Commands = AnyCommands>(
  transport: Transport,
  options: ConnectOverOptions = {},
): Promise<Client<Commands>> {
  checkOptions(options, RULES satisfies Rules<ConnectOverOptions>, 'connectOver');
  const { timeoutMs = 10_000, signal } = options;
  const [codecs, store] = await Promise.all([codecsOf(options), storeOf(options)]);
  const client = makeClient(transport, codecs, options, store);
  const timer = after(timeoutMs, () => client.destroy(silentFor(timeoutMs, transport)));
  const giveUp = () => client.destroy(signal?.reason);
  signal?.addEventListener('abort', giveUp, { once: true });
  if (signal?.aborted) giveUp();
  try {
    await client.ready();
    return client as Client<Commands>;
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', giveUp);
  }
}

function silentFor(timeoutMs: number, { remote }: Transport): ConnectionError {
  const message = `${remote} has not sent its settings within ${timeoutMs} ms`;
  return new ConnectionError(message, { code: 'connect-timeout', notStarted: true });
}
