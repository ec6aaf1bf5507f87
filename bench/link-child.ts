/**
 * A link of a given speed, as a proxy in a process of its own between a server and its clients. Towards the clients a
 * token bucket lets no more bits leave per second than the speed; what the link cannot take waits here, up to
 * {@link HELD_BYTES}, then in the kernel's buffers, and then at the server. Requests go the other way as they come.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { serveOperations } from '../src/experiment/process/operations.ts';

export interface LinkOperations {
  /** Listens for the server at that port; resolves with the port where clients connect. */
  open(server: number): Promise<number>;
  /** Bits per second, in turns of `turnMs` where there are several; empty: not shaped at all. */
  setSpeeds(speeds: readonly number[], turnMs: number): Promise<void>;
}

/** What a link keeps before it stops taking: a router's buffer. */
const HELD_BYTES = 64 * 1024;
/** What the bucket holds, for timers are late; and a packet at least. */
const BUCKET_MS = 4;
const PACKET = 1500;

let speeds: readonly number[] = [];
let turnMs = 1000;
let serverPort = 0;
const shapers = new Set<Shaper>();

function bytesPerMs(now: number): number {
  if (speeds.length === 0) return Number.POSITIVE_INFINITY;
  return speeds[Math.floor(now / turnMs) % speeds.length]! / 8000;
}

/** One connection's way to its client. */
class Shaper {
  readonly #from: Socket;
  readonly #to: Socket;
  #queue: Buffer[] = [];
  #held = 0;
  #tokens = PACKET;
  #filledAt = performance.now();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(from: Socket, to: Socket) {
    this.#from = from;
    this.#to = to;
    from.on('data', (chunk: Buffer) => {
      this.#queue.push(chunk);
      this.#held += chunk.length;
      this.pass();
    });
    to.on('drain', () => this.pass());
  }

  pass(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const now = performance.now();
    const speed = bytesPerMs(now);
    const most = Math.max(PACKET, speed * BUCKET_MS);
    this.#tokens = Math.min(most, this.#tokens + (now - this.#filledAt) * speed || most);
    this.#filledAt = now;
    while (this.#queue.length > 0 && this.#tokens >= 1 && !this.#to.writableNeedDrain) this.#sendSome();
    if (this.#held > HELD_BYTES) this.#from.pause();
    else this.#from.resume();
    if (this.#queue.length > 0 && !this.#to.writableNeedDrain) this.#timer = setTimeout(() => this.pass(), 1);
  }

  #sendSome(): void {
    const [chunk] = this.#queue as [Buffer];
    const some = chunk.subarray(0, this.#tokens);
    if (some.length === chunk.length) this.#queue.shift();
    else this.#queue[0] = chunk.subarray(some.length);
    this.#tokens -= some.length;
    this.#held -= some.length;
    this.#to.write(some);
  }
}

const listener = createServer((client) => {
  const server = connect(serverPort, '127.0.0.1');
  client.setNoDelay();
  server.setNoDelay();
  client.pipe(server);
  const shaper = new Shaper(server, client);
  shapers.add(shaper);
  for (const [socket, other] of [[client, server] as const, [server, client] as const]) {
    socket.on('error', () => other.destroy());
    socket.on('close', () => {
      other.destroy();
      shapers.delete(shaper);
    });
  }
});

serveOperations<LinkOperations>({
  async open(server) {
    serverPort = server;
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    return (listener.address() as { port: number }).port;
  },
  async setSpeeds(next, nextTurnMs) {
    speeds = next;
    turnMs = nextTurnMs;
    for (const shaper of shapers) shaper.pass();
  },
});
