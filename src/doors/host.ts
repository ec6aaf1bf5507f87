/** What the doors of a server need of it. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Transport } from '../connection/transport.ts';
import type { Turns } from '../connection/turns.ts';
import type { InputShare } from '../reactor/input-share.ts';
import type { Answer } from '../server/answer-feed.ts';
import type { Admission, AuthorizeQuery, ConnectionInfo } from '../server/authorize.ts';
import type { AskedCommand, CallSession } from '../server/call-session.ts';
import type { CommandTable } from '../server/commands.ts';
import type { SessionRules } from '../server/session-context.ts';
import type { Failure } from '../wire/failure.ts';
import type { Limits } from '../wire/limits.ts';

export interface DoorHost {
  readonly limits: Limits;
  readonly commands: CommandTable;
  readonly http: HttpOptions;
  /** Milliseconds of silence after which events say that they go on; 0: never. */
  readonly keepAliveMs: number;
  /** In which the work for all peers is done. */
  readonly turns: Turns;
  /** False while the server is closing, or has as many connections as it may. */
  readonly takesConnections: boolean;
  /** Makes a session of a connection; one that comes while none is taken is destroyed. */
  serve(transport: Transport, info: ConnectionInfo, rules?: SessionRules): void;
  /**
   * Runs one command of somebody who speaks no frames; undefined: none is taken, and the answer says so. `admission`: where it
   * was asked before.
   */
  call(
    command: AskedCommand,
    answer: Answer,
    info: ConnectionInfo,
    admission?: Admission,
  ): CallSession | undefined;
  /** Who says whether somebody gets in; undefined: everybody does. */
  admission(info: ConnectionInfo): Admission | undefined;
  /** A share of the memory for what peers have sent. */
  openInput(): InputShare;
  /** What the authorize hook says of somebody who has no session yet, and of what they ask for: why not, or undefined for yes. */
  ask(info: ConnectionInfo, question?: Omit<AuthorizeQuery, 'connection'>): Promise<Failure | undefined>;
  /** `bytes` as one whole zstd frame, made in a lane, in the time of `whose`; `then` gets undefined where there is none. */
  compress(
    bytes: Uint8Array,
    level: number,
    whose: object,
    then: (coded: Uint8Array | undefined) => void,
  ): void;
  report(error: unknown, about: { remote?: string }): void;
  /** A client that has no session has reached a limit, and is gone. */
  limitHit(limit: keyof Limits, what: string, remote: string): void;
}

/** Options of HTTP and of WebSockets. */
export interface HttpOptions {
  /** Path under which frames travel by HTTP (protocol A7), without slashes at its ends; default `api/exp-http-v2-0001`. */
  prefix?: string;
  /**
   * The live page at `/`, which shows what the server is at and who is connected, and the command `server.stats` that it
   * reads; `authorize` is asked about both. Default true.
   */
  page?: boolean;
  /**
   * Origins of pages that may send requests, read the answers and open WebSockets, such as `https://app.example`; `*`: any.
   * Default: pages of the very host and port that they ask; where origins are named the server's own, with its live page,
   * has to be among them. What says no origin is no page in a browser, and is let in.
   */
  origins?: readonly string[];
  /**
   * Answers requests for paths that are none of the server's own, of whoever `authorize` lets in. Default: 404. Its listeners'
   * errors are its own; what it throws is told to `onError`, and the answer is a 500.
   */
  fallback?: (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;
}
