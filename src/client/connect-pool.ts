/** A pool of connections from Node.js. */

import { checkOptions, nested, type Rules } from '../options/rules.ts';
import { CONNECT_RULES, type ConnectAddress, type ConnectOptions, checkAddress, connect } from './connect.ts';
import { createPool, type Pool } from './pool.ts';
import { POOL_RULES, type PoolOptions } from './pool-options.ts';
import type { AnyCommands } from './typed.ts';

/** Options of `connectPool` in Node.js. */
export interface ConnectPoolOptions extends PoolOptions {
  /** What each connection is made with. */
  connect?: Omit<ConnectOptions, 'signal'>;
}

const { signal: _, ...CONNECTION } = CONNECT_RULES;
const RULES: Rules<ConnectPoolOptions> = { ...POOL_RULES, connect: nested(CONNECTION) };

/**
 * A pool of connections over TCP, TLS or Unix sockets, to one address or to several that do the same. It begins to
 * connect at once, and connects again what is lost; calls wait as its options say. {@link Pool.ready} tells when the
 * first connection is there. @throws TypeError that names the option which is wrong.
 */
export function connectPool<Commands = AnyCommands>(
  addresses: ConnectAddress | readonly ConnectAddress[],
  options: ConnectPoolOptions = {},
): Pool<ConnectAddress, Commands> {
  checkOptions(options, RULES, 'connectPool');
  const list = (Array.isArray(addresses) ? addresses : [addresses]) as readonly ConnectAddress[];
  const { connect: connectOptions = {}, ...poolOptions } = options;
  // What no try can mend is no reason to try again.
  for (const where of list) checkAddress(where, 'connectPool', connectOptions);
  return createPool(list, (where, signal) => connect(where, { ...connectOptions, signal }), poolOptions);
}
