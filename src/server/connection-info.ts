/** What is known of a connection by its socket alone. */

import { type Server as NetServer, Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { ProxyFacts } from '../transport/proxy-header.ts';
import type { ConnectionInfo } from './authorize.ts';

/** Where somebody is of whom that cannot be known. */
export const UNKNOWN = 'an unknown address';

/**
 * The address of the other end of a socket that `server` has, or `unix`. Undefined: it was reset before anybody could ask. The
 * system still hands out what it has sent, but no longer says who it was, as with a Unix socket.
 */
export function remoteOf(socket: Socket, server: NetServer): string | undefined {
  const { remoteAddress, remotePort } = socket;
  if (remoteAddress !== undefined) return `${remoteAddress}:${remotePort}`;
  // What others have accepted, and what is no socket of the system's, is not the server's to tell.
  if (!server.listening || !(socket instanceof Socket)) return UNKNOWN;
  const address = server.address();
  return typeof address === 'object' && address !== null ? undefined : 'unix';
}

/** `proxies`: what they have said of it. Undefined for one that has gone: nobody is to be asked whether it may come in. */
export function infoOf(
  socket: Socket,
  proxies: readonly ProxyFacts[],
  server: NetServer,
): ConnectionInfo | undefined {
  const direct = remoteOf(socket, server);
  if (direct === undefined) return undefined;
  const remote = proxies[0]?.source ?? direct;
  if (!(socket instanceof TLSSocket)) return { remote, proxies, certificateVerified: false };
  const peerCertificate = socket.getPeerCertificate();
  // Without a certificate it is an empty object.
  const has = peerCertificate !== null && Object.keys(peerCertificate).length > 0;
  return { remote, proxies, certificateVerified: socket.authorized, ...(has && { peerCertificate }) };
}
