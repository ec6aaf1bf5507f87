/** Who gets in (protocol C6, D): the hook that says so, and what it is asked. */

import type { IncomingHttpHeaders } from 'node:http';
import type { PeerCertificate } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import type { ProxyFacts } from '../transport/proxy-header.ts';
import type { Failure } from '../wire/failure.ts';
import { after } from '../wire/timers.ts';

/** What a command does: `rw` commands change state. */
export type CommandMode = 'ro' | 'rw';

/** A connection as the hook sees it. */
export interface ConnectionInfo {
  /**
   * Address of the other end, `unix` on a Unix socket, `an unknown address` where the system has none; behind a proxy what the
   * proxy says.
   */
  readonly remote: string;
  /** What proxies on the way have said of the connection (the option `proxyProtocol`), the nearest one first. */
  readonly proxies?: readonly ProxyFacts[];
  /** The client's certificate under mutual TLS. */
  readonly peerCertificate?: PeerCertificate;
  /** True when the certificate was verified against the `ca` of the server's `tls` option. */
  readonly certificateVerified: boolean;
  /** Of the HTTP request that it came by, or was upgraded to a WebSocket by; node:http's form. Missing for frames alone. */
  readonly headers?: Readonly<IncomingHttpHeaders>;
  /** Who the hook has said that this is. */
  readonly principal?: unknown;
}

/** One question to the hook: about a connection before anything is read from it, or about one command. */
export interface AuthorizeQuery {
  readonly connection: ConnectionInfo;
  /** Undefined when the question is about the connection itself. It may be one that the server does not have. */
  readonly command?: string;
  /** Of a command that the server does not have: `rw`. */
  readonly mode?: CommandMode;
  /** The handler's arguments. */
  readonly args?: ReadonlyMap<string, Uint8Array>;
  /**
   * For `files.*`: the paths that the command names, as they really are once links are followed, relative to the root,
   * their parts separated by `/`; the root is ''. Judge by these, for `args` may name the same file otherwise. A folder
   * stands for all below it, and a listing of it follows the links that are there.
   */
  readonly paths?: readonly string[];
  /**
   * The value of `:authorization`, if the command has one; else what the header `Authorization` had, where it came by HTTP or
   * WebSocket. Keep it out of logs.
   */
  readonly authorization?: string;
  /** For logs: what the command's handler has as `request.requestId`. */
  readonly requestId?: string;
}

/**
 * Yes is `true`, or exactly `{ principal }`: yes, and who it is. The principal is any value but undefined, null, false and
 * ''; handlers get it as `request.principal`, those in lanes a structured clone. A connection belongs to one: a later
 * answer that names another (by deep comparison) counts as no, for contexts are shared within a connection.
 *
 * Everything else is no: `false`, and with a word to `onError` any other value, an object with other keys, an error, and a
 * promise that does not settle within the option `authorizeTimeout`.
 */
export type Decision = boolean | { readonly principal: unknown };

/** Throwing counts as no. */
export type Authorize = (query: AuthorizeQuery) => Decision | Promise<Decision>;

export interface AdmissionOptions {
  readonly authorize: Authorize;
  /** Milliseconds that an answer may take. */
  readonly timeoutMs: number;
  /** Told why a no is none that the hook meant. */
  readonly report: (error: unknown, command: string | undefined) => void;
}

/** What is asked, but for the connection. */
export type Question = Omit<AuthorizeQuery, 'connection'>;

const NO: Failure = { code: 'not-authorized', message: 'not authorized' };
const NOT_ITS: Failure = {
  code: 'not-authorized',
  message: 'not authorized: this connection belongs to another principal',
};

/** One connection's dealings with the hook. */
export class Admission {
  readonly #options: AdmissionOptions;
  #connection: ConnectionInfo;
  #admitted: Promise<Failure | undefined> | undefined;

  constructor(connection: ConnectionInfo, options: AdmissionOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  /** Who the hook has said that this is; undefined: nobody yet. */
  get principal(): unknown {
    return this.#connection.principal;
  }

  /** Whether the connection itself is let in; the hook is asked once. */
  admit(): Promise<Failure | undefined> {
    this.#admitted ??= this.ask();
    return this.#admitted;
  }

  /** Why not, or undefined for yes. `pathsOf` says which `paths` are meant; that may take time, and fail. Never rejects. */
  async ask(about: Question = {}, pathsOf?: () => Promise<readonly string[]>): Promise<Failure | undefined> {
    try {
      const query = pathsOf === undefined ? about : { ...about, paths: await pathsOf() };
      return this.#judge(await this.#answer(query), about.command);
    } catch (error) {
      this.#options.report(error, about.command);
      return NO;
    }
  }

  async #answer(about: Question): Promise<unknown> {
    const { authorize, timeoutMs } = this.#options;
    const authorization = about.authorization ?? this.#connection.headers?.authorization;
    const shown = authorization !== undefined && { authorization };
    const answer: unknown = authorize({ ...about, ...shown, connection: this.#connection });
    if (typeof (answer as PromiseLike<unknown> | undefined)?.then !== 'function') return answer;
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = after(timeoutMs, () =>
      reject(new Error(`authorizeTimeout: authorize has not answered within ${timeoutMs} ms`)),
    ).unref();
    try {
      return await Promise.race([answer, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #judge(answer: unknown, command: string | undefined): Failure | undefined {
    if (answer === true) return undefined;
    if (answer === false) return NO;
    const principal = principalOf(answer);
    if (principal === undefined) {
      const shapes = 'neither a boolean nor { principal } alone, so it says no';
      this.#options.report(new TypeError(`authorize answered with ${kindOf(answer)}: ${shapes}`), command);
      return NO;
    }
    if (this.principal !== undefined)
      return isDeepStrictEqual(this.principal, principal) ? undefined : NOT_ITS;
    this.#connection = { ...this.#connection, principal };
    return undefined;
  }
}

/** Undefined for what is not exactly `{ principal }`, or names nobody. */
function principalOf(answer: unknown): unknown {
  if (typeof answer !== 'object' || answer === null || !isPlain(answer)) return undefined;
  const keys = Reflect.ownKeys(answer);
  if (keys.length !== 1 || keys[0] !== 'principal') return undefined;
  const { principal } = answer as { principal: unknown };
  return principal === null || principal === false || principal === '' ? undefined : principal;
}

/** Made by `{ … }`, of this realm or another. */
function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** What it is, and nothing of what it holds. */
function kindOf(answer: unknown): string {
  if (Array.isArray(answer)) return 'an array';
  return answer === null ? 'null' : typeof answer === 'object' ? 'another object' : typeof answer;
}
