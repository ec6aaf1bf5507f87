/** A pool of connections from Node.js. */

import { type ConnectOptions, connect } from './connect.ts';
import { createPool, type Pool } from './pool.ts';
import type { PoolOptions } from './pool-options.ts';

export interface ConnectPoolOptions extends PoolOptions {
  /** What each connection is made with. */
  connect?: Omit<ConnectOptions, 'signal'>;
}

type Where = Parameters<typeof connect>[0];

/**
 * A pool of connections over TCP, TLS or Unix sockets, to one address or to several that do the same. It begins to
 * connect at once, and connects again what is lost; calls wait as its options say. {@link Pool.ready} tells when the
 * first connection is there. @throws TypeError that names the option which is wrong.
 */
export function connectPool(
  addresses: Where | readonly Where[],
  options: ConnectPoolOptions = {},
): Pool<Where> {
  const { connect: connectOptions = {}, ...poolOptions } = options;
  const list = Array.isArray(addresses) ? (addresses as readonly Where[]) : [addresses as Where];
  return createPool(list, (where, signal) => connect(where, { ...connectOptions, signal }), poolOptions);
}
