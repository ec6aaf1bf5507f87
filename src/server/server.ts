/** The server, as its user sees it; what stands behind it is `LaneServer`. */

import type { RecordFigures } from '../capture/recorder.ts';
import type { CloseOptions } from '../connection/grace.ts';
import type { Transport } from '../connection/transport.ts';
import type { WebServer } from '../doors/attach.ts';
import type { LanePool, LanePoolOptions } from '../lanes/pool.ts';
import type { TopicOptions } from '../topics/options.ts';
import type { Topic } from '../topics/topic.ts';
import type { ConnectionInfo } from './authorize.ts';
import { LaneServer } from './lane-server.ts';
import type { Address, Doors, ListenAddress } from './listener.ts';
import { checkOptions, type ServerOptions, type UpdateOptions } from './options.ts';
import type { ServerStats } from './stats.ts';

export type { Address } from './listener.ts';
export type { ServerStats } from './stats.ts';

/** A server, as its user sees it. */
export interface Server {
  /** Where the server listens, once it does. */
  readonly address: Address | undefined;
  /** What has been recorded so far; undefined without the option `record`. */
  readonly recorded: RecordFigures | undefined;
  /**
   * Listens on TCP (`host` 127.0.0.1 unless given; `port` 0, the default: a free one) or on a Unix socket.
   * Before that every worker loads the modules of its commands and codecs, within 30 seconds.
   * @throws TypeError that names the option which is wrong; Error of the system, such as EADDRINUSE, or when the server
   *   is closed. When a module cannot be loaded or lacks its export, the error says which, and the server is closed.
   */
  listen(where?: ListenAddress): Promise<Address>;
  /**
   * Stops: accepts nothing new, lets requests in flight finish for `grace` milliseconds, or `{ graceMs }` (default 5000),
   * their `draining` signals fired at once, then ends what is left. Calling it again returns the same promise.
   */
  close(grace?: number | CloseOptions): Promise<void>;
  /**
   * Serves a connection that is not the listener's: over a transport of the caller's own (its contract: {@link Transport}),
   * or one end of a `memoryPair()`. It counts and ends like any other, and needs no {@link listen}. `info` is what
   * `authorize` is told of it; `remote` is the transport's own unless it is given. One that comes while the server is
   * closing, or has `maxConnections`, is destroyed at once. @throws TypeError when it is no transport, or names what is wrong in `info`.
   */
  accept(transport: Transport, info?: AcceptInfo): void;
  /**
   * Puts the doors for HTTP and WebSockets into a server of node:http or node:https, such as that of Fastify or Express: what
   * comes to `path`, or below it, is ours, whichever listeners the server has; the rest is left as it is. Where several are
   * attached, the longest path takes what comes, of one path who came last. Resolves when the workers have loaded their modules,
   * as {@link listen} does. When this server is closed, the path is no longer ours; theirs, when closed before, waits for its WebSockets.
   * @throws TypeError that names what is wrong; whatever {@link listen} throws of modules.
   */
  attach(httpServer: WebServer, where: AttachOptions): Promise<void>;
  stats(): Promise<ServerStats>;
  /**
   * Changes what can be changed while it serves. `contextMemory`, `outputMemory` and `maxConnections` hold at once, all else for
   * connections that come from then on; nothing is dropped. An option that is given as undefined goes back to its default.
   * @throws TypeError that names the option which is wrong, or cannot be changed; nothing has changed then.
   */
  update(changes: UpdateOptions): void;
  /**
   * The topic of this name, 1 to 255 bytes in UTF-8, made if there is none (protocol C10). Clients subscribe and publish to
   * it by `subscribe` and `publish`, each of which `authorize` is asked about.
   * @throws TypeError that names what is wrong; Error when there is one already and options are given, and of a name that
   *   there is none of once {@link close} was called.
   */
  topic(name: string, options?: TopicOptions): Topic;
  /** {@link close} with the default grace time, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** What is known of a connection that `server.accept()` gets. */
export type AcceptInfo = Partial<Omit<ConnectionInfo, 'principal'>>;

/** Where the doors are in a server of somebody else's, and which. */
export interface AttachOptions extends Partial<Omit<Doors, 'raw'>> {
  /** Begins with a slash, such as `/millrace`, and is as URLs have it: without spaces, `..`, `?` or `#`, other letters escaped. */
  path: string;
}

/** Makes a server; it serves once {@link Server.listen} is called. @throws Error that names the option which is wrong. */
export function createServer(options: ServerOptions = {}): Server {
  return makeServer(options);
}

/**
 * {@link createServer} on lanes of the caller's, which the server uses and leaves open. `lanes` is told what the options
 * say of them: whether it heeds that is up to the caller.
 */
export function makeServer(options: ServerOptions, lanes?: (wanted: LanePoolOptions) => LanePool): Server {
  return new LaneServer(checkOptions(options), lanes);
}
