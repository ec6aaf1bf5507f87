/**
 * What a server tells of itself, by node:diagnostics_channel: who subscribes to a channel by its name gets its messages,
 * from every server of the process, at once and on the main thread. Without subscribers nothing is made for it, nor measured.
 */

import { type Channel, channel } from 'node:diagnostics_channel';
import type { Server } from './server.ts';

/** Channel `millrace:connection:open`: a connection has come, and is not admitted yet. */
export interface ConnectionOpened {
  readonly server: Server;
  readonly connectionId: number;
  readonly remote: string;
}

/** Channel `millrace:connection:close`: it is gone. */
export interface ConnectionClosed extends ConnectionOpened {
  /** `ok` when it ended in an orderly way, `lost`, or the code of the protocol error. */
  readonly code: string;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

/** Channel `millrace:request:end`: a request is over, whether or not it has run. */
export interface RequestEnded {
  readonly server: Server;
  readonly connectionId: number;
  readonly remote: string;
  /** As handlers have it. */
  readonly requestId: string;
  /** One of the server's commands, or `(unknown)`. */
  readonly command: string;
  /** `ok`, or the code of its error; `cancelled` when nobody wants the answer any more. */
  readonly code: string;
  readonly principal: unknown;
  /** Profile of the stream that answered it; `plain`: none. */
  readonly profile: string;
  /** Response bytes, and what they were on the wire with their frames' headers. */
  readonly bytes: number;
  readonly wireBytes: number;
  /** Milliseconds from the command's last byte until its handler began, and from there until its last frame was ready. */
  readonly queuedMs: number;
  readonly workMs: number;
}

/** Channel `millrace:lane:lost`: a worker has died, or was ended; another is opened. */
export interface LaneLost {
  readonly server: Server;
  readonly lane: number;
  readonly error: Error;
}

/** Channel `millrace:limit`: a peer has reached a limit, and has lost its connection. */
export interface LimitHit {
  readonly server: Server;
  /** The option's name, such as `maxPings`. */
  readonly limit: string;
  /** Undefined for a connection that was one too many. */
  readonly remote: string | undefined;
}

export const connectionOpened: Channel<unknown, ConnectionOpened> = channel('millrace:connection:open');
export const connectionClosed: Channel<unknown, ConnectionClosed> = channel('millrace:connection:close');
export const requestEnded: Channel<unknown, RequestEnded> = channel('millrace:request:end');
export const laneLost: Channel<unknown, LaneLost> = channel('millrace:lane:lost');
export const limitHit: Channel<unknown, LimitHit> = channel('millrace:limit');
