/** A connection that is being made, by whatever way, and how whoever waits for it gives it up. */

import type { Transport } from '../connection/transport.ts';
import { withoutSources } from '../transport/tls-error.ts';
import { ConnectionError, type ConnectionErrorCode } from '../wire/errors.ts';
import { after } from '../wire/timers.ts';
import type { Client } from './client.ts';

export interface Opening {
  /** What it leads to, for messages. */
  readonly name: string;
  /** @throws ConnectionError that says why no connection came about; any error after {@link destroy}. */
  readonly transport: Promise<Transport>;
  /** Gives up, before the transport is there. */
  destroy(): void;
  /** The error of one that took too long. */
  tooLate(timeoutMs: number): ConnectionError;
  /** What the other end did instead of sending its settings, and what it may have wanted. */
  whyNot(error: ConnectionError, client: Client): Error;
}

/** How long whoever waits for a connection does so; default: 10 000 ms, and no signal. */
interface Patience {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * `connecting`, which `giveUp` ends when the signal fires, or when the time is over, where `tooLate` says so.
 * @throws what it was given up for, whatever comes of that.
 */
export async function unlessGivenUp<T>(
  connecting: Promise<T>,
  { timeoutMs = 10_000, signal }: Patience,
  giveUp: (reason: Error) => void,
  tooLate?: (timeoutMs: number) => Error,
): Promise<T> {
  let late: Error | undefined;
  const timer =
    tooLate &&
    after(timeoutMs, () => {
      late = tooLate(timeoutMs);
      giveUp(late);
    });
  const abort = () => giveUp(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  if (signal?.aborted) abort();
  try {
    return await connecting;
  } catch (error) {
    signal?.throwIfAborted();
    throw late ?? error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

/** A WebSocket's URL for messages: without what may be secret in it. */
export function nameOfUrl(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}

export function cannotConnect(
  name: string,
  reason: string,
  cause: Error,
  code: ConnectionErrorCode,
): ConnectionError {
  return new ConnectionError(`cannot connect to ${name}: ${reason}`, { code, notStarted: true, cause });
}

const NO_TLS = 'it does not speak TLS';
const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOENT: 'there is no such socket',
  ENOTFOUND: 'unknown host',
  EAI_AGAIN: 'its name cannot be looked up now',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'there is no way there',
  ENETUNREACH: 'there is no way there',
  ECONNRESET: 'it closed the connection',
  EINVAL: 'there can be nothing of that name',
  EADDRNOTAVAIL: 'there is no way there',
  EMFILE: 'too many files are open',
  ENFILE: 'too many files are open',
};

/** A host of several addresses fails for each by itself, and the error of them all says nothing. */
export function reasonOf(error: Error): string {
  if (!(error instanceof AggregateError)) return reasonOfOne(error);
  const reasons = new Map<string, string[]>();
  for (const each of error.errors) {
    const reason = reasonOfOne(each);
    reasons.set(reason, [...(reasons.get(reason) ?? []), each.address ?? 'an address']);
  }
  if (reasons.size <= 1) return [...reasons.keys()][0] ?? reasonOfOne(error);
  return [...reasons].map(([reason, addresses]) => `${addresses.join(', ')}: ${reason}`).join('; ');
}

function reasonOfOne({ code, message, name }: NodeJS.ErrnoException): string {
  if (speaksNoTls(message)) return NO_TLS;
  return REASONS[code ?? ''] ?? (withoutSources(message) || code || name);
}

export function connectCode(error: NodeJS.ErrnoException): ConnectionErrorCode {
  if (error.code === 'connect-timeout' || error.code === 'ETIMEDOUT') return 'connect-timeout';
  return speaksNoTls(error.message) ? 'protocol-error' : 'connect-failed';
}

/** Its code depends on whether reading has found out, or writing. */
function speaksNoTls(message: string): boolean {
  return withoutSources(message) === 'wrong version number';
}

export function reworded(error: Error, message: string): ConnectionError {
  const code = error instanceof ConnectionError ? error.code : 'protocol-error';
  return new ConnectionError(message, { code, notStarted: true, cause: error.cause });
}
