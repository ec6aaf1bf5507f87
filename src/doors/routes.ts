/** What is where, by HTTP: one table for all that a server answers beside WebSockets. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ConnectionInfo } from '../server/authorize.ts';

/** One request. */
export interface Exchange {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** Who it comes from, with its headers. */
  readonly info: ConnectionInfo;
  /** Where the doors are, without a slash at its end: '' on a port of ours. */
  readonly base: string;
  /** What follows the route in the path, its escapes undone; '' for a route that is a whole path. */
  readonly rest: string;
  readonly query: URLSearchParams;
  /** The client waits for a word before it sends the body. */
  readonly awaitsContinue: boolean;
}

/** Answers a request; what it throws is an internal error. */
export type Route = (exchange: Exchange) => void | Promise<void>;

export class Routes {
  readonly #routes = new Map<string, Route>();

  /**
   * `path` is below the doors' base and begins with a slash; one that ends with a slash takes all that is below it, but for
   * `/`, which is itself alone.
   */
  add(path: string, route: Route): this {
    this.#routes.set(path, route);
    return this;
  }

  /** The route of `path`, and what is left of it. */
  find(path: string): { route: Route; rest: string } | undefined {
    const whole = this.#routes.get(path);
    if (whole !== undefined) return { route: whole, rest: '' };
    for (const [prefix, route] of this.#routes) {
      if (prefix === '/' || !prefix.endsWith('/') || !path.startsWith(prefix)) continue;
      const rest = unescaped(path.slice(prefix.length));
      return rest === undefined ? undefined : { route, rest };
    }
    return undefined;
  }
}

function unescaped(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}
