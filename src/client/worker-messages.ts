/** What a page and the Web Worker that has its connection say to each other. */

import { CommandError, ConnectionError, ProtocolError } from '../wire/errors.ts';
import type { Progress, SenderSettings } from '../wire/payloads.ts';
import type { ClientStats } from './client.ts';
import type { BrowserConnectOptions } from './connect-browser.ts';
import type { CallOptions } from './options.ts';

/** The page to the worker. */
export type Asked =
  | { ask: 'connect'; url: string; options: BrowserConnectOptions; requestWindow: number }
  | { ask: 'call'; id: number; command: string; options: PlainOptions; hasData: boolean }
  /** A piece of command data; `last` without one is its end. */
  | { ask: 'data'; id: number; bytes: Uint8Array; last: boolean }
  /** So many more bytes of the response may be sent. */
  | { ask: 'credit'; id: number; bytes: number }
  | { ask: 'cancel'; id: number }
  | { ask: 'ping'; id: number }
  | { ask: 'close'; graceMs: number | undefined };

/** The worker to the page. */
export type Told =
  | { tell: 'open'; settings: SenderSettings | undefined; stats: ClientStats }
  | { tell: 'piece'; id: number; bytes: Uint8Array }
  | { tell: 'text'; id: number; text: string }
  | { tell: 'progress'; id: number; progress: Progress }
  /** One more piece of command data may come. */
  | { tell: 'data-taken'; id: number }
  | { tell: 'ended'; id: number; error: PackedError | undefined; stats: ClientStats }
  | { tell: 'pong'; id: number; ms: number; error: PackedError | undefined }
  | { tell: 'goaway'; error: PackedError }
  /** The connection is gone, or never came about. */
  | { tell: 'closed'; error: PackedError; stats: ClientStats | undefined };

/** What of a call's options is plain. */
export type PlainOptions = Pick<CallOptions, 'args' | 'authorization' | 'sensitive' | 'deadlineMs'>;

/** An error without its class, which structured clones lose. */
export interface PackedError {
  readonly name: string;
  readonly message: string;
  readonly code: string | undefined;
  readonly data: unknown;
  readonly notStarted: boolean | undefined;
}

export function packError(error: Error): PackedError {
  const { name, message, code, data, notStarted } = error as Error & Partial<PackedError>;
  return { name, message, code, data, notStarted };
}

export function unpackError({ name, message, code, data, notStarted }: PackedError): Error {
  const options = { code, notStarted } as never;
  if (name === 'CommandError') return new CommandError(message, { code, data, notStarted });
  if (name === 'ConnectionError') return new ConnectionError(message, options);
  if (name === 'ProtocolError') return new ProtocolError(code as never, message);
  return name === 'TypeError' ? new TypeError(message) : new Error(message);
}
