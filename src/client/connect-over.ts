/** A client over a transport of one's own, with the codecs of Node.js. */

import type { Transport } from '../connection/transport.ts';
import { checkOptions, type Rules } from '../options/rules.ts';
import { ConnectionError } from '../wire/errors.ts';
import { type Client, makeClient } from './client.ts';
import { CONNECT_RULES, type ConnectOptions, codecsOf, storeOf } from './connect.ts';
import { unlessGivenUp } from './opening.ts';
import type { AnyCommands } from './typed.ts';

/** Options of `connectOver`: a transport has its own way to the server. */
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
  // It may go before there is a client to hear of it.
  const early: (Error | undefined)[] = [];
  transport.onClose = (error) => void early.push(error);
  const [codecs, store] = await Promise.all([codecsOf(options), storeOf(options)]);
  const client = makeClient(transport, codecs, options, store);
  for (const error of early) setImmediate(() => transport.onClose(error));
  await unlessGivenUp(
    client.ready(),
    options,
    (reason) => {
      client.destroy(reason);
      // One that was gone before it was handed over says nothing of that any more.
      setImmediate(() => transport.onClose(undefined));
    },
    (timeoutMs) => silentFor(timeoutMs, transport),
  );
  return client as Client<Commands>;
}

function silentFor(timeoutMs: number, { remote }: Transport): ConnectionError {
  const message = `${remote} has not sent its settings within ${timeoutMs} ms`;
  return new ConnectionError(message, { code: 'connect-timeout', notStarted: true });
}
