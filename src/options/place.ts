/** Where to listen, or to connect to. */

import { checkOptions, filledString, integer, type Rule } from './rules.ts';

export type Place =
  | { readonly path: string; readonly host?: undefined; readonly port?: undefined }
  | { readonly path?: undefined; readonly host?: string; readonly port: number };

/** Where a server listens: there, or on a socket that somebody else has bound. */
export type ListenPlace = Place | { readonly fd: number };

/** {@link placeOf}, or a descriptor. @throws TypeError that names the option which is wrong. */
export function listenPlaceOf(where: unknown, beside: Readonly<Record<string, Rule>>): ListenPlace {
  if ((where as { fd?: unknown } | null)?.fd === undefined) return placeOf(where, 'listen', 0, beside);
  checkOptions(where, { fd: integer(0, 2 ** 31 - 1), ...beside }, 'listen on a descriptor');
  return { fd: (where as { fd: number }).fd };
}

/**
 * `where` as a port (from `leastPort` on; missing, it is that one where 0 is allowed) or the path of a Unix socket.
 * `beside`: what else may be there. @throws TypeError that names the option which is wrong; `who` takes them.
 */
export function placeOf(
  where: unknown,
  who: string,
  leastPort: 0 | 1,
  beside: Readonly<Record<string, Rule>> = {},
): Place {
  const rules = { host: filledString, port: integer(leastPort, 65_535), path: filledString, ...beside };
  checkOptions(where, rules, who);
  const { host, port, path } = where as { host?: string; port?: number; path?: string };
  if (path !== undefined) {
    if (host === undefined && port === undefined) return { path };
    throw new TypeError('option path: a Unix socket has neither host nor port');
  }
  if (port === undefined && leastPort > 0)
    throw new TypeError(`option port: missing, ${who} takes a port or a path`);
  return { host, port: port ?? 0 };
}
