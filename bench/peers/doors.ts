/** millrace by its other doors: over a WebSocket, and by HTTP for whoever has nothing else. */
import { connect } from '../../src/index.ts';
import { connectHttp } from './http.ts';
import { millracePeer } from './millrace.ts';
import { CONNECT_MS, type Peer } from './peer.ts';

const overWebSocket: Peer = {
  ...millracePeer,
  name: 'millrace, WebSocket',
  async connect(port) {
    const client = await connect(`ws://127.0.0.1:${port}/`, { timeoutMs: CONNECT_MS });
    return {
      fetch: (i) => client.call('get', { args: { i: `${i}` } }).bytes(),
      close: () => client.close(),
    };
  },
};

const byHttp: Peer = {
  ...millracePeer,
  name: 'millrace, HTTP',
  describe: 'POST /rpc/get, zstd level 3 per response, in the lanes',
  connect: async (port) => connectHttp(port, '/rpc/get?i='),
};

export const doorPeers: readonly Peer[] = [overWebSocket, byHttp];
