/**
 * gRPC by @grpc/grpc-js. Its server cannot compress responses (lib/server-interceptors: "response compression is
 * currently not supported"), so the handler gzips the message's bytes, which is what its users can do.
 */
import { createRequire } from 'node:module';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { Client, credentials, Server, ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';
import type { Peer } from './peer.ts';

const { version } = createRequire(import.meta.url)('@grpc/grpc-js/package.json') as { version: string };
const gzip = promisify<Buffer, Buffer>(zlib.gzip);

/** service Records { rpc Get(Index) returns (Record); } */
const definitions = fromJSON({
  nested: {
    Index: { fields: { i: { type: 'uint32', id: 1 } } },
    Record: { fields: { body: { type: 'bytes', id: 1 } } },
    Records: { methods: { Get: { requestType: 'Index', responseType: 'Record', comment: '' } } },
  },
});
const service = definitions.Records as ServiceDefinition;
const get = service.Get!;

export const grpcPeer: Peer = {
  name: 'grpc + gzip',
  describe: `@grpc/grpc-js ${version}, body gzipped by the handler, level 6 (its server cannot compress responses)`,
  async serve(payloads) {
    const server = new Server();
    server.addService(service, {
      Get(call: { request: { i: number } }, done: (error: Error | null, record?: { body: Buffer }) => void) {
        gzip(payloads.get(call.request.i)).then((body) => done(null, { body }), done);
      },
    });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    return { port, close: () => server.forceShutdown() };
  },
  async connect(port) {
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    return {
      fetch: (i) =>
        new Promise((resolve, reject) => {
          client.makeUnaryRequest(
            get.path,
            get.requestSerialize,
            get.responseDeserialize as (bytes: Buffer) => { body: Buffer },
            { i },
            (error, record) => (error ? reject(error) : resolve(zlib.gunzipSync(record!.body))),
          );
        }),
      close: () => client.close(),
    };
  },
};
