/** The peers, each by its name. Loaded by name of module, so that one that is not installed takes no other down. */
import type { Peer } from './peer.ts';

const load = async (from: () => Promise<readonly Peer[]>, name: string): Promise<readonly Peer[]> => {
  try {
    return await from();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    const missing = () => `${name} is not installed`;
    const never = () => Promise.reject(new Error(missing()));
    return [{ name, describe: '', missing, serve: never, connect: never }];
  }
};

export const PEERS: readonly Peer[] = (
  await Promise.all([
    load(async () => [(await import('./millrace.ts')).millracePeer], 'millrace'),
    load(async () => (await import('./doors.ts')).doorPeers, 'millrace doors'),
    load(async () => [(await import('./fastify.ts')).fastifyPeer], 'fastify + zstd'),
    load(async () => (await import('./websocket.ts')).websocketPeers, 'ws + deflate'),
    load(async () => (await import('./http2.ts')).http2Peers, 'http2'),
    load(async () => [(await import('./grpc.ts')).grpcPeer], 'grpc + gzip'),
    load(async () => (await import('./nginx.ts')).nginxPeers, 'nginx + gzip'),
  ])
).flat();

/** @throws Error naming the peers that there are. */
export function findPeer(name: string): Peer {
  const peer = PEERS.find((each) => each.name === name);
  if (peer === undefined)
    throw new Error(`no peer '${name}'; there are ${PEERS.map((each) => each.name).join(', ')}`);
  return peer;
}
