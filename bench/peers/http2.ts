/**
 * HTTP/2 as Node has it, compressing each response by itself, as HTTP does. *async* is the documented way, a hop to
 * the thread pool per response; *sync* is what a server does that has measured it.
 */
import http2, { type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { listen } from './listen.ts';
import type { Connection, Peer } from './peer.ts';

type Compress = (payload: Buffer) => Buffer | Promise<Buffer>;

function http2Peer(name: string, describe: string, encoding: string, compress: Compress): Peer {
  return {
    name,
    describe,
    async serve(payloads) {
      const server = http2.createServer();
      server.on('stream', async (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
        // What goes wrong with it the client tells.
        stream.on('error', () => {});
        const body = await compress(payloads.get(Number(headers[':path']?.slice(1))));
        if (stream.destroyed) return;
        stream.respond({ 'content-type': 'application/octet-stream', 'content-encoding': encoding });
        stream.end(body);
      });
      server.on('session', (session) => session.on('error', () => {}));
      return { port: await listen(server), close: () => void server.close() };
    },
    connect: (port) => connectHttp2(port, encoding),
  };
}

const DECOMPRESS: Record<string, (body: Buffer) => Buffer> = {
  identity: (body) => body,
  gzip: zlib.gunzipSync,
  zstd: zlib.zstdDecompressSync,
};

/** A client for any HTTP/2 server without TLS that answers `/i` with payload i. */
export async function connectHttp2(port: number, encoding: string): Promise<Connection> {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  await new Promise((resolve, reject) => session.once('connect', resolve).once('error', reject));
  return {
    fetch: (i) =>
      new Promise((resolve, reject) => {
        const request = session.request({ ':path': `/${i}`, 'accept-encoding': encoding });
        const chunks: Buffer[] = [];
        let used = 'identity';
        request.on('response', (headers) => {
          used = headers['content-encoding'] ?? 'identity';
          if (headers[':status'] !== 200) reject(new Error(`status ${headers[':status']}`));
          if (used !== encoding) reject(new Error(`the response is ${used}, not ${encoding}`));
        });
        request.on('data', (chunk: Buffer) => chunks.push(chunk));
        request.on('error', reject);
        request.on('end', () => {
          try {
            resolve(DECOMPRESS[used]!(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)));
          } catch (error) {
            reject(error);
          }
        });
      }),
    close: () => session.destroy(),
  };
}

const zstdAsync = promisify<Buffer, Buffer>(zlib.zstdCompress);
const gzipAsync = promisify<Buffer, Buffer>(zlib.gzip);

export const http2Peers: readonly Peer[] = [
  http2Peer(
    'http2 + zstd sync',
    'node:http2, zlib.zstdCompressSync per response, level 3',
    'zstd',
    (payload) => zlib.zstdCompressSync(payload),
  ),
  http2Peer('http2 + zstd', 'node:http2, zlib.zstdCompress per response, level 3', 'zstd', zstdAsync),
  http2Peer('http2 + gzip', 'node:http2, zlib.gzip per response, level 6', 'gzip', gzipAsync),
  http2Peer('http2', 'node:http2, uncompressed', 'identity', (payload) => payload),
];
