/** What a pool can be asked for, with the defaults. */

import { checkOptions, count, given, integer, milliseconds, oneOf, type Rules } from '../options/rules.ts';
import type { CircuitOptions } from './circuit.ts';
import type { CallOptions } from './options.ts';

/** How many connections a pool has, who waits for one, and when what failed is tried again. */
export interface PoolOptions extends Partial<CircuitOptions> {
  /** Connections to each address; default 1, at most 1024. */
  size?: number;
  /** Which connection a call gets: the one with the fewest in flight (the default), or each in turn. */
  balance?: Balance;
  /**
   * How often one call is sent at most; default 3. It is sent again only when nothing of it has run, or when it is
   * idempotent and its connection was lost, and nothing of its response was handed out.
   */
  maxAttempts?: number;
  /** Calls that may wait for a connection that takes them; default 1000. Past it they fail with `overloaded`. */
  maxWaiting?: number;
  /** Bytes of their arguments and of data that is at hand; default 64 MiB. */
  maxWaitingBytes?: number;
  /** Milliseconds that a call may wait at a time; default 10 000. Then it fails with `overloaded`, or with its last error. */
  maxWaitMs?: number;
  /** Milliseconds from the first failure of an address to the next try, which double; default 100. All are jittered. */
  minBackoffMs?: number;
  /** The cap on that; default 10 000. A connection that lasts as long has proven that its address works. */
  maxBackoffMs?: number;
  /** Failures of an address in a row after which its circuit opens; default 5. */
  circuitFailures?: number;
  /** Milliseconds for which it is open before one connection and one call at a time try it again; default 10 000. */
  circuitOpenMs?: number;
}

/** Which connection a call gets. */
export type Balance = 'least-in-flight' | 'round-robin';
export type CheckedPoolOptions = Required<PoolOptions>;

/** What one call of a pool sends, and whether it may be sent again. */
export interface PoolCallOptions extends Omit<CallOptions, 'data'> {
  /**
   * Command data. Bytes, a string and a function that makes it can be sent again; an iterable can not, once it has been
   * asked for its first piece.
   */
  data?: CallOptions['data'] | (() => NonNullable<CallOptions['data']>);
  /** Running it twice does what running it once does: it may be sent again when its connection is lost; default false. */
  idempotent?: boolean;
}

const DEFAULTS: CheckedPoolOptions = {
  size: 1,
  balance: 'least-in-flight',
  maxAttempts: 3,
  maxWaiting: 1000,
  maxWaitingBytes: 64 << 20,
  maxWaitMs: 10_000,
  minBackoffMs: 100,
  maxBackoffMs: 10_000,
  circuitFailures: 5,
  circuitOpenMs: 10_000,
};

export const POOL_RULES: Rules<PoolOptions> = {
  size: integer(1, 1024),
  balance: oneOf(['least-in-flight', 'round-robin']),
  maxAttempts: count,
  maxWaiting: integer(0),
  maxWaitingBytes: integer(0),
  maxWaitMs: milliseconds,
  minBackoffMs: milliseconds,
  maxBackoffMs: milliseconds,
  circuitFailures: count,
  circuitOpenMs: milliseconds,
};

/** The options with their defaults. @throws TypeError that names the option which is wrong. */
export function checkPoolOptions(options: PoolOptions): CheckedPoolOptions {
  checkOptions(options, POOL_RULES, 'createPool');
  return { ...DEFAULTS, ...given(options) };
}
