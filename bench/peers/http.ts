/** A client of one HTTP/1.1 connection that is kept: one request at a time, as HTTP has it. */
import { Agent, request } from 'node:http';
import { promisify } from 'node:util';
import { zstdDecompress } from 'node:zlib';
import type { Connection } from './peer.ts';

const decompress = promisify(zstdDecompress);

/** Posts to `path` with the number of the payload after it; what is posted twice does no harm. */
export function connectHttp(port: number, path: string): Connection {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = (i: number): Promise<Uint8Array> =>
    new Promise((resolve, reject) => {
      const headers = { 'accept-encoding': 'zstd' };
      const req = request(
        { agent, host: '127.0.0.1', port, method: 'POST', path: `${path}${i}`, headers },
        (res) => {
          const chunks: Buffer[] = [];
          res.on('data', (chunk) => chunks.push(chunk));
          res.on('error', reject);
          res.on('end', () => {
            const body = Buffer.concat(chunks);
            if (res.statusCode !== 200) reject(new Error(`status ${res.statusCode}`));
            else if (res.headers['content-encoding'] === 'zstd') decompress(body).then(resolve, reject);
            else reject(new Error('the response was not compressed'));
          });
        },
      );
      req.on('error', (error: NodeJS.ErrnoException) => {
        // A server may close a connection that was idle while the next request is on its way, or is written.
        const wasClosed = req.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
        if (wasClosed) ask(i).then(resolve, reject);
        else reject(error);
      });
      req.end();
    });
  return { fetch: ask, close: () => agent.destroy() };
}
