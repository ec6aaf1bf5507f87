/** Which web pages may come in: a browser says where the page is from, and sends what its user is known by all the same. */

import type { IncomingMessage, ServerResponse } from 'node:http';

/** Who asks: no page, a page that may, or one that may not. */
export type Visitor = 'no-page' | 'same-origin' | 'listed' | 'refused';

/**
 * Judges a request by its `Origin`; `origins` undefined: pages of the same host and port only. Who names origins has said all:
 * `Host` is what a page's own DNS makes of it.
 */
export function visitorOf({ headers }: IncomingMessage, origins: readonly string[] | undefined): Visitor {
  const { origin, host } = headers;
  if (origin === undefined) return 'no-page';
  if (origins !== undefined) return origins.includes(origin) || origins.includes(ANY) ? 'listed' : 'refused';
  return host !== undefined && hostOf(origin) === host.toLowerCase() ? 'same-origin' : 'refused';
}

/** Whether a browser could say this of a page; `*` stands for any. */
export function isOrigin(value: unknown): value is string {
  if (value === ANY || value === OPAQUE) return true;
  if (typeof value !== 'string' || !/^[a-z][a-z\d+.-]*:\/\/[^\s/?#@]+$/.test(value) || !URL.canParse(value))
    return false;
  // Of schemes that it knows nothing of, URL says nothing more.
  const { origin } = new URL(value);
  return origin === OPAQUE || origin === value;
}

/** Seconds for which a browser need not ask again. */
const PREFLIGHT_SECONDS = 600;
const ANY = '*';
/** What a browser says of pages that have none. */
const OPAQUE = 'null';

/**
 * Lets a page of an origin that is listed read what it is answered, which its browser would keep from it. Cookies and the like
 * are for those that are named: `*` is anybody. @returns whether the browser asks no more than what the page may send; it is
 * answered then.
 */
export function shareWithPage(
  { method, headers }: IncomingMessage,
  res: ServerResponse,
  origins: readonly string[] = [],
): boolean {
  const { origin = '' } = headers;
  const isNamed = origins.includes(origin);
  res.setHeader('Access-Control-Allow-Origin', isNamed ? origin : ANY);
  if (isNamed) res.setHeader('Access-Control-Allow-Credentials', 'true');
  res.setHeader('Access-Control-Expose-Headers', 'Retry-After');
  if (method !== 'OPTIONS' || headers['access-control-request-method'] === undefined) return false;
  const asked = headers['access-control-request-headers'];
  res.writeHead(204, {
    'Access-Control-Allow-Methods': 'GET, POST',
    ...(asked !== undefined && { 'Access-Control-Allow-Headers': asked }),
    'Access-Control-Max-Age': PREFLIGHT_SECONDS,
    'Cache-Control': 'no-store',
  });
  res.end();
  return true;
}

/** Host and port as a browser says them in `Host`; undefined for an origin that is none, such as `null`. */
function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}
