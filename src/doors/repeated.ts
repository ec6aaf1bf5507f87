/** Headers that a request may say once: of two, a proxy before us could have gone by the other (RFC 9112 section 3.2). */

import type { IncomingMessage } from 'node:http';

/** Those by which we go, and of which Node.js takes the first; it sees to lengths and codings itself. */
const ONCE = new Set(['host', 'authorization', 'content-type']);

/** The header that `req` has twice though it may not, in small letters. */
export function repeatedHeader({ rawHeaders }: IncomingMessage): string | undefined {
  let seen: string[] | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i].toLowerCase();
    if (!ONCE.has(name)) continue;
    if (seen?.includes(name)) return name;
    seen ??= [];
    seen.push(name);
  }
  return undefined;
}
