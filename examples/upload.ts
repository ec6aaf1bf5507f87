/** Command data: a handler reads it as it arrives, and the client sends no faster than it is read. */

import { createHash } from 'node:crypto';
import { connect, createServer } from 'millrace';

const server = createServer({
  commands: {
    sha256: async function* (request) {
      const hash = createHash('sha256');
      for await (const piece of request.data) hash.update(piece);
      yield hash.digest('hex');
    },
  },
});
const client = await connect(await server.listen({ port: 0 }), { encodeData: 'zstd-8mb' });

async function* megabytes(count: number) {
  for (let i = 0; i < count; i++) yield new Uint8Array(1 << 20).fill(i);
}

const expected = createHash('sha256');
for await (const piece of megabytes(16)) expected.update(piece);
const answer = await client.call('sha256', { data: megabytes(16) }).text();
console.log(`16 MiB, the same at both ends: ${answer === expected.digest('hex')}`);
await client.close();
await server.close();

// prints:
// 16 MiB, the same at both ends: true
