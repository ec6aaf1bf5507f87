/** Who gets in (protocol C6, D): the hook that says so, and what it is asked. */

import type { PeerCertificate } from 'node:tls';

/** What a command does: `rw` commands change state. */
export type CommandMode = 'ro' | 'rw';

/** A connection as the hook sees it. */
export interface ConnectionInfo {
  /** Address of the other end, `unix` on a Unix socket. */
  readonly remote: string;
  /** The client's certificate under mutual TLS. */
  readonly peerCertificate?: PeerCertificate;
  /** True when the certificate was verified against the `ca` of the server's `tls` option. */
  readonly certificateVerified: boolean;
  /** Who the hook has said that this is. */
  readonly principal?: string;
}

/** One question to the hook: about a connection before anything is read from it, or about one command. */
export interface AuthorizeQuery {
  readonly connection: ConnectionInfo;
  /** Undefined when the question is about the connection itself. */
  readonly command?: string;
  readonly mode?: CommandMode;
  /** The handler's arguments. */
  readonly args?: ReadonlyMap<string, Uint8Array>;
  /** The value of `:authorization`, if the command has one. Keep it out of logs. */
  readonly authorization?: string;
}

/**
 * Yes or no, or yes with the name of who it is. A connection belongs to one principal: a later answer that names
 * another one counts as no, for contexts are shared within a connection.
 */
export type Decision = boolean | { readonly principal: string };

/** Throwing counts as no. */
export type Authorize = (query: AuthorizeQuery) => Decision | Promise<Decision>;

/** One connection's dealings with the hook. */
export class Admission {
  readonly #authorize: Authorize;
  readonly #report: (error: unknown) => void;
  #connection: ConnectionInfo;

  /** `report` is told what the hook throws. */
  constructor(authorize: Authorize, connection: ConnectionInfo, report: (error: unknown) => void) {
    this.#authorize = authorize;
    this.#connection = connection;
    this.#report = report;
  }

  /** Why not, or undefined for yes. Never rejects. */
  async ask(about: Omit<AuthorizeQuery, 'connection'> = {}): Promise<string | undefined> {
    try {
      return this.#judge(await this.#authorize({ ...about, connection: this.#connection }));
    } catch (error) {
      this.#report(error);
      return 'not authorized';
    }
  }

  #judge(decision: Decision): string | undefined {
    if (typeof decision !== 'object' || decision === null)
      return decision === true ? undefined : 'not authorized';
    const { principal } = this.#connection;
    if (principal !== undefined && principal !== decision.principal) {
      return 'not authorized: this connection belongs to another principal';
    }
    this.#connection = { ...this.#connection, principal: decision.principal };
    return undefined;
  }
}
