/** Which web pages may come in: a browser says where the page is from, and sends what its user is known by all the same. */

import type { IncomingMessage } from 'node:http';

/** Who asks: no page, a page that may, or one that may not. */
export type Visitor = 'no-page' | 'same-origin' | 'listed' | 'refused';

/** Judges a request by its `Origin`; `origins` undefined: pages of the same host and port only. */
export function visitorOf({ headers }: IncomingMessage, origins: readonly string[] | undefined): Visitor {
  const { origin, host } = headers;
  if (origin === undefined) return 'no-page';
  if (origins !== undefined) return origins.includes(origin) || origins.includes('*') ? 'listed' : 'refused';
  return host !== undefined && hostOf(origin) === host.toLowerCase() ? 'same-origin' : 'refused';
}

/** Host and port as a browser says them in `Host`; undefined for an origin that is none, such as `null`. */
function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}
