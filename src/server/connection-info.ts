/** What is known of a connection by its socket alone. */

import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { ProxyFacts } from '../transport/proxy-header.ts';
import type { ConnectionInfo } from './authorize.ts';

/** The other end's address, or `unix`. */
export function remoteOf(socket: Socket): string {
  return socket.remoteAddress === undefined ? 'unix' : `${socket.remoteAddress}:${socket.remotePort}`;
}

/** `proxies`: what they have said of it. */
export function infoOf(socket: Socket, proxies: readonly ProxyFacts[]): ConnectionInfo {
  const remote = proxies[0]?.source ?? remoteOf(socket);
  if (!(socket instanceof TLSSocket)) return { remote, proxies, certificateVerified: false };
  const peerCertificate = socket.getPeerCertificate();
  // Without a certificate it is an empty object.
  const has = peerCertificate !== null && Object.keys(peerCertificate).length > 0;
  return { remote, proxies, certificateVerified: socket.authorized, ...(has && { peerCertificate }) };
}
