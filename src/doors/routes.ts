/** What is where, by HTTP: one table for all that a server answers beside WebSockets. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ConnectionInfo } from '../server/authorize.ts';
import type { Pipeline } from './pipeline.ts';

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
  /** As it came. */
  readonly query: string;
  /** The client waits for a word before it sends the body. */
  readonly awaitsContinue: boolean;
  readonly pipeline: Pipeline;
}

/** Answers a request; what it throws is an internal error. */
export type Route = (exchange: Exchange) => void | Promise<void>;

export class Routes {
  /** Of whole paths. */
  readonly #whole = new Map<string, Route>();
  /** Of all that is below a path. */
  readonly #below: { readonly prefix: string; readonly route: Route }[] = [];

  /**
   * `path` is below the doors' base and begins with a slash; one that ends with a slash takes all that is below it, but for
   * `/`, which is itself alone.
   */
  add(path: string, route: Route): this {
    if (path !== '/' && path.endsWith('/')) this.#below.push({ prefix: path, route });
    else this.#whole.set(path, route);
    return this;
  }

  /** The route of `path`, and what is left of it. */
  find(path: string): { route: Route; rest: string } | undefined {
    const whole = this.#whole.get(path);
    if (whole !== undefined) return { route: whole, rest: '' };
    const below = this.#below.find(({ prefix }) => path.startsWith(prefix));
    const rest = below && unescaped(path.slice(below.prefix.length));
    return below && rest !== undefined ? { route: below.route, rest } : undefined;
  }
}

function unescaped(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}
