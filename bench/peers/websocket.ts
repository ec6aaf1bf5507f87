/** `ws`, with permessage-deflate as RFC 7692 has it by default: one context per connection that lives on. */
import type { IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import type { WebSocket as Socket } from 'ws';
import { WebSocket, WebSocketServer } from 'ws';
import type { Peer } from './peer.ts';

const { version } = createRequire(import.meta.url)('ws/package.json') as { version: string };

function websocketPeer(name: string, describe: string, deflate: boolean): Peer {
  // Every message, however small; level and window are the library's own.
  const perMessageDeflate = deflate && { threshold: 0 };
  return {
    name,
    describe,
    async serve(payloads) {
      const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate });
      server.on('connection', (socket: Socket) => {
        socket.on('message', (message: Buffer) => socket.send(payloads.get(Number(message))));
        socket.on('error', () => {});
      });
      await new Promise((resolve) => server.once('listening', resolve));
      const { port } = server.address() as { port: number };
      return {
        port,
        close() {
          for (const socket of server.clients) socket.terminate();
          server.close();
        },
      };
    },
    async connect(port) {
      const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate });
      socket.once('upgrade', ({ headers }: IncomingMessage) => {
        const agreed = `${headers['sec-websocket-extensions'] ?? ''}`;
        if (agreed.includes('permessage-deflate') !== deflate || agreed.includes('no_context_takeover')) {
          socket.emit('error', new Error(`the server agreed to '${agreed}'`));
        }
      });
      await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
      // Answers come in the order of the questions.
      const waiting: { resolve(bytes: Uint8Array): void; reject(error: Error): void }[] = [];
      let answered = 0;
      socket.on('message', (message: Buffer) => {
        waiting[answered++]!.resolve(message);
        if (answered === 4096) {
          waiting.splice(0, answered);
          answered = 0;
        }
      });
      const fail = (error: Error) => {
        for (const { reject } of waiting) reject(error);
      };
      socket.on('error', fail);
      socket.on('close', () => fail(new Error('the connection closed')));
      return {
        fetch: (i) =>
          new Promise((resolve, reject) => {
            waiting.push({ resolve, reject });
            socket.send(`${i}`);
          }),
        close: () => socket.terminate(),
      };
    },
  };
}

export const websocketPeers: readonly Peer[] = [
  websocketPeer('ws + deflate', `ws ${version}, permessage-deflate with context takeover, threshold 0`, true),
  websocketPeer('ws', `ws ${version}, uncompressed`, false),
];
