/** What node:tls is given for the connections that come from now on. */

import { createHash } from 'node:crypto';
import type { TlsOptions } from 'node:tls';
import { serialize } from 'node:v8';

/** Bytes that a session's context may have. */
const LENGTH = 32;

/**
 * With sessions of their own for each set of authorities and revoked certificates. A client that resumes one shows no
 * certificate, and counts as verified by those that there were when it began; keys of tickets that are the user's outlive them.
 */
export function contextOf(tls: TlsOptions): TlsOptions {
  const { ca, crl, pfx } = tls;
  const sessionIdContext = createHash('sha256')
    .update(serialize([ca, crl, pfx]))
    .digest('hex')
    .slice(0, LENGTH);
  return { sessionIdContext, ...tls };
}
