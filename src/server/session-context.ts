/** What a session is made with: what all those of one server share, and what holds for its connection alone. */

import type { ResponseCache } from '../lanes/cache.ts';
import type { LanePool } from '../lanes/pool.ts';
import type { ServerTracing } from '../options/tracing.ts';
import type { ProtocolError } from '../wire/errors.ts';
import type { Failure } from '../wire/failure.ts';
import type { CommandTable } from './commands.ts';
import type { StreamKinds } from './dictionaries.ts';
import type { Offer } from './negotiation.ts';
import type { Server } from './server.ts';
import type { Session } from './session.ts';

/** What holds for one connection beside what all share. */
export interface SessionRules {
  /** The transport cannot answer while it is still reading (protocol A6); missing: as the server is told. */
  readonly halfDuplex?: boolean;
  /** Why a command may not come this way; undefined: it may. @throws ProtocolError when its coming breaks the protocol. */
  readonly judge?: (command: string) => Failure | undefined;
  /** The peer has announced its settings. @throws ProtocolError when it must not. */
  readonly onSettings?: () => void;
  /** A protocol error was found, and the peer is about to be told of it. */
  readonly onFailed?: (error: ProtocolError) => void;
}

/** What all sessions of one server share. */
export interface SessionContext extends Offer {
  readonly server: Server;
  /** Told of every request; undefined: nobody is. */
  readonly tracing: ServerTracing | undefined;
  readonly commands: CommandTable;
  /** Which kind of stream a command's responses go out on. */
  readonly kinds: StreamKinds;
  readonly pool: LanePool;
  readonly cache: ResponseCache;
  readonly halfDuplex: boolean;
  /** Milliseconds for which pieces of responses wait for more; 0: until the end of the tick. */
  readonly coalesceMs: number;
  /** Something of ours went wrong while serving `command`, or the peer broke the protocol. */
  readonly report: (error: unknown, about: { command?: string; remote?: string; lane?: number }) => void;
  readonly closed: (session: Session, reason: Error | undefined) => void;
}
