/**
 * The peers, each by its name. Their modules are loaded where they are asked for: a process that serves one peer has no
 * other's library in its memory, and one that is not installed takes no other down.
 */
import type { Peer } from './peer.ts';

interface PeerModule {
  readonly names: readonly string[];
  load(): Promise<readonly Peer[]>;
}

const MODULES: readonly PeerModule[] = [
  { names: ['millrace'], load: async () => [(await import('./millrace.ts')).millracePeer] },
  {
    names: ['millrace, WebSocket', 'millrace, HTTP'],
    load: async () => (await import('./doors.ts')).doorPeers,
  },
  { names: ['fastify + zstd'], load: async () => [(await import('./fastify.ts')).fastifyPeer] },
  { names: ['ws + deflate', 'ws'], load: async () => (await import('./websocket.ts')).websocketPeers },
  {
    names: ['http2 + zstd sync', 'http2 + zstd', 'http2 + gzip', 'http2'],
    load: async () => (await import('./http2.ts')).http2Peers,
  },
  { names: ['grpc + gzip'], load: async () => [(await import('./grpc.ts')).grpcPeer] },
  {
    names: ['nginx + gzip', 'nginx + gzip_static'],
    load: async () => (await import('./nginx.ts')).nginxPeers,
  },
];

/** Not a peer that anybody would pick: found by its name alone. */
const BOUND: PeerModule = {
  names: ['bare router'],
  load: async () => [(await import('./bare-router.ts')).bareRouterPeer],
};

export async function allPeers(): Promise<readonly Peer[]> {
  return (await Promise.all(MODULES.map(peersOf))).flat();
}

/** @throws Error naming the peers that there are. */
export async function findPeer(name: string): Promise<Peer> {
  const module = [...MODULES, BOUND].find(({ names }) => names.includes(name));
  const peer = module && (await peersOf(module)).find((each) => each.name === name);
  if (peer === undefined)
    throw new Error(`no peer '${name}'; there are ${MODULES.flatMap(({ names }) => names).join(', ')}`);
  return peer;
}

async function peersOf({ names, load }: PeerModule): Promise<readonly Peer[]> {
  try {
    return await load();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    return names.map(notInstalled);
  }
}

function notInstalled(name: string): Peer {
  const missing = () => `${name} is not installed`;
  const never = () => Promise.reject(new Error(missing()));
  return { name, describe: '', missing, serve: never, connect: never };
}
