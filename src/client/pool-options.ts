/** What a pool can be asked for, with the defaults. */

import type { CircuitOptions } from './circuit.ts';
import type { CallOptions } from './options.ts';

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
  /** Milliseconds for which it is open before one connection and one call try it again; default 10 000. */
  circuitOpenMs?: number;
}

export type Balance = 'least-in-flight' | 'round-robin';
export type CheckedPoolOptions = Required<PoolOptions>;

export interface PoolCallOptions extends Omit<CallOptions, 'data'> {
  /**
   * Command data. Bytes, a string and a function that makes it can be sent again; an iterable can not, once it has been
   * asked for its first piece.
   */
  data?: CallOptions['data'] | (() => NonNullable<CallOptions['data']>);
  /** Running it twice does what running it once does: it may be sent again when its connection is lost; default false. */
  idempotent?: boolean;
}

/** Timers take no more. */
const MAX_TIMER_MS = 2 ** 31 - 1;

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

const BOUNDS: Record<Exclude<keyof PoolOptions, 'balance'>, readonly [least: number, most: number]> = {
  size: [1, 1024],
  maxAttempts: [1, Number.MAX_SAFE_INTEGER],
  maxWaiting: [0, Number.MAX_SAFE_INTEGER],
  maxWaitingBytes: [0, Number.MAX_SAFE_INTEGER],
  maxWaitMs: [1, MAX_TIMER_MS],
  minBackoffMs: [1, MAX_TIMER_MS],
  maxBackoffMs: [1, MAX_TIMER_MS],
  circuitFailures: [1, Number.MAX_SAFE_INTEGER],
  circuitOpenMs: [1, MAX_TIMER_MS],
};

/** The options with their defaults. @throws TypeError that names the option which is wrong. */
export function checkPoolOptions(options: PoolOptions): CheckedPoolOptions {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  for (const [name, value] of given) checkOption(name, value);
  return { ...DEFAULTS, ...Object.fromEntries(given) };
}

function checkOption(name: string, value: unknown): void {
  if (name === 'balance') {
    if (value === 'least-in-flight' || value === 'round-robin') return;
    throw new TypeError(`option balance: '${value}' is neither 'least-in-flight' nor 'round-robin'`);
  }
  const bounds = Object.hasOwn(BOUNDS, name) ? BOUNDS[name as keyof typeof BOUNDS] : undefined;
  if (bounds === undefined) throw new TypeError(`a pool has no option ${name}`);
  const [least, most] = bounds;
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > most)
    throw new TypeError(`option ${name}: ${value} is not a whole number from ${least} to ${most}`);
}
