/**
 * What any server takes that is built like ours, and does nothing else: the main thread splits the input by lengths, hands
 * requests to a worker in batches, and writes what comes back. The worker encodes. No request is parsed, no ID checked, no
 * window kept, nothing can be cancelled: a bound that ours is compared with, and no server for anybody.
 */
import { connect, createServer, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import { nativeCodecs } from '../../src/encoding/native.ts';
import { DEFAULT_LIMITS } from '../../src/index.ts';
import { share } from '../lane-handler.ts';
import { listen } from './listen.ts';
import type { Connection, Peer } from './peer.ts';

/** A length of 24 bits, an ID of 16, and three bytes as in our frames that nobody looks at. */
export const HEAD_BYTES = 8;
/** A request is a head and the index of a payload. */
export const REQUEST_BYTES = HEAD_BYTES + 4;
/** As many requests as our lanes get before a turn has ended. */
const BATCH_REQUESTS = 32;

/** Requests of one connection on their way to the worker. */
export interface Batch {
  readonly connection: number;
  readonly requests: Uint8Array<ArrayBuffer>;
  readonly count: number;
}

/** Frames on their way back; both buffers go to the worker again. */
export interface Answers extends Batch {
  readonly frames: Uint8Array<ArrayBuffer>;
  readonly length: number;
}

export const bareRouterPeer: Peer = {
  name: 'bare router',
  describe: 'split, one worker with our encoder, write: no checks, no state',
  async serve(payloads, { level = 3 }) {
    const lane = new Worker(new URL('./bare-router-lane.ts', import.meta.url), {
      workerData: { payloads: share(payloads), level },
    });
    const sockets: Socket[] = [];
    const spare: Uint8Array<ArrayBuffer>[] = [];
    lane.on('message', ({ connection, requests, frames, length }: Answers) => {
      spare.push(requests);
      // Not used again: the system may not have taken it all.
      sockets[connection]!.write(frames.subarray(0, length));
    });
    const server = createServer({ noDelay: true }, (socket) => {
      const connection = sockets.push(socket) - 1;
      route(socket, (requests, count) => {
        lane.postMessage({ connection, requests, count } satisfies Batch, [requests.buffer]);
      });
      socket.on('error', () => socket.destroy());
    });

    /** Whole requests of each chunk, in batches. */
    function route(socket: Socket, send: (requests: Uint8Array<ArrayBuffer>, count: number) => void): void {
      let rest: Buffer = Buffer.alloc(0);
      socket.on('data', (chunk: Buffer) => {
        const input = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
        let at = 0;
        while (input.length - at >= REQUEST_BYTES) {
          const batch = spare.pop() ?? new Uint8Array(BATCH_REQUESTS * REQUEST_BYTES);
          let count = 0;
          while (count < BATCH_REQUESTS && input.length - at >= REQUEST_BYTES) {
            const length = HEAD_BYTES + (input[at]! | (input[at + 1]! << 8) | (input[at + 2]! << 16));
            if (length !== REQUEST_BYTES) throw new Error(`a request of ${length} bytes`);
            batch.set(input.subarray(at, at + length), count++ * REQUEST_BYTES);
            at += length;
          }
          send(batch, count);
        }
        rest = input.subarray(at);
      });
    }

    return {
      port: await listen(server),
      async close() {
        for (const socket of sockets) socket.destroy();
        server.close();
        await lane.terminate();
      },
    };
  },
  connect: (port) => connectTo(port),
};

const IDS = 2 ** 16;

/** A client that is as bare. */
function connectTo(port: number): Promise<Connection> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  const decoder = nativeCodecs()[0]!.createDecoder(DEFAULT_LIMITS);
  const waiting = new Array<((payload: Uint8Array) => void) | undefined>(IDS);
  let nextId = 0;
  let rest: Buffer = Buffer.alloc(0);
  let requests: Buffer[] = [];

  socket.on('data', (chunk: Buffer) => {
    const input = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (input.length - at >= HEAD_BYTES) {
      const end = at + HEAD_BYTES + input.readUIntLE(at, 3);
      if (end > input.length) break;
      const id = input.readUInt16LE(at + 3);
      waiting[id]!(decoder.decode(input.subarray(at + HEAD_BYTES, end)).slice());
      waiting[id] = undefined;
      at = end;
    }
    rest = input.subarray(at);
  });

  /** All requests of a tick leave together. */
  function send(request: Buffer): void {
    if (requests.push(request) > 1) return;
    setImmediate(() => {
      socket.write(Buffer.concat(requests));
      requests = [];
    });
  }

  const client: Connection = {
    fetch(i) {
      const id = nextId;
      nextId = (nextId + 1) % IDS;
      const request = Buffer.alloc(REQUEST_BYTES);
      request.writeUIntLE(REQUEST_BYTES - HEAD_BYTES, 0, 3);
      request.writeUInt16LE(id, 3);
      request.writeUInt32LE(i, HEAD_BYTES);
      send(request);
      return new Promise((resolve) => {
        waiting[id] = resolve;
      });
    },
    close: () => void socket.destroy(),
  };
  return new Promise((resolve, reject) => {
    socket.once('connect', () => resolve(client));
    socket.once('error', reject);
  });
}
