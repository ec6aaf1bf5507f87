/** Fastify with @fastify/compress and zstd, which it prefers: one context per response. */
import { createRequire } from 'node:module';
import compress from '@fastify/compress';
import fastify from 'fastify';
import { connectHttp } from './http.ts';
import type { Peer } from './peer.ts';

const { version } = createRequire(import.meta.url)('fastify/package.json') as { version: string };

export const fastifyPeer: Peer = {
  name: 'fastify + zstd',
  describe: `Fastify ${version} with @fastify/compress, zstd level 3, HTTP/1.1`,
  async serve(payloads) {
    const app = fastify();
    await app.register(compress, { encodings: ['zstd'], threshold: 0, customTypes: /./ });
    app.post<{ Querystring: { i: string } }>('/get', (request, reply) =>
      reply.type('application/json').send(payloads.get(Number(request.query.i))),
    );
    await app.listen({ host: '127.0.0.1', port: 0 });
    const { port } = app.server.address() as { port: number };
    return { port, close: () => app.close() };
  },
  connect: async (port) => connectHttp(port, '/get?i='),
};
